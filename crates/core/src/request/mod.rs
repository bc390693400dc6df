//! The token request (RFC 6749 §3.2): read, not yet believed.

mod credentials;
mod grant;
mod grant_type;

#[cfg(test)]
mod tests;

pub use self::credentials::{Credentials, Presented};
pub use self::grant::{Asked, Exchange, Grant, PresentedToken, TokenType};
pub use self::grant_type::{GrantSet, GrantType};
use crate::form::Form;
use crate::realm::Dialect;
use crate::{Refusal, Secret};

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

/// Whether a content type is that of a form; of its parameters only `charset=utf-8` is admitted.
fn is_form(content_type: &[u8]) -> bool {
    let mut parts = content_type.split(|b| *b == b';').map(<[u8]>::trim_ascii);
    parts.next().is_some_and(|t| t.eq_ignore_ascii_case(b"application/x-www-form-urlencoded"))
        && parts.filter(|p| !p.is_empty()).all(|p| {
            p.eq_ignore_ascii_case(b"charset=utf-8") || p.eq_ignore_ascii_case(b"charset=\"utf-8\"")
        })
}

/// At most 40 characters of what a stranger sent, for the log.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(40).collect()
}
