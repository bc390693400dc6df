//! What a token must say to be let in (RFC 9068 §4). A function of its arguments.

use std::ops::Range;
use std::time::Duration;

use tokenry_core::jose::Algorithm;
use tokenry_core::jose::claims::{Claims, ClaimsError, typ_is};
use tokenry_core::jose::jws::{Header, Verified};
use tokenry_core::{Binding, Scope, Timestamp};

use crate::{AccessToken, Rejection};

/// What tokens of one issuer must say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    /// The issuer, compared with `iss` byte by byte.
    pub issuer: String,
    /// The names of this resource server; `aud` must hold one of them.
    pub audiences: Vec<String>,
    /// The algorithms that are accepted.
    pub algorithms: Vec<Algorithm>,
    /// How far the issuer's clock and ours may be apart.
    pub leeway: Duration,
    /// Whether `typ: JWT` is accepted too, as issuers from before RFC 9068 write it.
    pub legacy_typ: bool,
}

impl Policy {
    /// 10 s: clocks that are set by NTP are within one, and more would only lengthen the life of every token.
    pub const DEFAULT_LEEWAY: Duration = Duration::from_secs(10);

    /// Judges the header, before a signature is checked. It decides only what needs no belief in the header.
    ///
    /// # Errors
    ///
    /// [`Rejection::AlgorithmNotAllowed`], [`Rejection::WrongType`].
    pub fn check_header(&self, header: &Header) -> Result<(), Rejection> {
        if !self.algorithms.contains(&header.algorithm()) {
            return Err(Rejection::AlgorithmNotAllowed);
        }
        // RFC 9068 §4: "The resource server MUST verify that the "typ" header value is "at+jwt" or
        // "application/at+jwt" and reject tokens carrying any other value."
        let accepted =
            typ_is(header.typ(), "at+jwt") || (self.legacy_typ && typ_is(header.typ(), "JWT"));
        if accepted { Ok(()) } else { Err(Rejection::WrongType) }
    }

    /// Judges the claims of a bearer token whose signature is good.
    ///
    /// # Errors
    ///
    /// One variant of [`Rejection`] for each rule, the first that is broken. [`Rejection::Bound`] for a token that is
    /// good only together with a key: whoever sent it has still to prove that he has it.
    pub fn check(&self, verified: Verified<'_>, now: Timestamp) -> Result<AccessToken, Rejection> {
        self.check_header(verified.header())?;
        let token = self.check_claims(verified, now)?;
        if token.binding().is_none() { Ok(token) } else { Err(Rejection::Bound) }
    }

    /// Judges the claims, and leaves to the caller what the token is bound to. The header was judged before.
    pub(crate) fn check_claims(
        &self,
        verified: Verified<'_>,
        now: Timestamp,
    ) -> Result<AccessToken, Rejection> {
        let claims = verified.claims()?;
        // The signature says that the keys are the issuer's; this says that it speaks in its own name.
        if claims.iss.as_deref().ok_or(Rejection::MissingClaim("iss"))? != self.issuer {
            return Err(Rejection::WrongIssuer);
        }
        if !typ_is(verified.header().typ(), "at+jwt") {
            check_legacy_kind(&claims)?;
        }
        self.check_audience(&claims)?;
        self.admit(claims, now)
    }
}

impl Policy {
    /// Whether this resource server is meant.
    pub(crate) fn check_audience(&self, claims: &Claims) -> Result<(), Rejection> {
        let aud = claims.aud.as_ref().ok_or(Rejection::MissingClaim("aud"))?;
        let is_meant = self.audiences.iter().any(|own| aud.contains(own));
        if is_meant { Ok(()) } else { Err(Rejection::WrongAudience) }
    }

    /// Judges what is left when issuer, kind and audience were judged.
    pub(crate) fn admit(&self, claims: Claims, now: Timestamp) -> Result<AccessToken, Rejection> {
        let expires_at = claims.exp.ok_or(Rejection::MissingClaim("exp"))?;
        let good = self.life(&claims);
        if now >= good.end {
            return Err(Rejection::Expired);
        }
        if now < good.start {
            return Err(Rejection::NotYetValid);
        }
        // RFC 7800 §3.1 lets a reader ignore `cnf` members it does not know; that would turn a bound token into
        // one that whoever finds it can use.
        let binding = match &claims.cnf {
            None => Binding::NONE,
            Some(cnf) => Binding::from_cnf(cnf).ok_or(Rejection::UnknownConfirmation)?,
        };
        let scope: Scope = claims
            .scope
            .as_deref()
            .unwrap_or_default()
            .parse()
            .map_err(|_| ClaimsError::Malformed("scope"))?;
        Ok(AccessToken::new(claims, scope, expires_at, binding))
    }

    /// When a token is good by its own words; never, without `exp`.
    pub(crate) fn life(&self, claims: &Claims) -> Range<Timestamp> {
        let from = claims.nbf.map_or(Timestamp::EPOCH, |nbf| nbf - self.leeway);
        let end = claims.exp.map_or(Timestamp::EPOCH, |exp| exp + self.leeway);
        from..end
    }
}

/// Tells access tokens from the other things an issuer signs as `typ: JWT`, which their header does not.
fn check_legacy_kind(claims: &Claims) -> Result<(), Rejection> {
    // Keycloak writes what a token is into a claim: Bearer, DPoP (which is bound to a key), ID, Refresh, Logout.
    let kind = claims.other.get("typ").map(|typ| typ.as_str().unwrap_or_default());
    let bound = claims.cnf.as_ref().is_some_and(|cnf| cnf.contains_key("jkt"));
    let is_access = |kind: &str| {
        kind.eq_ignore_ascii_case("Bearer") || (bound && kind.eq_ignore_ascii_case("DPoP"))
    };
    let other_kind = kind.is_some_and(|kind| !is_access(kind));
    // An ID token (OpenID Connect Core §3.1.3.6), a logout token or other event (RFC 8417), a DPoP proof
    // (RFC 9449 §4.2), an introspection response (RFC 9701 §5).
    let marks = ["at_hash", "c_hash", "events", "htm", "token_introspection"];
    if other_kind || marks.iter().any(|mark| claims.other.contains_key(*mark)) {
        return Err(Rejection::WrongType);
    }
    Ok(())
}
