//! Where used proofs are remembered (RFC 9449 §11.1).

use std::error::Error;
use std::sync::Arc;

use tokenry_core::Timestamp;

use super::memory::Memory;
use crate::{BoxFuture, Rejection};

/// What is remembered of a proof: 128 bits of a digest of its key and its `jti`.
pub type ProofId = [u8; 16];

/// Why a store did not answer: for the log.
pub type ProofStoreError = Box<dyn Error + Send + Sync>;

/// Remembers used proofs for all replicas of an API. Without one, each replica remembers those that it saw.
pub trait ProofStore: Send + Sync + 'static {
    /// Remembers a proof, and tells whether it was new. Both are one step: of two calls at the same time, one is told
    /// `false`.
    ///
    /// From `until` on the proof is refused for its age, and may be forgotten. An error refuses the request with
    /// status 503; how long to wait for an answer is for the store to say.
    fn use_up(
        &self,
        proof: ProofId,
        until: Timestamp,
    ) -> BoxFuture<'_, Result<bool, ProofStoreError>>;
}

/// What this verifier remembers with.
pub(super) enum Used {
    Here(Memory),
    Shared(Arc<dyn ProofStore>),
}

impl Used {
    pub(super) async fn use_up(
        &self,
        proof: ProofId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        let store = match self {
            Self::Here(memory) => return memory.use_up(proof, until, now),
            Self::Shared(store) => store,
        };
        match store.use_up(proof, until).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Rejection::ProofReused),
            Err(error) => {
                tracing::error!(%error, "DPoP proof not used up");
                Err(Rejection::ProofStoreDown)
            }
        }
    }
}
