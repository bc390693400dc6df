//! A realm: an issuer with its policy.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::jose::Algorithm;
use crate::request::GrantType;
use crate::{Scope, Timestamp};

pub mod limits;
mod policy;

pub use policy::{
    CertificatePolicy, DpopPolicy, Profile, RegistrationPolicy, Resource, Trust, TrustedKeys,
};

/// An issuer with its policy: what should be, as an operator declared it.
///
/// Everything a realm publishes is computed from this value, never from what a request says of its own host.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Realm {
    /// The name operators use; unique in a store. See [`is_name`].
    pub name: String,
    /// The `iss` of its tokens; gives host and base path of its endpoints.
    pub issuer: Issuer,
    /// Further host names on which the same realm answers. They change nothing that it publishes.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// How refusals and answers are written.
    #[serde(default)]
    pub dialect: Dialect,
    /// Lifetimes, algorithm and refresh policy.
    pub tokens: TokenPolicy,
    /// The `aud` of access tokens, unless the client has its own. The issuer stands in where both are empty.
    #[serde(default)]
    pub audience: Vec<String>,
    /// The scope tokens that exist in this realm.
    #[serde(default)]
    pub scopes: Scope,
    /// Whether the password grant exists at all (RFC 9700 §2.4 forbids it; some vendors live on it).
    #[serde(default)]
    pub password_grant: bool,
    /// Whether a refresh needs client authentication.
    #[serde(default)]
    pub client_authentication: ClientAuthentication,
    /// Grants at paths of their own.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
    /// How signing keys come and go.
    #[serde(default)]
    pub keys: KeyPolicy,
    /// What a request may say that its tokens are to be for, beside [`audience`](Self::audience).
    #[serde(default)]
    pub resources: Vec<Resource>,
    /// Whether one token may be for several of them (RFC 9700 §2.3 has one audience).
    #[serde(default)]
    pub several_resources: bool,
    /// Proofs of possession.
    #[serde(default)]
    pub dpop: DpopPolicy,
    /// Client certificates; `None`: they mean nothing here.
    #[serde(default)]
    pub certificates: Option<CertificatePolicy>,
    /// Other issuers that are believed.
    #[serde(default)]
    pub trusts: Vec<Trust>,
    /// Registration by clients themselves; `None`: closed.
    #[serde(default)]
    pub registration: Option<RegistrationPolicy>,
    /// The rules that it obeys as a whole.
    #[serde(default)]
    pub profile: Profile,
    /// Nothing issued before this is good any more.
    #[serde(default)]
    pub not_before: Timestamp,
    /// Access tokens with an earlier `iat` have ended, as everybody was told: whole seconds, at first perhaps one or two
    /// ahead. Refresh tokens go by `not_before`. Only the store writes it, together with what it tells.
    #[serde(default, skip_serializing_if = "Timestamp::is_epoch")]
    pub ended_before: Timestamp,
    /// When it was registered. What was issued before is of another realm that had its name.
    #[serde(default)]
    pub created_at: Timestamp,
}

impl Realm {
    /// A realm without anything that has to be turned on.
    pub fn new(name: impl Into<String>, issuer: Issuer, tokens: TokenPolicy) -> Self {
        Self {
            name: name.into(),
            issuer,
            aliases: Vec::new(),
            dialect: Dialect::default(),
            tokens,
            audience: Vec::new(),
            scopes: Scope::empty(),
            password_grant: false,
            client_authentication: ClientAuthentication::default(),
            endpoints: Vec::new(),
            keys: KeyPolicy::default(),
            resources: Vec::new(),
            several_resources: false,
            dpop: DpopPolicy::default(),
            certificates: None,
            trusts: Vec::new(),
            registration: None,
            profile: Profile::default(),
            not_before: Timestamp::EPOCH,
            ended_before: Timestamp::EPOCH,
            created_at: Timestamp::EPOCH,
        }
    }

    /// The `iat` of the oldest access token of it that can be good.
    pub fn good_since(&self) -> Timestamp {
        let registered = self.created_at.trunc_to_secs();
        self.not_before.ceil_to_secs().max(self.ended_before).max(registered)
    }

    /// The trusted issuer that writes this `iss`.
    pub fn trust(&self, issuer: &str) -> Option<&Trust> {
        self.trusts.iter().find(|trust| trust.issuer == issuer)
    }
}

/// Whether `name` may name a realm, a user or a credential: 1 to 100 of `A-Z a-z 0-9 . _ - @`.
pub fn is_name(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'@'))
}

/// An issuer identifier (RFC 8414 §2): an `https` URL without query and fragment.
///
/// Kept as written, since `iss` is compared byte by byte. `http` is admitted for `localhost` and loopback
/// addresses alone, for development.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Issuer {
    url: String,
    host: std::ops::Range<usize>,
    path: usize,
}

/// Why a text is no issuer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IssuerError {
    /// Neither `https://` nor `http://` of this very machine.
    #[error("an issuer must be an https URL (http only for localhost)")]
    NotHttps,
    /// RFC 8414 §2 forbids both.
    #[error("an issuer must have neither query nor fragment")]
    QueryOrFragment,
    /// Host or port are missing, malformed or not in lower case.
    #[error("an issuer must have a host name in lower case, with an optional port")]
    Host,
    /// A character outside RFC 3986's path, an empty or dotted segment, or a `/` at the end.
    #[error("the path of an issuer must be plain segments, without a slash at the end")]
    Path,
}

impl Issuer {
    /// The URL as configured.
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// The host name, without port, in lower case.
    pub fn host(&self) -> &str {
        &self.url[self.host.clone()]
    }

    /// The path: empty, or beginning with `/` and not ending with one.
    pub fn path(&self) -> &str {
        &self.url[self.path..]
    }

    /// Scheme, host and port: `https://auth.example.com:8443`.
    pub fn origin(&self) -> &str {
        &self.url[..self.path]
    }
}

impl FromStr for Issuer {
    type Err = IssuerError;

    fn from_str(url: &str) -> Result<Self, IssuerError> {
        let (start, plain) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(_), _) => (8, false),
            (_, Some(_)) => (7, true),
            _ => return Err(IssuerError::NotHttps),
        };
        if url.contains(['?', '#']) {
            return Err(IssuerError::QueryOrFragment);
        }
        let path = url[start..].find('/').map_or(url.len(), |i| start + i);
        let authority = &url[start..path];
        let (host, port) = match authority.rfind(':') {
            Some(i) if !authority.ends_with(']') => (&authority[..i], Some(&authority[i + 1..])),
            _ => (authority, None),
        };
        let port_is_good = port.is_none_or(|p| {
            p.parse::<u16>().is_ok_and(|n| n > 0) && p.bytes().all(|b| b.is_ascii_digit())
        });
        if !is_host(host) || !port_is_good {
            return Err(IssuerError::Host);
        }
        if plain && !matches!(host, "localhost" | "127.0.0.1" | "[::1]") {
            return Err(IssuerError::NotHttps);
        }
        let segments = url[path..].strip_prefix('/').map(|p| p.split('/'));
        if segments.is_some_and(|mut s| !s.all(is_segment)) {
            return Err(IssuerError::Path);
        }
        Ok(Self { url: url.to_owned(), host: start..start + host.len(), path })
    }
}

/// A registered name in lower case, an IPv4 address, or an IPv6 address in brackets.
pub fn is_host(host: &str) -> bool {
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    match inner {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            (1..=253).contains(&host.len())
                && host.split('.').all(|label| {
                    !label.is_empty()
                        && label
                            .bytes()
                            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
                })
        }
    }
}

/// A path segment that means the same to everybody: not empty, no dots alone, nothing encoded.
fn is_segment(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..")
        && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&b))
}

/// Whether `path` is an absolute path of plain segments, as an [`Endpoint`] needs it.
pub fn is_path(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(|p| p.split('/').all(is_segment))
}

impl TryFrom<String> for Issuer {
    type Error = IssuerError;

    fn try_from(url: String) -> Result<Self, IssuerError> {
        url.parse()
    }
}

impl From<Issuer> for String {
    fn from(issuer: Issuer) -> Self {
        issuer.url
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

/// How a realm speaks.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// The RFCs, row by row.
    #[default]
    Rfc,
    /// Keycloak 20 and newer: its paths, error codes, extra fields and claim names.
    Keycloak,
}

/// Lifetimes, algorithm and refresh policy of a realm's tokens.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TokenPolicy {
    /// How long an access token lives.
    pub access: Duration,
    /// Whether and how refresh tokens are given; `None`: never.
    #[serde(default)]
    pub refresh: Option<RefreshPolicy>,
    /// The algorithm that access tokens are signed with.
    #[serde(default = "es256")]
    pub signing: Algorithm,
    /// What Ed25519 is called in what the realm writes, for all its clients.
    #[serde(default)]
    pub ed25519: Ed25519Name,
    /// Whether the password grant also gives an ID token (OpenID Connect Core §2) without being asked by scope.
    #[serde(default)]
    pub id_token: bool,
    /// How long a client that asks again for the same is given the same access token; `None`: never.
    ///
    /// For algorithms whose signatures are dear, and clients that ask more often than they need to. Answers with a
    /// refresh token are never given twice.
    #[serde(default)]
    pub reuse: Option<Duration>,
    /// Whether access tokens are opaque: random, and known to the store alone by their digest.
    #[serde(default)]
    pub opaque: bool,
    /// Whether access tokens have a place in a status list, which anybody may fetch. Opaque ones have none.
    #[serde(default)]
    pub status_list: bool,
}

impl TokenPolicy {
    /// Access tokens of this lifetime, signed with ES256, and nothing else.
    pub const fn new(access: Duration) -> Self {
        Self {
            access,
            refresh: None,
            signing: es256(),
            ed25519: Ed25519Name::EdDsa,
            id_token: false,
            reuse: None,
            opaque: false,
            status_list: false,
        }
    }

    /// The name of an algorithm as the realm writes it: in token headers, in its JWKS and in its metadata.
    pub const fn name_of(&self, algorithm: Algorithm) -> &'static str {
        match (algorithm, self.ed25519) {
            (Algorithm::EdDsa, Ed25519Name::Ed25519) => "Ed25519",
            _ => algorithm.as_str(),
        }
    }

    /// The name of [`signing`](Self::signing).
    pub const fn signing_name(&self) -> &'static str {
        self.name_of(self.signing)
    }
}

const fn es256() -> Algorithm {
    Algorithm::Es256
}

/// What Ed25519 is called. It is read under both names everywhere.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum Ed25519Name {
    /// `EdDSA` (RFC 8037), the only name that older verifiers know, and that realms stored before there was a choice
    /// go on with.
    #[default]
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// `Ed25519` (RFC 9864), which says all there is to know and has deprecated the other.
    Ed25519,
}

impl Ed25519Name {
    /// The choice made by naming an algorithm; for others than Ed25519 none is made.
    pub fn of(name: &str) -> Self {
        if name == "Ed25519" { Self::Ed25519 } else { Self::EdDsa }
    }
}

/// How refresh tokens live.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RefreshPolicy {
    /// How long a refresh token is good after it was issued.
    pub lifetime: Duration,
    /// How long a family of refresh tokens is good at most, counted from its first token.
    #[serde(default)]
    pub max_lifetime: Option<Duration>,
    /// What a refresh does to the refresh token.
    #[serde(default)]
    pub policy: Rotate,
    /// With [`Rotate::Rotate`]: how long a repeated request is answered with the same successor.
    #[serde(default)]
    pub grace: Duration,
    /// Whether `client_credentials` gives a refresh token too (RFC 6749 §4.4.3: SHOULD NOT; many vendors do).
    #[serde(default)]
    pub client_credentials: bool,
}

impl RefreshPolicy {
    /// Whether refresh tokens that were used up would be good again: only `rotate` knows that they are.
    ///
    /// Also where there are none from now on, since another policy may follow that one.
    pub fn stops_rotating(old: Option<&Self>, new: Option<&Self>) -> bool {
        let rotates = |policy: Option<&Self>| policy.is_some_and(|p| p.policy == Rotate::Rotate);
        rotates(old) && !rotates(new)
    }
}

/// What a refresh does to the refresh token.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rotate {
    /// The answer has no refresh token; the one presented stays good.
    Keep,
    /// A new one each time; the one presented stays good until it expires.
    Reissue,
    /// A new one each time; the one presented is used up.
    #[default]
    Rotate,
}

/// Whether a refresh request must authenticate its client.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuthentication {
    /// RFC 6749 §6.
    #[default]
    Required,
    /// A refresh without any client credentials is made by the client that is sealed in the refresh token.
    Optional,
}

/// A grant at a path of its own, with its client filled in.
///
/// Whoever reaches it is taken for that client: no client authentication is asked for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Endpoint {
    /// Below the issuer's path, beginning with `/`.
    pub path: String,
    /// The one grant it serves; `grant_type` need not be sent.
    pub grant: GrantType,
    /// The client that requests here are made for.
    pub client: String,
    /// What `token_type` says, where a vendor writes it in its own way (`bearer`). It is compared without case.
    #[serde(default)]
    pub token_type: Option<String>,
    /// The HTTP status of `invalid_grant`, where a vendor has its own (401). RFC 6749 §5.2 says 400.
    #[serde(default)]
    pub invalid_grant_status: Option<u16>,
}

/// How signing keys come and go by themselves: *announced → signing → retired → gone*.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct KeyPolicy {
    /// How long a key signs before its successor takes over.
    pub rotate_every: Duration,
    /// How long a key is published before it signs. Longer than any JWKS cache.
    pub announce: Duration,
    /// How long a key stays published after it signed last, beyond the longest token lifetime.
    pub linger: Duration,
}

impl Default for KeyPolicy {
    fn default() -> Self {
        const HOUR: u64 = 3600;
        Self {
            rotate_every: Duration::from_secs(90 * 24 * HOUR),
            announce: Duration::from_secs(24 * HOUR),
            linger: Duration::from_secs(HOUR),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_164_an_issuer_is_an_https_url_without_query_and_fragment() {
        let cases = [
            ("https://auth.example.com", Ok(("auth.example.com", ""))),
            (
                "https://auth.example.com:8443/auth/realms/a",
                Ok(("auth.example.com", "/auth/realms/a")),
            ),
            ("http://localhost:8080/a", Ok(("localhost", "/a"))),
            ("http://127.0.0.1", Ok(("127.0.0.1", ""))),
            ("https://[::1]:8443/x", Ok(("[::1]", "/x"))),
            ("http://auth.example.com", Err(IssuerError::NotHttps)),
            ("auth.example.com", Err(IssuerError::NotHttps)),
            ("https://a/b?c", Err(IssuerError::QueryOrFragment)),
            ("https://a/b#c", Err(IssuerError::QueryOrFragment)),
            ("https://", Err(IssuerError::Host)),
            ("https://Auth.example.com", Err(IssuerError::Host)),
            ("https://user@a", Err(IssuerError::Host)),
            ("https://a:0", Err(IssuerError::Host)),
            ("https://a:+1", Err(IssuerError::Host)),
            ("https://a/", Err(IssuerError::Path)),
            ("https://a/b//c", Err(IssuerError::Path)),
            ("https://a/../c", Err(IssuerError::Path)),
            ("https://a/b%20c", Err(IssuerError::Path)),
        ];
        for (url, expected) in cases {
            let got = url.parse::<Issuer>();
            let got = got.as_ref().map(|i| (i.host(), i.path())).map_err(|e| *e);
            assert_eq!(got, expected, "{url}");
        }
    }

    #[test]
    fn row_154_a_realm_stored_before_there_was_a_choice_keeps_the_old_name() {
        let stored = r#"{"access":{"secs":300,"nanos":0},"signing":"EdDSA"}"#;
        let policy: TokenPolicy = serde_json::from_str(stored).unwrap();
        assert_eq!(policy.signing_name(), "EdDSA");
        let renamed = TokenPolicy { ed25519: Ed25519Name::of("Ed25519"), ..policy };
        assert_eq!(renamed.signing_name(), "Ed25519");
        let again: TokenPolicy =
            serde_json::from_str(&serde_json::to_string(&renamed).unwrap()).unwrap();
        assert_eq!(again, renamed);
        for algorithm in Algorithm::ALL.into_iter().filter(|a| *a != Algorithm::EdDsa) {
            assert_eq!(renamed.name_of(algorithm), algorithm.as_str());
        }
    }

    #[test]
    fn an_issuer_is_kept_as_written() {
        let issuer: Issuer = "https://a.example:8443/x".parse().unwrap();
        assert_eq!(issuer.as_str(), "https://a.example:8443/x");
        assert_eq!(issuer.origin(), "https://a.example:8443");
    }
}
