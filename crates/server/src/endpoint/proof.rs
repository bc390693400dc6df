//! What a request proves to have: a certificate (RFC 8705 §3), and the key of a DPoP proof (RFC 9449).

use http::HeaderValue;
use http::request::Parts;
use tokenry_core::assertion::Once;
use tokenry_core::dpop::{self, Expected, NonceState, Proof};
use tokenry_core::realm::Profile;
use tokenry_core::{Binding, Refusal};

use super::{Failure, Walk};
use crate::certificate::PeerCertificate;

/// The header of a proof.
const DPOP: &str = "dpop";

/// The header of a nonce.
const DPOP_NONCE: &str = "dpop-nonce";

/// What a request has shown.
#[derive(Default)]
pub(super) struct Shown {
    pub(super) binding: Binding,
    /// What the proof uses up, once it is known that anything is given for it.
    once: Option<Once>,
    /// Whether the answer is to bring a new nonce.
    renew: bool,
}

impl Walk<'_> {
    /// The certificate of a request, and its proof, if it has one.
    pub(super) fn shown(&self, parts: &Parts) -> Result<Shown, Failure> {
        self.shown_with(parts, None)
    }

    /// The same where an access token comes with it, for which the proof must be.
    pub(super) fn shown_with(
        &self,
        parts: &Parts,
        access_token: Option<&str>,
    ) -> Result<Shown, Failure> {
        let certificate = self.certificate().map(PeerCertificate::thumbprint);
        let mut proofs = parts.headers.get_all(DPOP).iter();
        let Some(proof) = proofs.next() else {
            let binding = Binding { certificate, ..Binding::NONE };
            return Ok(Shown { binding, ..Shown::default() });
        };
        // "There is not more than one DPoP HTTP request header field" (§4.3).
        if proofs.next().is_some() {
            return Err(Refusal::BadProof("more than one").into());
        }
        let origins = self.state.origins().map(|origin| format!("{origin}{}", parts.uri.path()));
        let urls: Vec<String> = origins.collect();
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        let expected = Expected { method: parts.method.as_str(), urls: &urls, access_token };
        let proof = dpop::check(proof.as_bytes(), &expected, self.now)
            .map_err(|bad| Refusal::BadProof(bad.0))?;
        let realm = &self.state.realm;
        if realm.profile == Profile::Fapi2 && !proof.algorithm.is_of_fapi() {
            return Err(Refusal::BadProof("an algorithm that FAPI does not admit").into());
        }
        let renew = realm.dpop.nonce && self.nonce_ages(&proof)?;
        let binding = Binding { key: Some(proof.key), certificate };
        Ok(Shown { binding, once: Some(proof.once), renew })
    }

    /// Whether the nonce of a proof is good for not much longer.
    fn nonce_ages(&self, proof: &Proof) -> Result<bool, Refusal> {
        let nonce = proof.nonce.as_deref().ok_or(Refusal::NonceNeeded)?;
        match self.state.nonces.state(nonce, self.now) {
            NonceState::Bad => Err(Refusal::NonceNeeded),
            NonceState::Ageing => Ok(true),
            NonceState::Fresh => Ok(false),
        }
    }

    /// Remembers a proof, so that it is good once: on every node of the store.
    pub(super) async fn use_up(&self, shown: &Shown) -> Result<(), Failure> {
        let Some(once) = shown.once else { return Ok(()) };
        match self.app.store.use_up(&self.state.realm.name, once.id, once.until).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Refusal::ProofReused.into()),
            Err(error) => {
                tracing::error!(%error, "DPoP proof not used up");
                Err(Failure::Unavailable("the store did not take a DPoP proof"))
            }
        }
    }

    /// The nonce of an answer: to a refusal for want of one, and to a proof whose own is ageing.
    pub(super) fn give_nonce(&self, headers: &mut http::HeaderMap) {
        if let Ok(nonce) = HeaderValue::try_from(self.state.nonces.make(self.now)) {
            headers.insert(DPOP_NONCE, nonce);
        }
    }
}

impl Shown {
    /// Whether the answer is to bring a new nonce.
    pub(super) const fn renews(&self) -> bool {
        self.renew
    }
}
