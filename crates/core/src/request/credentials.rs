//! How a client presents itself (RFC 6749 §2.3, RFC 7523 §2.2).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::Received;
use crate::assertion::{ASSERTION_TYPE, PresentedAssertion, SPIFFE_TYPE};
use crate::form::{Form, decode};
use crate::realm::Dialect;
use crate::{Refusal, Secret, keycloak};

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

impl Credentials {
    /// Reads headers and form, of a request that says nothing else.
    pub fn parse(received: &Received<'_>) -> Result<Self, Refusal> {
        let form = received.form()?;
        match received.repeated(&form) {
            Some(name) => Err(Refusal::RepeatedParameter(name)),
            None => Self::from_form(&form, received),
        }
    }

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
