//! Settings of a verifier for tokens that are bound to their senders.

use std::sync::Arc;

use http::Uri;
use tokenry_core::dpop::Nonces;
use tokenry_core::jose::Algorithm;

use super::memory::{DEFAULT_PROOFS, Memory};
use super::{Dpop, ProofStore, Used};
use crate::{BuildError, VerifierBuilder};

/// What was said about proofs so far.
#[derive(Default)]
pub(crate) struct Settings {
    urls: Vec<String>,
    algorithms: Option<Vec<Algorithm>>,
    nonces: Option<Nonces>,
    most: Option<usize>,
    store: Option<Arc<dyn ProofStore>>,
}

impl VerifierBuilder {
    /// Accepts tokens that are bound to a key (DPoP, RFC 9449), at an API that its clients know under this URL; more
    /// than one may be given.
    ///
    /// A proof names the URL of its request. It is compared with this URL and the path of the request after it, never
    /// with a `Host` header, which whoever replays a proof can choose. So if something in front of the layer takes a
    /// prefix off the path, such as a proxy or `axum::Router::nest`, the prefix belongs here:
    /// `https://api.example/v1`.
    ///
    /// Without any URL all tokens that are bound to a key are refused, and a warning is logged once.
    #[must_use]
    pub fn resource_url(mut self, url: impl Into<String>) -> Self {
        self.dpop.urls.push(url.into());
        self
    }

    /// Accepts only proofs signed with these algorithms; by default all that are known. FAPI 2.0 §5.4.1 admits those of
    /// [`Algorithm::is_of_fapi`].
    #[must_use]
    pub fn dpop_algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.dpop.algorithms = Some(algorithms.into_iter().collect());
        self
    }

    /// Accepts only proofs with a nonce of this API (RFC 9449 §9), no older than five minutes.
    ///
    /// Nonces are made with this key, 32 random bytes, and not remembered: replicas with the same key accept each
    /// other's.
    #[must_use]
    pub fn dpop_nonces(mut self, key: &[u8; 32]) -> Self {
        self.dpop.nonces = Some(Nonces::new(key));
        self
    }

    /// How many used proofs are remembered (100,000, which take 6 MiB at most).
    ///
    /// A proof is good once, and remembered for about a minute. When more come in a minute than are remembered, older
    /// proofs are refused from then on: none is good twice, but clocks have to agree better. It is never less than 1.
    #[must_use]
    pub fn dpop_memory(mut self, proofs: usize) -> Self {
        self.dpop.most = Some(proofs.max(1));
        self
    }

    /// Remembers used proofs elsewhere, instead of in the memory of each replica, so that a proof is good once at all
    /// replicas together.
    #[must_use]
    pub fn dpop_store(mut self, store: impl ProofStore) -> Self {
        self.dpop.store = Some(Arc::new(store));
        self
    }

    /// Refuses tokens that are bound to nothing (FAPI 2.0 §5.3.4): who finds one could use it.
    ///
    /// Tokens may be bound to a key, see [`resource_url`](Self::resource_url), or to a certificate, see
    /// [`ClientCertificate`](crate::ClientCertificate).
    #[must_use]
    pub const fn require_sender_constraint(mut self) -> Self {
        self.bound_only = true;
        self
    }
}

impl Settings {
    pub(crate) fn build(self) -> Result<Option<Dpop>, BuildError> {
        let Self { urls, algorithms, nonces, most, store } = self;
        if urls.is_empty() {
            let asked =
                algorithms.is_some() || nonces.is_some() || most.is_some() || store.is_some();
            return if asked { Err(BuildError::NoResourceUrl) } else { Ok(None) };
        }
        let urls = urls.into_iter().map(checked).collect::<Result<_, _>>()?;
        let algorithms = algorithms.unwrap_or_else(|| Algorithm::ALL.to_vec());
        if algorithms.is_empty() {
            return Err(BuildError::NoAlgorithm);
        }
        let names = |algorithm: &Algorithm| algorithm.names();
        let algs: Vec<&'static str> = algorithms.iter().flat_map(names).copied().collect();
        let used = match store {
            Some(store) => Used::Shared(store),
            None => Used::Here(Memory::new(most.unwrap_or(DEFAULT_PROOFS))),
        };
        Ok(Some(Dpop { urls, algorithms, algs, nonces, used }))
    }
}

/// A URL in the form in which a path is put after it.
fn checked(url: String) -> Result<String, BuildError> {
    if is_http_url(&url) && !url.contains('?') {
        Ok(url.trim_end_matches('/').to_owned())
    } else {
        Err(BuildError::ResourceUrl(url))
    }
}

/// Whether it names something by http or https, without user and fragment.
pub(crate) fn is_http_url(url: &str) -> bool {
    let parsed: Result<Uri, _> = url.parse();
    parsed.is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("https" | "http"))
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
            && !url.contains('#')
    })
}
