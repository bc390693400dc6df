//! Fetching a list, and judging whether it is one of the issuer's (draft-ietf-oauth-status-list §8.3).

use std::sync::Arc;
use std::time::Duration;

use tokenry_core::jose::claims::{Claims, ClaimsError};
use tokenry_core::jose::jws::{Compact, JwsError};
use tokenry_core::status_list::{StatusListError, StatusListToken};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::StatusListSource;
use super::copy::{Began, Copy};
use super::source::MAX_LIST_LEN;
use crate::keys::{KeyCache, Refreshed};
use crate::{Clock, FetchError, Policy, Rejection};

/// How long it may take to have a list: five seconds to fetch it, three for a key that is not known yet.
const DEADLINE: Duration = Duration::from_secs(8);

/// Fetches lists of an issuer.
pub(super) struct Reader {
    pub(super) source: Arc<dyn StatusListSource>,
    pub(super) policy: Policy,
    pub(super) keys: Arc<KeyCache>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Reader {
    /// Fetches a list in a task of its own, so that a source that panics is one that failed.
    pub(super) async fn fetch(self: Arc<Self>, uri: Arc<str>) -> Result<Copy, Trouble> {
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { self.read(&uri).await });
        match timeout(DEADLINE, tasks.join_next()).await {
            Err(_) => Err(Trouble::Fetch(FetchError::Timeout)),
            Ok(Some(Ok(read))) => read,
            Ok(_) => Err(Trouble::Panicked),
        }
    }

    async fn read(&self, uri: &str) -> Result<Copy, Trouble> {
        // Before all else: what it says is as of then at best.
        let began = Began { at: self.clock.now(), instant: Instant::now() };
        let body = self.source.fetch(uri).await?;
        let text = std::str::from_utf8(&body).map_err(|_| JwsError::NotBase64Url)?;
        let token = Compact::parse_up_to(text.trim_ascii(), MAX_LIST_LEN)?;
        let header = token.header();
        if !self.policy.algorithms.contains(&header.algorithm()) {
            return Err(Trouble::Algorithm);
        }
        let claims = self.verify(&token).await?;
        self.judge(header.typ(), &claims, uri, began)
    }

    /// The claims, once the signature was checked; with newer keys where those at hand do not do.
    async fn verify(&self, token: &Compact<'_>) -> Result<Claims, Trouble> {
        let verified = || match self.keys.current() {
            None => Err(Trouble::NoKeys),
            Some(keys) => match keys.verify(token) {
                Ok((verified, _)) => Ok(verified.claims()),
                Err(Rejection::Malformed(error)) => Err(Trouble::Malformed(error)),
                Err(_) => Err(Trouble::Signature),
            },
        };
        match verified() {
            Err(Trouble::NoKeys | Trouble::Signature) => {}
            other => return Ok(other??),
        }
        match self.keys.refresh().await {
            Refreshed::Fetched | Refreshed::JustFetched => Ok(verified()??),
            Refreshed::Failed => Err(Trouble::NoKeys),
        }
    }

    fn judge(
        &self,
        typ: Option<&str>,
        claims: &Claims,
        uri: &str,
        began: Began,
    ) -> Result<Copy, Trouble> {
        let (now, leeway) = (self.clock.now(), self.policy.leeway);
        if claims.iss.as_ref().is_some_and(|iss| *iss != self.policy.issuer) {
            return Err(Trouble::Issuer);
        }
        let token = StatusListToken::read(typ, claims, uri, now - leeway)?;
        let begins = claims.nbf.map_or(token.issued_at, |nbf| nbf.max(token.issued_at));
        if begins > now + leeway {
            return Err(Trouble::NotYet);
        }
        Ok(Copy::new(token, began, leeway))
    }
}

/// Why there is no list. Nothing of it is repeated here.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("its algorithm is not allowed")]
    Algorithm,
    #[error("its claims are malformed: {0}")]
    Claims(#[from] ClaimsError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("it is of another issuer")]
    Issuer,
    #[error(transparent)]
    List(#[from] StatusListError),
    #[error("it is no signed token: {0}")]
    Malformed(#[from] JwsError),
    #[error("the issuer's keys are not available")]
    NoKeys,
    #[error("there is no room for it")]
    NoRoom,
    #[error("it is from the future")]
    NotYet,
    #[error("the source panicked")]
    Panicked,
    #[error("no key of the issuer made its signature")]
    Signature,
}

impl Trouble {
    /// Whether its address leads to nothing, which hardly changes soon.
    pub(super) const fn is_missing(&self) -> bool {
        matches!(self, Self::Fetch(FetchError::Status(404 | 410)))
    }
}
