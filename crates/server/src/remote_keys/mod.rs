//! Key sets that others publish, by URL.
//!
//! - However many ask for one, it is fetched once at a time, and for all of them.
//! - A `kid` that nobody knows has it fetched anew, but not more often than once in the cooldown: a flood of made-up
//!   ones costs the publisher nothing more.
//! - While a publisher does not answer, what it published last is good for a day.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quick_cache::sync::Cache;
use tokenry_core::Timestamp;
use tokenry_core::jose::{JwkSet, JwkSetError};
use tokio::sync::{Semaphore, watch};

use crate::fetch::{Fetch, FetchError};

/// How long a set is good without being fetched again: a key that is taken out of it stops within this.
const LIFETIME: Duration = Duration::from_mins(5);

/// From one fetch of a URL to the next, at least: two a minute are the most that strangers can cause.
const COOLDOWN: Duration = Duration::from_secs(30);

/// How long a set is used while it cannot be fetched. A weekend's outage is noticed within a day; a stolen key should
/// not be good for longer than that.
const MAX_STALE: Duration = Duration::from_hours(24);

/// The wait after the first failure where no set was ever fetched; it doubles with each, up to the cooldown. Short, for
/// those who start together with their publisher.
const FIRST_RETRY: Duration = Duration::from_secs(5);

/// How many URLs are remembered. Most sets have two or three keys of 1 KiB.
const MAX_URLS: usize = 4_096;

/// How many fetches are under way at once; each has a connection. What is more is answered as if it had failed.
const MAX_FETCHES: usize = 64;

/// The key sets in memory, and the way to fetch them.
#[derive(Debug)]
pub(crate) struct RemoteKeys {
    fetch: Arc<dyn Fetch>,
    sources: Cache<String, Arc<Source>>,
    places: Arc<Semaphore>,
}

/// Where a set is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place<'a> {
    /// At this URL.
    Url(&'a str),
    /// Where the metadata of this issuer say (OpenID Connect Discovery §4, RFC 8414 §3).
    Issuer(&'a str),
}

/// Why there is no set.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum NoKeys {
    /// It was never fetched, or a day ago.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// What was fetched is none.
    #[error(transparent)]
    Set(#[from] JwkSetError),
    /// The issuer's metadata are of another issuer, or name no set (RFC 8414 §3.3).
    #[error("the metadata are not those of the issuer, or name no keys")]
    Metadata,
    /// Too many others are being fetched.
    #[error("too many key sets are being fetched")]
    Busy,
    /// The fetch has ended without an answer.
    #[error("the fetch was broken off")]
    BrokenOff,
}

/// One place.
#[derive(Debug)]
struct Source {
    /// The URL of the set, or the issuer.
    url: Box<str>,
    /// Whether it is an issuer.
    is_issuer: bool,
    /// What its keys may be for, beside signatures.
    usage: Option<&'static str>,
    state: Mutex<State>,
}

/// What is known of it, under a lock that is never held across an await.
#[derive(Debug, Default)]
struct State {
    held: Option<Held>,
    /// When it was fetched last, whatever came of it.
    tried_at: Option<Timestamp>,
    /// Why it could not be fetched, since it last could.
    failure: Option<NoKeys>,
    failures: u32,
    /// Ends with the fetch that is under way.
    flight: Option<watch::Receiver<()>>,
}

#[derive(Debug)]
struct Held {
    set: Arc<JwkSet>,
    fetched_at: Timestamp,
}

impl RemoteKeys {
    pub(crate) fn new(fetch: Arc<dyn Fetch>) -> Self {
        let places = Arc::new(Semaphore::new(MAX_FETCHES));
        Self { fetch, sources: Cache::new(MAX_URLS), places }
    }

    /// The keys that `place` publishes, fetched where that is due or `wanted_kid` is not among those that are held.
    ///
    /// Keys may be for signatures (`use: "sig"`, or without `use`), and for `usage` where it is given, such as
    /// `jwt-svid`.
    pub(crate) async fn keys(
        &self,
        place: Place<'_>,
        usage: Option<&'static str>,
        now: Timestamp,
        wanted_kid: Option<&str>,
    ) -> Result<Arc<JwkSet>, NoKeys> {
        let source = self.source(place, usage);
        let mut landed = {
            let mut state = source.state();
            if !state.is_due(now, wanted_kid) {
                return state.answer(now);
            }
            match &state.flight {
                Some(flight) => flight.clone(),
                None => match self.take_off(&source, now) {
                    Some(flight) => state.flight.insert(flight).clone(),
                    None => return state.answer(now).map_err(|_| NoKeys::Busy),
                },
            }
        };
        // An error says that the fetch has ended, as it always does.
        let _ = landed.changed().await;
        source.state().answer(now)
    }

    fn source(&self, place: Place<'_>, usage: Option<&'static str>) -> Arc<Source> {
        // No URL has a space in it.
        let (url, key) = match (place, usage) {
            (Place::Url(url), None) => (url, Cow::Borrowed(url)),
            (Place::Url(url), Some(usage)) => (url, Cow::Owned(format!("{usage} {url}"))),
            (Place::Issuer(issuer), usage) => {
                (issuer, Cow::Owned(format!("issuer {} {issuer}", usage.unwrap_or_default())))
            }
        };
        let is_issuer = matches!(place, Place::Issuer(_));
        let state = Mutex::default;
        let made = || Arc::new(Source { url: url.into(), is_issuer, usage, state: state() });
        let found = self.sources.get_or_insert_with::<str, ()>(&key, || Ok(made()));
        found.unwrap_or_else(|()| made())
    }

    /// Fetches in a task of its own: whoever asked first may go before it has ended, and the others wait for it, too.
    fn take_off(&self, source: &Arc<Source>, now: Timestamp) -> Option<watch::Receiver<()>> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let (under_way, flight) = watch::channel(());
        let mut landing = Landing {
            source: Arc::clone(source),
            began_at: now,
            fetched: Err(NoKeys::BrokenOff),
            _under_way: under_way,
        };
        let fetch = Arc::clone(&self.fetch);
        tokio::spawn(async move {
            landing.fly(&*fetch).await;
            drop(place);
        });
        Some(flight)
    }
}

impl Source {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic; and if it did, every state of these fields is a good one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetched(&self, fetch: &dyn Fetch) -> Result<JwkSet, NoKeys> {
        let discovered;
        let url = if self.is_issuer {
            let issuer = self.url.trim_end_matches('/');
            let metadata = format!("{issuer}/.well-known/openid-configuration");
            discovered = self.named(&fetch.fetch(&metadata).await?)?;
            &discovered
        } else {
            &*self.url
        };
        self.read(&fetch.fetch(url).await?)
    }

    /// What the issuer's metadata name.
    fn named(&self, metadata: &Bytes) -> Result<String, NoKeys> {
        #[derive(serde::Deserialize)]
        struct Metadata {
            issuer: String,
            jwks_uri: String,
        }
        let metadata: Metadata = serde_json::from_slice(metadata).map_err(|_| NoKeys::Metadata)?;
        // "The issuer value returned MUST be identical to the issuer identifier value [...]"
        let same = *metadata.issuer == *self.url;
        same.then_some(metadata.jwks_uri).ok_or(NoKeys::Metadata)
    }

    fn read(&self, body: &Bytes) -> Result<JwkSet, NoKeys> {
        let read = match self.usage {
            None => JwkSet::parse(body),
            Some(usage) => JwkSet::parse_for(body, usage),
        };
        Ok(read?)
    }

    /// The URL for the log, without what may be a secret of those who put one into its query.
    fn name(&self) -> &str {
        self.url.split('?').next().unwrap_or_default()
    }
}

impl State {
    /// Whether it is to be fetched before anybody is answered.
    fn is_due(&self, now: Timestamp, wanted_kid: Option<&str>) -> bool {
        let pause = match &self.held {
            Some(held) => {
                let has_it = wanted_kid.is_none_or(|kid| held.set.find(kid).is_some());
                if has_it && now.since(held.fetched_at) < LIFETIME {
                    return false;
                }
                COOLDOWN
            }
            None => retry(self.failures),
        };
        self.tried_at.is_none_or(|at| now.since(at) >= pause)
    }

    /// What there is without a fetch.
    fn answer(&self, now: Timestamp) -> Result<Arc<JwkSet>, NoKeys> {
        match &self.held {
            Some(held) if now.since(held.fetched_at) < MAX_STALE => Ok(Arc::clone(&held.set)),
            _ => Err(self.failure.clone().unwrap_or(NoKeys::BrokenOff)),
        }
    }

    fn land(&mut self, name: &str, began_at: Timestamp, fetched: Result<JwkSet, NoKeys>) {
        self.flight = None;
        self.tried_at = Some(began_at);
        match fetched {
            Ok(set) => {
                let (keys, skipped) = (set.keys().len(), set.skipped().len());
                if self.held.as_ref().is_some_and(|held| *held.set == set) {
                    tracing::debug!(url = name, keys, skipped, "keys fetched, none has changed");
                } else {
                    tracing::info!(url = name, keys, skipped, "keys fetched");
                }
                self.held = Some(Held { set: Arc::new(set), fetched_at: began_at });
                (self.failure, self.failures) = (None, 0);
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                let stale = self.held.is_some();
                tracing::warn!(url = name, failures = self.failures, stale, %error, "keys not fetched");
                self.failure = Some(error);
            }
        }
    }
}

/// How long a URL that has failed so often is left alone.
fn retry(failures: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    FIRST_RETRY.saturating_mul(doubled).min(COOLDOWN)
}

/// Writes down what came of a fetch however it ended, also by a panic or the end of its runtime; then wakes who waits.
struct Landing {
    source: Arc<Source>,
    began_at: Timestamp,
    fetched: Result<JwkSet, NoKeys>,
    /// Dropped last.
    _under_way: watch::Sender<()>,
}

impl Landing {
    async fn fly(&mut self, fetch: &dyn Fetch) {
        self.fetched = self.source.fetched(fetch).await;
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let fetched = std::mem::replace(&mut self.fetched, Err(NoKeys::BrokenOff));
        self.source.state().land(self.source.name(), self.began_at, fetched);
    }
}
