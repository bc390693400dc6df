//! What of a request is looked at, and what comes of it.

use std::sync::Arc;

use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Uri};

use crate::AccessToken;
use crate::dpop::{DPOP_NONCE, Shown};

/// What of a request says who sent it.
///
/// A token may be bound to a key or to a certificate. Whether the sender has it, method, path and connection say; a
/// token alone does not.
#[derive(Clone, Copy)]
pub struct Head<'r> {
    /// The method.
    pub method: &'r Method,
    /// The address as received. Its path is used, after the
    /// [`resource_url`](crate::VerifierBuilder::resource_url); the host in it, or in a header, is not.
    pub uri: &'r Uri,
    /// The headers: `Authorization`, and `DPoP`.
    pub headers: &'r HeaderMap,
    /// What the server knows about the connection: the [`ClientCertificate`](crate::ClientCertificate).
    pub extensions: &'r Extensions,
}

impl<'r> Head<'r> {
    /// The head of a request.
    pub fn of<B>(request: &'r Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }
}

/// A request that may go on. Only [`verify_request`](crate::Verifier::verify_request) makes one.
#[derive(Clone, Debug)]
pub struct Admitted {
    token: Arc<AccessToken>,
    shown: Option<Shown>,
}

impl Admitted {
    pub(crate) const fn new(token: Arc<AccessToken>, shown: Option<Shown>) -> Self {
        Self { token, shown }
    }

    /// Its token. What that is bound to ([`AccessToken::binding`]), the request has proved to have.
    pub const fn token(&self) -> &Arc<AccessToken> {
        &self.token
    }

    /// The nonce for the `DPoP-Nonce` header of the answer, where the one that the client has gets old (RFC 9449
    /// §8.2).
    pub fn nonce(&self) -> Option<&HeaderValue> {
        self.shown.as_ref()?.nonce.as_ref()
    }

    /// Puts the token into the extensions of the request, and gives back what [`answer`](Renewal::answer) needs.
    ///
    /// A proof is good once, but a request may pass more than one gate of a verifier: the later ones see here that
    /// it was this request that used it up.
    pub fn attach(self, extensions: &mut Extensions) -> Renewal {
        extensions.insert(self.token);
        Renewal(self.shown.and_then(|shown| {
            extensions.insert(shown.proof);
            shown.nonce
        }))
    }
}

/// What is added to the answer to a request that was let in.
#[derive(Debug)]
#[must_use = "the client is to get its new nonce with the answer"]
pub struct Renewal(Option<HeaderValue>);

impl Renewal {
    /// Writes `DPoP-Nonce`, if the client is to have a new nonce.
    pub fn answer(self, headers: &mut HeaderMap) {
        if let Some(nonce) = self.0 {
            headers.insert(DPOP_NONCE, nonce);
        }
    }
}
