//! What an API says to a token, and about itself (RFC 6750 §3, RFC 9449 §7.1, RFC 9728).

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Method, Request, Response, StatusCode, Uri};
use serde_json::Value;
use tokenry_client::{HttpTransport, Token, Transport as _, TransportError};

use super::challenge::Challenge;
use super::issuer::get;
use super::jwt::Decoded;
use super::report::{Finding, Report};
use crate::diagnostic::quoted;

const WHAT: &str = "api";

/// What is sent, and what it is held against.
pub(super) struct Visit<'a> {
    pub(super) transport: &'a HttpTransport,
    pub(super) token: &'a Token,
    /// What the token says, if it says anything.
    pub(super) decoded: Option<&'a Decoded>,
    pub(super) issuer: Option<&'a str>,
    pub(super) url: &'a Uri,
    /// The resource that the token was asked for, if one was named (RFC 8707).
    pub(super) resource: Option<&'a str>,
}

impl Visit<'_> {
    /// Sends one request and explains its answer.
    pub(super) async fn pay(&self, report: &mut Report) {
        let answer = match self.send().await {
            Ok(answer) => answer,
            // It began to answer; more of it than that is not looked at.
            Err(TransportError::TooLong { .. }) => {
                return report
                    .add(Finding::ok(WHAT, "it answered at length: the token was let in"));
            }
            Err(error) => {
                let help = "is the URL right, and does --cacert hold for this host, too?";
                return report.add(Finding::wrong(WHAT, error.to_string(), help));
            }
        };
        let status = answer.status();
        let challenges = Challenge::all(answer.headers());
        report.add(match status {
            StatusCode::UNAUTHORIZED => self.unauthorized(&challenges),
            StatusCode::FORBIDDEN => self.forbidden(&challenges),
            status if status.is_server_error() => Finding::warning(
                WHAT,
                format!("it answered {}, which says nothing about the token", status.as_u16()),
                "ask its operator",
            ),
            status => {
                Finding::ok(WHAT, format!("it answered {}: the token was let in", status.as_u16()))
            }
        });
        for challenge in &challenges {
            if let Some(url) = challenge.get("resource_metadata") {
                self.look_up(url, report).await;
            }
        }
    }

    async fn send(&self) -> Result<Response<Bytes>, TransportError> {
        let answer = self.send_once().await?;
        let brought_nonce = self.token.note_dpop_nonce(self.url, answer.headers());
        // RFC 9449 §9: once more, with the nonce that came.
        if answer.status() == StatusCode::UNAUTHORIZED && brought_nonce {
            return self.send_once().await;
        }
        Ok(answer)
    }

    async fn send_once(&self) -> Result<Response<Bytes>, TransportError> {
        let other = |error: &dyn std::fmt::Display| TransportError::Other(error.to_string());
        let proof = self.token.dpop_proof(&Method::GET, self.url).map_err(|e| other(&e))?;
        let mut request = Request::get(self.url).body(Bytes::new()).map_err(|e| other(&e))?;
        request.headers_mut().insert(AUTHORIZATION, self.token.header().clone());
        if let Some(proof) = proof {
            request.headers_mut().insert("dpop", proof);
        }
        self.transport.send(request).await
    }

    fn unauthorized(&self, challenges: &[Challenge]) -> Finding {
        let own = self.token.token_type();
        let wrong =
            |text: &str, help: &str| Finding::wrong(WHAT, format!("it answered 401: {text}"), help);
        if challenges.is_empty() {
            return wrong(
                "it does not say why (no WWW-Authenticate)",
                "see what else is wrong here; something in between may have taken the header away",
            );
        }
        let Some(challenge) = challenges.iter().find(|one| one.scheme.eq_ignore_ascii_case(own))
        else {
            let schemes: Vec<&str> = challenges.iter().map(|one| one.scheme.as_str()).collect();
            let text = format!("it wants {}, and the token is {own}", quoted(&schemes.join(", ")));
            return wrong(
                &text,
                match schemes.iter().any(|s| s.eq_ignore_ascii_case("dpop")) {
                    true => "--dpop asks for a token that is bound to a key",
                    false => "it takes no such tokens at this URL",
                },
            );
        };
        let said = said(challenge);
        match challenge.get("error") {
            Some("invalid_token") => wrong(
                &said,
                "where nothing else is wrong here, the API is told of another issuer or audience, has old keys, or a wrong clock",
            ),
            Some("use_dpop_nonce") => wrong(
                &said,
                "it is not content with the nonce that it gave: its replicas may not share them",
            ),
            Some("invalid_dpop_proof") => wrong(
                &said,
                "the API may know itself under another URL than this, or have a wrong clock",
            ),
            Some(_) => wrong(&said, "the API's documentation says what it wants"),
            // RFC 6750 §3.1: a request without a token is told no error.
            None => wrong(
                "it says nothing of an error, as if no token had come",
                "something in between may have taken the header Authorization away",
            ),
        }
    }

    fn forbidden(&self, challenges: &[Challenge]) -> Finding {
        let asked = challenges.iter().find(|one| one.get("error") == Some("insufficient_scope"));
        let Some(challenge) = asked else {
            return Finding::wrong(
                WHAT,
                "it answered 403: the token is good, and may not do this",
                "what it lacks (a scope, a role, a network) only the API's operator knows",
            );
        };
        let needed =
            challenge.get("scope").unwrap_or_default().split(' ').filter(|one| !one.is_empty());
        let granted = self.decoded.map(Decoded::scopes).unwrap_or_default();
        let missing: Vec<&str> = needed.filter(|one| !granted.contains(one)).collect();
        let text = match missing.is_empty() {
            true => said(challenge),
            false => format!("the token lacks scope {}", quoted(&missing.join(" "))),
        };
        Finding::wrong(
            WHAT,
            format!("it answered 403: {text}"),
            "ask for it with --scope; its operator knows whether the client may have it",
        )
    }

    /// Looks at what the API says of itself.
    async fn look_up(&self, url: &str, report: &mut Report) {
        const WHAT: &str = "resource";
        let answer = match get(self.transport, url).await {
            Ok(answer) if answer.status().is_success() => answer,
            Ok(answer) => {
                let text =
                    format!("its metadata at {url}: the answer is {}", answer.status().as_u16());
                return report.add(Finding::warning(
                    WHAT,
                    text,
                    "clients cannot learn from them what it wants",
                ));
            }
            Err(error) => {
                let text = format!("its metadata at {url}: {error}");
                return report.add(Finding::warning(
                    WHAT,
                    text,
                    "clients cannot learn from them what it wants",
                ));
            }
        };
        let metadata: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        let url = self.url.to_string();
        report.findings.extend(judge(&metadata, self.resource.unwrap_or(&url), self.issuer));
    }
}

/// What a challenge says, for people.
fn said(challenge: &Challenge) -> String {
    let error = challenge.get("error").unwrap_or("no error");
    match challenge.get("error_description") {
        Some(description) => format!("{error} ({description})"),
        None => error.to_owned(),
    }
}

/// What is to be said of an API's metadata (RFC 9728 §3.3).
fn judge(metadata: &Value, requested: &str, issuer: Option<&str>) -> Vec<Finding> {
    const WHAT: &str = "resource";
    let Some(resource) = metadata["resource"].as_str() else {
        return vec![Finding::wrong(
            WHAT,
            "its metadata name no `resource`",
            "RFC 9728 §2 wants one",
        )];
    };
    // "If these values are not identical, the data contained in the response MUST NOT be used."
    if !is_same(resource, requested) {
        return vec![Finding::wrong(
            WHAT,
            format!(
                "its metadata are of {}, not of {}, so they are not used",
                quoted(resource),
                quoted(requested)
            ),
            "ask for the resource by the name that it has: --resource, or --url as it is written there",
        )];
    }
    let servers: Vec<&str> = metadata["authorization_servers"]
        .as_array()
        .map(|list| list.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    match issuer {
        Some(issuer) if !servers.is_empty() && !servers.contains(&issuer) => vec![Finding::wrong(
            WHAT,
            format!(
                "it takes tokens of {}, not of {}",
                quoted(&servers.join(", ")),
                quoted(issuer)
            ),
            "get a token there: --issuer",
        )],
        _ => vec![Finding::ok(WHAT, format!("its metadata are of {}", quoted(resource)))],
    }
}

/// The same, but for the slash that is the whole path (RFC 3986 §6.2.3).
fn is_same(one: &str, other: &str) -> bool {
    let whole = |text: &str| match text.split_once("://") {
        Some((_, rest)) if !rest.contains(['/', '?']) => format!("{text}/"),
        _ => text.to_owned(),
    };
    whole(one) == whole(other)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::report::Verdict;
    use super::*;

    #[test]
    fn row_253_metadata_of_another_resource_are_not_used() {
        let judged = |resource: &str, requested: &str, issuer: Option<&str>| {
            let metadata =
                json!({ "resource": resource, "authorization_servers": ["https://as.example"] });
            let [finding] = judge(&metadata, requested, issuer).try_into().unwrap();
            (finding.verdict, finding.text)
        };
        for other in [
            "https://api.example/",
            "https://api.example/x/",
            "https://api.example/X",
            "http://api.example/x",
            "https://api.example:444/x",
            "https://evil.example/x",
            "https://api.example/x?y",
            "",
        ] {
            let (verdict, text) =
                judged(other, "https://api.example/x", Some("https://other.example"));
            assert_eq!(verdict, Verdict::Wrong, "{other}");
            assert!(
                text.contains("so they are not used") && !text.contains("as.example"),
                "{text}"
            );
        }
        let same = |one: &str, other: &str| judged(one, other, Some("https://as.example")).0;
        assert_eq!(same("https://api.example/x", "https://api.example/x"), Verdict::Ok);
        assert_eq!(same("https://api.example", "https://api.example/"), Verdict::Ok);
        let (verdict, text) =
            judged("https://a.example", "https://a.example", Some("https://b.example"));
        assert_eq!(verdict, Verdict::Wrong);
        assert!(
            text.contains("takes tokens of `https://as.example`, not of `https://b.example`"),
            "{text}"
        );
        assert_eq!(judge(&json!({}), "https://a.example", None)[0].verdict, Verdict::Wrong);
    }
}
