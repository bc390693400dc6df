//! How an issuer is asked over HTTP: its metadata, its keys, and whatever else it knows.

mod basic;
mod discovery;
mod secret;
mod tls;

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::USER_AGENT;
use http::request::Builder;
use http::response::Parts;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use self::tls::{Connector, Dial, connector};
use crate::keys::{FetchError, HttpConfigError};

pub(crate) use self::basic::{basic, encoded};
pub(crate) use self::discovery::{Discovery, address};
pub use self::secret::ClientSecret;

/// Requests are seconds or minutes apart: an idle connection only costs the issuer a socket.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// Who is asking.
const NAME: HeaderValue =
    HeaderValue::from_static(concat!("tokenry-verifier/", env!("CARGO_PKG_VERSION")));

/// The body of an answer as it arrives.
pub(crate) type Arriving = hyper::body::Incoming;

/// How connections are made.
#[derive(Clone, Debug, Default)]
pub(crate) struct HttpSettings {
    /// Certificates (PEM) that are trusted instead of those that the operating system trusts.
    pub(crate) roots: Option<Vec<u8>>,
    /// Where to connect to for some hosts, instead of where the name service says.
    pub(crate) overrides: BTreeMap<String, SocketAddr>,
    pub(crate) allow_plain_http: bool,
    /// Whether every request gets a connection of its own.
    pub(crate) alone: bool,
}

/// Asks over HTTP and TLS. Redirects are not followed: they would lead where nobody has agreed to go.
pub(crate) struct Http {
    client: Client<Connector, Full<Bytes>>,
    allow_plain_http: bool,
}

impl HttpSettings {
    pub(crate) fn build(self) -> Result<Http, HttpConfigError> {
        let dial = Dial { overrides: Arc::new(self.overrides) };
        let connector = connector(self.roots.as_deref(), dial, self.allow_plain_http)?;
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT);
        if self.alone {
            builder.pool_max_idle_per_host(0);
        }
        let client = builder.build(connector);
        Ok(Http { client, allow_plain_http: self.allow_plain_http })
    }
}

impl Http {
    /// Sends a request, and gives the answer if it is 200, read up to a limit.
    pub(crate) async fn ask(
        &self,
        request: Builder,
        body: Bytes,
        limit: usize,
    ) -> Result<(Parts, Bytes), FetchError> {
        let (parts, body) = self.open(request, body).await?.into_parts();
        let body = Limited::new(body, limit).collect().await.map_err(|e| {
            if e.is::<LengthLimitError>() {
                FetchError::BodyTooLong
            } else {
                FetchError::Connection(chain(&*e))
            }
        })?;
        Ok((parts, body.to_bytes()))
    }

    /// Sends a request, and gives the answer if it is 200, as its body arrives.
    pub(crate) async fn open(
        &self,
        request: Builder,
        body: Bytes,
    ) -> Result<Response<Arriving>, FetchError> {
        let response = self.send(request, body).await?;
        match response.status() {
            StatusCode::OK => Ok(response),
            other => Err(FetchError::Status(other.as_u16())),
        }
    }

    /// Sends a request, and gives the answer whatever its status, as its body arrives.
    pub(crate) async fn send(
        &self,
        request: Builder,
        body: Bytes,
    ) -> Result<Response<Arriving>, FetchError> {
        let request: Request<_> = request
            .header(USER_AGENT, NAME)
            .body(Full::new(body))
            .map_err(|e| FetchError::Address(e.to_string()))?;
        self.check_scheme(request.uri())?;
        let answer = self.client.request(request).await;
        answer.map_err(|error| FetchError::Connection(chain(&error)))
    }

    pub(crate) fn check_scheme(&self, uri: &Uri) -> Result<(), FetchError> {
        match uri.scheme_str() {
            Some("https") => Ok(()),
            Some("http") if self.allow_plain_http => Ok(()),
            _ => Err(FetchError::Address(format!("not an https address: {uri}"))),
        }
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http")
            .field("allow_plain_http", &self.allow_plain_http)
            .finish_non_exhaustive()
    }
}

/// The whole story: the outermost error of a client says only that something went wrong.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
