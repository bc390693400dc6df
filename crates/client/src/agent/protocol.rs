//! What is said over the agent's socket: JSON in HTTP/1.1, so that any language can say it.
//!
//! | request | with | answer |
//! | --- | --- | --- |
//! | `POST /v1/token` | [`Ask`] | 200 [`Answer`]; 202 [`Pending`] once the caller's wait is over |
//! | `POST /v1/proof` | [`ProofAsk`] | 200 [`Answer`] with a `proof` for one request to an API (RFC 9449 §7.1) |
//! | `POST /v1/invalidate` | [`Invalidate`] | 200 [`Invalidated`] |
//! | `GET /v1/tokens` | – | 200 [`Tokens`], those that the caller may have, none of them with its token |
//! | `GET /metrics` | – | OpenMetrics text |
//! | `GET /health` | – | 200 `{"status":"ok"}` |
//!
//! Anything else is answered with `{"error": …}`, an [`AgentError`]. Members of an answer that are not known are to be
//! ignored; in a request they are refused, since they might restrict it.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokenry_core::Secret;
use zeroize::Zeroize as _;

use crate::machine::Grant;
use crate::{Error, ServerError};

/// Where a token is asked for.
pub(crate) const TOKEN_PATH: &str = "/v1/token";
/// Where a proof is asked for.
pub(crate) const PROOF_PATH: &str = "/v1/proof";
/// Where a token is withdrawn.
pub(crate) const INVALIDATE_PATH: &str = "/v1/invalidate";
/// Where the tokens are listed.
pub(crate) const TOKENS_PATH: &str = "/v1/tokens";

/// The longest request: a keeper with a key, a certificate chain and an assertion.
pub(crate) const REQUEST_LIMIT: usize = 128 * 1024;

/// The longest answer: as much as a token endpoint may say.
pub(crate) const ANSWER_LIMIT: usize = 1024 * 1024;

/// Which token.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ask {
    /// By the name that the agent's file gives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// Or that of a keeper which the caller lends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keeper: Option<Written>,
    /// How long the agent may take until it says at least that the token is pending. Absent: as long as it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) wait_ms: Option<u64>,
    /// A token that an API answered 401 to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<Refused>,
}

/// A keeper as it is written in JSON, with its secrets. `Debug` shows nothing, and its memory is overwritten.
#[derive(Clone, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct Written(pub(crate) Value);

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Written(..)")
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// One token of one keeper.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refused {
    /// The [`Answer::keeper`].
    pub(crate) keeper: String,
    /// The [`Answer::generation`].
    pub(crate) generation: u64,
}

/// A token.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Answer {
    #[serde(with = "exposed")]
    pub(crate) access_token: Secret,
    pub(crate) token_type: String,
    /// In seconds since 1970, as far as the server said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<u64>,
    /// When a caller that keeps a copy should ask again.
    pub(crate) renew_in_ms: u64,
    /// How long the copy is good at most.
    pub(crate) good_for_ms: u64,
    /// Which keeper of this run of the agent it comes from.
    pub(crate) keeper: String,
    /// Which of its tokens it is.
    pub(crate) generation: u64,
    /// Where the token may go, in the patterns of [`AllowedHosts`](crate::AllowedHosts). Empty: nobody has said it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) api_hosts: Vec<String>,
    /// The value of the `DPoP` header, where one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) proof: Option<String>,
}

/// The token is not there yet: ask again.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Pending {
    pub(crate) pending: bool,
}

/// A proof for one request to an API.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProofAsk {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keeper: Option<Written>,
    /// The method of the request.
    pub(crate) method: String,
    /// Its URL.
    pub(crate) url: String,
    /// The `DPoP-Nonce` of the API's last answer, if it had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nonce: Option<String>,
}

/// A token that is not to be handed out any more.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Invalidate {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keeper: Option<Written>,
    /// Only if it is this one. Absent: whichever is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) generation: Option<u64>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Invalidated {
    /// Whether a token was withdrawn. If not, another is held already, none is, or the API that refuses so many is not
    /// believed; see the [table](crate::machine).
    pub withdrawn: bool,
}

/// Every token that the caller may have.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Tokens {
    pub(crate) tokens: Vec<Listed>,
}

/// One token of the agent, without its text.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[non_exhaustive]
pub struct Listed {
    /// Its name in the agent's file; none if it was lent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Which keeper of this run of the agent it comes from.
    pub keeper: String,
    /// Who issues it.
    pub provider: String,
    /// Where its keeper stands; see the [table](crate::machine).
    pub phase: String,
    /// How many tokens there have been.
    pub generation: u64,
    /// When it expires, in seconds since 1970, if there is one and it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// How often it was asked for.
    pub asked: u64,
}

/// Why the agent gives no token.
#[derive(Clone, Debug, Deserialize, Serialize, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct AgentError {
    /// Whose it is to repair.
    pub kind: Trouble,
    /// For people.
    pub message: String,
    /// When it is worthwhile to ask again, if the agent knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_in_ms: Option<u64>,
    /// What the server said, if it refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refusal: Option<Refusal>,
}

/// The kinds of [`AgentError`].
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Trouble {
    /// The authorization server understood and said no. Asking elsewhere would get the same answer.
    Refused,
    /// The authorization server, or the way to it, is in trouble that passes.
    Transient,
    /// The keeper cannot do what it was set up for.
    Broken,
    /// The request is none that this agent understands.
    InvalidRequest,
    /// There is no secret with it, or another.
    Unauthorized,
    /// This user may not have this token.
    NotPermitted,
    /// There is no token of this name, or no such keeper.
    Unknown,
    /// What was lent is no keeper that the agent can hold.
    NotLendable,
    /// The agent holds as many keepers as it can.
    Full,
    /// Anything else, from another version.
    #[serde(other)]
    Other,
}

impl Trouble {
    /// Whether it is about the token, so that whoever asks the server itself would fare no better.
    pub(crate) const fn is_of_the_token(self) -> bool {
        matches!(self, Self::Refused | Self::Transient | Self::Broken)
    }

    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::Refused | Self::Broken => StatusCode::BAD_GATEWAY,
            Self::Transient | Self::Full => StatusCode::SERVICE_UNAVAILABLE,
            Self::InvalidRequest | Self::Other => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotPermitted => StatusCode::FORBIDDEN,
            Self::Unknown => StatusCode::NOT_FOUND,
            Self::NotLendable => StatusCode::UNPROCESSABLE_ENTITY,
        }
    }
}

/// See [`ServerError`].
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Refusal {
    grant: RefusedGrant,
    status: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum RefusedGrant {
    Credentials,
    RefreshToken,
}

impl AgentError {
    pub(crate) fn new(kind: Trouble, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_in_ms: None, refusal: None }
    }

    /// Why a keeper has no token, and when it tries again.
    pub(crate) fn of(error: &Error, retry_in: Option<Duration>) -> Self {
        let kind = match error {
            Error::Refused { .. } => Trouble::Refused,
            Error::Unusable { .. }
            | Error::Transport(_)
            | Error::HeldBack { .. }
            | Error::Abandoned => Trouble::Transient,
            _ => Trouble::Broken,
        };
        let retry_in = match error {
            Error::HeldBack { retry_in } => Some(*retry_in),
            _ => retry_in,
        };
        let refusal = match error {
            Error::Refused { grant, refusal } => Some(Refusal::of(*grant, refusal)),
            _ => None,
        };
        Self { retry_in_ms: retry_in.map(millis), refusal, ..Self::new(kind, error.to_string()) }
    }

    /// When it is worthwhile to ask again, if the agent knows.
    pub fn retry_in(&self) -> Option<Duration> {
        self.retry_in_ms.map(Duration::from_millis)
    }

    /// The same as if the keeper were the caller's own, as far as it can be told.
    pub(crate) fn into_error(self) -> Error {
        match self.refusal {
            Some(refusal) if self.kind == Trouble::Refused => Error::Refused {
                grant: match refusal.grant {
                    RefusedGrant::Credentials => Grant::Credentials,
                    RefusedGrant::RefreshToken => Grant::Refresh,
                },
                refusal: ServerError {
                    status: refusal.status,
                    code: refusal.code,
                    description: refusal.description,
                },
            },
            _ => Error::Agent(self.into()),
        }
    }
}

impl Refusal {
    fn of(grant: Grant, error: &ServerError) -> Self {
        let grant = match grant {
            Grant::Credentials => RefusedGrant::Credentials,
            Grant::Refresh => RefusedGrant::RefreshToken,
        };
        let ServerError { status, code, description } = error.clone();
        Self { grant, status, code, description }
    }
}

/// What stands around an error.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Wrong {
    pub(crate) error: AgentError,
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A secret in the one message that is there to carry it.
mod exposed {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use tokenry_core::Secret;

    pub(super) fn serialize<S: Serializer>(
        secret: &Secret,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(secret.expose())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Secret, D::Error> {
        String::deserialize(deserializer).map(Secret::new)
    }
}
