//! Client certificates (RFC 8705).

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use http::{Request, StatusCode};
use rcgen::{Certificate, ExtendedKeyUsagePurpose, date_time_ymd};
use serde_json::json;
use tokenry_core::client::Credential;
use tokenry_core::realm::{CertificatePolicy, ClientAuthentication, Dialect, Profile, Rotate};
use tokenry_core::{Client, Particulars, Realm};
use tokenry_server::{Peer, Proxies};
use tokenry_store::Change;

use crate::authority::{
    authority, authority_below, by_itself, by_subject, params, peer, realm_of, revocation_list,
    self_signed, signed,
};
use crate::house::{
    Answer, House, SECRET, basic, billing, client, credential, put_credential, realm, refusal,
};

const CC: &str = "grant_type=client_credentials&client_id=billing";
const SUBJECT: &str = "CN=billing,O=Example";

async fn house(realm: Realm, credentials: Vec<Credential>) -> House {
    let mut changes = vec![Change::PutRealm(realm), Change::PutClient(client("billing"))];
    changes.extend(credentials.into_iter().map(|one| put_credential("billing", one)));
    House::with(changes).await
}

async fn ask(house: &House, chain: &[&Certificate], body: &str) -> Answer {
    house.post_as(&peer(chain), "/token", &[], body).await
}

fn x5t(certificate: &Certificate) -> String {
    BASE64_URL_SAFE_NO_PAD
        .encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate.der()).as_ref())
}

#[tokio::test]
async fn row_084_who_names_nobody_is_nobody() {
    let root = authority("root");
    let own = signed(&params(), &root).0;
    let house = house(realm_of(&[&root], vec![]), vec![by_subject(SUBJECT)]).await;
    let nobody = ask(&house, &[&own], "grant_type=client_credentials").await;
    assert_eq!(nobody.refusal(), refusal(401, "invalid_client"));
    assert_eq!(ask(&house, &[&own], CC).await.status, StatusCode::OK);
    // Nor is the certificate an authentication beside another one.
    let wrong = format!("{CC}&client_secret=x");
    assert_eq!(ask(&house, &[&own], &wrong).await.refusal(), refusal(401, "invalid_client"));
}

#[tokio::test]
async fn row_085_a_chain_to_an_authority_and_the_right_name() {
    let root = authority("root");
    let between = authority_below("between", &root);
    let house = house(realm_of(&[&root], vec![]), vec![by_subject(SUBJECT)]).await;
    let below = signed(&params(), &between).0;
    assert_eq!(ask(&house, &[&below, between.as_ref()], CC).await.status, StatusCode::OK);
    // Without what stands between them nobody sees that the authority vouches for it.
    assert_eq!(ask(&house, &[&below], CC).await.refusal(), refusal(401, "invalid_client"));
    // A certificate that says nothing about what it is for is for everything.
    let mut for_all = params();
    for_all.extended_key_usages.clear();
    assert_eq!(ask(&house, &[&signed(&for_all, &root).0], CC).await.status, StatusCode::OK);
}

#[tokio::test]
async fn row_086_row_036_a_wrong_certificate_and_an_unknown_client_look_the_same() {
    let root = authority("root");
    let own = signed(&params(), &root).0;
    let house = house(realm_of(&[&root], vec![]), vec![by_subject("CN=other,O=Example")]).await;
    let wrong = ask(&house, &[&own], CC).await;
    assert_eq!(wrong.refusal(), refusal(401, "invalid_client"));
    let unknown = ask(&house, &[&own], "grant_type=client_credentials&client_id=nobody").await;
    assert_eq!(wrong, unknown);
    assert_eq!(ask(&house, &[], CC).await, unknown);
}

#[tokio::test]
async fn row_086_a_certificate_of_another_kind_or_authority_is_refused() {
    let (root, other) = (authority("root"), authority("root"));
    let house = house(realm_of(&[&root], vec![]), vec![by_subject(SUBJECT)]).await;
    let mut of_servers = params();
    of_servers.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    for bad in [signed(&of_servers, &root).0, signed(&params(), &other).0, self_signed().0] {
        assert_eq!(ask(&house, &[&bad], CC).await.refusal(), refusal(401, "invalid_client"));
        let with_authority = ask(&house, &[&bad, root.as_ref(), other.as_ref()], CC).await;
        assert_eq!(with_authority.refusal(), refusal(401, "invalid_client"));
    }
}

#[tokio::test]
async fn row_088_a_self_signed_certificate_is_good_by_itself_and_no_other() {
    let (own, other) = (self_signed().0, self_signed().0);
    let house = house(realm_of(&[], vec![]), vec![by_itself(&own)]).await;
    assert_eq!(ask(&house, &[&own], CC).await.status, StatusCode::OK);
    for chain in [&[&other][..], &[&other, &own], &[]] {
        assert_eq!(ask(&house, chain, CC).await.refusal(), refusal(401, "invalid_client"));
    }
    // Where certificates mean nothing, so does this one.
    house.change(vec![Change::PutRealm(realm())]).await;
    assert_eq!(ask(&house, &[&own], CC).await.refusal(), refusal(401, "invalid_client"));
}

#[tokio::test]
async fn row_096_expired_certificates_are_refused_by_our_clock() {
    let root = authority("root");
    let mut ending = params();
    (ending.not_before, ending.not_after) =
        (date_time_ymd(2023, 1, 1), date_time_ymd(2023, 11, 15));
    let own = signed(&ending, &root).0;
    let key = rcgen::KeyPair::generate().unwrap();
    let alone = ending.self_signed(&key).unwrap();
    let credentials = vec![by_subject(SUBJECT), by_itself(&alone)];
    let house = house(realm_of(&[&root], vec![]), credentials).await;
    for certificate in [&own, &alone] {
        assert_eq!(ask(&house, &[certificate], CC).await.status, StatusCode::OK);
    }
    house.clock.advance(std::time::Duration::from_secs(86400));
    for certificate in [&own, &alone] {
        let late = ask(&house, &[certificate], CC).await;
        assert_eq!(late.refusal(), refusal(401, "invalid_client"));
    }
}

#[tokio::test]
async fn row_096_revoked_certificates_are_refused() {
    let (root, second) = (authority("root"), authority("second"));
    let between = authority_below("between", &root);
    let own = signed(&params(), &root).0;
    let below = signed(&params(), &between).0;
    let of_second = signed(&params(), &second).0;
    let chains: [&[&Certificate]; 3] = [&[&own], &[&below, between.as_ref()], &[&of_second]];
    let cases = [
        (vec![], [true; 3]),
        (vec![revocation_list(&root, &[8])], [true; 3]),
        (vec![revocation_list(&root, &[7])], [false, true, true]),
        (vec![revocation_list(&between, &[7])], [true, false, true]),
        // Also where an authority has two lists, whichever of them it is.
        (vec![revocation_list(&root, &[8]), revocation_list(&root, &[7])], [false, true, true]),
        (vec![revocation_list(&root, &[7]), revocation_list(&root, &[])], [false, true, true]),
        (vec![revocation_list(&second, &[7]), revocation_list(&root, &[7])], [false, true, false]),
        // Somebody else has signed it in the name of the authority.
        (vec![revocation_list(&authority("root"), &[])], [false, false, true]),
        (vec!["-----BEGIN X509 CRL-----\n-----END X509 CRL-----".to_owned()], [false; 3]),
    ];
    for (number, (lists, expected)) in cases.into_iter().enumerate() {
        let house = house(realm_of(&[&root, &second], lists), vec![by_subject(SUBJECT)]).await;
        for (chain, good) in chains.iter().zip(expected) {
            let answer = ask(&house, chain, CC).await;
            assert_eq!(answer.status == StatusCode::OK, good, "{number}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn row_090_row_092_a_token_is_bound_to_the_certificate_of_its_client() {
    let root = authority("root");
    let own = signed(&params(), &root).0;
    let secret = credential("cred-001", SECRET);
    let house = house(realm_of(&[&root], vec![]), vec![by_subject(SUBJECT), secret]).await;
    // Not bound, unless the client is registered so.
    let plain = ask(&house, &[&own], CC).await;
    assert_eq!(house.verify(&plain.field("access_token"), "/jwks").await.cnf, None);
    let particulars = Particulars { certificate_bound: true, ..Particulars::default() }.boxed();
    house.change(vec![Change::PutClient(Client { particulars, ..client("billing") })]).await;
    let bound = ask(&house, &[&own], CC).await;
    assert_eq!(bound.field("token_type"), "Bearer");
    let claims = house.verify(&bound.field("access_token"), "/jwks").await;
    let cnf = json!({ "x5t#S256": x5t(&own) });
    assert_eq!(serde_json::Value::from(claims.cnf.unwrap()), cnf);
    // Any authentication will do, and any certificate: it is bound to the one that is there.
    let (other, with_secret) = (self_signed().0, format!("{CC}&client_secret={SECRET}"));
    let other_bound = ask(&house, &[&other], &with_secret).await;
    let claims = house.verify(&other_bound.field("access_token"), "/jwks").await;
    assert_eq!(claims.cnf.unwrap()["x5t#S256"], x5t(&other));
    let without = ask(&house, &[], &with_secret).await;
    assert_eq!(without.refusal(), refusal(400, "invalid_request"));

    let body = format!("client_id=billing&token={}", bound.field("access_token"));
    let told = house.post_as(&peer(&[&own]), "/introspect", &[], &body).await.json();
    assert_eq!((&told["active"], &told["cnf"]), (&true.into(), &cnf));
    let stranger = house.post_as(&peer(&[&other]), "/introspect", &[], &body).await;
    assert_eq!(stranger.refusal(), refusal(401, "invalid_client"));
    let revoked = house.post_as(&peer(&[&own]), "/revoke", &[], &body).await;
    assert_eq!(revoked.status, StatusCode::OK);
    let told = house.post_as(&peer(&[&own]), "/introspect", &[], &body).await.json();
    assert_eq!(told, json!({ "active": false }));
}

#[tokio::test]
async fn row_090_under_fapi_a_certificate_is_as_good_as_a_proof() {
    let root = authority("root");
    let own = signed(&params(), &root).0;
    let fapi = Realm { profile: Profile::Fapi2, ..realm_of(&[&root], vec![]) };
    let house = house(fapi, vec![by_subject(SUBJECT)]).await;
    let bound = ask(&house, &[&own], CC).await;
    let claims = house.verify(&bound.field("access_token"), "/jwks").await;
    assert_eq!(claims.cnf.unwrap()["x5t#S256"], x5t(&own));
}

#[tokio::test]
async fn row_094_the_refresh_token_of_a_public_client_is_its_certificates() {
    let (own, other) = (self_signed().0, self_signed().0);
    for (authentication, bound) in
        [(ClientAuthentication::Optional, true), (ClientAuthentication::Required, false)]
    {
        let mut realm = Realm { client_authentication: authentication, ..realm_of(&[], vec![]) };
        realm.tokens.refresh.as_mut().unwrap().policy = Rotate::Reissue;
        let house = house(realm, vec![credential("cred-001", SECRET)]).await;
        let particulars = Particulars { certificate_bound: true, ..Particulars::default() }.boxed();
        house.change(vec![Change::PutClient(Client { particulars, ..client("billing") })]).await;
        let secret = format!("&client_secret={SECRET}");
        let first = ask(&house, &[&own], &format!("{CC}{secret}")).await;
        let token = first.field("refresh_token");
        let secret = if bound { "" } else { &secret };
        let body =
            format!("grant_type=refresh_token&client_id=billing&refresh_token={token}{secret}");
        let with_other = ask(&house, &[&other], &body).await;
        if bound {
            assert_eq!(with_other.refusal(), refusal(400, "invalid_grant"));
            assert_eq!(ask(&house, &[], &body).await.refusal(), refusal(400, "invalid_grant"));
        } else {
            assert_eq!(with_other.status, StatusCode::OK, "{}", with_other.text);
        }
        let with_own = ask(&house, &[&own], &body).await;
        assert_eq!(with_own.status, StatusCode::OK, "{}", with_own.text);
        let claims = house.verify(&with_own.field("access_token"), "/jwks").await;
        assert_eq!(claims.cnf.unwrap()["x5t#S256"], x5t(&own));
    }
}

/// An address, headers, and the refusal, or a status alone.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a (u16, String));

#[tokio::test]
async fn row_095_a_header_is_believed_from_a_trusted_proxy_alone() {
    let root = authority("root");
    let between = authority_below("between", &root);
    let own = signed(&params(), &root).0;
    let below = signed(&params(), &between).0;
    let of_proxy = signed(&params(), &root).0;
    let changes = vec![
        Change::PutRealm(realm_of(&[&root], vec![])),
        Change::PutClient(client("billing")),
        put_credential("billing", by_subject(SUBJECT)),
    ];
    let header = Some(http::HeaderName::from_static("client-cert"));
    let proxies = Proxies::new(vec!["10.0.0.0/8".parse().unwrap()], header);
    let house = House::behind(proxies, changes).await;
    let value =
        |certificate: &Certificate| format!(":{}:", BASE64_STANDARD.encode(certificate.der()));
    let (own, chain) = (value(&own), [value(&below), value(between.as_ref())]);
    let from = |ip: &str| Peer::from(ip.parse::<std::net::IpAddr>().unwrap());
    let ok = (200, String::new());
    let client = refusal(401, "invalid_client");
    let request = refusal(400, "invalid_request");
    let cases: [Case<'_>; 11] = [
        ("10.1.2.3", &[("client-cert", &own)], &ok),
        ("::ffff:10.1.2.3", &[("client-cert", &own)], &ok),
        ("11.1.2.3", &[("client-cert", &own)], &client),
        ("127.0.0.1", &[("client-cert", &own)], &client),
        ("10.1.2.3", &[("x-client-cert", &own)], &client),
        ("10.1.2.3", &[("x-forwarded-for", "10.1.2.3")], &client),
        ("11.1.2.3", &[("client-cert", &own), ("x-forwarded-for", "10.1.2.3")], &client),
        ("10.1.2.3", &[("client-cert", "")], &client),
        ("10.1.2.3", &[("client-cert", "x")], &request),
        ("10.1.2.3", &[("client-cert", &chain[0])], &client),
        ("10.1.2.3", &[("client-cert", &chain[0]), ("client-cert-chain", &chain[1])], &ok),
    ];
    for (ip, headers, (status, code)) in cases {
        let answer = house.post_as(&from(ip), "/token", headers, CC).await;
        assert_eq!(answer.status.as_u16(), *status, "{ip} {headers:?}: {}", answer.text);
        if !code.is_empty() {
            assert_eq!(answer.field("error"), *code);
        }
    }
    // Of two, one may be the client's own.
    let twice = [("client-cert", own.as_str()), ("client-cert", &own)];
    let refused = house.post_as(&from("10.1.2.3"), "/token", &twice, CC).await;
    assert_eq!(refused.refusal(), request);
    let ignored = house.post_as(&from("11.1.2.3"), "/token", &twice, CC).await;
    assert_eq!(ignored.refusal(), client);
    // The certificate of the proxy's own connection is not that of its client.
    let proxy = Peer { ip: "10.1.2.3".parse().unwrap(), ..peer(&[&of_proxy]) };
    assert_eq!(house.post_as(&proxy, "/token", &[], CC).await.refusal(), client);
    let elsewhere = peer(&[&of_proxy]);
    assert_eq!(house.post_as(&elsewhere, "/token", &[], CC).await.status, StatusCode::OK);
}

#[tokio::test]
async fn row_093_row_167_metadata_says_what_certificates_are_good_for() {
    const METADATA: &str = "/.well-known/oauth-authorization-server";
    let root = authority("root");
    let without = House::of(realm()).await.get(METADATA).await;
    assert!(!without.text.contains("tls_client"), "{}", without.text);
    assert!(!without.text.contains("mtls"), "{}", without.text);
    let mut realm = realm_of(&[&root], vec![]);
    let house = house(realm.clone(), vec![by_subject(SUBJECT)]).await;
    let metadata = house.get(METADATA).await.json();
    assert_eq!(metadata["tls_client_certificate_bound_access_tokens"], true);
    assert_eq!(metadata["mtls_endpoint_aliases"], json!(null));

    realm.certificates.as_mut().unwrap().origin = Some("https://mtls.example:8444".into());
    house.change(vec![Change::PutRealm(realm)]).await;
    let metadata = house.get(METADATA).await.json();
    assert_eq!(metadata["token_endpoint"], "https://auth.example/token");
    let aliases = json!({
        "token_endpoint": "https://mtls.example:8444/token",
        "introspection_endpoint": "https://mtls.example:8444/introspect",
        "revocation_endpoint": "https://mtls.example:8444/revoke",
        "revocation_feed_endpoint": "https://mtls.example:8444/revocations",
    });
    assert_eq!(metadata["mtls_endpoint_aliases"], aliases);
    // And there the realm answers, as the same issuer.
    let own = signed(&params(), &root).0;
    let there = House { host: "mtls.example:8444".into(), ..house };
    let token = ask(&there, &[&own], CC).await.field("access_token");
    let claims = there.verify(&token, "/jwks").await;
    assert_eq!(claims.iss.as_deref(), Some("https://auth.example"));
    let body = format!("client_id=billing&token={token}");
    let by_url = Request::get("/revocations?client_id=billing").header("host", &there.host);
    let (parts, ()) = by_url.body(()).unwrap().into_parts();
    let followed = there.app.handle(&parts, b"", &peer(&[&own]), "test").await;
    assert_eq!(followed.status(), StatusCode::OK);
    for path in ["/introspect", "/revoke"] {
        let answer = there.post_as(&peer(&[&own]), path, &[], &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn row_088_keycloak_takes_certificates_too() {
    let own = self_signed().0;
    let realm = Realm {
        issuer: "https://sso.example/realms/k".parse().unwrap(),
        dialect: Dialect::Keycloak,
        certificates: Some(CertificatePolicy {
            origin: Some("https://mtls.example".into()),
            ..CertificatePolicy::default()
        }),
        ..realm()
    };
    let house = house(realm, vec![by_itself(&own)]).await;
    let path = "/realms/k/protocol/openid-connect/token";
    assert_eq!(house.post_as(&peer(&[&own]), path, &[], CC).await.status, StatusCode::OK);
    let wrong = house.post_as(&peer(&[&self_signed().0]), path, &[], CC).await;
    let other = "grant_type=client_credentials&client_id=nobody";
    let unknown = house.post_as(&peer(&[&own]), path, &[], other).await;
    assert_eq!(wrong.refusal(), refusal(401, "invalid_client"));
    assert_eq!(wrong, unknown);
    let metadata = house.get("/realms/k/.well-known/openid-configuration").await;
    let alias = "https://mtls.example/realms/k/protocol/openid-connect/token";
    assert_eq!(metadata.json()["mtls_endpoint_aliases"]["token_endpoint"], alias);
    // In Keycloak's order.
    let members = [
        "request_uri_parameter_supported",
        "tls_client_certificate_bound_access_tokens",
        "dpop_signing_alg_values_supported",
        "revocation_endpoint_auth_signing_alg_values_supported",
        "mtls_endpoint_aliases",
    ];
    let places = members.map(|name| metadata.text.find(&format!("\"{name}\"")));
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{}", metadata.text);
    let aliases = ["token", "revocation", "introspection"];
    let places = aliases.map(|name| metadata.text.rfind(&format!("\"{name}_endpoint\"")));
    assert!(places.is_sorted(), "{}", metadata.text);
}

#[tokio::test]
async fn a_certificate_changes_nothing_for_who_has_a_secret() {
    let own = self_signed().0;
    let house = house(realm_of(&[], vec![]), vec![credential("cred-001", SECRET)]).await;
    let header = basic(&billing());
    let headers = [("authorization", header.as_str())];
    let body = "grant_type=client_credentials";
    let answer = house.post_as(&peer(&[&own]), "/token", &headers, body).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(ask(&house, &[&own], CC).await.refusal(), refusal(401, "invalid_client"));
}
