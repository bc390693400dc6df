//! Requests from memory, from any connection, and from the network.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::body::Answered;
use crate::server::TestServer;
use crate::token::Received;
use crate::{Endpoint, Lost, Recorded, answer, api, form, token};

/// A request that is longer is none that a test of a token client means to send.
const BODY_LIMIT: usize = 16 * 1024 * 1024;

impl TestServer {
    /// Answers a request without a connection.
    ///
    /// # Errors
    ///
    /// [`Lost`]: what would be a connection that ended before the answer was whole.
    pub async fn answer(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Lost> {
        let (head, body) = self.respond(request).await?.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    }

    /// Serves a connection until it ends: HTTP/1.1, or HTTP/2 by prior knowledge.
    pub async fn serve_connection<IO>(&self, io: IO)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let server = self.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let server = server.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = Limited::new(body, BODY_LIMIT).collect().await.map_err(|_| Lost)?;
                server.respond(Request::from_parts(head, body.to_bytes())).await
            }
        });
        let builder = auto::Builder::new(TokioExecutor::new());
        // That a connection ended is what the peer, or a fault, wanted.
        let _ = builder.serve_connection(TokioIo::new(io), service).await;
    }

    /// Serves the network: loopback, on a port that is free.
    ///
    /// # Errors
    ///
    /// That the port cannot be bound.
    pub async fn listen(&self) -> io::Result<Listening> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let server = self.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                let server = server.clone();
                connections.spawn(async move { server.serve_connection(connection).await });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Listening { address, task })
    }

    async fn respond(&self, request: Request<Bytes>) -> Result<Response<Answered>, Lost> {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let endpoint = endpoint(&path);
        let parameters = match endpoint {
            Endpoint::Token => form::parse(&body),
            _ => form::parse(head.uri.query().unwrap_or_default().as_bytes()),
        };
        let authority = head.uri.authority().map(ToString::to_string);
        let host = head.headers.get(HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
        let host = authority.or(host).unwrap_or_else(|| "localhost".to_owned());
        let number = self.0.state().record.push(Recorded {
            at: self.0.clock.elapsed(),
            endpoint,
            method: head.method.clone(),
            path: path.clone(),
            headers: head.headers.clone(),
            form: parameters.clone(),
            status: None,
        });
        let received = Received {
            method: head.method,
            urls: ["https", "http"].map(|scheme| format!("{scheme}://{host}{path}")),
            headers: head.headers,
            form: parameters,
        };
        let response = match endpoint {
            Endpoint::Token => token::respond(&self.0, received).await?,
            Endpoint::Api => {
                wait(self.0.api_latency).await;
                api::respond(&self.0, &received, body.len()).map(Answered::Whole)
            }
            Endpoint::Metadata => {
                let scheme = head.uri.scheme_str().unwrap_or("http");
                api::metadata(&format!("{scheme}://{host}")).map(Answered::Whole)
            }
            Endpoint::Unknown => answer::plain(404).map(Answered::Whole),
        };
        self.0.state().record.answered(number, response.status().as_u16());
        Ok(response)
    }
}

/// Lets so much of tokio's time pass. Without a latency, a test is not sent through the timer.
pub(crate) async fn wait(latency: Duration) {
    if latency > Duration::ZERO {
        tokio::time::sleep(latency).await;
    }
}

fn endpoint(path: &str) -> Endpoint {
    match path {
        "/api" => Endpoint::Api,
        path if path.starts_with("/api/") => Endpoint::Api,
        "/.well-known/oauth-authorization-server" | "/.well-known/openid-configuration" => {
            Endpoint::Metadata
        }
        path if path.ends_with("/token") => Endpoint::Token,
        _ => Endpoint::Unknown,
    }
}

/// A server on the network. It ends, with its connections, when this is dropped.
#[derive(Debug)]
pub struct Listening {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Listening {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path, such as `/token`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}
