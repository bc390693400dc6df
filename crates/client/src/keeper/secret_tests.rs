//! Secrets that change while a keeper uses them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokenry_core::Secret;

use crate::secret::{ReadSecret, SecretError};
use crate::testing::{Asked, Server, answer, builder_of, grant, grant_alone, pass, refusal};
use crate::token::BoxFuture;
use crate::{Credentials, Error, Keeper, Provider};

/// A secret somewhere else.
#[derive(Clone)]
struct Place(Arc<Mutex<Option<&'static str>>>);

impl Place {
    fn holding(secret: &'static str) -> Self {
        Self(Arc::new(Mutex::new(Some(secret))))
    }

    fn set(&self, secret: Option<&'static str>) {
        *self.0.lock().unwrap() = secret;
    }
}

impl ReadSecret for Place {
    fn read(&self) -> BoxFuture<'_, Result<Secret, SecretError>> {
        let read = self.0.lock().unwrap().map(Secret::new);
        Box::pin(std::future::ready(
            read.ok_or_else(|| SecretError::Empty { place: "it".to_owned() }),
        ))
    }
}

fn provider() -> Provider {
    Provider::at("https://as.example/token")
        .unwrap()
        .with_client_authentication(crate::provider::ClientAuthentication::Post)
}

/// A server that takes one secret, whatever it is at the moment.
fn server(right: &Place, wrong: (u16, &'static str)) -> Server {
    let right = right.clone();
    Server::new(move |asked: &Asked, n| {
        let is_right =
            asked.form.get("client_secret").map(String::as_str) == *right.0.lock().unwrap();
        Ok(match (is_right, asked.refresh_token()) {
            (false, _) => refusal(wrong.0, wrong.1),
            (true, Some(_)) => grant(n, 300),
            (true, None) => grant_alone(n, 300),
        })
    })
}

fn keeper(credentials: Credentials, server: &Server) -> Keeper {
    builder_of(provider(), credentials, server).patience(Duration::ZERO).build().unwrap()
}

async fn renew(keeper: &Keeper) -> Result<String, Error> {
    if let Some(token) = keeper.try_token() {
        keeper.invalidate(&token);
    }
    keeper.token().await.map(|token| token.access_token().expose().to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_changes_where_it_is_kept_is_used_with_the_next_request() {
    let (right, kept) = (Place::holding("one"), Place::holding("one"));
    let server = server(&right, (401, "invalid_client"));
    let keeper = keeper(Credentials::client("acme", kept.clone()), &server);
    renew(&keeper).await.unwrap();
    right.set(Some("two"));
    kept.set(Some("two"));
    renew(&keeper).await.unwrap();
    assert_eq!(server.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_second_secret_is_tried_when_the_first_is_refused_and_then_comes_first() {
    for wrong in [(401, "invalid_client"), (400, "invalid_client"), (401, "unauthorized_client")] {
        let right = Place::holding("one");
        let server = server(&right, wrong);
        let credentials =
            Credentials::client("acme", Secret::new("one")).or_secret(Secret::new("two"));
        let keeper = keeper(credentials, &server);
        renew(&keeper).await.unwrap();
        assert_eq!(server.count(), 1);
        right.set(Some("two"));
        renew(&keeper).await.unwrap();
        assert_eq!(server.count(), 3, "the first is refused, the second is not");
        pass(Duration::from_secs(60)).await;
        renew(&keeper).await.unwrap();
        assert_eq!(server.count(), 4, "the second comes first from then on");
        right.set(Some("neither"));
        pass(Duration::from_secs(60)).await;
        assert!(matches!(renew(&keeper).await, Err(Error::Refused { .. })));
        assert_eq!(server.count(), 6, "two are refused, and no more are tried");
        right.set(Some("two"));
        pass(Duration::from_secs(60)).await;
        renew(&keeper).await.unwrap();
        assert_eq!(server.count(), 7, "the one that was good last still comes first");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_whose_client_is_refused_is_sent_with_the_second_secret() {
    let right = Place::holding("one");
    let place = right.clone();
    let server = Server::new(move |asked: &Asked, n| {
        let is_right =
            asked.form.get("client_secret").map(String::as_str) == *place.0.lock().unwrap();
        Ok(if is_right { grant(n, 300) } else { refusal(401, "invalid_client") })
    });
    let credentials = Credentials::client("acme", Secret::new("one")).or_secret(Secret::new("two"));
    let keeper = keeper(credentials, &server);
    renew(&keeper).await.unwrap();
    right.set(Some("two"));
    renew(&keeper).await.unwrap();
    let sent: Vec<_> =
        server.requests().iter().map(|asked| asked.refresh_token().map(str::to_owned)).collect();
    assert_eq!(sent, [None, Some("r1".to_owned()), Some("r1".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_grant_is_not_asked_for_with_another_secret() {
    let server = Server::new(|_, _| Ok(refusal(400, "invalid_scope")));
    let credentials = Credentials::client("acme", Secret::new("one")).or_secret(Secret::new("two"));
    assert!(renew(&keeper(credentials, &server)).await.is_err());
    assert_eq!(server.count(), 1);
    let server = Server::new(|_, _| Ok(answer(503, "")));
    let credentials = Credentials::client("acme", Secret::new("one")).or_secret(Secret::new("two"));
    assert!(renew(&keeper(credentials, &server)).await.is_err());
    assert_eq!(server.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_secret_nothing_is_sent_and_it_is_tried_again() {
    let (right, kept) = (Place::holding("one"), Place::holding("one"));
    kept.set(None);
    let server = server(&right, (401, "invalid_client"));
    let keeper = keeper(Credentials::client("acme", kept.clone()), &server);
    assert!(matches!(renew(&keeper).await, Err(Error::Secret(_))));
    assert_eq!(server.count(), 0);
    kept.set(Some("one"));
    pass(Duration::from_secs(60)).await;
    renew(&keeper).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_cannot_be_read_does_not_stand_in_the_way_of_the_other() {
    let (right, kept) = (Place::holding("two"), Place::holding("one"));
    kept.set(None);
    let server = server(&right, (401, "invalid_client"));
    let credentials = Credentials::client("acme", kept).or_secret(Secret::new("two"));
    renew(&keeper(credentials, &server)).await.unwrap();
    assert_eq!(server.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn that_the_second_secret_cannot_be_read_hides_no_refusal_of_the_first() {
    let second = Place::holding("two");
    second.set(None);
    let server = server(&Place::holding("neither"), (401, "invalid_client"));
    let credentials = Credentials::client("acme", Secret::new("one")).or_secret(second);
    let outcome = renew(&keeper(credentials, &server)).await;
    assert!(matches!(outcome, Err(Error::Refused { .. })), "{outcome:?}");
    assert_eq!(server.count(), 1);
}
