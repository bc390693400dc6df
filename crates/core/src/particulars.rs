//! What few clients have of their own.

use serde::{Deserialize, Serialize};

use crate::client::SecretDigest;

/// What few clients have of their own; kept apart from the [`Client`](crate::Client), since very many are held in memory.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Particulars {
    /// The audiences whose tokens it may introspect, beside its own tokens and those that are for it; `*`: all.
    pub introspects: Vec<String>,
    /// Whether its requests must have a DPoP proof (RFC 9449 §5.2, `dpop_bound_access_tokens`).
    pub dpop_bound: bool,
    /// Whether its tokens are bound to its certificate (RFC 8705 §3.4, `tls_client_certificate_bound_access_tokens`).
    pub certificate_bound: bool,
    /// Whether its assertions may also be for the token endpoint, as libraries from before RFC 7523bis write them.
    pub legacy_audience: bool,
    /// Where it publishes its keys (RFC 7591 §2): an https URL.
    pub jwks_uri: Option<String>,
    /// What is kept of a client that has registered itself (RFC 7591).
    pub registered: Option<Registered>,
    /// Whether its access tokens are opaque; `None`: as the realm says.
    pub opaque: Option<bool>,
}

/// What most clients have.
pub(crate) static NONE: Particulars = Particulars {
    introspects: Vec::new(),
    dpop_bound: false,
    certificate_bound: false,
    legacy_audience: false,
    jwks_uri: None,
    registered: None,
    opaque: None,
};

/// What is kept of a client that has registered itself, beside what it may do.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Registered {
    /// The digest of the token by which it manages its registration (RFC 7592 §2).
    pub token: SecretDigest,
    /// `client_name`
    #[serde(default)]
    pub name: Option<String>,
    /// `token_endpoint_auth_method`, as it said it.
    pub method: String,
    /// `jwks`, where its certificates stand in it.
    #[serde(default)]
    pub jwks: Option<String>,
}

impl Particulars {
    /// As a client keeps them: nothing, where there is nothing particular.
    pub fn boxed(self) -> Option<Box<Self>> {
        (self != NONE).then(|| Box::new(self))
    }
}
