//! The keeper's task.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use super::follow::Following;
use super::{Shared, State};
use crate::exchange::Obtained;
use crate::machine::{Grant, Phase};
use crate::response::NoToken;
use crate::token::BoxFuture;
use crate::{Error, rt};

/// Requests that left with the last token have this long to arrive before its family is revoked, and it with them.
const ARRIVAL: Duration = Duration::from_secs(1);

/// A request on its way.
struct Flight {
    grant: Grant,
    outcome: BoxFuture<'static, Result<Obtained, NoToken>>,
}

/// Does what the machine wants until it wants nothing more, or nobody is left to want it.
pub(super) async fn drive(shared: Arc<Shared>) {
    let mut abandon = Abandon { shared: shared.clone(), flying: None, done: false };
    let mut flight: Option<Flight> = None;
    // Refresh tokens being revoked, beside whatever else is done.
    let mut revoking: Option<BoxFuture<'static, ()>> = None;
    let mut following: Option<Following> = None;
    loop {
        if shared.is_to_be_restored() {
            shared.restore(shared.exchange.ledger.load().await);
        }
        if shared.feed.is_some() && shared.is_to_forget() {
            shared.exchange.ledger.forget().await;
        }
        let wake_at = {
            let mut state = shared.state();
            if flight.is_none() {
                flight = take_off(&shared, &mut state);
            }
            let wake_at = state.machine.wake_at();
            let nothing = flight.is_none() && revoking.is_none() && wake_at.is_none();
            if state.closed || nothing {
                // Under the lock, so that an ask either sees the task or starts another.
                state.driven = false;
                abandon.done = true;
                return;
            }
            if following.is_none() && state.token.is_some() {
                following = Following::begin(&shared);
            }
            // A token that is not good any more is taken away on time, whatever else is waited for.
            let now = shared.clock.now();
            let good_until = state.machine.good_until().filter(|until| *until > now);
            wake_at.into_iter().chain(good_until).min()
        };
        abandon.flying = flight.as_ref().map(|flight| flight.grant);
        let wait = wake_at.map(|at| at.saturating_sub(shared.clock.now()));
        let timer = async {
            match wait {
                Some(wait) => rt::sleep(wait).await,
                None => pending().await,
            }
        };
        let landed = async {
            match &mut flight {
                Some(Flight { grant, outcome }) => (*grant, outcome.await),
                None => pending().await,
            }
        };
        let revoked = async {
            match &mut revoking {
                Some(revoking) => revoking.await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            (grant, outcome) = landed => {
                flight = None;
                abandon.flying = None;
                if outcome.is_ok() && revoking.is_none() {
                    revoking = revoke(&shared);
                }
                shared.land(grant, outcome);
            }
            () = revoked => revoking = None,
            () = timer => shared.tick(),
            () = shared.changed.notified() => {}
        }
    }
}

fn take_off(shared: &Shared, state: &mut State) -> Option<Flight> {
    let grant = state.pending.take()?;
    let refresh_token = state.refresh_token.clone();
    let exchange = shared.exchange.clone();
    let holds = state.machine.phase(shared.clock.now()) == Phase::Renewing;
    let outcome = Box::pin(exchange.run(grant, refresh_token, holds));
    Some(Flight { grant, outcome })
}

/// Revokes what was given up, now that its successor is here, if anything was.
fn revoke(shared: &Shared) -> Option<BoxFuture<'static, ()>> {
    let exchange = shared.exchange.clone();
    exchange.revocation()?;
    Some(Box::pin(async move {
        if !exchange.ledger.abandoned().await.is_empty() {
            rt::sleep(ARRIVAL).await;
            exchange.revoke_abandoned().await;
        }
    }))
}

/// Tells the machine that a request will never come back, if its task is dropped or panics.
struct Abandon {
    shared: Arc<Shared>,
    flying: Option<Grant>,
    done: bool,
}

impl Drop for Abandon {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut state = self.shared.state();
        state.driven = false;
        // Nobody is left who would take it away on time: the next ask finds somebody.
        self.shared.slot.store(None);
        let grant = state.pending.take().or(self.flying);
        drop(state);
        if let Some(grant) = grant {
            self.shared.land(grant, Err(NoToken::transient(Error::Abandoned)));
        }
    }
}
