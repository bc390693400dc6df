//! A token endpoint in the same process, and a wall clock that goes with tokio's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokenry_core::{Secret, Timestamp};
use tokio::time::Instant;

use crate::token::BoxFuture;
use crate::{Credentials, Keeper, KeeperBuilder, Provider, Transport, TransportError};

/// What the endpoint was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) form: BTreeMap<String, String>,
}

impl Asked {
    pub(crate) fn refresh_token(&self) -> Option<&str> {
        self.form.get("refresh_token").map(String::as_str)
    }
}

type Handler = dyn FnMut(&Asked, usize) -> Result<Response<Bytes>, TransportError> + Send;

/// A token endpoint that answers after 20 ms, as the test says.
#[derive(Clone)]
pub(crate) struct Server {
    asked: Arc<Mutex<Vec<Asked>>>,
    handler: Arc<Mutex<Box<Handler>>>,
}

impl Server {
    /// `handler` gets each request, and its number counted from 1.
    pub(crate) fn new(
        handler: impl FnMut(&Asked, usize) -> Result<Response<Bytes>, TransportError> + Send + 'static,
    ) -> Self {
        Self { asked: Arc::default(), handler: Arc::new(Mutex::new(Box::new(handler))) }
    }

    /// Grants tokens `a1`, `a2` … with refresh tokens `r1`, `r2` …
    pub(crate) fn granting(expires_in: u64) -> Self {
        Self::new(move |_, n| Ok(grant(n, expires_in)))
    }

    pub(crate) fn requests(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Transport for Server {
    fn send(
        &self,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        Box::pin(async move {
            let body = std::str::from_utf8(request.body()).unwrap();
            let pairs = body.split('&').filter_map(|pair| pair.split_once('='));
            let form = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let asked = Asked { path: request.uri().path().to_owned(), form };
            let n = {
                let mut all = self.asked.lock().unwrap();
                all.push(asked.clone());
                all.len()
            };
            tokio::time::sleep(Duration::from_millis(20)).await;
            (self.handler.lock().unwrap())(&asked, n)
        })
    }
}

/// An answer as the fields say.
pub(crate) fn answer(status: u16, body: &str) -> Response<Bytes> {
    Response::builder().status(status).body(Bytes::from(body.to_owned())).unwrap()
}

/// The n-th token pair.
pub(crate) fn grant(n: usize, expires_in: u64) -> Response<Bytes> {
    answer(
        200,
        &format!(
            r#"{{"access_token":"a{n}","refresh_token":"r{n}","token_type":"bearer","expires_in":{expires_in}}}"#
        ),
    )
}

/// The n-th access token, without a refresh token.
pub(crate) fn grant_alone(n: usize, expires_in: u64) -> Response<Bytes> {
    answer(
        200,
        &format!(r#"{{"access_token":"a{n}","token_type":"Bearer","expires_in":{expires_in}}}"#),
    )
}

/// An error of RFC 6749 §5.2.
pub(crate) fn refusal(status: u16, code: &str) -> Response<Bytes> {
    answer(status, &format!(r#"{{"error":"{code}"}}"#))
}

/// A client of a provider that comes with the library.
pub(crate) fn builder(provider: &str, server: &Server) -> KeeperBuilder {
    let credentials = match provider {
        "simacan" | "simacan-staging" => Credentials::password("anna", Secret::new("password-1")),
        _ => Credentials::client("acme", Secret::new("secret-1")),
    };
    builder_of(Provider::named(provider).unwrap(), credentials, server)
}

/// A client with the middle of all random numbers, and tokio's time as wall time.
pub(crate) fn builder_of(
    provider: Provider,
    credentials: Credentials,
    server: &Server,
) -> KeeperBuilder {
    let began = Instant::now();
    Keeper::builder(provider, credentials)
        .transport(server.clone())
        .randomness(|| 0.5)
        .wall_clock(move || Timestamp::from_secs(1_000_000) + began.elapsed())
}

/// Lets a virtual while pass, with everything that happens in it.
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}
