//! Looking tokens up in the status lists that they name (draft-ietf-oauth-status-list-21).
//!
//! Requests read a copy of the list at hand; tasks fetch lists, in time, as long as tokens name them. A token of which
//! nobody knows whether it was revoked is never let in.

mod copy;
mod followed;
mod keeper;
mod reader;
mod settings;
mod source;
mod table;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokenry_core::Timestamp;
use tokenry_core::jose::Claims;
use tokenry_core::jose::claims::ClaimsError;
use tokenry_core::status_list::{Reference, Status};
use tokio::time::timeout;

use self::copy::Copy;
use self::keeper::Keeper;
use self::reader::Reader;
use self::table::{FIRST_RETRY, Found};
use crate::fetch::HttpSettings;
use crate::issuer::Epoch;
use crate::keys::KeyCache;
use crate::{BuildError, Clock, Policy, Rejection};

pub use settings::StatusListSettings;
pub use source::StatusListSource;

/// Looks tokens of one issuer up in status lists.
#[derive(Debug)]
pub(crate) struct StatusLists {
    /// How long a request waits for a list.
    wait: Duration,
    keeper: Arc<Keeper>,
    refused: AtomicU64,
}

/// How it stands with the status lists of an issuer.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct StatusListMetrics {
    /// Of how many lists there are copies.
    pub held: usize,
    /// How many fetches of lists have ended.
    pub fetches: u64,
    /// How many of them brought nothing that can be used.
    pub failed: u64,
    /// How many times a token was refused for what its list says, or because no list says anything of it.
    pub refused: u64,
}

/// What of its issuer the looking up needs.
pub(crate) struct Beside<'b> {
    pub(crate) policy: &'b Policy,
    pub(crate) keys: &'b Arc<KeyCache>,
    pub(crate) epoch: &'b Arc<Epoch>,
    pub(crate) http: &'b HttpSettings,
    pub(crate) clock: &'b Arc<dyn Clock>,
    pub(crate) wait: Duration,
}

impl StatusLists {
    /// Nothing is fetched yet. Must be called within a Tokio runtime.
    pub(crate) fn new(
        settings: &StatusListSettings,
        beside: &Beside<'_>,
    ) -> Result<Self, BuildError> {
        let Beside { policy, keys, epoch, http, clock, wait } = beside;
        let followed = settings.followed(&policy.issuer, http)?;
        let reader = Reader {
            source: settings.open(http)?,
            policy: Policy::clone(policy),
            keys: Arc::clone(keys),
            clock: Arc::clone(clock),
        };
        Ok(Self {
            wait: *wait,
            keeper: Arc::new(Keeper::new(followed, reader, Arc::clone(epoch))),
            refused: AtomicU64::new(0),
        })
    }

    /// Whether a token says anything of its status.
    pub(crate) fn concerns(claims: &Claims) -> bool {
        claims.other.contains_key("status")
    }

    /// Looks a token up, and gives for how long that may be believed. Waits for a list that is not there yet.
    pub(crate) async fn look_up(
        &self,
        claims: &Claims,
        now: Timestamp,
    ) -> Result<Range<Timestamp>, Rejection> {
        let looked_up = self.good(claims, now).await;
        if !matches!(looked_up, Ok(_) | Err(Rejection::Unavailable { .. })) {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        looked_up
    }

    async fn good(&self, claims: &Claims, now: Timestamp) -> Result<Range<Timestamp>, Rejection> {
        let Some((idx, uri)) = place(claims)? else {
            return Ok(Timestamp::EPOCH..Timestamp::from_millis(u64::MAX));
        };
        let copy = match Keeper::find(&self.keeper, uri, now) {
            Found::Coming(mut landing) => {
                // An error says that the list is gone, too late to be waited for: it is looked for once more all the same.
                let _ = timeout(self.wait, landing.changed()).await;
                held(Keeper::find(&self.keeper, uri, now))
            }
            found => held(found),
        }?;
        judge(&copy, idx)?;
        Ok(copy.good(now))
    }

    /// Whether a token that was found good before still is, by what is at hand.
    pub(crate) fn still_takes(&self, claims: &Claims, now: Timestamp) -> bool {
        match place(claims) {
            Ok(None) => true,
            Ok(Some((idx, uri))) => {
                let found = held(Keeper::find(&self.keeper, uri, now));
                found.and_then(|copy| judge(&copy, idx)).is_ok()
            }
            Err(_) => false,
        }
    }

    pub(crate) fn metrics(&self) -> StatusListMetrics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StatusListMetrics {
            held: self.keeper.table().held(),
            fetches: read(&self.keeper.fetches),
            failed: read(&self.keeper.failed),
            refused: read(&self.refused),
        }
    }
}

impl Drop for StatusLists {
    fn drop(&mut self) {
        self.keeper.table().clear();
    }
}

/// Where the status of a token stands, if it names a list.
fn place(claims: &Claims) -> Result<Option<(u64, &str)>, Rejection> {
    Reference::parts(claims).map_err(|_| Rejection::Claims(ClaimsError::Malformed("status")))
}

/// The copy, if there is one.
fn held(found: Found) -> Result<Arc<Copy>, Rejection> {
    match found {
        Found::Copy(copy) => Ok(copy),
        Found::Not(retry_after) => Err(Rejection::Unavailable { retry_after }),
        Found::Nowhere => Err(Rejection::UnknownStatus("its list is none that is followed here")),
        Found::Coming(_) | Found::New => Err(Rejection::Unavailable { retry_after: FIRST_RETRY }),
    }
}

/// §8.3: a status that is not known "MUST be rejected", and so is a place that is not there.
fn judge(copy: &Copy, idx: u64) -> Result<(), Rejection> {
    match copy.status(idx) {
        Ok(Status::Valid) => Ok(()),
        Ok(Status::Invalid | Status::Suspended | Status::Other(_)) => Err(Rejection::Revoked),
        Err(_) => Err(Rejection::UnknownStatus("its list has no such place")),
    }
}
