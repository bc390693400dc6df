//! The grants, and sets of them.

use std::fmt;

use serde::{Deserialize, Serialize};

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
