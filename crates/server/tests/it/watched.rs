//! A store that can be watched and switched off.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokenry_core::family::{Family, FamilyId, Rotated, Rotation};
use tokenry_core::opaque::StoredToken;
use tokenry_core::{Client, Timestamp};
use tokenry_store::{Change, Logged, Memory, Revision, Snapshot, Store, StoreError, Touched};

/// A store that counts look-ups of clients, can be switched off, and can be behind with revocations.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    inner: Mutex<Arc<Memory>>,
    looked_up: AtomicU64,
    /// How often the log of revocations was read.
    pub(crate) logs_read: AtomicU64,
    written: AtomicU64,
    /// How often the number of status lists was read.
    pub(crate) asked_for_lists: AtomicU64,
    pub(crate) down: AtomicBool,
    /// Snapshots are as if they had been taken before any family was revoked.
    pub(crate) behind: AtomicBool,
}

impl Watched {
    pub(crate) fn of(inner: Arc<Memory>) -> Self {
        Self { inner: Mutex::new(inner), ..Self::default() }
    }

    /// Puts another store in its place, as a backup may be.
    pub(crate) fn replace(&self, other: Arc<Memory>) {
        *self.inner.lock().unwrap() = other;
    }

    fn up(&self) -> Result<Arc<Memory>, StoreError> {
        match self.down.load(Ordering::Relaxed) {
            true => Err(StoreError::Unavailable("switched off".into())),
            false => Ok(Arc::clone(&self.inner.lock().unwrap())),
        }
    }

    /// How often something was written for tokens: rotations, revocations, what is used up, opaque tokens, status lists.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    fn up_to_write(&self) -> Result<Arc<Memory>, StoreError> {
        self.written.fetch_add(1, Ordering::Relaxed);
        self.up()
    }

    pub(crate) fn looked_up(&self) -> u64 {
        self.looked_up.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Store for Watched {
    async fn load(&self) -> Result<Snapshot, StoreError> {
        self.up()?.load().await
    }

    async fn outline(&self) -> Result<Snapshot, StoreError> {
        let mut outline = self.up()?.outline().await?;
        if self.behind.load(Ordering::Relaxed) {
            outline.revoked.clear();
        }
        Ok(outline)
    }

    async fn client(&self, realm: &str, id: &str) -> Result<Option<Client>, StoreError> {
        self.looked_up.fetch_add(1, Ordering::Relaxed);
        let client = self.up()?.client(realm, id).await;
        // As a store elsewhere would, it lets others go on meanwhile: what they read is as old then.
        tokio::task::yield_now().await;
        client
    }

    async fn clients(
        &self,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<Client>, StoreError> {
        self.up()?.clients(after, limit).await
    }

    async fn client_ids(
        &self,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<(String, String)>, StoreError> {
        self.up()?.client_ids(after, limit).await
    }

    async fn touched(&self, since: Revision) -> Result<Touched, StoreError> {
        self.up()?.touched(since).await
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.up()?.revision().await
    }

    async fn change(
        &self,
        changes: Vec<Change>,
        expected: Option<Revision>,
        now: Timestamp,
    ) -> Result<Revision, StoreError> {
        self.up()?.change(changes, expected, now).await
    }

    async fn rotate(&self, rotation: Rotation) -> Result<Rotated, StoreError> {
        self.up_to_write()?.rotate(rotation).await
    }

    async fn revoke_family(
        &self,
        realm: &str,
        client: &str,
        family: FamilyId,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.up_to_write()?.revoke_family(realm, client, family, now, expires_at).await
    }

    async fn family(&self, realm: &str, family: FamilyId) -> Result<Option<Family>, StoreError> {
        self.up()?.family(realm, family).await
    }

    async fn use_up(
        &self,
        realm: &str,
        id: FamilyId,
        expires_at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.up_to_write()?.use_up(realm, id, expires_at).await
    }

    async fn put_token(
        &self,
        realm: &str,
        id: FamilyId,
        token: StoredToken,
    ) -> Result<(), StoreError> {
        self.up_to_write()?.put_token(realm, id, token).await
    }

    async fn token(&self, realm: &str, id: FamilyId) -> Result<Option<StoredToken>, StoreError> {
        self.up()?.token(realm, id).await
    }

    async fn revocations(
        &self,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Logged>, StoreError> {
        self.logs_read.fetch_add(1, Ordering::Relaxed);
        self.up()?.revocations(after, limit).await
    }

    async fn take_status_list(&self, realm: &str) -> Result<u32, StoreError> {
        self.up_to_write()?.take_status_list(realm).await
    }

    async fn status_lists(&self, realm: &str) -> Result<u32, StoreError> {
        self.asked_for_lists.fetch_add(1, Ordering::Relaxed);
        self.up()?.status_lists(realm).await
    }

    async fn collect_garbage(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.up()?.collect_garbage(now).await
    }
}
