//! Tokens that are refused although they have not expired.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::digest::{Context, SHA256};
use tokenry_core::Timestamp;
use tokenry_core::revocation::{Ended, Marks, Revocation};

use super::Epoch;

/// The most revocations of single tokens held at once: 100,000 take about 10 MiB. They are held only as long as their tokens
/// would live.
const MAX_TOKENS: usize = 100_000;

/// The most of all else, such as those of whole clients. However many tokens are revoked, there is room for these.
const MAX_OTHERS: usize = 10_000;

/// What of an issuer's tokens has ended, as [`Ended::covers`] says it, found by digest.
///
/// Digests are all of one size, whatever an issuer writes into its identifiers.
#[derive(Debug)]
pub(crate) struct Revocations {
    index: RwLock<Index>,
    /// How many there are: requests look here first, and mostly only here.
    count: AtomicUsize,
    epoch: Arc<Epoch>,
}

/// What has ended, by digest.
#[derive(Debug, Default)]
struct Index {
    tokens: HashMap<Digest, Entry>,
    others: HashMap<Digest, Entry>,
}

type Digest = [u8; 32];

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Tokens with an earlier `iat` have ended; [`ALL`]: whatever their `iat`.
    not_before: Timestamp,
    /// When it may be forgotten.
    until: Timestamp,
}

/// Later than every `iat`.
const ALL: Timestamp = Timestamp::from_millis(u64::MAX);

/// What a digest is of.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    Token = 1,
    Client,
    Subject,
    Issuer,
    Key,
}

/// More tokens are refused than can be remembered.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("more tokens are refused than can be remembered")]
pub struct TooManyDenied;

impl Revocations {
    pub(crate) fn new(epoch: Arc<Epoch>) -> Self {
        Self { index: RwLock::default(), count: AtomicUsize::new(0), epoch }
    }

    /// Refuses the token of this `jti`, or those of this `sid`.
    pub(crate) fn refuse(
        &self,
        id: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), TooManyDenied> {
        self.insert(Kind::Token, id, Entry { not_before: ALL, until }, now)
    }

    /// Takes up what an issuer tells.
    pub(crate) fn add(&self, revocation: &Revocation, now: Timestamp) -> Result<(), TooManyDenied> {
        let until = revocation.until;
        match &revocation.ended {
            Ended::Token(id) => {
                self.insert(Kind::Token, &id.to_string(), Entry { not_before: ALL, until }, now)
            }
            Ended::Client { id, not_before } => {
                self.insert(Kind::Client, id, Entry { not_before: *not_before, until }, now)
            }
            Ended::Subject { id, not_before } => {
                self.insert(Kind::Subject, id, Entry { not_before: *not_before, until }, now)
            }
            Ended::All { not_before } => {
                self.insert(Kind::Issuer, "", Entry { not_before: *not_before, until }, now)
            }
            Ended::Key(kid) => self.insert(Kind::Key, kid, Entry { not_before: ALL, until }, now),
        }
    }

    /// What is over by now is held as well, as long as there is room: a clock that was ahead may be set back.
    fn insert(
        &self,
        kind: Kind,
        id: &str,
        new: Entry,
        now: Timestamp,
    ) -> Result<(), TooManyDenied> {
        let digest = digest(kind, id);
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let (map, most) = match kind {
            Kind::Token => (&mut index.tokens, MAX_TOKENS),
            _ => (&mut index.others, MAX_OTHERS),
        };
        if map.len() >= most && !map.contains_key(&digest) {
            map.retain(|_, entry| entry.until > now);
        }
        let full = map.len() >= most && !map.contains_key(&digest);
        if !full {
            let entry = map.entry(digest).or_insert(new);
            entry.until = entry.until.max(new.until);
            entry.not_before = entry.not_before.max(new.not_before);
        }
        self.count.store(index.tokens.len() + index.others.len(), Ordering::Release);
        drop(index);
        self.epoch.move_on();
        if full { Err(TooManyDenied) } else { Ok(()) }
    }

    /// Whether a token has ended.
    pub(crate) fn covers(&self, token: &Marks<'_>, now: Timestamp) -> bool {
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let issued_at = token.issued_at.unwrap_or(Timestamp::EPOCH);
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let ended = |kind: Kind, id: Option<&str>| {
            let map = if matches!(kind, Kind::Token) { &index.tokens } else { &index.others };
            let entry = id.and_then(|id| map.get(&digest(kind, id)));
            entry.is_some_and(|entry| entry.until > now && issued_at < entry.not_before)
        };
        ended(Kind::Token, token.jti)
            || ended(Kind::Token, token.family)
            || ended(Kind::Client, token.client)
            || ended(Kind::Subject, token.subject)
            || ended(Kind::Issuer, Some(""))
            || ended(Kind::Key, token.kid)
    }

    /// How many are held.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }
}

fn digest(kind: Kind, id: &str) -> Digest {
    let mut context = Context::new(&SHA256);
    context.update(&[kind as u8]);
    context.update(id.as_bytes());
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn empty() -> Revocations {
        Revocations::new(Arc::default())
    }

    fn jti(jti: &str) -> Marks<'_> {
        Marks { jti: Some(jti), ..Marks::default() }
    }

    #[test]
    fn a_full_set_makes_room_only_by_what_has_expired() {
        let revocations = empty();
        for i in 0..MAX_TOKENS {
            let until = if i < 10 { at(20) } else { at(100) };
            revocations.refuse(&i.to_string(), until, at(10)).unwrap();
        }
        assert_eq!(revocations.refuse("one more", at(100), at(10)), Err(TooManyDenied));
        assert!(!revocations.covers(&jti("one more"), at(10)));
        assert_eq!(revocations.refuse("5", at(100), at(10)), Ok(()));
        // There is room for what ends many at once.
        for ended in [
            Ended::Client { id: "c".into(), not_before: at(5) },
            Ended::Subject { id: "s".into(), not_before: at(5) },
            Ended::All { not_before: at(5) },
            Ended::Key("k".into()),
        ] {
            let revocation = Revocation { ended, until: at(100) };
            assert_eq!(revocations.add(&revocation, at(10)), Ok(()));
        }
        let of_client = Marks { client: Some("c"), issued_at: Some(at(4)), ..Marks::default() };
        assert!(revocations.covers(&of_client, at(10)));
        assert!(revocations.refuse("one more", at(100), at(20)).is_ok());
        assert!(revocations.covers(&jti("one more"), at(20)));
        assert!(revocations.covers(&jti("5"), at(20)));
    }

    #[test]
    fn a_token_is_refused_until_its_time_and_the_longer_of_two() {
        let revocations = empty();
        revocations.refuse("a", at(30), at(0)).unwrap();
        revocations.refuse("a", at(20), at(0)).unwrap();
        assert!(revocations.covers(&jti("a"), at(29)));
        assert!(!revocations.covers(&jti("a"), at(30)));
        assert!(!revocations.covers(&jti("b"), at(0)));
    }

    #[test]
    fn what_is_over_by_a_clock_that_is_ahead_holds_once_it_is_set_back() {
        let revocations = empty();
        revocations.refuse("a", at(30), at(1000)).unwrap();
        assert!(!revocations.covers(&jti("a"), at(1000)));
        assert!(revocations.covers(&jti("a"), at(20)));
    }

    /// Every kind against every token, as core says it.
    #[test]
    fn the_index_agrees_with_what_a_revocation_covers() {
        let uuid = "01234567-89ab-7fff-bfff-ffffffffffff";
        let ended = [
            Ended::Token(uuid.parse().unwrap()),
            Ended::Client { id: "x".into(), not_before: at(10) },
            Ended::Subject { id: "x".into(), not_before: at(10) },
            Ended::All { not_before: at(10) },
            Ended::Key("x".into()),
        ];
        let texts = [None, Some("x"), Some("y"), Some(uuid), Some("")];
        let times = [None, Some(at(9)), Some(at(10)), Some(at(11))];
        for ended in ended {
            let revocations = empty();
            revocations.add(&Revocation { ended: ended.clone(), until: at(99) }, at(0)).unwrap();
            for text in texts {
                for issued_at in times {
                    for place in 0..5 {
                        let here = |own| text.filter(|_| own == place);
                        let token = Marks {
                            jti: here(0),
                            family: here(1),
                            client: here(2),
                            subject: here(3),
                            kid: here(4),
                            issued_at,
                        };
                        let expected = ended.covers(&token);
                        assert_eq!(
                            revocations.covers(&token, at(50)),
                            expected,
                            "{ended:?} {token:?}"
                        );
                        assert!(!revocations.covers(&token, at(99)), "{ended:?} {token:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_later_of_two_points_in_time_counts() {
        let revocations = empty();
        for secs in [10, 30, 20] {
            let ended = Ended::Client { id: "c".into(), not_before: at(secs) };
            revocations.add(&Revocation { ended, until: at(99) }, at(0)).unwrap();
        }
        let issued =
            |secs| Marks { client: Some("c"), issued_at: Some(at(secs)), ..Marks::default() };
        assert!(revocations.covers(&issued(29), at(50)));
        assert!(!revocations.covers(&issued(30), at(50)));
        assert_eq!(revocations.len(), 1);
    }
}
