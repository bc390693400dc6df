//! Why a request is not let in, and what its client is told (RFC 6750 §3.1, RFC 9449 §7.1).

use std::time::Duration;

use http::StatusCode;
use tokenry_core::Scope;
use tokenry_core::jose::claims::ClaimsError;
use tokenry_core::jose::jws::JwsError;

/// Why a request is not let in.
///
/// The variant and its [`Display`](std::fmt::Display) are for the log, and have nothing of the token in them. The
/// client is told [`status`](Self::status), [`code`](Self::code) and [`description`](Self::description).
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// The token's algorithm is not one of those allowed.
    #[error("the algorithm is not allowed")]
    AlgorithmNotAllowed,
    /// The DPoP proof is not one for this request (why).
    #[error("bad DPoP proof: {0}")]
    BadProof(&'static str),
    /// No key of the issuer made this signature.
    #[error("the signature is not valid")]
    BadSignature,
    /// The token is bound to a key or a certificate (`cnf`), and was sent as one that is not.
    #[error("the token is bound to a key, and was sent as a bearer token")]
    Bound,
    /// The claims cannot be read.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// The revocation feed was lost, so that nobody knows whether the token was revoked; see
    /// [`WhenBehind::Refuse`](crate::WhenBehind::Refuse).
    #[error("it is not known which tokens were revoked")]
    FeedBehind {
        /// When to ask again.
        retry_after: Duration,
    },
    /// The token is good, but does not allow this.
    #[error("the token lacks a scope out of \"{needed}\"")]
    InsufficientScope {
        /// Everything that is needed, not only what lacks.
        needed: Scope,
    },
    /// The issuer says that the token is not active (RFC 7662 §2.2): it has expired, was revoked, or never was one.
    #[error("the issuer says that the token is not active")]
    Inactive,
    /// The request carries its credentials in a way that leaves open what they are (named).
    #[error("malformed request: {0}")]
    InvalidRequest(&'static str),
    /// Not a token of the form that is read here.
    #[error(transparent)]
    Malformed(#[from] JwsError),
    /// A claim that must be there is not (named).
    #[error("the claim {0} is missing")]
    MissingClaim(&'static str),
    /// The request carries no token.
    #[error("no token")]
    NoCredentials,
    /// The DPoP proof has no nonce of this API, or an old one.
    #[error("the DPoP proof has no nonce of ours, or an old one")]
    NonceNeeded,
    /// The token is bound to a key, and no [`resource_url`](crate::VerifierBuilder::resource_url) is set.
    #[error("the token is bound to a key, and there is no resource_url to check proofs with")]
    NoResourceUrl,
    /// The token was sent with a DPoP proof, and is not bound to any key.
    #[error("the token was sent with the scheme DPoP, and is not bound to a key")]
    NotBound,
    /// `nbf` has not come yet.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The DPoP proof is older than what is remembered of used ones.
    #[error("the DPoP proof is older than what is remembered of used ones")]
    ProofForgotten,
    /// The DPoP proof was presented before.
    #[error("the DPoP proof was presented before")]
    ProofReused,
    /// The store of used DPoP proofs does not answer.
    #[error("the store of used DPoP proofs does not answer")]
    ProofStoreDown,
    /// The token was revoked.
    #[error("the token was revoked")]
    Revoked,
    /// The issuer's keys, its word on the token, or the token's status list are not at hand, so that nothing can be said
    /// about the token.
    #[error("the issuer's keys or its word on the token are not available")]
    Unavailable {
        /// When to ask again.
        retry_after: Duration,
    },
    /// The token is bound to nothing, and only bound ones are accepted.
    #[error("the token is not bound to its sender")]
    Unbound,
    /// The token is good, and has not the claims that this API reads.
    #[error("the claims are not those that are read here")]
    UnfitClaims,
    /// The token is bound in a way (`cnf`) that is not known here.
    #[error("the token is bound in a way that is not known")]
    UnknownConfirmation,
    /// The issuer has no key with this `kid`, or none for the algorithm.
    #[error("the issuer has no such key")]
    UnknownKey,
    /// The token names a status list that is not followed, or a place that its list does not have (which); see
    /// [`StatusListSettings`](crate::StatusListSettings).
    #[error("the token's status is not known: {0}")]
    UnknownStatus(&'static str),
    /// `aud` names others.
    #[error("the token is for somebody else")]
    WrongAudience,
    /// The token is bound to a certificate, and the connection has another or none.
    #[error("the token is bound to a certificate, and the connection has another or none")]
    WrongCertificate,
    /// `iss` is not the issuer that is trusted here.
    #[error("the token is from another issuer")]
    WrongIssuer,
    /// The DPoP proof is signed with another key than the token is bound to.
    #[error("the DPoP proof is signed with another key than the token is bound to")]
    WrongKey,
    /// The token is something else than an access token, by its `typ`.
    #[error("the token is not an access token")]
    WrongType,
}

impl Rejection {
    /// The status of the answer.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::InvalidRequest(_) => StatusCode::BAD_REQUEST,
            Self::InsufficientScope { .. } => StatusCode::FORBIDDEN,
            // Not 401: the token may be good, and a client that is told 401 throws it away.
            Self::FeedBehind { .. } | Self::Unavailable { .. } | Self::ProofStoreDown => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::NoCredentials
            | Self::AlgorithmNotAllowed
            | Self::BadProof(_)
            | Self::BadSignature
            | Self::Bound
            | Self::Claims(_)
            | Self::Expired
            | Self::Inactive
            | Self::Malformed(_)
            | Self::MissingClaim(_)
            | Self::NonceNeeded
            | Self::NoResourceUrl
            | Self::NotBound
            | Self::NotYetValid
            | Self::ProofForgotten
            | Self::ProofReused
            | Self::Revoked
            | Self::Unbound
            | Self::UnfitClaims
            | Self::UnknownConfirmation
            | Self::UnknownKey
            | Self::UnknownStatus(_)
            | Self::WrongAudience
            | Self::WrongCertificate
            | Self::WrongIssuer
            | Self::WrongKey
            | Self::WrongType => StatusCode::UNAUTHORIZED,
        }
    }

    /// The `error` of the challenge. None when there were no credentials at all.
    pub const fn code(&self) -> Option<&'static str> {
        match self {
            // RFC 6750 §3.1: without authentication information "the resource server SHOULD NOT include an error
            // code or other error information".
            Self::NoCredentials
            | Self::FeedBehind { .. }
            | Self::ProofStoreDown
            | Self::Unavailable { .. } => None,
            Self::BadProof(_) | Self::ProofForgotten | Self::ProofReused => {
                Some("invalid_dpop_proof")
            }
            Self::NonceNeeded => Some("use_dpop_nonce"),
            Self::InvalidRequest(_) => Some("invalid_request"),
            Self::InsufficientScope { .. } => Some("insufficient_scope"),
            Self::AlgorithmNotAllowed
            | Self::BadSignature
            | Self::Bound
            | Self::Claims(_)
            | Self::Expired
            | Self::Inactive
            | Self::Malformed(_)
            | Self::MissingClaim(_)
            | Self::NoResourceUrl
            | Self::NotBound
            | Self::NotYetValid
            | Self::Revoked
            | Self::Unbound
            | Self::UnfitClaims
            | Self::UnknownConfirmation
            | Self::UnknownKey
            | Self::UnknownStatus(_)
            | Self::WrongAudience
            | Self::WrongCertificate
            | Self::WrongIssuer
            | Self::WrongKey
            | Self::WrongType => Some("invalid_token"),
        }
    }

    /// The `error_description` of the challenge: only what its holder may know and can do something about.
    pub const fn description(&self) -> Option<&'static str> {
        match self {
            // A proof is its sender's own: what is wrong with it is no secret from him.
            Self::InvalidRequest(what) | Self::BadProof(what) => Some(what),
            Self::NonceNeeded => Some("the proof needs the nonce that is given here"),
            Self::ProofForgotten => Some("the proof is too old"),
            Self::ProofReused => Some("the proof was presented before"),
            Self::Expired => Some("the token has expired"),
            Self::NotYetValid => Some("the token is not valid yet"),
            Self::Revoked => Some("the token was revoked"),
            Self::WrongAudience => Some("the token is for another resource server"),
            Self::WrongType => Some("the token is not an access token"),
            Self::Bound => Some("the token is bound to a key"),
            Self::NoResourceUrl => Some("tokens bound to a key are not accepted"),
            Self::NotBound => Some("the token is not bound to a key"),
            Self::Unbound => Some("the token is not bound to its sender"),
            Self::UnfitClaims => Some("the token lacks claims that are needed here"),
            Self::UnknownConfirmation => Some("the token is bound in an unknown way"),
            Self::WrongCertificate => Some("the token is bound to another certificate"),
            Self::WrongKey => Some("the token is bound to another key"),
            Self::InsufficientScope { .. } => Some("the token does not allow this"),
            // One sentence for all these, so that a forger does not learn how far he came.
            Self::AlgorithmNotAllowed
            | Self::BadSignature
            | Self::Claims(_)
            | Self::Inactive
            | Self::Malformed(_)
            | Self::MissingClaim(_)
            | Self::UnknownKey
            | Self::UnknownStatus(_)
            | Self::WrongIssuer => Some("the token is not valid"),
            Self::NoCredentials
            | Self::FeedBehind { .. }
            | Self::ProofStoreDown
            | Self::Unavailable { .. } => None,
        }
    }
}
