//! What differs between vendors, as data: where tokens come from, how to ask for them, where they may go.
//!
//! # Those that come with the library
//!
//! | name | parameters | authentication | lifetime | refresh tokens |
//! | --- | --- | --- | --- | --- |
//! | `1global` | | secret in the form | 5 min | new with each refresh |
//! | `auth0` | `domain`, `audience` | secret in the form, key | 24 h | none |
//! | `cognito` | `domain` | secret by Basic | 1 h | none |
//! | `entra` | `tenant`, `resource` | secret in the form, key with certificate, federated token | 1 h | none |
//! | `keycloak` | `host`, `realm` | secret in the form, key, certificate | 5 min | if the client has them, new with each refresh |
//! | `okta` | `domain`, `authorization_server` | secret by Basic, key | 1 h | none |
//! | `okta-org` | `domain` | key | 1 h | none |
//! | `simacan`, `simacan-staging` | | password | 1 h | new with each refresh |
//! | `truphone` | | secret in the form | 5 min | new with each refresh |
//! | `tuinly` | | secret in the form | 1 h | the first stays good |
//!
//! # The file
//!
//! ```toml
//! name = "example"
//! title = "Example Ltd"                  # for people
//! issuer = "https://{host}/{realm}"      # optional; the assertions of a client with a key are for it
//! revocation_feed_url = "https://{host}/{realm}/revocations"  # optional; for keepers that follow it. Else where the issuer's
//!                                        # metadata say
//! environment = "production"             # which of the environments below, unless another is chosen
//! rate_limit_reset = "x-rate-limit-reset"    # optional; a header that says in seconds since 1970 when a client
//!                                        # that was answered 429 without `Retry-After` may ask again
//!
//! [parameters]                           # what its user has to say, and what that is
//! realm = "the realm, as its URLs have it"
//!
//! [obtain]                               # a first token, with credentials
//! url = "https://{host}/{realm}/token"
//! grant = "client_credentials"           # or "password"
//! grant_type = true                      # false: the endpoint is the grant, and is told none
//! client_authentication = "basic"        # or "post", "private_key_jwt", "tls_client_auth", "none"
//! scope = "read write"                   # optional
//! scope_required = false                 # true: a keeper without a scope is not built
//! lifetime = "1h"                        # used if an answer does not say how long its token lives
//! interval = "30s"                       # credentials are not sent again sooner; 30s for a password, else 0s
//!
//! [obtain.parameters]                    # further fields of the form
//! audience = "https://api.example.com"
//!
//! [assertion]                            # of a client with a key
//! audience = "issuer"                    # or "token_endpoint": the URL that it is sent to
//! typ = "client-authentication+jwt"      # or "JWT"
//! client_id = false                      # true: the form names the client as well
//!
//! [refresh]                              # left out: refresh tokens are not used
//! url = "https://{host}/{realm}/refresh" # left out: the same
//! grant_type = true
//! client_authentication = "basic"
//! answer = "new"                         # a new refresh token; "keep": the old one stays
//! lifetime = "30m"                       # of the refresh token: a dead one is not tried
//! expired_status = 400                   # what the server answers to a dead refresh token
//! grace = "30s"                          # optional; one that was used up may be presented again for so long
//! revocation_url = "https://{host}/{realm}/revoke"   # optional (RFC 7009)
//!
//! [api]                                  # where tokens may go; see `AllowedHosts`. Left out: nowhere, until somebody says
//! hosts = ["api.example.com"]
//!
//! [environments.production]              # fills in the {placeholders} above
//! host = "auth.example.com"
//! ```
//!
//! A parameter fills in placeholders as an environment does, but is not trusted like the file: in a URL it stands for a
//! host, a part of one, or a segment of a path, and for no more.

mod change;
mod discover;
mod file;
mod fill;
mod metadata;
mod read;

#[cfg(test)]
mod fakes;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderName, Uri};
use serde::Deserialize;

use self::file::{File, url};
use crate::hosts::AllowedHosts;
use crate::transport::TransportError;

/// A provider file is a page of text; nobody writes one that is longer.
const FILE_LIMIT: u64 = 64 * 1024;

/// A password that is sent over and over locks its user out. The keeper of a well-behaved server never notices.
const PASSWORD_INTERVAL: Duration = Duration::from_secs(30);

/// The providers that come with the library.
const EMBEDDED: [(&str, &str); 11] = [
    ("1global", include_str!("../../providers/1global.toml")),
    ("auth0", include_str!("../../providers/auth0.toml")),
    ("cognito", include_str!("../../providers/cognito.toml")),
    ("entra", include_str!("../../providers/entra.toml")),
    ("keycloak", include_str!("../../providers/keycloak.toml")),
    ("okta", include_str!("../../providers/okta.toml")),
    ("okta-org", include_str!("../../providers/okta-org.toml")),
    ("simacan", include_str!("../../providers/simacan.toml")),
    ("simacan-staging", include_str!("../../providers/simacan-staging.toml")),
    ("truphone", include_str!("../../providers/truphone.toml")),
    ("tuinly", include_str!("../../providers/tuinly.toml")),
];

/// A vendor's authorization server, as its clients see it.
#[derive(Clone, Debug)]
pub struct Provider {
    pub(crate) name: String,
    pub(crate) title: Option<String>,
    pub(crate) issuer: Option<String>,
    pub(crate) assertion: Assertion,
    mtls: MtlsAliases,
    pub(crate) obtain: Obtain,
    pub(crate) refresh: Option<Refresh>,
    /// A header that says when a client that asked too much may ask again, in seconds since 1970.
    pub(crate) rate_limit_reset: Option<HeaderName>,
    pub(crate) feed: FeedPlace,
    pub(crate) hosts: AllowedHosts,
    source: Option<Box<Source>>,
}

/// What it came from, to fill in another environment.
#[derive(Clone, Debug)]
struct Source {
    file: File,
    parameters: BTreeMap<String, String>,
}

/// Where things are to be had with a client certificate, if that is elsewhere (RFC 8705 §5).
#[derive(Clone, Debug, Default)]
struct MtlsAliases {
    token: Option<Uri>,
    revocation: Option<Uri>,
    feed: Option<Uri>,
}

/// Where a revocation feed is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum FeedPlace {
    /// Where the issuer's metadata say, if there is an issuer: lately there.
    Metadata(Option<Uri>),
    /// There, whatever they say.
    At(Uri),
    /// Nowhere that is known: tokens come from another place than the metadata say.
    Unknown,
}

/// How a first token is obtained.
#[derive(Clone, Debug)]
pub(crate) struct Obtain {
    pub(crate) url: Uri,
    pub(crate) grant: CredentialsGrant,
    pub(crate) send_grant_type: bool,
    pub(crate) client_authentication: ClientAuthentication,
    pub(crate) scope: Option<String>,
    /// The server grants nothing to whoever does not say what.
    pub(crate) scope_required: bool,
    /// Fields of the form that no standard has, such as `audience`.
    pub(crate) parameters: BTreeMap<String, String>,
    pub(crate) lifetime: Option<Duration>,
    pub(crate) interval: Duration,
}

/// How a refresh token is used.
#[derive(Clone, Debug)]
pub(crate) struct Refresh {
    pub(crate) url: Uri,
    pub(crate) send_grant_type: bool,
    pub(crate) client_authentication: ClientAuthentication,
    pub(crate) answer: RefreshAnswer,
    pub(crate) lifetime: Option<Duration>,
    pub(crate) expired_status: u16,
    /// For how long a token that was presented, and so used up, may be presented again.
    pub(crate) grace: Option<Duration>,
    /// Where refresh tokens are revoked (RFC 7009).
    pub(crate) revocation: Option<Uri>,
}

/// The grant that credentials are used with.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum CredentialsGrant {
    /// RFC 6749 §4.4.
    ClientCredentials,
    /// RFC 6749 §4.3, which OAuth 2.1 has dropped.
    Password,
}

impl CredentialsGrant {
    /// How soon its credentials may be sent again, unless the provider says.
    fn interval(self) -> Duration {
        match self {
            Self::ClientCredentials => Duration::ZERO,
            Self::Password => PASSWORD_INTERVAL,
        }
    }
}

/// How a client proves who it is at the token endpoint (RFC 6749 §2.3).
///
/// `Basic` and `Post` are for clients with a secret. One with a key or a certificate uses that wherever the client is
/// to be known at all.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthentication {
    /// HTTP Basic, with id and secret form-encoded.
    Basic,
    /// `client_id` and `client_secret` in the form.
    Post,
    /// An assertion that the client's key has signed (RFC 7523 §2.2).
    PrivateKeyJwt,
    /// `client_id` in the form, and the certificate of the connection (RFC 8705 §2).
    TlsClientAuth,
    /// Not at all: the request names no client.
    None,
}

/// What a client with a key says about itself (RFC 7523 §2.2).
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Assertion {
    pub(crate) audience: AssertionAudience,
    pub(crate) typ: AssertionTyp,
    /// Whether the form names the client as well, which the assertion has done (RFC 7521 §4.2).
    pub(crate) client_id: bool,
}

/// Whom a client's assertion is for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum AssertionAudience {
    /// The server's issuer identifier, as the revision of RFC 7523 has it.
    #[default]
    Issuer,
    /// The URL that it is sent to, as vendors have it that were there before.
    TokenEndpoint,
}

/// What the header of an assertion calls it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
pub(crate) enum AssertionTyp {
    #[default]
    #[serde(rename = "client-authentication+jwt")]
    ClientAuthentication,
    #[serde(rename = "JWT")]
    Jwt,
}

/// What a refresh answers besides the access token.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum RefreshAnswer {
    /// A new refresh token.
    New,
    /// No refresh token: the old one stays good.
    Keep,
}

/// What is wrong with a provider, for whoever wrote it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderError {
    /// No provider of this name comes with the library.
    #[error("no provider is called {name:?}; there are {}", Provider::names().collect::<Vec<_>>().join(", "))]
    Unknown {
        /// The name.
        name: String,
    },
    /// The provider has no such environment.
    #[error("provider {provider:?} has no environment {environment:?}; it has {known}")]
    UnknownEnvironment {
        /// The provider.
        provider: String,
        /// What was asked for.
        environment: String,
        /// Those there are.
        known: String,
    },
    /// Parameters are missing.
    #[error("provider {provider:?} needs parameters: {}", listed(.missing))]
    MissingParameters {
        /// The provider.
        provider: String,
        /// Their names, each with what it is.
        missing: BTreeMap<String, String>,
    },
    /// The provider has no such parameter.
    #[error("provider {provider:?} has no parameter {name:?}; it has {}", joined(.known))]
    UnknownParameter {
        /// The provider.
        provider: String,
        /// What was given.
        name: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// A parameter has a value that it cannot have.
    #[error("parameter {name:?} of provider {provider:?} {what}")]
    Parameter {
        /// The provider.
        provider: String,
        /// The parameter.
        name: String,
        /// What is wrong with its value.
        what: &'static str,
    },
    /// The file cannot be read.
    #[error("{path}: {error}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// The file is not TOML, not of the shape above, or a value makes no sense.
    #[error("line {line}, column {column}: {what}")]
    Value {
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// What is wrong.
        what: String,
    },
    /// The server that has the metadata does not answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The metadata are not usable.
    #[error("metadata: {what}")]
    Metadata {
        /// What is wrong.
        what: String,
    },
    /// A URL that was given in code makes no sense.
    #[error("{what}")]
    Url {
        /// What is wrong.
        what: String,
    },
}

fn listed(parameters: &BTreeMap<String, String>) -> String {
    let each = parameters.iter().map(|(name, what)| format!("{name} ({what})"));
    each.collect::<Vec<_>>().join(", ")
}

fn joined(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

impl Provider {
    /// A server whose one token endpoint follows the RFCs: client credentials, Basic authentication, refresh tokens
    /// used if they come. Its tokens go nowhere until [`with_api_hosts`](Self::with_api_hosts) says where.
    ///
    /// # Errors
    ///
    /// [`ProviderError::Url`] if the URL is not https, nor http to this machine.
    pub fn at(token_url: &str) -> Result<Self, ProviderError> {
        let url = url(token_url).map_err(|what| ProviderError::Url { what })?;
        let client_authentication = ClientAuthentication::Basic;
        Ok(Self {
            name: url.host().unwrap_or_default().to_owned(),
            title: None,
            issuer: None,
            assertion: Assertion::default(),
            mtls: MtlsAliases::default(),
            obtain: Obtain {
                url: url.clone(),
                grant: CredentialsGrant::ClientCredentials,
                send_grant_type: true,
                client_authentication,
                scope: None,
                scope_required: false,
                parameters: BTreeMap::new(),
                lifetime: None,
                interval: Duration::ZERO,
            },
            refresh: Some(Refresh {
                url,
                send_grant_type: true,
                client_authentication,
                answer: RefreshAnswer::New,
                lifetime: None,
                expired_status: 400,
                grace: None,
                revocation: None,
            }),
            rate_limit_reset: None,
            feed: FeedPlace::Metadata(None),
            hosts: AllowedHosts::default(),
            source: None,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its name for people.
    pub fn title(&self) -> &str {
        self.title.as_deref().unwrap_or(&self.name)
    }

    /// Its issuer identifier, if it is known.
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// Whom the assertions of a client with a key are for.
    pub fn assertion_audience(&self) -> AssertionAudience {
        self.assertion.audience
    }

    /// The scope that it is asked for, if any.
    pub fn scope(&self) -> Option<&str> {
        self.obtain.scope.as_deref()
    }

    /// The grant that its credentials are for.
    pub fn grant(&self) -> CredentialsGrant {
        self.obtain.grant
    }

    /// Where tokens are obtained.
    pub fn token_url(&self) -> &Uri {
        &self.obtain.url
    }

    /// Where tokens are refreshed, if they are.
    pub fn refresh_url(&self) -> Option<&Uri> {
        self.refresh.as_ref().map(|refresh| &refresh.url)
    }

    /// Where refresh tokens are revoked, if they are used and that is known (RFC 7009).
    pub fn revocation_url(&self) -> Option<&Uri> {
        self.refresh.as_ref().and_then(|refresh| refresh.revocation.as_ref())
    }

    /// Where keepers follow what the issuer revokes, as far as that is known without asking it.
    pub fn revocation_feed_url(&self) -> Option<&Uri> {
        match &self.feed {
            FeedPlace::At(url) => Some(url),
            FeedPlace::Metadata(url) => url.as_ref(),
            FeedPlace::Unknown => None,
        }
    }

    /// For how long a refresh token that was used up may be presented again, if the server allows that.
    pub fn refresh_grace(&self) -> Option<Duration> {
        self.refresh.as_ref().and_then(|refresh| refresh.grace)
    }

    /// How the client proves who it is when it obtains a token.
    pub fn client_authentication(&self) -> ClientAuthentication {
        self.obtain.client_authentication
    }

    /// What a refresh answers besides the access token, according to the vendor. The keeper goes by the answer.
    pub fn refresh_answer(&self) -> Option<RefreshAnswer> {
        self.refresh.as_ref().map(|refresh| refresh.answer)
    }

    /// What the server answers to a dead refresh token, according to the vendor. The keeper takes any refusal.
    pub fn expired_refresh_status(&self) -> Option<u16> {
        self.refresh.as_ref().map(|refresh| refresh.expired_status)
    }

    /// Where its tokens may go.
    pub fn api_hosts(&self) -> &AllowedHosts {
        &self.hosts
    }
}
