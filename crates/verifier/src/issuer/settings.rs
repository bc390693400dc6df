//! Settings that are an issuer's own.

use std::sync::Arc;

use tokenry_core::jose::Algorithm;

use super::{Epoch, Issuer, Revocations};
use crate::feed::{Around, Follower};
use crate::keys::{HttpKeySource, HttpKeySourceBuilder, KeyCache, KeySource, Schedule};
use crate::{BuildError, Clock, FeedSettings, Policy};

/// What was said about one issuer so far.
pub(crate) struct Settings {
    pub(crate) policy: Policy,
    pub(crate) schedule: Schedule,
    pub(crate) http: HttpKeySourceBuilder,
    pub(crate) source: Option<Arc<dyn KeySource>>,
    pub(crate) feed: Option<FeedSettings>,
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
        self.feed.as_ref().map_or(Ok(()), FeedSettings::check)
    }

    /// Starts to fetch the keys, and to follow the feed. Must be called within a Tokio runtime.
    pub(crate) fn start(self, clock: &Arc<dyn Clock>) -> Result<Issuer, BuildError> {
        let Self { policy, schedule, http, source, feed } = self;
        let connections = http.http().clone();
        let source = match source {
            Some(source) => source,
            None => Arc::new(http.build()?),
        };
        let epoch = Arc::new(Epoch::default());
        let (issuer, algorithms) = (policy.issuer.clone(), policy.algorithms.clone());
        let keys = KeyCache::start(source, issuer, algorithms, schedule, Arc::clone(&epoch));
        let revocations = Arc::new(Revocations::new(Arc::clone(&epoch)));
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
        Ok(Issuer { policy, keys, revocations, epoch, feed })
    }
}
