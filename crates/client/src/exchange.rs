//! One token request from bytes to token.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokenry_core::{Secret, Timestamp};
use tokio::sync::broadcast;

use crate::clock::Wall;
use crate::credentials::{Credentials, Presented, Which};
use crate::dpop::{DPOP, Dpop, Place};
use crate::durable::{Ledger, StoreError};
use crate::machine::{Failure, Grant, Policy};
use crate::provider::{Provider, RefreshAnswer};
use crate::request::{Asking, Prepared};
use crate::response::{Granted, Lifetime, NoToken, Question};
use crate::transport::{Transport, TransportError};
use crate::{Error, Event, request, response, rt};

/// An answer that a transport read whole, although the server should have been brief, is not parsed beyond this.
const BODY_LIMIT: usize = 1024 * 1024;

pub(crate) struct Exchange {
    pub(crate) provider: Provider,
    pub(crate) credentials: Credentials,
    /// The API that tokens are for (RFC 8707).
    pub(crate) resource: Option<String>,
    /// The key that tokens are bound to.
    pub(crate) dpop: Option<Arc<Dpop>>,
    /// What is known of the refresh token, and outlives the process if it is to.
    pub(crate) ledger: Ledger,
    pub(crate) events: broadcast::Sender<Event>,
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

impl Brought {
    fn new(token: Option<Secret>, stored: Result<(), StoreError>) -> Self {
        match (stored, token) {
            (Err(error), _) => Self::Unstored(error),
            (Ok(()), Some(token)) => Self::Token(token),
            (Ok(()), None) => Self::Nothing,
        }
    }
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
    /// Asks for a token. `holds`: callers have a good one, and are not made to wait.
    pub(crate) async fn run(
        self: Arc<Self>,
        grant: Grant,
        refresh_token: Option<Secret>,
        holds: bool,
    ) -> Result<Obtained, NoToken> {
        match refresh_token.filter(|_| grant == Grant::Refresh) {
            Some(token) => self.refresh(token).await,
            None => self.obtain(holds).await,
        }
    }

    async fn refresh(&self, token: Secret) -> Result<Obtained, NoToken> {
        let is_first = self.mark_presented(&token).await?;
        let mut granted = match self.ask(Grant::Refresh, Some(&token)).await {
            Ok(granted) => granted,
            Err(no_token) => {
                self.note_failure(&no_token, is_first).await;
                return Err(no_token);
            }
        };
        let new = granted.refresh_token.take();
        let stored = match &new {
            Some(new) => self.ledger.succeed(new).await,
            None if self.rotates() => self.ledger.absolve().await,
            None => Ok(()),
        };
        Ok(self.completed(granted, Brought::new(new, stored)))
    }

    async fn obtain(&self, holds: bool) -> Result<Obtained, NoToken> {
        self.ledger.abandon((self.wall)()).await;
        if !holds {
            self.revoke_abandoned().await;
        }
        let mut granted = self.ask(Grant::Credentials, None).await?;
        let new = granted.refresh_token.take();
        let stored = self.ledger.begin(new.as_ref()).await;
        Ok(self.completed(granted, Brought::new(new, stored)))
    }

    /// Asks, and reads the answer.
    async fn ask(&self, grant: Grant, presented: Option<&Secret>) -> Result<Granted, NoToken> {
        let (answer, credentials) = self.answer(grant, presented).await?;
        let sent = credentials.secrets().chain(presented).chain(&answer.assertion);
        let sent: Vec<_> = sent.collect();
        let bound = self.dpop.is_some();
        let rate_limit_reset = self.provider.rate_limit_reset.as_ref();
        let now = (self.wall)();
        let question = Question { grant, sent: &sent, bound, rate_limit_reset, now };
        response::read(&answer.response, &question)
    }

    /// Asks with the client's secret, and with the other one if that is refused.
    async fn answer(
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
        let response = rt::timeout(self.timeout, self.transport.send(request))
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

    pub(crate) fn asking<'a>(&'a self, credentials: &'a Presented) -> Asking<'a> {
        Asking {
            credentials,
            resource: self.resource.as_deref(),
            issuer: self.provider.issuer.as_deref(),
            assertion: self.provider.assertion,
            now: (self.wall)(),
        }
    }

    fn request(
        &self,
        credentials: &Presented,
        grant: Grant,
        presented: Option<&Secret>,
    ) -> Result<Prepared, NoToken> {
        let asking = self.asking(credentials);
        let request = match (grant, self.provider.refresh.as_ref(), presented) {
            (Grant::Credentials, _, _) => request::obtain(&self.provider.obtain, &asking),
            (Grant::Refresh, Some(rules), Some(token)) => request::refresh(rules, &asking, token),
            // The machine knows better than to ask for this; credentials are the answer to it anyway.
            (Grant::Refresh, _, _) => return Err(NoToken::refused(Error::Abandoned)),
        };
        request.map_err(NoToken::transient)
    }

    /// Writes down that a refresh token is about to be used up, if it may be. Says whether this is the first time.
    async fn mark_presented(&self, token: &Secret) -> Result<bool, NoToken> {
        if !self.rotates() {
            return Ok(true);
        }
        // As a refusal: credentials need no disk.
        self.ledger.present(token, (self.wall)()).await.map_err(NoToken::refused)
    }

    /// What a failure says about the token that was sent. Nothing, if it was sent before and is in doubt since.
    async fn note_failure(&self, no_token: &NoToken, is_first: bool) {
        if no_token.error.leaves_doubt() || !is_first {
            return;
        }
        match no_token.failure {
            Failure::Refused if is_about_token(&no_token.error) => self.ledger.forget().await,
            // Its family lives on, and is revoked when another has begun.
            Failure::Refused => {}
            // If it cannot be written, the token is doubtful for longer than it need be.
            Failure::Transient { .. } if self.rotates() => drop(self.ledger.absolve().await),
            Failure::Transient { .. } => {}
        }
    }

    /// Whether a refresh uses its token up, as far as the vendor says.
    pub(crate) fn rotates(&self) -> bool {
        let rules = self.provider.refresh.as_ref();
        rules.is_some_and(|rules| rules.answer == RefreshAnswer::New)
    }

    /// For how long after it was first sent a refresh token may be sent again, although it may be used up.
    pub(crate) fn grace(&self) -> Duration {
        let grace = self.provider.refresh.as_ref().and_then(|rules| rules.grace);
        Policy::usable_grace(grace.unwrap_or_default())
    }

    /// How much of that is left for a token that was first sent at this time.
    pub(crate) fn grace_left(&self, presented_at: Timestamp) -> Duration {
        let now = (self.wall)();
        // A clock that was set back knows nothing.
        if now < presented_at {
            return Duration::ZERO;
        }
        self.grace().saturating_sub(now.since(presented_at))
    }

    pub(crate) fn tell(&self, event: Event) {
        event.log(&self.provider.name);
        // Nobody may be watching.
        let _ = self.events.send(event);
    }

    /// Fills in what the answer does not say.
    fn completed(&self, granted: Granted, refresh_token: Brought) -> Obtained {
        let documented = self.provider.obtain.lifetime.unwrap_or(self.default_lifetime);
        let refresh_documented = self.provider.refresh.as_ref().and_then(|rules| rules.lifetime);
        let refresh_lifetime = granted.refresh_lifetime.or(refresh_documented);
        if let (Brought::Token(token), Some(lifetime)) = (&refresh_token, refresh_lifetime) {
            self.ledger.note_expiry(token, (self.wall)() + lifetime);
        }
        Obtained {
            access_token: granted.access_token,
            lifetime: match granted.lifetime {
                Lifetime::Known(lifetime) => lifetime,
                Lifetime::Unknown => documented,
            },
            refresh_token,
            refresh_lifetime,
        }
    }
}

/// Whether a refusal says that the refresh token is dead, rather than that this client may not use it now.
fn is_about_token(error: &Error) -> bool {
    let Error::Refused { refusal, .. } = error else { return false };
    // Some vendors say it with a bare 401.
    refusal.code.as_deref().is_none_or(|code| code == "invalid_grant")
}
