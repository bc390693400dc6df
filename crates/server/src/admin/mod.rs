//! The admin listener: `/health`, `/metrics`, and the admin API below `/admin/`. It is meant for a private address.
//!
//! The API is closed unless somebody guards it ([`AdminGuard`]): every path below `/admin/` is then 404.

mod call;
mod guard;
mod listener;
mod members;
mod precondition;
mod problem;
mod registration;
mod representation;
mod route;
mod secrets;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};

use crate::app::App;
use crate::http_answer::{Body, error, full, json};
use call::{Call, Done};
use problem::Problem;
use route::Action;

pub use guard::{Access, Admin, AdminGuard, Denied};
pub use listener::serve_admin;

/// How much of a name that somebody sent stands in the log.
const MAX_LOGGED: usize = 200;

/// What the admin listener serves, without a socket.
#[derive(Clone, Debug)]
pub struct Administration {
    app: Arc<App>,
    guard: Option<Arc<dyn AdminGuard>>,
}

impl Administration {
    /// Health and metrics, for everybody; the API is closed.
    pub const fn new(app: Arc<App>) -> Self {
        Self { app, guard: None }
    }

    /// Opens the API for those whom this guard lets in.
    #[must_use]
    pub fn guarded_by(mut self, guard: Arc<dyn AdminGuard>) -> Self {
        self.guard = Some(guard);
        self
    }

    /// Answers one request whose body has been read. `request_id` names it in the log and in problem documents.
    pub async fn handle(
        &self,
        parts: &Parts,
        body: &[u8],
        peer: IpAddr,
        request_id: &str,
    ) -> Response<Body> {
        if !is_api(parts.uri.path()) {
            return self.open(parts);
        }
        let Some(guard) = &self.guard else {
            return Problem::not_found("there is no admin API here").answer(request_id);
        };
        let reads = matches!(parts.method, Method::GET | Method::HEAD);
        let needed = if reads { Access::Read } else { Access::Write };
        let admin = match guard.admit(parts, needed).await {
            Ok(admin) => admin,
            Err(denied) => {
                let (status, reason) = (denied.status.as_u16(), &denied.reason);
                tracing::info!(%peer, request_id, status, reason, "administration denied");
                return Problem::denied(&denied).answer(request_id);
            }
        };
        let action = match Action::read(&parts.method, &parts.uri) {
            Ok(action) => action,
            Err(problem) => return problem.answer(request_id),
        };
        let call = Call { app: &self.app, parts, body, now: self.app.now() };
        let done = call.carry_out(&action).await;
        note(&admin, &action, &done, peer, request_id);
        done.map_or_else(|problem| problem.answer(request_id), |done| done.response)
    }

    /// What is open to everybody.
    ///
    /// `/health` is 200 as long as tokens can be issued. `"store":"down"` in its body says that what needs the store
    /// (rotation, changes) is answered 503 for now.
    fn open(&self, parts: &Parts) -> Response<Body> {
        if !matches!(parts.method, Method::GET | Method::HEAD) {
            return error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed");
        }
        match parts.uri.path() {
            "/health" => {
                let store = if self.app.store_is_up() { "up" } else { "down" };
                json(StatusCode::OK, format!(r#"{{"status":"ok","store":"{store}"}}"#))
            }
            "/metrics" => {
                const OPEN_METRICS: HeaderValue = HeaderValue::from_static(
                    "application/openmetrics-text; version=1.0.0; charset=utf-8",
                );
                let mut response = full(StatusCode::OK, Bytes::from(self.app.metrics.text()));
                response.headers_mut().insert(header::CONTENT_TYPE, OPEN_METRICS);
                response
            }
            _ => error(StatusCode::NOT_FOUND, "not_found"),
        }
    }
}

/// Whether a path is one of the API.
fn is_api(path: &str) -> bool {
    path == "/admin" || path.starts_with("/admin/")
}

/// Tells the operator who did what to whom, and what came of it: one line for each change that was tried.
fn note(
    admin: &Admin,
    action: &Action,
    done: &Result<Done, Problem>,
    peer: IpAddr,
    request_id: &str,
) {
    let Admin { client: admin, subject, jti } = admin;
    let cut = |text: &str| text.chars().take(MAX_LOGGED).collect::<String>();
    let named = action.client();
    let realm = named.map(|name| cut(&name.realm));
    let client = named.map(|name| cut(&name.id));
    let (outcome, credential, status, reason) = match done {
        Ok(done) => (done.outcome, done.credential.as_deref(), done.response.status(), None),
        Err(problem) => ("refused", None, problem.status, Some(cut(&problem.detail))),
    };
    let (action_name, status) = (action.as_str(), status.as_u16());
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                admin,
                subject,
                jti,
                action = action_name,
                realm,
                client,
                credential,
                outcome,
                status,
                reason,
                %peer,
                request_id,
                "administration"
            )
        };
    }
    if action.changes() { line!(info) } else { line!(debug) }
}
