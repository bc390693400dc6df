//! Proofs of possession (RFC 9449): the key of a keeper, and the nonces that servers gave it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use tokenry_core::Secret;
use tokenry_core::dpop::{ProofKey, Purpose};

use crate::clock::Wall;
use crate::{Error, randomness};

/// The header of a proof (§4.1).
pub(crate) const DPOP: HeaderName = HeaderName::from_static("dpop");

/// The header of a nonce (§8, §9).
pub(crate) const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// The longest nonce that is sent back. It stands in a header, and those end at 8 KiB on common servers.
const NONCE_LIMIT: usize = 2048;

/// For how many origins a nonce is kept. A token for more is rare, and a forgotten nonce costs one request.
const ORIGINS_LIMIT: usize = 256;

/// The key that a keeper's tokens are bound to. `Debug` shows its thumbprint.
pub(crate) struct Dpop {
    key: ProofKey,
    wall: Wall,
    /// The newest of each origin.
    nonces: Mutex<BTreeMap<(Place, String), String>>,
}

/// Who checks a proof.
///
/// An authorization server and an API at the same origin may each have nonces of their own (§9).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Place {
    TokenEndpoint,
    Api,
}

impl Dpop {
    pub(crate) fn new(key: ProofKey, wall: Wall) -> Self {
        Self { key, wall, nonces: Mutex::default() }
    }

    /// A proof for one request. No two are the same.
    pub(crate) fn prove(
        &self,
        place: Place,
        method: &Method,
        uri: &Uri,
        access_token: Option<&Secret>,
    ) -> Result<HeaderValue, Error> {
        let origin = origin(uri).ok_or(Error::Unsigned)?;
        let url = format!("{origin}{}", uri.path());
        let nonce = self.nonces().get(&(place, origin)).cloned();
        let purpose = Purpose {
            method: method.as_str(),
            url: &url,
            access_token: access_token.map(Secret::expose),
            nonce: nonce.as_deref(),
        };
        let proof = self.key.make(&purpose, (self.wall)(), randomness::unique()?);
        let proof = proof.map_err(|_| Error::Unsigned)?;
        let mut header = HeaderValue::try_from(proof).map_err(|_| Error::Unsigned)?;
        header.set_sensitive(true);
        Ok(header)
    }

    /// Keeps the nonce of an answer, whatever its status: the newest is the one to use (§8.2). Says whether it had one.
    pub(crate) fn note(&self, place: Place, uri: &Uri, headers: &HeaderMap) -> bool {
        let (Some(nonce), Some(origin)) = (nonce(headers), origin(uri)) else { return false };
        let key = (place, origin);
        let mut nonces = self.nonces();
        if nonces.len() >= ORIGINS_LIMIT && !nonces.contains_key(&key) {
            nonces.pop_first();
        }
        nonces.insert(key, nonce);
        true
    }

    fn nonces(&self) -> std::sync::MutexGuard<'_, BTreeMap<(Place, String), String>> {
        self.nonces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Dpop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dpop").field("key", &self.key.thumbprint()).finish_non_exhaustive()
    }
}

/// What an API says is wrong with a proof, if that is why it answered 401 (§7.1, §9).
///
/// Challenges are not taken apart: whoever writes one of these words elsewhere in the header is sent the request once
/// more, and no other.
pub(crate) fn complaint(headers: &HeaderMap) -> Option<Complaint> {
    let challenges = headers.get_all(http::header::WWW_AUTHENTICATE).iter();
    challenges.filter_map(|value| value.to_str().ok()).find_map(|challenge| {
        if !challenge.to_ascii_lowercase().contains("dpop") {
            None
        } else if challenge.contains("use_dpop_nonce") {
            Some(Complaint::Nonce)
        } else if challenge.contains("invalid_dpop_proof") {
            Some(Complaint::Proof)
        } else {
            None
        }
    })
}

/// See [`complaint`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Complaint {
    /// It wants a nonce, or a newer one.
    Nonce,
    /// The proof is bad, which another token would not change.
    Proof,
}

/// The nonce of an answer, if there is one and only one, of the characters that it may have (§8.1).
fn nonce(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(DPOP_NONCE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let text = value.to_str().ok()?;
    let may = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    let good = (1..=NONCE_LIMIT).contains(&text.len()) && text.bytes().all(may);
    good.then(|| text.to_owned())
}

/// Scheme, host and port, in one form for all that are the same. User information is left out.
fn origin(uri: &Uri) -> Option<String> {
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let host = uri.host()?.to_ascii_lowercase();
    let default = if scheme == "https" { 443 } else { 80 };
    Some(match uri.port_u16().filter(|port| *port != default) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn row_271_an_origin_is_scheme_host_and_port() {
        let origin = |uri: &str| origin(&uri.parse().unwrap());
        for same in ["https://as.example/a?b", "https://AS.example:443/", "https://me@as.example"] {
            assert_eq!(origin(same).as_deref(), Some("https://as.example"), "{same}");
        }
        assert_eq!(origin("http://localhost:8080/x").as_deref(), Some("http://localhost:8080"));
        assert_eq!(origin("http://localhost:443/x").as_deref(), Some("http://localhost:443"));
        assert_eq!(origin("/token"), None);
    }

    #[test]
    fn row_271_a_nonce_is_one_and_of_the_right_characters() {
        let long = "a".repeat(NONCE_LIMIT);
        for (value, good) in [
            ("eyJ7S_zG.eyJH0-Z.HX4w-7v", true),
            ("a", true),
            (long.as_str(), true),
            ("", false),
            ("a b", false),
            ("a\"b", false),
            ("a\\b", false),
            (&format!("{long}a"), false),
        ] {
            assert_eq!(nonce(&headers(&[("dpop-nonce", value)])).is_some(), good, "{value}");
        }
        assert_eq!(nonce(&headers(&[("dpop-nonce", "a"), ("dpop-nonce", "b")])), None);
        assert_eq!(nonce(&headers(&[])), None);
    }

    #[test]
    fn row_271_a_challenge_is_about_the_proof_only_if_it_says_so() {
        for (challenge, expected) in [
            (r#"DPoP error="use_dpop_nonce", algs="ES256""#, Some(Complaint::Nonce)),
            (r#"Bearer, dpop error="use_dpop_nonce""#, Some(Complaint::Nonce)),
            (r#"DPoP error="invalid_dpop_proof""#, Some(Complaint::Proof)),
            (r#"DPoP error="invalid_token""#, None),
            (r#"Bearer error="invalid_token""#, None),
            ("", None),
        ] {
            let headers = headers(&[("www-authenticate", challenge)]);
            assert_eq!(complaint(&headers), expected, "{challenge}");
        }
    }
}
