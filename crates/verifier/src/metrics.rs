//! What a verifier has done, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{FeedMetrics, IntrospectionMetrics, StatusListMetrics};

/// The numbers as they are counted.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    accepted: AtomicU64,
    refused: AtomicU64,
    unavailable: AtomicU64,
    hits: AtomicU64,
}

impl Counters {
    pub(crate) fn hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn rejected(&self, unavailable: bool) {
        let counter = if unavailable { &self.unavailable } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, issuers: Vec<IssuerMetrics>) -> VerifierMetrics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let cache_hits = read(&self.hits);
        VerifierMetrics {
            accepted: read(&self.accepted) + cache_hits,
            refused: read(&self.refused),
            unavailable: read(&self.unavailable),
            cache_hits,
            issuers,
        }
    }
}

/// What a [`Verifier`](crate::Verifier) has done so far; counted since it was made.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct VerifierMetrics {
    /// Tokens that were good. That their senders have what they are bound to is not said.
    pub accepted: u64,
    /// Tokens that were not.
    pub refused: u64,
    /// Tokens of which nothing could be said, so that the answer was 503.
    pub unavailable: u64,
    /// How many of the good ones were known from before, so that nothing was verified.
    pub cache_hits: u64,
    /// Each issuer, in the order in which they were named.
    pub issuers: Vec<IssuerMetrics>,
}

/// How a verifier stands with one issuer.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct IssuerMetrics {
    /// Its name.
    pub issuer: String,
    /// Whether anything can be said about its tokens now; see [`Verifier::is_ready`](crate::Verifier::is_ready).
    pub ready: bool,
    /// How many keys there are to verify with; 0 also where they are too old to be used.
    pub keys: usize,
    /// How many fetches of its keys have ended.
    pub key_fetches: u64,
    /// How many of them brought nothing.
    pub key_fetches_failed: u64,
    /// How many revocations are held.
    pub revocations: usize,
    /// How it stands with the issuer's revocation feed, where that is [followed](crate::VerifierBuilder::feed).
    pub feed: Option<FeedMetrics>,
    /// What was asked about its tokens, where it is [asked](crate::VerifierBuilder::introspection).
    pub introspection: Option<IntrospectionMetrics>,
    /// How it stands with its status lists, where tokens are [looked up](crate::VerifierBuilder::status_lists) in them.
    pub status_lists: Option<StatusListMetrics>,
}
