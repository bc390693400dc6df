//! How token requests travel.

mod http;

use std::future::Future;

use ::http::{Request, Response};
use bytes::Bytes;

pub(crate) use self::http::Dial;
pub use self::http::{ConfigError, HttpTransport, HttpTransportBuilder};
use crate::token::BoxFuture;

/// Carries a request to a server and brings back its answer.
///
/// It must not follow redirects: the request holds credentials (RFC 9700 §4.12). The default is [`HttpTransport`];
/// a closure from request to future is one as well, which is what tests use.
pub trait Transport: Send + Sync {
    /// Sends one request.
    ///
    /// # Errors
    ///
    /// That no answer came, or one beyond a limit. An answer with an error status is an answer.
    fn send(
        &self,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>>;

    /// Whether it has a certificate for servers that ask for one, so that requests go where they do (RFC 8705 §5).
    fn has_client_certificate(&self) -> bool {
        false
    }

    /// The same for answers that do not end, if it can read them: a revocation feed is one.
    fn streaming(&self) -> Option<&dyn Streaming> {
        None
    }
}

/// Carries a request to a server and brings back its answer as it arrives.
///
/// What [`Transport`] says of redirects holds here as well. Each answer should have a connection of its own: one that is
/// dead without saying so must not be used again.
pub trait Streaming: Send + Sync {
    /// Sends one request; gives the head of the answer, and its body as it arrives. It is given up by dropping it.
    ///
    /// # Errors
    ///
    /// That no answer came. An answer with an error status is an answer.
    fn open(
        &self,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Response<Box<dyn Pieces>>, TransportError>>;
}

/// A body that arrives in pieces of any size. To drop it closes the connection.
pub trait Pieces: Send {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    ///
    /// That the connection broke.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, TransportError>>;
}

impl<F, R> Transport for F
where
    F: Fn(Request<Bytes>) -> R + Send + Sync,
    R: Future<Output = Result<Response<Bytes>, TransportError>> + Send + 'static,
{
    fn send(
        &self,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        Box::pin(self(request))
    }
}

/// Why no answer came. Names hosts, never what was sent to them.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// No connection: the name does not resolve, the port is closed, or the certificate is not trusted.
    #[error("cannot connect to {host}: {cause}")]
    Connect {
        /// The host.
        host: String,
        /// Why not.
        cause: String,
    },
    /// The connection broke before the answer was whole.
    #[error("the connection to {host} broke: {cause}")]
    Broken {
        /// The host.
        host: String,
        /// How.
        cause: String,
    },
    /// No answer in time.
    #[error("no answer within {} ms", .after.as_millis())]
    Timeout {
        /// The time.
        after: std::time::Duration,
    },
    /// The answer is longer than allowed.
    #[error("the answer is longer than {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// The URL is neither https nor http to this machine, so nothing was sent.
    #[error("refusing to send to {url} in the clear")]
    InTheClear {
        /// The URL, without path and query.
        url: String,
    },
    /// Anything else, for transports of other makes.
    #[error("{0}")]
    Other(String),
}
