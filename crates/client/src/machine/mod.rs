//! The keeper's policy as a pure state machine: *(state, input, now) → (state, actions)*.
//!
//! Nothing here reads a clock, draws a number or opens a socket. `now` is the time since the keeper began, and a
//! random number comes with each input that needs one. The cases under `tests/cases/` are data, so that another
//! implementation can run them.
//!
//! # The states
//!
//! A token is *good* from the moment it is obtained until its hard margin: the smaller of 30 s and 15 % of its
//! lifetime, before the server would call it expired. Inside the margin it is no longer handed out.
//!
//! Its *share* is the part of the lifetime after which it is renewed: 75 % ± 3 %, drawn once per instance. A steady
//! client so makes at most 1 / 0.72 = 1.39 requests per lifetime.
//!
//! | [`Phase`] | token | request in flight | next attempt |
//! | --- | --- | --- | --- |
//! | `Empty` | none | no | at the next ask |
//! | `Fetching` | none | yes | — |
//! | `HeldBack` | none | no | not before a time |
//! | `Good` | good | no | at its share of the lifetime |
//! | `Renewing` | good | yes | — |
//! | `Retrying` | good | no | not before a time |
//!
//! # The transitions
//!
//! What a row does not name changes nothing. *Release* answers every waiting caller with the token, *fail* with
//! the last error.
//!
//! | in | input | then | actions |
//! | --- | --- | --- | --- |
//! | `Empty` | asked | `Fetching` | request: refresh token if there is one, else credentials |
//! | `Empty` | asked, but credentials were used a moment ago | `HeldBack` | wait, or fail if that is longer than a caller's patience |
//! | `Fetching` | asked | `Fetching` | the caller joins the flight |
//! | `Fetching` | restored, and credentials were asked for | `Fetching` | request: refresh token, instead, unless its time is over |
//! | `HeldBack` | asked | `HeldBack` | wait for the attempt; fail if refused, or if it is further away than patience |
//! | `HeldBack` | time came | `Fetching` | request, if a caller waits or one asked within the last lifetime |
//! | `Good` | asked | `Good` | release |
//! | `Good` | its share of the lifetime is over, a caller asked within one lifetime | `Renewing` | request |
//! | `Good` | the same, but nobody asked | `Good`, dormant | none, and no time to wake |
//! | `Good`, dormant | asked | `Renewing` | release; request |
//! | `Renewing`, `Retrying` | asked | same | release |
//! | `Retrying` | time came | `Renewing` | request |
//! | `Fetching`, `Renewing` | granted | `Good` | release; adopt the new refresh token, or keep the old one if a refresh brought none |
//! | `Fetching`, `Renewing` | granted, but dead on arrival | as transient | as transient |
//! | `Fetching`, `Renewing` | refresh rejected | same | forget the refresh token; request with credentials |
//! | `Fetching` | credentials refused | `HeldBack` | fail; the refusal is remembered 1–5 s |
//! | `Renewing` | credentials refused | `Retrying` | none: the token is still good |
//! | `Fetching` | transient failure | `HeldBack` | backoff; fail those whose patience ends before the next attempt |
//! | `Renewing` | transient failure | `Retrying` | backoff |
//! | `Fetching`, `Renewing` | a failure that may have used up the refresh token | as above | as above; the token's time is now over when the grace is |
//! | `Good`, `Retrying` | the token that is held was answered 401 | `Empty`, `HeldBack` | withdraw it |
//! | `Renewing` | the same | `Fetching` | withdraw it |
//! | any | another token was answered 401 | same | none: its successor is already here |
//! | any | the held token was answered 401, and so were its fresh predecessors | same | none until the doubt is over |
//! | `Good`, `Retrying` | the issuer says that the held token was revoked | `Empty`, `HeldBack` | withdraw it; forget the refresh token if it is dead, too |
//! | `Renewing` | the same | `Fetching` | the same |
//! | any | the same, and so were its fresh predecessors | same | the same once the doubt is over: the token ends then |
//!
//! A token that was revoked is followed by another whether somebody waits or not, if a caller asked within the last lifetime.
//! It is as old as it can be: what the machine does from then on is what it does when a token has ended by time.
//!
//! Doubt is what ends a loop: an API that refuses every token, however fresh, or a feed that revokes them, does not make the
//! keeper ask for one per call. The first two in a row are believed at once; after that a token has to be 1 s old,
//! then 2 s, 4 s … 60 s.
//!
//! # Doubt
//!
//! A refresh whose answer is lost may have used up its token, and to send a used one again looks like theft (RFC 9700
//! §4.14.2). Some servers answer it alike for a while, the *grace*. Within it, counted from when the token was first
//! sent, the token is sent again; after it, or where there is none, credentials are.

mod policy;

#[cfg(test)]
mod cases;
#[cfg(test)]
mod properties;

use std::time::Duration;

pub use policy::Policy;

/// How a token is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Grant {
    /// With the credentials: client credentials, or a password.
    Credentials,
    /// With the refresh token.
    Refresh,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Input {
    /// A caller wants a token and waits for the answer.
    Asked,
    /// A refresh token was found that is stored.
    ///
    /// It comes before the request in flight is sent, since it decides what that is.
    Restored {
        /// Until when it may be used, if it was sent before and nobody knows what became of it.
        until: Option<Duration>,
    },
    /// Callers were served from the held token without asking the machine, most recently at this time.
    Served {
        /// When, since the keeper began.
        at: Duration,
    },
    /// The request in flight brought a token.
    Granted {
        /// How long the token lives, counted from when it was asked for.
        lifetime: Duration,
        /// The refresh token that came with it.
        refresh_token: Received,
        /// A random number in `[0, 1)`.
        roll: f64,
    },
    /// The request in flight brought none.
    Failed {
        /// Why.
        failure: Failure,
        /// Whether the server may have used up the refresh token that was sent, if one was.
        maybe_spent: bool,
        /// A random number in `[0, 1)`.
        roll: f64,
    },
    /// An API answered 401 to the token of this generation.
    Invalidated {
        /// The [`Machine::generation`] of the token that was sent.
        generation: u64,
    },
    /// The issuer says that a token was revoked.
    Revoked(Revoked),
    /// The time of [`Machine::wake_at`] has come.
    Timer,
}

/// A token that its issuer has revoked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Revoked {
    /// The [`Machine::generation`] of the token.
    pub generation: u64,
    /// Before this, since the keeper began, the issuer may give no token that is not revoked as well.
    pub not_before: Duration,
    /// Whether the refresh token is dead, too.
    pub with_refresh_token: bool,
    /// A random number in `[0, 1)`, where many keepers may have heard the same; else 0.
    pub roll: f64,
}

/// The refresh token of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Received {
    /// The answer had none. After a refresh the old one stays good (RFC 6749 §6).
    Absent,
    /// The answer had one that could not be stored, so none is used.
    Unstored,
    /// The answer had one, for this long if it said so.
    Present {
        /// How long the refresh token lives, counted from when it was asked for.
        lifetime: Option<Duration>,
    },
}

/// Why a request brought no token, as far as it decides what to do next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// The server understood and said no: an error of RFC 6749 §5.2, or 401.
    Refused,
    /// Anything else: it may work the next time.
    Transient {
        /// The server's `Retry-After`.
        retry_after: Option<Duration>,
    },
}

/// What the shell has to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// Send a token request.
    Request(Grant),
    /// Answer every waiting caller with the held token.
    Release,
    /// Answer every waiting caller with the last error.
    Fail,
    /// The held token is not to be used any more.
    Withdraw,
    /// The refresh token is dead.
    ForgetRefreshToken,
}

/// Where the machine stands; see the [module documentation](self).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// No token, no request, no reason to wait.
    Empty,
    /// No token; a request is in flight.
    Fetching,
    /// No token; the next request has to wait.
    HeldBack,
    /// A good token.
    Good,
    /// A good token, and a request for its successor.
    Renewing,
    /// A good token; the next request has to wait.
    Retrying,
}

/// The machine's whole state.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    policy: Policy,
    generation: u64,
    held: Option<Held>,
    refresh: Option<Refresh>,
    flight: Option<Flight>,
    hold: Option<Hold>,
    /// Failed attempts since the last token.
    failures: u32,
    /// When a caller last wanted a token.
    asked_at: Option<Duration>,
    /// Since when the longest waiting caller waits.
    waiting_since: Option<Duration>,
    /// Before this, credentials are not sent again.
    credentials_from: Duration,
    /// Tokens withdrawn in a row, each before it was renewed by time.
    withdrawn: u32,
    /// Whether the held token was withdrawn, and not yet replaced.
    replacing: bool,
    /// Nobody asked for a lifetime, so nothing is renewed until somebody does.
    dormant: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Held {
    obtained_at: Duration,
    lifetime: Duration,
    renew_at: Duration,
    good_until: Duration,
    /// It was revoked, so that both of these come sooner than they would.
    revoked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Refresh {
    until: Option<Duration>,
}

impl Refresh {
    fn is_usable(self, now: Duration) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Flight {
    grant: Grant,
    started: Duration,
}

/// Why the next request has to wait, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Hold {
    /// Before this, no caller's ask makes a request.
    until: Duration,
    /// Before this, the keeper makes none of its own accord.
    retry_at: Duration,
    /// The server said no, so callers are not made to wait.
    refused: bool,
}

impl Machine {
    /// A machine without a token.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            generation: 0,
            held: None,
            refresh: None,
            flight: None,
            hold: None,
            failures: 0,
            asked_at: None,
            waiting_since: None,
            credentials_from: Duration::ZERO,
            withdrawn: 0,
            replacing: false,
            dormant: false,
        }
    }

    /// Takes one input and says what to do about it.
    pub fn step(&mut self, input: Input, now: Duration) -> Vec<Action> {
        match input {
            Input::Asked => self.asked(now),
            Input::Restored { until } => self.restored(until, now),
            Input::Served { at } => {
                self.note_interest(at);
                Vec::new()
            }
            Input::Granted { lifetime, refresh_token, roll } => {
                self.granted(lifetime, refresh_token, roll, now)
            }
            Input::Failed { failure, maybe_spent, roll } => {
                if maybe_spent {
                    self.doubt();
                }
                self.failed(failure, roll, now)
            }
            Input::Invalidated { generation } => self.invalidated(generation, now),
            Input::Revoked(revoked) => self.revoked(revoked, now),
            Input::Timer => self.timer(now),
        }
    }

    /// When to send [`Input::Timer`], if nothing else happens before.
    pub fn wake_at(&self) -> Option<Duration> {
        if self.flight.is_some() {
            return None;
        }
        if self.waiting_since.is_some() {
            return self.hold.map(|hold| hold.until);
        }
        if self.dormant {
            return None;
        }
        let held = self.held?;
        Some(self.hold.map_or(held.renew_at, |hold| held.renew_at.max(hold.retry_at)))
    }

    /// Which token is held: 0 before the first, then one more with each.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Until when the held token can be handed out without asking the machine.
    ///
    /// `None` while there is none, and while the machine is dormant: then an ask has to reach it, since it is what
    /// wakes the machine.
    pub fn good_until(&self) -> Option<Duration> {
        self.held.filter(|_| !self.dormant).map(|held| held.good_until)
    }

    /// Until when the held token is good, dormant or not.
    pub fn held_until(&self) -> Option<Duration> {
        self.held.map(|held| held.good_until)
    }

    /// When the held token is to be renewed, and until when it is good, dormant or not.
    pub fn life(&self) -> Option<(Duration, Duration)> {
        self.held.map(|held| (held.renew_at, held.good_until))
    }

    /// Whether this is the held token, and was revoked.
    pub fn is_revoked(&self, generation: u64) -> bool {
        generation == self.generation && self.held.is_some_and(|held| held.revoked)
    }

    /// How long until the next attempt, if the machine waits for one.
    pub fn retry_in(&self, now: Duration) -> Option<Duration> {
        self.hold.map(|hold| hold.until.saturating_sub(now))
    }

    /// Where the machine stands.
    pub fn phase(&self, now: Duration) -> Phase {
        let held_back = self.hold.is_some_and(|hold| now < hold.until.max(hold.retry_at));
        match (self.is_good(now), self.flight.is_some()) {
            (true, true) => Phase::Renewing,
            (true, false) if held_back => Phase::Retrying,
            (true, false) => Phase::Good,
            (false, true) => Phase::Fetching,
            (false, false) if held_back => Phase::HeldBack,
            (false, false) => Phase::Empty,
        }
    }

    fn asked(&mut self, now: Duration) -> Vec<Action> {
        self.note_interest(now);
        if self.is_good(now) {
            let mut actions = vec![Action::Release];
            actions.extend(self.renew_if_due(now));
            return actions;
        }
        self.waiting_since.get_or_insert(now);
        if self.flight.is_some() {
            return Vec::new();
        }
        if self.hold.is_some_and(|hold| now < hold.until) {
            return self.settle_waiting();
        }
        self.launch(now)
    }

    fn timer(&mut self, now: Duration) -> Vec<Action> {
        if self.waiting_since.is_some() && self.flight.is_none() {
            return match self.hold {
                Some(hold) if now < hold.until => Vec::new(),
                _ => self.launch(now),
            };
        }
        self.renew_if_due(now)
    }

    fn restored(&mut self, until: Option<Duration>, now: Duration) -> Vec<Action> {
        if !self.policy.use_refresh_tokens || self.refresh.is_some() {
            return Vec::new();
        }
        let refresh = Refresh { until };
        self.refresh = Some(refresh);
        match &mut self.flight {
            Some(flight) if flight.grant == Grant::Credentials && refresh.is_usable(now) => {
                flight.grant = Grant::Refresh;
                vec![Action::Request(Grant::Refresh)]
            }
            _ => Vec::new(),
        }
    }

    /// Starts a request if the token's share is over and somebody still wants it.
    fn renew_if_due(&mut self, now: Duration) -> Vec<Action> {
        let Some(held) = self.held else { return Vec::new() };
        if self.flight.is_some() || self.wake_at().is_none_or(|due| now < due) {
            return Vec::new();
        }
        let idle = self.asked_at.is_none_or(|at| now.saturating_sub(at) >= held.lifetime);
        if idle {
            self.dormant = true;
            return Vec::new();
        }
        self.launch(now)
    }

    fn launch(&mut self, now: Duration) -> Vec<Action> {
        let refreshable = self.refresh.is_some_and(|refresh| refresh.is_usable(now));
        let grant = if refreshable { Grant::Refresh } else { Grant::Credentials };
        if grant == Grant::Credentials && now < self.credentials_from {
            let until = self.credentials_from;
            self.hold = Some(Hold { until, retry_at: until, refused: false });
            return self.settle_waiting();
        }
        self.hold = None;
        self.flight = Some(Flight { grant, started: now });
        vec![Action::Request(grant)]
    }

    fn granted(
        &mut self,
        lifetime: Duration,
        received: Received,
        roll: f64,
        now: Duration,
    ) -> Vec<Action> {
        let Some(flight) = self.flight.take() else { return Vec::new() };
        let lifetime = self.policy.lifetime(lifetime);
        if flight.grant == Grant::Credentials {
            self.credentials_from = now + self.policy.credentials_interval;
        }
        match received {
            Received::Present { lifetime } if self.policy.use_refresh_tokens => {
                self.refresh = Some(Refresh {
                    until: lifetime.map(|lifetime| flight.started.saturating_add(lifetime)),
                });
            }
            // "The authorization server MAY issue a new refresh token" (RFC 6749 §6): if it does not, the old one
            // goes on. One that came before these credentials does not.
            _ if flight.grant == Grant::Credentials => self.refresh = None,
            Received::Unstored => self.refresh = None,
            _ => {}
        }
        if flight.started + lifetime <= now {
            return self.hold_transient(None, roll, now);
        }
        self.failures = 0;
        self.hold = None;
        if !self.replacing {
            self.withdrawn = 0;
        }
        self.replacing = false;
        self.generation += 1;
        let renew_at = flight.started + lifetime.mul_f64(self.policy.share);
        self.held = Some(Held {
            obtained_at: now,
            lifetime,
            // An answer that took longer than the share must not start the next request at once.
            renew_at: renew_at.max(now + lifetime / policy::RENEWALS_PER_LIFETIME),
            good_until: flight.started + (lifetime - self.policy.margin(lifetime)),
            revoked: false,
        });
        self.release()
    }

    fn failed(&mut self, failure: Failure, roll: f64, now: Duration) -> Vec<Action> {
        let Some(flight) = self.flight.take() else { return Vec::new() };
        match (failure, flight.grant) {
            (Failure::Refused, Grant::Refresh) => {
                self.refresh = None;
                let mut actions = vec![Action::ForgetRefreshToken];
                actions.extend(self.launch(now));
                actions
            }
            (Failure::Refused, Grant::Credentials) => {
                self.credentials_from = now + self.policy.credentials_interval;
                self.failures += 1;
                self.hold = Some(Hold {
                    until: now + self.policy.refusal_hold(roll),
                    retry_at: now + self.policy.refusal_retry(roll),
                    refused: true,
                });
                self.fail()
            }
            (Failure::Transient { retry_after }, _) => self.hold_transient(retry_after, roll, now),
        }
    }

    /// The refresh token in flight may be used up: it is of use for as long as the server answers it alike.
    fn doubt(&mut self) {
        let refreshing = self.flight.filter(|flight| flight.grant == Grant::Refresh);
        let (Some(flight), Some(refresh)) = (refreshing, &mut self.refresh) else { return };
        // The grace begins when the token is used up, and that can have been the first time it was sent.
        let over = flight.started.saturating_add(self.policy.grace);
        refresh.until = Some(refresh.until.map_or(over, |until| until.min(over)));
    }

    fn hold_transient(
        &mut self,
        retry_after: Option<Duration>,
        roll: f64,
        now: Duration,
    ) -> Vec<Action> {
        let until = now + self.policy.backoff(self.failures, retry_after, roll);
        self.failures = self.failures.saturating_add(1);
        self.hold = Some(Hold { until, retry_at: until, refused: false });
        self.settle_waiting()
    }

    /// Lets the callers wait until the hold is over, or fails them if they would lose patience before.
    fn settle_waiting(&mut self) -> Vec<Action> {
        let (Some(since), Some(hold)) = (self.waiting_since, self.hold) else { return Vec::new() };
        if hold.refused || hold.until.saturating_sub(since) > self.policy.patience {
            return self.fail();
        }
        Vec::new()
    }

    fn invalidated(&mut self, generation: u64, now: Duration) -> Vec<Action> {
        // What is to be done about one that was revoked is done.
        let is_meant = |held: &Held| generation == self.generation && !held.revoked;
        let Some(held) = self.held.filter(is_meant) else { return Vec::new() };
        let age = now.saturating_sub(held.obtained_at);
        if age < policy::doubt(self.withdrawn) {
            return Vec::new();
        }
        self.count_withdrawn(age);
        self.held = None;
        vec![Action::Withdraw]
    }

    fn revoked(&mut self, revoked: Revoked, now: Duration) -> Vec<Action> {
        let Revoked { generation, not_before, with_refresh_token, roll } = revoked;
        let doubt = policy::doubt(self.withdrawn);
        let is_meant = |held: &&mut Held| generation == self.generation && !held.revoked;
        let Some(held) = self.held.as_mut().filter(is_meant) else { return Vec::new() };
        let age = now.saturating_sub(held.obtained_at);
        let ends_at = now.max(held.obtained_at + doubt);
        held.revoked = true;
        held.good_until = held.good_until.min(ends_at);
        held.renew_at = held.renew_at.min(ends_at);
        let is_over = held.good_until <= now;
        self.count_withdrawn(age);
        let mut actions = Vec::new();
        if with_refresh_token && self.refresh.take().is_some() {
            actions.push(Action::ForgetRefreshToken);
        }
        if is_over {
            actions.push(Action::Withdraw);
        }
        if self.flight.is_none() {
            let again = ends_at.max(not_before) + self.policy.revocation_spread(roll);
            self.hold_at_least(not_before, again, now);
        }
        actions
    }

    /// A token of this age ends before its time.
    fn count_withdrawn(&mut self, age: Duration) {
        self.withdrawn =
            if age >= policy::DOUBT_CAP { 1 } else { self.withdrawn.saturating_add(1) };
        self.replacing = true;
    }

    /// Waits at least until then: callers, and the keeper of its own accord.
    fn hold_at_least(&mut self, until: Duration, retry_at: Duration, now: Duration) {
        match &mut self.hold {
            Some(hold) => {
                hold.until = hold.until.max(until);
                hold.retry_at = hold.retry_at.max(retry_at);
            }
            None if until.max(retry_at) <= now => {}
            None => self.hold = Some(Hold { until, retry_at, refused: false }),
        }
    }

    fn release(&mut self) -> Vec<Action> {
        if self.waiting_since.take().is_some() { vec![Action::Release] } else { Vec::new() }
    }

    fn fail(&mut self) -> Vec<Action> {
        if self.waiting_since.take().is_some() { vec![Action::Fail] } else { Vec::new() }
    }

    fn note_interest(&mut self, at: Duration) {
        self.asked_at = self.asked_at.max(Some(at));
        self.dormant = false;
    }

    fn is_good(&self, now: Duration) -> bool {
        self.held.is_some_and(|held| now < held.good_until)
    }
}
