//! Tokens that are bound to a key: what proofs must say, and what is answered (RFC 9449 §7, §9).

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::header::{CACHE_CONTROL, RETRY_AFTER};
use axum::http::{Request, Response};
use serde_json::{Value, json};
use tokenry_core::Timestamp;
use tokenry_core::jose::Algorithm;
use tokenry_verifier::{
    BoxFuture, BuildError, Head, ProofId, ProofStore, ProofStoreError, Rejection,
};

use crate::issuer::{START, claims, claims_with, key, token as issued};
use crate::proofs::{
    BEARER, PLAIN, Pair, anything, bad_proof, get, ok, outcome, proof, raw, refused, send,
    with_error, with_proof,
};

#[tokio::test(start_paused = true)]
async fn row_194_row_200_row_213_a_proved_token_is_let_in_and_the_handler_sees_it() {
    for algorithm in Algorithm::ALL {
        let pair = Pair { client: key(algorithm), ..Pair::new() };
        let api = pair.api();
        let token = pair.bound();
        for scheme in ["DPoP", "dpop", "DPOP"] {
            let proof = pair.proof(&token, json!({}));
            let authorization = format!("{scheme} {token}");
            let request = get(&[("Authorization", &authorization), ("DPoP", &proof)]);
            let response = raw(&api, request).await;
            assert_eq!(outcome(&response), ok(), "{scheme} {algorithm}");
            assert!(response.headers().get("dpop-nonce").is_none());
            assert_eq!(to_bytes(response.into_body(), 100).await.unwrap(), "billing");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn row_195_row_196_row_197_what_is_no_proof_is_told_so() {
    let pair = Pair::new();
    let api = pair.api();
    let token = pair.bound();
    let authorization = format!("DPoP {token}");
    let good = || pair.proof(&token, json!({}));
    let request = |proofs: &[&str]| {
        let mut headers = vec![("Authorization", &*authorization)];
        headers.extend(proofs.iter().map(|proof| ("DPoP", *proof)));
        get(&headers)
    };
    assert_eq!(send(&api, request(&[&good()])).await, ok());
    let (one, two) = (good(), good());
    let joined = format!("{one}, {two}");
    for (proofs, description) in [
        (&[][..], "no DPoP header"),
        (&[&*one, &*two], "more than one DPoP header"),
        (&[&*one, &*one], "more than one DPoP header"),
        (&[&*joined], "not a JWT"),
        (&[""], "not a JWT"),
        (&["x"], "not a JWT"),
        (&["a.b.c"], "not a JWT"),
    ] {
        assert_eq!(send(&api, request(proofs)).await, bad_proof(description), "{proofs:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn row_198_row_203_row_204_row_205_row_206_row_208_row_209_what_a_proof_must_say() {
    let pair = Pair::new();
    let api = pair.api();
    let token = pair.bound();
    let ath = |of: &str| json!({ "ath": tokenry_core::dpop::hash(of) });
    let htu = |url: &str| json!({ "htu": url });
    let (method, url) = ("for another method", "for another URL");
    let (other, age) = ("for another access token", "too old, or made in the future");
    let cases: &[(Value, Option<&str>)] = &[
        (json!({}), None),
        (json!({ "jti": null }), Some("no jti")),
        (json!({ "jti": "" }), Some("no jti")),
        (json!({ "jti": "a".repeat(10_000) }), Some("no jti")),
        (json!({ "htm": null }), Some(method)),
        (json!({ "htm": "POST" }), Some(method)),
        (json!({ "htm": "get" }), Some(method)),
        (json!({ "htu": null }), Some("for no URL")),
        (htu("/"), Some("for no URL")),
        (htu("https://api.example/other"), Some(url)),
        (htu("https://other.example/"), Some(url)),
        (htu("http://api.example/"), Some(url)),
        (htu("https://api.example:8443/"), Some(url)),
        (htu("https://api.example/?a=b"), None),
        (htu("https://api.example/#a"), None),
        (htu("HTTPS://API.example:443/a/.."), None),
        (htu("https://api.example"), None),
        (json!({ "iat": null }), Some("no iat")),
        (json!({ "iat": START.to_string() }), Some("malformed claims")),
        (json!({ "iat": START - 3600 }), Some(age)),
        (json!({ "iat": START + 3600 }), Some(age)),
        (json!({ "iat": START - 10 }), None),
        (json!({ "iat": START + 8 }), None),
        (json!({ "ath": null }), Some(other)),
        (ath("other"), Some(other)),
        (ath(&token), None),
        (json!({ "nonce": "nobody asked for one" }), None),
        (json!({ "nonce": 1 }), Some("a nonce that is no text")),
    ];
    for (changes, description) in cases {
        let answer = send(&api, with_proof(&token, &pair.proof(&token, changes.clone()))).await;
        assert_eq!(answer, description.map_or_else(ok, bad_proof), "{changes}");
    }
}

#[tokio::test(start_paused = true)]
async fn row_199_row_200_row_201_row_202_what_its_header_must_say() {
    let pair = Pair::new();
    let api = pair.api();
    let token = pair.bound();
    let jwk = |changes: Value| {
        let mut jwk: Value = serde_json::from_str(&pair.client.public_jwk().to_json()).unwrap();
        jwk.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        json!({ "jwk": jwk })
    };
    let stranger: Value =
        serde_json::from_str(&key(Algorithm::Es256).public_jwk().to_json()).unwrap();
    let (typ, no_key) = ("a token of another type", "no public key in it");
    let cases: &[(Value, Option<&str>)] = &[
        (json!({ "typ": "application/dpop+jwt" }), None),
        (json!({ "typ": "DPoP+JWT" }), None),
        (json!({ "typ": null }), Some(typ)),
        (json!({ "typ": "JWT" }), Some(typ)),
        (json!({ "typ": "at+jwt" }), Some(typ)),
        (json!({ "alg": null }), Some("not a JWT")),
        (json!({ "alg": "none" }), Some("not a JWT")),
        (json!({ "alg": "HS256" }), Some("not a JWT")),
        (json!({ "alg": "ES384" }), Some("a key of another algorithm")),
        (json!({ "crit": ["a"] }), Some("not a JWT")),
        (json!({ "jwk": null }), Some(no_key)),
        (jwk(json!({ "d": "AAAA" })), Some(no_key)),
        (json!({ "jwk": { "kty": "oct", "k": "AAAA" } }), Some(no_key)),
        (json!({ "jwk": stranger }), Some("not signed by the key in it")),
    ];
    for (header, description) in cases {
        let proof = proof(&pair.client, header, &token, json!({}));
        let answer = send(&api, with_proof(&token, &proof)).await;
        assert_eq!(answer, description.map_or_else(ok, bad_proof), "{header}");
    }
}

#[tokio::test(start_paused = true)]
async fn row_200_row_195_only_the_algorithms_that_are_accepted_are_accepted_and_named() {
    let fapi = Algorithm::ALL.into_iter().filter(|algorithm| algorithm.is_of_fapi());
    for (algorithm, is_good) in [
        (Algorithm::Rs256, false),
        (Algorithm::Es384, false),
        (Algorithm::Ps256, true),
        (Algorithm::Es256, true),
        (Algorithm::EdDsa, true),
    ] {
        let pair = Pair { client: key(algorithm), ..Pair::new() };
        let verifier =
            pair.builder().resource_url("https://api.example").dpop_algorithms(fapi.clone());
        let api = anything(verifier.build().unwrap().layer());
        let token = pair.bound();
        let answer = send(&api, with_proof(&token, &pair.proof(&token, json!({})))).await;
        if is_good {
            assert_eq!(answer, ok());
        } else {
            assert_eq!(answer.0, 401);
            assert_eq!(
                answer.1[0],
                "DPoP realm=\"api\", error=\"invalid_dpop_proof\", \
                 error_description=\"an algorithm that is not accepted\", algs=\"PS256 ES256 EdDSA Ed25519\""
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn row_203_row_204_method_and_path_are_those_of_the_request() {
    let pair = Pair::new();
    let token = pair.bound();
    let served = |urls: &[&str]| {
        let builder = urls.iter().fold(pair.builder(), |builder, url| builder.resource_url(*url));
        anything(builder.build().unwrap().layer())
    };
    let one = served(&["https://api.example/v1/"]);
    let two = served(&["https://api.example", "https://api.internal:8443"]);
    for (api, method, path, host, htu, status) in [
        (&one, "GET", "/a?b=c", "x", "https://api.example/v1/a", 200),
        (&one, "GET", "/a", "x", "https://api.example/a", 401),
        (&one, "POST", "/a", "x", "https://api.example/v1/a", 401),
        (&one, "GET", "/a/../b", "x", "https://api.example/v1/b", 200),
        (&two, "GET", "/a", "x", "https://api.example/a", 200),
        (&two, "GET", "/a", "x", "https://api.internal:8443/a", 200),
        // A proof that was made for somebody else's API, sent here with that one's name.
        (&two, "GET", "/a", "evil.example", "https://evil.example/a", 401),
        (&two, "GET", "https://evil.example/a", "evil.example", "https://evil.example/a", 401),
        (&two, "OPTIONS", "*", "x", "https://api.example*", 401),
    ] {
        let htm = if method == "OPTIONS" { "OPTIONS" } else { "GET" };
        let proof = pair.proof(&token, json!({ "htu": htu, "htm": htm }));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Host", host)
            .header("Authorization", format!("DPoP {token}"))
            .header("DPoP", proof);
        let answer = send(api, request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.0, status, "{method} {path} {htu}");
    }
}

#[tokio::test(start_paused = true)]
async fn row_207_a_proof_is_good_once() {
    let pair = Pair::new();
    let api = pair.api();
    let token = pair.bound();
    let proof = pair.proof(&token, json!({ "jti": "once" }));
    assert_eq!(send(&api, with_proof(&token, &proof)).await, ok());
    let again = bad_proof("the proof was presented before");
    assert_eq!(send(&api, with_proof(&token, &proof)).await, again);
    // The same `jti` in a proof that was signed later.
    let later = pair.proof(&token, json!({ "jti": "once", "iat": START + 1 }));
    assert_eq!(send(&api, with_proof(&token, &later)).await, again);
    // As long as a proof is young enough to be accepted it is remembered.
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(send(&api, with_proof(&token, &proof)).await, again);
    tokio::time::advance(Duration::from_secs(1)).await;
    let too_old = bad_proof("too old, or made in the future");
    assert_eq!(send(&api, with_proof(&token, &proof)).await, too_old);
    // Another client's `jti`s are its own.
    let other = Pair { client: key(Algorithm::Es256), issuer: pair.issuer };
    let token = other.bound();
    let proof = other.proof(&token, json!({ "jti": "once", "iat": START + 61 }));
    assert_eq!(send(&api, with_proof(&token, &proof)).await, ok());
}

#[tokio::test(start_paused = true)]
async fn row_207_a_proof_that_was_refused_for_something_else_is_not_used_up() {
    let pair = Pair::new();
    let verifier = pair.builder().resource_url("https://api.example").build().unwrap();
    let api = anything(verifier.layer());
    let token = pair.bound();
    let proof = pair.proof(&token, json!({}));
    let mut request = with_proof(&token, &proof);
    *request.method_mut() = "POST".parse().unwrap();
    assert_eq!(send(&api, request).await, bad_proof("for another method"));
    assert_eq!(send(&api, with_proof(&token, &proof)).await, ok());
}

#[tokio::test(start_paused = true)]
async fn row_207_a_request_may_pass_two_gates_with_one_proof() {
    let pair = Pair::new();
    let verifier = pair.builder().resource_url("https://api.example").build().unwrap();
    let scoped = verifier.layer().require_scope("read".parse().unwrap());
    let api = anything(scoped).layer(verifier.layer());
    let token = pair.bound();
    let proof = pair.proof(&token, json!({}));
    assert_eq!(send(&api, with_proof(&token, &proof)).await, ok());
    assert_eq!(send(&api, with_proof(&token, &proof)).await.0, 401);
}

#[tokio::test(start_paused = true)]
async fn row_207_a_small_memory_forgets_and_lets_nothing_in_twice() {
    let pair = Pair::new();
    let builder = pair.builder().resource_url("https://api.example").dpop_memory(3);
    let api = anything(builder.build().unwrap().layer());
    let token = pair.bound();
    let made: Vec<String> =
        (0..10).map(|secs| pair.proof(&token, json!({ "iat": START + secs }))).collect();
    for proof in &made {
        assert_eq!(send(&api, with_proof(&token, proof)).await, ok());
    }
    for (n, proof) in made.iter().enumerate() {
        let why = if n < 7 { "the proof is too old" } else { "the proof was presented before" };
        assert_eq!(send(&api, with_proof(&token, proof)).await, bad_proof(why), "{n}");
    }
}

#[tokio::test(start_paused = true)]
async fn row_210_the_proof_is_of_the_key_that_the_token_is_bound_to() {
    let pair = Pair::new();
    let token = pair.bound();
    let other = proof(&key(Algorithm::Es256), &json!({}), &token, json!({}));
    let expected = refused("invalid_token", "the token is bound to another key");
    assert_eq!(send(&pair.api(), with_proof(&token, &other)).await, expected);
}

#[tokio::test(start_paused = true)]
async fn row_211_a_token_that_is_bound_to_a_key_is_no_bearer_token() {
    let pair = Pair::new();
    let api = pair.api();
    let token = pair.bound();
    let proof = pair.proof(&token, json!({}));
    let bearer = with_error(BEARER, "invalid_token", "the token is bound to a key");
    let expected = (401, vec![bearer, PLAIN.to_owned()]);
    let authorization = format!("Bearer {token}");
    let alone = get(&[("Authorization", &*authorization)]);
    assert_eq!(send(&api, alone).await, expected);
    let proved = get(&[("Authorization", &*authorization), ("DPoP", &*proof)]);
    assert_eq!(send(&api, proved).await, expected);
    let verifier = pair.builder().resource_url("https://api.example").build().unwrap();
    assert_eq!(verifier.verify(&token, verifier.now()).await, Err(Rejection::Bound));
}

#[tokio::test(start_paused = true)]
async fn row_212_a_token_that_is_not_bound_is_not_sent_as_one_that_is() {
    let pair = Pair::new();
    let token = issued(&pair.issuer, &claims());
    let request = with_proof(&token, &pair.proof(&token, json!({})));
    let expected = refused("invalid_token", "the token is not bound to a key");
    assert_eq!(send(&pair.api(), request).await, expected);
}

#[tokio::test(start_paused = true)]
async fn row_195_what_is_wrong_with_the_token_is_told_in_the_scheme_that_was_used() {
    let pair = Pair::new();
    let api = pair.api();
    let request = with_proof("abc", &pair.proof("abc", json!({})));
    let expected = refused("invalid_token", "the token is not valid");
    assert_eq!(send(&api, request).await, expected);
    let bearer = with_error(BEARER, "invalid_token", "the token is not valid");
    let sent = send(&api, get(&[("Authorization", "Bearer abc")])).await;
    assert_eq!(sent, (401, vec![bearer, PLAIN.to_owned()]));
    let bare = (401, vec![BEARER.to_owned(), PLAIN.to_owned()]);
    assert_eq!(send(&api, get(&[])).await, bare);
    let malformed = send(&api, get(&[("Authorization", "DPoP a b")])).await;
    assert_eq!(malformed.0, 400);
    assert!(malformed.1[0].starts_with("DPoP realm=\"api\", error=\"invalid_request\""));
}

fn nonce(response: &Response<Body>) -> Option<String> {
    let mut nonces = response.headers().get_all("dpop-nonce").iter();
    let nonce = nonces.next().map(|nonce| nonce.to_str().unwrap().to_owned());
    assert!(nonces.next().is_none(), "one DPoP-Nonce");
    nonce
}

#[tokio::test(start_paused = true)]
async fn row_214_row_215_row_216_row_221_nonces_are_asked_for_and_renewed() {
    let pair = Pair::new();
    let replica = |nonce_key: u8| {
        let builder = pair.builder().resource_url("https://api.example");
        anything(builder.dpop_nonces(&[nonce_key; 32]).build().unwrap().layer())
    };
    let (one, two, stranger) = (replica(1), replica(1), replica(2));
    let token = pair.bound();
    let request = |secs: u64, nonce: Option<&str>| {
        let claims = json!({ "iat": START + secs, "nonce": nonce });
        with_proof(&token, &pair.proof(&token, claims))
    };
    let needed = refused("use_dpop_nonce", "the proof needs the nonce that is given here");

    let response = raw(&one, request(0, None)).await;
    assert_eq!(outcome(&response), needed);
    assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
    let first = nonce(&response).unwrap();
    let mut at = 0;
    for (api, secs, expected, renews) in [
        (&one, 0, 200, false),
        (&two, 0, 200, false),
        (&stranger, 0, 401, true),
        (&two, 149, 200, false),
        (&two, 150, 200, true),
        (&one, 299, 200, true),
        (&one, 300, 401, true),
    ] {
        tokio::time::advance(Duration::from_secs(secs - at)).await;
        at = secs;
        let response = raw(api, request(secs, Some(&first))).await;
        assert_eq!(response.status(), expected, "{secs}");
        assert_eq!(nonce(&response).is_some(), renews, "{secs}");
        if let Some(fresh) = nonce(&response) {
            assert_eq!(send(api, request(secs, Some(&fresh))).await, ok(), "{secs}");
        }
    }
    // Row 216: that one was accepted before does not help a proof without.
    assert_eq!(send(&one, request(300, None)).await, needed);
    assert_eq!(send(&one, request(300, Some("x"))).await, needed);
}

#[tokio::test(start_paused = true)]
async fn row_214_a_proof_that_lacks_a_nonce_is_not_used_up_and_a_bearer_token_needs_none() {
    let pair = Pair::new();
    let builder = pair.builder().resource_url("https://api.example").dpop_nonces(&[1; 32]);
    let verifier = builder.build().unwrap();
    let api = anything(verifier.layer());
    let token = pair.bound();
    let proof = pair.proof(&token, json!({}));
    for _ in 0..2 {
        let (_, challenges) = send(&api, with_proof(&token, &proof)).await;
        assert!(challenges[0].contains("error=\"use_dpop_nonce\""), "{challenges:?}");
    }
    let nonce = verifier.dpop_nonce(verifier.now()).unwrap();
    let proof = pair.proof(&token, json!({ "nonce": nonce }));
    assert_eq!(send(&api, with_proof(&token, &proof)).await, ok());
    let plain = issued(&pair.issuer, &claims());
    let response = raw(&api, get(&[("Authorization", &format!("Bearer {plain}"))])).await;
    assert_eq!((outcome(&response), self::nonce(&response)), (ok(), None));
}

#[tokio::test(start_paused = true)]
async fn row_291_where_tokens_must_be_bound_a_plain_one_is_refused() {
    let pair = Pair::new();
    let strict = pair.builder().resource_url("https://api.example").require_sender_constraint();
    let verifier = strict.build().unwrap();
    let api = anything(verifier.layer());
    let token = pair.bound();
    let plain = issued(&pair.issuer, &claims());
    let bearer = with_error(BEARER, "invalid_token", "the token is not bound to its sender");
    let authorization = format!("Bearer {plain}");
    let sent = send(&api, get(&[("Authorization", &*authorization)])).await;
    assert_eq!(sent, (401, vec![bearer, PLAIN.to_owned()]));
    assert_eq!(verifier.verify(&plain, verifier.now()).await, Err(Rejection::Unbound));
    // Each call is checked, and nobody is invited to send a bearer token.
    let proof = pair.proof(&token, json!({}));
    assert_eq!(send(&api, with_proof(&token, &proof)).await, ok());
    let (status, challenges) = send(&api, with_proof(&token, &proof)).await;
    let again = with_error(PLAIN, "invalid_dpop_proof", "the proof was presented before");
    assert_eq!((status, challenges), (401, vec![again]));
    assert_eq!(send(&api, get(&[])).await, (401, vec![PLAIN.to_owned()]));
    // Header transport only.
    let uri = format!("/?access_token={token}");
    let in_query = Request::get(uri).header("DPoP", pair.proof(&token, json!({})));
    let in_query = in_query.body(Body::empty()).unwrap();
    assert_eq!(send(&api, in_query).await, (401, vec![PLAIN.to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn row_224_a_proved_token_needs_its_scope_too() {
    let pair = Pair::new();
    let verifier = pair.builder().resource_url("https://api.example").build().unwrap();
    let api = anything(verifier.layer().require_scope("admin".parse().unwrap()));
    let token = pair.bound();
    let (status, challenges) = send(&api, with_proof(&token, &pair.proof(&token, json!({})))).await;
    assert_eq!(status, 403);
    let dpop = with_error(PLAIN, "insufficient_scope", "the token does not allow this");
    let dpop = dpop.replace("algs=", "scope=\"admin\", algs=");
    assert_eq!(challenges, [dpop, format!("{BEARER}, scope=\"admin\"")]);
}

#[tokio::test(start_paused = true)]
async fn without_a_url_of_its_own_an_api_accepts_no_proof() {
    let pair = Pair::new();
    let api = anything(pair.builder().build().unwrap().layer());
    let token = pair.bound();
    let description = "tokens bound to a key are not accepted";
    let expected = (401, vec![with_error(BEARER, "invalid_token", description)]);
    let proof = pair.proof(&token, json!({}));
    assert_eq!(send(&api, with_proof(&token, &proof)).await, expected);
    let authorization = format!("Bearer {token}");
    assert_eq!(send(&api, get(&[("Authorization", &*authorization)])).await, expected);
}

#[tokio::test(start_paused = true)]
async fn settings_that_cannot_be_meant_are_refused() {
    let pair = Pair::new();
    for bad in [
        "",
        "api.example",
        "/v1",
        "ftp://api.example",
        "https://",
        "https://a@api.example",
        "https://api.example?a",
        "https://api.example/#a",
    ] {
        let built = pair.builder().resource_url(bad).build().map(|_| ());
        assert_eq!(built, Err(BuildError::ResourceUrl(bad.to_owned())), "{bad}");
    }
    let built = [
        pair.builder().dpop_nonces(&[1; 32]).build(),
        pair.builder().dpop_memory(1).build(),
        pair.builder().dpop_store(Shared::default()).build(),
        pair.builder().dpop_algorithms([Algorithm::Es256]).build(),
    ];
    for built in built {
        assert_eq!(built.map(|_| ()), Err(BuildError::NoResourceUrl));
    }
    let none = pair.builder().resource_url("https://api.example").dpop_algorithms([]).build();
    assert_eq!(none.map(|_| ()), Err(BuildError::NoAlgorithm));
}

/// What replicas of an API remember together.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Option<HashSet<ProofId>>>>);

impl ProofStore for Shared {
    fn use_up(
        &self,
        proof: ProofId,
        until: Timestamp,
    ) -> BoxFuture<'_, Result<bool, ProofStoreError>> {
        assert!(until > Timestamp::from_secs(START));
        let mut seen = self.0.lock().unwrap();
        let answer = seen.as_mut().map(|seen| seen.insert(proof)).ok_or_else(|| "down".into());
        Box::pin(async { answer })
    }
}

#[tokio::test(start_paused = true)]
async fn row_207_replicas_with_a_store_accept_a_proof_once_together() {
    let pair = Pair::new();
    let store = Shared::default();
    let replica = || {
        let builder = pair.builder().resource_url("https://api.example");
        anything(builder.dpop_store(store.clone()).build().unwrap().layer())
    };
    let (one, two) = (replica(), replica());
    let token = pair.bound();
    let proof = pair.proof(&token, json!({}));
    // Nobody can say whether it is new: not 401, which would have the client throw its token away.
    let response = raw(&one, with_proof(&token, &proof)).await;
    assert_eq!(outcome(&response), (503, Vec::new()));
    assert_eq!(response.headers()[RETRY_AFTER], "1");
    *store.0.lock().unwrap() = Some(HashSet::new());
    assert_eq!(send(&one, with_proof(&token, &proof)).await, ok());
    let again = bad_proof("the proof was presented before");
    assert_eq!(send(&two, with_proof(&token, &proof)).await, again);
}

#[tokio::test(start_paused = true)]
async fn without_tower_the_same_is_one_call() {
    let pair = Pair::new();
    let verifier = pair.builder().resource_url("https://api.example").build().unwrap();
    let token = pair.bound();
    let request = with_proof(&token, &pair.proof(&token, json!({})));
    let admitted = verifier.verify_request(Head::of(&request), verifier.now()).await.unwrap();
    assert_eq!(admitted.token().subject(), Some("billing"));
    assert!(admitted.token().binding().key.is_some() && admitted.nonce().is_none());
    let again = verifier.verify_request(Head::of(&request), verifier.now()).await;
    assert_eq!(again.err(), Some(Rejection::ProofReused));
    let expired = issued(&pair.issuer, &claims_with("exp", json!(START - 60)));
    let request = with_proof(&expired, &pair.proof(&expired, json!({})));
    let expired = verifier.verify_request(Head::of(&request), verifier.now()).await;
    assert_eq!(expired.err(), Some(Rejection::Expired));
}
