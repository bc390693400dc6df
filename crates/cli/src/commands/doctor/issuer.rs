//! What the issuer publishes: its metadata, its clock, its keys (RFC 8414, RFC 7517).

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{ACCEPT, DATE};
use http::{HeaderMap, Request, Response};
use serde_json::Value;
use tokenry_client::{HttpTransport, Transport as _, TransportError};
use tokenry_core::jose::jws::{Compact, Header, JwsError};
use tokenry_core::jose::{Jwk, JwkSet, VerifyingKey};
use tokenry_core::{Timestamp, duration};

use super::jwt::LEEWAY;
use super::report::{Finding, Report};
use crate::diagnostic::quoted;
use crate::edge;

/// Clocks that are further apart than this make good tokens look dead, or not yet born.
const BROKEN: Duration = Duration::from_secs(60);

/// What may help where there are no metadata, or those of another issuer.
const MISWRITTEN: &str = "an API finds the issuer's keys in its metadata. Is the issuer written just as the server has it, to the last slash?";

/// What may help where nobody answers.
const UNREACHABLE: &str = "an API finds the issuer's keys in its metadata. Does the server run, and can this machine reach it?";

/// What may help where TLS does not come about.
const UNTRUSTED: &str = "this machine does not trust the server's certificate for that name: --cacert names the authority that it is from, such as the ca.pem of `tokenry init`";

/// Asks for JSON, without any credentials.
pub(in crate::commands) async fn get(
    transport: &HttpTransport,
    url: &str,
) -> Result<Response<Bytes>, TransportError> {
    let request = Request::get(url).header(ACCEPT, "application/json").body(Bytes::new());
    let request = request.map_err(|error| TransportError::Other(format!("{url}: {error}")))?;
    transport.send(request).await
}

/// Fetches the metadata and compares clocks.
pub(in crate::commands) async fn metadata(
    transport: &HttpTransport,
    issuer: &str,
    report: &mut Report,
) -> Option<Value> {
    // RFC 8414 §3.1: "any terminating "/" MUST be removed before inserting". Auth0's have one.
    let without_slash = issuer.strip_suffix('/').unwrap_or(issuer);
    let Ok(parsed) = without_slash.parse::<tokenry_core::realm::Issuer>() else {
        report.add(Finding::wrong(
            "metadata",
            format!("{} is no issuer", quoted(issuer)),
            "an issuer is an https URL without query and fragment (RFC 8414 §2)",
        ));
        return None;
    };
    let (origin, path) = (parsed.origin(), parsed.path());
    let mut why = String::new();
    let mut help = MISWRITTEN;
    for place in [
        format!("{origin}/.well-known/oauth-authorization-server{path}"),
        format!("{origin}{path}/.well-known/openid-configuration"),
    ] {
        let answer = match get(transport, &place).await {
            Ok(answer) => answer,
            Err(error) => {
                why = error.to_string();
                help = if why.contains("certificate") { UNTRUSTED } else { UNREACHABLE };
                break;
            }
        };
        if !answer.status().is_success() {
            why = format!("{place} answered {}", answer.status().as_u16());
            continue;
        }
        let read: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        // RFC 8414 §3.3: "the issuer value returned MUST be identical".
        if read["issuer"] != issuer {
            let named = read["issuer"].as_str().unwrap_or_default();
            why = format!("{place} is about {}", quoted(named));
            continue;
        }
        report.add(Finding::ok("metadata", format!("of {}, at {place}", quoted(issuer))));
        report.findings.extend(clocks(answer.headers(), edge::now()));
        return Some(read);
    }
    report.add(Finding::wrong("metadata", format!("none of {}: {why}", quoted(issuer)), help));
    None
}

/// Compares the server's clock with ours. It says whole seconds, and its answer has travelled.
fn clocks(headers: &HeaderMap, now: Timestamp) -> Option<Finding> {
    let date = headers.get(DATE).and_then(|date| date.to_str().ok());
    let date = httpdate::parse_http_date(date?).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let server = Timestamp::from_secs(date.as_secs());
    let (apart, who) = match server > now {
        true => (server.since(now), "behind"),
        false => (now.since(server), "ahead of"),
    };
    let apart = Duration::from_secs(apart.as_secs());
    let text = format!("this machine's is {} {who} the server's", duration::write(apart));
    let help = "set both by NTP: tokens look expired, or not good yet";
    Some(match apart {
        apart if apart > BROKEN => Finding::wrong("clock", text, help),
        apart if apart > LEEWAY => Finding::warning("clock", text, help),
        _ => Finding::ok("clock", "this machine's and the server's agree"),
    })
}

/// Fetches the keys and checks the token's signature with the one that it names.
pub(in crate::commands) async fn signature(
    transport: &HttpTransport,
    metadata: &Value,
    token: &str,
) -> Finding {
    match keys(transport, metadata).await {
        Ok(keys) => check(&keys, token),
        Err(finding) => finding,
    }
}

/// Fetches the keys, or says what is wrong with them.
pub(in crate::commands) async fn keys(
    transport: &HttpTransport,
    metadata: &Value,
) -> Result<JwkSet, Finding> {
    let Some(uri) = metadata["jwks_uri"].as_str() else {
        return Err(Finding::warning(
            "key",
            "the issuer publishes no keys (`jwks_uri`)",
            "its APIs have to ask it about every token (RFC 7662)",
        ));
    };
    let unfetched = |why: String| {
        Finding::wrong(
            "key",
            format!("the issuer's keys at {uri}: {why}"),
            "no API can check its tokens",
        )
    };
    let answer = get(transport, uri).await.map_err(|error| unfetched(error.to_string()))?;
    if !answer.status().is_success() {
        return Err(unfetched(format!("the answer is {}", answer.status().as_u16())));
    }
    JwkSet::parse(answer.body()).map_err(|error| unfetched(error.to_string()))
}

/// The keys that may have signed a token.
pub(in crate::commands) fn candidates<'k>(keys: &'k JwkSet, header: &Header) -> Vec<&'k Jwk> {
    match header.kid() {
        Some(kid) => keys.find(kid).into_iter().collect(),
        None => keys.for_algorithm(header.algorithm()).collect(),
    }
}

/// Checks the signature of a token.
pub(in crate::commands) fn check(keys: &JwkSet, token: &str) -> Finding {
    let parsed = match Compact::parse(token) {
        Ok(parsed) => parsed,
        Err(error) => {
            return Finding::wrong(
                "key",
                format!("its form is not good: {error}"),
                "verifiers refuse it",
            );
        }
    };
    let header = parsed.header();
    let algorithm = header.algorithm();
    let candidates = candidates(keys, header);
    if candidates.is_empty() {
        let which = header
            .kid()
            .map_or_else(|| format!("for {algorithm}"), |kid| format!("{} (`kid`)", quoted(kid)));
        return Finding::wrong(
            "key",
            format!("the issuer publishes no key {which}; it has {}", keys.keys().len()),
            "the token is from another issuer or realm, or the key was withdrawn: get another",
        );
    }
    let mut why = JwsError::BadSignature;
    for key in candidates {
        match parsed.verify(&VerifyingKey::from(key.clone())) {
            Ok(_) => {
                let kid = key.kid().map_or_else(String::new, |kid| format!(" {}", quoted(kid)));
                return Finding::ok(
                    "key",
                    format!("signed with the issuer's key{kid}, {algorithm}"),
                );
            }
            Err(error) => why = error,
        }
    }
    Finding::wrong("key", why.to_string(), "it was changed on the way, or is not from this issuer")
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;

    #[test]
    fn clocks_that_are_apart_are_told() {
        // 1994-11-06T08:49:37Z
        let at = Timestamp::from_secs(784_111_777);
        let mut headers = HeaderMap::new();
        assert!(clocks(&headers, at).is_none());
        headers.insert(DATE, "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap());
        let found = |now| clocks(&headers, now).unwrap();
        assert_eq!(found(at + LEEWAY).verdict, Verdict::Ok);
        assert_eq!(found(at - LEEWAY).verdict, Verdict::Ok);
        let behind = found(at - Duration::from_secs(30));
        assert_eq!(behind.verdict, Verdict::Warning);
        assert!(behind.text.contains("30s behind"), "{}", behind.text);
        let ahead = found(at + Duration::from_secs(120));
        assert_eq!(ahead.verdict, Verdict::Wrong);
        assert!(ahead.text.contains("2m ahead of"), "{}", ahead.text);
    }
}
