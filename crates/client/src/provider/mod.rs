//! What differs between vendors, as data: where tokens come from, how to ask for them, where they may go.
//!
//! # The file
//!
//! ```toml
//! name = "example"
//! title = "Example Ltd"                  # for people
//! issuer = "https://{host}"              # optional; a client with a key needs it: its assertions are for the issuer
//! environment = "production"             # which of the environments below, unless another is chosen
//!
//! [obtain]                               # a first token, with credentials
//! url = "https://{host}/token"
//! grant = "client_credentials"           # or "password"
//! grant_type = true                      # false: the endpoint is the grant, and is told none
//! client_authentication = "basic"        # or "post", "private_key_jwt", "tls_client_auth", "none"
//! scope = "read write"                   # optional
//! lifetime = "1h"                        # used if an answer does not say how long its token lives
//! interval = "30s"                       # credentials are not sent again sooner; 30s for a password, else 0s
//!
//! [refresh]                              # left out: refresh tokens are not used
//! url = "https://{host}/refresh"         # left out: the same
//! grant_type = true
//! client_authentication = "basic"
//! answer = "new"                         # a new refresh token; "keep": the old one stays
//! lifetime = "30m"                       # of the refresh token: a dead one is not tried
//! expired_status = 400                   # what the server answers to a dead refresh token
//! grace = "30s"                          # optional; a token that was used up may be presented again for so long
//! revocation_url = "https://{host}/revoke"   # optional (RFC 7009)
//!
//! [api]                                  # where tokens may go; see `AllowedHosts`
//! hosts = ["api.example.com"]
//!
//! [environments.production]              # fills in the {placeholders} above
//! host = "auth.example.com"
//! ```

mod change;
mod discover;
mod file;
mod metadata;
mod read;

#[cfg(test)]
mod tests;

use std::time::Duration;

use http::Uri;
use serde::Deserialize;

use self::file::{File, url};
use crate::hosts::AllowedHosts;
use crate::transport::TransportError;

/// A provider file is a page of text; nobody writes one that is longer.
const FILE_LIMIT: u64 = 64 * 1024;

/// A password that is sent over and over locks its user out. The keeper of a well-behaved server never notices.
const PASSWORD_INTERVAL: Duration = Duration::from_secs(30);

/// The providers that come with the library.
const EMBEDDED: [(&str, &str); 5] = [
    ("1global", include_str!("../../providers/1global.toml")),
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
    mtls: MtlsAliases,
    pub(crate) obtain: Obtain,
    pub(crate) refresh: Option<Refresh>,
    pub(crate) hosts: AllowedHosts,
    /// The file it came from, to fill in another environment.
    file: Option<Box<File>>,
}

/// Where things are to be had with a client certificate, if that is elsewhere (RFC 8705 §5).
#[derive(Clone, Debug, Default)]
struct MtlsAliases {
    token: Option<Uri>,
    revocation: Option<Uri>,
}

/// How a first token is obtained.
#[derive(Clone, Debug)]
pub(crate) struct Obtain {
    pub(crate) url: Uri,
    pub(crate) grant: CredentialsGrant,
    pub(crate) send_grant_type: bool,
    pub(crate) client_authentication: ClientAuthentication,
    pub(crate) scope: Option<String>,
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
    /// The file cannot be read.
    #[error("{path}: {error}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// The file is not TOML, or not of the shape above. Says line and column.
    #[error("{0}")]
    Syntax(#[from] toml::de::Error),
    /// A value makes no sense.
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
            mtls: MtlsAliases::default(),
            obtain: Obtain {
                url: url.clone(),
                grant: CredentialsGrant::ClientCredentials,
                send_grant_type: true,
                client_authentication,
                scope: None,
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
            hosts: AllowedHosts::default(),
            file: None,
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
