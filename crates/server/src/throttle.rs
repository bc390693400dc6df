//! Who guesses is slowed down.
//!
//! Wrong secrets and passwords are counted per minute and target, in cells that many targets share, so that nobody can
//! make the server remember more than it has. A target over its limit is answered 429. A client secret has so much
//! entropy that the right one is still taken then: nobody can lock a client out. A password has not: it is not even
//! compared until the minute is over. Only an authenticated client can get that far, and for its own attempts alone.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokenry_core::Timestamp;

/// How many wrong attempts a minute are answered as what they are.
const SECRETS: u64 = 30;
const PASSWORDS: u64 = 10;

const MINUTE: u64 = 60;

/// In how many cells targets are counted: half a megabyte. Two targets in one cell share its count for that minute; with
/// a keyed hash nobody can aim for another's.
const CELLS: usize = 65_536;

/// How many bits of a cell hold the count; the others hold the minute.
const COUNT_BITS: u32 = 24;
const COUNT: u64 = (1 << COUNT_BITS) - 1;

/// Counts wrong attempts.
pub(crate) struct Throttle {
    /// Apart from each other: strangers guess at clients, and must not fill the cells of users.
    clients: Box<[AtomicU64]>,
    users: Box<[AtomicU64]>,
    keys: RandomState,
}

/// What is guessed at.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) enum Target<'a> {
    /// The secrets of a client, whether there is one of this name or not.
    Client { realm: &'a str, id: &'a str },
    /// The password of a user, by one client.
    User { realm: &'a str, client: &'a str, name: &'a str },
}

impl Target<'_> {
    const fn limit(self) -> u64 {
        match self {
            Self::Client { .. } => SECRETS,
            Self::User { .. } => PASSWORDS,
        }
    }

    /// Realm, client and user, for the log; cut short, since strangers write them.
    fn names(self) -> (String, String, Option<String>) {
        let cut = |text: &str| text.chars().take(100).collect::<String>();
        match self {
            Self::Client { realm, id } => (cut(realm), cut(id), None),
            Self::User { realm, client, name } => (cut(realm), cut(client), Some(cut(name))),
        }
    }
}

impl Default for Throttle {
    fn default() -> Self {
        let cells = || (0..CELLS).map(|_| AtomicU64::new(0)).collect();
        Self { clients: cells(), users: cells(), keys: RandomState::new() }
    }
}

impl Throttle {
    /// Counts a wrong attempt; gives how long to wait where there were too many.
    pub(crate) fn wrong(&self, target: Target<'_>, now: Timestamp) -> Option<Duration> {
        let minute = now.as_secs() / MINUTE;
        let more = |cell: u64| {
            let count = if cell >> COUNT_BITS == minute { cell & COUNT } else { 0 };
            minute << COUNT_BITS | (count + 1).min(COUNT)
        };
        let before = self.cell(target).update(Ordering::Relaxed, Ordering::Relaxed, more);
        if more(before) & COUNT == target.limit() {
            let (realm, client, user) = target.names();
            tracing::warn!(
                realm,
                client,
                user,
                "too many wrong attempts: throttled for this minute"
            );
        }
        self.too_many(target, now)
    }

    /// How long to wait where there were too many wrong attempts already.
    pub(crate) fn too_many(&self, target: Target<'_>, now: Timestamp) -> Option<Duration> {
        let cell = self.cell(target).load(Ordering::Relaxed);
        let (minute, count) = (cell >> COUNT_BITS, cell & COUNT);
        let over = minute == now.as_secs() / MINUTE && count >= target.limit();
        over.then(|| Duration::from_secs(MINUTE - now.as_secs() % MINUTE))
    }

    fn cell(&self, target: Target<'_>) -> &AtomicU64 {
        let cells = match target {
            Target::Client { .. } => &self.clients,
            Target::User { .. } => &self.users,
        };
        &cells[self.keys.hash_one(target) as usize % CELLS]
    }
}

impl std::fmt::Debug for Throttle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Throttle(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Target<'_> = Target::Client { realm: "r", id: "billing" };
    const USER: Target<'_> = Target::User { realm: "r", client: "billing", name: "ann" };

    #[test]
    fn beyond_its_limit_a_target_waits_for_the_next_minute() {
        let throttle = Throttle::default();
        let at = Timestamp::from_secs(120 + 15);
        for target in [CLIENT, USER] {
            for _ in 1..target.limit() {
                assert_eq!(throttle.wrong(target, at), None);
            }
            assert_eq!(throttle.too_many(target, at), None);
            assert_eq!(throttle.wrong(target, at), Some(Duration::from_secs(45)));
            assert_eq!(throttle.too_many(target, at), Some(Duration::from_secs(45)));
            let next = Timestamp::from_secs(180);
            assert_eq!(throttle.too_many(target, next), None);
            assert_eq!(throttle.wrong(target, next), None);
        }
        let other = Target::User { realm: "r", client: "other", name: "ann" };
        assert_eq!(throttle.too_many(other, at), None);
    }

    #[test]
    fn strangers_who_guess_at_clients_lock_no_user_out() {
        let throttle = Throttle::default();
        let at = Timestamp::from_secs(60);
        // As many as there are cells, and more.
        for number in 0..20 * CELLS {
            throttle.wrong(Target::Client { realm: "r", id: &number.to_string() }, at);
        }
        assert_eq!(throttle.too_many(USER, at), None);
    }

    #[test]
    fn a_count_never_runs_over_into_the_minute() {
        let throttle = Throttle::default();
        let at = Timestamp::from_secs(60);
        throttle.wrong(USER, at);
        let cell = throttle.cell(USER);
        cell.store((1 << COUNT_BITS) | COUNT, Ordering::Relaxed);
        assert!(throttle.wrong(USER, at).is_some());
        assert!(throttle.too_many(USER, at).is_some());
    }
}
