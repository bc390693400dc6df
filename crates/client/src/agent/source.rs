//! Tokens from an agent, and from elsewhere while there is none.

use std::fmt;
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::StatusCode;
use tokenry_core::Timestamp;
use tokio::sync::watch;

use super::agent::{Agent, AgentFault};
use super::protocol::{Answer, Ask, Refused, TOKEN_PATH, Written};
use crate::clock::{self, Clock, Wall};
use crate::token::{self, BoxFuture};
use crate::{AllowedHosts, Error, KeeperConfig, Token, TokenSource};

/// How long the agent may think before it has to say that it is still there. A token request takes about as long.
const WAIT: Duration = Duration::from_millis(500);

/// How often it may say so. Longer than any keeper makes its callers wait.
const PENDING_LIMIT: usize = 120;

/// How long the agent is left alone after it could not be asked; it doubles up to the cap.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);

/// An agent that comes back is noticed after this at the latest.
const BACKOFF_CAP: Duration = Duration::from_secs(30);

/// Between two attempts to get the successor of a token that is still good, while the server gives none.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));

/// Takes tokens from an agent, and keeps a copy as long as it is good.
///
/// While the copy is good a call makes no system call; its successor is asked for in the background, at the time that the
/// agent names. While the agent cannot be asked, tokens come from [somebody else](Self::or), and the agent
/// is tried again in the background. An agent that says nothing is waited for once, for 2.5 s, by calls that have no token.
///
/// What the agent says of the authorization server, such as a refusal, is what a call gets: asking once more from here would
/// change nothing.
pub struct AgentSource {
    shared: Arc<Shared>,
    fallback: Option<Arc<dyn TokenSource>>,
}

/// What is asked for.
enum What {
    Named(String),
    /// A keeper as it is at the moment, with its secrets.
    Lent(Box<Lend>),
}

type Lend = dyn Fn() -> BoxFuture<'static, Result<Written, AgentFault>> + Send + Sync;

struct Shared {
    /// Tells its tokens from those of others.
    id: u64,
    agent: Agent,
    what: What,
    clock: Clock,
    slot: ArcSwapOption<Held>,
    state: Mutex<State>,
}

/// A copy of the agent's token.
struct Held {
    token: Token,
    renew_at: Duration,
    good_until: Duration,
    /// Which token of the agent it is.
    origin: Refused,
}

#[derive(Default)]
struct State {
    /// Where the answer of the ask in flight will be.
    round: Option<watch::Receiver<Option<Outcome>>>,
    /// The token that an API refused, until the agent was told.
    refused: Option<Refused>,
    /// The agent's token that was taken over last, and its number here.
    last: Option<Refused>,
    generation: u64,
    /// Before this, the agent is not asked in the background.
    ask_from: Duration,
    /// How often in a row it could not be asked.
    failures: u32,
    /// Where the agent's token may go.
    api_hosts: AllowedHosts,
}

type Outcome = Result<Token, AgentFault>;

impl AgentSource {
    /// The token that the agent has under a name.
    pub fn named(agent: Agent, name: impl Into<String>) -> Self {
        Self::new(agent, What::Named(name.into()), Arc::new(clock::system))
    }

    /// Where the tokens may go, as the agent said with the last one. Empty: nobody has said it, or no token was there yet.
    pub fn api_hosts(&self) -> AllowedHosts {
        self.shared.state().api_hosts.clone()
    }

    /// The token of this keeper, which is lent to the agent. All who lend the same share it.
    ///
    /// Secrets from the environment, commands and vaults are read with each ask, and sent: the agent's
    /// socket is this user's. Files are named, and read by the agent. A keeper whose refresh token is stored in a file cannot be
    /// lent, and a bound token not be used; then somebody [else](Self::or) is asked.
    pub fn lent(agent: Agent, config: KeeperConfig) -> Self {
        let config = Arc::new(config);
        Self::lending(agent, move || {
            let config = Arc::clone(&config);
            async move { super::lent::write(&config).await }
        })
    }

    /// That of a keeper which is written anew for each ask, since its secrets may have changed.
    pub(crate) fn lending<F>(agent: Agent, lend: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Written, AgentFault>> + Send + 'static,
    {
        let lend: Box<Lend> = Box::new(move || Box::pin(lend()));
        Self::new(agent, What::Lent(lend), Arc::new(clock::system))
    }

    fn new(agent: Agent, what: What, wall: Wall) -> Self {
        let shared = Shared {
            id: token::new_source(),
            agent,
            what,
            clock: Clock::new(wall),
            slot: ArcSwapOption::empty(),
            state: Mutex::default(),
        };
        Self { shared: Arc::new(shared), fallback: None }
    }

    /// Whom to ask while the agent cannot be asked: a [`Keeper`](crate::Keeper) of the same token, mostly.
    #[must_use]
    pub fn or(mut self, fallback: impl TokenSource + 'static) -> Self {
        self.fallback = Some(Arc::new(fallback));
        self
    }

    /// Reads the wall clock here. By default the operating system's.
    #[must_use]
    pub fn wall_clock(self, wall: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let Self { shared, fallback } = self;
        // It is nobody else's before it was asked.
        match Arc::try_unwrap(shared) {
            Ok(Shared { agent, what, .. }) => {
                Self { fallback, ..Self::new(agent, what, Arc::new(wall)) }
            }
            Err(shared) => Self { shared, fallback },
        }
    }

    /// The agent that it asks.
    pub fn agent(&self) -> &Agent {
        &self.shared.agent
    }

    /// The copy, if it is good. Has its successor asked for if it is time.
    fn try_token(&self) -> Option<Token> {
        let slot = self.shared.slot.load();
        let held = slot.as_ref()?;
        let now = self.shared.clock.now();
        if now >= held.good_until {
            return None;
        }
        if now >= held.renew_at {
            self.ask_in_background(now);
        }
        Some(held.token.clone())
    }

    async fn obtain(&self) -> Result<Token, Error> {
        if let Some(fallback) = &self.fallback
            && self.shared.state().failures > 0
        {
            self.ask_in_background(self.shared.clock.now());
            return fallback.token().await;
        }
        let mut answer = self.shared.join(self.fallback.clone())?;
        let outcome = answer.wait_for(Option::is_some).await.map_err(|_| Error::Abandoned)?.clone();
        let outcome = outcome.ok_or(Error::Abandoned)?;
        match (outcome, &self.fallback) {
            (Ok(token), _) => Ok(token),
            (Err(fault), Some(fallback)) if !fault.is_of_the_token() => fallback.token().await,
            (Err(fault), _) => Err(fault.into()),
        }
    }

    fn ask_in_background(&self, now: Duration) {
        let is_time = now >= self.shared.state().ask_from;
        if is_time {
            // Without a runtime there is no background; the next call that waits says so.
            let _ = self.shared.join(self.fallback.clone());
        }
    }
}

impl TokenSource for AgentSource {
    fn token(&self) -> BoxFuture<'_, Result<Token, Error>> {
        match self.try_token() {
            Some(token) => Box::pin(ready(Ok(token))),
            None => Box::pin(self.obtain()),
        }
    }

    /// The agent is told with the next ask, and decides whether it believes that.
    fn invalidate(&self, token: &Token) {
        if token.source() != self.shared.id {
            if let Some(fallback) = &self.fallback {
                fallback.invalidate(token);
            }
            return;
        }
        let mut state = self.shared.state();
        let slot = self.shared.slot.load_full();
        // A refusal of a predecessor says nothing about the one that is held.
        let Some(held) = slot.filter(|held| held.token.generation() == token.generation()) else {
            return;
        };
        state.refused = Some(held.origin.clone());
        self.shared.slot.store(None);
    }
}

impl fmt::Debug for AgentSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentSource").field("agent", &self.shared.agent).finish_non_exhaustive()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the ask in flight, or begins one. It goes on if whoever began it gives up.
    fn join(
        self: &Arc<Self>,
        fallback: Option<Arc<dyn TokenSource>>,
    ) -> Result<watch::Receiver<Option<Outcome>>, Error> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| Error::NoRuntime)?;
        let mut state = self.state();
        // One whose runtime ended has no sender, and will have no answer.
        if let Some(round) = state.round.as_ref().filter(|round| round.has_changed().is_ok()) {
            return Ok(round.clone());
        }
        let (sender, receiver) = watch::channel(None);
        state.round = Some(receiver.clone());
        drop(state);
        let shared = Arc::clone(self);
        runtime.spawn(async move {
            let outcome = shared.ask().await;
            let warm = shared.settle(&outcome);
            sender.send_replace(Some(outcome));
            if let Some(fallback) = fallback.filter(|_| warm) {
                // What it says is for whoever asks it next.
                let _ = fallback.token().await;
            }
        });
        Ok(receiver)
    }

    /// Notes how an ask ended. Says whether somebody else should have a token ready.
    fn settle(&self, outcome: &Outcome) -> bool {
        let now = self.clock.now();
        let mut state = self.state();
        state.round = None;
        let Err(fault) = outcome else {
            if std::mem::take(&mut state.failures) > 0 {
                tracing::info!(agent = %self.agent, "the agent answers again");
            }
            return false;
        };
        if let AgentFault::Said(error) = fault
            && error.kind.is_of_the_token()
        {
            state.failures = 0;
            let (least, most) = RETRY;
            state.ask_from = now + error.retry_in().unwrap_or(most).clamp(least, most);
            return false;
        }
        if state.failures == 0 {
            tracing::warn!(%fault, "the agent cannot be asked");
        }
        let doubled = 1_u32.checked_shl(state.failures).unwrap_or(u32::MAX);
        state.failures = state.failures.saturating_add(1);
        state.ask_from = now + BACKOFF_FIRST.saturating_mul(doubled).min(BACKOFF_CAP);
        drop(state);
        // An agent that was only restarted is back before the copy's time is half over, and spares the server this.
        let slot = self.slot.load();
        slot.as_ref().is_some_and(|held| {
            let left = held.good_until.saturating_sub(held.renew_at);
            now >= held.renew_at + left / 2 && now < held.good_until
        })
    }

    async fn ask(&self) -> Outcome {
        for _ in 0..PENDING_LIMIT {
            let refused = self.state().refused.clone();
            let mut ask = Ask { refused: refused.clone(), ..Ask::default() };
            ask.wait_ms = Some(super::protocol::millis(WAIT));
            match &self.what {
                What::Named(name) => ask.name = Some(name.clone()),
                What::Lent(lend) => ask.keeper = Some(lend().await?),
            }
            let asked_at = self.clock.now();
            let (status, body) = self.agent.post(TOKEN_PATH, &ask, WAIT).await?;
            if status == StatusCode::ACCEPTED {
                continue;
            }
            let answer = self.agent.parse(&body)?;
            if let Some(token) = self.adopt(answer, refused.as_ref(), asked_at)? {
                return Ok(token);
            }
        }
        Err(self.agent.abandoned())
    }

    /// Takes over an answer, unless it is a token that was refused since it was asked for.
    fn adopt(
        &self,
        answer: Answer,
        told: Option<&Refused>,
        asked_at: Duration,
    ) -> Result<Option<Token>, AgentFault> {
        let unusable = |what: &str| AgentFault::Unlendable(what.to_owned());
        if !answer.token_type.eq_ignore_ascii_case("bearer") {
            return Err(unusable("its token is bound to a key, and each request needs its proof"));
        }
        let origin = Refused { keeper: answer.keeper, generation: answer.generation };
        let mut state = self.state();
        if state.refused.as_ref() != told && state.refused.as_ref() == Some(&origin) {
            return Ok(None);
        }
        if state.refused.as_ref() == told {
            state.refused = None;
        }
        if state.last.as_ref() != Some(&origin) {
            state.generation += 1;
            state.last = Some(origin.clone());
        }
        state.api_hosts = AllowedHosts::new(&answer.api_hosts);
        let expires_at = answer.expires_at.map(Timestamp::from_secs);
        let token = Token::new(answer.access_token, None, expires_at, self.id, state.generation)
            .ok_or_else(|| unusable("its token cannot stand in a header"))?;
        let at = |millis: u64| asked_at.saturating_add(Duration::from_millis(millis));
        let held = Held {
            token: token.clone(),
            renew_at: at(answer.renew_in_ms),
            good_until: at(answer.good_for_ms),
            origin,
        };
        // Not at once again, where the agent has nothing newer either.
        state.ask_from = self.clock.now() + RETRY.0;
        self.slot.store(Some(Arc::new(held)));
        Ok(Some(token))
    }
}
