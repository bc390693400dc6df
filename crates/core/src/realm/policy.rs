//! What a realm may want beyond issuing to its own clients: resources, proofs, other issuers, registration.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Scope;
use crate::jose::JwkSet;

/// Something that access tokens may be for (RFC 8707 §2).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Resource {
    /// Its identifier, an absolute URI; becomes the `aud` of a token for it.
    pub identifier: String,
    /// The scope that means something to it; `None`: every scope of the realm.
    #[serde(default)]
    pub scopes: Option<Scope>,
    /// How long access tokens for it live at most.
    #[serde(default)]
    pub access: Option<Duration>,
}

/// What a realm wants of DPoP (RFC 9449).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct DpopPolicy {
    /// Whether every token request must have a proof.
    pub required: bool,
    /// Whether a proof must have a nonce of this server (§8).
    pub nonce: bool,
}

/// Client certificates (RFC 8705).
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct CertificatePolicy {
    /// The authorities whose certificates clients authenticate with (`tls_client_auth`), in PEM.
    pub authorities: Vec<String>,
    /// The revocation lists of these authorities, in PEM; a certificate is refused where its authority has one that
    /// names it.
    pub revocation_lists: Vec<String>,
    /// Where connections are asked for a certificate, if not at the issuer's own place: scheme, host and port (§5).
    pub origin: Option<String>,
}

/// Another issuer that is believed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Trust {
    /// What people and `sub` call it: see [`is_name`](super::is_name).
    pub name: String,
    /// The `iss` of its tokens, or `spiffe://` and a trust domain.
    pub issuer: String,
    /// Where its keys are.
    #[serde(default)]
    pub keys: TrustedKeys,
    /// What the `aud` of its tokens may be beside this realm's issuer. Kubernetes and GitHub let one choose; where one
    /// cannot, this is what they write.
    #[serde(default)]
    pub audience: Vec<String>,
    /// The scope that its tokens may be turned into (RFC 7523 §2.1, RFC 8693); empty: they only authenticate clients.
    #[serde(default)]
    pub scopes: Scope,
}

impl Trust {
    /// Whether it is the trust domain of SPIFFE workloads.
    pub fn is_spiffe(&self) -> bool {
        self.issuer.starts_with("spiffe://")
    }

    /// What the `use` of its keys may be beside `sig`: the bundle of a trust domain says what each key is for (SPIFFE
    /// Trust Domain and Bundle §4.2.2).
    pub fn key_usage(&self) -> Option<&'static str> {
        self.is_spiffe().then_some("jwt-svid")
    }

    /// The keys that its registration holds. `None`: they are elsewhere, or do not read.
    pub fn held_keys(&self) -> Option<JwkSet> {
        let TrustedKeys::Jwks(text) = &self.keys else { return None };
        let text = text.as_bytes();
        match self.key_usage() {
            Some(usage) => JwkSet::parse_for(text, usage).ok(),
            None => JwkSet::parse(text).ok(),
        }
    }
}

/// Where the keys of an issuer are.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TrustedKeys {
    /// Named by its metadata.
    #[default]
    Discovered,
    /// At this URL.
    JwksUri(String),
    /// Here: a JWK set. For issuers that nobody can reach from outside.
    Jwks(String),
}

/// Who may register clients (RFC 7591).
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct RegistrationPolicy {
    /// The scope that an access token of this realm must have to register a client with.
    pub scope: Scope,
    /// The scope that registered clients may have.
    pub scopes: Scope,
}

/// A set of rules that a realm obeys as a whole.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// RFC 6749 and what follows it.
    #[default]
    Standard,
    /// The FAPI 2.0 Security Profile: no secrets, no bearer tokens, no old algorithms.
    Fapi2,
}
