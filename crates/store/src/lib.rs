//! What must outlive the process: realms, clients, users, keys, and the little that is remembered of tokens.
//!
//! [`Store`] is one trait, chosen once at start by URL ([`open`]). Every implementation passes the same conformance
//! suite. Issuing a token, and refreshing one that is not rotated, never comes here.

mod lifetimes;
mod memory;
mod open;
mod revocations;
pub mod sqlite;
mod touched;

use std::time::Duration;

use async_trait::async_trait;
use tokenry_core::client::Credential;
use tokenry_core::family::{Family, FamilyId, Rotated, Rotation};
use tokenry_core::jose::Algorithm;
use tokenry_core::key::KeyRecord;
use tokenry_core::opaque::StoredToken;
use tokenry_core::realm::Realm;
use tokenry_core::user::User;
use tokenry_core::{Client, Timestamp};

pub use memory::Memory;
pub use open::{OpenError, check_url, open, open_existing};
pub use revocations::Logged;
pub use sqlite::Sqlite;
pub use touched::{Item, Touched};

/// Storage of the authorization server.
///
/// Lookups give `None` for what is not there. An error means that the store itself failed; what was answered `Ok` is
/// durable.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Everything there is, with all clients, as of one moment: for administration.
    async fn load(&self) -> Result<Snapshot, StoreError>;

    /// Like [`load`](Self::load), without clients: what the server holds in memory. What it needs to know of all
    /// clients is in [`Snapshot::usage`]. Costs the same however many clients there are.
    async fn outline(&self) -> Result<Snapshot, StoreError>;

    /// The client with its credentials.
    async fn client(&self, realm: &str, id: &str) -> Result<Option<Client>, StoreError>;

    /// Up to `limit` clients with their credentials, by realm and identifier, after the one named, whether it is still
    /// there or not.
    async fn clients(
        &self,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<Client>, StoreError>;

    /// The realms and identifiers of up to `limit` clients, in the order of [`clients`](Self::clients).
    async fn client_ids(
        &self,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<(String, String)>, StoreError>;

    /// What has changed after `since`, by whatever process.
    async fn touched(&self, since: Revision) -> Result<Touched, StoreError>;

    /// The number of the last change; grows by every [`change`](Self::change), and by every revocation, of any process.
    async fn revision(&self) -> Result<Revision, StoreError>;

    /// Makes all of these changes or none of them, and writes down which tokens they end
    /// ([`revocations`](Self::revocations)).
    ///
    /// With `expected`, only if nothing else has changed since that revision; otherwise [`StoreError::Conflict`].
    async fn change(
        &self,
        changes: Vec<Change>,
        expected: Option<Revision>,
        now: Timestamp,
    ) -> Result<Revision, StoreError>;

    /// Uses up a refresh token, as [`Rotation::apply`] says, atomically and durably. Where that revokes its family, it is
    /// written down ([`revocations`](Self::revocations)).
    async fn rotate(&self, rotation: Rotation) -> Result<Rotated, StoreError>;

    /// Revokes a family of refresh tokens, and writes that down ([`revocations`](Self::revocations)): there for no longer
    /// than access tokens can live. `client`: whose it is; `expires_at`: when none of its tokens can be valid any more.
    ///
    /// Gives whether it was alive before.
    async fn revoke_family(
        &self,
        realm: &str,
        client: &str,
        family: FamilyId,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<bool, StoreError>;

    /// What is remembered of a family.
    async fn family(&self, realm: &str, family: FamilyId) -> Result<Option<Family>, StoreError>;

    /// Uses up an identifier that is good once, such as that of a client assertion. `expires_at`: until when it must be
    /// remembered.
    ///
    /// Gives whether it was new; of any number of callers, on whatever node, it is for one.
    async fn use_up(
        &self,
        realm: &str,
        id: FamilyId,
        expires_at: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Holds an opaque access token until it expires. No two have one identifier.
    async fn put_token(
        &self,
        realm: &str,
        id: FamilyId,
        token: StoredToken,
    ) -> Result<(), StoreError>;

    /// The opaque access token of this identifier, as long as it is held; whether it is still good is not looked at.
    async fn token(&self, realm: &str, id: FamilyId) -> Result<Option<StoredToken>, StoreError>;

    /// Takes a status list of a realm for this caller alone; gives its number. They are counted from 0, and none is given
    /// twice as long as the realm is there.
    async fn take_status_list(&self, realm: &str) -> Result<u32, StoreError>;

    /// How many status lists of a realm were taken, by whomever.
    async fn status_lists(&self, realm: &str) -> Result<u32, StoreError>;

    /// What has ended tokens before their time, in the order in which it happened: up to `limit` rows after the one of
    /// this number, whether that is still there or not.
    ///
    /// There is one row for each realm and each thing that ended: the last takes the place of those before. The newest row
    /// is always there, once there was one. A row is written together with what causes it, and nothing that is written
    /// later gets a lower number.
    async fn revocations(
        &self,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Logged>, StoreError>;

    /// Deletes what can no longer matter at `now`; gives how many rows, not counting those of
    /// [`revocations`](Self::revocations).
    async fn collect_garbage(&self, now: Timestamp) -> Result<u64, StoreError>;
}

/// The number of a change.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Revision(pub u64);

/// What is stored, as of one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The last change it contains.
    pub revision: Revision,
    /// The check value of the master key ([`MasterKey::check`](tokenry_core::MasterKey::check)), once there is one.
    pub master_key_check: Option<[u8; 32]>,
    /// All realms, by name.
    pub realms: Vec<Realm>,
    /// All clients with their credentials, by realm and identifier; none in an [`outline`](Store::outline).
    pub clients: Vec<Client>,
    /// What the clients of a realm have of their own, by realm; realms whose clients have nothing are left out.
    pub usage: Vec<Usage>,
    /// All users, by realm and name.
    pub users: Vec<User>,
    /// All signing keys.
    pub keys: Vec<KeyRecord>,
    /// The revoked families that are not expired yet: realm, family, when it may be forgotten.
    pub revoked: Vec<(String, FamilyId, Timestamp)>,
    /// The realms where a lifetime of access tokens was made shorter, by name, and when the last token has expired that was
    /// issued before.
    pub outlived: Vec<(String, Timestamp)>,
}

/// What the clients of a realm have of their own that concerns the whole realm.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Usage {
    /// The realm.
    pub realm: String,
    /// What they sign with, where that differs from the realm ([`Client::signing`]); each once, in order.
    pub algorithms: Vec<Algorithm>,
    /// The longest lifetime of an access token that differs from the realm ([`Client::access`]), rounded up to
    /// milliseconds.
    pub longest_access: Option<Duration>,
}

/// A change of what is stored. Putting replaces what has the same key; removing what is not there changes nothing.
#[expect(clippy::large_enum_variant, reason = "changes are few, and made one after the other")]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// Sets the master key's check value.
    PutMasterKeyCheck([u8; 32]),
    /// Adds or replaces a realm.
    PutRealm(Realm),
    /// Removes a realm with all that is in it.
    RemoveRealm {
        /// Its name.
        realm: String,
    },
    /// Adds or replaces a client's registration; its credentials stay as they are.
    PutClient(Client),
    /// Removes a client with its credentials.
    RemoveClient {
        /// Its realm.
        realm: String,
        /// Its identifier.
        client: String,
    },
    /// Adds or replaces a credential of a client that exists.
    PutCredential {
        /// The client's realm.
        realm: String,
        /// The client's identifier.
        client: String,
        /// The credential.
        credential: Credential,
    },
    /// Removes a credential.
    RemoveCredential {
        /// The client's realm.
        realm: String,
        /// The client's identifier.
        client: String,
        /// The credential's identifier.
        credential: String,
    },
    /// Adds or replaces a user.
    PutUser(User),
    /// Removes a user.
    RemoveUser {
        /// Its realm.
        realm: String,
        /// Its name.
        user: String,
    },
    /// Adds or replaces a signing key, by realm and `kid`.
    PutKey(KeyRecord),
    /// Removes a signing key.
    RemoveKey {
        /// Its realm.
        realm: String,
        /// Its `kid`.
        kid: String,
    },
}

/// The store failed, or would not.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Something else changed since the expected revision.
    #[error("the store was changed by somebody else in the meantime")]
    Conflict,
    /// A change names a realm or a client that does not exist.
    #[error("{0} does not exist")]
    Missing(String),
    /// It cannot be reached, is locked, full, or broken. Trying again later may help.
    #[error("the store is not available: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What is stored cannot be read as what it should be.
    #[error("the store holds something unreadable: {0}")]
    Corrupt(String),
}

fn missing_realm(realm: &str) -> StoreError {
    StoreError::Missing(format!("realm {realm:?}"))
}

fn missing_client(realm: &str, client: &str) -> StoreError {
    StoreError::Missing(format!("client {client:?} of realm {realm:?}"))
}
