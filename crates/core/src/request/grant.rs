//! What a token request asks for, as each grant has it.

use super::{GrantType, Received, excerpt};
use crate::form::Form;
use crate::{Refusal, Scope, Secret};

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

impl Grant {
    pub(super) fn from_form(form: &Form<'_>, received: &Received<'_>) -> Result<Self, Refusal> {
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
pub(super) const MAX_RESOURCES: usize = 16;

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
