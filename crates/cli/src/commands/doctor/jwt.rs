//! What a token says of itself, without believing it (RFC 7519, RFC 9068). Functions of their arguments.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use tokenry_core::jose::claims::typ_is;
use tokenry_core::{Binding, Timestamp};

use super::report::Finding;
use crate::diagnostic::quoted;
use crate::edge;

/// How far clocks may be apart; what verifiers allow by default.
pub(in crate::commands) const LEEWAY: Duration = Duration::from_secs(10);

/// A token's header and claims, as written.
pub(in crate::commands) struct Decoded {
    pub(in crate::commands) header: Map<String, Value>,
    pub(in crate::commands) claims: Map<String, Value>,
}

impl Decoded {
    /// Takes a token apart. `None` for one that is no JWT: it says nothing to anybody but its issuer.
    pub(in crate::commands) fn of(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        let object = |part: &str| -> Option<Map<String, Value>> {
            serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
        };
        Some(Self { header: object(header)?, claims: object(claims)? })
    }

    pub(in crate::commands) fn text(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim)?.as_str()
    }

    fn time(&self, claim: &str) -> Option<Timestamp> {
        let number = self.claims.get(claim)?;
        // Some issuers write fractions; what is after the dot does not matter here.
        number.as_u64().or_else(|| Some(number.as_f64()? as u64)).map(Timestamp::from_secs)
    }

    /// The scope: a text, or a list in `scp`, as Okta and Entra ID have it.
    pub(in crate::commands) fn scopes(&self) -> Vec<&str> {
        match self.claims.get("scope").or_else(|| self.claims.get("scp")) {
            Some(Value::String(text)) => {
                text.split(' ').filter(|token| !token.is_empty()).collect()
            }
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    pub(in crate::commands) fn audiences(&self) -> Vec<&str> {
        match self.claims.get("aud") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }
}

/// What the token is held against.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::commands) struct Expected<'a> {
    pub(in crate::commands) issuer: Option<&'a str>,
    pub(in crate::commands) audience: Option<&'a str>,
    pub(in crate::commands) scope: Option<&'a str>,
    /// The thumbprint of our DPoP key, where the token was asked to be bound to it.
    pub(in crate::commands) key: Option<[u8; 32]>,
    /// The digest of our certificate, where we have one.
    pub(in crate::commands) certificate: Option<[u8; 32]>,
    pub(in crate::commands) now: Timestamp,
}

/// What is to be said of a token's header and claims.
pub(in crate::commands) fn examine(token: &Decoded, expected: &Expected<'_>) -> Vec<Finding> {
    let mut findings = vec![kind(token), issuer(token, expected), audience(token, expected)];
    findings.extend(times(token, expected.now));
    findings.push(scope(token, expected));
    findings.push(binding(token, expected));
    findings
}

fn kind(token: &Decoded) -> Finding {
    let typ = token.header.get("typ").and_then(Value::as_str);
    if typ_is(typ, "at+jwt") {
        return Finding::ok("type", "at+jwt: an access token of RFC 9068");
    }
    let typ = quoted(typ.unwrap_or("none at all"));
    Finding::warning(
        "type",
        format!("its `typ` is {typ}, not at+jwt (RFC 9068 §2.1): it may as well be an ID token"),
        "an API with tokenry-verifier takes such tokens with `accept_legacy_typ`",
    )
}

fn issuer(token: &Decoded, expected: &Expected<'_>) -> Finding {
    match (token.text("iss"), expected.issuer) {
        (None, _) => Finding::wrong(
            "issuer",
            "it does not say who issued it (`iss`)",
            "verifiers refuse it: the issuer has to be configured to write `iss`",
        ),
        (Some(iss), None) => Finding::ok("issuer", quoted(iss)),
        (Some(iss), Some(issuer)) if iss == issuer => Finding::ok("issuer", quoted(iss)),
        (Some(iss), Some(issuer)) => Finding::wrong(
            "issuer",
            format!("it says {}, and the issuer is {}", quoted(iss), quoted(issuer)),
            "they are compared byte by byte, slashes included: APIs must be told the one in the token",
        ),
    }
}

fn audience(token: &Decoded, expected: &Expected<'_>) -> Finding {
    let audiences = token.audiences();
    let list = audiences.iter().map(|one| quoted(one)).collect::<Vec<_>>().join(", ");
    match expected.audience {
        _ if audiences.is_empty() => Finding::wrong(
            "audience",
            "it does not say whom it is for (`aud`)",
            "verifiers refuse it: --resource asks for a token for one API, where the issuer can do that",
        ),
        Some(wanted) if !audiences.contains(&wanted) => Finding::wrong(
            "audience",
            format!("it is for {list}, and not for {}", quoted(wanted)),
            "ask for a token for that API, with --resource or by the scope that means it",
        ),
        _ => Finding::ok("audience", list),
    }
}

fn times(token: &Decoded, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    match token.time("exp") {
        None => findings.push(Finding::wrong(
            "expiry",
            "it does not say when it expires (`exp`)",
            "verifiers refuse it: the issuer has to be configured to write `exp`",
        )),
        Some(exp) if exp <= now => findings.push(Finding::wrong(
            "expiry",
            format!("it expired {} ago, at {}", in_words(now.since(exp)), edge::date(exp)),
            "get another; `tokenry exec` and `tokenry proxy` do it in time",
        )),
        Some(exp) => {
            let left = in_words(exp.since(now));
            findings.push(Finding::ok("expiry", format!("in {left}, at {}", edge::date(exp))));
        }
    }
    for (claim, what) in [("iat", "was issued"), ("nbf", "is good from")] {
        let Some(at) = token.time(claim).filter(|at| *at > now) else { continue };
        let ahead = whole(at.since(now));
        let text = format!("by its `{claim}` it {what} {} from now", in_words(ahead));
        let help =
            "the issuer's clock is fast, or that of this machine slow: both should be set by NTP";
        findings.push(match ahead > LEEWAY {
            true => Finding::wrong("clock", text, help),
            false => Finding::warning("clock", text, help),
        });
    }
    findings
}

/// A time as people say it: in the two largest units of it.
pub(in crate::commands) fn in_words(time: Duration) -> String {
    const UNITS: [(&str, u64); 4] = [("d", 86400), ("h", 3600), ("m", 60), ("s", 1)];
    let mut left = time.as_secs();
    let mut parts = Vec::new();
    for (name, unit) in UNITS {
        let count = left / unit;
        left %= unit;
        if count > 0 {
            parts.push(format!("{count}{name}"));
        } else if !parts.is_empty() {
            break;
        }
    }
    parts.truncate(2);
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// Without what is less than a second.
fn whole(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs())
}

fn scope(token: &Decoded, expected: &Expected<'_>) -> Finding {
    let granted = token.scopes();
    let asked = expected.scope.unwrap_or_default().split(' ').filter(|one| !one.is_empty());
    let missing: Vec<&str> = asked.filter(|one| !granted.contains(one)).collect();
    let list = if granted.is_empty() { "none".to_owned() } else { quoted(&granted.join(" ")) };
    if missing.is_empty() {
        return Finding::ok("scope", list);
    }
    Finding::warning(
        "scope",
        format!(
            "{} was asked for and is not in the token, which has {list}",
            quoted(&missing.join(" "))
        ),
        "its operator knows which the client may have; some issuers write none into the token",
    )
}

fn binding(token: &Decoded, expected: &Expected<'_>) -> Finding {
    const WHAT: &str = "binding";
    let bound = match token.claims.get("cnf") {
        None => None,
        Some(cnf) => match cnf.as_object().and_then(Binding::from_cnf) {
            Some(binding) => Some(binding),
            None => {
                return Finding::wrong(
                    WHAT,
                    "it is bound in a way that is not known here (`cnf`)",
                    "an API that does not know it either must refuse it (RFC 7800)",
                );
            }
        },
    };
    match (bound, expected.key, expected.certificate) {
        (None, Some(_), _) => Finding::wrong(
            WHAT,
            "it was asked to be bound to a key (DPoP), and is not",
            "whoever finds it can use it: the issuer has to support RFC 9449",
        ),
        (None, None, _) => Finding::ok(WHAT, "none: a bearer token, good for whoever has it"),
        (Some(Binding { key: Some(jkt), .. }), Some(key), _) if jkt != key => Finding::wrong(
            WHAT,
            "it is bound to another DPoP key than ours",
            "an API refuses our proofs: the token is somebody else's, or from before the key changed",
        ),
        (Some(Binding { certificate: Some(of), .. }), _, Some(own)) if of != own => Finding::wrong(
            WHAT,
            "it is bound to another certificate than ours",
            "an API refuses it on our connections: get one since the certificate was renewed",
        ),
        (Some(Binding { key: Some(_), .. }), None, _) => Finding::warning(
            WHAT,
            "it is bound to a DPoP key that is not at hand here",
            "it is good together with the key alone: --dpop gets one that is bound to ours",
        ),
        (Some(Binding { certificate: Some(_), .. }), _, None) => Finding::warning(
            WHAT,
            "it is bound to a certificate that is not at hand here",
            "it is good on connections with that certificate alone: --client-certificate names it",
        ),
        (Some(_), _, _) => Finding::ok(WHAT, "to what we have: nobody else can use it"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::report::Verdict;
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn decoded(header: Value, claims: Value) -> Decoded {
        let object = |value: Value| value.as_object().unwrap().clone();
        Decoded { header: object(header), claims: object(claims) }
    }

    fn good() -> Value {
        json!({ "iss": "https://as.example", "aud": "https://api.example", "exp": 1_000_300,
            "iat": 1_000_000, "scope": "read write" })
    }

    fn found(claims: Value, what: &str) -> (Verdict, String) {
        let expected = Expected {
            issuer: Some("https://as.example"),
            audience: Some("https://api.example"),
            scope: Some("read"),
            now: NOW,
            ..Expected::default()
        };
        let findings = examine(&decoded(json!({ "typ": "at+jwt" }), claims), &expected);
        let finding =
            findings.iter().filter(|finding| finding.what == what).max_by_key(|f| f.verdict);
        finding
            .map_or((Verdict::Ok, String::new()), |finding| (finding.verdict, finding.text.clone()))
    }

    fn with(name: &str, value: Value) -> Value {
        let mut claims = good();
        claims[name] = value;
        claims
    }

    #[test]
    fn a_good_token_is_good_in_every_way() {
        for what in ["type", "issuer", "audience", "expiry", "clock", "scope", "binding"] {
            assert_eq!(found(good(), what).0, Verdict::Ok, "{what}");
        }
    }

    #[test]
    fn each_fault_is_found_where_it_is() {
        for (claims, what, verdict, text) in [
            (
                with("iss", json!("https://as.example/")),
                "issuer",
                Verdict::Wrong,
                "and the issuer is",
            ),
            (with("iss", Value::Null), "issuer", Verdict::Wrong, "who issued it"),
            (
                with("aud", json!(["a", "b"])),
                "audience",
                Verdict::Wrong,
                "for `a`, `b`, and not for",
            ),
            (with("aud", json!([])), "audience", Verdict::Wrong, "whom it is for"),
            (with("exp", json!(999_880)), "expiry", Verdict::Wrong, "expired 2m ago"),
            (with("exp", Value::Null), "expiry", Verdict::Wrong, "when it expires"),
            (with("iat", json!(1_000_005)), "clock", Verdict::Warning, "issued 5s from now"),
            (with("nbf", json!(1_000_060)), "clock", Verdict::Wrong, "good from 1m from now"),
            (with("scope", json!("write")), "scope", Verdict::Warning, "`read` was asked for"),
            (
                with("cnf", json!({ "kid": "x" })),
                "binding",
                Verdict::Wrong,
                "in a way that is not known",
            ),
        ] {
            let (is, said) = found(claims, what);
            assert_eq!(is, verdict, "{what}: {said}");
            assert!(said.contains(text), "{said}");
        }
        assert_eq!(
            found(with("aud", json!(["x", "https://api.example"])), "audience").0,
            Verdict::Ok
        );
        assert_eq!(found(with("scp", json!(["read"])), "scope").0, Verdict::Ok);
    }

    #[test]
    fn a_token_is_bound_to_what_we_have_or_we_cannot_use_it() {
        let thumbprint = |byte: u8| BASE64_URL_SAFE_NO_PAD.encode([byte; 32]);
        let jkt = |byte: u8| with("cnf", json!({ "jkt": thumbprint(byte) }));
        let x5t = |byte: u8| with("cnf", json!({ "x5t#S256": thumbprint(byte) }));
        for (claims, key, certificate, verdict) in [
            (jkt(1), Some([1; 32]), None, Verdict::Ok),
            (jkt(1), Some([2; 32]), None, Verdict::Wrong),
            (jkt(1), None, None, Verdict::Warning),
            (good(), Some([1; 32]), None, Verdict::Wrong),
            (x5t(1), None, Some([1; 32]), Verdict::Ok),
            (x5t(1), None, Some([2; 32]), Verdict::Wrong),
            (x5t(1), None, None, Verdict::Warning),
            (good(), None, Some([1; 32]), Verdict::Ok),
        ] {
            let expected = Expected { key, certificate, now: NOW, ..Expected::default() };
            let text = claims.to_string();
            assert_eq!(binding(&decoded(json!({}), claims), &expected).verdict, verdict, "{text}");
        }
    }

    #[test]
    fn a_time_is_said_in_its_two_largest_units() {
        for (secs, words) in [
            (0, "0s"),
            (59, "59s"),
            (300, "5m"),
            (299, "4m 59s"),
            (3605, "1h"),
            (5400, "1h 30m"),
            (93_784, "1d 2h"),
            (864_300, "10d"),
        ] {
            assert_eq!(in_words(Duration::from_secs(secs)), words);
        }
    }

    #[test]
    fn what_is_no_jwt_says_nothing() {
        for opaque in ["tka_x", "", "a.b.c", "a.b", "e30.e30.x.y"] {
            assert!(Decoded::of(opaque).is_none(), "{opaque}");
        }
        assert!(Decoded::of("e30.e30.x").is_some());
    }
}
