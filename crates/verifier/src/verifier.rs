//! The verifier of one issuer's tokens.

use std::fmt;
use std::sync::Arc;

use tokenry_core::Timestamp;
use tokenry_core::jose::jws::{Compact, Verified};

use crate::denied::Denied;
use crate::keys::{KeyCache, Refreshed};
use crate::{AccessToken, Clock, Policy, Rejection, TooManyDenied, VerifierBuilder, VerifierLayer};

/// Checks access tokens of one issuer. Clones share everything; the last one ends the fetching of keys.
#[derive(Clone)]
pub struct Verifier {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) policy: Policy,
    pub(crate) keys: KeyCache,
    pub(crate) denied: Denied,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Verifier {
    /// Settings of a verifier for the tokens of this issuer, named exactly as in `iss`.
    pub fn builder(issuer: impl Into<String>) -> VerifierBuilder {
        VerifierBuilder::new(issuer.into())
    }

    pub(crate) fn new(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    /// Checks a token.
    ///
    /// It waits for nothing when the token names a key that is known. When it does not, or the signature is not
    /// that key's, newer keys are asked for once per cooldown, and this call waits a few seconds at most.
    ///
    /// # Errors
    ///
    /// [`Rejection`], one variant per cause.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<Arc<AccessToken>, Rejection> {
        let parsed = Compact::parse(token)?;
        self.inner.policy.check_header(parsed.header())?;
        let verified = match self.check_signature(&parsed) {
            Ok(verified) => verified,
            Err(rejection) => self.check_again(&parsed, rejection).await?,
        };
        let token = self.inner.policy.check(verified, now)?;
        if token.jti().is_some_and(|jti| self.inner.denied.contains(jti, now)) {
            return Err(Rejection::Revoked);
        }
        Ok(Arc::new(token))
    }

    /// Refuses the token with this `jti` from now on, until `until`, which should be when it expires by itself.
    ///
    /// # Errors
    ///
    /// [`TooManyDenied`]: the token is **not** refused.
    pub fn refuse(&self, jti: &str, until: Timestamp) -> Result<(), TooManyDenied> {
        self.inner.denied.insert(jti, until + self.inner.policy.leeway, self.now())
    }

    /// Whether there are keys to verify with, for a health check.
    pub fn is_ready(&self) -> bool {
        self.inner.keys.current().is_some()
    }

    /// What tokens must say.
    pub fn policy(&self) -> &Policy {
        &self.inner.policy
    }

    /// A layer that lets in only requests with a good token.
    pub fn layer(&self) -> VerifierLayer {
        VerifierLayer::new(self.clone())
    }

    /// The time by this verifier's clock.
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    fn check_signature<'t>(&self, token: &'t Compact<'_>) -> Result<Verified<'t>, Rejection> {
        match self.inner.keys.current() {
            Some(keys) => keys.verify(token),
            None => Err(self.unavailable()),
        }
    }

    /// Asks for newer keys where they may help, and looks once more.
    async fn check_again<'t>(
        &self,
        token: &'t Compact<'_>,
        rejection: Rejection,
    ) -> Result<Verified<'t>, Rejection> {
        if !matches!(
            rejection,
            Rejection::UnknownKey | Rejection::BadSignature | Rejection::Unavailable { .. }
        ) {
            return Err(rejection);
        }
        // By its own words it is not for us to judge: no key of ours would make it good, so none is fetched.
        if token.unverified_claim("iss").is_none_or(|iss| iss != self.inner.policy.issuer) {
            return Err(Rejection::WrongIssuer);
        }
        match (self.inner.keys.refresh().await, rejection) {
            (Refreshed::Fetched | Refreshed::JustFetched, _) => self.check_signature(token),
            (Refreshed::Failed, Rejection::BadSignature) => Err(Rejection::BadSignature),
            // The key may be one that was published since: nobody can say that the token is bad.
            (Refreshed::Failed, _) => Err(self.unavailable()),
        }
    }

    fn unavailable(&self) -> Rejection {
        Rejection::Unavailable { retry_after: self.inner.keys.retry_after() }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("policy", &self.inner.policy).finish_non_exhaustive()
    }
}
