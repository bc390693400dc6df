//! What a keeper knows of its refresh tokens: in memory, and in the store if there is one.

use std::fmt;
use std::sync::{Arc, PoisonError};

use tokenry_core::{Secret, Timestamp};
use tokio::sync::Mutex;

use super::{RefreshTokenStore, StoreError, StoredRefreshToken};

/// How many abandoned tokens are kept to be revoked. Each took a lost answer, and then a revocation endpoint that was
/// out of reach; beyond this the oldest is let go, since it is the first to expire.
const MAX_ABANDONED: usize = 4;

/// The one place that knows what is stored. Every change is made to a copy, written, and only then known.
pub(crate) struct Ledger {
    store: Option<Arc<dyn RefreshTokenStore>>,
    /// Whether abandoned tokens can be revoked; else there is no use in keeping them.
    revocable: bool,
    /// Locked while the store is written to, so that it is written in the order of the changes.
    known: Mutex<StoredRefreshToken>,
    /// When a token expires, as far as the server said: there is no use in revoking it then.
    expiry: std::sync::Mutex<Option<(Secret, Timestamp)>>,
}

impl Ledger {
    pub(crate) fn new(store: Option<Arc<dyn RefreshTokenStore>>, revocable: bool) -> Self {
        Self { store, revocable, known: Mutex::default(), expiry: std::sync::Mutex::default() }
    }

    /// Whether it outlives the process.
    pub(crate) fn is_stored(&self) -> bool {
        self.store.is_some()
    }

    /// Reads the store.
    pub(crate) async fn load(&self) -> Result<StoredRefreshToken, StoreError> {
        let Some(store) = self.store.clone() else { return Ok(StoredRefreshToken::default()) };
        let mut known = self.known.lock().await;
        *known = apart(move || store.load()).await?.unwrap_or_default();
        Ok(known.clone())
    }

    /// A token is about to be sent that this may use up. Says whether it was beyond doubt until now.
    pub(crate) async fn present(&self, token: &Secret, now: Timestamp) -> Result<bool, StoreError> {
        let mut known = self.known.lock().await;
        // The first time counts: the server may have used it up then.
        if known.token.as_ref() == Some(token) && known.presented_at.is_some() {
            return Ok(false);
        }
        let abandoned = known.abandoned.clone();
        let next =
            StoredRefreshToken { token: Some(token.clone()), presented_at: Some(now), abandoned };
        self.write(&mut known, next).await?;
        Ok(true)
    }

    /// The token in use is not used up.
    pub(crate) async fn absolve(&self) -> Result<(), StoreError> {
        let mut known = self.known.lock().await;
        let next = StoredRefreshToken { presented_at: None, ..known.clone() };
        self.write(&mut known, next).await
    }

    /// The token in use is no more. Its successor is soon written, and until then what is stored does no harm.
    pub(crate) async fn forget(&self) {
        let mut known = self.known.lock().await;
        (known.token, known.presented_at) = (None, None);
    }

    /// The token in use has this successor.
    pub(crate) async fn succeed(&self, new: &Secret) -> Result<(), StoreError> {
        let mut known = self.known.lock().await;
        let abandoned = known.abandoned.clone();
        let next = StoredRefreshToken { token: Some(new.clone()), presented_at: None, abandoned };
        let written = self.write(&mut known, next).await;
        if written.is_err() {
            // Not used, but it is what its family goes on with: to be abandoned with the next credentials.
            known.token = Some(new.clone());
        }
        written
    }

    /// This token expires then.
    pub(crate) fn note_expiry(&self, token: &Secret, at: Timestamp) {
        let mut expiry = self.expiry.lock().unwrap_or_else(PoisonError::into_inner);
        *expiry = Some((token.clone(), at));
    }

    fn is_expired(&self, token: &Secret, now: Timestamp) -> bool {
        let expiry = self.expiry.lock().unwrap_or_else(PoisonError::into_inner);
        expiry.as_ref().is_some_and(|(known, at)| known == token && now >= *at)
    }

    /// Credentials are used instead of the token in use, if there is one. Written with what they bring.
    pub(crate) async fn abandon(&self, now: Timestamp) {
        let mut known = self.known.lock().await;
        let old = known.token.take();
        known.presented_at = None;
        let is_of_use = |old: &Secret| {
            self.revocable && !known.abandoned.contains(old) && !self.is_expired(old, now)
        };
        let Some(old) = old.filter(is_of_use) else { return };
        if known.abandoned.len() >= MAX_ABANDONED {
            known.abandoned.remove(0);
        }
        known.abandoned.push(old);
    }

    /// Credentials have brought this token, or none.
    pub(crate) async fn begin(&self, new: Option<&Secret>) -> Result<(), StoreError> {
        if let Some(new) = new {
            return self.succeed(new).await;
        }
        let mut known = self.known.lock().await;
        let abandoned = known.abandoned.clone();
        self.write(&mut known, StoredRefreshToken { abandoned, ..Default::default() }).await
    }

    /// What is to be revoked.
    pub(crate) async fn abandoned(&self) -> Vec<Secret> {
        self.known.lock().await.abandoned.clone()
    }

    /// An abandoned token is revoked, or never will be.
    pub(crate) async fn settle(&self, token: &Secret) -> Result<(), StoreError> {
        let mut known = self.known.lock().await;
        let mut next = known.clone();
        next.abandoned.retain(|abandoned| abandoned != token);
        self.write(&mut known, next).await
    }

    async fn write(
        &self,
        known: &mut StoredRefreshToken,
        next: StoredRefreshToken,
    ) -> Result<(), StoreError> {
        if let Some(store) = self.store.clone() {
            let written = next.clone();
            apart(move || match written.token.is_none() && written.abandoned.is_empty() {
                true => store.clear(),
                false => store.save(&written),
            })
            .await?;
        }
        *known = next;
        Ok(())
    }
}

/// Does what may block where that is allowed.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(StoreError::Abandoned))
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ledger(..)")
    }
}

#[cfg(test)]
mod tests;
