//! The ways in which a program gets its tokens.

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode};
use tokenry_client::{BearerLayer, BoxFuture, Keeper};
use tokenry_test_server::{Lost, RefreshPolicy, TestServer};
use tower::{Layer as _, Service, ServiceExt as _};

use crate::world;

/// One way. Each call is one request to the API, with all that belongs to it.
pub(crate) trait Integration: Send + Sync {
    /// What it is called, for people.
    const NAME: &'static str;

    /// The refresh tokens that it is played with. Below the keeper all are alike, so those over connections, which take
    /// longer, do with two.
    const POLICIES: &'static [RefreshPolicy] = &world::POLICIES;

    /// Whether it can send tokens that are bound to a key.
    const BINDS: bool = true;

    fn new(server: &TestServer, keeper: Keeper) -> Self;

    /// The status of the API's answer, or why there is none.
    fn call(&self) -> BoxFuture<'_, Result<StatusCode, String>>;
}

/// A program that asks for a token and puts it on its requests by itself.
pub(crate) struct Asking {
    server: TestServer,
    keeper: Keeper,
}

impl Asking {
    async fn send(&self) -> Result<StatusCode, String> {
        let token = self.keeper.token().await.map_err(|error| error.to_string())?;
        let first = self.try_with(&token).await?;
        if first != StatusCode::UNAUTHORIZED {
            return Ok(first);
        }
        self.keeper.invalidate(&token);
        match self.keeper.token().await {
            Ok(other) if other.generation() != token.generation() => self.try_with(&other).await,
            _ => Ok(first),
        }
    }

    /// As `BearerLayer` does it: once more with a nonce, if that is what is missing.
    async fn try_with(&self, token: &tokenry_client::Token) -> Result<StatusCode, String> {
        let mut nonce_left = true;
        loop {
            let mut request = world::api();
            let url = request.uri().clone();
            let proof = token.dpop_proof(request.method(), &url).map_err(|e| e.to_string())?;
            request.headers_mut().insert(AUTHORIZATION, token.header().clone());
            if let Some(proof) = proof {
                request.headers_mut().insert("dpop", proof);
            }
            let response = self.server.answer(request).await.map_err(|lost| lost.to_string())?;
            let new_nonce = token.note_dpop_nonce(&url, response.headers());
            if response.status() != StatusCode::UNAUTHORIZED || !new_nonce || !nonce_left {
                return Ok(response.status());
            }
            nonce_left = false;
        }
    }
}

impl Integration for Asking {
    const NAME: &'static str = "`Keeper::token()`";

    fn new(server: &TestServer, keeper: Keeper) -> Self {
        Self { server: server.clone(), keeper }
    }

    fn call(&self) -> BoxFuture<'_, Result<StatusCode, String>> {
        Box::pin(self.send())
    }
}

/// A program whose HTTP client has the layer.
pub(crate) struct Layered(tokenry_client::Bearer<Api>);

impl Integration for Layered {
    const NAME: &'static str = "`BearerLayer`";

    fn new(server: &TestServer, keeper: Keeper) -> Self {
        Self(BearerLayer::of_keeper(&keeper).layer(Api(server.clone())))
    }

    fn call(&self) -> BoxFuture<'_, Result<StatusCode, String>> {
        let service = self.0.clone();
        Box::pin(async move {
            let answer = service.oneshot(world::api()).await;
            answer.map(|answer| answer.status()).map_err(|error| error.to_string())
        })
    }
}

/// The API as a service.
#[derive(Clone)]
pub(crate) struct Api(pub(crate) TestServer);

impl Service<Request<Bytes>> for Api {
    type Response = Response<Bytes>;
    type Error = Lost;
    type Future = BoxFuture<'static, Result<Response<Bytes>, Lost>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Lost>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let server = self.0.clone();
        Box::pin(async move { server.answer(request).await })
    }
}
