//! Opaque tokens of the server, at an API that asks about them.

use tokenry_verifier::{IntrospectionSettings, Rejection, Verifier};

use crate::run::Place;
use crate::server::{Server, token};

const ISSUER: &str = "https://localhost:8443";

/// The example realm with opaque tokens, and a client that may ask about them.
fn place() -> (Place, Server) {
    let place = Place::new();
    let realm = place.read("realm.toml").replace("[realm.tokens]", "[realm.tokens]\nopaque = true");
    let api = format!("[[realm.clients]]\nid = \"api\"\ngrants = []\nintrospects = [\"{ISSUER}\"]");
    place.write("realm.toml", &format!("{realm}\n{api}\n"));
    place.run(["apply", "realm.toml"]).good();
    for (client, to) in [("first", "secret"), ("api", "api.secret")] {
        place.run(["client", "secret", "add", "example", client, "--to", to]).good();
    }
    let server = Server::start(&place);
    (place, server)
}

/// An API that asks in this way.
fn verifier(place: &Place, server: &Server, settings: IntrospectionSettings) -> Verifier {
    Verifier::builder(ISSUER)
        .audience(ISSUER)
        .with_root_certificates(place.read("ca.pem"))
        .connect_to("localhost", server.address.parse().unwrap())
        .introspection(settings)
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opaque_token_is_let_in_by_an_api_that_asks() {
    let (place, server) = place();
    let text = token(&place, &server, &["--scope", "write"]).good().out;
    let text = text.trim();
    assert!(text.starts_with("tka_"), "{text}");
    let secret = place.read("api.secret").trim_end().to_owned();
    for settings in [
        IntrospectionSettings::basic("api", secret.clone()),
        IntrospectionSettings::post("api", secret),
    ] {
        let verifier = verifier(&place, &server, settings.opaque_prefix("tka_"));
        let found = verifier.verify(text, verifier.now()).await.unwrap();
        assert_eq!((found.client_id(), found.subject()), (Some("first"), Some("first")));
        assert_eq!(found.scope().as_str(), "write");
        assert!(found.jti().is_some());
        let other = verifier.verify(&format!("{text}x"), verifier.now()).await;
        assert_eq!(other, Err(Rejection::Inactive));
    }
    // An API that nobody knows learns nothing, and keeps nobody's token from being tried again.
    let stranger = verifier(&place, &server, IntrospectionSettings::basic("api", "tks_wrong"));
    let refused = stranger.verify(text, stranger.now()).await;
    assert!(matches!(refused, Err(Rejection::Unavailable { .. })), "{refused:?}");
}
