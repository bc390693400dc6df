//! Tokens that are bound to a key, and to a resource.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokenry_core::Secret;
use tokenry_core::dpop::ProofKey;
use tokenry_core::jose::{Algorithm, SigningKey, generate};

use super::*;
use crate::provider::ClientAuthentication;
use crate::testing::{
    Asked, Server, answer, builder, builder_of, grant_bound, pass, refusal, with_nonce,
};
use crate::{Defect, Transport, TransportError};

const SECOND: Duration = Duration::from_secs(1);

fn key() -> SigningKey {
    let der = generate(Algorithm::Es256).unwrap();
    SigningKey::from_pkcs8(Algorithm::Es256, der.as_bytes()).unwrap()
}

fn provider() -> Provider {
    Provider::at("https://as.example/token").unwrap().with_issuer("https://as.example")
}

fn credentials() -> Credentials {
    Credentials::client("acme", Secret::new("secret-1"))
}

fn bound(server: &Server) -> KeeperBuilder {
    builder_of(provider(), credentials(), server).dpop()
}

/// Wants a nonce, and gives the n-th request the n-th; from `refusing` on nothing is good enough.
fn demanding(refusing: usize) -> Server {
    let mut current = None;
    Server::new(move |asked: &Asked, n| {
        let good = n < refusing && current.is_some() && asked.proof().nonce == current;
        let nonce = format!("n{n}");
        current = Some(nonce.clone());
        let answer = if good { grant_bound(n, 300) } else { refusal(400, "use_dpop_nonce") };
        Ok(with_nonce(answer, &nonce))
    })
}

#[tokio::test(start_paused = true)]
async fn row_271_each_token_request_carries_a_proof_of_its_own_by_one_key() {
    let server = Server::new(|_, n| Ok(grant_bound(n, 300)));
    let given = key();
    let thumbprint = given.public_jwk().thumbprint_bytes();
    for keeper in [bound(&server), bound(&server).dpop_key(given)] {
        let keeper = keeper.build().unwrap();
        let token = keeper.token().await.unwrap();
        assert_eq!(token.token_type(), "DPoP");
        assert!(token.header().to_str().unwrap().starts_with("DPoP a"));
        assert!(token.header().is_sensitive());
        pass(226 * SECOND).await;
    }
    let proofs: Vec<_> = server.requests().iter().map(Asked::proof).collect();
    assert_eq!(proofs.len(), 4);
    let once: BTreeSet<_> = proofs.iter().map(|proof| proof.once.id.0).collect();
    assert_eq!(once.len(), 4);
    assert_eq!(proofs[0].key, proofs[1].key);
    assert_eq!((proofs[2].key, proofs[3].key), (thumbprint, thumbprint));
}

#[tokio::test(start_paused = true)]
async fn row_271_a_wish_for_a_nonce_is_granted_once() {
    let server = demanding(usize::MAX);
    let keeper = bound(&server).build().unwrap();
    let token = keeper.token().await.unwrap();
    assert_eq!((token.access_token().expose(), server.count()), ("a2", 2));
    let nonces: Vec<_> = server.requests().iter().map(|asked| asked.proof().nonce).collect();
    assert_eq!(nonces, [None, Some("n1".to_owned())]);

    let never = demanding(0);
    let keeper = bound(&never).patience(Duration::ZERO).build().unwrap();
    let error = keeper.token().await.unwrap_err();
    assert!(error.to_string().contains("use_dpop_nonce"), "{error}");
    assert_eq!(never.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn row_215_row_216_the_newest_nonce_is_used_next_time() {
    let server = demanding(usize::MAX);
    let keeper = bound(&server).build().unwrap();
    keeper.token().await.unwrap();
    // The second nonce came with a token; the refresh uses it and so is not refused.
    pass(226 * SECOND).await;
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    assert_eq!(requests[2].refresh_token(), Some("r2"));
    assert_eq!(requests[2].proof().nonce.as_deref(), Some("n2"));
    assert_eq!(keeper.try_token().unwrap().access_token().expose(), "a3");
}

#[tokio::test(start_paused = true)]
async fn row_216_a_refusal_without_a_nonce_is_not_answered_at_once() {
    let server = Server::new(|_, _| Ok(refusal(400, "use_dpop_nonce")));
    let keeper = bound(&server).patience(Duration::ZERO).build().unwrap();
    keeper.token().await.unwrap_err();
    assert_eq!(server.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn row_271_a_server_that_is_never_content_costs_no_refresh_token() {
    let server = demanding(3);
    let keeper = bound(&server).build().unwrap();
    let mut events = keeper.events();
    keeper.token().await.unwrap();
    pass(227 * SECOND).await;
    let requests = server.requests();
    assert!(requests.len() >= 4);
    assert!(requests[2..].iter().all(|asked| asked.refresh_token() == Some("r2")));
    while let Ok(event) = events.try_recv() {
        assert!(!matches!(event, Event::FellBackToCredentials));
    }
}

#[tokio::test(start_paused = true)]
async fn row_220_a_bearer_token_for_a_dpop_request_is_discarded() {
    let server = Server::granting(300);
    let keeper = bound(&server).build().unwrap();
    let error = keeper.token().await.unwrap_err();
    assert!(matches!(error, Error::Unusable { what: Defect::NotBound, .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "the token endpoint answered 200: the token is not bound to the DPoP key: its type is Bearer"
    );
    assert!(keeper.try_token().is_none());
    assert_eq!(server.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_key_there_is_no_proof_and_no_bound_token() {
    let server = Server::new(|_, n| Ok(with_nonce(grant_bound(n, 300), "n1")));
    let keeper = builder_of(provider(), credentials(), &server).build().unwrap();
    let error = keeper.token().await.unwrap_err();
    assert!(matches!(error, Error::Unusable { what: Defect::TokenType(_), .. }), "{error}");
    assert!(!server.requests()[0].headers.contains_key("dpop"));
}

#[tokio::test(start_paused = true)]
async fn row_270_a_repeated_request_has_another_assertion() {
    let server = demanding(usize::MAX);
    let credentials = Credentials::private_key("acme", key());
    let keeper = builder_of(provider(), credentials, &server).dpop().build().unwrap();
    keeper.token().await.unwrap();
    let assertions: BTreeSet<_> =
        server.requests().iter().map(|asked| asked.form["client_assertion"].clone()).collect();
    assert_eq!(assertions.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn row_270_a_key_without_an_issuer_is_told_before_anything_is_sent() {
    let server = Server::granting(300);
    let provider = Provider::at("https://as.example/token").unwrap();
    let keeper = builder_of(provider, Credentials::private_key("acme", key()), &server).build();
    assert!(matches!(keeper.unwrap_err(), BuildError::NoIssuer { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_provider_gets_the_kind_of_credentials_that_it_takes() {
    let server = Server::granting(300);
    let needed = |method, credentials| {
        let provider = provider().with_client_authentication(method);
        let error = builder_of(provider, credentials, &server).build().unwrap_err();
        error.to_string().split(" needs ").last().unwrap().to_owned()
    };
    let key_credentials = || Credentials::private_key("acme", key());
    for wrong in [credentials(), Credentials::certificate("acme")] {
        let needed = needed(ClientAuthentication::PrivateKeyJwt, wrong);
        assert_eq!(needed, "a client id and a private key");
    }
    for wrong in [credentials(), key_credentials()] {
        let needed = needed(ClientAuthentication::TlsClientAuth, wrong);
        assert_eq!(needed, "a client id and a certificate");
    }
}

#[tokio::test(start_paused = true)]
async fn row_270_an_assertion_that_is_echoed_is_not_shown() {
    let server = Server::new(|asked, _| {
        let assertion = &asked.form["client_assertion"];
        let body = format!(r#"{{"error":"invalid_client","error_description":"bad {assertion}"}}"#);
        Ok(answer(401, &body))
    });
    let credentials = Credentials::private_key("acme", key());
    let keeper = builder_of(provider(), credentials, &server).build().unwrap();
    let error = keeper.token().await.unwrap_err();
    assert!(error.to_string().ends_with("(not shown, since it repeats a secret)"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn row_272_two_resources_are_two_keepers_with_tokens_of_their_own() {
    let server = Server::granting(300);
    let keeper = |resource: &str| {
        let builder = builder_of(provider(), credentials(), &server);
        builder.resource(resource).build().unwrap()
    };
    let (one, two) = (keeper("https://one.example/"), keeper("urn:example:two"));
    let (first, second) = (one.token().await.unwrap(), two.token().await.unwrap());
    assert_ne!(first.access_token(), second.access_token());
    pass(226 * SECOND).await;
    let asked: Vec<_> =
        server.requests().iter().map(|asked| asked.form["resource"].clone()).collect();
    let expected = ["https%3A%2F%2Fone.example%2F", "urn%3Aexample%3Atwo"];
    assert_eq!(asked, [expected, expected].concat());
}

#[tokio::test(start_paused = true)]
async fn row_272_what_is_no_resource_is_told_before_anything_is_sent() {
    let server = Server::granting(300);
    for (resource, good) in [
        ("https://api.example/v1?a=b", true),
        ("urn:example:api", true),
        ("https://api.example/#a", false),
        ("/v1", false),
        ("api.example", false),
        ("1:a", false),
        (":a", false),
        ("https:", false),
        ("https://api.example/a b", false),
        ("", false),
    ] {
        let keeper = builder("truphone", &server).resource(resource).build();
        assert_eq!(keeper.is_ok(), good, "{resource}");
    }
}

/// A server that wants certificates, over a transport that has one.
struct Certified(Server);

impl Transport for Certified {
    fn send(
        &self,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        self.0.send(request)
    }

    fn has_client_certificate(&self) -> bool {
        true
    }
}

#[tokio::test(start_paused = true)]
async fn row_093_a_keeper_with_a_certificate_asks_where_certificates_are_asked_for() {
    let metadata = br#"{"issuer":"https://as.example","token_endpoint":"https://as.example/token",
        "mtls_endpoint_aliases":{"token_endpoint":"https://mtls.as.example:8443/token"}}"#;
    let provider = Provider::from_metadata("https://as.example", metadata).unwrap();
    let server = Server::granting(300);
    let builder = |credentials| builder_of(provider.clone(), credentials, &server);

    let without = builder(credentials()).build().unwrap();
    without.token().await.unwrap();
    for credentials in [credentials(), Credentials::certificate("acme")] {
        let with = builder(credentials).transport(Certified(server.clone())).build().unwrap();
        with.token().await.unwrap();
    }
    let urls: Vec<_> = server.requests().into_iter().map(|asked| asked.url).collect();
    let mtls = "https://mtls.as.example:8443/token";
    assert_eq!(urls, ["https://as.example/token", mtls, mtls]);

    let error = builder(Credentials::certificate("acme")).build().unwrap_err();
    assert!(error.to_string().ends_with("needs a transport with a client certificate"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn row_093_a_proof_over_mtls_is_for_the_alias() {
    let metadata = br#"{"issuer":"https://as.example","token_endpoint":"https://as.example/token",
        "mtls_endpoint_aliases":{"token_endpoint":"https://mtls.as.example/token?a=b"}}"#;
    let provider = Provider::from_metadata("https://as.example", metadata).unwrap();
    let server = Server::new(|_, n| Ok(grant_bound(n, 300)));
    let builder = builder_of(provider, credentials(), &server);
    let keeper = builder.transport(Certified(server.clone())).dpop().build().unwrap();
    keeper.token().await.unwrap();
    // Checked against the URL that was asked.
    let proof = server.requests()[0].proof();
    assert_eq!(proof.nonce, None);
}

#[test]
fn a_proof_key_is_shown_by_its_thumbprint() {
    let key = ProofKey::new(key()).unwrap();
    let thumbprint = key.thumbprint();
    let dpop = crate::dpop::Dpop::new(key, Arc::new(crate::clock::system));
    assert_eq!(format!("{dpop:?}"), format!("Dpop {{ key: {thumbprint:?}, .. }}"));
}
