//! The way to an agent, for who asks it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokenry_core::Secret;
use tokio::io::{AsyncRead, AsyncWrite};

use super::protocol::{
    ANSWER_LIMIT, AgentError, INVALIDATE_PATH, Invalidate, Invalidated, Listed, TOKENS_PATH,
    Tokens, Wrong,
};
use crate::token::BoxFuture;
use crate::{Error, KeeperConfig};

/// How long an agent may take to say something, beyond the wait that it was granted. It answers in well under a
/// millisecond; on a machine where a thousand processes start at once it may have to wait for its turn.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest secret of a loopback listener that is read; the agent makes them of 43 characters.
const SECRET_LIMIT: u64 = 1024;

/// Why an agent could not be asked, or what it said.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentFault {
    /// Nobody is there.
    #[error("{place}: {cause}")]
    Unreachable {
        /// The socket or URL.
        place: String,
        /// Why not.
        cause: String,
    },
    /// Somebody is there whom this process has no reason to believe, so nothing was sent.
    #[error("{place} belongs to user {uid}, who is neither this one nor root")]
    Untrusted {
        /// The socket.
        place: String,
        /// Whose it is.
        uid: u32,
    },
    /// It said nothing in time, or nothing that makes sense.
    #[error("{place}: {cause}")]
    Silent {
        /// The socket or URL.
        place: String,
        /// What happened.
        cause: String,
    },
    /// What was to be lent is not to be had.
    #[error("{0}")]
    Unlendable(String),
    /// It answered, with an error.
    #[error(transparent)]
    Said(#[from] AgentError),
}

/// What the agent says of the server is said as if the keeper were the caller's own.
impl From<AgentFault> for Error {
    fn from(fault: AgentFault) -> Self {
        match fault {
            AgentFault::Said(error) => error.into_error(),
            fault => Self::Agent(fault),
        }
    }
}

impl AgentFault {
    pub(super) fn unreachable(place: &str, error: &io::Error) -> Self {
        let cause = error.to_string();
        let cause = cause.split(" (os error").next().unwrap_or_default().to_owned();
        Self::Unreachable { place: place.to_owned(), cause }
    }

    /// Whether asking the authorization server directly would lead to the same.
    pub(crate) fn is_of_the_token(&self) -> bool {
        matches!(self, Self::Said(error) if error.kind.is_of_the_token())
    }
}

/// What a connection to an agent is made of.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Opens connections to somewhere else.
type Dial = dyn Fn() -> BoxFuture<'static, Result<Box<dyn Io>, AgentFault>> + Send + Sync;

/// The way to an agent. It connects anew for each request, which are minutes apart.
#[derive(Clone)]
pub struct Agent {
    /// As it is written.
    place: String,
    way: Way,
}

#[derive(Clone)]
enum Way {
    #[cfg(unix)]
    Socket {
        path: PathBuf,
        trusted: Option<u32>,
    },
    Loopback {
        address: SocketAddr,
        secret: PathBuf,
    },
    Dial(Arc<Dial>),
}

impl Agent {
    /// The agent at this socket, of this user or of root.
    #[cfg(unix)]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { place: path.display().to_string(), way: Way::Socket { path, trusted: None } }
    }

    /// Believes the agent of this user as well.
    #[cfg(unix)]
    #[must_use]
    pub fn trusting(mut self, uid: u32) -> Self {
        if let Way::Socket { trusted, .. } = &mut self.way {
            *trusted = Some(uid);
        }
        self
    }

    /// The agent with a loopback listener at this URL, `http://127.0.0.1:PORT`, and its secret in this file.
    ///
    /// `None` if the URL leads out of this machine, where a secret must not travel so. It gives named tokens alone.
    pub fn loopback(url: &str, secret_file: impl Into<PathBuf>) -> Option<Self> {
        let rest = url.strip_prefix("http://")?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let numbers = authority.replacen("localhost:", "127.0.0.1:", 1);
        let address: SocketAddr = numbers.parse().ok()?;
        let way = Way::Loopback { address, secret: secret_file.into() };
        address.ip().is_loopback().then(|| Self { place: url.to_owned(), way })
    }

    /// The agent at the other end of what this opens: one of the same process, or beyond a transport of the caller's.
    pub fn dialed(
        dial: impl Fn() -> BoxFuture<'static, Result<Box<dyn Io>, AgentFault>> + Send + Sync + 'static,
    ) -> Self {
        Self { place: "elsewhere".to_owned(), way: Way::Dial(Arc::new(dial)) }
    }

    /// Whether keepers can be lent to it: not over a listener that other users reach.
    pub fn takes_lent_keepers(&self) -> bool {
        !matches!(self.way, Way::Loopback { .. })
    }

    /// Every token that this process may have from it, without its text.
    ///
    /// # Errors
    ///
    /// [`AgentFault`].
    pub async fn tokens(&self) -> Result<Vec<Listed>, AgentFault> {
        let (_, body) = self.call(Method::GET, TOKENS_PATH, Bytes::new(), Duration::ZERO).await?;
        Ok(self.parse::<Tokens>(&body)?.tokens)
    }

    /// Withdraws the token of this name, now: whoever asks next gets another.
    ///
    /// # Errors
    ///
    /// [`AgentFault`].
    pub async fn invalidate(&self, name: &str) -> Result<Invalidated, AgentFault> {
        self.withdraw(Invalidate { name: Some(name.to_owned()), ..Invalidate::default() }).await
    }

    /// The same of the token of a keeper that processes lend.
    ///
    /// # Errors
    ///
    /// [`AgentFault`].
    pub async fn invalidate_lent(&self, config: &KeeperConfig) -> Result<Invalidated, AgentFault> {
        let keeper = Some(super::lent::write(config).await?);
        self.withdraw(Invalidate { keeper, ..Invalidate::default() }).await
    }

    async fn withdraw(&self, ask: Invalidate) -> Result<Invalidated, AgentFault> {
        let (_, body) = self.post(INVALIDATE_PATH, &ask, Duration::ZERO).await?;
        self.parse(&body)
    }

    /// Sends JSON; gives the answer of a success.
    pub(super) async fn post(
        &self,
        path: &str,
        what: &impl Serialize,
        wait: Duration,
    ) -> Result<(StatusCode, Bytes), AgentFault> {
        let body = serde_json::to_vec(what).map_err(|error| self.silent(&error))?;
        self.call(Method::POST, path, body.into(), wait).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        wait: Duration,
    ) -> Result<(StatusCode, Bytes), AgentFault> {
        let limit = ANSWER_TIMEOUT + wait;
        let answered = tokio::time::timeout(limit, self.exchange(method, path, body)).await;
        let (status, body) = answered.unwrap_or_else(|_| {
            Err(self.silent(&format!("no answer within {} ms", limit.as_millis())))
        })?;
        if status.is_success() {
            return Ok((status, body));
        }
        match serde_json::from_slice::<Wrong>(&body) {
            Ok(Wrong { error }) => Err(error.into()),
            Err(_) => Err(self.silent(&format!("answered {}, as no agent does", status.as_u16()))),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), AgentFault> {
        let (io, host, secret) = self.connect().await?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(|error| self.silent(&error))?;
        let headers = request.headers_mut();
        headers.insert(HOST, host);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(secret) = secret {
            let value = zeroize::Zeroizing::new(format!("Bearer {}", secret.expose()));
            let value = HeaderValue::try_from(value.as_str());
            let mut value = value.map_err(|_| self.silent(&"its secret has odd characters"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let handshake = http1::handshake(TokioIo::new(io)).await;
        let (mut sender, connection) = handshake.map_err(|error| self.silent(&error))?;
        let mut connection = pin!(connection);
        let mut talk = pin!(async {
            let response = sender.send_request(request).await.map_err(|e| self.silent(&e))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
            let body = body.map_err(|error| self.silent(&error))?;
            Ok((status, body.to_bytes()))
        });
        // Driven here rather than by a task: who gives up closes the connection.
        tokio::select! {
            biased;
            answer = &mut talk => return answer,
            _ = &mut connection => {}
        }
        talk.await
    }

    async fn connect(&self) -> Result<(Box<dyn Io>, HeaderValue, Option<Secret>), AgentFault> {
        let local = HeaderValue::from_static("localhost");
        match &self.way {
            #[cfg(unix)]
            Way::Socket { path, trusted } => {
                let io = super::socket::connect(path, *trusted).await?;
                Ok((Box::new(io), local, None))
            }
            Way::Loopback { address, secret } => {
                let unreachable = |error: io::Error| AgentFault::unreachable(&self.place, &error);
                let secret = read_secret(secret).await.map_err(unreachable)?;
                let io = tokio::net::TcpStream::connect(address).await.map_err(unreachable)?;
                let host = HeaderValue::try_from(address.to_string());
                let host = host.map_err(|error| self.silent(&error))?;
                Ok((Box::new(io), host, Some(secret)))
            }
            Way::Dial(dial) => Ok((dial().await?, local, None)),
        }
    }

    pub(super) fn parse<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, AgentFault> {
        // serde's words may repeat a value, and a token is one.
        serde_json::from_slice(body).map_err(|_| self.silent(&"an answer that no agent gives"))
    }

    /// It says that the token is pending, and will not end.
    pub(super) fn abandoned(&self) -> AgentFault {
        self.silent(&"the token is pending for too long")
    }

    fn silent(&self, cause: &dyn fmt::Display) -> AgentFault {
        AgentFault::Silent { place: self.place.clone(), cause: cause.to_string() }
    }
}

impl fmt::Display for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Agent").field(&self.place).finish()
    }
}

/// With each request: an agent that starts anew makes another.
async fn read_secret(path: &Path) -> io::Result<Secret> {
    use tokio::io::AsyncReadExt as _;
    let file = tokio::fs::File::open(path).await?;
    let mut text = zeroize::Zeroizing::new(String::new());
    file.take(SECRET_LIMIT).read_to_string(&mut text).await?;
    Ok(Secret::new(text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_sent_to_this_machine_alone() {
        for (url, good) in [
            ("http://127.0.0.1:8791", true),
            ("http://127.0.0.1:8791/", true),
            ("http://[::1]:8791", true),
            ("http://localhost:8791", true),
            ("https://127.0.0.1:8791", false),
            ("http://192.0.2.1:8791", false),
            ("http://agent.example:8791", false),
            ("http://127.0.0.1", false),
            ("http://127.0.0.1:8791/path", false),
        ] {
            assert_eq!(Agent::loopback(url, "/s").is_some(), good, "{url}");
        }
    }
}
