//! Settings that are an issuer's own.

use std::sync::Arc;

use tokenry_core::jose::Algorithm;

use super::{Epoch, Issuer, Revocations};
use crate::keys::{HttpKeySource, HttpKeySourceBuilder, KeyCache, KeySource, Schedule};
use crate::{BuildError, Policy};

/// What was said about one issuer so far.
pub(crate) struct Settings {
    pub(crate) policy: Policy,
    pub(crate) schedule: Schedule,
    pub(crate) http: HttpKeySourceBuilder,
    pub(crate) source: Option<Arc<dyn KeySource>>,
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
        Ok(())
    }

    /// Starts to fetch the keys. Must be called within a Tokio runtime.
    pub(crate) fn start(self) -> Result<Issuer, BuildError> {
        let Self { policy, schedule, http, source } = self;
        let source = match source {
            Some(source) => source,
            None => Arc::new(http.build()?),
        };
        let epoch = Arc::new(Epoch::default());
        let (issuer, algorithms) = (policy.issuer.clone(), policy.algorithms.clone());
        let keys = KeyCache::start(source, issuer, algorithms, schedule, Arc::clone(&epoch));
        Ok(Issuer { policy, keys, revocations: Revocations::new(Arc::clone(&epoch)), epoch })
    }
}
