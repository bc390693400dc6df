//! A keeper that follows the feed of a real server, whose operator revokes its tokens.

use std::time::Duration;

use tokenry_client::{FeedState, Keeper, KeeperConfig, SecretSource};
use tokenry_verifier::{FeedSettings, Rejection, Verifier};

use crate::run::Place;
use crate::server::Server;

const ISSUER: &str = "https://localhost:8443";

/// The example realm, and an API that may know of everything that is revoked.
fn place() -> (Place, Server) {
    let place = Place::new();
    let realm = place.read("realm.toml");
    let api = format!("[[realm.clients]]\nid = \"api\"\ngrants = []\nintrospects = [\"{ISSUER}\"]");
    place.write("realm.toml", &format!("{realm}\n{api}\n"));
    place.run(["apply", "realm.toml"]).good();
    for (client, to) in [("first", "secret"), ("api", "api.secret")] {
        place.run(["client", "secret", "add", "example", client, "--to", to]).good();
    }
    let server = Server::start(&place);
    (place, server)
}

async fn keeper(place: &Place, server: &Server) -> Keeper {
    let config = KeeperConfig {
        issuer: Some(ISSUER.to_owned()),
        client_id: Some("first".to_owned()),
        client_secret: vec![SecretSource::File(place.path("secret"))],
        scope: Some("write".to_owned()),
        follow_revocations: true,
        cacert: Some(place.path("ca.pem")),
        connect_to: vec![format!("localhost:8443:{}", server.address)],
        ..KeeperConfig::default()
    };
    config.build().await.unwrap()
}

fn verifier(place: &Place, server: &Server) -> Verifier {
    Verifier::builder(ISSUER)
        .audience(ISSUER)
        .with_root_certificates(place.read("ca.pem"))
        .connect_to("localhost", server.address.parse().unwrap())
        .feed(FeedSettings::client("api", place.read("api.secret").trim_end()))
        .build()
        .unwrap()
}

/// What takes this long does not come.
async fn until(mut there: impl FnMut() -> bool) {
    let waiting = async {
        while !there() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_revokes_is_replaced_before_an_api_refuses_it() {
    let (place, server) = place();
    let (keeper, verifier) = (keeper(&place, &server).await, verifier(&place, &server));
    let feed = || keeper.metrics().feed.unwrap();
    assert_eq!(feed().state, FeedState::Idle);
    let first = keeper.token().await.unwrap();
    until(|| verifier.is_ready() && feed().state == FeedState::Following).await;
    let now = verifier.now();
    verifier.verify(first.access_token().expose(), now).await.unwrap();

    place.run(["client", "revoke", "example", "first"]).good();
    // Nobody asks, and nobody says 401.
    until(|| keeper.try_token().is_some_and(|token| token.generation() == 2)).await;
    let second = keeper.token().await.unwrap();
    until(|| verifier.metrics().issuers[0].revocations > 0).await;
    let now = verifier.now();
    let refused = verifier.verify(first.access_token().expose(), now).await;
    assert_eq!(refused, Err(Rejection::Revoked));
    // Its successor is good from the start.
    verifier.verify(second.access_token().expose(), now).await.unwrap();
    let metrics = keeper.metrics();
    assert_eq!((metrics.obtained, metrics.refreshed, metrics.unauthorized), (2, 0, 0));
    assert_eq!(feed().revoked, 1);
    // The server ends a feed whose client changes, and takes it up again.
    until(|| feed().state == FeedState::Following).await;

    // A client that is not let in any more has no token, and no feed.
    place.run(["client", "disable", "example", "first"]).good();
    until(|| keeper.try_token().is_none()).await;
    until(|| feed().state == FeedState::NotAllowed).await;
    keeper.token().await.unwrap_err();
}
