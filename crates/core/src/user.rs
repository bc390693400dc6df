//! Users of the password grant (RFC 6749 §4.3).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// A user as registered.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct User {
    /// The realm it belongs to.
    pub realm: String,
    /// What it is called in the `username` parameter.
    pub name: String,
    /// The `sub` of its tokens: a UUID, so that no user can be named like a client (RFC 9700 §4.15).
    pub subject: String,
    /// What the password is compared with.
    pub password: PasswordHash,
    /// Whether it may have tokens.
    pub enabled: bool,
    /// Nothing issued before this is good any more; moved when the password changes.
    #[serde(default)]
    pub not_before: Timestamp,
    /// Access tokens with an earlier `iat` have ended, as everybody was told: whole seconds, at first perhaps one or two
    /// ahead. Refresh tokens go by `not_before`. Only the store writes it, together with what it tells.
    #[serde(default, skip_serializing_if = "Timestamp::is_epoch")]
    pub ended_before: Timestamp,
    /// When it was registered.
    pub created_at: Timestamp,
}

impl User {
    /// The `iat` of the oldest access token about it that can be good.
    pub fn good_since(&self) -> Timestamp {
        self.not_before.ceil_to_secs().max(self.ended_before)
    }
}

/// A password hash in PHC string form (`$argon2id$v=19$m=…,t=…,p=…$salt$hash`).
///
/// Its `Debug` shows nothing. Computing and comparing it takes milliseconds and is the caller's part.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Takes a PHC string.
    pub const fn from_phc(phc: String) -> Self {
        Self(phc)
    }

    /// The PHC string.
    pub fn as_phc(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}
