use bytes::Bytes;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

fn answer(status: u16, body: &str) -> Response<Bytes> {
    Response::builder().status(status).body(Bytes::from(body.to_owned())).unwrap()
}

const QUESTION: Question<'_> = Question {
    grant: Grant::Credentials,
    sent: &[],
    bound: false,
    rate_limit_reset: None,
    now: NOW,
};

fn granted(body: &str) -> Granted {
    read(&answer(200, body), &QUESTION).unwrap()
}

fn no_token(response: &Response<Bytes>) -> NoToken {
    read(response, &QUESTION).unwrap_err()
}

fn with_expires_in(value: &str) -> String {
    format!(r#"{{"access_token":"a","token_type":"Bearer","expires_in":{value}}}"#)
}

fn known(secs: u64) -> Lifetime {
    Lifetime::Known(Duration::from_secs(secs))
}

#[test]
fn row_258_members_that_nobody_knows_are_ignored() {
    let granted = granted(
        r#"{"access_token":"a","refresh_expires_in":1800,"refresh_token":"r","token_type":"bearer",
            "id_token":"i","not-before-policy":0,"session_state":"s","scope":"x","expires_in":300}"#,
    );
    assert_eq!(granted.lifetime, known(300));
    assert_eq!(granted.refresh_lifetime, Some(Duration::from_secs(1800)));
    assert!(granted.refresh_token.unwrap().matches("r"));
}

#[test]
fn row_259_a_token_of_an_unknown_type_is_not_used() {
    for token_type in ["mac", "DPoP", "", "Bearer "] {
        let body =
            format!(r#"{{"access_token":"a","token_type":"{token_type}","expires_in":300}}"#);
        let no_token = no_token(&answer(200, &body));
        assert_eq!(no_token.failure, Failure::Refused);
        assert!(matches!(no_token.error, Error::Unusable { what: Defect::TokenType(_), .. }));
    }
    no_token(&answer(200, r#"{"access_token":"a","expires_in":300}"#));
}

#[test]
fn row_260_each_expires_in_has_one_meaning() {
    for (value, lifetime) in [
        ("300", known(300)),
        ("\"300\"", known(300)),
        ("\" 300 \"", known(300)),
        ("299.9", known(299)),
        ("3e2", known(300)),
        ("1", known(1)),
        ("99999999999999999999999999", known(365 * 24 * 3600)),
        ("1e999", known(365 * 24 * 3600)),
        ("null", Lifetime::Unknown),
        ("\"soon\"", Lifetime::Unknown),
        ("true", Lifetime::Unknown),
        ("{}", Lifetime::Unknown),
        ("[300]", Lifetime::Unknown),
        ("\"NaN\"", Lifetime::Unknown),
    ] {
        assert_eq!(granted(&with_expires_in(value)).lifetime, lifetime, "{value}");
    }
    for value in ["0", "-1", "-1e999", "0.5", "\"0\"", "\"-300\"", "-0.0"] {
        let no_token = no_token(&answer(200, &with_expires_in(value)));
        assert!(
            matches!(no_token.error, Error::Unusable { what: Defect::DeadOnArrival, .. }),
            "{value}"
        );
        assert_eq!(no_token.failure, Failure::Transient { retry_after: None });
    }
}

#[test]
fn row_220_a_bearer_token_is_not_taken_where_a_bound_one_was_asked_for() {
    let read = |token_type: &str| {
        let body =
            format!(r#"{{"access_token":"a","token_type":"{token_type}","expires_in":300}}"#);
        read(&answer(200, &body), &Question { bound: true, ..QUESTION })
    };
    for good in ["DPoP", "dpop", "DPOP"] {
        assert!(read(good).is_ok(), "{good}");
    }
    for bearer in ["Bearer", "bearer"] {
        let no_token = read(bearer).unwrap_err();
        assert_eq!(no_token.failure, Failure::Refused);
        assert!(matches!(no_token.error, Error::Unusable { what: Defect::NotBound, .. }));
    }
    let unknown = read("mac").unwrap_err().error;
    assert!(matches!(unknown, Error::Unusable { what: Defect::TokenType(_), .. }), "{unknown}");
}

#[test]
fn row_271_a_refusal_of_the_proof_does_not_cost_the_refresh_token() {
    let transient = Failure::Transient { retry_after: None };
    for (grant, code, failure) in [
        (Grant::Refresh, "use_dpop_nonce", transient),
        (Grant::Refresh, "invalid_dpop_proof", transient),
        (Grant::Refresh, "invalid_grant", Failure::Refused),
        (Grant::Credentials, "use_dpop_nonce", transient),
        (Grant::Credentials, "invalid_dpop_proof", Failure::Refused),
    ] {
        let answer = answer(400, &format!(r#"{{"error":"{code}"}}"#));
        let question = Question { grant, bound: true, ..QUESTION };
        assert_eq!(read(&answer, &question).unwrap_err().failure, failure, "{grant:?} {code}");
    }
}

#[test]
fn row_274_a_token_that_looks_like_a_jwt_is_not_read() {
    for token in [
        // {"exp":10}, long ago; and with an `exp` in 10 min.
        "e30.eyJleHAiOjEwfQ.c2ln",
        "e30.eyJleHAiOjEwMDA2MDB9.c2ln",
        "e30.bm90IEpTT04.c2ln",
    ] {
        let granted = granted(&format!(r#"{{"access_token":"{token}","token_type":"Bearer"}}"#));
        assert_eq!(granted.lifetime, Lifetime::Unknown, "{token}");
        assert!(granted.access_token.matches(token));
    }
}

proptest::proptest! {
    #[test]
    fn row_274_any_text_is_a_token(token in "[!-~]{1,200}") {
        let body = serde_json::json!({
            "access_token": &token, "token_type": "Bearer", "expires_in": 300,
        });
        let granted = granted(&body.to_string());
        proptest::prop_assert!(granted.access_token.matches(&token));
        proptest::prop_assert_eq!(granted.lifetime, known(300));
    }
}

#[test]
fn row_267_a_redirect_is_an_error_whatever_it_carries() {
    for status in [301, 302, 303, 307, 308] {
        let no_token = no_token(&answer(status, &with_expires_in("300")));
        assert!(matches!(no_token.error, Error::Unusable { what: Defect::Redirect, .. }));
    }
}

#[test]
fn an_answer_without_an_oauth_error_is_transient_except_401() {
    let transient = Failure::Transient { retry_after: None };
    for (status, body, failure) in [
        (400, r#"{"error":"invalid_client"}"#, Failure::Refused),
        (400, r#"{"error":"invalid_grant","error_description":"x"}"#, Failure::Refused),
        (401, r#"{"error":"invalid_client"}"#, Failure::Refused),
        (401, "<html>", Failure::Refused),
        (200, r#"{"error":"invalid_grant"}"#, Failure::Refused),
        (400, "<html>", transient),
        (403, r#"{"message":"blocked"}"#, transient),
        (404, "", transient),
        (405, r#"{"error":405}"#, transient),
        (500, r#"{"error":"invalid_grant"}"#, transient),
        (503, r#"{"error":"temporarily_unavailable"}"#, transient),
        (429, r#"{"error":"invalid_request"}"#, transient),
        (200, "", transient),
        (200, "[]", transient),
        (200, r#"{"access_token":"a","access_token":"b","token_type":"bearer"}"#, transient),
        (200, r#"{"access_token":"a b","token_type":"bearer","expires_in":1}"#, transient),
        (200, r#"{"access_token":"","token_type":"bearer","expires_in":1}"#, transient),
    ] {
        assert_eq!(no_token(&answer(status, body)).failure, failure, "{status} {body}");
    }
}

#[test]
fn row_263_retry_after_is_seconds_or_a_date() {
    let retry_after = |value: &str| {
        let mut response = answer(503, "");
        response.headers_mut().insert(RETRY_AFTER, value.parse().unwrap());
        match no_token(&response).failure {
            Failure::Transient { retry_after } => retry_after,
            Failure::Refused => panic!("refused"),
        }
    };
    assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
    // A million seconds after the epoch it is 13:46:40.
    assert_eq!(retry_after("Mon, 12 Jan 1970 13:47:00 GMT"), Some(Duration::from_secs(20)));
    assert_eq!(retry_after("Mon, 12 Jan 1970 13:46:00 GMT"), Some(Duration::ZERO));
    assert_eq!(retry_after("soon"), None);
    assert_eq!(retry_after("-7"), None);
}

#[test]
fn a_description_that_echoes_a_secret_is_not_shown() {
    let secret = Secret::new("canary-secret");
    let body = r#"{"error":"invalid_grant","error_description":"unknown token canary-secret"}"#;
    let question = Question { grant: Grant::Refresh, sent: &[&secret], ..QUESTION };
    let error = read(&answer(400, body), &question).unwrap_err().error;
    assert_eq!(
        error.to_string(),
        "the server refused the refresh token: 400 invalid_grant (not shown, since it repeats a secret)"
    );
}

#[test]
fn a_description_is_cut_and_cleaned() {
    let body =
        format!(r#"{{"error":"invalid_grant","error_description":"a\nb{}"}}"#, "c".repeat(1000));
    let Error::Refused { refusal, .. } = no_token(&answer(400, &body)).error else {
        panic!("not refused")
    };
    let description = refusal.description.unwrap();
    assert!(description.starts_with("a bc") && description.len() == DESCRIPTION_LIMIT);
}

#[test]
fn a_server_may_say_elsewhere_when_to_come_back() {
    const RESET: HeaderName = HeaderName::from_static("x-rate-limit-reset");
    let after = |status: u16, headers: &[(&str, &str)]| {
        let mut response = answer(status, r#"{"errorCode":"E0000047"}"#);
        for (name, value) in headers {
            let name = HeaderName::try_from(*name).unwrap();
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        let question = Question { rate_limit_reset: Some(&RESET), ..QUESTION };
        match read(&response, &question).unwrap_err().failure {
            Failure::Transient { retry_after } => retry_after,
            Failure::Refused => panic!("refused"),
        }
    };
    let secs = |secs| Some(Duration::from_secs(secs));
    let reset = ("x-rate-limit-reset", "1000060");
    assert_eq!(after(429, &[reset]), secs(60));
    assert_eq!(after(429, &[reset, ("retry-after", "7")]), secs(7));
    // By the server's own clock, which is 50 s ahead of ours.
    assert_eq!(after(429, &[reset, ("date", "Mon, 12 Jan 1970 13:47:30 GMT")]), secs(10));
    for unusable in ["1000000", "999999", "soon", "-1", ""] {
        assert_eq!(after(429, &[("x-rate-limit-reset", unusable)]), None, "{unusable}");
    }
    assert_eq!(after(503, &[reset]), None);
    assert_eq!(after(429, &[("x-ratelimit-reset", "1000060")]), None);
}
