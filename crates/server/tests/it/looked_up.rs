//! Status lists of this server at an API that looks tokens up in them, with time that is wound by hand for both.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokenry_core::realm::Dialect;
use tokenry_core::{Realm, Timestamp};
use tokenry_server::Clock as _;
use tokenry_verifier::{
    BoxFuture, FetchError, Fetched, KeySource, Rejection, StatusListSettings, StatusListSource,
    Verifier,
};

use crate::house::{House, SECRET, basic, billing, client, credential, put_credential, realm};
use crate::keycloak::{TOKEN, keycloak};

const SECOND: Duration = Duration::from_secs(1);
const CC: &str = "grant_type=client_credentials";

/// Fetches from a house, without a network.
#[derive(Clone)]
struct From(Arc<House>);

impl From {
    async fn get(&self, path: &str) -> Result<Bytes, FetchError> {
        let answer = self.0.get(path).await;
        match answer.status.as_u16() {
            200 => Ok(answer.text.into()),
            other => Err(FetchError::Status(other)),
        }
    }
}

impl KeySource for From {
    fn fetch<'a>(&'a self, issuer: &'a str) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        Box::pin(async move {
            let path = match issuer.strip_prefix("https://sso.example") {
                Some(realm) => format!("{realm}/protocol/openid-connect/certs"),
                None => "/jwks".to_owned(),
            };
            Ok(Fetched { body: self.get(&path).await?, max_age: None })
        })
    }
}

impl StatusListSource for From {
    fn fetch<'a>(&'a self, uri: &'a str) -> BoxFuture<'a, Result<Bytes, FetchError>> {
        Box::pin(async move {
            let (_, rest) = uri.split_once("://").unwrap();
            self.get(&rest[rest.find('/').unwrap()..]).await
        })
    }
}

/// An API that trusts this realm.
fn api(house: &Arc<House>, realm: &Realm) -> Verifier {
    let (from, clock) = (From(Arc::clone(house)), Arc::clone(&house.clock));
    let builder = Verifier::builder(realm.issuer.as_str())
        .audience(realm.audience.first().map_or(realm.issuer.as_str(), String::as_str))
        .key_source(from.clone())
        .status_lists(StatusListSettings::source(from))
        .clock(move || -> Timestamp { clock.now() });
    let builder = match realm.dialect {
        Dialect::Keycloak => builder.accept_legacy_typ(),
        _ => builder,
    };
    builder.build().unwrap()
}

async fn ask(api: &Verifier, token: &str) -> Result<(), Rejection> {
    api.verify(token, api.now()).await.map(drop)
}

/// Lets time pass, for the server and for the API.
async fn pass(house: &House, secs: u32) {
    for _ in 0..secs {
        house.clock.advance(SECOND);
        tokio::time::sleep(SECOND).await;
    }
}

async fn house(realm: &Realm) -> Arc<House> {
    let mut changes = vec![tokenry_store::Change::PutRealm(realm.clone())];
    changes.push(tokenry_store::Change::PutClient(client("billing")));
    changes.push(put_credential("billing", credential("cred-000", SECRET)));
    let house = House::with(changes).await;
    let host = realm.issuer.as_str().split('/').nth(2).unwrap().to_owned();
    Arc::new(House { host, ..house })
}

#[tokio::test(start_paused = true)]
async fn row_193_a_token_is_good_then_revoked_then_refused_with_the_next_list() {
    let mut rfc = realm();
    let mut sso = keycloak();
    for (realm, token_path, revoke_path) in
        [(&mut rfc, "/token", "/revoke"), (&mut sso, TOKEN, &*TOKEN.replace("/token", "/revoke"))]
    {
        realm.tokens.status_list = true;
        realm.tokens.refresh = None;
        let (house, headers) = (house(realm).await, basic(&billing()));
        let headers = [("authorization", &*headers)];
        let mut tokens = Vec::new();
        for _ in 0..2 {
            let answer = house.post_to(token_path, &headers, CC).await;
            tokens.push(answer.field("access_token"));
        }
        let api = api(&house, realm);
        for token in &tokens {
            assert_eq!(ask(&api, token).await, Ok(()));
        }
        let revoked = house.post_to(revoke_path, &headers, &format!("token={}", tokens[0])).await;
        assert!(revoked.status.is_success(), "{}", revoked.text);
        // As late as the documents promise, also for a token that is remembered.
        assert_eq!(ask(&api, &tokens[0]).await, Ok(()));
        pass(&house, 60).await;
        assert_eq!(ask(&api, &tokens[0]).await, Err(Rejection::Revoked));
        assert_eq!(ask(&api, &tokens[1]).await, Ok(()));
        let lists = api.metrics().issuers[0].status_lists.clone().unwrap();
        assert_eq!((lists.held, lists.fetches, lists.failed, lists.refused), (1, 2, 0, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn row_193_an_api_keeps_up_with_keys_that_change_and_lists_that_are_signed_late() {
    let mut realm = realm();
    realm.tokens.status_list = true;
    let house = house(&realm).await;
    let api = api(&house, &realm);
    for _ in 0..20 {
        let token = house.token(&billing(), CC).await.field("access_token");
        assert_eq!(ask(&api, &token).await, Ok(()));
        pass(&house, 30).await;
        house.app.look_after_keys().await.unwrap();
    }
    let lists = api.metrics().issuers[0].status_lists.clone().unwrap();
    assert_eq!((lists.held, lists.failed, lists.refused), (1, 0, 0));
}
