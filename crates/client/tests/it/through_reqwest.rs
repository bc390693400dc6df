//! Programs that use reqwest with the middleware.

use async_trait::async_trait;
use bytes::Bytes;
use http::{Extensions, Request, StatusCode};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Middleware, Next, Result};
use tokenry_client::{BearerMiddleware, BoxFuture, Keeper};
use tokenry_test_server::{RefreshPolicy, TestServer};

use crate::integration::Integration;
use crate::world::{self, HOST};

/// A program whose client has the middleware, and behind it no network.
pub(crate) struct WithReqwest(ClientWithMiddleware);

impl Integration for WithReqwest {
    const NAME: &'static str = "`BearerMiddleware` (reqwest)";
    const POLICIES: &'static [RefreshPolicy] = world::POLICIES.first_chunk::<2>().unwrap();

    fn new(server: &TestServer, keeper: Keeper) -> Self {
        let client = ClientBuilder::new(reqwest::Client::new());
        let client = client.with(BearerMiddleware::of_keeper(&keeper));
        Self(client.with(InMemory(server.clone())).build())
    }

    fn call(&self) -> BoxFuture<'_, std::result::Result<StatusCode, String>> {
        Box::pin(async move {
            let answer = self.0.get(format!("https://{HOST}/api")).send().await;
            answer.map(|answer| answer.status()).map_err(|error| error.to_string())
        })
    }
}

/// The API instead of the network.
struct InMemory(TestServer);

#[async_trait]
impl Middleware for InMemory {
    async fn handle(
        &self,
        request: reqwest::Request,
        _: &mut Extensions,
        _: Next<'_>,
    ) -> Result<reqwest::Response> {
        let request: Request<_> = request.try_into()?;
        let answer = self.0.answer(request.map(|_: reqwest::Body| Bytes::new())).await;
        let answer = answer.map_err(|lost| reqwest_middleware::Error::Middleware(lost.into()))?;
        Ok(answer.into())
    }
}
