//! Where a keeper is built once for all who ask for it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::protocol::{AgentError, Trouble};
use super::register::Register;
use crate::Keeper;

/// How long it is remembered that a keeper cannot be built, so that a thousand processes with the same mistake are one
/// discovery.
pub(super) const FAILURE_HOLD: Duration = Duration::from_secs(2);

/// A keeper of the agent.
pub(crate) struct Kept {
    /// Its name in the agent's file.
    pub(crate) name: Option<String>,
    /// What it is called in answers: no other of this or any other run of an agent has it.
    pub(crate) id: String,
    pub(crate) keeper: Keeper,
    /// How often it was asked for its token.
    pub(crate) asked: AtomicU64,
}

/// What becomes of building one.
pub(super) type Built = Result<Arc<Kept>, AgentError>;

/// Where a keeper is built, and stands then.
#[derive(Clone)]
pub(super) struct Site(watch::Receiver<Option<Building>>);

#[derive(Clone)]
enum Building {
    Kept(Arc<Kept>),
    /// It could not be built, and is not tried again until then.
    Failed(AgentError, Instant),
}

impl Site {
    /// Builds a keeper, whether or not anybody waits for it.
    pub(super) fn begin(
        register: &Arc<Register>,
        name: Option<String>,
        keeper: impl Future<Output = Result<Keeper, AgentError>> + Send + 'static,
    ) -> Self {
        let (built, site) = watch::channel(None);
        let register = Arc::clone(register);
        tokio::spawn(async move {
            built.send_replace(Some(match keeper.await {
                Ok(keeper) => {
                    let kept = register.keep(name, keeper);
                    let provider = kept.keeper.provider().name();
                    tracing::info!(name = kept.name, keeper = kept.id, provider, "keeper built");
                    Building::Kept(kept)
                }
                Err(error) => {
                    tracing::warn!(name, %error, "keeper not built");
                    Building::Failed(error, Instant::now() + FAILURE_HOLD)
                }
            }));
        });
        Self(site)
    }

    /// Nobody works here, so that the first ask begins.
    pub(super) fn empty() -> Self {
        Self(watch::channel(None).1)
    }

    pub(super) fn of(kept: Arc<Kept>) -> Self {
        Self(watch::channel(Some(Building::Kept(kept))).1)
    }

    /// Whether it is a keeper, will be one, or could not be built a moment ago.
    pub(super) fn is_of_use(&self, now: Instant) -> bool {
        match &*self.0.borrow() {
            Some(Building::Kept(_)) => true,
            Some(Building::Failed(_, until)) => now < *until,
            // Whoever builds it is gone if it panicked.
            None => self.0.has_changed().is_ok(),
        }
    }

    /// The keeper, once it is there.
    pub(super) async fn built(mut self) -> Built {
        match self.0.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(Building::Kept(kept))) => Ok(Arc::clone(kept)),
            Ok(Some(Building::Failed(error, _))) => Err(error.clone()),
            Ok(None) | Err(_) => {
                Err(AgentError::new(Trouble::Transient, "the keeper was not built"))
            }
        }
    }

    pub(super) fn kept(&self) -> Option<Arc<Kept>> {
        match &*self.0.borrow() {
            Some(Building::Kept(kept)) => Some(Arc::clone(kept)),
            _ => None,
        }
    }
}
