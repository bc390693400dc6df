//! A server that misbehaves, and a keeper that asks it without a socket.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tokenry_client::{
    AllowedHosts, Credentials, Keeper, KeeperBuilder, Provider, Transport, TransportError,
};
use tokenry_core::{Secret, Timestamp};
use tokenry_test_server::{RefreshPolicy, TestServer};

/// The name of the server, and of the API beside it.
pub(crate) const HOST: &str = "as.test";

/// How long the client waits for an answer.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

/// How long the server takes for one.
pub(crate) const LATENCY: Duration = Duration::from_millis(20);

/// What a refresh does at the server.
pub(crate) const POLICIES: [RefreshPolicy; 4] = [
    RefreshPolicy::Never,
    RefreshPolicy::Rotate { grace: Duration::ZERO },
    RefreshPolicy::Rotate { grace: Duration::from_secs(60) },
    RefreshPolicy::Keep,
];

pub(crate) fn server(lifetime: Duration, policy: RefreshPolicy) -> TestServer {
    builder(lifetime, policy).build()
}

pub(crate) fn builder(lifetime: Duration, policy: RefreshPolicy) -> tokenry_test_server::Builder {
    TestServer::builder()
        .client("acme", "secret-1")
        .lifetime(lifetime)
        .refresh(policy)
        .latency(LATENCY)
        .beginning(Timestamp::from_secs(1_000_000))
}

/// A keeper of that server's tokens, with one random number for everything.
pub(crate) fn keeper(server: &TestServer, roll: f64) -> KeeperBuilder {
    let provider = Provider::at(&format!("https://{HOST}/token")).unwrap();
    let provider = provider.with_api_hosts(AllowedHosts::new([HOST]));
    let clock = server.clock();
    Keeper::builder(provider, Credentials::client("acme", Secret::new("secret-1")))
        .transport(transport(server))
        .wall_clock(move || clock.now())
        .randomness(move || roll)
}

fn transport(server: &TestServer) -> impl Transport + 'static {
    let server = server.clone();
    move |request: Request<Bytes>| {
        let server = server.clone();
        async move {
            match tokio::time::timeout(TIMEOUT, server.answer(request)).await {
                Ok(answer) => answer.map_err(|lost| TransportError::Broken {
                    host: HOST.to_owned(),
                    cause: lost.to_string(),
                }),
                Err(_) => Err(TransportError::Timeout { after: TIMEOUT }),
            }
        }
    }
}

/// A request to the API.
pub(crate) fn api() -> Request<Bytes> {
    Request::get(format!("https://{HOST}/api")).body(Bytes::new()).unwrap()
}
