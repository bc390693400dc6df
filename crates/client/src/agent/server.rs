//! The agent: keepers behind a socket.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::Watcher;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};

use super::access::Peer;
use super::builder::Loopback;
use super::metrics::Metrics;
use super::protocol::{
    AgentError, Answer, Ask, INVALIDATE_PATH, Invalidate, Invalidated, Listed, PROOF_PATH, Pending,
    ProofAsk, REQUEST_LIMIT, TOKEN_PATH, TOKENS_PATH, Tokens, Trouble, Written, Wrong, millis,
};
use super::register::Register;
use super::site::Kept;
use crate::Token;
use crate::keeper::Standing;
use crate::machine::Phase;

/// The largest head of a request. Nothing belongs there but a host and a secret.
const HEAD_LIMIT: usize = 16 * 1024;

/// How long a connection may be silent, and take for the head of a request.
const SILENCE: Duration = Duration::from_secs(15);

/// How long a request's body may take. It comes from this machine.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a caller is made to wait for a token at most: longer than a keeper's request takes.
const WAIT_LIMIT: Duration = Duration::from_secs(90);

/// A connection is closed after so many requests, so that none stays for ever with what it has allocated.
const REQUESTS_PER_CONNECTION: u64 = 10_000;

/// Keepers that any process of this machine may ask, each as far as it is allowed. Clones share them.
///
/// It serves connections of any make, and is told who is at their other end; it is
/// [listening](super::AgentListener) that asks the operating system.
#[derive(Clone)]
pub struct AgentServer(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) register: Arc<Register>,
    pub(super) metrics: Metrics,
    /// What a request that came by the loopback listener has to show.
    pub(super) loopback: Option<Loopback>,
}

impl std::fmt::Debug for AgentServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AgentServer(..)")
    }
}

impl AgentServer {
    /// Whether anybody but the owner and root may have anything.
    pub fn is_for_others(&self) -> bool {
        self.0.register.is_for_others()
    }

    /// Answers the requests of one connection, until its end.
    pub async fn serve_connection<IO>(&self, io: IO, peer: Peer)
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.serve_watched(io, peer, None).await;
    }

    /// The same; a graceful shutdown lets it finish what it has begun.
    pub(super) async fn serve_watched<IO>(&self, io: IO, peer: Peer, watcher: Option<Watcher>)
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let shared = Arc::clone(&self.0);
        let answered = AtomicU64::new(0);
        let service = service_fn(move |request: Request<Incoming>| {
            let shared = Arc::clone(&shared);
            let last = answered.fetch_add(1, Ordering::Relaxed) + 1 >= REQUESTS_PER_CONNECTION;
            async move {
                let mut response = shared.answer(request, peer).await;
                if last {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(SILENCE)
            .max_buf_size(HEAD_LIMIT)
            .serve_connection(TokioIo::new(io), service);
        self.0.metrics.connections.fetch_add(1, Ordering::Relaxed);
        let ended = match watcher {
            Some(watcher) => watcher.watch(connection).await,
            None => connection.await,
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection ended");
        }
        self.0.metrics.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Forgets the lent keepers that nobody has used for long.
    pub(super) fn sweep(&self) {
        self.0.register.sweep();
    }
}

type Reply = Result<(StatusCode, Bytes), AgentError>;

impl Shared {
    async fn answer(&self, request: Request<Incoming>, peer: Peer) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let text = head.uri.path() == METRICS_PATH;
        let reply = self.reply(&head, body, peer).await;
        let (status, body) = reply.unwrap_or_else(|error| {
            self.metrics.failed(error.kind);
            tracing::debug!(kind = ?error.kind, %error, "request answered with an error");
            (error.kind.status(), json_bytes(&Wrong { error }))
        });
        let is_text = text && status == StatusCode::OK;
        let kind = if is_text { METRICS_TYPE } else { "application/json" };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    async fn reply(&self, head: &Parts, body: Incoming, peer: Peer) -> Reply {
        if peer == Peer::Loopback {
            self.check_loopback(&head.headers)?;
        }
        match (&head.method, head.uri.path()) {
            (&Method::POST, TOKEN_PATH) => self.token(read(head, body).await?, peer).await,
            (&Method::POST, PROOF_PATH) => self.proof(read(head, body).await?, peer).await,
            (&Method::POST, INVALIDATE_PATH) => {
                self.invalidate(&read(head, body).await?, peer).map(|answer| ok(&answer))
            }
            (&Method::GET, TOKENS_PATH) => Ok(ok(&Tokens { tokens: self.list(peer) })),
            (&Method::GET, METRICS_PATH) => Ok((StatusCode::OK, self.metrics_text(peer).into())),
            (&Method::GET, "/health") => Ok(ok(&json!({ "status": "ok" }))),
            (method, path) => {
                let path: String = path.chars().take(80).collect();
                let message = format!("there is no {method} {path:?}");
                Err(AgentError::new(Trouble::InvalidRequest, message))
            }
        }
    }

    /// Who comes by the loopback listener may be any user, and any website in a browser.
    fn check_loopback(&self, headers: &HeaderMap) -> Result<(), AgentError> {
        let wrong = |message: &str| Err(AgentError::new(Trouble::Unauthorized, message));
        let Some(loopback) = &self.loopback else { return wrong("there is no loopback listener") };
        let mut hosts = headers.get_all(HOST).iter();
        let host = hosts.next().and_then(|host| host.to_str().ok()).map(str::to_ascii_lowercase);
        if hosts.next().is_some() || !host.is_some_and(|host| loopback.hosts.contains(&host)) {
            return wrong("the agent is not called that");
        }
        let mut shown = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (shown.next(), shown.next()) else {
            return wrong("the agent's secret is missing");
        };
        let value = value.to_str().unwrap_or_default();
        // RFC 9110 §11.1: a scheme's case does not matter.
        let shown = match value.split_once(' ') {
            Some((scheme, secret)) if scheme.eq_ignore_ascii_case("bearer") => secret.trim(),
            _ => "",
        };
        if !loopback.secret.matches(shown) {
            tracing::warn!("loopback request with a wrong secret");
            return wrong("this is not the agent's secret");
        }
        Ok(())
    }

    async fn find(
        &self,
        name: Option<&str>,
        keeper: Option<Written>,
        peer: Peer,
    ) -> Result<Arc<Kept>, AgentError> {
        match (name, keeper) {
            (Some(name), None) => self.register.named(name, peer).await,
            (None, Some(written)) => self.register.lent(written, peer).await,
            _ => Err(AgentError::new(Trouble::InvalidRequest, "either name or keeper is needed")),
        }
    }

    async fn token(&self, ask: Ask, peer: Peer) -> Reply {
        let wait = ask.wait_ms.map_or(WAIT_LIMIT, Duration::from_millis).min(WAIT_LIMIT);
        let obtained = async {
            let kept = self.find(ask.name.as_deref(), ask.keeper, peer).await?;
            kept.asked.fetch_add(1, Ordering::Relaxed);
            if let Some(refused) = ask.refused.filter(|refused| refused.keeper == kept.id) {
                kept.keeper.invalidate_generation(refused.generation);
            }
            self.held(&kept).await
        };
        let Ok(obtained) = tokio::time::timeout(wait, obtained).await else {
            self.metrics.pending.fetch_add(1, Ordering::Relaxed);
            return Ok((StatusCode::ACCEPTED, json_bytes(&Pending { pending: true })));
        };
        let (answer, _) = obtained?;
        self.metrics.given.fetch_add(1, Ordering::Relaxed);
        Ok(ok(&answer))
    }

    /// The keeper's token, once there is one.
    async fn held(&self, kept: &Kept) -> Result<(Answer, Token), AgentError> {
        let token = kept
            .keeper
            .token()
            .await
            .map_err(|error| AgentError::of(&error, kept.keeper.standing().retry_in))?;
        let standing = kept.keeper.standing();
        // What was good a moment ago may have been withdrawn since; a copy of it is then good for nothing more.
        let is_held = standing.generation == token.generation() && standing.token.is_some();
        let times = if is_held { copy_times(&standing) } else { (Duration::ZERO, Duration::ZERO) };
        let answer = Answer {
            access_token: token.access_token().clone(),
            token_type: token.token_type().to_owned(),
            expires_at: token.expires_at().map(|at| at.as_secs()),
            renew_in_ms: millis(times.0),
            good_for_ms: millis(times.1),
            keeper: kept.id.clone(),
            generation: token.generation(),
            api_hosts: kept.keeper.provider().api_hosts().patterns(),
            proof: None,
        };
        Ok((answer, token))
    }

    async fn proof(&self, ask: ProofAsk, peer: Peer) -> Reply {
        let invalid = |message: &str| AgentError::new(Trouble::InvalidRequest, message);
        let method = Method::from_bytes(ask.method.as_bytes()).map_err(|_| invalid("method"))?;
        let url: Uri = ask.url.parse().map_err(|_| invalid("url must be absolute"))?;
        let nonce = ask.nonce.map(HeaderValue::try_from).transpose();
        let nonce = nonce.map_err(|_| invalid("nonce has characters that it may not have"))?;
        let kept = self.find(ask.name.as_deref(), ask.keeper, peer).await?;
        kept.asked.fetch_add(1, Ordering::Relaxed);
        let waited = tokio::time::timeout(WAIT_LIMIT, self.held(&kept)).await;
        let (mut answer, token) = waited.unwrap_or_else(|_| {
            Err(AgentError::new(Trouble::Transient, "no token within the time"))
        })?;
        if let Some(nonce) = nonce {
            token.note_dpop_nonce(&url, &HeaderMap::from_iter([(crate::dpop::DPOP_NONCE, nonce)]));
        }
        let proof = token.dpop_proof(&method, &url).map_err(|_| invalid("url must be absolute"))?;
        let proof =
            proof.ok_or_else(|| invalid("this token is a bearer token, and needs no proof"))?;
        answer.proof = proof.to_str().ok().map(str::to_owned);
        Ok(ok(&answer))
    }

    fn invalidate(&self, ask: &Invalidate, peer: Peer) -> Result<Invalidated, AgentError> {
        let kept = match (&ask.name, &ask.keeper) {
            (Some(name), None) => self.register.find_named(name, peer)?,
            (None, Some(written)) => self.register.find(written, peer)?,
            _ => {
                let message = "either name or keeper is needed";
                return Err(AgentError::new(Trouble::InvalidRequest, message));
            }
        };
        let generation = ask.generation.unwrap_or_else(|| kept.keeper.standing().generation);
        let withdrawn = kept.keeper.invalidate_generation(generation);
        tracing::info!(keeper = kept.id, name = kept.name, withdrawn, "told to withdraw a token");
        Ok(Invalidated { withdrawn })
    }

    fn list(&self, peer: Peer) -> Vec<Listed> {
        let unasked = self.register.unasked(peer).map(|name| Listed {
            name: Some(name.to_owned()),
            keeper: String::new(),
            provider: String::new(),
            phase: phase_name(Phase::Empty).to_owned(),
            generation: 0,
            expires_at: None,
            asked: 0,
        });
        self.register.visible(peer).iter().map(|kept| listed(kept)).chain(unasked).collect()
    }

    fn metrics_text(&self, peer: Peer) -> String {
        self.metrics.text(&self.register.visible(peer), self.register.lent_count())
    }
}

const METRICS_PATH: &str = "/metrics";
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

fn listed(kept: &Kept) -> Listed {
    let standing = kept.keeper.standing();
    Listed {
        name: kept.name.clone(),
        keeper: kept.id.clone(),
        provider: kept.keeper.provider().name().to_owned(),
        phase: phase_name(standing.phase).to_owned(),
        generation: standing.generation,
        expires_at: standing.token.and_then(|token| token.expires_at()).map(|at| at.as_secs()),
        asked: kept.asked.load(Ordering::Relaxed),
    }
}

/// When a copy is to be renewed, and for how long it is good.
///
/// The keeper renews first: whoever asked at the same moment would get the old token once more. So copies follow by a
/// quarter of what is left then, and while no renewal succeeds they ask ever closer to the end.
fn copy_times(standing: &Standing) -> (Duration, Duration) {
    let left = standing.good_for.saturating_sub(standing.renew_in);
    (standing.renew_in + left / 4, standing.good_for)
}

pub(super) const fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Empty => "empty",
        Phase::Fetching => "fetching",
        Phase::HeldBack => "held_back",
        Phase::Good => "good",
        Phase::Renewing => "renewing",
        Phase::Retrying => "retrying",
    }
}

/// Reads a request's JSON.
async fn read<T: DeserializeOwned>(head: &Parts, body: Incoming) -> Result<T, AgentError> {
    let invalid = |message: String| AgentError::new(Trouble::InvalidRequest, message);
    if head.headers.get(CONTENT_TYPE).is_none_or(|kind| !is_json(kind)) {
        // What a browser may send to anybody without asking is none of this type.
        return Err(invalid("the content type must be application/json".to_owned()));
    }
    let whole = Limited::new(body, REQUEST_LIMIT).collect();
    let whole = tokio::time::timeout(BODY_TIMEOUT, whole).await;
    let whole = whole.map_err(|_| invalid("the request did not come in time".to_owned()))?;
    let whole = whole.map_err(|error| {
        invalid(if error.is::<LengthLimitError>() {
            format!("the request is longer than {REQUEST_LIMIT} bytes")
        } else {
            "the request broke off".to_owned()
        })
    })?;
    // serde's words may repeat a value, which may be a secret: only where it stands is said.
    serde_json::from_slice(&whole.to_bytes()).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        invalid(format!(
            "the request is not what this version understands (line {line}, column {column})"
        ))
    })
}

fn is_json(kind: &HeaderValue) -> bool {
    let kind = kind.to_str().unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

fn ok(answer: &impl Serialize) -> (StatusCode, Bytes) {
    (StatusCode::OK, json_bytes(answer))
}

fn json_bytes(answer: &impl Serialize) -> Bytes {
    // Strings and numbers are written, so that there is nothing to fail.
    serde_json::to_vec(answer).unwrap_or_default().into()
}
