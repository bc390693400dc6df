//! The verifier of one issuer's tokens.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokenry_core::Timestamp;
use tokenry_core::jose::jws::{Compact, Verified};

use crate::credentials::{Scheme, credentials};
use crate::denied::Denied;
use crate::dpop::Dpop;
use crate::keys::{KeyCache, Refreshed};
use crate::{
    AccessToken, Admitted, ClientCertificate, Clock, Head, Policy, Rejection, TooManyDenied,
    VerifierBuilder, VerifierLayer,
};

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
    /// How proofs are checked; `None` where no resource URL is set.
    pub(crate) dpop: Option<Dpop>,
    /// Whether tokens that are bound to nothing are refused.
    pub(crate) bound_only: bool,
    /// Whether the operator knows that a resource URL is missing.
    pub(crate) told: AtomicBool,
}

impl Verifier {
    /// Settings of a verifier for the tokens of this issuer, named exactly as in `iss`.
    pub fn builder(issuer: impl Into<String>) -> VerifierBuilder {
        VerifierBuilder::new(issuer.into())
    }

    pub(crate) fn new(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    /// Checks a bearer token.
    ///
    /// It waits for nothing when the token names a key that is known. When it does not, or the signature is not
    /// that key's, newer keys are asked for once per cooldown, and this call waits a few seconds at most.
    ///
    /// # Errors
    ///
    /// [`Rejection`], one variant per cause. [`Rejection::Bound`] for a token that is good only together with a key or a
    /// certificate: that takes the whole request, see [`verify_request`](Self::verify_request).
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<Arc<AccessToken>, Rejection> {
        let token = self.check(token, now).await?;
        if !token.binding().is_none() {
            return Err(Rejection::Bound);
        }
        self.admit_unbound()?;
        Ok(Arc::new(token))
    }

    /// Checks the token of a request, and that its sender has what it is bound to: the key of a DPoP proof (RFC 9449
    /// §7), a client certificate (RFC 8705 §3), or both.
    ///
    /// A proof is used up by it. What is said of waiting at [`verify`](Self::verify) goes for it, too.
    ///
    /// # Errors
    ///
    /// [`Rejection`], one variant per cause.
    pub async fn verify_request(
        &self,
        head: Head<'_>,
        now: Timestamp,
    ) -> Result<Admitted, Rejection> {
        let (scheme, text) = credentials(head.headers, head.uri)?;
        let token = self.check(text, now).await?;
        // All that most APIs see: there is nothing to prove.
        if scheme == Scheme::Bearer && token.binding().is_none() {
            self.admit_unbound()?;
            return Ok(Admitted::new(Arc::new(token), None));
        }
        // On the heap, so that the future of a bearer token is no larger for it.
        Box::pin(self.prove(head, scheme, text, token, now)).await
    }

    /// Checks that the sender of a token has what it is bound to.
    async fn prove(
        &self,
        head: Head<'_>,
        scheme: Scheme,
        text: &str,
        token: AccessToken,
        now: Timestamp,
    ) -> Result<Admitted, Rejection> {
        let binding = *token.binding();
        // Before the proof, which would be used up for nothing.
        if let Some(expected) = &binding.certificate {
            let certificate: Option<&ClientCertificate> = head.extensions.get();
            if !certificate.is_some_and(|certificate| certificate.is(expected)) {
                return Err(Rejection::WrongCertificate);
            }
        }
        let shown = match (scheme, &binding.key) {
            (Scheme::Bearer, None) => None,
            (Scheme::Dpop, None) => return Err(Rejection::NotBound),
            (scheme, Some(key)) => {
                let dpop = self.inner.dpop.as_ref().ok_or_else(|| self.no_resource_url())?;
                // RFC 9449 §7.2: "such a protected resource MUST reject a DPoP-bound access token received as a bearer
                // token".
                if scheme == Scheme::Bearer {
                    return Err(Rejection::Bound);
                }
                Some(dpop.check(head, text, key, now).await?)
            }
        };
        Ok(Admitted::new(Arc::new(token), shown))
    }

    /// Tells the operator once what he forgot. Only tokens of the issuer get here, and only those bound to a key.
    fn no_resource_url(&self) -> Rejection {
        if !self.inner.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "tokens bound to a key (DPoP) are refused: set resource_url, the address under which clients know this API"
            );
        }
        Rejection::NoResourceUrl
    }

    fn admit_unbound(&self) -> Result<(), Rejection> {
        if self.inner.bound_only { Err(Rejection::Unbound) } else { Ok(()) }
    }

    /// Checks a token for itself, without asking who sent it.
    async fn check(&self, token: &str, now: Timestamp) -> Result<AccessToken, Rejection> {
        let parsed = Compact::parse(token)?;
        self.inner.policy.check_header(parsed.header())?;
        let verified = match self.check_signature(&parsed) {
            Ok(verified) => verified,
            Err(rejection) => self.check_again(&parsed, rejection).await?,
        };
        let token = self.inner.policy.check_claims(verified, now)?;
        if token.jti().is_some_and(|jti| self.inner.denied.contains(jti, now)) {
            return Err(Rejection::Revoked);
        }
        Ok(token)
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

    /// A nonce for the `DPoP-Nonce` header of an answer to [`Rejection::NonceNeeded`] (RFC 9449 §9), if nonces are asked
    /// for. A [`Guard`](crate::Guard) writes it by itself.
    pub fn dpop_nonce(&self, now: Timestamp) -> Option<String> {
        self.inner.dpop.as_ref()?.new_nonce(now)
    }

    /// What tokens must say.
    pub fn policy(&self) -> &Policy {
        &self.inner.policy
    }

    /// A layer that lets in only requests with a good token.
    pub fn layer(&self) -> VerifierLayer {
        VerifierLayer::new(self.clone())
    }

    /// How proofs are checked.
    pub(crate) fn dpop(&self) -> Option<&Dpop> {
        self.inner.dpop.as_ref()
    }

    /// Whether tokens that are bound to nothing are refused.
    pub(crate) fn bound_only(&self) -> bool {
        self.inner.bound_only
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
