//! Why a request is refused, and what the client is told.

use std::fmt;

use crate::scope::MalformedScope;

/// Why a token request is refused.
///
/// The variant and its [`Display`](fmt::Display) are for the operator's log. The client sees only what a dialect
/// makes of it, in the default dialect the [`ErrorCode`], which says no more than RFC 6749 lets it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    // The request is malformed.
    /// The body is not a form.
    ContentType,
    /// The form or a header is malformed.
    MalformedRequest(&'static str),
    /// The `scope` parameter has a character the RFC does not allow.
    MalformedScope,
    /// A parameter that the grant needs is not there.
    MissingParameter(&'static str),
    /// A parameter was sent twice.
    RepeatedParameter(&'static str),
    /// This server has no such grant.
    UnsupportedGrant(String),

    // The client is not who it says.
    /// The realm does not let clients authenticate like this.
    AuthenticationNotAllowed,
    /// The client may have no tokens for now.
    ClientDisabled,
    /// The client assertion is not good (named).
    BadAssertion(&'static str),
    /// The client assertion is not signed by a key of the client.
    AssertionNotSigned,
    /// The client certificate is not good (named).
    BadCertificate(&'static str),
    /// The client assertion was presented before.
    AssertionReused,
    /// The Basic header cannot be read.
    MalformedBasic,
    /// The request does not say which client it is made by.
    NoClientId,
    /// The request names a client and carries no credentials of it.
    NoCredentials,
    /// The secret was the client's once, or will be.
    SecretExpired,
    /// No client has this identifier.
    UnknownClient,
    /// A client assertion of a type that this server does not take.
    UnsupportedAssertion,
    /// An `Authorization` scheme other than Basic.
    UnsupportedScheme,
    /// The secret is not the client's.
    WrongSecret,

    // The client may not have what it asks for.
    /// The client may not use this grant.
    GrantNotAllowed,
    /// The client may not have this scope.
    ScopeNotAllowed(String),
    /// Nothing of the scope means anything at the resources that the token would be for, by these names: the realm
    /// declares their scopes, and the client has none of them.
    NoScopeThere(String),

    /// What the token is to be for is no URI, unknown, or not for this client.
    InvalidTarget(String),
    /// The request names several resources, and the realm gives tokens for one.
    SeveralTargets,

    // The request does not prove what it must.
    /// A DPoP proof is missing.
    NoProof,
    /// The DPoP proof is not good (named).
    BadProof(&'static str),
    /// The DPoP proof was presented before.
    ProofReused,
    /// The DPoP proof has no nonce of this server, or an old one.
    NonceNeeded,
    /// A client certificate is missing.
    NoCertificate,

    // The grant is not good.
    /// The JWT of another issuer is not good (named).
    BadForeignToken(&'static str),
    /// The subject token or actor token is not good (named).
    BadExchangedToken(&'static str),
    /// The refresh token is bound to a key that the request has not proved to have.
    WrongKey,
    /// No such user, or another password; nobody can tell which.
    WrongPassword,
    /// The user may have no tokens for now.
    UserDisabled,
    /// What was presented is no refresh token of this realm.
    NotARefreshToken,
    /// The refresh token has expired.
    RefreshTokenExpired,
    /// The refresh token was issued before what the realm, the client or the user still honours.
    RefreshTokenStale,
    /// The refresh token was issued to another client.
    RefreshTokenOfAnotherClient,
    /// The family of the refresh token was revoked.
    FamilyRevoked,
    /// The refresh token was used before; its family has been revoked now.
    RefreshTokenReused,

    // The token that was asked about is not the caller's to revoke.
    /// The token was issued to another client.
    TokenOfAnotherClient,
}

impl Refusal {
    /// The error code of RFC 6749 §5.2.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::ContentType
            | Self::MalformedRequest(_)
            | Self::MissingParameter(_)
            | Self::NoCertificate
            // RFC 8693 §2.2.2: "If [...] either subject_token or actor_token are invalid for any reason [...]"
            | Self::BadExchangedToken(_)
            | Self::RepeatedParameter(_) => ErrorCode::InvalidRequest,
            Self::InvalidTarget(_) | Self::SeveralTargets => ErrorCode::InvalidTarget,
            Self::NoProof | Self::BadProof(_) | Self::ProofReused => ErrorCode::InvalidDpopProof,
            Self::NonceNeeded => ErrorCode::UseDpopNonce,
            Self::MalformedScope | Self::ScopeNotAllowed(_) | Self::NoScopeThere(_) => {
                ErrorCode::InvalidScope
            }
            Self::UnsupportedGrant(_) => ErrorCode::UnsupportedGrantType,
            // One code for all of them, so that nobody can ask which clients exist.
            Self::AssertionNotSigned
            | Self::AssertionReused
            | Self::AuthenticationNotAllowed
            | Self::BadAssertion(_)
            | Self::BadCertificate(_)
            | Self::ClientDisabled
            | Self::MalformedBasic
            | Self::NoClientId
            | Self::NoCredentials
            | Self::SecretExpired
            | Self::UnknownClient
            | Self::UnsupportedAssertion
            | Self::UnsupportedScheme
            | Self::WrongSecret => ErrorCode::InvalidClient,
            Self::GrantNotAllowed | Self::TokenOfAnotherClient => ErrorCode::UnauthorizedClient,
            Self::BadForeignToken(_)
            | Self::WrongKey
            | Self::WrongPassword
            | Self::UserDisabled
            | Self::NotARefreshToken
            | Self::RefreshTokenExpired
            | Self::RefreshTokenStale
            | Self::RefreshTokenOfAnotherClient
            | Self::FamilyRevoked
            | Self::RefreshTokenReused => ErrorCode::InvalidGrant,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ContentType => write!(f, "the body is not a form"),
            Self::MalformedRequest(what) => write!(f, "malformed request: {what}"),
            Self::MalformedScope => write!(f, "malformed scope"),
            Self::MissingParameter(name) => write!(f, "no {name} parameter"),
            Self::RepeatedParameter(name) => write!(f, "the {name} parameter was repeated"),
            Self::UnsupportedGrant(name) => write!(f, "unsupported grant {name:?}"),
            Self::AuthenticationNotAllowed => {
                write!(f, "clients do not authenticate like this here")
            }
            Self::ClientDisabled => write!(f, "the client is disabled"),
            Self::AssertionNotSigned => {
                write!(f, "bad client assertion: not signed by a key of the client")
            }
            Self::AssertionReused => write!(f, "the client assertion was presented before"),
            Self::BadAssertion(why) => write!(f, "bad client assertion: {why}"),
            Self::BadCertificate(why) => write!(f, "bad client certificate: {why}"),
            Self::MalformedBasic => write!(f, "malformed Basic header"),
            Self::NoClientId => write!(f, "no client identifier"),
            Self::NoCredentials => write!(f, "no client credentials"),
            Self::SecretExpired => write!(f, "the client secret is not good at this time"),
            Self::UnknownClient => write!(f, "unknown client"),
            Self::UnsupportedAssertion => write!(f, "unsupported type of client assertion"),
            Self::UnsupportedScheme => write!(f, "unsupported authentication scheme"),
            Self::WrongSecret => write!(f, "wrong client secret"),
            Self::GrantNotAllowed => write!(f, "the client may not use this grant"),
            Self::ScopeNotAllowed(token) => write!(f, "the client may not have scope {token:?}"),
            Self::NoScopeThere(resources) => {
                write!(
                    f,
                    "nothing of the scope is among those that the realm declares for {resources:?}: the client needs one of them, or another audience"
                )
            }
            Self::InvalidTarget(resource) => {
                write!(f, "the client may not have tokens for {resource:?}")
            }
            Self::SeveralTargets => write!(f, "a token is for one resource here"),
            Self::NoProof => write!(f, "no DPoP proof"),
            Self::BadProof(why) => write!(f, "bad DPoP proof: {why}"),
            Self::ProofReused => write!(f, "the DPoP proof was presented before"),
            Self::NonceNeeded => write!(f, "the DPoP proof has no nonce of ours, or an old one"),
            Self::NoCertificate => write!(f, "no client certificate"),
            Self::BadForeignToken(why) => write!(f, "bad token of another issuer: {why}"),
            Self::BadExchangedToken(why) => write!(f, "bad subject or actor token: {why}"),
            Self::WrongKey => write!(f, "the refresh token is bound to another key"),
            Self::WrongPassword => write!(f, "unknown user or wrong password"),
            Self::UserDisabled => write!(f, "the user is disabled"),
            Self::NotARefreshToken => write!(f, "not a refresh token of this realm"),
            Self::RefreshTokenExpired => write!(f, "the refresh token has expired"),
            Self::RefreshTokenStale => write!(f, "the refresh token was issued before not_before"),
            Self::RefreshTokenOfAnotherClient => write!(f, "the refresh token of another client"),
            Self::FamilyRevoked => write!(f, "the refresh token's family was revoked"),
            Self::RefreshTokenReused => {
                write!(f, "the refresh token was used before; its family has been revoked")
            }
            Self::TokenOfAnotherClient => write!(f, "the token of another client"),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<MalformedScope> for Refusal {
    fn from(_: MalformedScope) -> Self {
        Self::MalformedScope
    }
}

/// The error codes of RFC 6749 §5.2.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ErrorCode {
    /// `invalid_client`
    InvalidClient,
    /// `invalid_dpop_proof` (RFC 9449 §5)
    InvalidDpopProof,
    /// `invalid_grant`
    InvalidGrant,
    /// `invalid_request`
    InvalidRequest,
    /// `invalid_scope`
    InvalidScope,
    /// `invalid_target` (RFC 8707 §2)
    InvalidTarget,
    /// `unauthorized_client`
    UnauthorizedClient,
    /// `unsupported_grant_type`
    UnsupportedGrantType,
    /// `use_dpop_nonce` (RFC 9449 §8)
    UseDpopNonce,
}

impl ErrorCode {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::InvalidClient,
        Self::InvalidDpopProof,
        Self::InvalidGrant,
        Self::InvalidRequest,
        Self::InvalidScope,
        Self::InvalidTarget,
        Self::UnauthorizedClient,
        Self::UnsupportedGrantType,
        Self::UseDpopNonce,
    ];

    /// The code as it is written in the response.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidClient => "invalid_client",
            Self::InvalidDpopProof => "invalid_dpop_proof",
            Self::InvalidGrant => "invalid_grant",
            Self::InvalidRequest => "invalid_request",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UseDpopNonce => "use_dpop_nonce",
        }
    }
}
