//! Values to store, and places to store them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tokenry_core::client::Credential;
use tokenry_core::family::{FamilyId, Rotation};
use tokenry_core::key::KeyRecord;
use tokenry_core::{Client, Realm, Timestamp, User};
use tokenry_store::sqlite::Options;
use tokenry_store::{Change, Sqlite, Store};

pub(crate) const GRACE: Duration = Duration::from_secs(30);

pub(crate) fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

pub(crate) fn realm(name: &str) -> Realm {
    serde_json::from_value(json!({
        "name": name,
        "issuer": format!("https://{name}.example"),
        "tokens": { "access": { "secs": 300, "nanos": 0 } },
        "scopes": "a b",
    }))
    .unwrap()
}

/// A client with the credentials of these identifiers.
pub(crate) fn client(realm: &str, id: &str, credentials: &[&str]) -> Client {
    let client =
        json!({ "realm": realm, "id": id, "grants": ["client_credentials"], "scope": "a" });
    let mut client: Client = serde_json::from_value(client).unwrap();
    client.credentials = credentials.iter().map(|id| credential(id)).collect();
    client
}

pub(crate) fn credential(id: &str) -> Credential {
    let digest = vec![7; 32];
    let credential = json!({
        "id": id,
        "label": "\"quoted\" ünïcode",
        "kind": { "kind": "secret", "digest": digest },
        "expires_at": 1_800_000_000_123_u64,
        "created_at": 1_700_000_000_000_u64,
    });
    serde_json::from_value(credential).unwrap()
}

pub(crate) fn user(realm: &str, name: &str) -> User {
    let user = json!({
        "realm": realm, "name": name, "subject": "018f3e6e-0000-7000-8000-000000000000",
        "password": "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAA",
        "enabled": true, "created_at": 1,
    });
    serde_json::from_value(user).unwrap()
}

pub(crate) fn key(realm: &str, kid: &str) -> KeyRecord {
    let key = json!({
        "realm": realm, "kid": kid, "algorithm": "ES256", "sealed": [0, 1, 255],
        "announced_at": 1, "signs_at": 2, "retired_at": 3, "gone_at": null,
    });
    serde_json::from_value(key).unwrap()
}

pub(crate) fn family(number: u64) -> FamilyId {
    FamilyId(u128::from(number).to_be_bytes())
}

/// A rotation in realm `r` whose successor lives 1000 seconds.
pub(crate) fn rotation(family: FamilyId, presented: u32, now: Timestamp) -> Rotation {
    let expires_at = now + Duration::from_secs(1000);
    Rotation {
        realm: "r".into(),
        client: "c".into(),
        family,
        presented,
        now,
        grace: GRACE,
        expires_at,
    }
}

/// Makes the realms, with nothing in them.
pub(crate) async fn make_realms(store: &dyn Store, names: &[&str]) {
    let changes = names.iter().map(|name| Change::PutRealm(realm(name))).collect();
    store.change(changes, None, at(1)).await.unwrap();
}

/// A SQLite store in a directory of its own, which goes with it.
pub(crate) struct InFile {
    pub(crate) directory: TempDir,
}

impl InFile {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("tokenry.db")
    }

    pub(crate) fn open(&self) -> Sqlite {
        open(&self.path())
    }
}

pub(crate) fn open(path: &Path) -> Sqlite {
    Sqlite::open(path, &Options::default()).unwrap()
}
