//! Registration by clients themselves: what they send (RFC 7591 §2), and what it makes of them.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};

use crate::certificate::{CertificateName, WrittenNames};
use crate::client::MAX_CREDENTIALS;
use crate::grant::is_absolute;
use crate::jose::{Jwk, JwkSet};
use crate::realm::{Profile, RegistrationPolicy};
use crate::request::{GrantSet, GrantType};
use crate::{Realm, Scope};

/// The longest name of a client, in characters: people read it.
const MAX_NAME: usize = 200;

/// The longest set of certificates, in bytes: they are told again to whoever asks, and so are held.
const MAX_CERTIFICATES: usize = 16 * 1024;

/// The longest URL, in bytes.
const MAX_URL: usize = 500;

/// What a client registers as.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Metadata {
    /// `client_name`
    pub name: Option<String>,
    /// `token_endpoint_auth_method`
    pub method: Method,
    /// `grant_types`
    pub grants: GrantSet,
    /// `scope`
    pub scope: Scope,
    /// `dpop_bound_access_tokens`
    pub dpop_bound: bool,
    /// `tls_client_certificate_bound_access_tokens`
    pub certificate_bound: bool,
}

/// How a client that registers itself authenticates.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Method {
    /// `client_secret_basic` or `client_secret_post`: by a secret that the server makes.
    Secret {
        /// Which of the two it said; both are taken.
        post: bool,
    },
    /// `private_key_jwt`, with keys that it sends.
    Keys(Vec<Jwk>),
    /// `private_key_jwt`, with keys that it publishes.
    JwksUri(String),
    /// `tls_client_auth`, by the name in its certificate.
    CertificateName(CertificateName),
    /// `self_signed_tls_client_auth`, by certificates that stand in the keys that it sends (`x5c`).
    SelfSigned {
        /// The SHA-256 of each.
        thumbprints: Vec<[u8; 32]>,
        /// The keys as sent.
        jwks: String,
    },
}

impl Method {
    /// The value of `token_endpoint_auth_method`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Secret { post: false } => "client_secret_basic",
            Self::Secret { post: true } => "client_secret_post",
            Self::Keys(_) | Self::JwksUri(_) => "private_key_jwt",
            Self::CertificateName(_) => "tls_client_auth",
            Self::SelfSigned { .. } => "self_signed_tls_client_auth",
        }
    }
}

/// Why a registration is refused (RFC 7591 §3.2.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadRegistration {
    /// `invalid_client_metadata`; named.
    #[error("{0}")]
    Metadata(&'static str),
    /// `invalid_software_statement`: no issuer of such is trusted here.
    #[error("no software statement is accepted")]
    SoftwareStatement,
    /// `invalid_request`; named.
    #[error("{0}")]
    Request(&'static str),
}

impl BadRegistration {
    /// The error code on the wire.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Metadata(_) => "invalid_client_metadata",
            Self::SoftwareStatement => "invalid_software_statement",
            Self::Request(_) => "invalid_request",
        }
    }
}

/// What a management request must not send, since the server alone says it (RFC 7592 §2.2).
const OF_THE_SERVER: [&str; 4] = [
    "registration_access_token",
    "registration_client_uri",
    "client_secret_expires_at",
    "client_id_issued_at",
];

const fn bad(what: &'static str) -> BadRegistration {
    BadRegistration::Metadata(what)
}

impl Metadata {
    /// Reads what a client sends to be registered. Members that mean nothing here are ignored (RFC 7591 §2).
    pub fn read(
        body: &[u8],
        realm: &Realm,
        policy: &RegistrationPolicy,
    ) -> Result<Self, BadRegistration> {
        Self::of(&object(body)?, realm, policy)
    }

    /// Reads what the client `id` sends to be registered anew (RFC 7592 §2.2).
    pub fn read_update(
        body: &[u8],
        id: &str,
        realm: &Realm,
        policy: &RegistrationPolicy,
    ) -> Result<Self, BadRegistration> {
        let members = object(body)?;
        if OF_THE_SERVER.iter().any(|name| members.contains_key(*name)) {
            return Err(BadRegistration::Request("members that the server alone says"));
        }
        // "The client MUST include its "client_id" field"
        if text(&members, "client_id")? != Some(id) {
            return Err(bad("client_id must be that of the client"));
        }
        // A secret is known here by its digest alone, and there is no way to choose one.
        if members.contains_key("client_secret") {
            return Err(bad("client_secret cannot be chosen"));
        }
        Self::of(&members, realm, policy)
    }

    fn of(
        members: &Map<String, Value>,
        realm: &Realm,
        policy: &RegistrationPolicy,
    ) -> Result<Self, BadRegistration> {
        if members.contains_key("software_statement") {
            return Err(BadRegistration::SoftwareStatement);
        }
        let name = text(members, "client_name")?;
        if name.is_some_and(|name| name.chars().count() > MAX_NAME) {
            return Err(bad("client_name is too long"));
        }
        Ok(Self {
            name: name.map(str::to_owned),
            method: method(members, realm)?,
            grants: grants(members, realm)?,
            scope: scope(members, policy)?,
            dpop_bound: boolean(members, "dpop_bound_access_tokens")?,
            certificate_bound: boolean(members, "tls_client_certificate_bound_access_tokens")?,
        })
    }
}

fn object(body: &[u8]) -> Result<Map<String, Value>, BadRegistration> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(bad("not a JSON object")),
    }
}

fn method(members: &Map<String, Value>, realm: &Realm) -> Result<Method, BadRegistration> {
    let (jwks, jwks_uri) = (members.get("jwks"), text(members, "jwks_uri")?);
    // "The "jwks_uri" and "jwks" parameters MUST NOT both be present"
    if jwks.is_some() && jwks_uri.is_some() {
        return Err(bad("jwks and jwks_uri together"));
    }
    let fapi = realm.profile == Profile::Fapi2;
    let name = name(members)?;
    // "If unspecified or omitted, the default is "client_secret_basic""
    match text(members, "token_endpoint_auth_method")?.unwrap_or("client_secret_basic") {
        "client_secret_basic" if !fapi => Ok(Method::Secret { post: false }),
        "client_secret_post" if !fapi => Ok(Method::Secret { post: true }),
        "private_key_jwt" => match (jwks, jwks_uri) {
            (Some(jwks), _) => keys(jwks),
            (None, Some(url)) if is_https(url) => Ok(Method::JwksUri(url.to_owned())),
            (None, Some(_)) => Err(bad("jwks_uri is no https URL")),
            (None, None) => Err(bad("private_key_jwt without keys")),
        },
        "tls_client_auth" if takes_certificates(realm) => {
            name.map(Method::CertificateName).ok_or(bad("tls_client_auth without a name"))
        }
        "self_signed_tls_client_auth" if realm.certificates.is_some() => match jwks {
            Some(jwks) => self_signed(jwks),
            None => Err(bad("self_signed_tls_client_auth without certificates")),
        },
        _ => Err(bad("token_endpoint_auth_method is not supported")),
    }
}

/// Whether a realm has authorities that could vouch for a certificate.
fn takes_certificates(realm: &Realm) -> bool {
    realm.certificates.as_ref().is_some_and(|policy| !policy.authorities.is_empty())
}

/// The one name of a certificate, if there is one (RFC 8705 §2.1.2).
fn name(members: &Map<String, Value>) -> Result<Option<CertificateName>, BadRegistration> {
    let written = WrittenNames {
        subject_dn: text(members, "tls_client_auth_subject_dn")?,
        san_dns: text(members, "tls_client_auth_san_dns")?,
        san_uri: text(members, "tls_client_auth_san_uri")?,
        san_ip: text(members, "tls_client_auth_san_ip")?,
        san_email: text(members, "tls_client_auth_san_email")?,
    };
    if written.is_none() {
        return Ok(None);
    }
    CertificateName::registered(&written).map(Some).map_err(|bad| BadRegistration::Metadata(bad.0))
}

/// The certificates in a set of keys: the first of each `x5c`, which is that of the key (RFC 7517 §4.7).
fn self_signed(jwks: &Value) -> Result<Method, BadRegistration> {
    let keys = jwks.get("keys").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let thumbprint = |key: &Value| {
        let text = key.get("x5c")?.get(0)?.as_str()?;
        let der = BASE64_STANDARD.decode(text).ok().filter(|der| !der.is_empty())?;
        let mut thumbprint = [0; 32];
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
        thumbprint.copy_from_slice(digest.as_ref());
        Some(thumbprint)
    };
    let private = |key: &Value| ["d", "p", "q", "k", "priv"].iter().any(|m| key.get(m).is_some());
    let thumbprints: Option<Vec<_>> = keys.iter().map(thumbprint).collect();
    let jwks = jwks.to_string();
    match thumbprints {
        Some(thumbprints)
            if (1..=MAX_CREDENTIALS).contains(&thumbprints.len())
                && !keys.iter().any(private)
                && jwks.len() <= MAX_CERTIFICATES =>
        {
            Ok(Method::SelfSigned { thumbprints, jwks })
        }
        _ => Err(bad("jwks has no certificates, too many, or a key without one")),
    }
}

/// A URL from which keys can be fetched: what stands before an `@` would be somebody's password.
fn is_https(url: &str) -> bool {
    url.starts_with("https://") && is_absolute(url) && url.len() <= MAX_URL && !url.contains('@')
}

fn keys(jwks: &Value) -> Result<Method, BadRegistration> {
    let set = JwkSet::parse(jwks.to_string().as_bytes());
    let set = set.map_err(|_| bad("jwks is no set of public keys"))?;
    if !(1..=MAX_CREDENTIALS).contains(&set.keys().len()) || !set.skipped().is_empty() {
        return Err(bad("jwks has no key, too many, or one that cannot be used"));
    }
    Ok(Method::Keys(set.keys().to_vec()))
}

/// Of the grants that a machine can use, those that make nothing of others.
fn grants(members: &Map<String, Value>, realm: &Realm) -> Result<GrantSet, BadRegistration> {
    let asked = match members.get("grant_types") {
        None => return Ok([GrantType::ClientCredentials].into()),
        Some(Value::Array(asked)) if !asked.is_empty() => asked,
        Some(_) => return Err(bad("grant_types is no list of grants")),
    };
    let may = |grant: &GrantType| match grant {
        GrantType::ClientCredentials => true,
        GrantType::RefreshToken => realm.tokens.refresh.is_some(),
        _ => false,
    };
    let known = asked.iter().map(|one| one.as_str().and_then(GrantType::named).filter(may));
    known.collect::<Option<GrantSet>>().ok_or(bad("grant_types has a grant that is not supported"))
}

fn scope(
    members: &Map<String, Value>,
    policy: &RegistrationPolicy,
) -> Result<Scope, BadRegistration> {
    let Some(asked) = text(members, "scope")? else { return Ok(policy.scopes.clone()) };
    let asked: Scope = asked.parse().map_err(|_| bad("scope is malformed"))?;
    match asked.first_outside(&policy.scopes) {
        Some(_) => Err(bad("scope has one that registered clients may not have")),
        None => Ok(asked),
    }
}

fn text<'a>(
    members: &'a Map<String, Value>,
    name: &'static str,
) -> Result<Option<&'a str>, BadRegistration> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(bad("a member that is no text")),
    }
}

fn boolean(members: &Map<String, Value>, name: &'static str) -> Result<bool, BadRegistration> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(_) => Err(bad("a member that is neither true nor false")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::jose::{Algorithm, SigningKey, generate};
    use crate::realm::TokenPolicy;

    fn realm(profile: Profile) -> Realm {
        let tokens = TokenPolicy::new(Duration::from_secs(300));
        Realm { profile, ..Realm::new("r", "https://auth.example".parse().unwrap(), tokens) }
    }

    fn policy() -> RegistrationPolicy {
        let (scope, scopes) = ("register".parse().unwrap(), "read write".parse().unwrap());
        RegistrationPolicy { scope, scopes }
    }

    fn read(metadata: &Value) -> Result<Metadata, BadRegistration> {
        Metadata::read(metadata.to_string().as_bytes(), &realm(Profile::Standard), &policy())
    }

    fn jwks() -> Value {
        let bytes = generate(Algorithm::Es256).unwrap();
        let key = SigningKey::from_pkcs8(Algorithm::Es256, bytes.as_bytes()).unwrap();
        let jwk: Value = serde_json::from_str(&key.public_jwk().to_json()).unwrap();
        json!({ "keys": [jwk] })
    }

    #[test]
    fn row_278_row_279_row_280_what_a_client_may_register_as() {
        let method = "token_endpoint_auth_method";
        let mut private = jwks();
        private["keys"][0]["d"] = json!("AAAA");
        let cases = [
            (json!({}), true),
            (json!({ "client_name": "a", "foo": 1, "redirect_uris": ["https://a"] }), true),
            (json!({ method: "client_secret_post", "scope": "read" }), true),
            (json!({ method: "private_key_jwt", "jwks": jwks() }), true),
            (json!({ method: "private_key_jwt", "jwks_uri": "https://a.example/jwks" }), true),
            (json!({ "grant_types": ["client_credentials"] }), true),
            (json!({ method: "private_key_jwt", "jwks": jwks(), "jwks_uri": "https://a" }), false),
            (json!({ "jwks": jwks(), "jwks_uri": "https://a.example" }), false),
            (json!({ method: "private_key_jwt" }), false),
            (json!({ method: "private_key_jwt", "jwks_uri": "http://a.example/jwks" }), false),
            (json!({ method: "private_key_jwt", "jwks_uri": "https://a:b@a.example/jwks" }), false),
            (json!({ method: "tls_client_auth", "tls_client_auth_san_dns": "a.example" }), false),
            (json!({ method: "private_key_jwt", "jwks": { "keys": [] } }), false),
            (json!({ method: "private_key_jwt", "jwks": private }), false),
            (json!({ method: "none" }), false),
            (json!({ method: "client_secret_jwt" }), false),
            (json!({ method: 1 }), false),
            (json!({ "grant_types": ["password"] }), false),
            (json!({ "grant_types": ["authorization_code"] }), false),
            (json!({ "grant_types": ["refresh_token"] }), false),
            (json!({ "grant_types": [] }), false),
            (json!({ "scope": "admin" }), false),
            (json!({ "scope": "\"" }), false),
            (json!({ "client_name": "a".repeat(201) }), false),
            (json!({ "dpop_bound_access_tokens": "yes" }), false),
            (json!([]), false),
        ];
        for (metadata, good) in cases {
            let got = read(&metadata);
            assert_eq!(got.is_ok(), good, "{metadata}: {got:?}");
            assert!(good || got.unwrap_err().code() == "invalid_client_metadata");
        }
        let statement = read(&json!({ "software_statement": "a.b.c" })).unwrap_err();
        assert_eq!(statement.code(), "invalid_software_statement");
        assert!(Metadata::read(b"{", &realm(Profile::Standard), &policy()).is_err());
    }

    #[test]
    fn row_087_row_088_a_client_registers_one_name_or_its_certificates() {
        use crate::realm::CertificatePolicy;
        let read = |authorities: &[&str], metadata: Value| {
            let authorities = authorities.iter().map(|one| (*one).to_owned()).collect();
            let policy = CertificatePolicy { authorities, ..CertificatePolicy::default() };
            let realm = Realm { certificates: Some(policy), ..realm(Profile::Fapi2) };
            Metadata::read(metadata.to_string().as_bytes(), &realm, &self::policy())
                .map(|metadata| metadata.method.as_str())
                .map_err(|bad| bad.code())
        };
        let by_name = |further: Value| {
            let mut metadata = json!({ "token_endpoint_auth_method": "tls_client_auth" });
            for (name, value) in further.as_object().unwrap() {
                metadata[name] = value.clone();
            }
            metadata
        };
        let dn = json!({ "tls_client_auth_subject_dn": "CN=a" });
        let two =
            json!({ "tls_client_auth_subject_dn": "CN=a", "tls_client_auth_san_dns": "a.example" });
        const BAD: Result<&str, &str> = Err("invalid_client_metadata");
        assert_eq!(read(&["ca"], by_name(dn.clone())), Ok("tls_client_auth"));
        assert_eq!(read(&["ca"], by_name(two)), BAD);
        assert_eq!(read(&["ca"], by_name(json!({}))), BAD);
        assert_eq!(read(&["ca"], by_name(json!({ "tls_client_auth_san_ip": "a" }))), BAD);
        assert_eq!(read(&[], by_name(dn)), BAD);

        let own = |keys: Value| {
            let jwks = json!({ "keys": keys });
            let method = "self_signed_tls_client_auth";
            read(&[], json!({ "token_endpoint_auth_method": method, "jwks": jwks }))
        };
        assert_eq!(
            own(json!([{ "kty": "EC", "x5c": ["AAAA"] }])),
            Ok("self_signed_tls_client_auth")
        );
        for bad in [
            json!([]),
            json!([{ "kty": "EC" }]),
            json!([{ "x5c": [] }]),
            json!([{ "x5c": ["%"] }]),
            json!([{ "x5c": ["AAAA"], "d": "AAAA" }]),
        ] {
            assert_eq!(own(bad.clone()), BAD, "{bad}");
        }
    }

    #[test]
    fn row_288_under_fapi_nobody_registers_for_a_secret() {
        let read = |metadata: Value| {
            Metadata::read(metadata.to_string().as_bytes(), &realm(Profile::Fapi2), &policy())
        };
        assert!(read(json!({})).is_err());
        let method = "token_endpoint_auth_method";
        assert!(read(json!({ method: "private_key_jwt", "jwks": jwks() })).is_ok());
    }

    #[test]
    fn row_284_an_update_names_the_client_and_nothing_of_the_server() {
        let update = |metadata: Value| {
            let body = metadata.to_string();
            Metadata::read_update(body.as_bytes(), "c1", &realm(Profile::Standard), &policy())
                .map(|_| ())
                .map_err(|bad| bad.code())
        };
        assert_eq!(update(json!({ "client_id": "c1" })), Ok(()));
        assert_eq!(update(json!({})), Err("invalid_client_metadata"));
        assert_eq!(update(json!({ "client_id": "c2" })), Err("invalid_client_metadata"));
        let secret = json!({ "client_id": "c1", "client_secret": "mine" });
        assert_eq!(update(secret), Err("invalid_client_metadata"));
        for name in OF_THE_SERVER {
            assert_eq!(update(json!({ "client_id": "c1", name: 1 })), Err("invalid_request"));
        }
    }
}
