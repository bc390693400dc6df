//! The middleware that puts a token on requests of reqwest.

mod redirect;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use http::{Extensions, Uri};
use reqwest::{Request, Response, redirect::Policy};
use reqwest_middleware::{ClientWithMiddleware, Middleware, Next, Result};

use self::redirect::{Kept, Trail};
use crate::attempt::{Attempt, Verdict};
use crate::{AllowedHosts, Error, Keeper, TokenSource};

/// How many redirects are followed, as many as reqwest does by itself. Whoever needs more goes in circles.
const REDIRECT_LIMIT: usize = 10;

/// Puts a token on requests to allowed hosts, for reqwest with `reqwest-middleware` (feature `reqwest`).
///
/// The rules are those of [`BearerLayer`](crate::BearerLayer), with these differences:
///
/// - **Bodies.** What `reqwest::Request::try_clone` can copy is sent again, which is everything but streams. A request
///   with a stream gets the 401 as its answer, and the token is withdrawn.
/// - **Redirects** are followed here, one by one, since reqwest would keep `Authorization` as long as host and port
///   stay, and put back no other token. Every request is judged by its own URL. After https nothing over http carries
///   a token, not even within the machine. What the caller had in `Authorization` and `Cookie` stays at its origin.
///   `POST` becomes `GET` with 301 and 302, everything but `HEAD` does with 303; 307 and 308 repeat the request if they
///   can. A redirect that cannot be followed is the answer.
///
/// ```
/// use tokenry_client::{BearerMiddleware, Keeper};
///
/// # async fn example(keeper: Keeper) -> Result<(), Box<dyn std::error::Error>> {
/// let client = BearerMiddleware::of_keeper(&keeper).client(reqwest::Client::builder())?;
/// let response = client.get("https://api.example.com/v1/orders").send().await?;
/// # Ok(())
/// # }
/// ```
///
/// TLS is what the features of your own dependency on reqwest say; Tokenry switches on none.
#[derive(Clone)]
pub struct BearerMiddleware {
    source: Arc<dyn TokenSource>,
    hosts: Arc<AllowedHosts>,
    redirect_limit: usize,
}

/// Why a request brought no answer, as the cause of a `reqwest_middleware::Error::Middleware`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MiddlewareError {
    /// There was no token, so nothing was sent.
    #[error("no token: {0}")]
    Token(#[source] Error),
    /// One redirect led to another.
    #[error("more than {limit} redirects")]
    TooManyRedirects {
        /// How many were followed.
        limit: usize,
    },
}

impl BearerMiddleware {
    /// Tokens from this source, to these hosts.
    pub fn new(source: impl TokenSource + 'static, hosts: AllowedHosts) -> Self {
        let hosts = Arc::new(hosts);
        Self { source: Arc::new(source), hosts, redirect_limit: REDIRECT_LIMIT }
    }

    /// Tokens from this keeper, to the hosts that its provider names.
    pub fn of_keeper(keeper: &Keeper) -> Self {
        Self::new(keeper.clone(), keeper.provider().api_hosts().clone())
    }

    /// How many redirects are followed, 10 by default. With 0 each is an answer.
    #[must_use]
    pub fn redirect_limit(mut self, limit: usize) -> Self {
        self.redirect_limit = limit;
        self
    }

    /// A client of these settings that leaves redirects to this middleware.
    ///
    /// Use this rather than `with` of `reqwest_middleware::ClientBuilder`, or set `redirect::Policy::none()` yourself: a
    /// client that follows redirects does so inside of all middleware, and none of them is asked.
    ///
    /// # Errors
    ///
    /// What is wrong with the settings.
    pub fn client(
        self,
        settings: reqwest::ClientBuilder,
    ) -> std::result::Result<ClientWithMiddleware, reqwest::Error> {
        let client = settings.redirect(Policy::none()).build()?;
        Ok(reqwest_middleware::ClientBuilder::new(client).with(self).build())
    }

    /// Sends one request, and again if its token is refused.
    async fn send(
        &self,
        mut request: Request,
        may_have_token: bool,
        extensions: &mut Extensions,
        next: &Next<'_>,
    ) -> Result<Response> {
        // A URL that hyper does not take is not sent, which reqwest says better.
        let url = request.url().as_str().parse::<Uri>().ok();
        let Some(url) = url.filter(|url| may_have_token && self.hosts.allows(url)) else {
            return next.clone().run(request, extensions).await;
        };
        let mut attempt = Attempt::begin(&self.source).await.map_err(no_token)?;
        loop {
            let again = request.try_clone();
            let method = request.method().clone();
            attempt.attach(&method, &url, request.headers_mut()).map_err(no_token)?;
            let response = next.clone().run(request, extensions).await?;
            let (status, headers) = (response.status(), response.headers());
            let verdict = attempt.judge(&url, status, headers, again.is_some()).await;
            let (Verdict::Repeat, Some(again)) = (verdict, again) else { return Ok(response) };
            request = again;
        }
    }
}

fn no_token(error: Error) -> reqwest_middleware::Error {
    reqwest_middleware::Error::middleware(MiddlewareError::Token(error))
}

#[async_trait]
impl Middleware for BearerMiddleware {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        let limit = self.redirect_limit;
        let mut trail = Trail::default();
        for _ in 0..=limit {
            let may_have_token = trail.may_have_token(request.url());
            let kept = Kept::of(&request);
            let response = self.send(request, may_have_token, extensions, &next).await?;
            if limit == 0 {
                return Ok(response);
            }
            let Some(following) = kept.follow(response.status(), response.headers()) else {
                return Ok(response);
            };
            request = following;
        }
        let error = MiddlewareError::TooManyRedirects { limit };
        Err(reqwest_middleware::Error::middleware(error))
    }
}

impl fmt::Debug for BearerMiddleware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerMiddleware")
            .field("hosts", &self.hosts)
            .field("redirect_limit", &self.redirect_limit)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod redirect_tests;
#[cfg(test)]
mod tests;
