//! The verifier: whose a token is, whether it was seen before, and whether its sender has what it is bound to.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokenry_core::Timestamp;
use tokenry_core::jose::jws::{Compact, JwsError};

use crate::cache::{Entry, Print, TokenCache};
use crate::credentials::{Scheme, credentials};
use crate::dpop::Dpop;
use crate::introspection::{Introspection, is_opaque};
use crate::issuer::Issuer;
use crate::metrics::Counters;
use crate::{
    AccessToken, Admitted, ClientCertificate, Clock, Head, Policy, Rejection, TooManyDenied,
    VerifierBuilder, VerifierLayer, VerifierMetrics,
};

/// Checks access tokens of the issuers that it trusts. Clones share everything; the last one ends the fetching of keys.
#[derive(Clone)]
pub struct Verifier {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) issuers: Vec<Issuer>,
    pub(crate) cache: Arc<TokenCache>,
    pub(crate) counters: Counters,
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
    /// that key's, newer keys are asked for once per cooldown, and this call waits a few seconds at most. So it does
    /// where the issuer is asked about the token itself, see [`introspection`](VerifierBuilder::introspection).
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
        Ok(token)
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
            return Ok(Admitted::new(token, None));
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
        token: Arc<AccessToken>,
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
        Ok(Admitted::new(token, shown))
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
    async fn check(&self, text: &str, now: Timestamp) -> Result<Arc<AccessToken>, Rejection> {
        let Inner { cache, counters, .. } = &*self.inner;
        let print = cache.is_on().then(|| Print::of(text));
        let checked = match print.as_ref().and_then(|print| self.known(print, now)) {
            Some(Ok(token)) => {
                counters.hit();
                return Ok(token);
            }
            Some(Err(rejection)) => Err(rejection),
            None => self.check_anew(text, print, now).await,
        };
        match &checked {
            Ok(_) => counters.accepted(),
            Err(rejection) => counters.rejected(matches!(
                rejection,
                Rejection::FeedBehind { .. } | Rejection::Unavailable { .. }
            )),
        }
        checked
    }

    /// A token that was found good before and still is, or of which that cannot be said now.
    ///
    /// In all other cases it is checked like one that was never seen, which finds what is wrong with it.
    fn known(&self, print: &Print, now: Timestamp) -> Option<Result<Arc<AccessToken>, Rejection>> {
        let found = self.inner.cache.find(print)?;
        let entry = found.as_ref()?;
        let issuer = self.inner.issuers.get(entry.issuer)?;
        match issuer.recalls(entry, now) {
            Ok(true) => Some(Ok(Arc::clone(&entry.token))),
            Ok(false) => None,
            Err(rejection) => Some(Err(rejection)),
        }
    }

    async fn check_anew(
        &self,
        text: &str,
        print: Option<Print>,
        now: Timestamp,
    ) -> Result<Arc<AccessToken>, Rejection> {
        let parsed = match Compact::parse(text) {
            Ok(parsed) => parsed,
            // On the heap, so that the future of a JWT is no larger for it.
            Err(error) => return Box::pin(self.check_opaque(text, error, now)).await,
        };
        let (number, issuer) = self.issuer_of(&parsed)?;
        // Before all else: whether the issuer has to be asked changes with it, too.
        let epoch = issuer.epoch.now();
        // Asked first: who is told that all that was revoked is known has to see all of it.
        let must_confirm = issuer.must_confirm();
        let found = issuer.check(&parsed, epoch, now).await?;
        if must_confirm {
            return Ok(Box::pin(issuer.confirm(text, &found, now)).await?.token);
        }
        let found = if issuer.must_look_up(&found) {
            // On the heap, so that the future of other tokens is no larger for it.
            match Box::pin(issuer.look_up(&found, now)).await {
                // Without its list, the issuer's word is as good.
                Err(Rejection::Unavailable { .. }) if issuer.introspection.is_some() => {
                    return Ok(Box::pin(issuer.confirm(text, &found, now)).await?.token);
                }
                looked_up => looked_up?,
            }
        } else {
            found
        };
        if let Some(print) = print {
            self.inner.cache.keep(Entry::new(print, number, &found, false));
        }
        Ok(found.token)
    }

    /// Checks a token that only its issuer can read: by asking, where one is to be asked.
    async fn check_opaque(
        &self,
        text: &str,
        error: JwsError,
        now: Timestamp,
    ) -> Result<Arc<AccessToken>, Rejection> {
        let is_asked =
            |issuer: &&Issuer| issuer.introspection.as_ref().is_some_and(|it| it.is_for(text));
        match self.inner.issuers.iter().find(is_asked) {
            Some(issuer) if is_opaque(text) => Ok(issuer.introspect(text, now).await?.token),
            _ => Err(error.into()),
        }
    }

    /// Whose a token is by its own words. With one issuer its keys say it, and after them its policy.
    fn issuer_of(&self, token: &Compact<'_>) -> Result<(usize, &Issuer), Rejection> {
        match self.inner.issuers.as_slice() {
            [only] => Ok((0, only)),
            many => {
                let named = token.unverified_claim("iss").ok_or(Rejection::WrongIssuer)?;
                let found =
                    many.iter().enumerate().find(|(_, issuer)| issuer.policy.issuer == named);
                found.ok_or(Rejection::WrongIssuer)
            }
        }
    }

    /// Refuses the token with this `jti` (or all with this `sid`) from now on, until `until`, which should be when it
    /// expires by itself.
    ///
    /// # Errors
    ///
    /// [`TooManyDenied`]: the token is **not** refused.
    pub fn refuse(&self, jti: &str, until: Timestamp) -> Result<(), TooManyDenied> {
        let now = self.now();
        self.inner.issuers.iter().try_for_each(|issuer| {
            issuer.revocations.refuse(jti, until + issuer.policy.leeway, now)
        })
    }

    /// Forgets that a token was found good, and what its issuer has said about it: it is checked anew when it comes again.
    pub fn forget(&self, token: &str) {
        let print = Print::of(token);
        // First what is being asked right now, which would be kept again.
        for introspection in self.introspections() {
            introspection.forget(&print);
        }
        self.inner.cache.forget(&print);
    }

    /// Forgets all tokens that were found good, and what their issuers have said about any.
    pub fn forget_all(&self) {
        for introspection in self.introspections() {
            introspection.forget_all();
        }
        self.inner.cache.clear();
    }

    fn introspections(&self) -> impl Iterator<Item = &Introspection> {
        self.inner.issuers.iter().filter_map(|issuer| issuer.introspection.as_ref())
    }

    /// Whether there are keys of every issuer to verify with, nothing is [refused](crate::WhenBehind::Refuse) because a
    /// revocation feed was lost, and whoever is asked about each token has answered lately; for a health check.
    pub fn is_ready(&self) -> bool {
        self.inner.issuers.iter().all(Issuer::is_ready)
    }

    /// What it has done so far, in numbers.
    pub fn metrics(&self) -> VerifierMetrics {
        self.inner.counters.read(self.inner.issuers.iter().map(Issuer::metrics).collect())
    }

    /// A nonce for the `DPoP-Nonce` header of an answer to [`Rejection::NonceNeeded`] (RFC 9449 §9), if nonces are asked
    /// for. A [`Guard`](crate::Guard) writes it by itself.
    pub fn dpop_nonce(&self, now: Timestamp) -> Option<String> {
        self.inner.dpop.as_ref()?.new_nonce(now)
    }

    /// What tokens must say, for each issuer.
    pub fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.inner.issuers.iter().map(|issuer| &issuer.policy)
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
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("issuers", &self.inner.issuers).finish_non_exhaustive()
    }
}
