//! An issuer that is trusted: what its tokens must say, its keys, and what of its tokens has ended.

mod epoch;
mod revocations;
mod settings;

use std::ops::Range;
use std::sync::Arc;

use tokenry_core::Timestamp;
use tokenry_core::jose::jws::{Compact, Verified};
use tokenry_core::revocation::Marks;

use crate::feed::Follower;
use crate::keys::{Key, KeyCache, Refreshed};
use crate::{AccessToken, IssuerMetrics, Policy, Rejection};

pub(crate) use epoch::Epoch;
pub(crate) use revocations::Revocations;
pub use revocations::TooManyDenied;
pub(crate) use settings::Settings;

/// An issuer that is trusted.
#[derive(Debug)]
pub(crate) struct Issuer {
    pub(crate) policy: Policy,
    pub(crate) keys: KeyCache,
    pub(crate) revocations: Arc<Revocations>,
    pub(crate) epoch: Arc<Epoch>,
    pub(crate) feed: Option<Follower>,
}

/// A token that is good, and what has to stay as it is for that.
pub(crate) struct Found {
    pub(crate) token: AccessToken,
    pub(crate) key: Arc<Key>,
    /// When it is good by what it says itself.
    pub(crate) good: Range<Timestamp>,
    /// As of when this is known.
    pub(crate) epoch: u64,
}

impl Issuer {
    /// Checks a token for itself, without asking who sent it.
    pub(crate) async fn check(
        &self,
        parsed: &Compact<'_>,
        now: Timestamp,
    ) -> Result<Found, Rejection> {
        self.policy.check_header(parsed.header())?;
        // Before all else: what happens from here on may have been overlooked.
        let epoch = self.epoch.now();
        let (verified, key) = match self.check_signature(parsed) {
            Ok(checked) => checked,
            Err(rejection) => self.check_again(parsed, rejection).await?,
        };
        let token = self.policy.check_claims(verified, now)?;
        // Asked before the revocations are looked at: who is told that all is known has to see all that was told.
        let admitted = self.admit();
        if self.revocations.covers(&marks(&token, key.kid()), now) {
            return Err(Rejection::Revoked);
        }
        admitted?;
        let good = self.policy.life(token.claims());
        Ok(Found { token, key, good, epoch })
    }

    pub(crate) fn metrics(&self) -> IssuerMetrics {
        let (key_fetches, key_fetches_failed) = self.keys.fetches();
        IssuerMetrics {
            issuer: self.policy.issuer.clone(),
            keys: self.keys.current().map_or(0, |keys| keys.len()),
            key_fetches,
            key_fetches_failed,
            revocations: self.revocations.len(),
            feed: self.feed.as_ref().map(Follower::metrics),
        }
    }

    /// Whether so much is known about what was revoked that tokens may be found good. To be asked before looking at the
    /// revocations.
    pub(crate) fn admit(&self) -> Result<(), Rejection> {
        self.feed.as_ref().map_or(Ok(()), Follower::admit)
    }

    /// Whether anything can be said about tokens.
    pub(crate) fn is_ready(&self) -> bool {
        self.keys.current().is_some() && self.admit().is_ok()
    }

    /// Whether a token that was found good before still is, apart from what it says itself: its key is still published,
    /// and nobody has revoked it.
    pub(crate) fn still_takes(&self, token: &AccessToken, key: &Key, now: Timestamp) -> bool {
        self.keys.current().is_some_and(|keys| keys.has(key))
            && !self.revocations.covers(&marks(token, key.kid()), now)
    }

    fn check_signature<'t>(
        &self,
        token: &'t Compact<'_>,
    ) -> Result<(Verified<'t>, Arc<Key>), Rejection> {
        match self.keys.current() {
            Some(keys) => keys.verify(token),
            None => Err(self.unavailable()),
        }
    }

    /// Asks for newer keys where they may help, and looks once more.
    async fn check_again<'t>(
        &self,
        token: &'t Compact<'_>,
        rejection: Rejection,
    ) -> Result<(Verified<'t>, Arc<Key>), Rejection> {
        if !matches!(
            rejection,
            Rejection::UnknownKey | Rejection::BadSignature | Rejection::Unavailable { .. }
        ) {
            return Err(rejection);
        }
        // By its own words it is not for us to judge: no key of ours would make it good, so none is fetched.
        if token.unverified_claim("iss").is_none_or(|iss| iss != self.policy.issuer) {
            return Err(Rejection::WrongIssuer);
        }
        match (self.keys.refresh().await, rejection) {
            (Refreshed::Fetched | Refreshed::JustFetched, _) => self.check_signature(token),
            (Refreshed::Failed, Rejection::BadSignature) => Err(Rejection::BadSignature),
            // The key may be one that was published since: nobody can say that the token is bad.
            (Refreshed::Failed, _) => Err(self.unavailable()),
        }
    }

    fn unavailable(&self) -> Rejection {
        Rejection::Unavailable { retry_after: self.keys.retry_after() }
    }
}

/// What of a token decides whether it was revoked.
fn marks<'t>(token: &'t AccessToken, kid: Option<&'t str>) -> Marks<'t> {
    let claims = token.claims();
    Marks {
        jti: token.jti(),
        family: claims.other.get("sid").and_then(|sid| sid.as_str()),
        client: token.client_id(),
        subject: token.subject(),
        issued_at: claims.iat,
        kid,
    }
}
