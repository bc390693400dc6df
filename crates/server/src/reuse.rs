//! The same token for who asks for the same again, where a realm or client wants it so.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Weak};
use std::time::Duration;

use quick_cache::sync::Cache;
use tokenry_core::grant::{Issue, Refresh};
use tokenry_core::request::GrantType;
use tokenry_core::{Client, Scope, Timestamp};

use crate::directory::RealmState;

/// How many tokens are kept. Each has some 1 KiB, signed with ML-DSA up to 8; what falls out is signed again.
const MAX_KEPT: usize = 10_000;

/// A token that may be given again.
struct Kept {
    /// The very registration and realm that it was issued under: after any change of either, which is how those that were
    /// issued before have ended, it is not given again.
    client: Arc<Client>,
    realm: Weak<RealmState>,
    scope: Scope,
    audience: Vec<String>,
    token: String,
    jti: [u8; 16],
    decided_at: Timestamp,
    expires_at: Timestamp,
}

/// A token that is given again.
pub(crate) struct Again(Arc<Kept>);

impl Again {
    pub(crate) fn token(&self) -> &str {
        &self.0.token
    }
}

/// The tokens that may be given again.
pub(crate) struct Reuse {
    kept: Cache<u64, Arc<Kept>>,
    keys: RandomState,
}

impl Default for Reuse {
    fn default() -> Self {
        Self { kept: Cache::new(MAX_KEPT), keys: RandomState::new() }
    }
}

impl Reuse {
    /// How long the token of this issue may be given again; `None` where it may not.
    ///
    /// Only client credentials without a refresh token qualify: what starts a family, is about a person, is bound to a key
    /// or is held by the store, is given once.
    pub(crate) fn window(realm: &RealmState, issue: &Issue) -> Option<Duration> {
        let window = issue.client.reuse.or(realm.realm.tokens.reuse)?;
        let alone = issue.grant == GrantType::ClientCredentials && issue.refresh == Refresh::None;
        let plain = !issue.id_token && !issue.opaque && issue.binding.is_none();
        (alone && plain && !window.is_zero()).then_some(window)
    }

    /// The token that was issued for the same within `window` and not `revoked` since, by its `jti`; `issue` then
    /// expires when that one does.
    pub(crate) fn find(
        &self,
        realm: &Arc<RealmState>,
        issue: &mut Issue,
        window: Duration,
        revoked: impl FnOnce([u8; 16]) -> bool,
    ) -> Option<Again> {
        let kept = self.kept.get(&self.key(issue))?;
        let same = Arc::ptr_eq(&kept.client, &issue.client)
            && std::ptr::eq(kept.realm.as_ptr(), Arc::as_ptr(realm))
            && kept.scope == issue.scope
            && kept.audience == issue.audience;
        let fresh =
            issue.decided_at < kept.decided_at + window && issue.decided_at < kept.expires_at;
        if !(same && fresh) || revoked(kept.jti) {
            return None;
        }
        issue.expires_at = kept.expires_at;
        Some(Again(kept))
    }

    /// Keeps the token of an issue.
    pub(crate) fn keep(&self, realm: &Arc<RealmState>, issue: &Issue, token: &str) {
        let kept = Kept {
            client: Arc::clone(&issue.client),
            realm: Arc::downgrade(realm),
            scope: issue.scope.clone(),
            audience: issue.audience.clone(),
            token: token.to_owned(),
            jti: issue.jti,
            decided_at: issue.decided_at,
            expires_at: issue.expires_at,
        };
        self.kept.insert(self.key(issue), Arc::new(kept));
    }

    /// Two issues with one key evict each other, and are never taken for each other.
    fn key(&self, issue: &Issue) -> u64 {
        // A registration is where it is for as long as its token is kept.
        self.keys.hash_one((Arc::as_ptr(&issue.client).addr(), issue.scope.as_str()))
    }
}

impl std::fmt::Debug for Reuse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reuse({} kept)", self.kept.len())
    }
}
