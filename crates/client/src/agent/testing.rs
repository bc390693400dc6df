//! An agent in the same process, which can be taken away, hung and replaced.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokenry_core::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::agent::Io;
use super::protocol::{AgentError, Trouble, Written};
use super::{Access, Agent, AgentFault, AgentServer, AgentServerBuilder, Peer};
use crate::testing::{Server, builder_of};
use crate::token::BoxFuture;
use crate::{Credentials, Keeper, Provider};

/// The user that the agent of a test runs as.
pub(super) const OWNER: u32 = 1000;

/// A process of that user.
pub(super) const OWN: Peer = Peer::User { uid: OWNER, gid: OWNER };

/// A process of somebody else.
pub(super) const STRANGER: Peer = Peer::User { uid: 1001, gid: 1001 };

/// Where the socket of an agent would be.
#[derive(Clone)]
pub(super) struct Place(Arc<Mutex<There>>, Arc<AtomicUsize>);

enum There {
    Nobody,
    /// Takes connections and says nothing.
    Hung(Vec<DuplexStream>),
    Agent(AgentServer),
}

impl Place {
    pub(super) fn of(server: AgentServer) -> Self {
        Self(Arc::new(Mutex::new(There::Agent(server))), Arc::default())
    }

    pub(super) fn put(&self, server: AgentServer) {
        *self.0.lock().unwrap() = There::Agent(server);
    }

    pub(super) fn take_away(&self) {
        *self.0.lock().unwrap() = There::Nobody;
    }

    pub(super) fn hang(&self) {
        *self.0.lock().unwrap() = There::Hung(Vec::new());
    }

    /// How often somebody connected.
    pub(super) fn dialed(&self) -> usize {
        self.1.load(Ordering::Relaxed)
    }

    /// The way there, for a process of this user.
    pub(super) fn agent(&self, peer: Peer) -> Agent {
        let place = self.clone();
        Agent::dialed(move || {
            let connected = place.connect(peer);
            Box::pin(async move { connected.map(|io| Box::new(io) as Box<dyn Io>) })
        })
    }

    fn connect(&self, peer: Peer) -> Result<DuplexStream, AgentFault> {
        self.1.fetch_add(1, Ordering::Relaxed);
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        match &mut *self.0.lock().unwrap() {
            There::Nobody => {
                let error = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
                return Err(AgentFault::unreachable("test", &error));
            }
            There::Hung(connections) => connections.push(theirs),
            There::Agent(server) => {
                let server = server.clone();
                tokio::spawn(async move { server.serve_connection(theirs, peer).await });
            }
        }
        Ok(ours)
    }
}

/// A keeper of a client.
pub(super) fn keeper(server: &Server, client: &str, secret: &str) -> Keeper {
    let provider = Provider::at("https://as.example/token").unwrap();
    let credentials = Credentials::client(client, Secret::new(secret));
    builder_of(provider, credentials, server).build().unwrap()
}

/// An agent with a token `billing`, which takes lent keepers of this server.
pub(super) fn agent(server: &Server) -> AgentServer {
    builder(server)
        .named("billing", keeper(server, "acme", "right"), Access::default())
        .build()
        .unwrap()
}

/// The same without a token, and with a count of keepers that were built.
pub(super) fn builder(server: &Server) -> AgentServerBuilder {
    counting(server, &Arc::default())
}

pub(super) fn counting(server: &Server, built: &Arc<AtomicUsize>) -> AgentServerBuilder {
    let (server, built) = (server.clone(), Arc::clone(built));
    AgentServer::builder(OWNER).lender(move |written: Written, _| {
        built.fetch_add(1, Ordering::Relaxed);
        let server = server.clone();
        let lent: BoxFuture<'static, Result<Keeper, AgentError>> = Box::pin(async move {
            // Discovery takes a while.
            tokio::time::sleep(Duration::from_millis(50)).await;
            let text = |member: &str| written.0[member].as_str().map(str::to_owned);
            match (text("client_id"), text("client_secret")) {
                (Some(client), Some(secret)) => Ok(keeper(&server, &client, &secret)),
                _ => {
                    Err(AgentError::new(Trouble::NotLendable, "a client and its secret are needed"))
                }
            }
        });
        lent
    })
}

/// A keeper that a process lends.
pub(super) fn lent(secret: &str) -> Value {
    json!({ "token_url": "https://as.example/token", "client_id": "acme", "client_secret": secret })
}

/// Says something to an agent as any program would; gives status and body.
pub(super) async fn say(
    server: &AgentServer,
    peer: Peer,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, String) {
    let (mut ours, theirs) = tokio::io::duplex(1024 * 1024);
    let served = server.clone();
    tokio::spawn(async move { served.serve_connection(theirs, peer).await });
    let mut text = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    ours.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    ours.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Sends JSON as a process of this user; gives status and JSON.
pub(super) async fn post(
    server: &AgentServer,
    peer: Peer,
    path: &str,
    body: &Value,
) -> (u16, Value) {
    let headers = [("host", "localhost"), ("content-type", "application/json")];
    let (status, body) = say(server, peer, "POST", path, &headers, &body.to_string()).await;
    (status, serde_json::from_str(&body).unwrap())
}
