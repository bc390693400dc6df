//! The token endpoint (RFC 6749 §3.2).

use std::collections::BTreeMap;
use std::future::pending;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method, Response};
use tokenry_core::Timestamp;
use tokenry_core::dpop::{self, BadProof, Expected, Proof};

use crate::body::Answered;
use crate::issued::{Grantee, Pair};
use crate::serve::wait;
use crate::server::{Shared, State};
use crate::{Fault, Lost, answer, form};

/// A request as it was received.
pub(crate) struct Received {
    pub(crate) method: Method,
    /// The URL, by `https` and by `http`: TLS may end before this server.
    pub(crate) urls: [String; 2],
    pub(crate) headers: HeaderMap,
    pub(crate) form: BTreeMap<String, String>,
}

impl Received {
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.form.get(name).map(String::as_str)
    }

    /// The proof that came with it, if there is one.
    pub(crate) fn proof(
        &self,
        access_token: Option<&str>,
        now: Timestamp,
    ) -> Result<Option<Proof>, BadProof> {
        let proofs: Vec<_> = self.headers.get_all("dpop").iter().collect();
        let proof = match proofs[..] {
            [] => return Ok(None),
            [proof] => proof,
            // RFC 9449 §4.3: "There is not more than one DPoP HTTP request header field".
            _ => return Err(BadProof("more than one")),
        };
        let urls = self.urls.each_ref().map(String::as_str);
        let expected = Expected { method: self.method.as_str(), urls: &urls, access_token };
        dpop::check(proof.as_bytes(), &expected, now).map(Some)
    }
}

/// A token request on its way.
struct InFlight<'a>(&'a Shared);

impl<'a> InFlight<'a> {
    fn new(shared: &'a Shared) -> Self {
        let mut state = shared.state();
        state.in_flight += 1;
        state.most_at_once = state.most_at_once.max(state.in_flight);
        Self(shared)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.state().in_flight -= 1;
    }
}

/// Answers a token request, or does not.
pub(crate) async fn respond(
    shared: &Shared,
    received: Received,
) -> Result<Response<Answered>, Lost> {
    let _in_flight = InFlight::new(shared);
    let is_refresh = received.parameter("grant_type") == Some("refresh_token");
    let meant = |fault: &Fault| is_refresh || !fault.is_of_refreshes();
    let fault = shared.state().faults.take(meant);
    wait(shared.latency).await;
    match fault {
        Some(Fault::Dropped) => return Err(Lost),
        Some(Fault::NoAnswer) => pending().await,
        _ => {}
    }
    let now = shared.clock.now();
    let answer = match fault.as_ref().and_then(|fault| answer::instead(fault, now)) {
        Some(instead) => instead,
        None => process(shared, &received, fault.as_ref()),
    };
    deliver(answer, fault).await
}

/// Sends the answer as the fault says.
async fn deliver(
    answer: Response<Bytes>,
    fault: Option<Fault>,
) -> Result<Response<Answered>, Lost> {
    let (head, body) = answer.into_parts();
    let body = match fault {
        Some(Fault::AnswerLost) => return Err(Lost),
        Some(Fault::Late(by)) => {
            tokio::time::sleep(by).await;
            Answered::Whole(body)
        }
        Some(Fault::SlowBody(every)) => Answered::slow(body, every),
        Some(Fault::BrokenBody) => Answered::broken(body),
        Some(Fault::Truncated) => Answered::Whole(body.slice(..body.len() / 2)),
        Some(Fault::TooLarge(bytes)) => {
            let mut long = BytesMut::from(body);
            long.resize(long.len().saturating_add(bytes), b' ');
            Answered::Whole(long.freeze())
        }
        _ => Answered::Whole(body),
    };
    Ok(Response::from_parts(head, body))
}

/// Does what a server does that behaves, but for what the fault changes in the answer.
fn process(shared: &Shared, received: &Received, fault: Option<&Fault>) -> Response<Bytes> {
    let now = shared.clock.now();
    let mut state = shared.state();
    let demanding = fault == Some(&Fault::DpopNonce);
    let granted = grant(shared, &mut state, received, demanding);
    let mut response = match &granted {
        Ok(pair) => {
            if let Some(Fault::RevokedEarly(after)) = fault {
                state.issued.revoke(&pair.access_token, now + *after);
            }
            answer::tokens(pair, shared.lives.access, fault)
        }
        Err((status, code)) => answer::refusal(*status, code),
    };
    if demanding {
        state.nonces.0 += 1;
        answer::with_nonce(&mut response, &nonce(state.nonces.0));
    }
    response
}

/// So many of the newest nonces are good: requests that are under way at the same time have different ones.
const NONCES_KEPT: usize = 8;

pub(crate) fn nonce(number: u64) -> String {
    format!("nonce-{number}")
}

/// Whether a proof has a nonce that was given a moment ago.
pub(crate) fn is_fresh(given: Option<&str>, newest: u64) -> bool {
    (1..=newest).rev().take(NONCES_KEPT).any(|number| given == Some(&*nonce(number)))
}

type Refused = (u16, &'static str);

fn grant(
    shared: &Shared,
    state: &mut State,
    received: &Received,
    demanding: bool,
) -> Result<Pair, Refused> {
    let now = shared.clock.now();
    let is_form = received
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
    if received.method != Method::POST || !is_form {
        return Err((400, "invalid_request"));
    }
    let client = authenticated(shared, received).ok_or((401, "invalid_client"))?;
    let proof = received.proof(None, now).map_err(|_| (400, "invalid_dpop_proof"))?;
    if demanding {
        let proof = proof.as_ref().ok_or((400, "invalid_request"))?;
        if !is_fresh(proof.nonce.as_deref(), state.nonces.0) {
            return Err((400, "use_dpop_nonce"));
        }
    }
    let scope = received.parameter("scope").map(str::to_owned);
    let grantee = Grantee { client, scope, key: proof.map(|proof| proof.key) };
    match received.parameter("grant_type") {
        Some("client_credentials") if grantee.client.is_none() => Err((401, "invalid_client")),
        Some("client_credentials") => Ok(state.issued.begin(grantee, shared.lives, now)),
        Some("password") => {
            let (user, password) = (received.parameter("username"), received.parameter("password"));
            let known = user.and_then(|user| shared.users.get(user));
            if known.zip(password).is_none_or(|(known, password)| !known.matches(password)) {
                return Err((400, "invalid_grant"));
            }
            Ok(state.issued.begin(grantee, shared.lives, now))
        }
        Some("refresh_token") => {
            let presented = received.parameter("refresh_token").ok_or((400, "invalid_request"))?;
            let pair = state.issued.refresh(presented, &grantee, shared.lives, now);
            pair.ok_or((400, "invalid_grant"))
        }
        Some(_) => Err((400, "unsupported_grant_type")),
        None => Err((400, "invalid_request")),
    }
}

/// Who asks (RFC 6749 §2.3): `Some(None)` is nobody in particular, `None` somebody who lies.
fn authenticated(shared: &Shared, received: &Received) -> Option<Option<String>> {
    let id = received.parameter("client_id");
    // What a signature or a certificate says is not looked at: the client is taken at its word.
    if received.parameter("client_assertion").is_some() {
        return Some(Some(id.unwrap_or("assertion").to_owned()));
    }
    let (id, secret) = match (received.headers.get(AUTHORIZATION), id) {
        (Some(header), _) => {
            let (id, secret) = basic(header.to_str().ok()?)?;
            (id, Some(secret))
        }
        (None, Some(id)) => (id.to_owned(), received.parameter("client_secret").map(str::to_owned)),
        (None, None) => return Some(None),
    };
    let good = match (shared.clients.get(&id)?, secret) {
        (Some(known), Some(secret)) => known.matches(&secret),
        (None, None) => true,
        _ => false,
    };
    good.then_some(Some(id))
}

/// Client and secret of HTTP Basic, each encoded as in a form (RFC 6749 §2.3.1).
fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = BASE64_STANDARD.decode(encoded.trim()).ok()?;
    let (id, secret) = form::split_at(&pair, b':');
    Some((form::decode(id)?, form::decode(secret?)?))
}
