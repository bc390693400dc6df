//! One token request from bytes to token.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokenry_core::Secret;

use crate::clock::Wall;
use crate::credentials::{Credentials, Presented, Which};
use crate::dpop::{DPOP, Dpop, Place};
use crate::durable::{Durable, StoreError};
use crate::machine::Grant;
use crate::provider::{Provider, RefreshAnswer};
use crate::request::{Asking, Prepared};
use crate::response::{Granted, Lifetime, NoToken, Question};
use crate::transport::{Transport, TransportError};
use crate::{Error, request, response};

/// An answer that a transport read whole, although the server should have been brief, is not parsed beyond this.
const BODY_LIMIT: usize = 1024 * 1024;

pub(crate) struct Exchange {
    pub(crate) provider: Provider,
    pub(crate) credentials: Credentials,
    /// The API that tokens are for (RFC 8707).
    pub(crate) resource: Option<String>,
    /// The key that tokens are bound to.
    pub(crate) dpop: Option<Arc<Dpop>>,
    /// Where the refresh token outlives the process.
    pub(crate) store: Option<Durable>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) wall: Wall,
    /// For transports that have no timeout of their own.
    pub(crate) timeout: Duration,
    /// How long a token lives if nobody knows.
    pub(crate) default_lifetime: Duration,
}

/// A token as the keeper takes it.
pub(crate) struct Obtained {
    pub(crate) access_token: Secret,
    pub(crate) lifetime: Duration,
    pub(crate) refresh_token: Brought,
    pub(crate) refresh_lifetime: Option<Duration>,
}

/// The refresh token of an answer.
pub(crate) enum Brought {
    /// There was none.
    Nothing,
    /// This one, stored if there is where.
    Token(Secret),
    /// What there was could not be stored, so none is used.
    Unstored(StoreError),
}

/// What came back for one request.
struct Answer {
    response: Response<Bytes>,
    /// A nonce came with it, and is kept.
    brought_nonce: bool,
    /// What the request proved the client with.
    assertion: Option<Secret>,
}

impl Exchange {
    pub(crate) async fn run(
        self: Arc<Self>,
        grant: Grant,
        refresh_token: Option<Secret>,
    ) -> Result<Obtained, NoToken> {
        let presented = refresh_token.as_ref().filter(|_| grant == Grant::Refresh);
        if let Some(token) = presented {
            self.mark_presented(token).await?;
        }
        let (answer, credentials) = self.ask(grant, presented).await?;
        let sent = credentials.secrets().chain(presented).chain(&answer.assertion);
        let sent: Vec<_> = sent.collect();
        let bound = self.dpop.is_some();
        let rate_limit_reset = self.provider.rate_limit_reset.as_ref();
        let now = (self.wall)();
        let question = Question { grant, sent: &sent, bound, rate_limit_reset, now };
        let mut granted = response::read(&answer.response, &question)?;
        let brought = self.keep(presented, granted.refresh_token.take()).await;
        Ok(self.completed(granted, brought))
    }

    /// Asks with the client's secret, and with the other one if that is refused.
    async fn ask(
        &self,
        grant: Grant,
        presented: Option<&Secret>,
    ) -> Result<(Answer, Presented), NoToken> {
        let credentials =
            self.credentials.present(Which::Preferred).await.map_err(NoToken::transient)?;
        let answer = self.ask_with(&credentials, grant, presented).await?;
        let Some(secrets) = self
            .credentials
            .secrets()
            .filter(|secrets| secrets.are_two() && response::refuses_client(&answer.response))
        else {
            return Ok((answer, credentials));
        };
        // That the first was refused says more than that the second cannot be read.
        let Ok(others) = self.credentials.present(Which::Other).await else {
            return Ok((answer, credentials));
        };
        let second = self.ask_with(&others, grant, presented).await?;
        if !response::refuses_client(&second.response) {
            secrets.prefer_other();
        }
        Ok((second, others))
    }

    async fn ask_with(
        &self,
        credentials: &Presented,
        grant: Grant,
        presented: Option<&Secret>,
    ) -> Result<Answer, NoToken> {
        let answer = self.send(credentials, grant, presented).await?;
        // RFC 9449 §8: once, with the nonce that came; a server that is not content then is asked again after a backoff.
        if answer.brought_nonce && response::wants_nonce(&answer.response) {
            return self.send(credentials, grant, presented).await;
        }
        Ok(answer)
    }

    /// Sends one request.
    async fn send(
        &self,
        credentials: &Presented,
        grant: Grant,
        presented: Option<&Secret>,
    ) -> Result<Answer, NoToken> {
        let Prepared { mut request, assertion } = self.request(credentials, grant, presented)?;
        let url = request.uri().clone();
        if let Some(dpop) = &self.dpop {
            let proof = dpop.prove(Place::TokenEndpoint, request.method(), &url, None);
            request.headers_mut().insert(DPOP, proof.map_err(NoToken::transient)?);
        }
        let response = tokio::time::timeout(self.timeout, self.transport.send(request))
            .await
            .unwrap_or(Err(TransportError::Timeout { after: self.timeout }))
            .map_err(NoToken::transient)?;
        if response.body().len() > BODY_LIMIT {
            return Err(NoToken::transient(TransportError::TooLong { limit: BODY_LIMIT }));
        }
        let note = |dpop: &Arc<Dpop>| dpop.note(Place::TokenEndpoint, &url, response.headers());
        let brought_nonce = self.dpop.as_ref().is_some_and(note);
        Ok(Answer { response, brought_nonce, assertion })
    }

    fn request(
        &self,
        credentials: &Presented,
        grant: Grant,
        presented: Option<&Secret>,
    ) -> Result<Prepared, NoToken> {
        let asking = Asking {
            credentials,
            resource: self.resource.as_deref(),
            issuer: self.provider.issuer.as_deref(),
            assertion: self.provider.assertion,
            now: (self.wall)(),
        };
        let request = match (grant, self.provider.refresh.as_ref(), presented) {
            (Grant::Credentials, _, _) => request::obtain(&self.provider.obtain, &asking),
            (Grant::Refresh, Some(rules), Some(token)) => request::refresh(rules, &asking, token),
            // The machine knows better than to ask for this; credentials are the answer to it anyway.
            (Grant::Refresh, _, _) => return Err(NoToken::refused(Error::Abandoned)),
        };
        request.map_err(NoToken::transient)
    }

    /// Writes down that a refresh token is about to be used up, if it may be.
    async fn mark_presented(&self, token: &Secret) -> Result<(), NoToken> {
        let Some(store) = self.store.as_ref().filter(|_| self.rotates()) else { return Ok(()) };
        // As a refusal: credentials need no disk.
        store.save(token, true).await.map_err(NoToken::refused)
    }

    /// Stores what an answer brought, before anybody uses any of it.
    async fn keep(&self, presented: Option<&Secret>, new: Option<Secret>) -> Brought {
        let stored = match (&self.store, &new, presented) {
            (None, _, _) => Ok(()),
            (Some(store), Some(new), _) => store.save(new, false).await,
            (Some(store), None, Some(old)) if self.rotates() => store.save(old, false).await,
            (Some(_), None, Some(_)) => Ok(()),
            (Some(store), None, None) => store.clear().await,
        };
        match (stored, new) {
            (Err(error), _) => Brought::Unstored(error),
            (Ok(()), Some(new)) => Brought::Token(new),
            (Ok(()), None) => Brought::Nothing,
        }
    }

    /// Whether a refresh uses its token up, as far as the vendor says.
    fn rotates(&self) -> bool {
        let rules = self.provider.refresh.as_ref();
        rules.is_some_and(|rules| rules.answer == RefreshAnswer::New)
    }

    /// Fills in what the answer does not say.
    fn completed(&self, granted: Granted, refresh_token: Brought) -> Obtained {
        let documented = self.provider.obtain.lifetime.unwrap_or(self.default_lifetime);
        let refresh_documented = self.provider.refresh.as_ref().and_then(|rules| rules.lifetime);
        Obtained {
            access_token: granted.access_token,
            lifetime: match granted.lifetime {
                Lifetime::Known(lifetime) => lifetime,
                Lifetime::Unknown => documented,
            },
            refresh_token,
            refresh_lifetime: granted.refresh_lifetime.or(refresh_documented),
        }
    }
}
