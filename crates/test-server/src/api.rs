//! An API that takes the server's tokens (RFC 6750), and the server's metadata (RFC 8414).

use bytes::Bytes;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{Response, StatusCode};

use crate::server::{Shared, State};
use crate::token::{Received, is_fresh, nonce};
use crate::{Fault, answer};

/// Answers 200 to a good token, else 401, or 403 if it lacks the scope that the query asks for.
pub(crate) fn respond(shared: &Shared, received: &Received, body: usize) -> Response<Bytes> {
    let mut state = shared.state();
    let fault = state.api_faults.take(|_| true);
    let mut response = match check(shared, &state, received, fault.as_ref()) {
        Ok(()) => {
            let method = answer::quoted(received.method.as_str());
            answer::json(200, format!(r#"{{"method":{method},"bytes":{body}}}"#))
        }
        Err(Challenge { status, scheme, error }) => {
            let mut response = answer::plain(status.as_u16());
            let error = error.map(|error| format!(" error=\"{error}\"")).unwrap_or_default();
            answer::with(&mut response, WWW_AUTHENTICATE, &format!("{scheme}{error}"));
            response
        }
    };
    if fault == Some(Fault::ApiDpopNonce) {
        state.nonces.1 += 1;
        answer::with_nonce(&mut response, &nonce(state.nonces.1));
    }
    response
}

/// Why not, and how the caller is told (RFC 6750 §3.1, RFC 9449 §7.1).
struct Challenge {
    status: StatusCode,
    scheme: &'static str,
    error: Option<&'static str>,
}

fn check(
    shared: &Shared,
    state: &State,
    received: &Received,
    fault: Option<&Fault>,
) -> Result<(), Challenge> {
    let now = shared.clock.now();
    let no = |scheme, error| Challenge { status: StatusCode::UNAUTHORIZED, scheme, error };
    let header = received.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (scheme, token) =
        header.and_then(|header| header.split_once(' ')).ok_or_else(|| no("Bearer", None))?;
    let is_bound = scheme.eq_ignore_ascii_case("DPoP");
    let scheme = if is_bound { "DPoP" } else { "Bearer" };
    let invalid = || no(scheme, Some("invalid_token"));
    if fault == Some(&Fault::ApiUnauthorized) {
        return Err(invalid());
    }
    let (grantee, _) = state.issued.good(token.trim(), now).ok_or_else(invalid)?;
    if let Some(key) = grantee.key {
        let proof = received.proof(Some(token.trim()), now);
        let proof = proof.ok().flatten().ok_or_else(|| no("DPoP", Some("invalid_dpop_proof")))?;
        // RFC 9449 §7.2: a bound token that is sent as a bearer token proves nothing.
        if !is_bound || proof.key != key {
            return Err(invalid());
        }
        let demanded = fault == Some(&Fault::ApiDpopNonce);
        if demanded && !is_fresh(proof.nonce.as_deref(), state.nonces.1) {
            return Err(no("DPoP", Some("use_dpop_nonce")));
        }
    } else if is_bound {
        return Err(invalid());
    }
    let granted = grantee.scope.as_deref().unwrap_or_default();
    let lacks = received
        .parameter("scope")
        .is_some_and(|wanted| !granted.split(' ').any(|scope| scope == wanted));
    if lacks || fault == Some(&Fault::ApiForbidden) {
        let error = Some("insufficient_scope");
        return Err(Challenge { status: StatusCode::FORBIDDEN, scheme, error });
    }
    Ok(())
}

/// The metadata of the server under this name.
pub(crate) fn metadata(issuer: &str) -> Response<Bytes> {
    let url = |path: &str| answer::quoted(&format!("{issuer}{path}"));
    let body = format!(
        r#"{{"issuer":{},"token_endpoint":{},"response_types_supported":[],"grant_types_supported":["client_credentials","password","refresh_token"],"token_endpoint_auth_methods_supported":["client_secret_basic","client_secret_post","none"],"dpop_signing_alg_values_supported":["ES256","ES384","RS256","PS256","EdDSA"]}}"#,
        url(""),
        url("/token"),
    );
    answer::json(200, body)
}
