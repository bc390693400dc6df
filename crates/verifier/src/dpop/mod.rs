//! Proofs of possession at the API (RFC 9449 §4.3, §7, §9).

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::{HeaderName, HeaderValue};
use tokenry_core::Timestamp;
use tokenry_core::dpop::{self, Expected, NonceState, Nonces, Proof};
use tokenry_core::jose::Algorithm;

use crate::{Head, Rejection};

mod memory;
mod settings;
mod store;

pub(crate) use settings::{Settings, is_http_url};
use store::Used;
pub use store::{ProofId, ProofStore, ProofStoreError};

/// The header of a proof.
const DPOP: HeaderName = HeaderName::from_static("dpop");

/// The header of a nonce.
pub(crate) const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// How proofs are checked.
pub(crate) struct Dpop {
    urls: Vec<String>,
    algorithms: Vec<Algorithm>,
    /// Every name of each of the algorithms.
    algs: Vec<&'static str>,
    nonces: Option<Nonces>,
    used: Used,
}

/// What a request has shown with its proof.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) proof: UsedProof,
    /// A new nonce, for the answer.
    pub(crate) nonce: Option<HeaderValue>,
}

/// The proof that a request has used up, in its extensions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct UsedProof(ProofId);

impl Dpop {
    /// Checks that a request proves to have the key that its token is bound to, once.
    ///
    /// Nothing is remembered of a proof before all else is good: only who has a token with the key of the proof takes
    /// room.
    pub(crate) async fn check(
        &self,
        head: Head<'_>,
        token: &str,
        jkt: &[u8; 32],
        now: Timestamp,
    ) -> Result<Shown, Rejection> {
        let proof = self.read(head, token, now)?;
        if verify_slices_are_equal(&proof.key, jkt).is_err() {
            return Err(Rejection::WrongKey);
        }
        let nonce = self.renewal(&proof, now)?;
        let id = UsedProof(proof.once.id.0);
        if head.extensions.get() != Some(&id) {
            self.used.use_up(id.0, proof.once.until, now).await?;
        }
        Ok(Shown { proof: id, nonce })
    }

    /// The names of the algorithms in which proofs may be signed.
    pub(crate) fn algs(&self) -> &[&'static str] {
        &self.algs
    }

    /// A new nonce, where nonces are asked for.
    pub(crate) fn new_nonce(&self, now: Timestamp) -> Option<String> {
        Some(self.nonces.as_ref()?.make(now))
    }

    /// The proof of a request, if it is one for this request and this token.
    fn read(&self, head: Head<'_>, token: &str, now: Timestamp) -> Result<Proof, Rejection> {
        let mut proofs = head.headers.get_all(DPOP).iter();
        let proof = proofs.next().ok_or(Rejection::BadProof("no DPoP header"))?;
        // "There is not more than one DPoP HTTP request header field" (§4.3).
        if proofs.next().is_some() {
            return Err(Rejection::BadProof("more than one DPoP header"));
        }
        // `OPTIONS *` and `CONNECT` have no path, and so no URL that a proof could be for.
        let path = head.uri.path();
        if !path.starts_with('/') {
            return Err(Rejection::BadProof("for another URL"));
        }
        let urls: Vec<String> = self.urls.iter().map(|url| format!("{url}{path}")).collect();
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        let expected =
            Expected { method: head.method.as_str(), urls: &urls, access_token: Some(token) };
        let proof = dpop::check(proof.as_bytes(), &expected, now)
            .map_err(|bad| Rejection::BadProof(bad.0))?;
        if !self.algorithms.contains(&proof.algorithm) {
            return Err(Rejection::BadProof("an algorithm that is not accepted"));
        }
        Ok(proof)
    }

    /// Judges the nonce of a proof (§9), and makes a new one where it gets old.
    fn renewal(&self, proof: &Proof, now: Timestamp) -> Result<Option<HeaderValue>, Rejection> {
        let Some(nonces) = &self.nonces else { return Ok(None) };
        let nonce = proof.nonce.as_deref().ok_or(Rejection::NonceNeeded)?;
        match nonces.state(nonce, now) {
            NonceState::Bad => Err(Rejection::NonceNeeded),
            // base64url may stand in a header, so that there is always one.
            NonceState::Ageing => Ok(HeaderValue::try_from(nonces.make(now)).ok()),
            NonceState::Fresh => Ok(None),
        }
    }
}
