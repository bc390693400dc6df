//! The lists of an issuer that are held, fetched, or known not to be had. A bounded number, under one lock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokenry_core::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::copy::Copy;
use super::reader::Trouble;

/// The most lists of an issuer: with 65,536 tokens in each, as ours have, 67 million tokens that live at the same time.
pub(super) const MAX_LISTS: usize = 1024;

/// The most bytes that they take together: 64 MiB. A thousand lists as ours have 8 MiB.
pub(super) const MAX_BYTES: usize = 64 * 1024 * 1024;

/// How many lists nobody has named before may be fetched at once, and how many more in each second. An API that starts
/// meets all that are in use; after that a list is new once in thousands of tokens.
const NEWCOMERS: u32 = 64;
const NEWCOMERS_PER_SECOND: u32 = 16;

/// The wait after the first failure; it doubles with each.
pub(super) const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest wait: half a minute after an issuer is back, all lists are.
const MAX_RETRY: Duration = Duration::from_secs(30);
/// The wait after an answer that says that there is no such list.
const MISSING_RETRY: Duration = Duration::from_secs(30);
/// The wait after an answer that is older than what is held: a cache on the way will have another soon.
const OLDER_RETRY: Duration = Duration::from_secs(5);

/// How long a list is held of which there is no copy, and nobody asks for it: clients that were told to come again have
/// done so by then.
const IDLE: Duration = Duration::from_mins(2);
/// The same for a copy that cannot be replaced: what is let go now does not come back.
const IDLE_IN_OUTAGE: Duration = Duration::from_hours(1);

/// The table.
#[derive(Debug)]
pub(super) struct Table {
    lists: HashMap<Arc<str>, Held>,
    /// How many bytes all copies take.
    bytes: usize,
    /// What tells a list from an earlier one of the same URI.
    next: u64,
    allowance: Allowance,
}

/// What is known of a list.
#[derive(Debug)]
struct Held {
    number: u64,
    copy: Option<Arc<Copy>>,
    /// When a token last named it.
    asked_at: Instant,
    landed_at: Option<Instant>,
    failures: u32,
    /// When it is fetched next; `None`: it is being fetched.
    next_try: Option<Instant>,
    landed: watch::Sender<()>,
    wake: Arc<Notify>,
    /// Fetches it as long as it is here.
    _task: Task,
}

#[derive(Debug)]
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a token finds.
pub(super) enum Found {
    Copy(Arc<Copy>),
    /// It is being fetched, and this says when that has ended.
    Coming(watch::Receiver<()>),
    /// It cannot be had before so long.
    Not(Duration),
    /// Nobody has named it yet.
    New,
    /// It is not followed.
    Nowhere,
}

/// A list that was not held before, whose fetching is to be started.
pub(super) struct Newcomer {
    pub(super) number: u64,
    pub(super) wake: Arc<Notify>,
}

/// What has become of a copy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Adopted {
    /// Whether tokens that were found good have to be looked at again.
    New {
        has_changed: bool,
    },
    /// One is held that was signed later.
    Older,
    NoRoom,
}

impl Table {
    pub(super) fn new() -> Self {
        Self { lists: HashMap::new(), bytes: 0, next: 0, allowance: Allowance::full() }
    }

    /// Looks for a list, for a token that names it.
    pub(super) fn find(&mut self, uri: &str, now: Timestamp) -> Found {
        let Some(held) = self.lists.get_mut(uri) else { return Found::New };
        let instant = Instant::now();
        held.asked_at = instant;
        if let Some(copy) = held.copy.as_ref().filter(|copy| copy.is_usable(now)) {
            return Found::Copy(Arc::clone(copy));
        }
        let Some(next_try) = held.next_try else {
            return Found::Coming(held.landed.subscribe());
        };
        // A copy that has ended although nothing had failed: the clock was set, or the machine was asleep.
        let is_rested = held.landed_at.is_none_or(|at| at + FIRST_RETRY <= instant);
        if held.failures == 0 && is_rested {
            held.next_try = None;
            held.wake.notify_one();
            return Found::Coming(held.landed.subscribe());
        }
        Found::Not(next_try.saturating_duration_since(instant).max(FIRST_RETRY))
    }

    /// Takes up a list that is not here. When to come again, where there is no room or there were too many.
    pub(super) fn admit(
        &mut self,
        uri: Arc<str>,
        start: impl FnOnce(Newcomer) -> AbortHandle,
    ) -> Result<watch::Receiver<()>, Duration> {
        let now = Instant::now();
        if !self.allowance.take(now) || !self.make_room(now) {
            return Err(FIRST_RETRY);
        }
        self.next += 1;
        let (number, wake) = (self.next, Arc::new(Notify::new()));
        let (landed, landing) = watch::channel(());
        let task = Task(start(Newcomer { number, wake: Arc::clone(&wake) }));
        let held = Held {
            number,
            copy: None,
            asked_at: now,
            landed_at: None,
            failures: 0,
            next_try: None,
            landed,
            wake,
            _task: task,
        };
        self.lists.insert(uri, held);
        Ok(landing)
    }

    /// Makes room for one more: of those that nobody needs the one that was not asked for the longest goes.
    fn make_room(&mut self, now: Instant) -> bool {
        if self.lists.len() < MAX_LISTS {
            return true;
        }
        let needless = self.lists.iter().filter(|(_, held)| {
            held.is_unused(now) || (held.copy.is_none() && held.next_try.is_some())
        });
        let oldest = needless.min_by_key(|(_, held)| held.asked_at).map(|(uri, _)| Arc::clone(uri));
        oldest.is_some_and(|uri| self.remove(&uri))
    }

    fn remove(&mut self, uri: &str) -> bool {
        let Some(held) = self.lists.remove(uri) else { return false };
        self.bytes -= held.size();
        true
    }

    /// Keeps a copy, if it is newer than the one at hand and there is room. `None`: the list is no longer held.
    pub(super) fn adopt(
        &mut self,
        (uri, number): (&str, u64),
        copy: Copy,
        now: Timestamp,
    ) -> Option<Adopted> {
        let held = self.own(uri, number)?;
        let before = held.copy.as_ref().filter(|before| before.is_usable(now));
        // Caches on the way are not all of one age. What was revoked must not come back by an older one.
        if before.is_some_and(|before| copy.is_older_than(before)) {
            return Some(Adopted::Older);
        }
        let has_changed = held.copy.as_ref().is_some_and(|before| !before.says_as(&copy));
        let freed = held.size();
        if self.bytes - freed + copy.size() > MAX_BYTES {
            self.drop_unused(Instant::now());
        }
        if self.bytes - freed + copy.size() > MAX_BYTES {
            return Some(Adopted::NoRoom);
        }
        self.bytes = self.bytes - freed + copy.size();
        self.own(uri, number)?.copy = Some(Arc::new(copy));
        Some(Adopted::New { has_changed })
    }

    fn drop_unused(&mut self, now: Instant) {
        let unused = self.lists.iter().filter(|(_, held)| held.is_unused(now));
        // One that is just being fetched is looked at when that has ended.
        let unused: Vec<_> =
            unused.filter(|(_, it)| it.next_try.is_some()).map(|it| Arc::clone(it.0)).collect();
        for uri in unused {
            self.remove(&uri);
        }
    }

    /// A fetch has ended; says when the next is due. `None`: the list is no longer held.
    pub(super) fn land(
        &mut self,
        (uri, number): (&str, u64),
        outcome: &Outcome<'_>,
    ) -> Option<Landed> {
        let held = self.own(uri, number)?;
        let now = Instant::now();
        let is_failure = matches!(outcome, Outcome::Failed(_));
        held.failures = if is_failure { held.failures.saturating_add(1) } else { 0 };
        let pause = match outcome {
            Outcome::New => {
                let due = held.copy.as_ref().map_or(now, |copy| copy.refresh_at());
                due.saturating_duration_since(now).max(FIRST_RETRY)
            }
            Outcome::Older => OLDER_RETRY,
            Outcome::Failed(trouble) if trouble.is_missing() => MISSING_RETRY,
            Outcome::Failed(_) => retry_pause(held.failures),
        };
        held.landed_at = Some(now);
        held.next_try = Some(now + pause);
        held.landed.send_replace(());
        Some(Landed { next_try: now + pause, failures: held.failures })
    }

    /// Goes on with a list, or lets it go because nobody needs it any more.
    pub(super) fn goes_on(&mut self, (uri, number): (&str, u64)) -> bool {
        let Some(held) = self.own(uri, number) else { return false };
        if held.is_unused(Instant::now()) {
            self.remove(uri);
            return false;
        }
        held.next_try = None;
        true
    }

    fn own(&mut self, uri: &str, number: u64) -> Option<&mut Held> {
        self.lists.get_mut(uri).filter(|held| held.number == number)
    }

    /// How many lists there are copies of.
    pub(super) fn held(&self) -> usize {
        self.lists.values().filter(|held| held.copy.is_some()).count()
    }

    /// Forgets everything, and ends all fetching.
    pub(super) fn clear(&mut self) {
        self.lists.clear();
        self.bytes = 0;
    }
}

/// What a fetch has brought.
pub(super) enum Outcome<'t> {
    New,
    Older,
    Failed(&'t Trouble),
}

/// How it goes on after a fetch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Landed {
    pub(super) next_try: Instant,
    /// How many have failed in a row.
    pub(super) failures: u32,
}

impl Held {
    fn is_unused(&self, now: Instant) -> bool {
        let idle = match &self.copy {
            None => IDLE,
            Some(_) if self.failures > 0 => IDLE_IN_OUTAGE,
            Some(copy) => copy.idle(),
        };
        now.saturating_duration_since(self.asked_at) > idle
    }

    fn size(&self) -> usize {
        self.copy.as_ref().map_or(0, |copy| copy.size())
    }
}

fn retry_pause(failures: u32) -> Duration {
    FIRST_RETRY.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(MAX_RETRY)
}

/// How many new lists may be fetched now.
#[derive(Debug)]
struct Allowance {
    left: u32,
    since: Instant,
}

impl Allowance {
    fn full() -> Self {
        Self { left: NEWCOMERS, since: Instant::now() }
    }

    fn take(&mut self, now: Instant) -> bool {
        let each = Duration::from_secs(1) / NEWCOMERS_PER_SECOND;
        let earned = now.saturating_duration_since(self.since).as_nanos() / each.as_nanos();
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(earned).min(NEWCOMERS);
        self.since += each.saturating_mul(earned);
        let may = self.left > 0;
        self.left -= u32::from(may);
        may
    }
}
