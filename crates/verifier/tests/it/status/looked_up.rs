//! What a list may say of a token, and which lists are believed.

use serde_json::{Value, json};
use tokenry_core::jose::claims::ClaimsError;
use tokenry_core::jose::{Algorithm, SigningKey};
use tokenry_verifier::{BuildError, Rejection, StatusListSettings};

use super::{House, Lists, Reply, SECOND, URI, is_unavailable, list, list_claims, settle, signed};
use crate::issuer::{START, Source, builder, claims, forge, key, token};

#[tokio::test(start_paused = true)]
async fn row_193_a_token_is_what_its_list_says() {
    let house = House::with(&[3, 63]).await;
    for (idx, expected) in [
        (0, Ok(())),
        (2, Ok(())),
        (3, Err(Rejection::Revoked)),
        (62, Ok(())),
        (63, Err(Rejection::Revoked)),
    ] {
        assert_eq!(house.ask(&house.token(idx)).await, expected, "{idx}");
    }
    let metrics = house.metrics();
    assert_eq!((metrics.held, metrics.fetches, metrics.failed, metrics.refused), (1, 1, 0, 2));
}

#[tokio::test(start_paused = true)]
async fn row_193_every_other_status_than_valid_is_refused() {
    let key = key(Algorithm::Es256);
    // Of the draft: invalid, suspended, valid, 3, which is the issuer's own.
    let list = list(&key, &json!({ "status_list": { "bits": 2, "lst": "eNo76fITAAPfAgc" } }), &[]);
    let house = House::of(key, Lists::with(list)).await;
    let revoked = Err(Rejection::Revoked);
    for (idx, expected) in [revoked.clone(), revoked.clone(), Ok(()), revoked].iter().enumerate() {
        assert_eq!(house.ask(&house.token(idx as u64)).await, *expected, "{idx}");
    }
}

#[tokio::test(start_paused = true)]
async fn row_193_a_place_beyond_the_list_is_refused() {
    let house = House::with(&[]).await;
    assert_eq!(house.ask(&house.token(63)).await, Ok(()));
    for idx in [64, 65_536, u64::MAX] {
        let refused = house.ask(&house.token(idx)).await;
        assert!(matches!(refused, Err(Rejection::UnknownStatus(_))), "{idx}: {refused:?}");
    }
    assert_eq!(house.lists.fetches(), 1);
    assert_eq!(house.metrics().refused, 3);
}

#[tokio::test(start_paused = true)]
async fn row_193_a_list_elsewhere_is_not_followed() {
    let house = House::with(&[]).await;
    house.lists.otherwise(Reply::Panics);
    for uri in [
        "https://evil.example/status-lists/1",
        "http://id.example/status-lists/1",
        "https://id.example:8443/status-lists/1",
        "https://id.example@evil.example/1",
        "https://id.example/a/../b",
        "file:///etc/passwd",
        "not a uri",
    ] {
        let refused = house.ask(&house.token_at(uri, 0)).await;
        assert!(matches!(refused, Err(Rejection::UnknownStatus(_))), "{uri}: {refused:?}");
        let refused = refused.unwrap_err();
        assert_eq!((refused.status().as_u16(), refused.code()), (401, Some("invalid_token")));
    }
    assert_eq!(house.lists.fetches(), 0);
}

#[tokio::test(start_paused = true)]
async fn row_193_a_list_elsewhere_is_followed_where_that_is_said() {
    let elsewhere = "https://cdn.example/lists/1";
    let key = key(Algorithm::Es256);
    let lists = Lists::default();
    lists.reply_at(elsewhere, Reply::List(list(&key, &json!({ "sub": elsewhere }), &[1])));
    let settings = lists.settings().allow_uri_prefix("https://cdn.example/lists");
    let house = House::set(key, lists, settings).await;
    assert_eq!(house.ask(&house.token_at(elsewhere, 0)).await, Ok(()));
    assert_eq!(house.ask(&house.token_at(elsewhere, 1)).await, Err(Rejection::Revoked));
    let other = house.ask(&house.token_at("https://cdn.example/listsx/1", 0)).await;
    assert!(matches!(other, Err(Rejection::UnknownStatus(_))), "{other:?}");

    for prefix in ["cdn.example", "http://cdn.example/", "https://a:b@cdn.example", "https://a/?b"]
    {
        let settings = StatusListSettings::new().allow_uri_prefix(prefix);
        let built = builder(&Source::default()).status_lists(settings).build().map(drop);
        assert_eq!(built, Err(BuildError::StatusListPrefix), "{prefix}");
    }
}

#[tokio::test(start_paused = true)]
async fn row_193_a_malformed_claim_is_refused() {
    let house = House::with(&[]).await;
    for status in [
        json!(null),
        json!("x"),
        json!([]),
        json!({ "status_list": 1 }),
        json!({ "status_list": {} }),
        json!({ "status_list": { "idx": 0 } }),
        json!({ "status_list": { "uri": URI } }),
        json!({ "status_list": { "idx": -1, "uri": URI } }),
        json!({ "status_list": { "idx": "0", "uri": URI } }),
        json!({ "status_list": { "idx": 0.5, "uri": URI } }),
        json!({ "status_list": { "idx": 0, "uri": "" } }),
        json!({ "status_list": { "idx": 0, "uri": format!("{URI}?{}", "x".repeat(3000)) } }),
    ] {
        let refused = house.ask(&house.token_with(status.clone())).await;
        assert_eq!(refused, Err(Rejection::Claims(ClaimsError::Malformed("status"))), "{status}");
    }
    // Tokens that name no list are none the worse for it.
    assert_eq!(house.ask(&token(&house.key, &claims())).await, Ok(()));
    assert_eq!(house.ask(&house.token_with(json!({ "other": 1 }))).await, Ok(()));
    assert_eq!(house.lists.fetches(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_the_setting_the_claim_means_nothing() {
    let house = House::with(&[0]).await;
    let plain = builder(&house.keys).build().unwrap();
    for token in [house.token(0), house.token_with(json!("x"))] {
        assert!(plain.verify(&token, plain.now()).await.is_ok());
    }
    assert_eq!(plain.metrics().issuers[0].status_lists, None);
}

#[tokio::test(start_paused = true)]
async fn row_193_a_list_that_is_none_of_the_issuers_says_nothing() {
    let [own, other] = [key(Algorithm::Es256), key(Algorithm::Es256)];
    let claims = |changes: Value| list_claims(&changes, &[]);
    let good = list(&own, &json!({}), &[]);
    let another = list(&own, &json!({ "ttl": 61 }), &[]);
    let signature = |text: &str| text.rsplit_once('.').unwrap().1.to_owned();
    let flipped = good.replace(&signature(&good), &signature(&another));
    let with_kid = |key: &SigningKey, kid: &str| {
        let header = json!({ "alg": "ES256", "typ": "statuslist+jwt", "kid": kid }).to_string();
        forge(key, header.as_bytes(), claims(json!({})).to_string().as_bytes())
    };
    let header = json!({ "alg": "none", "typ": "statuslist+jwt" }).to_string();
    let cases = [
        ("another type", signed(&own, "at+jwt", &claims(json!({})))),
        ("no type", signed(&own, "JWT", &claims(json!({})))),
        ("another list", list(&own, &json!({ "sub": format!("{URI}0") }), &[])),
        ("no list named", list(&own, &json!({ "sub": null }), &[])),
        ("another issuer", list(&own, &json!({ "iss": "https://other.example" }), &[])),
        ("another key", list(&other, &json!({}), &[])),
        ("another key under this name", with_kid(&other, own.kid())),
        ("another signature", flipped),
        ("no signature", forge(&own, header.as_bytes(), claims(json!({})).to_string().as_bytes())),
        ("no time", list(&own, &json!({ "iat": null }), &[])),
        ("from the future", list(&own, &json!({ "iat": START + 60 }), &[])),
        ("not yet", list(&own, &json!({ "nbf": START + 60 }), &[])),
        ("expired", list(&own, &json!({ "exp": START - 11 }), &[])),
        ("no bits", list(&own, &json!({ "status_list": { "lst": "eNrbuRgAAhcBXQ" } }), &[])),
        ("a time to live that is none", list(&own, &json!({ "ttl": 0 }), &[])),
        ("no token", "<html>".to_owned()),
        ("nothing", String::new()),
        ("too long", list(&own, &json!({ "more": "A".repeat(4 * 1024 * 1024) }), &[])),
    ];
    let house = House::of(own, Lists::default()).await;
    for (why, text) in cases {
        let house = House::of(house.key.clone(), Lists::with(text)).await;
        let refused = house.ask(&house.token(0)).await;
        assert!(is_unavailable(&refused), "{why}: {refused:?}");
        let metrics = house.metrics();
        assert_eq!((metrics.held, metrics.refused), (0, 0), "{why}");
        assert_eq!(metrics.fetches, metrics.failed, "{why}");
    }
    // What is good, and what is still good.
    for changes in [
        json!({ "iss": crate::issuer::ISSUER }),
        json!({ "iat": START + 9 }),
        json!({ "exp": START - 9 }),
        json!({ "exp": null, "ttl": null }),
        json!({ "aggregation_uri": 1 }),
    ] {
        let house = House::of(house.key.clone(), Lists::default()).await;
        house.lists.reply(Reply::List(list(&house.key, &changes, &[])));
        assert_eq!(house.ask(&house.token(0)).await, Ok(()), "{changes}");
    }
}

#[tokio::test(start_paused = true)]
async fn row_193_a_list_is_signed_as_tokens_have_to_be() {
    let [own, other] = [key(Algorithm::Es256), key(Algorithm::EdDsa)];
    let keys = Source::with(&[&own, &other]);
    for (signer, good) in [(&own, true), (&other, false)] {
        let lists = Lists::with(list(signer, &json!({}), &[]));
        let builder = builder(&keys).algorithms([Algorithm::Es256]);
        let verifier = builder.status_lists(lists.settings()).build().unwrap();
        settle().await;
        let mut claims = claims();
        claims["status"] = json!({ "status_list": { "idx": 0, "uri": URI } });
        let asked = verifier.verify(&token(&own, &claims), verifier.now()).await;
        assert_eq!(asked.is_ok(), good, "{asked:?}");
        assert_eq!(verifier.metrics().issuers[0].key_fetches, 1, "newer keys would not help");
    }
}

#[tokio::test(start_paused = true)]
async fn row_193_a_list_under_a_new_key_has_the_keys_fetched() {
    let [old, new] = [key(Algorithm::Es256), key(Algorithm::Es256)];
    let text = list(&new, &json!({}), &[1]);
    let house = House::of(old, Lists::with(text)).await;
    house.keys.publish(&[&house.key, &new]);
    house.keys.delay(SECOND);
    assert_eq!(house.ask(&house.token(0)).await, Ok(()));
    assert_eq!(house.ask(&house.token(1)).await, Err(Rejection::Revoked));
    assert_eq!((house.keys.fetches(), house.lists.fetches()), (2, 1));
}
