//! The server's revocation feed, at an API that follows it.

use std::time::Duration;

use tokenry_test_server::Relay;
use tokenry_verifier::{AccessToken, FeedMetrics, FeedSettings, Rejection, Verifier, WhenBehind};

use crate::run::Place;
use crate::server::{Server, token};

const ISSUER: &str = "https://localhost:8443";

/// More than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// The example realm, with a client that is told of everything.
fn place() -> (Place, Server) {
    let place = Place::new();
    let api = format!("[[realm.clients]]\nid = \"api\"\ngrants = []\nintrospects = [\"{ISSUER}\"]");
    place.write("realm.toml", &format!("{}\n{api}\n", place.read("realm.toml")));
    place.run(["apply", "realm.toml"]).good();
    for (client, to) in [("first", "secret"), ("api", "api.secret")] {
        place.run(["client", "secret", "add", "example", client, "--to", to]).good();
    }
    let server = Server::start(&place);
    (place, server)
}

/// An API that follows the feed through a relay, and lets nobody in before it has been heard.
struct Api {
    relay: Relay,
    verifier: Verifier,
}

impl Api {
    async fn start(place: &Place, server: &Server) -> Self {
        let api = Self::of("api", "api.secret", place, server).await;
        api.until(|api| api.verifier.is_ready()).await;
        api
    }

    /// One that follows as this client.
    async fn of(client: &str, secret: &str, place: &Place, server: &Server) -> Self {
        let relay = Relay::start(server.address.parse().unwrap()).await.unwrap();
        let settings = FeedSettings::client(client, place.read(secret).trim_end());
        let verifier = Verifier::builder(ISSUER)
            .audience(ISSUER)
            .with_root_certificates(place.read("ca.pem"))
            .connect_to("localhost", relay.address())
            .feed(settings.when_behind(WhenBehind::Refuse))
            .build()
            .unwrap();
        Self { relay, verifier }
    }

    fn feed(&self) -> FeedMetrics {
        self.verifier.metrics().issuers.remove(0).feed.unwrap()
    }

    /// Waits for something that comes by itself.
    async fn until(&self, is_so: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !is_so(self) {
                tokio::task::yield_now().await;
            }
        };
        let came = tokio::time::timeout(LONG, waiting).await;
        assert!(came.is_ok(), "it did not come: {:?}", self.verifier.metrics());
    }

    async fn verify(&self, token: &str) -> Result<std::sync::Arc<AccessToken>, Rejection> {
        self.verifier.verify(token, self.verifier.now()).await
    }

    /// Waits until a token is refused, and says why.
    async fn refusal(&self, token: &str) -> Rejection {
        let waiting = async {
            loop {
                if let Err(rejection) = self.verify(token).await {
                    return rejection;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, waiting).await.unwrap()
    }
}

/// A token of client `first`.
fn obtain(place: &Place, server: &Server) -> String {
    token(place, server, &[]).good().out.trim().to_owned()
}

/// Gives a token back (RFC 7009), as its client does.
fn revoke(place: &Place, server: &Server, token: &str) {
    place.write("revoked", token);
    let url = format!("https://{}/revoke", server.address.replace("127.0.0.1", "localhost"));
    let output = std::process::Command::new("curl")
        .args(["-s", "--cacert", "ca.pem", "-w", "%{http_code}", "-d", "client_id=first"])
        .args(["--data-urlencode", "client_secret@secret"])
        .args(["--data-urlencode", "token@revoked", &url])
        .current_dir(place.path(""))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "200");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_follows_refuses_what_is_revoked() {
    let (place, server) = place();
    let api = Api::start(&place, &server).await;
    let (first, second) = (obtain(&place, &server), obtain(&place, &server));
    for token in [&first, &second] {
        assert!(api.verify(token).await.is_ok());
    }
    revoke(&place, &server, &first);
    assert_eq!(api.refusal(&first).await, Rejection::Revoked);
    assert!(api.verify(&second).await.is_ok(), "nobody revoked that one");
    // By another process, for all that the client has.
    place.run(["client", "revoke", "example", "first"]).good();
    assert_eq!(api.refusal(&second).await, Rejection::Revoked);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_issued_right_after_others_have_ended_is_good_at_an_api_that_follows() {
    let (place, server) = place();
    let api = Api::start(&place, &server).await;
    let old = obtain(&place, &server);
    assert!(api.verify(&old).await.is_ok());
    place.run(["client", "disable", "example", "first"]).good();
    assert_eq!(api.refusal(&old).await, Rejection::Revoked);
    place.run(["client", "enable", "example", "first"]).good();
    let new = loop {
        let answer = token(&place, &server, &[]);
        if answer.code == Some(0) {
            break answer.out.trim().to_owned();
        }
    };
    assert!(api.verify(&new).await.is_ok(), "it is none of those that had ended");
    assert_eq!(api.verify(&old).await, Err(Rejection::Revoked));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_ends_one_token_or_all_of_a_realm() {
    let (place, server) = place();
    let api = Api::start(&place, &server).await;
    let (first, second, third) =
        (obtain(&place, &server), obtain(&place, &server), obtain(&place, &server));
    for token in [&first, &second, &third] {
        assert!(api.verify(token).await.is_ok());
    }
    let ran = place.run_with(["token", "revoke", "--output", "json"], &first).good();
    assert_eq!(ran.json()["realm"], "example");
    assert_eq!(ran.json()["client"], "first");
    assert_eq!(ran.json()["had_ended"], false);
    assert!(!ran.out.contains(&first) && !ran.err.contains(&first));
    assert_eq!(api.refusal(&first).await, Rejection::Revoked);
    // Copied out of a log, into a file.
    place.write("leaked", &format!("Authorization: Bearer {second}\n"));
    place.run(["token", "revoke", "--token-file", "leaked"]).good();
    assert_eq!(api.refusal(&second).await, Rejection::Revoked);
    let again = place.run(["token", "revoke", "--token-file", "leaked"]).good();
    assert!(again.out.contains("had ended already"), "{again:?}");
    assert!(api.verify(&third).await.is_ok(), "nobody revoked that one");

    let given = place.run(["token", "revoke", &third]);
    assert_eq!(given.code, Some(2));
    assert!(!given.err.contains(&third) && given.err.contains("--token-file"), "{given:?}");
    let forged = format!("{}x", third);
    place.run_with(["token", "revoke"], &forged).bad("this is no token of this installation");
    place.run_with(["token", "revoke"], &place.read("secret")).bad("the secret of a client");
    assert!(api.verify(&third).await.is_ok());

    let ran = place.run(["realm", "revoke", "example", "--output", "json"]).good();
    assert_eq!(ran.json()["realm"], "example");
    assert_eq!(api.refusal(&third).await, Rejection::Revoked);
    place.run(["realm", "revoke", "exmaple"]).bad("did you mean `example`?");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_was_cut_off_learns_what_it_has_missed() {
    let (place, server) = place();
    let api = Api::start(&place, &server).await;
    let tokens: Vec<String> = (0..3).map(|_| obtain(&place, &server)).collect();
    for token in &tokens {
        assert!(api.verify(token).await.is_ok());
    }
    revoke(&place, &server, &tokens[0]);
    assert_eq!(api.refusal(&tokens[0]).await, Rejection::Revoked);
    let received = api.feed().received;
    // It says so at once; what it knows goes on to count.
    api.relay.close();
    api.until(|api| !api.feed().following).await;
    revoke(&place, &server, &tokens[1]);
    assert!(api.verify(&tokens[1]).await.is_ok(), "nobody could tell it");
    assert_eq!(api.verify(&tokens[0]).await, Err(Rejection::Revoked));
    // The server that it comes back to is another process, and tells it what it does not know, and nothing twice.
    let (code, log) = server.end();
    assert_eq!(code, Some(0), "{log}");
    let server = Server::start(&place);
    api.relay.lead(server.address.parse().unwrap());
    assert_eq!(api.refusal(&tokens[1]).await, Rejection::Revoked);
    api.until(|api| api.feed().following).await;
    assert_eq!(api.feed().received, received + 1);
    assert!(api.verify(&tokens[2]).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_follows_as_a_client_of_its_own_tokens_lets_nobody_in() {
    let (place, server) = place();
    let api = Api::of("first", "secret", &place, &server).await;
    api.until(|api| api.feed().last_error.is_some()).await;
    assert!(api.feed().last_error.unwrap().contains("of its own tokens alone"));
    let refused = api.verify(&obtain(&place, &server)).await;
    assert!(matches!(refused, Err(Rejection::FeedBehind { .. })), "{refused:?}");
}
