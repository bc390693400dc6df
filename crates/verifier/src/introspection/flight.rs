//! Questions under way: one for each token, however many ask, and not too many at once.
//!
//! Each is a task of its own, so that it is none the worse for a client that goes away.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokenry_core::{Secret, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::answer::{Answer, Lenience, Unreadable, judge, judge_signed};
use super::health::{Health, Try};
use super::negatives::Negatives;
use super::{IntrospectionSettings, IntrospectionSource, SOON, Surroundings};
use crate::cache::{Entry, Print, TokenCache};
use crate::issuer::{Epoch, Found, Revocations, marks};
use crate::{BuildError, FetchError, IntrospectionMetrics, Policy, Rejection};

/// What comes of a question, once it is there.
pub(super) type Landing = watch::Receiver<Option<Result<Found, Rejection>>>;

/// All questions to one issuer.
pub(super) struct Flights {
    source: Arc<dyn IntrospectionSource>,
    policy: Policy,
    lenience: Lenience,
    ttl: Duration,
    deadline: Duration,
    revocations: Arc<Revocations>,
    epoch: Arc<Epoch>,
    cache: Arc<TokenCache>,
    /// The issuer's, in the cache.
    number: usize,
    negatives: Negatives,
    /// For texts that anybody may have made up.
    unsigned: Lane,
    /// For JWTs that are good by themselves: nobody who makes up others shuts these out.
    signed: Lane,
    under_way: Mutex<UnderWay>,
    asked: AtomicU64,
    failed: AtomicU64,
    spared: AtomicU64,
}

/// Questions that are in each other's way.
#[derive(Debug)]
struct Lane {
    health: Health,
    room: Arc<Semaphore>,
}

impl Lane {
    fn new(room: usize) -> Self {
        let room = Arc::new(Semaphore::new(room.min(Semaphore::MAX_PERMITS)));
        Self { health: Health::default(), room }
    }
}

#[derive(Default)]
struct UnderWay {
    flights: HashMap<Print, (u64, Landing)>,
    /// What tells one from an earlier one about the same token.
    next: u64,
}

/// What a request that has asked gets.
pub(super) enum Boarded {
    /// It was just said.
    Known(Found),
    /// It will be said here.
    Waiting(Landing),
}

/// One question.
struct Flight {
    number: u64,
    print: Print,
    text: Secret,
    /// What a JWT has been found to be by itself.
    signed: Option<Found>,
    now: Timestamp,
    one: Try,
    landing: watch::Sender<Option<Result<Found, Rejection>>>,
    /// Given back at the end.
    _room: OwnedSemaphorePermit,
}

impl Flights {
    pub(super) fn new(
        settings: &IntrospectionSettings,
        surroundings: &Surroundings<'_>,
    ) -> Result<Self, BuildError> {
        let Surroundings { policy, revocations, epoch, http, cache: (cache, number) } =
            surroundings;
        Ok(Self {
            source: settings.open(http)?,
            policy: Policy::clone(policy),
            lenience: settings.lenience,
            ttl: settings.ttl,
            deadline: settings.deadline,
            revocations: Arc::clone(revocations),
            epoch: Arc::clone(epoch),
            cache: Arc::clone(cache),
            number: *number,
            negatives: Negatives::new(settings.negative_ttl),
            unsigned: Lane::new(settings.concurrent),
            signed: Lane::new(settings.concurrent),
            under_way: Mutex::default(),
            asked: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            spared: AtomicU64::new(0),
        })
    }

    /// Joins the question about this token, or puts it.
    pub(super) fn board(
        this: &Arc<Self>,
        print: Print,
        text: &str,
        signed: Option<&Found>,
        is_good: impl Fn(&Entry) -> bool,
        now: Timestamp,
    ) -> Result<Boarded, Rejection> {
        let mut under_way = this.under_way();
        if let Some((_, landing)) = under_way.flights.get(&print) {
            return Ok(Boarded::Waiting(landing.clone()));
        }
        // Under the lock under which answers are kept: whoever comes a moment after an answer asks no second time.
        if let Some(rejection) = this.negatives.find(&print, now) {
            this.spared.fetch_add(1, Ordering::Relaxed);
            return Err(rejection);
        }
        if let Some(entry) = this.cache.find(&print)
            && let Some(entry) = entry.as_ref().filter(|entry| is_good(entry))
        {
            return Ok(Boarded::Known(entry.found()));
        }
        let unavailable = |retry_after| Rejection::Unavailable { retry_after };
        let lane = this.lane(signed.is_some());
        let room = Arc::clone(&lane.room).try_acquire_owned().map_err(|_| unavailable(SOON))?;
        let one = lane.health.admit().map_err(unavailable)?;
        let (sender, landing) = watch::channel(None);
        under_way.next += 1;
        let flight = Flight {
            number: under_way.next,
            print,
            text: Secret::new(text),
            signed: signed.cloned(),
            now,
            one,
            landing: sender,
            _room: room,
        };
        under_way.flights.insert(print, (flight.number, landing.clone()));
        tokio::spawn(Arc::clone(this).fly(flight));
        Ok(Boarded::Waiting(landing))
    }

    async fn fly(self: Arc<Self>, flight: Flight) {
        let Flight { number, print, text, signed, now, one, landing, _room } = flight;
        // Before all else: what happens from here on may have been overlooked.
        let epoch = self.epoch.now();
        self.asked.fetch_add(1, Ordering::Relaxed);
        let lane = self.lane(signed.is_some());
        let (landed, is_kept) = match self.answer(text).await {
            Ok(answer) => {
                self.tell_answered(lane, one);
                (self.judge(answer, signed, epoch, now), true)
            }
            Err(trouble) => {
                let of_this_one = trouble.is_of_this_one();
                self.tell_failed(lane, one, &trouble);
                (Err(Rejection::Unavailable { retry_after: SOON }), of_this_one)
            }
        };
        self.land(number, print, &landed, is_kept, now);
        landing.send_replace(Some(landed));
    }

    /// Keeps what was said, unless it was forgotten before it arrived.
    fn land(
        &self,
        number: u64,
        print: Print,
        landed: &Result<Found, Rejection>,
        is_kept: bool,
        now: Timestamp,
    ) {
        let mut under_way = self.under_way();
        if under_way.flights.get(&print).is_none_or(|(own, _)| *own != number) {
            return;
        }
        under_way.flights.remove(&print);
        match landed {
            Ok(found) if !found.good.is_empty() => {
                self.cache.keep(Entry::new(print, self.number, found, true));
            }
            Err(rejection) if is_kept => self.negatives.keep(print, rejection.clone(), now),
            _ => {}
        }
    }

    async fn answer(&self, text: Secret) -> Result<Answer, Trouble> {
        let (source, issuer) = (Arc::clone(&self.source), self.policy.issuer.clone());
        // In a task of its own, so that a source that panics is one that failed.
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { source.introspect(&issuer, text.expose()).await });
        let body: Bytes = match timeout(self.deadline, tasks.join_next()).await {
            Err(_) => return Err(Trouble::Fetch(FetchError::Timeout)),
            Ok(Some(Ok(answered))) => answered?,
            Ok(_) => return Err(Trouble::Panicked),
        };
        Ok(Answer::read(&body)?)
    }

    fn judge(
        &self,
        answer: Answer,
        signed: Option<Found>,
        epoch: u64,
        now: Timestamp,
    ) -> Result<Found, Rejection> {
        let claims = match answer {
            Answer::Inactive => return Err(Rejection::Inactive),
            Answer::Active(claims) => *claims,
        };
        let life = self.policy.life(&claims);
        let found = match signed {
            Some(found) => {
                judge_signed(&claims, &found.token, &self.policy, now)?;
                let end = if claims.exp.is_some() { life.end } else { found.good.end };
                Found { good: both(&found.good, &(life.start..end)), ..found }
            }
            None => {
                let token = Arc::new(judge(claims, &self.policy, self.lenience, now)?);
                Found { token, key: None, good: life, epoch }
            }
        };
        let kid = found.key.as_ref().and_then(|key| key.kid());
        if self.revocations.covers(&marks(&found.token, kid), now) {
            return Err(Rejection::Revoked);
        }
        // As of when it was asked, and a clock that is set back ends it as well.
        let good = both(&found.good, &(now - self.ttl..now + self.ttl));
        Ok(Found { good, epoch: found.epoch.min(epoch), ..found })
    }

    const fn lane(&self, is_signed: bool) -> &Lane {
        if is_signed { &self.signed } else { &self.unsigned }
    }

    fn tell_answered(&self, lane: &Lane, one: Try) {
        if lane.health.answered(one) {
            info!(issuer = self.policy.issuer, "introspection is answered again");
        }
    }

    fn tell_failed(&self, lane: &Lane, one: Try, trouble: &Trouble) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let issuer = &self.policy.issuer;
        if trouble.is_of_this_one() {
            let _ = lane.health.answered(one);
            // Whoever sends such tokens could fill the log with more than this.
            debug!(issuer, %trouble, "introspection of a token failed");
        } else if lane.health.failed(one) {
            warn!(issuer, %trouble, "introspection failed");
        } else {
            debug!(issuer, %trouble, "introspection failed again");
        }
    }

    pub(super) fn forget(&self, print: &Print) {
        let mut under_way = self.under_way();
        under_way.flights.remove(print);
        self.negatives.forget(print);
    }

    pub(super) fn forget_all(&self) {
        let mut under_way = self.under_way();
        under_way.flights.clear();
        self.negatives.clear();
    }

    pub(super) fn metrics(&self) -> IntrospectionMetrics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        IntrospectionMetrics {
            asked: read(&self.asked),
            failed: read(&self.failed),
            spared: read(&self.spared),
            failing: self.unsigned.health.is_failing() || self.signed.health.is_failing(),
        }
    }

    /// Whether nothing is asked about JWTs for a while.
    pub(super) fn is_paused(&self) -> bool {
        self.signed.health.is_paused()
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        // Nothing under this lock can panic; and if it did, every state of these fields is a good one.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights")
            .field("unsigned", &self.unsigned)
            .field("signed", &self.signed)
            .finish_non_exhaustive()
    }
}

/// The time that is in both.
fn both(one: &Range<Timestamp>, other: &Range<Timestamp>) -> Range<Timestamp> {
    one.start.max(other.start)..one.end.min(other.end)
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("the source panicked")]
    Panicked,
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

impl Trouble {
    /// Whether only the question about this token went wrong, as far as can be told: the issuer is there, and has
    /// nothing against us. Whoever finds a token that it stumbles over must not be able to shut out all others.
    fn is_of_this_one(&self) -> bool {
        match self {
            Self::Fetch(FetchError::Status(status)) => {
                // What says that there are too many questions, that we may not ask, or that there is nobody.
                !matches!(status, 401 | 403 | 404 | 405 | 410 | 429 | 502..=504)
            }
            Self::Fetch(FetchError::BodyTooLong) | Self::Unreadable(_) | Self::Panicked => true,
            Self::Fetch(_) => false,
        }
    }
}
