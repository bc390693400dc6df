//! What a token says that nobody asked it for, and is good to know. Functions of their arguments.

use std::time::Duration;

use serde_json::Value;
use tokenry_core::jose::Algorithm;
use tokenry_core::{Binding, Timestamp};

use crate::commands::doctor::jwt::{Decoded, in_words};
use crate::commands::doctor::report::Finding;
use crate::diagnostic::quoted;
use crate::edge;

/// An access token that lives longer than this is one that nobody can take back in time.
const LONG_LIFE: Duration = Duration::from_secs(24 * 3600);

/// What nobody asked the token for, and is good to know.
pub(super) fn more(token: &Decoded, now: Timestamp) -> Vec<Finding> {
    let mut findings = vec![binding(token), algorithm(token)];
    findings.extend(life(token, now));
    for (claim, missing) in [
        ("jti", "it has no identifier (`jti`): it cannot be revoked alone, or found in a log"),
        ("sub", "it does not say whom it is about (`sub`)"),
        ("iat", "it does not say when it was issued (`iat`)"),
    ] {
        if !token.claims.contains_key(claim) {
            findings.push(Finding::warning("claims", missing, "RFC 9068 §2.2 requires it"));
        }
    }
    if !["client_id", "azp"].iter().any(|claim| token.claims.contains_key(*claim)) {
        let missing = "it does not say which client it was issued to (`client_id`)";
        findings.push(Finding::warning("claims", missing, "RFC 9068 §2.2 requires it"));
    }
    for member in ["jku", "jwk", "x5u", "x5c"] {
        if token.header.contains_key(member) {
            let text = format!("its header brings a key, or says where one is (`{member}`)");
            let help =
                "verifiers must not look at it: whoever forges a token writes it (RFC 8725 §3.10)";
            findings.push(Finding::warning("header", text, help));
        }
    }
    findings
}

fn algorithm(token: &Decoded) -> Finding {
    const WHAT: &str = "algorithm";
    let name = token.header.get("alg").and_then(Value::as_str).unwrap_or_default();
    if name.parse::<Algorithm>().is_ok() {
        return Finding::ok(WHAT, name);
    }
    if name.eq_ignore_ascii_case("none") {
        return Finding::wrong(WHAT, "it is not signed (`none`)", "anybody can have written it");
    }
    if name.starts_with("HS") {
        let text =
            format!("{} is a MAC: whoever can check such a token can also make one", quoted(name));
        return Finding::wrong(WHAT, text, "verifiers with public keys refuse it");
    }
    let text = format!("{} is none that is known here", quoted(name));
    Finding::wrong(WHAT, text, "verifiers that do not know it either refuse it")
}

/// When it was issued, and for how long.
fn life(token: &Decoded, now: Timestamp) -> Vec<Finding> {
    let time =
        |claim: &str| token.claims.get(claim).and_then(Value::as_u64).map(Timestamp::from_secs);
    let (issued, expires) = (time("iat"), time("exp"));
    let mut findings = Vec::new();
    if let Some(issued) = issued.filter(|at| *at <= now) {
        let ago = in_words(now.since(issued));
        let life = expires.map(|at| format!(", for {}", in_words(at.since(issued))));
        let text = format!("{ago} ago{}, at {}", life.unwrap_or_default(), edge::date(issued));
        findings.push(Finding::ok("issued", text));
    }
    if let Some(life) = expires.map(|at| at.since(issued.unwrap_or(now)))
        && life > LONG_LIFE
    {
        findings.push(Finding::warning(
            "expiry",
            format!("it lives {}, which is long for an access token", in_words(life)),
            "whoever finds it can use it until then: minutes are enough where tokens are renewed",
        ));
    }
    findings
}

/// What it is good together with.
fn binding(token: &Decoded) -> Finding {
    const WHAT: &str = "binding";
    let Some(cnf) = token.claims.get("cnf") else {
        return Finding::ok(WHAT, "none: a bearer token, good for whoever has it");
    };
    let Some(binding) = cnf.as_object().and_then(Binding::from_cnf) else {
        let text = "it is bound in a way that is not known here (`cnf`)";
        return Finding::wrong(
            WHAT,
            text,
            "an API that does not know it either must refuse it (RFC 7800)",
        );
    };
    let to: Vec<String> = binding
        .members()
        .map(|(name, value)| match name {
            "jkt" => format!("the DPoP key with the thumbprint {value}"),
            _ => format!("the client certificate with the digest {value}"),
        })
        .collect();
    Finding::ok(WHAT, format!("to {}", to.join(" and ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::commands::doctor::report::Verdict;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn decoded(header: Value, claims: Value) -> Decoded {
        let object = |value: Value| value.as_object().unwrap().clone();
        Decoded { header: object(header), claims: object(claims) }
    }

    fn odd(header: Value, claims: Value) -> Vec<(&'static str, String)> {
        let findings = more(&decoded(header, claims), NOW);
        let odd = findings.into_iter().filter(|finding| finding.verdict != Verdict::Ok);
        odd.map(|finding| (finding.what, finding.text)).collect()
    }

    #[test]
    fn each_oddity_is_told_and_a_common_token_has_none() {
        let good = || json!({ "iat": 999_700, "exp": 1_000_000, "jti": "j", "sub": "s", "client_id": "c" });
        assert_eq!(odd(json!({ "alg": "ES256" }), good()), []);
        for (header, what, text) in [
            (json!({ "alg": "none" }), "algorithm", "not signed"),
            (json!({ "alg": "nOnE" }), "algorithm", "not signed"),
            (json!({ "alg": "HS256" }), "algorithm", "is a MAC"),
            (json!({}), "algorithm", "none that is known"),
            (json!({ "alg": "ES256", "jku": "https://evil.example" }), "header", "`jku`"),
        ] {
            let found = odd(header, good());
            assert!(
                found.len() == 1 && found[0].0 == what && found[0].1.contains(text),
                "{found:?}"
            );
        }
        for (claim, value, what, text) in [
            ("jti", Value::Null, "claims", "`jti`"),
            ("sub", Value::Null, "claims", "`sub`"),
            ("client_id", Value::Null, "claims", "`client_id`"),
            ("exp", json!(1_000_000 + 864_000), "expiry", "it lives 10d"),
            ("cnf", json!({ "kid": "x" }), "binding", "not known here"),
        ] {
            let mut claims = good();
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(claim)),
                value => claims[claim] = value,
            }
            let found = odd(json!({ "alg": "ES256" }), claims);
            assert!(
                found.len() == 1 && found[0].0 == what && found[0].1.contains(text),
                "{found:?}"
            );
        }
    }
}
