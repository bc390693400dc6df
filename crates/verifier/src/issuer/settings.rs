//! Settings that are an issuer's own.

use std::sync::Arc;

use tokenry_core::jose::Algorithm;

use super::{Epoch, Issuer, Revocations};
use crate::cache::TokenCache;
use crate::feed::{Around, Follower};
use crate::introspection::{Introspection, IntrospectionSettings, Surroundings};
use crate::keys::{HttpKeySource, HttpKeySourceBuilder, KeyCache, KeySource, Schedule};
use crate::status::{Beside, StatusLists};
use crate::{BuildError, Clock, FeedSettings, Policy, StatusListSettings};

/// What was said about one issuer so far.
pub(crate) struct Settings {
    pub(crate) policy: Policy,
    pub(crate) schedule: Schedule,
    pub(crate) http: HttpKeySourceBuilder,
    pub(crate) source: Option<Arc<dyn KeySource>>,
    pub(crate) feed: Option<FeedSettings>,
    pub(crate) introspection: Option<IntrospectionSettings>,
    pub(crate) status_lists: Option<StatusListSettings>,
}

impl Settings {
    pub(crate) fn new(issuer: String) -> Self {
        Self {
            policy: Policy {
                issuer,
                audiences: Vec::new(),
                algorithms: Algorithm::ALL.to_vec(),
                leeway: Policy::DEFAULT_LEEWAY,
                legacy_typ: false,
            },
            schedule: Schedule::default(),
            http: HttpKeySource::builder(),
            source: None,
            feed: None,
            introspection: None,
            status_lists: None,
        }
    }

    /// What can be said without doing anything yet.
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        let Policy { issuer, audiences, algorithms, .. } = &self.policy;
        if issuer.is_empty() {
            return Err(BuildError::NoIssuer);
        }
        if audiences.is_empty() || audiences.iter().any(String::is_empty) {
            return Err(BuildError::NoAudience);
        }
        if algorithms.is_empty() {
            return Err(BuildError::NoAlgorithm);
        }
        let Some(feed) = &self.feed else { return Ok(()) };
        if feed.introspects() && self.introspection.is_none() {
            return Err(BuildError::NoIntrospection(issuer.clone()));
        }
        feed.check()
    }

    /// Starts to fetch the keys, and to follow the feed. Must be called within a Tokio runtime. `cache` is where tokens
    /// that are good are kept, and under which number of an issuer.
    pub(crate) fn start(
        self,
        clock: &Arc<dyn Clock>,
        cache: (&Arc<TokenCache>, usize),
    ) -> Result<Issuer, BuildError> {
        let Self { policy, schedule, http, source, feed, introspection, status_lists } = self;
        let connections = http.http().clone();
        let epoch = Arc::new(Epoch::default());
        let revocations = Arc::new(Revocations::new(Arc::clone(&epoch)));
        let surroundings = Surroundings {
            policy: &policy,
            revocations: &revocations,
            epoch: &epoch,
            http: &connections,
            cache,
        };
        let introspection =
            introspection.map(|it| Introspection::new(it, &surroundings)).transpose()?;
        let source = match source {
            Some(source) => source,
            None => Arc::new(http.build()?),
        };
        let (issuer, algorithms) = (policy.issuer.clone(), policy.algorithms.clone());
        let keys = KeyCache::start(source, issuer, algorithms, schedule, Arc::clone(&epoch));
        let keys = Arc::new(keys);
        let beside = Beside {
            policy: &policy,
            keys: &keys,
            epoch: &epoch,
            http: &connections,
            clock,
            wait: schedule.wait,
        };
        let status_lists = status_lists.map(|it| StatusLists::new(&it, &beside)).transpose()?;
        let follow = |settings| {
            let around = Around {
                issuer: policy.issuer.clone(),
                leeway: policy.leeway,
                http: &connections,
                revocations: Arc::clone(&revocations),
                keys: keys.refetch(),
                epoch: Arc::clone(&epoch),
                clock: Arc::clone(clock),
            };
            Follower::start(settings, around)
        };
        let feed = feed.map(follow).transpose()?;
        Ok(Issuer { policy, keys, revocations, epoch, feed, introspection, status_lists })
    }
}
