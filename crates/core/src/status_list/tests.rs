//! What is read of the claims of tokens and of lists.

use super::*;

const URI: &str = "https://as.example/status-lists/1";
const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

fn claims(value: &Value) -> Claims {
    Claims::parse(value.to_string().as_bytes()).unwrap()
}

fn example() -> Value {
    json!({
        "sub": URI,
        "iat": 1_699_999_990,
        "exp": 1_700_000_001,
        "ttl": 60,
        "status_list": { "bits": 1, "lst": "eNrbuRgAAhcBXQ" },
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut token = example();
    token[name] = value;
    token
}

fn without(name: &str) -> Value {
    let mut token = example();
    token.as_object_mut().unwrap().remove(name);
    token
}

fn read(token: &Value) -> Result<StatusListToken, StatusListError> {
    StatusListToken::read(Some(TYP), &claims(token), URI, NOW)
}

#[test]
fn row_193_a_status_list_token_is_read() {
    let token = read(&example()).unwrap();
    assert_eq!(token.uri, URI);
    assert_eq!(token.issued_at, Timestamp::from_secs(1_699_999_990));
    assert_eq!(token.expires_at, Some(Timestamp::from_secs(1_700_000_001)));
    assert_eq!(token.ttl, Some(Duration::from_secs(60)));
    assert_eq!(token.list.status(0), Ok(Status::Invalid));
    assert_eq!(token.list.status(1), Ok(Status::Valid));
    for optional in ["exp", "ttl"] {
        assert!(read(&without(optional)).is_ok(), "{optional}");
    }
    let extended =
        with("status_list", json!({ "bits": 1, "lst": "eNrbuRgAAhcBXQ", "aggregation_uri": "x" }));
    assert!(read(&extended).is_ok());
}

#[test]
fn row_193_a_status_list_token_that_says_something_else_is_refused() {
    use StatusListError::{Bits, Expired, Malformed, Subject};
    let list = |bits: Value, lst: Value| with("status_list", json!({ "bits": bits, "lst": lst }));
    let lst = || json!("eNrbuRgAAhcBXQ");
    let cases = [
        (with("sub", json!("https://as.example/status-lists/2")), Subject),
        (with("sub", json!("https://as.example/status-lists/1/")), Subject),
        (without("sub"), Subject),
        (without("iat"), Malformed("iat")),
        (with("exp", json!(1_700_000_000)), Expired),
        (with("ttl", json!(0)), Malformed("ttl")),
        (with("ttl", json!(-1)), Malformed("ttl")),
        (with("ttl", json!("60")), Malformed("ttl")),
        (with("ttl", json!(1e300)), Malformed("ttl")),
        (without("status_list"), Malformed("status_list")),
        (with("status_list", lst()), Malformed("status_list")),
        (list(json!(3), lst()), Bits),
        (list(json!("1"), lst()), Bits),
        (list(json!(1.0), lst()), Bits),
        (list(Value::Null, lst()), Bits),
        (list(json!(1), Value::Null), Malformed("lst")),
        (list(json!(1), json!([1, 0])), Malformed("lst")),
    ];
    for (token, expected) in cases {
        assert_eq!(read(&token), Err(expected), "{token}");
    }
}

#[test]
fn row_193_only_a_status_list_token_is_one() {
    for (typ, expected) in [
        (Some("statuslist+jwt"), true),
        (Some("application/statuslist+jwt"), true),
        (Some("at+jwt"), false),
        (Some("JWT"), false),
        (Some("statuslist+cwt"), false),
        (None, false),
    ] {
        let read = StatusListToken::read(typ, &claims(&example()), URI, NOW);
        assert_eq!(read.is_ok(), expected, "{typ:?}");
        if !expected {
            assert_eq!(read, Err(StatusListError::Type));
        }
    }
}

#[test]
fn row_193_a_status_list_token_is_written_as_it_is_read() {
    for token in [example(), without("ttl"), without("exp")] {
        let token = read(&token).unwrap();
        let again = Claims::parse(token.to_json().as_bytes()).unwrap();
        assert_eq!(StatusListToken::read(Some(TYP), &again, URI, NOW), Ok(token));
    }
}

#[test]
fn row_193_the_status_claim() {
    let at = |idx| Ok(Some(Reference { idx, uri: URI.to_owned() }));
    let list =
        |idx: Value, uri: Value| json!({ "status": { "status_list": { "idx": idx, "uri": uri } } });
    let malformed = Err(StatusListError::Malformed("status"));
    let cases = [
        (json!({}), Ok(None)),
        (json!({ "status": {} }), Ok(None)),
        (json!({ "status": { "other": 1 } }), Ok(None)),
        (list(json!(0), json!(URI)), at(0)),
        (list(json!(u64::MAX), json!(URI)), at(u64::MAX)),
        (list(json!(-1), json!(URI)), malformed.clone()),
        (list(json!(1.5), json!(URI)), malformed.clone()),
        (list(json!("1"), json!(URI)), malformed.clone()),
        (list(json!(1), json!(1)), malformed.clone()),
        (list(json!(1), json!("")), malformed.clone()),
        (list(json!(1), json!("u".repeat(MAX_URI + 1))), malformed.clone()),
        (json!({ "status": { "status_list": { "idx": 1 } } }), malformed.clone()),
        (json!({ "status": { "status_list": 1 } }), malformed.clone()),
        (json!({ "status": 1 }), malformed.clone()),
        (json!({ "status": null }), malformed),
    ];
    for (token, expected) in cases {
        assert_eq!(Reference::of(&claims(&token)), expected, "{token}");
    }
    let written = Reference { idx: 7, uri: "https://a/\"".to_owned() };
    let claim = format!(r#"{{"status":{}}}"#, written.to_json());
    assert_eq!(Reference::of(&Claims::parse(claim.as_bytes()).unwrap()), Ok(Some(written)));
}
