//! Programs that know nothing of tokens, and send their requests through the outbound proxy.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokenry_client::proxy::{Destination, Dial, Dialled, Proxy, Upstream};
use tokenry_client::{BoxFuture, Keeper};
use tokenry_test_server::{RefreshPolicy, TestServer};

use crate::integration::Integration;
use crate::world::{self, HOST as API};

/// As much as a socket holds.
const BUFFER: usize = 64 * 1024;

/// A program that calls the API on a connection of its own each time.
pub(crate) struct Proxied(Arc<Proxy>);

impl Proxied {
    async fn send(&self) -> Result<StatusCode, Box<dyn std::error::Error>> {
        let (ours, theirs) = tokio::io::duplex(BUFFER);
        let proxy = self.0.clone();
        tokio::spawn(async move {
            proxy.serve_connection(theirs, std::future::pending()).await;
        });
        let (mut sender, connection) = http1::handshake(TokioIo::new(ours)).await?;
        tokio::spawn(connection);
        let request = Request::get("/api").header(HOST, "localhost").body(Empty::<Bytes>::new())?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        answer.into_body().collect().await?;
        Ok(status)
    }
}

impl Integration for Proxied {
    const NAME: &'static str = "`tokenry proxy`";
    const POLICIES: &'static [RefreshPolicy] = world::POLICIES.first_chunk::<2>().unwrap();

    fn new(server: &TestServer, keeper: Keeper) -> Self {
        let upstream = Upstream::new(&format!("https://{API}")).unwrap();
        Self(Arc::new(Proxy::reverse(upstream, keeper, InMemory(server.clone())).build()))
    }

    fn call(&self) -> BoxFuture<'_, Result<StatusCode, String>> {
        Box::pin(async move { self.send().await.map_err(|error| error.to_string()) })
    }
}

/// Connects to the server without a network, and without TLS.
struct InMemory(TestServer);

impl Dial for InMemory {
    fn dial<'a>(&'a self, _: &'a Destination, _: bool) -> BoxFuture<'a, io::Result<Dialled>> {
        let (ours, theirs) = tokio::io::duplex(BUFFER);
        let server = self.0.clone();
        tokio::spawn(async move { server.serve_connection(theirs).await });
        Box::pin(async move { Ok(Dialled { stream: Box::new(ours), http2: false }) })
    }
}
