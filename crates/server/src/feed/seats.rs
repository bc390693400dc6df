//! Who follows: so many at once, so many of one client, and nobody who does not listen.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::life::UnderWay;

/// How often in a row a follower may leave untaken what it is told every four seconds: after half a minute, its place is
/// another's, and its connection is idle.
const MAX_UNTAKEN: u8 = 8;

/// Everybody who follows.
#[derive(Debug)]
pub(super) struct Seats {
    taken: HashMap<u64, Arc<Seat>>,
    /// How many there are of a realm's client.
    of_client: HashMap<(String, String), usize>,
    next: u64,
    limit: usize,
    limit_of_client: usize,
}

/// The place of one follower.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) number: u64,
    realm: String,
    client: String,
    /// It is to end once it has been told everything.
    finishing: AtomicBool,
    /// It has lost its place.
    lost: AtomicBool,
    /// How often it has left untaken what there was.
    untaken: AtomicU8,
    /// Its connection is not idle as long as this is held.
    under_way: Mutex<Option<UnderWay>>,
}

impl Seats {
    pub(super) fn new(limit: usize, limit_of_client: usize) -> Self {
        let (taken, of_client) = (HashMap::new(), HashMap::new());
        Self { taken, of_client, next: 0, limit, limit_of_client }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.taken.len()
    }

    /// A place, if there is one left.
    pub(super) fn take(&mut self, realm: &str, client: &str) -> Option<Arc<Seat>> {
        let (realm, client) = (realm.to_owned(), client.to_owned());
        let of_client = self.of_client.get(&(realm.clone(), client.clone())).copied();
        let of_client = of_client.unwrap_or_default();
        if self.taken.len() >= self.limit || of_client >= self.limit_of_client {
            return None;
        }
        self.of_client.insert((realm.clone(), client.clone()), of_client + 1);
        self.next += 1;
        let seat = Arc::new(Seat {
            number: self.next,
            realm,
            client,
            finishing: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            untaken: AtomicU8::new(0),
            under_way: Mutex::default(),
        });
        self.taken.insert(seat.number, Arc::clone(&seat));
        Some(seat)
    }

    /// Gives a place back, if it was not lost before.
    pub(super) fn leave(&mut self, number: u64) {
        let Some(seat) = self.taken.remove(&number) else { return };
        let client = (seat.realm.clone(), seat.client.clone());
        if let Some(count) = self.of_client.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                self.of_client.remove(&client);
            }
        }
    }

    /// The places of these realms and clients.
    pub(super) fn find(&self, wanted: impl Fn(&str, &str) -> bool) -> Vec<Arc<Seat>> {
        let wanted = |seat: &&Arc<Seat>| wanted(&seat.realm, &seat.client);
        self.taken.values().filter(wanted).cloned().collect()
    }

    /// There is something to take for everybody. Who has not taken it so often before loses the place.
    pub(super) fn beat(&mut self) {
        let untaken = |seat: &Seat| seat.untaken.fetch_add(1, Ordering::Relaxed);
        let deaf: Vec<_> =
            self.taken.values().filter(|seat| untaken(seat) >= MAX_UNTAKEN).cloned().collect();
        for seat in deaf {
            tracing::info!(realm = seat.realm, client = seat.client, "a follower does not listen");
            self.leave(seat.number);
            seat.lost.store(true, Ordering::Release);
            seat.hold(None);
        }
    }
}

impl Seat {
    /// Has the connection count as busy for as long as the place is taken.
    pub(super) fn hold(&self, under_way: Option<UnderWay>) {
        *self.under_way.lock().unwrap_or_else(PoisonError::into_inner) = under_way;
    }

    pub(super) fn listens(&self) {
        self.untaken.store(0, Ordering::Relaxed);
    }

    pub(super) fn finish(&self) {
        self.finishing.store(true, Ordering::Release);
    }

    pub(super) fn is_finishing(&self) -> bool {
        self.finishing.load(Ordering::Acquire)
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }
}
