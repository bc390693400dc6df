//! Tokens that were found bad, so that a flood of one costs one question.
//!
//! They have a table of their own: bad tokens cost nothing to make up, and must not take the room of good ones.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokenry_core::Timestamp;

use crate::Rejection;
use crate::cache::Print;

/// How many are remembered: 4,096, which take 0.5 MiB. A client that does not give up has one or a few.
const PLACES: usize = 4096;

/// What may be otherwise soon is remembered for a second at most.
const SOON: Duration = Duration::from_secs(1);

/// The table. Each token has one place, told by its print, and a newcomer takes it.
#[derive(Debug)]
pub(super) struct Negatives {
    ttl: Duration,
    places: Mutex<Box<[Option<Negative>]>>,
}

#[derive(Clone, Debug)]
struct Negative {
    print: Print,
    rejection: Rejection,
    /// A clock that is set back ends it, too.
    during: Range<Timestamp>,
}

impl Negatives {
    pub(super) fn new(ttl: Duration) -> Self {
        Self { ttl, places: Mutex::new(vec![None; PLACES].into()) }
    }

    /// Why a token was refused only just now.
    pub(super) fn find(&self, print: &Print, now: Timestamp) -> Option<Rejection> {
        let places = self.places();
        let found = places.get(print.bucket(PLACES))?.as_ref()?;
        (found.print == *print && found.during.contains(&now)).then(|| found.rejection.clone())
    }

    pub(super) fn keep(&self, print: Print, rejection: Rejection, now: Timestamp) {
        let ttl = match rejection {
            Rejection::Unavailable { .. } | Rejection::NotYetValid => self.ttl.min(SOON),
            _ => self.ttl,
        };
        if let Some(place) = self.places().get_mut(print.bucket(PLACES)) {
            *place = Some(Negative { print, rejection, during: now - ttl..now + ttl });
        }
    }

    pub(super) fn forget(&self, print: &Print) {
        if let Some(place) = self.places().get_mut(print.bucket(PLACES)) {
            place.take_if(|found| found.print == *print);
        }
    }

    pub(super) fn clear(&self) {
        self.places().fill(None);
    }

    fn places(&self) -> MutexGuard<'_, Box<[Option<Negative>]>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
