//! A token endpoint in the same process, and a wall clock that goes with tokio's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use tokenry_core::dpop::{self, Expected, Proof};
use tokenry_core::{Secret, Timestamp};
use tokio::time::Instant;

use crate::token::BoxFuture;
use crate::{Credentials, Keeper, KeeperBuilder, Provider, Transport, TransportError};

/// When every test begins, by the wall clock.
pub(crate) const BEGINNING: Timestamp = Timestamp::from_secs(1_000_000);

/// What the endpoint was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) url: String,
    pub(crate) headers: HeaderMap,
    pub(crate) at: Timestamp,
    pub(crate) form: BTreeMap<String, String>,
}

impl Asked {
    pub(crate) fn refresh_token(&self) -> Option<&str> {
        self.form.get("refresh_token").map(String::as_str)
    }

    /// The proof that came with it, checked as a server does (RFC 9449 §4.3).
    pub(crate) fn proof(&self) -> Proof {
        let headers: Vec<_> = self.headers.get_all("dpop").iter().collect();
        let [proof] = headers[..] else { panic!("{} proofs", headers.len()) };
        let urls = [self.url.as_str()];
        let expected = Expected { method: "POST", urls: &urls, access_token: None };
        dpop::check(proof.as_bytes(), &expected, self.at).unwrap()
    }
}

type Handler = dyn FnMut(&Asked, usize) -> Result<Response<Bytes>, TransportError> + Send;

/// A token endpoint that answers after 20 ms, as the test says.
#[derive(Clone)]
pub(crate) struct Server {
    began: Instant,
    asked: Arc<Mutex<Vec<Asked>>>,
    handler: Arc<Mutex<Box<Handler>>>,
}

impl Server {
    /// `handler` gets each request, and its number counted from 1.
    pub(crate) fn new(
        handler: impl FnMut(&Asked, usize) -> Result<Response<Bytes>, TransportError> + Send + 'static,
    ) -> Self {
        let handler: Box<Handler> = Box::new(handler);
        let handler = Arc::new(Mutex::new(handler));
        Self { began: Instant::now(), asked: Arc::default(), handler }
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
            let asked = Asked {
                path: request.uri().path().to_owned(),
                url: request.uri().to_string(),
                headers: request.headers().clone(),
                at: BEGINNING + self.began.elapsed(),
                form,
            };
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

/// The n-th token pair, bound to a key.
pub(crate) fn grant_bound(n: usize, expires_in: u64) -> Response<Bytes> {
    let body = std::str::from_utf8(grant(n, expires_in).body()).unwrap().replace("bearer", "DPoP");
    answer(200, &body)
}

/// The same answer with a nonce.
pub(crate) fn with_nonce(mut answer: Response<Bytes>, nonce: &str) -> Response<Bytes> {
    answer.headers_mut().insert("dpop-nonce", nonce.parse().unwrap());
    answer
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
        .wall_clock(move || BEGINNING + began.elapsed())
}

/// Lets a virtual while pass, with everything that happens in it.
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}
