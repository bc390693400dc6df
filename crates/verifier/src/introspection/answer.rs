//! What an issuer says about a token (RFC 7662 §2.2), and whether that lets it in.

use serde_json::Value;
use tokenry_core::Timestamp;
use tokenry_core::jose::Claims;
use tokenry_core::jose::claims::ClaimsError;
use tokenry_core::jose::json::{self, JsonError};

use crate::{AccessToken, Policy, Rejection};

/// The longest answer that is read: 64 KiB. The largest tokens that fit into a header have 16 KiB, and an answer says more.
pub(super) const MAX_ANSWER_LEN: usize = 64 * 1024;

/// What may be missing in an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lenience {
    pub(super) no_audience: bool,
    pub(super) no_type: bool,
}

/// An answer.
#[derive(Debug)]
pub(super) enum Answer {
    Inactive,
    Active(Box<Claims>),
}

/// Why an answer is none. Nothing of it is repeated here.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("the answer is too long")]
    TooLong,
    #[error("the answer is not a JSON object: {0}")]
    Json(#[from] JsonError),
    #[error("the answer says neither active nor inactive")]
    Active,
    #[error("the answer is malformed: {0}")]
    Claims(#[from] ClaimsError),
}

impl Answer {
    /// Reads an answer strictly: what can be understood in two ways says nothing.
    pub(super) fn read(body: &[u8]) -> Result<Self, Unreadable> {
        if body.len() > MAX_ANSWER_LEN {
            return Err(Unreadable::TooLong);
        }
        match json::object(body)?.get("active") {
            // Whatever else it says then, nobody uses.
            Some(Value::Bool(false)) => Ok(Self::Inactive),
            Some(Value::Bool(true)) => Ok(Self::Active(Box::new(Claims::parse(body)?))),
            _ => Err(Unreadable::Active),
        }
    }
}

/// Judges what is said about a token of which nothing else is known.
pub(super) fn judge(
    mut claims: Claims,
    policy: &Policy,
    lenience: Lenience,
    now: Timestamp,
) -> Result<AccessToken, Rejection> {
    check_issuer(&claims, policy)?;
    check_kind(&claims, lenience.no_type)?;
    match &claims.aud {
        Some(_) => policy.check_audience(&claims)?,
        None if lenience.no_audience => {}
        None => return Err(Rejection::MissingClaim("aud")),
    }
    // Whoever was asked has said it, as if it stood there.
    claims.iss.get_or_insert_with(|| policy.issuer.clone());
    let is_dpop = text(&claims, "token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("DPoP"));
    let token = policy.admit(claims, now)?;
    // Bound, and nothing says to which key.
    if is_dpop && token.binding().key.is_none() {
        return Err(Rejection::UnknownConfirmation);
    }
    Ok(token)
}

/// Judges what is said about a JWT that is good by itself. What an answer leaves out, the token has said; what both say
/// must not differ.
pub(super) fn judge_signed(
    claims: &Claims,
    token: &AccessToken,
    policy: &Policy,
    now: Timestamp,
) -> Result<(), Rejection> {
    check_issuer(claims, policy)?;
    check_kind(claims, true)?;
    if claims.aud.is_some() {
        policy.check_audience(claims)?;
    }
    if claims.cnf.is_some() && claims.cnf != token.claims().cnf {
        return Err(Rejection::UnknownConfirmation);
    }
    let life = policy.life(claims);
    if claims.exp.is_some() && now >= life.end {
        return Err(Rejection::Expired);
    }
    if now < life.start {
        return Err(Rejection::NotYetValid);
    }
    Ok(())
}

fn check_issuer(claims: &Claims, policy: &Policy) -> Result<(), Rejection> {
    match &claims.iss {
        Some(iss) if *iss != policy.issuer => Err(Rejection::WrongIssuer),
        _ => Ok(()),
    }
}

/// Tells access tokens from refresh tokens, which are active as well.
///
/// `token_type` is theirs alone (RFC 6749 §5.1). Keycloak also repeats the `typ` of its tokens, in older versions
/// instead; Hydra calls a refresh token `Bearer` and its `token_use` what it is.
fn check_kind(claims: &Claims, may_lack: bool) -> Result<(), Rejection> {
    let is_access =
        |kind: &str| ["Bearer", "DPoP"].iter().any(|known| kind.eq_ignore_ascii_case(known));
    let mut known = may_lack;
    for name in ["token_type", "typ"] {
        match claims.other.get(name) {
            None => {}
            Some(Value::String(kind)) if is_access(kind) => known = true,
            Some(_) => return Err(Rejection::WrongType),
        }
    }
    let used_otherwise = claims.other.get("token_use").is_some_and(|usage| usage != "access_token");
    if known && !used_otherwise { Ok(()) } else { Err(Rejection::WrongType) }
}

fn text<'c>(claims: &'c Claims, name: &str) -> Option<&'c str> {
    claims.other.get(name)?.as_str()
}
