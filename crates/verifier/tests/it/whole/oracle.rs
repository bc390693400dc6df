//! Whether a token is good, said by somebody else: the crate `jsonwebtoken`, and the rules that it lacks.
//!
//! The rules are written down once more, from the RFCs and not from our code.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::json::{self, Json};
use super::keys::{ACCEPTED, Key};
use super::{API, REVOKED};

/// Why a token is bad.
pub(crate) type Flaw = &'static str;

/// What a good token says. It has its time, too.
pub(super) struct Said {
    /// The claims as `jsonwebtoken` has read them.
    pub(super) claims: Map<String, Value>,
    pub(super) scope: BTreeSet<String>,
    pub(super) exp: u64,
    nbf: Option<u64>,
}

/// How far clocks may be apart.
const LEEWAY_MILLIS: u64 = 10_000;
/// 9999-12-31T23:59:59Z.
const LAST_SECOND: u64 = 253_402_300_799;
/// The longest token.
const LONGEST: usize = 16 * 1024;
/// The longest `kid`.
const LONGEST_KID: usize = 256;

impl Said {
    /// Whether it is good at a time, in milliseconds.
    pub(super) fn at(&self, now: u64) -> Result<(), Flaw> {
        if now >= self.exp * 1000 + LEEWAY_MILLIS {
            return Err("expired");
        }
        match self.nbf {
            Some(nbf) if nbf * 1000 > now + LEEWAY_MILLIS => Err("not yet valid"),
            _ => Ok(()),
        }
    }
}

/// Judges a token by everything but the time, as one who trusts this issuer alone.
pub(super) fn judge(token: &str, issuer: &str, keys: &[Key]) -> Result<Said, Flaw> {
    if token.len() > LONGEST {
        return Err("too long");
    }
    let parts: Vec<&str> = token.split('.').collect();
    let &[header, payload, signature] = parts.as_slice() else { return Err("not three parts") };
    let [header, payload, _] = [decode(header)?, decode(payload)?, decode(signature)?];
    let header = json::members(&header)?;
    let algorithm = judge_header(&header)?;
    let input = &token[..token.len() - signature.len() - 1];
    let claims = json::members(&payload)?;
    let (exp, nbf, scope) = judge_claims(&claims, issuer)?;
    let keys: Vec<&Key> = keys.iter().filter(|key| key.is_good_for(issuer)).collect();
    let key = signer(&header, algorithm, input, signature, &keys)?;
    let claims = if is_read_by_theirs(&header) {
        theirs(token, issuer, key).ok_or("refused by jsonwebtoken")?
    } else {
        serde_json::from_slice(&payload).map_err(|_| "not JSON")?
    };
    Ok(Said { claims, scope, exp, nbf })
}

/// RFC 7515 §2: base64url with nothing left out and nothing left over.
fn decode(part: &str) -> Result<Vec<u8>, Flaw> {
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for char in part.bytes() {
        let six = match char {
            b'A'..=b'Z' => char - b'A',
            b'a'..=b'z' => char - b'a' + 26,
            b'0'..=b'9' => char - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return Err("not base64url"),
        };
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    if count >= 6 || bits != 0 { Err("stray bits") } else { Ok(bytes) }
}

type Members<'t> = [(String, Json<'t>)];

fn get<'m, 't>(members: &'m Members<'t>, name: &str) -> Option<&'m Json<'t>> {
    members.iter().find(|(own, _)| own == name).map(|(_, value)| value)
}

/// A member that is a string if it is there.
fn text<'m>(members: &'m Members<'_>, name: &str) -> Result<Option<&'m str>, Flaw> {
    match get(members, name) {
        None => Ok(None),
        Some(Json::Text(text)) => Ok(Some(text)),
        Some(_) => Err("not a string"),
    }
}

fn judge_header(header: &Members<'_>) -> Result<jsonwebtoken::Algorithm, Flaw> {
    if get(header, "crit").is_some() || get(header, "b64").is_some() {
        return Err("an extension");
    }
    let alg = text(header, "alg")?.ok_or("no algorithm")?;
    let (_, algorithm) =
        ACCEPTED.into_iter().find(|(name, _)| *name == alg).ok_or("another algorithm")?;
    let typ = text(header, "typ")?.ok_or("no type")?.to_ascii_lowercase();
    if typ != "at+jwt" && typ != "application/at+jwt" {
        return Err("another type");
    }
    match text(header, "kid")? {
        Some(kid) if kid.len() > LONGEST_KID => Err("a long kid"),
        _ => Ok(algorithm),
    }
}

/// The key whose signature it is: the one that is named, or any where none is named.
fn signer<'k>(
    header: &Members<'_>,
    algorithm: jsonwebtoken::Algorithm,
    input: &str,
    signature: &str,
    keys: &[&'k Key],
) -> Result<&'k Key, Flaw> {
    let kid = text(header, "kid")?;
    let mut keys = keys.iter().copied().filter(|key| kid.is_none() || key.kid == kid).peekable();
    keys.peek().ok_or("an unknown key")?;
    keys.filter(|key| key.algorithm == algorithm)
        .find(|key| {
            let input = input.as_bytes();
            jsonwebtoken::crypto::verify(signature, input, &key.decoding, algorithm) == Ok(true)
        })
        .ok_or("a bad signature")
}

fn judge_claims(
    claims: &Members<'_>,
    issuer: &str,
) -> Result<(u64, Option<u64>, BTreeSet<String>), Flaw> {
    if text(claims, "iss")?.ok_or("no issuer")? != issuer {
        return Err("another issuer");
    }
    let mut audiences = Vec::new();
    match get(claims, "aud").ok_or("no audience")? {
        Json::Text(one) => audiences.push(one.as_str()),
        Json::List(many) => {
            for one in many {
                let Json::Text(one) = one else { return Err("a malformed audience") };
                audiences.push(one);
            }
        }
        _ => return Err("a malformed audience"),
    }
    if !audiences.contains(&API) {
        return Err("another audience");
    }
    let exp = date(claims, "exp")?.ok_or("no exp")?;
    let nbf = date(claims, "nbf")?;
    date(claims, "iat")?;
    for name in ["sub", "client_id"] {
        text(claims, name)?;
    }
    // A `sid` is not ours to judge unless it is one that was revoked.
    let sid = matches!(get(claims, "sid"), Some(Json::Text(sid)) if sid == REVOKED);
    if text(claims, "jti")? == Some(REVOKED) || sid {
        return Err("revoked");
    }
    if get(claims, "cnf").is_some() {
        return Err("bound");
    }
    Ok((exp, nbf, scope(text(claims, "scope")?.unwrap_or_default())?))
}

/// Whole seconds, not negative, before the year 10000.
fn date(claims: &Members<'_>, name: &str) -> Result<Option<u64>, Flaw> {
    let Some(value) = get(claims, name) else { return Ok(None) };
    let Json::Number(digits) = value else { return Err("a date that is no number") };
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err("a date that is no whole number");
    }
    match digits.parse() {
        Ok(secs) if secs <= LAST_SECOND => Ok(Some(secs)),
        _ => Err("a date out of range"),
    }
}

/// RFC 6749 §3.3: `scope-token = 1*( %x21 / %x23-5B / %x5D-7E )`.
fn scope(scope: &str) -> Result<BTreeSet<String>, Flaw> {
    if scope.chars().any(|char| !(' '..='~').contains(&char) || char == '"' || char == '\\') {
        return Err("a malformed scope");
    }
    Ok(scope.split(' ').filter(|token| !token.is_empty()).map(str::to_owned).collect())
}

/// Whether `jsonwebtoken` can read this header. It does not know every name of an algorithm, and minds the form of
/// members that we do not look at.
fn is_read_by_theirs(header: &Members<'_>) -> bool {
    let string = |value: &Json<'_>| matches!(value, Json::Text(_));
    header.iter().all(|(name, value)| match name.as_str() {
        "alg" => !matches!(value, Json::Text(name) if name == "Ed25519"),
        "cty" | "jku" | "x5u" | "x5t" | "x5t#S256" | "enc" | "zip" | "url" | "nonce" => {
            string(value)
        }
        "x5c" => matches!(value, Json::List(chain) if chain.iter().all(string)),
        "jwk" => false,
        _ => true,
    })
}

/// The claims, if `jsonwebtoken` accepts the token. The time it would take from the machine.
fn theirs(token: &str, issuer: &str, key: &Key) -> Option<Map<String, Value>> {
    let mut validation = jsonwebtoken::Validation::new(key.algorithm);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[API]);
    validation.validate_exp = false;
    jsonwebtoken::decode(token, &key.decoding, &validation).ok().map(|data| data.claims)
}
