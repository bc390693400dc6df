//! Tokens that are refused although they have not expired.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use aws_lc_rs::digest::{SHA256, digest};
use tokenry_core::Timestamp;

/// The most tokens refused at once: 100,000 take about 6 MiB. Revocations live only as long as their tokens.
pub(crate) const MAX_DENIED: usize = 100_000;

/// The `jti`s refused, each until its token has expired by itself.
///
/// Kept as digests: all of one size, whatever the issuer writes into `jti`.
#[derive(Debug, Default)]
pub(crate) struct Denied {
    until: RwLock<HashMap<[u8; 32], Timestamp>>,
    /// How many there are: requests look here first, and mostly only here.
    count: AtomicUsize,
}

impl Denied {
    pub(crate) fn insert(
        &self,
        jti: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), TooManyDenied> {
        if until <= now {
            return Ok(());
        }
        let print = print(jti);
        let mut map = self.until.write().unwrap_or_else(PoisonError::into_inner);
        if map.len() >= MAX_DENIED && !map.contains_key(&print) {
            map.retain(|_, until| *until > now);
        }
        let full = map.len() >= MAX_DENIED && !map.contains_key(&print);
        if !full {
            let entry = map.entry(print).or_insert(until);
            *entry = until.max(*entry);
        }
        self.count.store(map.len(), Ordering::Release);
        if full { Err(TooManyDenied) } else { Ok(()) }
    }

    pub(crate) fn contains(&self, jti: &str, now: Timestamp) -> bool {
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let map = self.until.read().unwrap_or_else(PoisonError::into_inner);
        map.get(&print(jti)).is_some_and(|until| *until > now)
    }
}

/// More tokens are refused than can be remembered.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("more tokens are refused than can be remembered")]
pub struct TooManyDenied;

fn print(jti: &str) -> [u8; 32] {
    let mut print = [0; 32];
    print.copy_from_slice(digest(&SHA256, jti.as_bytes()).as_ref());
    print
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_set_makes_room_only_by_what_has_expired() {
        let denied = Denied::default();
        let at = Timestamp::from_secs;
        for i in 0..MAX_DENIED {
            let until = if i < 10 { at(20) } else { at(100) };
            denied.insert(&i.to_string(), until, at(10)).unwrap();
        }
        assert_eq!(denied.insert("one more", at(100), at(10)), Err(TooManyDenied));
        assert!(!denied.contains("one more", at(10)));
        assert_eq!(denied.insert("5", at(100), at(10)), Ok(()));
        assert!(denied.insert("one more", at(100), at(20)).is_ok());
        assert!(denied.contains("one more", at(20)) && denied.contains("5", at(20)));
    }

    #[test]
    fn a_token_is_refused_until_its_time_and_the_longer_of_two() {
        let denied = Denied::default();
        let at = Timestamp::from_secs;
        denied.insert("a", at(30), at(0)).unwrap();
        denied.insert("a", at(20), at(0)).unwrap();
        assert!(denied.contains("a", at(29)));
        assert!(!denied.contains("a", at(30)));
        assert!(!denied.contains("b", at(0)));
    }
}
