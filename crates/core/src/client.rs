//! Registered clients and how they prove who they are (RFC 6749 §2).

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use serde::{Deserialize, Serialize};

use crate::certificate::CertificateName;
use crate::jose::Algorithm;
use crate::master::Pepper;
use crate::particulars::{self, Particulars};
use crate::realm::{ClientAuthentication, Endpoint, RefreshPolicy};
use crate::refresh::RefreshToken;
use crate::request::{GrantSet, Presented};
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
    pub grants: GrantSet,
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
    /// Its refresh policy, where it differs from the realm; elsewhere, since few have one and many clients are held.
    #[serde(default)]
    pub refresh: Option<Box<RefreshPolicy>>,
    /// What its access tokens are signed with, where it differs from the realm.
    #[serde(default)]
    pub signing: Option<Algorithm>,
    /// How long it is given the same access token again, where it differs from the realm; zero: never.
    #[serde(default)]
    pub reuse: Option<Duration>,
    /// Whether a refresh needs client authentication, where it differs from the realm.
    #[serde(default)]
    pub client_authentication: Option<ClientAuthentication>,
    /// What few clients have; see [`particulars`](Self::particulars).
    #[serde(default)]
    pub particulars: Option<Box<Particulars>>,
    /// Nothing issued before this is good any more.
    #[serde(default)]
    pub not_before: Timestamp,
    /// Access tokens with an earlier `iat` have ended, as everybody was told: whole seconds, at first perhaps one or two
    /// ahead. Refresh tokens go by `not_before`. Only the store writes it, together with what it tells.
    #[serde(default, skip_serializing_if = "Timestamp::is_epoch")]
    pub ended_before: Timestamp,
    /// When it was registered. What was issued before is of another client that had its identifier.
    #[serde(default)]
    pub created_at: Timestamp,
    /// Its live credentials, any number up to [`MAX_CREDENTIALS`]. Stored beside the client, not in it.
    #[serde(skip)]
    pub credentials: Vec<Credential>,
}

impl Client {
    /// A client that may do nothing yet and has nothing of its own: all else is as its realm says.
    pub fn new(realm: impl Into<String>, id: impl Into<String>, created_at: Timestamp) -> Self {
        Self {
            realm: realm.into(),
            id: id.into(),
            enabled: true,
            grants: GrantSet::default(),
            scope: Scope::empty(),
            default_scope: None,
            audience: Vec::new(),
            access: None,
            refresh: None,
            signing: None,
            reuse: None,
            client_authentication: None,
            particulars: None,
            not_before: Timestamp::EPOCH,
            ended_before: Timestamp::EPOCH,
            created_at,
            credentials: Vec::new(),
        }
    }

    /// The `iat` of the oldest access token of it that can be good.
    pub fn good_since(&self) -> Timestamp {
        // `iat` has whole seconds: a registration within the same second was there before the token.
        let registered = self.created_at.trunc_to_secs();
        self.not_before.ceil_to_secs().max(self.ended_before).max(registered)
    }

    /// What the client has that few have.
    pub fn particulars(&self) -> &Particulars {
        self.particulars.as_deref().unwrap_or(&particulars::NONE)
    }
}

const fn yes() -> bool {
    true
}

/// How many credentials a client may have: each costs a comparison per request, and a rotation needs two.
pub const MAX_CREDENTIALS: usize = 16;

/// The longest label of a credential, in characters: a line on a screen.
pub const MAX_LABEL: usize = 100;

/// Whether people may call a credential this: up to [`MAX_LABEL`] printable characters.
pub fn is_label(label: &str) -> bool {
    label.chars().count() <= MAX_LABEL && !label.chars().any(char::is_control)
}

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
    /// A key pair of which the client alone has the private half (`private_key_jwt`).
    PublicKey {
        /// The public half, as a JWK with `alg` and `kid`.
        jwk: Box<str>,
    },
    /// What another issuer says of it: a Kubernetes service account, a CI job, a SPIFFE workload. No secret at all.
    Federated {
        /// The issuer, one that the realm trusts.
        issuer: Box<str>,
        /// The `sub` of its tokens, exactly.
        subject: Box<str>,
    },
    /// The name in its certificate, for which an authority of the realm vouches (`tls_client_auth`).
    CertificateName {
        /// The one name.
        name: Box<CertificateName>,
    },
    /// A certificate of its own making (`self_signed_tls_client_auth`).
    SelfSigned {
        /// The SHA-256 of its DER.
        thumbprint: [u8; 32],
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
    /// Whether it is the same, in constant time.
    pub fn matches(&self, other: &Self) -> bool {
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
    if !credentials.iter().any(|c| matches!(c.kind, CredentialKind::Secret { .. })) {
        std::hint::black_box(nobody.matches(&digest));
    }
    for credential in credentials {
        let CredentialKind::Secret { digest: stored } = &credential.kind else { continue };
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
    /// The credential with this identifier; `jwks_uri:` and the `kid` for a key that the client publishes itself.
    Credential(String),
    /// The declared endpoint that the request came to.
    Endpoint,
    /// The refresh token it presented, in a realm where that is enough.
    RefreshToken,
}

impl AuthenticatedClient {
    /// The client whose key has signed an assertion, which was checked by [`crate::assertion`].
    pub(crate) fn by_assertion(client: &Arc<Client>, credential: String) -> Self {
        Self { client: Arc::clone(client), by: Proof::Credential(credential) }
    }

    /// The client whose certificate was presented, which was checked by [`crate::certificate`].
    pub(crate) fn by_certificate(client: &Arc<Client>, credential: &str) -> Self {
        Self { client: Arc::clone(client), by: Proof::Credential(credential.to_owned()) }
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MasterKey;
    use crate::request::GrantType;

    const NOW: Timestamp = Timestamp::from_secs(1000);

    fn pepper() -> Pepper {
        MasterKey::new([5; 32]).pepper()
    }

    fn credential(id: &str, secret: &str) -> Credential {
        Credential {
            id: id.into(),
            label: String::new(),
            kind: CredentialKind::Secret { digest: pepper().digest(secret) },
            not_before: Timestamp::EPOCH,
            expires_at: None,
            created_at: Timestamp::EPOCH,
        }
    }

    fn client(credentials: Vec<Credential>) -> Arc<Client> {
        Arc::new(Client { credentials, ..Client::new("r", "billing", Timestamp::EPOCH) })
    }

    /// The identifier of the credential that was used, or why none was good.
    fn by(secret: &str, client: Option<&Arc<Client>>) -> Result<String, Refusal> {
        let presented = Presented { client_id: "billing".into(), secret: Secret::new(secret) };
        match authenticate(&presented, client, &pepper(), NOW)?.proof() {
            Proof::Credential(id) => Ok(id.clone()),
            other => panic!("{other:?} is no credential"),
        }
    }

    #[test]
    fn row_050_every_live_credential_is_good_and_no_other() {
        let (earlier, later) = (Timestamp::from_secs(999), Timestamp::from_secs(1001));
        let client = client(vec![
            credential("first", "a"),
            credential("second", "b"),
            Credential { expires_at: Some(later), ..credential("ending", "c") },
            Credential { expires_at: Some(NOW), ..credential("ended", "d") },
            Credential { not_before: NOW, ..credential("begun", "e") },
            Credential { not_before: later, ..credential("coming", "f") },
            Credential { expires_at: Some(earlier), ..credential("over", "g") },
            credential("again", "g"),
        ]);
        let cases = [
            ("a", Ok("first")),
            ("b", Ok("second")),
            ("c", Ok("ending")),
            ("d", Err(Refusal::SecretExpired)),
            ("e", Ok("begun")),
            ("f", Err(Refusal::SecretExpired)),
            ("g", Ok("again")),
            ("h", Err(Refusal::WrongSecret)),
            ("", Err(Refusal::WrongSecret)),
        ];
        for (secret, expected) in cases {
            assert_eq!(by(secret, Some(&client)), expected.map(str::to_owned), "{secret}");
        }
    }

    #[test]
    fn row_036_an_unknown_client_and_one_without_credentials_are_nobody() {
        assert_eq!(by("a", None), Err(Refusal::UnknownClient));
        assert_eq!(by("a", Some(&client(vec![]))), Err(Refusal::WrongSecret));
        assert_eq!(by("", Some(&client(vec![]))), Err(Refusal::WrongSecret));
    }

    #[test]
    fn row_052_a_disabled_client_is_told_only_after_its_secret_was_right() {
        let mut disabled = Arc::unwrap_or_clone(client(vec![credential("first", "a")]));
        disabled.enabled = false;
        let disabled = Arc::new(disabled);
        assert_eq!(by("a", Some(&disabled)), Err(Refusal::ClientDisabled));
        assert_eq!(by("b", Some(&disabled)), Err(Refusal::WrongSecret));
        assert_eq!(Refusal::ClientDisabled.code(), Refusal::WrongSecret.code());
    }

    #[test]
    fn a_secret_is_good_under_its_own_pepper_alone() {
        let presented = Presented { client_id: "billing".into(), secret: Secret::new("a") };
        let other = MasterKey::new([6; 32]).pepper();
        let client = client(vec![credential("first", "a")]);
        assert!(authenticate(&presented, Some(&client), &other, NOW).is_err());
    }

    #[test]
    fn row_051_a_generated_secret_has_256_bits_and_names_its_credential() {
        let random: [u8; 38] = std::array::from_fn(|i| i as u8 ^ 0xa5);
        let (id, secret) = generate_secret(&random);
        let text = secret.expose();
        assert_eq!(id.len(), CREDENTIAL_ID_LEN);
        assert_eq!(text.len(), SECRET_PREFIX.len() + CREDENTIAL_ID_LEN + 43 + 6);
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')));
        assert_eq!(credential_of(text), Some(id.as_str()));
        assert!(is_high_entropy(text));

        // Each of the 38 bytes is in the text: 6 in the identifier, 32 in the secret.
        for at in 0..random.len() {
            let mut other = random;
            other[at] ^= 1;
            let (other_id, other_secret) = generate_secret(&other);
            assert_ne!(other_secret, secret, "byte {at}");
            assert_eq!(other_id != id, at < 6, "byte {at}");
        }
    }

    #[test]
    fn a_mistyped_secret_names_no_credential() {
        let (_, secret) = generate_secret(&[9; 38]);
        let text = secret.expose();
        for at in 0..text.len() {
            let mut typed = text.as_bytes().to_vec();
            typed[at] = if typed[at] == b'x' { b'y' } else { b'x' };
            let typed = String::from_utf8(typed).unwrap();
            assert_eq!(credential_of(&typed), None, "at {at}");
        }
        let longer = format!("{text}A");
        let (shorter, wide) = (&text[..text.len() - 1], text.replacen("CQ", "é", 1));
        for other in ["", SECRET_PREFIX, &longer, shorter, &wide, &text[4..]] {
            assert_eq!(credential_of(other), None, "{other}");
        }
    }

    #[test]
    fn an_imported_secret_must_look_generated() {
        let cases = [
            ("0123456789abcdef0123456789abcdef", true),
            ("5f3b9a60-1c1e-4d8e-9c55-0a1b2c3d4e5f", true),
            ("Zk3mQ9xW7rT1vB5nY8cL2p", true),
            ("Zk3mQ9xW7rT1vB5nY8cL2", false),
            ("correct horse", false),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
            ("abcabcabcabcabcabcabcabcabcabc", false),
            ("", false),
        ];
        for (secret, expected) in cases {
            assert_eq!(is_high_entropy(secret), expected, "{secret}");
        }
    }

    #[test]
    fn row_055_an_identifier_has_visible_ascii_without_a_colon() {
        let longest = "a".repeat(200);
        for good in ["a", "billing-1", "urn.a~b!", "%41", longest.as_str()] {
            assert!(is_client_id(good), "{good}");
        }
        let too_long = "a".repeat(201);
        for bad in ["", "a:b", "a b", "a\n", "a\0", "a\x7f", "ä", too_long.as_str()] {
            assert!(!is_client_id(bad), "{bad:?}");
        }
    }

    #[test]
    fn an_endpoint_and_a_refresh_token_speak_for_no_other_and_no_disabled_client() {
        let client = client(vec![]);
        let endpoint = |client: &str| Endpoint {
            path: "/t".into(),
            grant: GrantType::Password,
            client: client.into(),
            token_type: None,
            invalid_grant_status: None,
        };
        let of = |id: &str| AuthenticatedClient::by_endpoint(&client, &endpoint(id));
        assert_eq!(*of("billing").unwrap().proof(), Proof::Endpoint);
        assert_eq!(of("other").unwrap_err(), Refusal::UnknownClient);

        let token = |client: &str| RefreshToken {
            family: crate::family::FamilyId([0; 16]),
            generation: 0,
            client: client.into(),
            subject: crate::refresh::Subject::Client,
            scope: Scope::empty(),
            audience: vec![],
            binding: Default::default(),
            started_at: NOW,
            issued_at: NOW,
            expires_at: NOW,
        };
        let of = |id: &str| {
            let optional = ClientAuthentication::Optional;
            AuthenticatedClient::by_refresh_token(&client, &token(id), optional)
        };
        assert_eq!(*of("billing").unwrap().proof(), Proof::RefreshToken);
        assert_eq!(of("other").unwrap_err(), Refusal::NoCredentials);

        let disabled = Arc::new(Client { enabled: false, ..(*client).clone() });
        let by_endpoint = AuthenticatedClient::by_endpoint(&disabled, &endpoint("billing"));
        assert_eq!(by_endpoint.unwrap_err(), Refusal::ClientDisabled);
        let optional = ClientAuthentication::Optional;
        let by_token =
            AuthenticatedClient::by_refresh_token(&disabled, &token("billing"), optional);
        assert_eq!(by_token.unwrap_err(), Refusal::ClientDisabled);
    }
}
