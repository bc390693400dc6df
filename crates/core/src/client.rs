//! Registered clients and how they prove who they are (RFC 6749 §2).

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use serde::{Deserialize, Serialize};

use crate::jose::Algorithm;
use crate::master::Pepper;
use crate::realm::{ClientAuthentication, Endpoint, RefreshPolicy};
use crate::refresh::RefreshToken;
use crate::request::{GrantType, Presented};
use crate::{Refusal, Scope, Secret, Timestamp};

/// A client as registered.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Client {
    /// The realm it belongs to.
    pub realm: String,
    /// The identifier, `client_id` on the wire. See [`is_client_id`].
    pub id: String,
    /// Whether it may have tokens.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The grants it may use.
    pub grants: BTreeSet<GrantType>,
    /// The scope it may have.
    #[serde(default)]
    pub scope: Scope,
    /// The scope it gets when it asks for none; `None`: all that it may have.
    #[serde(default)]
    pub default_scope: Option<Scope>,
    /// The `aud` of its access tokens; empty: that of the realm.
    #[serde(default)]
    pub audience: Vec<String>,
    /// How long its access tokens live, where it differs from the realm.
    #[serde(default)]
    pub access: Option<Duration>,
    /// Its refresh policy, where it differs from the realm.
    #[serde(default)]
    pub refresh: Option<RefreshPolicy>,
    /// What its access tokens are signed with, where it differs from the realm.
    #[serde(default)]
    pub signing: Option<Algorithm>,
    /// Whether a refresh needs client authentication, where it differs from the realm.
    #[serde(default)]
    pub client_authentication: Option<ClientAuthentication>,
    /// Nothing issued before this is good any more.
    #[serde(default)]
    pub not_before: Timestamp,
    /// Its live credentials, any number up to [`MAX_CREDENTIALS`]. Stored beside the client, not in it.
    #[serde(skip)]
    pub credentials: Vec<Credential>,
}

const fn yes() -> bool {
    true
}

/// How many credentials a client may have: each costs a comparison per request, and a rotation needs two.
pub const MAX_CREDENTIALS: usize = 16;

/// Whether `id` may identify a client: 1 to 200 visible ASCII characters without `:` (which Basic cannot carry).
///
/// RFC 6749 appendix A.1 also allows the space; no client library agrees on how to send it.
pub fn is_client_id(id: &str) -> bool {
    (1..=200).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic() && b != b':')
}

/// Something a client can prove itself with.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Credential {
    /// Its identifier, unique within the client; [`CREDENTIAL_ID_LEN`] characters of `A-Z a-z 0-9 _ -`.
    pub id: String,
    /// What people call it.
    #[serde(default)]
    pub label: String,
    /// What is compared with what the client presents.
    pub kind: CredentialKind,
    /// Good from here on.
    #[serde(default)]
    pub not_before: Timestamp,
    /// Good until here; `None`: until it is removed.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// When it was added.
    pub created_at: Timestamp,
}

impl Credential {
    /// Whether it can be used at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.not_before <= now && self.expires_at.is_none_or(|at| now < at)
    }
}

/// The kinds of credential.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum CredentialKind {
    /// A secret of high entropy, generated here or imported.
    Secret {
        /// Its digest under the pepper.
        digest: SecretDigest,
    },
}

/// HMAC-SHA-256 of a client secret under the [`Pepper`].
///
/// A fast digest is enough, since the secret has at least 128 bits of entropy; without the pepper, which the
/// database does not hold, it says nothing.
#[derive(Clone, Copy, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct SecretDigest(pub [u8; 32]);

impl SecretDigest {
    fn matches(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest(..)")
    }
}

/// Length of a credential's identifier in characters.
pub const CREDENTIAL_ID_LEN: usize = 8;

/// What every generated client secret begins with, so that secret scanners find a leaked one.
pub const SECRET_PREFIX: &str = "tks_";

const RANDOM_LEN: usize = 43;
const CHECKSUM_LEN: usize = 6;

/// Makes a client secret from 38 random bytes: its credential's identifier and its text.
///
/// The text is [`SECRET_PREFIX`], the identifier, 43 characters (256 bits) of base64url and a checksum of 6, all of
/// `A-Z a-z 0-9 _ -`, which no client library encodes differently from another.
pub fn generate_secret(random: &[u8; 38]) -> (String, Secret) {
    let id = base64url(&random[..6]);
    let mut text = format!("{SECRET_PREFIX}{id}{}", base64url(&random[6..]));
    let checksum = checksum(&text);
    text.push_str(&checksum);
    (id, Secret::new(text))
}

/// The credential that a generated secret names; `None` where the text was not generated here or was mistyped.
pub fn credential_of(secret: &str) -> Option<&str> {
    let body = secret.strip_prefix(SECRET_PREFIX)?;
    if body.len() != CREDENTIAL_ID_LEN + RANDOM_LEN + CHECKSUM_LEN || !body.is_ascii() {
        return None;
    }
    let (text, sum) = secret.split_at(secret.len() - CHECKSUM_LEN);
    (checksum(text) == sum).then(|| &body[..CREDENTIAL_ID_LEN])
}

/// Whether an imported secret is long and varied enough to be stored as a fast digest.
///
/// It cannot be known how a text was drawn. This admits what servers generate (32 hex digits, UUIDs, base64 of 16
/// bytes and more: at least 128 bits less fixed characters) and refuses what people make up.
pub fn is_high_entropy(secret: &str) -> bool {
    let distinct: BTreeSet<u8> = secret.bytes().collect();
    secret.len() >= 22 && distinct.len() >= 8
}

fn base64url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// The first 4 bytes of the SHA-256, as 6 characters. It finds typing mistakes; it protects nothing.
fn checksum(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    base64url(&digest.as_ref()[..4])
}

/// Checks what was presented against the client found under its identifier.
///
/// An unknown client, a disabled one and a wrong secret take the same time: the digest is computed in each case
/// and compared with as many credentials as the client has, or with one that nobody can match.
pub fn authenticate(
    presented: &Presented,
    client: Option<&Arc<Client>>,
    pepper: &Pepper,
    now: Timestamp,
) -> Result<AuthenticatedClient, Refusal> {
    let digest = pepper.digest(presented.secret.expose());
    let nobody = SecretDigest([0; 32]);
    let credentials = client.map_or(&[][..], |c| &c.credentials);
    let mut found = None;
    let mut expired = false;
    if credentials.is_empty() {
        std::hint::black_box(nobody.matches(&digest));
    }
    for credential in credentials {
        let CredentialKind::Secret { digest: stored } = &credential.kind;
        if stored.matches(&digest) {
            if credential.is_live(now) {
                found = Some(credential.id.clone());
            } else {
                expired = true;
            }
        }
    }
    let Some(client) = client else { return Err(Refusal::UnknownClient) };
    match found {
        None if expired => Err(Refusal::SecretExpired),
        None => Err(Refusal::WrongSecret),
        Some(_) if !client.enabled => Err(Refusal::ClientDisabled),
        Some(credential) => Ok(AuthenticatedClient {
            client: Arc::clone(client),
            by: Proof::Credential(credential),
        }),
    }
}

/// A client that has proved who it is, or that need not.
///
/// Only the functions of this module make one:
///
/// ```compile_fail
/// # fn f(client: std::sync::Arc<tokenry_core::Client>) {
/// let forged = tokenry_core::client::AuthenticatedClient { client };
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct AuthenticatedClient {
    client: Arc<Client>,
    by: Proof,
}

/// What an [`AuthenticatedClient`] stands on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Proof {
    /// The credential with this identifier.
    Credential(String),
    /// The declared endpoint that the request came to.
    Endpoint,
    /// The refresh token it presented, in a realm where that is enough.
    RefreshToken,
}

impl AuthenticatedClient {
    /// The client that a declared endpoint fills in.
    pub fn by_endpoint(client: &Arc<Client>, endpoint: &Endpoint) -> Result<Self, Refusal> {
        if client.id != endpoint.client {
            return Err(Refusal::UnknownClient);
        }
        if !client.enabled {
            return Err(Refusal::ClientDisabled);
        }
        Ok(Self { client: Arc::clone(client), by: Proof::Endpoint })
    }

    /// The client that is sealed in a refresh token, where the realm or the client says that this is enough.
    pub fn by_refresh_token(
        client: &Arc<Client>,
        token: &RefreshToken,
        realm: ClientAuthentication,
    ) -> Result<Self, Refusal> {
        let required = client.client_authentication.unwrap_or(realm);
        if required == ClientAuthentication::Required || client.id != token.client {
            return Err(Refusal::NoCredentials);
        }
        if !client.enabled {
            return Err(Refusal::ClientDisabled);
        }
        Ok(Self { client: Arc::clone(client), by: Proof::RefreshToken })
    }

    /// The client's registration.
    pub const fn registration(&self) -> &Arc<Client> {
        &self.client
    }

    /// What it stands on.
    pub const fn proof(&self) -> &Proof {
        &self.by
    }
}
