//! One request to an API, as often as it has to be sent: which token it carries, and what an answer to it means.
//!
//! All that puts tokens on requests decides by this: the layers, the middleware and the proxy differ in how they hold
//! a request, not in what they make of a 401.

use std::sync::Arc;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode, Uri};

use crate::dpop::{self, Complaint, DPOP};
use crate::{Error, Token, TokenSource};

/// How the media types of gRPC begin, gRPC-Web's too.
const GRPC: &[u8] = b"application/grpc";

/// The status of a call, in the headers of an answer that has no messages, else in its trailers.
const GRPC_STATUS: &str = "grpc-status";

/// The call has no valid credentials. `PERMISSION_DENIED` is 7, and no other token would change it.
const UNAUTHENTICATED: &[u8] = b"16";

/// A request on its way, with the token that it carries now.
///
/// 1. [`begin`](Self::begin) asks the source for a token, once it is known that the request's URL is an allowed one.
/// 2. [`attach`](Self::attach) puts it on the request.
/// 3. [`judge`](Self::judge) looks at the answer: it is the caller's, or the request is to be sent again, from 2.
///
/// It is sent again once for another token, and once for a nonce, so three times at most.
pub(crate) struct Attempt {
    source: Arc<dyn TokenSource>,
    token: Token,
    left: Repeats,
}

/// What a request may still be repeated for.
struct Repeats {
    /// Another token.
    token: bool,
    /// A nonce.
    nonce: bool,
}

/// What is to be done with an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub(crate) enum Verdict {
    /// It is the caller's.
    Deliver,
    /// It is to be thrown away, and the request to be sent once more, with what [`Attempt::attach`] gives it now.
    Repeat,
}

impl Attempt {
    /// A request to an allowed host.
    pub(crate) async fn begin(source: &Arc<dyn TokenSource>) -> Result<Self, Error> {
        let token = source.token().await?;
        Ok(Self { source: source.clone(), token, left: Repeats { token: true, nonce: true } })
    }

    /// Puts the token on a request, and what proves its possession, instead of whatever was there.
    pub(crate) fn attach(
        &self,
        method: &Method,
        url: &Uri,
        headers: &mut HeaderMap,
    ) -> Result<(), Error> {
        let proof = self.token.dpop_proof(method, url)?;
        headers.insert(AUTHORIZATION, self.token.header().clone());
        match proof {
            Some(proof) => headers.insert(DPOP, proof),
            // One of somebody else's for this token can only be wrong.
            None => headers.remove(DPOP),
        };
        Ok(())
    }

    /// What the answer to a request means, which had this URL and carried the token.
    ///
    /// `can_repeat` says whether the request could be sent again. A refused token is withdrawn in any case.
    pub(crate) async fn judge(
        &mut self,
        url: &Uri,
        status: StatusCode,
        headers: &HeaderMap,
        can_repeat: bool,
    ) -> Verdict {
        let new_nonce = self.token.note_dpop_nonce(url, headers);
        if !is_refusal(status, headers) {
            return Verdict::Deliver;
        }
        match dpop::complaint(headers).filter(|_| self.token.is_bound()) {
            // RFC 9449 §9: the token is as good as before.
            Some(Complaint::Nonce)
                if new_nonce && can_repeat && std::mem::take(&mut self.left.nonce) =>
            {
                Verdict::Repeat
            }
            Some(_) => Verdict::Deliver,
            None if std::mem::take(&mut self.left.token) => self.replace(can_repeat).await,
            None => Verdict::Deliver,
        }
    }

    /// Looks at the trailers of an answer that was delivered. Too late to send anything again: messages were read.
    pub(crate) fn see_trailers(&mut self, trailers: &HeaderMap) {
        if is_grpc_refusal(trailers) && std::mem::take(&mut self.left.token) {
            self.source.invalidate(&self.token);
        }
    }

    /// Withdraws the token, and takes the next one if the request can be sent with it.
    async fn replace(&mut self, can_repeat: bool) -> Verdict {
        self.source.invalidate(&self.token);
        if !can_repeat {
            return Verdict::Deliver;
        }
        // No other token means that the 401 is the answer; a caller learns more from it than from our trouble.
        let Ok(other) = self.source.token().await else { return Verdict::Deliver };
        if other.access_token() == self.token.access_token() {
            return Verdict::Deliver;
        }
        self.token = other;
        Verdict::Repeat
    }
}

/// Whether an answer says that the token is refused: 401, or what gRPC has for it (`UNAUTHENTICATED`), which comes with
/// status 200. A 403 says that the token is understood and not enough (RFC 6750 §3.1).
fn is_refusal(status: StatusCode, headers: &HeaderMap) -> bool {
    status == StatusCode::UNAUTHORIZED || is_grpc(headers) && is_grpc_refusal(headers)
}

/// Whether headers are those of a gRPC answer.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.as_bytes().get(..GRPC.len()));
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(GRPC))
}

/// Whether the headers or trailers of a gRPC answer say that its token is refused.
fn is_grpc_refusal(headers: &HeaderMap) -> bool {
    headers.get(GRPC_STATUS).is_some_and(|status| status.as_bytes() == UNAUTHENTICATED)
}
