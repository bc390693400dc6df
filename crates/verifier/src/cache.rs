//! Tokens that were found good, so that the next request with one costs a look instead of a signature check.
//!
//! A table of fixed size, read without a lock: each token has four places where it may be, told by its digest, and a
//! newcomer takes the one whose token expires soonest. What is found is a candidate; whether it is still good, who looks
//! it up has to ask.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arc_swap::{ArcSwapOption, Guard};
use aws_lc_rs::digest::{SHA256, digest};
use tokenry_core::Timestamp;

use crate::AccessToken;
use crate::keys::Key;

/// In how many places a token may be: fewer would have tokens drive each other out of a table that is half empty.
const WAYS: usize = 4;

/// The SHA-256 of a token's text. The text itself is not kept.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Print([u8; 32]);

impl Print {
    pub(crate) fn of(token: &str) -> Self {
        let mut print = [0; 32];
        print.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        Self(print)
    }

    fn bucket(&self) -> usize {
        let [a, b, c, d, ..] = self.0;
        u32::from_le_bytes([a, b, c, d]) as usize
    }

    /// Not zero, which is no token's.
    fn tag(&self) -> u32 {
        let [_, _, _, _, a, b, c, d, ..] = self.0;
        u32::from_le_bytes([a, b, c, d]) | 1
    }
}

/// What was found about a token.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) print: Print,
    pub(crate) token: Arc<AccessToken>,
    /// Which of the verifier's issuers it is from.
    pub(crate) issuer: usize,
    /// The key that has signed it.
    pub(crate) key: Arc<Key>,
    /// When it is good by what it says itself.
    pub(crate) good: Range<Timestamp>,
    /// The issuer's epoch in which it was looked at last.
    pub(crate) epoch: AtomicU64,
}

/// The table.
#[derive(Debug)]
pub(crate) struct TokenCache {
    /// As many as a power of two; none: nothing is kept.
    buckets: Box<[Bucket]>,
}

/// The tags say without a further access to memory whether a place may hold the token that is looked for.
#[derive(Debug, Default)]
struct Bucket {
    tags: [AtomicU32; WAYS],
    places: [ArcSwapOption<Entry>; WAYS],
}

impl TokenCache {
    /// Room for about so many tokens; with none there is no cache.
    pub(crate) fn new(tokens: usize) -> Self {
        let buckets = if tokens == 0 { 0 } else { tokens.div_ceil(WAYS).next_power_of_two() };
        Self { buckets: std::iter::repeat_with(Bucket::default).take(buckets).collect() }
    }

    /// Whether anything is kept at all.
    pub(crate) const fn is_on(&self) -> bool {
        !self.buckets.is_empty()
    }

    /// What was found about a token, if it is still here.
    pub(crate) fn find(&self, print: &Print) -> Option<Guard<Option<Arc<Entry>>>> {
        let tag = print.tag();
        let (tags, places) = self.bucket(print)?.parts();
        for (own, place) in tags.iter().zip(places) {
            if own.load(Ordering::Acquire) != tag {
                continue;
            }
            let found = place.load();
            if found.as_ref().is_some_and(|entry| entry.print == *print) {
                return Some(found);
            }
        }
        None
    }

    /// Keeps what was found about a token.
    pub(crate) fn keep(&self, entry: Entry) {
        let Some((tags, places)) = self.bucket(&entry.print).map(Bucket::parts) else { return };
        let tag = entry.print.tag();
        // The same token's place, an empty one, or that of the token which expires soonest.
        let worth = |(own, place): &(&AtomicU32, &ArcSwapOption<Entry>)| match own
            .load(Ordering::Acquire)
        {
            own if own == tag => (0, Timestamp::EPOCH),
            0 => (1, Timestamp::EPOCH),
            _ => (2, place.load().as_ref().map_or(Timestamp::EPOCH, |entry| entry.good.end)),
        };
        let Some((own, place)) = tags.iter().zip(places).min_by_key(worth) else { return };
        place.store(Some(Arc::new(entry)));
        own.store(tag, Ordering::Release);
    }

    /// Forgets a token.
    pub(crate) fn forget(&self, print: &Print) {
        let Some(bucket) = self.bucket(print) else { return };
        for place in &bucket.places {
            if place.load().as_ref().is_some_and(|entry| entry.print == *print) {
                place.store(None);
            }
        }
    }

    /// Forgets all tokens.
    pub(crate) fn clear(&self) {
        for place in self.buckets.iter().flat_map(|bucket| &bucket.places) {
            place.store(None);
        }
    }

    fn bucket(&self, print: &Print) -> Option<&Bucket> {
        self.buckets.get(print.bucket() & self.buckets.len().wrapping_sub(1))
    }
}

impl Bucket {
    const fn parts(&self) -> (&[AtomicU32; WAYS], &[ArcSwapOption<Entry>; WAYS]) {
        (&self.tags, &self.places)
    }
}
