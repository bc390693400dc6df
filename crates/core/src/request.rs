//! The token request (RFC 6749 §3.2): read, not yet believed.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use crate::assertion::{ASSERTION_TYPE, PresentedAssertion, SPIFFE_TYPE};
use crate::form::{Form, decode};
use crate::realm::Dialect;
use crate::{Refusal, Scope, Secret, keycloak};

/// What came in at a token endpoint, and what the endpoint says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Received<'a> {
    /// The `Content-Type` header.
    pub content_type: Option<&'a [u8]>,
    /// The `Authorization` header.
    pub authorization: Option<&'a [u8]>,
    /// Whether there was more than one `Authorization` header.
    pub authorization_repeated: bool,
    /// The query of the URL.
    pub query: Option<&'a [u8]>,
    /// The body.
    pub body: &'a [u8],
    /// The grant of a declared endpoint, where `grant_type` need not be sent.
    pub grant: Option<GrantType>,
    /// How the realm speaks. Keycloak puts credentials together in its own way, takes each parameter once, whatever its
    /// name, reads no query, and takes what is no form for an empty one.
    pub dialect: Dialect,
}

/// A request to the token endpoint.
#[derive(Debug)]
pub struct TokenRequest {
    /// Who the client says it is.
    pub credentials: Credentials,
    /// What it asks for; or what is wrong with that, to be told to an authenticated client alone.
    ///
    /// A stranger learns nothing about grants and parameters (row 15); Keycloak's dialect tells everybody.
    pub grant: Result<Grant, Refusal>,
}

/// The grants that a client may be registered for, by their name on the wire.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GrantType {
    /// RFC 6749 §4.4.
    ClientCredentials,
    /// RFC 6749 §4.3.
    Password,
    /// RFC 6749 §6.
    RefreshToken,
    /// A token of another issuer (RFC 7523 §2.1).
    JwtBearer,
    /// RFC 8693.
    TokenExchange,
}

impl GrantType {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::ClientCredentials,
        Self::Password,
        Self::RefreshToken,
        Self::JwtBearer,
        Self::TokenExchange,
    ];

    /// The value of `grant_type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::Password => "password",
            Self::RefreshToken => "refresh_token",
            Self::JwtBearer => "urn:ietf:params:oauth:grant-type:jwt-bearer",
            Self::TokenExchange => "urn:ietf:params:oauth:grant-type:token-exchange",
        }
    }

    /// What people call it: the value of `grant_type` without its namespace.
    pub const fn short_name(self) -> &'static str {
        match self {
            Self::JwtBearer => "jwt-bearer",
            Self::TokenExchange => "token-exchange",
            other => other.as_str(),
        }
    }

    /// The grant of this name, as it is on the wire.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grant| grant.as_str() == name)
    }
}

/// A set of grants, in the space of a byte.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(from = "Vec<GrantType>", into = "Vec<GrantType>")]
pub struct GrantSet(u8);

impl GrantSet {
    /// Whether the set holds this grant.
    pub const fn contains(self, grant: GrantType) -> bool {
        self.0 & (1 << grant as u8) != 0
    }

    /// The grants of the set, in the order of [`GrantType::ALL`].
    pub fn iter(self) -> impl Iterator<Item = GrantType> {
        GrantType::ALL.into_iter().filter(move |grant| self.contains(*grant))
    }

    /// Takes a grant out.
    pub const fn remove(&mut self, grant: GrantType) {
        self.0 &= !(1 << grant as u8);
    }

    /// Whether the set holds no grant.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<GrantType> for GrantSet {
    fn from_iter<I: IntoIterator<Item = GrantType>>(grants: I) -> Self {
        Self(grants.into_iter().fold(0, |set, grant| set | 1 << grant as u8))
    }
}

impl<const N: usize> From<[GrantType; N]> for GrantSet {
    fn from(grants: [GrantType; N]) -> Self {
        grants.into_iter().collect()
    }
}

impl From<Vec<GrantType>> for GrantSet {
    fn from(grants: Vec<GrantType>) -> Self {
        grants.into_iter().collect()
    }
}

impl From<GrantSet> for Vec<GrantType> {
    fn from(set: GrantSet) -> Self {
        set.iter().collect()
    }
}

impl fmt::Display for GrantType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a request asks of the tokens that it is to be given, whatever its grant.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Asked {
    /// The scope (RFC 6749 §3.3).
    pub scope: Option<Scope>,
    /// What the tokens are to be for (RFC 8707 §2, RFC 8693 §2.1 `audience`), as written.
    pub resources: Vec<String>,
}

/// The grant a request asks for, with the parameters of that grant and no others.
#[derive(Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Grant {
    /// `client_credentials`
    ClientCredentials {
        /// What is asked for.
        asked: Asked,
    },
    /// `password`
    Password {
        /// Who the user is said to be.
        username: String,
        /// The password presented.
        password: Secret,
        /// What is asked for.
        asked: Asked,
    },
    /// `refresh_token`
    RefreshToken {
        /// The refresh token presented.
        refresh_token: Secret,
        /// What is asked for.
        asked: Asked,
    },
    /// `urn:ietf:params:oauth:grant-type:jwt-bearer`
    JwtBearer {
        /// The JWT of another issuer.
        assertion: Secret,
        /// What is asked for.
        asked: Asked,
    },
    /// `urn:ietf:params:oauth:grant-type:token-exchange`
    TokenExchange(Box<Exchange>),
}

/// What a token exchange presents (RFC 8693 §2.1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Exchange {
    /// Whom the new token is to be about.
    pub subject: PresentedToken,
    /// Who acts for that subject, if it is not the subject itself.
    pub actor: Option<PresentedToken>,
    /// What is asked for.
    pub asked: Asked,
}

/// A token that stands for somebody.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PresentedToken {
    /// The token.
    pub token: Secret,
    /// What kind of token it is said to be.
    pub kind: TokenType,
}

/// The token types of RFC 8693 §3 that are taken or given here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenType {
    /// An access token of this realm.
    AccessToken,
    /// A JWT, of this realm or of another issuer.
    Jwt,
}

impl TokenType {
    /// The URI.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "urn:ietf:params:oauth:token-type:access_token",
            Self::Jwt => "urn:ietf:params:oauth:token-type:jwt",
        }
    }

    fn named(name: &str) -> Result<Self, Refusal> {
        [Self::AccessToken, Self::Jwt]
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .ok_or(Refusal::MalformedRequest("a token type that is not taken or given here"))
    }
}

impl Grant {
    /// Which grant it is.
    pub const fn grant_type(&self) -> GrantType {
        match self {
            Self::ClientCredentials { .. } => GrantType::ClientCredentials,
            Self::Password { .. } => GrantType::Password,
            Self::RefreshToken { .. } => GrantType::RefreshToken,
            Self::JwtBearer { .. } => GrantType::JwtBearer,
            Self::TokenExchange(_) => GrantType::TokenExchange,
        }
    }
}

/// How a client presents itself.
#[derive(Debug)]
pub enum Credentials {
    /// Without any secret; perhaps by its identifier alone.
    None {
        /// The `client_id` parameter.
        client_id: Option<String>,
    },
    /// By a secret, in the header or in the form.
    Secret {
        /// The identifier and the secret.
        presented: Presented,
        /// The same read in the other dialect of Basic, where that makes a difference.
        ///
        /// RFC 6749 §2.3.1 wants both halves form-encoded; many clients send them raw. Decoding is tried first,
        /// and both together are one attempt.
        raw: Option<Presented>,
    },
    /// By a signed assertion (RFC 7523 §2.2).
    Assertion(PresentedAssertion),
}

/// An identifier and a secret as presented.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Presented {
    /// The identifier.
    pub client_id: String,
    /// The secret.
    pub secret: Secret,
}

/// The parameters that may be sent once (RFC 6749 §3.2), and never in the URL (§2.3.1).
const ONCE: [&str; 15] = [
    "grant_type",
    "scope",
    "client_id",
    "client_secret",
    "username",
    "password",
    "refresh_token",
    "client_assertion",
    "client_assertion_type",
    "assertion",
    "subject_token",
    "subject_token_type",
    "actor_token",
    "actor_token_type",
    "requested_token_type",
];

/// Further parameters that have no business in the URL of the token endpoint.
const NEVER_IN_QUERY: [&str; 6] =
    ["code", "redirect_uri", "resource", "audience", "access_token", "token"];

impl<'a> Received<'a> {
    /// The form, if it is one, and if nothing of it stands in the URL.
    pub(crate) fn form(&self) -> Result<Form<'a>, Refusal> {
        let is_form = self.content_type.is_some_and(is_form);
        match (self.dialect, is_form) {
            (Dialect::Keycloak, true) => return Form::parse(self.body),
            (Dialect::Keycloak, false) => return Ok(Form::default()),
            (Dialect::Rfc, true) => {}
            (Dialect::Rfc, false) => return Err(Refusal::ContentType),
        }
        let query = Form::parse(self.query.unwrap_or_default())?;
        if query.names().any(|name| ONCE.contains(&name) || NEVER_IN_QUERY.contains(&name)) {
            return Err(Refusal::MalformedRequest("a parameter of the form was sent in the URL"));
        }
        Form::parse(self.body)
    }

    /// The parameter that was sent twice and must not be.
    pub(crate) fn repeated(&self, form: &Form<'_>) -> Option<&'static str> {
        form.first_repeated(&ONCE).or_else(|| match self.dialect {
            Dialect::Rfc => None,
            Dialect::Keycloak => form.repeats_any().then_some("(any)"),
        })
    }

    /// All values of a parameter, where there is a form.
    pub fn values(&self, name: &str) -> Vec<Secret> {
        let form = self.form().unwrap_or_default();
        form.all(name).map(Secret::new).collect()
    }
}

impl TokenRequest {
    /// Reads headers and form.
    pub fn parse(received: &Received<'_>) -> Result<Self, Refusal> {
        let form = received.form()?;
        let grant = Grant::from_form(&form, received);
        Ok(Self { credentials: Credentials::from_form(&form, received)?, grant })
    }
}

impl Grant {
    fn from_form(form: &Form<'_>, received: &Received<'_>) -> Result<Self, Refusal> {
        let declared = received.grant;
        let grant = match (form.get("grant_type"), declared) {
            (None, None) => return Err(Refusal::MissingParameter("grant_type")),
            (None, Some(declared)) => declared,
            (Some(name), _) => {
                let grant = GrantType::named(name);
                grant
                    .filter(|grant| declared.is_none_or(|declared| declared == *grant))
                    .ok_or_else(|| Refusal::UnsupportedGrant(excerpt(name)))?
            }
        };
        if let Some(name) = received.repeated(form) {
            return Err(Refusal::RepeatedParameter(name));
        }
        let scope =
            form.get("scope").map(str::parse).transpose()?.filter(|s: &Scope| !s.is_empty());
        let mut asked = Asked { scope, resources: listed(form, "resource")? };
        let need = |name| form.get(name).ok_or(Refusal::MissingParameter(name));
        Ok(match grant {
            GrantType::ClientCredentials => Self::ClientCredentials { asked },
            GrantType::Password => Self::Password {
                username: need("username")?.to_owned(),
                password: Secret::new(need("password")?),
                asked,
            },
            GrantType::RefreshToken => {
                Self::RefreshToken { refresh_token: Secret::new(need("refresh_token")?), asked }
            }
            GrantType::JwtBearer => {
                Self::JwtBearer { assertion: Secret::new(need("assertion")?), asked }
            }
            GrantType::TokenExchange => {
                asked.resources.extend(listed(form, "audience")?);
                Self::TokenExchange(Box::new(Exchange::from_form(form, asked)?))
            }
        })
    }
}

/// How many resources one request may name: each is looked for among those of the realm.
const MAX_RESOURCES: usize = 16;

/// All values of a parameter that may be sent several times (RFC 8707 §2).
fn listed(form: &Form<'_>, name: &'static str) -> Result<Vec<String>, Refusal> {
    let values: Vec<String> = form.all(name).take(MAX_RESOURCES + 1).map(str::to_owned).collect();
    if values.len() > MAX_RESOURCES {
        return Err(Refusal::RepeatedParameter(name));
    }
    Ok(values)
}

impl Exchange {
    fn from_form(form: &Form<'_>, asked: Asked) -> Result<Self, Refusal> {
        let presented =
            |token: &'static str, kind: &'static str| match (form.get(token), form.get(kind)) {
                (None, None) => Ok(None),
                (Some(token), Some(kind)) => Ok(Some(PresentedToken {
                    token: Secret::new(token),
                    kind: TokenType::named(kind)?,
                })),
                (Some(_), None) => Err(Refusal::MissingParameter(kind)),
                (None, Some(_)) => Err(Refusal::MissingParameter(token)),
            };
        let subject = presented("subject_token", "subject_token_type")?;
        if let Some(requested) = form.get("requested_token_type") {
            TokenType::named(requested)?;
        }
        Ok(Self {
            subject: subject.ok_or(Refusal::MissingParameter("subject_token"))?,
            actor: presented("actor_token", "actor_token_type")?,
            asked,
        })
    }
}

/// At most 40 characters of what a stranger sent, for the log.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(40).collect()
}

impl Credentials {
    pub(crate) fn from_form(form: &Form<'_>, received: &Received<'_>) -> Result<Self, Refusal> {
        if received.authorization_repeated {
            return Err(Refusal::MalformedRequest("more than one Authorization header"));
        }
        if received.dialect == Dialect::Keycloak {
            return Ok(keycloak::credentials(form, received.authorization));
        }
        if form.get("client_assertion").is_some() || form.get("client_assertion_type").is_some() {
            if let Some(name) = form.first_repeated(&["client_assertion", "client_assertion_type"])
            {
                return Err(Refusal::RepeatedParameter(name));
            }
            // RFC 7521 §4.2: not together with another authentication.
            if form.get("client_secret").is_some() || received.authorization.is_some() {
                return Err(Refusal::MalformedRequest("two client authentications"));
            }
            let need = |name| form.get(name).ok_or(Refusal::MissingParameter(name));
            let (assertion, kind) = (need("client_assertion")?, need("client_assertion_type")?);
            if ![ASSERTION_TYPE, SPIFFE_TYPE].contains(&kind) {
                return Err(Refusal::UnsupportedAssertion);
            }
            let assertion = Secret::new(assertion);
            let client_id = form.get("client_id").map(str::to_owned);
            return Ok(Self::Assertion(PresentedAssertion { assertion, client_id }));
        }
        let in_form = match (form.get("client_id"), form.get("client_secret")) {
            (Some(id), Some(secret)) => {
                Some(Presented { client_id: id.into(), secret: Secret::new(secret) })
            }
            (None, Some(_)) if received.authorization.is_none() => {
                return Err(Refusal::MalformedRequest("client_secret without client_id"));
            }
            _ => None,
        };
        let Some(header) = received.authorization else {
            return Ok(match in_form {
                Some(presented) => Self::Secret { presented, raw: None },
                None => Self::None { client_id: form.get("client_id").map(str::to_owned) },
            });
        };
        // RFC 6749 §2.3: "The client MUST NOT use more than one authentication method in each request."
        if form.get("client_secret").is_some() {
            return Err(Refusal::MalformedRequest("two client authentications"));
        }
        let basic = Self::from_basic(header)?;
        match (form.get("client_id"), &basic) {
            (Some(id), Self::Secret { presented, raw })
                if id != presented.client_id
                    && raw.as_ref().is_none_or(|raw| raw.client_id != id) =>
            {
                Err(Refusal::MalformedRequest("two client identifiers"))
            }
            _ => Ok(basic),
        }
    }

    /// Reads an `Authorization` header of the scheme Basic (RFC 7617), in both of its dialects.
    pub fn from_basic(header: &[u8]) -> Result<Self, Refusal> {
        let (scheme, rest) = header.split_at_checked(6).ok_or(Refusal::UnsupportedScheme)?;
        if !scheme.eq_ignore_ascii_case(b"Basic ") {
            return Err(Refusal::UnsupportedScheme);
        }
        let decoded =
            BASE64_STANDARD.decode(rest.trim_ascii()).map_err(|_| Refusal::MalformedBasic)?;
        // RFC 7617 leaves the charset open: UTF-8 where it is, Latin-1 where it can only be that.
        let pair = String::from_utf8(decoded)
            .unwrap_or_else(|e| e.into_bytes().into_iter().map(char::from).collect());
        let pair = Secret::new(pair);
        let (id, secret) = pair.expose().split_once(':').ok_or(Refusal::MalformedBasic)?;
        if id.is_empty() {
            return Err(Refusal::MalformedBasic);
        }
        let raw = || Presented { client_id: id.into(), secret: Secret::new(secret) };
        if !pair.expose().bytes().any(|b| matches!(b, b'%' | b'+')) {
            return Ok(Self::Secret { presented: raw(), raw: None });
        }
        Ok(match (decode(id.as_bytes()), decode(secret.as_bytes())) {
            (Ok(id), Ok(secret)) => Self::Secret {
                presented: Presented { client_id: id.into_owned(), secret: Secret::new(secret) },
                raw: Some(raw()),
            },
            _ => Self::Secret { presented: raw(), raw: None },
        })
    }

    /// The identifier that the client gives itself.
    pub fn client_id(&self) -> Option<&str> {
        match self {
            Self::None { client_id } => client_id.as_deref(),
            Self::Secret { presented, .. } => Some(&presented.client_id),
            Self::Assertion(presented) => presented.client_id.as_deref(),
        }
    }
}

/// Whether a content type is that of a form; of its parameters only `charset=utf-8` is admitted.
fn is_form(content_type: &[u8]) -> bool {
    let mut parts = content_type.split(|b| *b == b';').map(<[u8]>::trim_ascii);
    parts.next().is_some_and(|t| t.eq_ignore_ascii_case(b"application/x-www-form-urlencoded"))
        && parts.filter(|p| !p.is_empty()).all(|p| {
            p.eq_ignore_ascii_case(b"charset=utf-8") || p.eq_ignore_ascii_case(b"charset=\"utf-8\"")
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::ErrorCode::{
        self, InvalidClient, InvalidRequest, InvalidScope, UnsupportedGrantType,
    };

    const FORM: &[u8] = b"application/x-www-form-urlencoded";

    fn basic(pair: &str) -> String {
        format!("Basic {}", BASE64_STANDARD.encode(pair))
    }

    fn parse(authorization: Option<&str>, body: &str) -> Result<TokenRequest, ErrorCode> {
        TokenRequest::parse(&Received {
            content_type: Some(FORM),
            authorization: authorization.map(str::as_bytes),
            body: body.as_bytes(),
            ..Received::default()
        })
        .map_err(|refusal| refusal.code())
    }

    fn grant(body: &str) -> Result<Grant, ErrorCode> {
        parse(None, body)?.grant.map_err(|refusal| refusal.code())
    }

    #[test]
    fn each_grant_holds_its_own_parameters() {
        let cases = [
            (
                "grant_type=client_credentials",
                Ok(Grant::ClientCredentials { asked: Asked::default() }),
            ),
            (
                "grant_type=client_credentials&scope=b+a",
                Ok(Grant::ClientCredentials {
                    asked: Asked { scope: Some("a b".parse().unwrap()), ..Asked::default() },
                }),
            ),
            (
                "grant_type=password&username=u&password=p",
                Ok(Grant::Password {
                    username: "u".into(),
                    password: Secret::new("p"),
                    asked: Asked::default(),
                }),
            ),
            (
                "grant_type=refresh_token&refresh_token=r",
                Ok(Grant::RefreshToken {
                    refresh_token: Secret::new("r"),
                    asked: Asked::default(),
                }),
            ),
            ("grant_type=refresh_token", Err(InvalidRequest)),
            ("grant_type=password&username=u", Err(InvalidRequest)),
            ("grant_type=client_credentials&scope=%22", Err(InvalidScope)),
        ];
        for (body, expected) in cases {
            assert_eq!(grant(body), expected, "{body}");
        }
    }

    #[test]
    fn row_007_row_008_a_parameter_is_sent_once() {
        for name in ONCE {
            let body = format!(
                "grant_type=client_credentials&{name}=client_credentials&{name}=client_credentials"
            );
            let refused = match parse(None, &body) {
                Ok(request) => request.grant.unwrap_err().code(),
                Err(code) => code,
            };
            assert_eq!(refused, InvalidRequest, "{name}");
        }
    }

    #[test]
    fn row_009_resources_and_audiences_may_be_several() {
        let Ok(Grant::ClientCredentials { asked }) = grant(
            "grant_type=client_credentials&resource=urn:a&resource=https%3A%2F%2Fb&audience=c",
        ) else {
            panic!("refused");
        };
        assert_eq!(asked.resources, ["urn:a", "https://b"]);
        let exchange = "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token=s\
             &subject_token_type=urn:ietf:params:oauth:token-type:access_token";
        let several = format!("{exchange}&audience=a&resource=urn:b&audience=c");
        let Ok(Grant::TokenExchange(exchange)) = grant(&several) else { panic!("refused") };
        assert_eq!(exchange.asked.resources, ["urn:b", "a", "c"]);
        let many = "&resource=urn:a".repeat(MAX_RESOURCES + 1);
        assert_eq!(grant(&format!("grant_type=client_credentials{many}")), Err(InvalidRequest));
    }

    #[test]
    fn row_077_row_125_row_126_a_token_and_its_type_come_together() {
        const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
        const EXCHANGE: &str = "grant_type=urn:ietf:params:oauth:grant-type:token-exchange";
        let bearer = "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer";
        assert_eq!(grant(bearer), Err(InvalidRequest));
        assert!(grant(&format!("{bearer}&assertion=a")).is_ok());
        let subject = format!("&subject_token=s&subject_token_type={JWT}");
        let actor = format!("{subject}&actor_token=a&actor_token_type={JWT}");
        for (parameters, good) in [
            (subject.as_str(), true),
            (&actor, true),
            (&format!("{subject}&requested_token_type={JWT}"), true),
            (
                &format!("{subject}&requested_token_type=urn:ietf:params:oauth:token-type:saml2"),
                false,
            ),
            ("", false),
            ("&subject_token=s", false),
            (&format!("&subject_token_type={JWT}"), false),
            (&format!("{subject}&actor_token=a"), false),
            (&format!("{subject}&actor_token_type={JWT}"), false),
            (
                "&subject_token=s&subject_token_type=urn:ietf:params:oauth:token-type:refresh_token",
                false,
            ),
        ] {
            let asked = grant(&format!("{EXCHANGE}{parameters}"));
            assert_eq!(asked.is_ok(), good, "{parameters}: {asked:?}");
            assert!(good || asked == Err(InvalidRequest), "{parameters}");
        }
    }

    #[test]
    fn row_010_row_011_what_is_unknown_is_ignored() {
        assert!(grant("grant_type=client_credentials&foo=1&foo=2").is_ok());
    }

    #[test]
    fn row_012_an_empty_parameter_is_no_parameter() {
        assert_eq!(
            grant("grant_type=client_credentials&scope=+%20+"),
            Ok(Grant::ClientCredentials { asked: Asked::default() })
        );
        assert_eq!(
            grant("grant_type=client_credentials&scope=&username=&password=&code=&scope="),
            Ok(Grant::ClientCredentials { asked: Asked::default() })
        );
    }

    #[test]
    fn row_013_row_014_a_grant_type_is_needed_and_must_be_known() {
        assert_eq!(grant("scope=a"), Err(InvalidRequest));
        assert_eq!(grant("grant_type="), Err(InvalidRequest));
        assert_eq!(grant("grant_type=foo"), Err(UnsupportedGrantType));
        assert_eq!(grant("grant_type=Client_Credentials"), Err(UnsupportedGrantType));
    }

    #[test]
    fn a_declared_endpoint_needs_no_grant_type_and_admits_no_other() {
        let at = |body: &str| {
            let received = Received {
                content_type: Some(FORM),
                body: body.as_bytes(),
                grant: Some(GrantType::RefreshToken),
                ..Received::default()
            };
            TokenRequest::parse(&received)
                .unwrap()
                .grant
                .map(|g| g.grant_type())
                .map_err(|r| r.code())
        };
        assert_eq!(at("refresh_token=r"), Ok(GrantType::RefreshToken));
        assert_eq!(at("refresh_token=r&grant_type=refresh_token"), Ok(GrantType::RefreshToken));
        assert_eq!(at("refresh_token=r&grant_type=client_credentials"), Err(UnsupportedGrantType));
    }

    #[test]
    fn row_003_row_004_row_005_row_006_the_body_is_a_form() {
        let cases: [(Option<&str>, bool); 9] = [
            (Some("application/x-www-form-urlencoded"), true),
            (Some("application/x-www-form-urlencoded;charset=UTF-8"), true),
            (Some("APPLICATION/X-WWW-FORM-URLENCODED; CHARSET=utf-8"), true),
            (Some("application/x-www-form-urlencoded;"), true),
            (Some("application/x-www-form-urlencoded;charset=latin1"), false),
            (Some("application/json"), false),
            (Some("multipart/form-data; boundary=x"), false),
            (Some(""), false),
            (None, false),
        ];
        for (content_type, accepted) in cases {
            let received = Received {
                content_type: content_type.map(str::as_bytes),
                body: b"grant_type=client_credentials",
                ..Received::default()
            };
            assert_eq!(TokenRequest::parse(&received).is_ok(), accepted, "{content_type:?}");
        }
    }

    #[test]
    fn row_016_row_017_row_018_the_url_carries_no_parameter_of_the_form() {
        for (query, accepted) in [
            ("client_id=a&client_secret=b", false),
            ("grant_type=client_credentials", false),
            ("%67rant_type=client_credentials", false),
            ("refresh_token=x", false),
            ("tenant=a", true),
        ] {
            assert_eq!(parses_with_query(query), accepted, "{query}");
        }
    }

    #[test]
    fn row_017_no_name_of_a_parameter_of_the_form_may_stand_in_the_url() {
        for name in [
            "grant_type",
            "scope",
            "client_id",
            "client_secret",
            "username",
            "password",
            "refresh_token",
            "client_assertion",
            "client_assertion_type",
            "assertion",
            "code",
            "redirect_uri",
            "resource",
            "audience",
            "subject_token",
            "actor_token",
            "access_token",
            "token",
        ] {
            assert!(!parses_with_query(&format!("{name}=x")), "{name}");
            assert!(!parses_with_query(&format!("tenant=a&{name}=x")), "{name}");
        }
    }

    fn parses_with_query(query: &str) -> bool {
        let received = Received {
            content_type: Some(FORM),
            query: Some(query.as_bytes()),
            body: b"grant_type=client_credentials",
            ..Received::default()
        };
        TokenRequest::parse(&received).is_ok()
    }

    fn presented(
        authorization: Option<&str>,
        body: &str,
    ) -> Result<Vec<(String, String)>, ErrorCode> {
        Ok(match parse(authorization, body)?.credentials {
            Credentials::None { client_id } => {
                client_id.into_iter().map(|id| (id, String::new())).collect()
            }
            Credentials::Secret { presented, raw } => [Some(presented), raw]
                .into_iter()
                .flatten()
                .map(|p| (p.client_id, p.secret.expose().to_owned()))
                .collect(),
            Credentials::Assertion(a) => {
                vec![(a.client_id.unwrap_or_default(), a.assertion.expose().to_owned())]
            }
        })
    }

    #[test]
    fn row_042_row_043_row_045_basic_is_read_in_both_dialects() {
        let body = "grant_type=client_credentials";
        let pairs = |all: &[(&str, &str)]| {
            Ok(all.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>())
        };
        let cases = [
            (basic("a:b"), pairs(&[("a", "b")])),
            (basic("a:b:c"), pairs(&[("a", "b:c")])),
            (basic("a:"), pairs(&[("a", "")])),
            (basic("a:b").replace("Basic", "bAsIc"), pairs(&[("a", "b")])),
            (
                basic("cl%3Ai+ent:s%2Be+c"),
                pairs(&[("cl:i ent", "s+e c"), ("cl%3Ai+ent", "s%2Be+c")]),
            ),
            (basic("a:s+e c%r"), pairs(&[("a", "s+e c%r")])),
            (basic("a:ä"), pairs(&[("a", "ä")])),
            (format!("Basic {}", BASE64_STANDARD.encode(b"a:\xe4")), pairs(&[("a", "ä")])),
        ];
        for (header, expected) in cases {
            assert_eq!(presented(Some(&header), body), expected, "{header}");
        }
    }

    #[test]
    fn row_044_row_046_a_header_that_is_not_basic_is_no_client() {
        let bad = [
            "",
            "Basic",
            "Basic ",
            "Basic !!",
            "Bearer abc",
            "Digest x",
            &basic("ab"),
            &basic(":b"),
        ];
        for header in bad {
            assert_eq!(
                presented(Some(header), "grant_type=client_credentials"),
                Err(InvalidClient),
                "{header}"
            );
        }
    }

    #[test]
    fn row_039_row_040_row_041_there_is_one_client_authentication() {
        let assertion =
            "grant_type=client_credentials&client_id=a&client_assertion=x&client_assertion_type=y";
        assert_eq!(presented(None, assertion), Err(InvalidClient));
        let good = format!("client_assertion=x&client_assertion_type={ASSERTION_TYPE}");
        assert_eq!(presented(None, &good), Ok(vec![(String::new(), "x".to_owned())]));
        for half in good.split('&') {
            assert_eq!(presented(None, half), Err(InvalidRequest), "{half}");
        }
        assert_eq!(presented(None, &format!("{good}&client_assertion=y")), Err(InvalidRequest));
        assert_eq!(presented(Some(&basic("a:b")), assertion), Err(InvalidRequest));
        assert_eq!(presented(None, &format!("{assertion}&client_secret=b")), Err(InvalidRequest));
        let form = "grant_type=client_credentials&client_id=a";
        assert!(presented(Some(&basic("a:b")), form).is_ok());
        assert_eq!(presented(Some(&basic("c:b")), form), Err(InvalidRequest));
        let both = format!("{form}&client_secret=b");
        assert_eq!(presented(Some(&basic("a:b")), &both), Err(InvalidRequest));
        assert_eq!(presented(None, "client_secret=b"), Err(InvalidRequest));
    }

    #[test]
    fn in_keycloaks_dialect_the_form_wins() {
        let (header, body) =
            (basic("a:b"), "grant_type=client_credentials&client_id=c&client_secret=d");
        let received = Received {
            content_type: Some(FORM),
            authorization: Some(header.as_bytes()),
            body: body.as_bytes(),
            dialect: Dialect::Keycloak,
            ..Received::default()
        };
        assert_eq!(TokenRequest::parse(&received).unwrap().credentials.client_id(), Some("c"));
    }

    #[test]
    fn row_032_two_authorization_headers_are_refused() {
        let received = Received {
            content_type: Some(FORM),
            authorization: Some(b"Basic YTpi"),
            authorization_repeated: true,
            body: b"grant_type=client_credentials",
            ..Received::default()
        };
        assert_eq!(TokenRequest::parse(&received).unwrap_err().code(), InvalidRequest);
    }

    #[test]
    fn what_was_presented_shows_no_secret() {
        let request =
            parse(Some(&basic("a:hunter2")), "grant_type=password&username=u&password=hunter3")
                .unwrap();
        let shown = format!("{request:?}");
        assert!(!shown.contains("hunter"), "{shown}");
    }
}
