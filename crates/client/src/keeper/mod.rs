//! The keeper: the thin shell around the [state machine](crate::machine) that does the input and output.
//!
//! While a token is good, a caller takes it from a snapshot, reads one clock and meets no lock: the wall clock says whether
//! the machine was suspended, and the task takes the snapshot away when the steady clock calls the token old. Everything
//! else goes through one mutex, which is never held across an await. A task exists only while there is something to wait for: a request
//! in flight or the time of the next one. It belongs to the runtime of the caller that made it necessary; if that
//! runtime ends, the next caller's carries on.

mod builder;
mod check;
mod drive;
mod follow;
mod identity;

#[cfg(test)]
mod bound_tests;
#[cfg(test)]
mod doubt_tests;
#[cfg(test)]
mod durable_tests;
#[cfg(test)]
mod follow_tests;
#[cfg(test)]
mod interleaving_tests;
#[cfg(test)]
mod secret_tests;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::ready;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use tokenry_core::{Secret, Timestamp};
use tokio::sync::{Notify, broadcast, watch};

pub use self::builder::KeeperBuilder;
pub use self::check::BuildError;
use crate::clock::Clock;
use crate::durable::{StoreError, StoredRefreshToken};
use crate::exchange::{Brought, Exchange, Obtained};
use crate::feed::{Feed, Marked};
use crate::machine::{Action, Grant, Input, Machine, Phase, Policy, Received};
use crate::metrics::{self, Counters, KeeperMetrics};
use crate::response::NoToken;
use crate::rt::{self, Mutex, MutexGuard};
use crate::token::BoxFuture;
use crate::{Credentials, Error, Event, Provider, Token, TokenSource};

/// Keeps one token fresh, for any number of callers. Clones share it.
///
/// Its requests and timers run in the tokio runtime of a caller, which has to go on running for them to get on.
///
/// ```no_run
/// use tokenry_client::{Credentials, Keeper, Provider};
/// use tokenry_core::{Secret, Timestamp};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let secret = Secret::new(std::fs::read_to_string("client_secret")?.trim());
/// let keeper = Keeper::builder(Provider::named("truphone")?, Credentials::client("acme", secret)).build()?;
/// let token = keeper.token().await?;
/// let request = http::Request::get("https://services.truphone.com/esim/profiles")
///     .header(http::header::AUTHORIZATION, token.header());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Keeper(Arc<Owner>);

/// What the handles share. Its drop tells the task that nobody is left.
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.state().closed = true;
        self.0.changed.notify_one();
    }
}

struct Shared {
    /// Tells the tokens of keepers apart.
    id: u64,
    /// The token that may be handed out without asking the machine.
    slot: ArcSwapOption<Slot>,
    /// When a caller was last served from the slot, by the wall clock, in milliseconds.
    served_at: AtomicU64,
    state: Mutex<State>,
    /// Wakes the task after something it waits for has changed.
    changed: Notify,
    clock: Clock,
    randomness: Box<dyn Fn() -> f64 + Send + Sync>,
    exchange: Arc<Exchange>,
    counters: Counters,
    /// If the keeper is to follow the issuer's revocation feed.
    feed: Option<Box<Feed>>,
}

/// See [`Keeper::standing`].
pub(crate) struct Standing {
    pub(crate) phase: Phase,
    pub(crate) generation: u64,
    pub(crate) token: Option<Token>,
    /// Until the keeper renews it; zero once it tries.
    pub(crate) renew_in: Duration,
    pub(crate) good_for: Duration,
    pub(crate) retry_in: Option<Duration>,
}

struct Slot {
    token: Token,
    /// By the wall clock. One that was set back knows nothing either.
    good: Range<Timestamp>,
    /// The last request brought no token.
    failing: bool,
}

struct State {
    machine: Machine,
    token: Option<Token>,
    /// What it says of itself, if the keeper follows a revocation feed.
    marked: Option<Box<Marked>>,
    refresh_token: Option<Secret>,
    /// The one that was in use was revoked: it is to be forgotten before the next request.
    refresh_token_is_dead: bool,
    last_error: Option<Error>,
    /// What the waiting callers wait for.
    round: Option<watch::Sender<Option<Result<Token, Error>>>>,
    /// A request that the task has not yet taken up.
    pending: Option<Grant>,
    /// Whether the store has been asked, or there is none.
    restored: bool,
    /// Whether there is a task.
    driven: bool,
    closed: bool,
}

impl State {
    fn new(policy: Policy, restored: bool) -> Self {
        Self {
            machine: Machine::new(policy),
            token: None,
            marked: None,
            refresh_token: None,
            refresh_token_is_dead: false,
            last_error: None,
            round: None,
            pending: None,
            restored,
            driven: false,
            closed: false,
        }
    }
}

impl Keeper {
    /// A keeper's settings. Everything but these two has a default.
    pub fn builder(provider: Provider, credentials: Credentials) -> KeeperBuilder {
        KeeperBuilder::new(provider, credentials)
    }

    /// A token that is good now: at once if there is one, else when the request in flight has brought it.
    ///
    /// # Errors
    ///
    /// Why there is none. All callers that waited for the same request get the same error, and a refusal is
    /// remembered for 1 to 5 seconds, so that a loop around this is not a loop of requests.
    pub async fn token(&self) -> Result<Token, Error> {
        if let Some(token) = self.try_token() {
            return Ok(token);
        }
        let _waiting = self.0.0.counters.wait();
        let mut answer = self.0.0.ask()?;
        let answer = answer.wait_for(Option::is_some).await.map_err(|_| Error::Abandoned)?;
        answer.clone().unwrap_or(Err(Error::Abandoned))
    }

    /// The token, if there is one that is good now. Never waits, never makes a request.
    pub fn try_token(&self) -> Option<Token> {
        self.with_token(Token::clone)
    }

    /// The value for `Authorization`, if there is a token that is good now: [`Self::try_token`] for a caller that has
    /// no use for the token itself, as who would not [invalidate](Self::invalidate) it.
    pub fn try_header(&self) -> Option<HeaderValue> {
        self.with_token(|token| token.header().clone())
    }

    /// Takes something of the token that is good now.
    fn with_token<T>(&self, take: impl FnOnce(&Token) -> T) -> Option<T> {
        let shared = &self.0.0;
        let slot = shared.slot.load();
        let slot = slot.as_ref()?;
        let now = shared.clock.wall();
        if !slot.good.contains(&now) {
            return None;
        }
        // Most calls come within the same millisecond as another; a load is cheaper than a store.
        if shared.served_at.load(Ordering::Relaxed) != now.as_millis() {
            shared.served_at.store(now.as_millis(), Ordering::Relaxed);
        }
        if slot.failing {
            metrics::count(&shared.counters.served_while_failing);
        }
        Some(take(&slot.token))
    }

    /// Says that an API answered 401 to this token.
    ///
    /// Withdraws it if it is still the one that is held; the next ask gets another. Does nothing if its successor
    /// is already here, or if it comes from another source. An API that refuses every token, however fresh, is
    /// soon not believed any more; see the [table](crate::machine).
    pub fn invalidate(&self, token: &Token) {
        if token.source() == self.0.0.id {
            self.invalidate_generation(token.generation());
        }
    }

    /// The same, of the token that had this number. Says whether it was withdrawn.
    pub(crate) fn invalidate_generation(&self, generation: u64) -> bool {
        let shared = &self.0.0;
        let mut state = shared.state();
        let actions = state.machine.step(Input::Invalidated { generation }, shared.clock.now());
        let withdrawn = actions.contains(&Action::Withdraw);
        shared.counters.unauthorized(withdrawn);
        let event = if withdrawn {
            Event::Invalidated { generation }
        } else {
            Event::InvalidationIgnored { generation }
        };
        shared.tell(event);
        shared.carry_out(&mut state, &actions);
        // The task may wait for the renewal of a token that is no more.
        shared.changed.notify_one();
        withdrawn
    }

    /// How it stands with the token, for who keeps a copy of it.
    pub(crate) fn standing(&self) -> Standing {
        let shared = &self.0.0;
        let state = shared.state();
        let now = shared.clock.now();
        let left = |at: Duration| at.saturating_sub(now);
        let life = state.machine.life();
        Standing {
            phase: state.machine.phase(now),
            generation: state.machine.generation(),
            token: state.token.clone(),
            renew_in: life.map(|(renew_at, _)| left(renew_at)).unwrap_or_default(),
            good_for: life.map(|(_, good_until)| left(good_until)).unwrap_or_default(),
            retry_in: state.machine.retry_in(now),
        }
    }

    /// What happens from now on. A receiver that falls behind by more than 256 events loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.0.0.exchange.events.subscribe()
    }

    /// Where its state machine stands.
    pub fn phase(&self) -> Phase {
        self.0.0.state().machine.phase(self.0.0.clock.now())
    }

    /// What it has done so far, in numbers.
    pub fn metrics(&self) -> KeeperMetrics {
        let shared = &self.0.0;
        let now = shared.clock.now();
        let state = shared.state();
        let good_until = state.machine.held_until().filter(|until| *until > now);
        let good_for = good_until.map(|until| until - now);
        let feed = shared.feed.as_ref().map(|feed| feed.metrics(now));
        KeeperMetrics { feed, ..shared.counters.read(state.machine.phase(now), good_for) }
    }

    /// The provider that it asks.
    pub fn provider(&self) -> &Provider {
        &self.0.0.exchange.provider
    }
}

impl TokenSource for Keeper {
    fn token(&self) -> BoxFuture<'_, Result<Token, Error>> {
        match self.try_token() {
            Some(token) => Box::pin(ready(Ok(token))),
            None => Box::pin(Self::token(self)),
        }
    }

    fn invalidate(&self, token: &Token) {
        Self::invalidate(self, token);
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper")
            .field("provider", &self.provider().name())
            .field("phase", &self.phase())
            .finish_non_exhaustive()
    }
}

type Answer = watch::Receiver<Option<Result<Token, Error>>>;

impl Shared {
    /// The state. A panic elsewhere must not poison a keeper: every step leaves the state whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the callers that wait.
    fn ask(self: &Arc<Self>) -> Result<Answer, Error> {
        let runtime = rt::Handle::try_current().map_err(|_| Error::NoRuntime)?;
        let mut state = self.state();
        let answer = state.round.get_or_insert_with(|| watch::Sender::new(None)).subscribe();
        let actions = state.machine.step(Input::Asked, self.clock.now());
        self.carry_out(&mut state, &actions);
        if state.driven {
            self.changed.notify_one();
        } else if state.pending.is_some() || state.machine.wake_at().is_some() {
            state.driven = true;
            runtime.spawn(drive::drive(self.clone()));
        }
        Ok(answer)
    }

    /// The time of the machine has come.
    fn tick(&self) {
        let mut state = self.state();
        match self.served_at.load(Ordering::Relaxed) {
            0 => {}
            millis => {
                let at = self.clock.at(Timestamp::from_millis(millis));
                state.machine.step(Input::Served { at }, self.clock.now());
            }
        }
        let was_dormant = state.machine.good_until().is_none();
        let actions = state.machine.step(Input::Timer, self.clock.now());
        if !was_dormant && state.machine.good_until().is_none() && state.token.is_some() {
            self.tell(Event::Idle);
        }
        self.carry_out(&mut state, &actions);
    }

    /// Whether the store is to be asked before the next request.
    fn is_to_be_restored(&self) -> bool {
        let state = self.state();
        state.pending.is_some() && !state.restored
    }

    /// Whether the refresh token in use is dead. Says so once.
    fn is_to_forget(&self) -> bool {
        std::mem::take(&mut self.state().refresh_token_is_dead)
    }

    /// The store has been asked. What it holds decides what the first request is; that it cannot say fails it.
    fn restore(&self, stored: Result<StoredRefreshToken, StoreError>) {
        let mut state = self.state();
        match stored {
            Err(error) => {
                if let Some(grant) = state.pending.take() {
                    self.fail(&mut state, grant, NoToken::refused(error));
                }
            }
            Ok(stored) => {
                state.restored = true;
                let Some(token) = stored.token else { return };
                state.refresh_token = Some(token);
                let now = self.clock.now();
                let until = stored.presented_at.map(|at| now + self.exchange.grace_left(at));
                self.tell(match until {
                    Some(_) => Event::RefreshTokenDoubtful,
                    None => Event::RefreshTokenRestored,
                });
                let actions = state.machine.step(Input::Restored { until }, now);
                self.carry_out(&mut state, &actions);
            }
        }
    }

    /// A request has come back.
    fn land(&self, grant: Grant, outcome: Result<Obtained, NoToken>) {
        let mut state = self.state();
        match outcome {
            Ok(obtained) => self.adopt(&mut state, grant, obtained),
            Err(no_token) => self.fail(&mut state, grant, no_token),
        }
    }

    fn adopt(&self, state: &mut State, grant: Grant, obtained: Obtained) {
        self.clock.settle();
        let now = self.clock.now();
        let received = match &obtained.refresh_token {
            Brought::Token(_) => Received::Present { lifetime: obtained.refresh_lifetime },
            Brought::Nothing => Received::Absent,
            Brought::Unstored(_) => Received::Unstored,
        };
        let generation = state.machine.generation();
        let lifetime = obtained.lifetime;
        let roll = (self.randomness)();
        let input = Input::Granted { lifetime, refresh_token: received, roll };
        let actions = state.machine.step(input, now);
        let refresh_event = match (obtained.refresh_token, grant) {
            (Brought::Nothing, Grant::Refresh) => Some(Event::RefreshTokenKept),
            (Brought::Nothing, Grant::Credentials) => {
                state.refresh_token = None;
                None
            }
            (Brought::Token(token), _) => {
                state.refresh_token = Some(token);
                (grant == Grant::Refresh).then_some(Event::RefreshTokenReplaced)
            }
            (Brought::Unstored(error), _) => {
                state.refresh_token = None;
                Some(Event::RefreshTokenNotStored { error })
            }
        };
        if state.machine.generation() == generation {
            let what = crate::Defect::DeadOnArrival;
            let error = Error::Unusable { status: 200, what };
            self.note_failure(state, grant, error, now);
        } else {
            let generation = state.machine.generation();
            let expires_at = Some(self.clock.wall() + lifetime);
            let dpop = self.exchange.dpop.clone();
            state.token = Token::new(obtained.access_token, dpop, expires_at, self.id, generation);
            state.last_error = None;
            self.counters.granted(grant);
            self.tell(match grant {
                Grant::Credentials => Event::Obtained { grant, lifetime, generation },
                Grant::Refresh => Event::Refreshed { lifetime, generation },
            });
            refresh_event.into_iter().for_each(|event| self.tell(event));
        }
        let actions = match state.machine.generation() == generation {
            true => actions,
            false => self.unless_revoked(state, actions, now),
        };
        self.carry_out(state, &actions);
    }

    /// What to do with a token that has just come, if it was not revoked on its way: then who waits goes on waiting.
    fn unless_revoked(
        &self,
        state: &mut State,
        mut actions: Vec<Action>,
        now: Duration,
    ) -> Vec<Action> {
        let revoked = self.watch(state);
        if revoked.contains(&Action::Withdraw) && actions.contains(&Action::Release) {
            actions.retain(|action| *action != Action::Release);
            actions.extend(state.machine.step(Input::Asked, now));
        }
        actions.extend(revoked);
        actions
    }

    fn fail(&self, state: &mut State, grant: Grant, no_token: NoToken) {
        let now = self.clock.now();
        let maybe_spent =
            grant == Grant::Refresh && self.exchange.rotates() && no_token.error.leaves_doubt();
        if maybe_spent {
            self.tell(Event::RefreshTokenDoubtful);
        }
        let failure = no_token.failure;
        let input = Input::Failed { failure, maybe_spent, roll: (self.randomness)() };
        let actions = state.machine.step(input, now);
        self.note_failure(state, grant, no_token.error, now);
        self.carry_out(state, &actions);
    }

    fn note_failure(&self, state: &mut State, grant: Grant, error: Error, now: Duration) {
        state.last_error = Some(error.clone());
        self.counters.failed(grant);
        let retry_in = state.machine.retry_in(now);
        self.tell(match grant {
            Grant::Refresh => Event::RefreshFailed { error, retry_in },
            Grant::Credentials => Event::ObtainFailed { error, retry_in },
        });
    }

    /// Does what the machine said, and publishes the token as it stands then.
    fn carry_out(&self, state: &mut State, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Request(grant) => state.pending = Some(*grant),
                Action::Release => {
                    if let (Some(round), Some(token)) = (state.round.take(), &state.token) {
                        round.send_replace(Some(Ok(token.clone())));
                    }
                }
                Action::Fail => {
                    if let Some(round) = state.round.take() {
                        let retry_in = state.machine.retry_in(self.clock.now()).unwrap_or_default();
                        let error =
                            state.last_error.clone().unwrap_or(Error::HeldBack { retry_in });
                        round.send_replace(Some(Err(error)));
                    }
                }
                Action::Withdraw => state.token = None,
                Action::ForgetRefreshToken => {
                    state.refresh_token = None;
                    self.tell(Event::FellBackToCredentials);
                }
            }
        }
        self.publish(state);
    }

    /// Lets callers have the token without asking, for as long as it is good.
    fn publish(&self, state: &State) {
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let good_until = state.machine.good_until().filter(|until| *until > now);
        let slot = good_until.zip(state.token.clone()).map(|(until, token)| {
            let good = wall..wall + (until - now);
            Arc::new(Slot { token, good, failing: state.last_error.is_some() })
        });
        self.slot.store(slot);
    }

    fn tell(&self, event: Event) {
        self.exchange.tell(event);
    }
}
