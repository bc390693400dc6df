//! The signing keys of a realm, opened.

use std::sync::{Arc, OnceLock};

use tokenry_core::jose::{self, Algorithm, JwkSet, PreparedHeader, SigningKey, VerifyingKey};
use tokenry_core::key::{KeyRecord, Stage, signing};
use tokenry_core::realm::{Dialect, Ed25519Name};
use tokenry_core::{MasterKey, Realm, Timestamp, status_list};

use crate::clock::random;

/// A private key with the headers that it writes.
#[derive(Debug)]
pub(crate) struct Signer {
    key: SigningKey,
    /// The header of access tokens.
    access: PreparedHeader,
    /// The header of ID tokens.
    id: PreparedHeader,
    /// The header of signed answers to introspection.
    introspection: PreparedHeader,
    /// The header of status lists.
    status_list: PreparedHeader,
    /// The public half, once somebody asked about a token.
    public: OnceLock<VerifyingKey>,
}

/// Which kind of token is signed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Access,
    Id,
    /// RFC 9701 §5.
    Introspection,
    /// draft-ietf-oauth-status-list §5.1.
    StatusList,
}

/// What of a realm shows in the headers that its keys write.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Manner {
    dialect: Dialect,
    ed25519: Ed25519Name,
}

impl Signer {
    fn open(master: &MasterKey, record: &KeyRecord, realm: &Realm) -> Option<Self> {
        let pkcs8 = master.open(&purpose(&record.realm, &record.kid), &record.sealed).ok()?;
        let key = SigningKey::from_pkcs8(record.algorithm, &pkcs8)
            .ok()?
            .with_kid(record.kid.clone())
            .with_algorithm_name(realm.tokens.name_of(record.algorithm));
        // RFC 9068 §2.1 against Keycloak, whose access tokens are of type `JWT`.
        let access = match realm.dialect {
            Dialect::Rfc => "at+jwt",
            Dialect::Keycloak => "JWT",
        };
        Some(Self {
            access: key.header(access),
            id: key.header("JWT"),
            introspection: key.header("token-introspection+jwt"),
            status_list: key.header(status_list::TYP),
            public: OnceLock::new(),
            key,
        })
    }

    /// What it is published under.
    pub(crate) fn kid(&self) -> &str {
        self.key.kid()
    }

    /// A compact JWT of these claims.
    pub(crate) fn sign(&self, kind: Kind, claims: &str) -> Option<String> {
        let header = match kind {
            Kind::Access => &self.access,
            Kind::Id => &self.id,
            Kind::Introspection => &self.introspection,
            Kind::StatusList => &self.status_list,
        };
        let mut token = String::new();
        self.key.sign_compact(header, claims.as_bytes(), &mut token).ok()?;
        Some(token)
    }
}

/// Makes a key that begins to sign at `signs_at`.
pub(crate) fn make(
    master: &MasterKey,
    realm: &str,
    algorithm: Algorithm,
    now: Timestamp,
    signs_at: Timestamp,
) -> Option<KeyRecord> {
    let pkcs8 = jose::generate(algorithm).ok()?;
    let kid = SigningKey::from_pkcs8(algorithm, pkcs8.as_bytes()).ok()?.kid().to_owned();
    let sealed = master.seal(&purpose(realm, &kid), random().ok()?, pkcs8.as_bytes())?;
    Some(KeyRecord {
        realm: realm.to_owned(),
        kid,
        algorithm,
        sealed,
        announced_at: now,
        signs_at,
        retired_at: None,
        gone_at: None,
    })
}

/// What a private key is sealed for: this realm, this name, nothing else.
fn purpose<'a>(realm: &'a str, kid: &'a str) -> [&'a str; 3] {
    ["signing key", realm, kid]
}

/// All keys of a realm that are not gone.
#[derive(Debug, Default)]
pub(crate) struct Keyring {
    records: Vec<KeyRecord>,
    /// Of the record at the same place.
    signers: Vec<Arc<Signer>>,
    manner: Manner,
}

impl Keyring {
    /// Opens the keys of a realm, taking from `before` what is open already and writes what the realm writes now.
    ///
    /// A key that does not open (another master key, damaged) is left out and reported: one bad key spoils no realm.
    pub(crate) fn open(
        master: &MasterKey,
        realm: &Realm,
        mut records: Vec<KeyRecord>,
        before: Option<&Self>,
    ) -> Self {
        let manner = Manner { dialect: realm.dialect, ed25519: realm.tokens.ed25519 };
        let before = before.filter(|ring| ring.manner == manner);
        let mut signers = Vec::with_capacity(records.len());
        // What does not open counts as not there: the realm makes a key in its place.
        records.retain(|record| {
            let known = before.and_then(|ring| ring.same(record));
            let signer = known.or_else(|| Signer::open(master, record, realm).map(Arc::new));
            if signer.is_none() {
                tracing::error!(
                    realm = record.realm,
                    kid = record.kid,
                    "signing key does not open"
                );
            }
            let opens = signer.is_some();
            signers.extend(signer);
            opens
        });
        Self { records, signers, manner }
    }

    fn same(&self, record: &KeyRecord) -> Option<Arc<Signer>> {
        let sealed_alike = |r: &KeyRecord| r.kid == record.kid && r.sealed == record.sealed;
        self.each().find(|(r, _)| sealed_alike(r)).map(|(_, signer)| Arc::clone(signer))
    }

    fn each(&self) -> impl Iterator<Item = (&KeyRecord, &Arc<Signer>)> {
        self.records.iter().zip(&self.signers)
    }

    /// The key that signs with an algorithm at `now`.
    pub(crate) fn signer(&self, algorithm: Algorithm, now: Timestamp) -> Option<&Signer> {
        let record = signing(&self.records, now, algorithm)?;
        self.each().find(|(own, _)| std::ptr::eq(*own, record)).map(|(_, signer)| &**signer)
    }

    /// The public half of the key that signs with an algorithm at `now`, in DER.
    pub(crate) fn public_der(&self, algorithm: Algorithm, now: Timestamp) -> Option<Vec<u8>> {
        self.signer(algorithm, now)?.key.public_der()
    }

    /// The key of this identifier, to verify with, if it is published at `now`.
    pub(crate) fn verifying(&self, kid: &str, now: Timestamp) -> Option<&VerifyingKey> {
        let (_, signer) =
            self.each().find(|(own, _)| own.kid == kid && own.stage(now) != Stage::Gone)?;
        Some(signer.public.get_or_init(|| VerifyingKey::from(signer.key.public_jwk())))
    }

    /// The records of one algorithm.
    pub(crate) fn records(&self, algorithm: Algorithm) -> Vec<KeyRecord> {
        self.records.iter().filter(|r| r.algorithm == algorithm).cloned().collect()
    }

    /// The algorithms of which there are keys.
    pub(crate) fn algorithms(&self) -> impl Iterator<Item = Algorithm> {
        self.records.iter().map(|r| r.algorithm)
    }

    /// The public halves of all keys that are not gone at `now`, as a JWK set.
    pub(crate) fn jwks(&self, now: Timestamp) -> String {
        let public = self.each().filter(|(record, _)| record.stage(now) != Stage::Gone);
        let keys = public.map(|(_, signer)| signer.key.public_jwk().clone());
        JwkSet::new(keys.collect())
            .map_or_else(|_| r#"{"keys":[]}"#.to_owned(), |set| set.to_json())
    }

    /// When the set that is published changes next by itself.
    pub(crate) fn changes_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.records.iter().filter_map(|r| r.gone_at).filter(|at| *at > now).min()
    }
}
