//! Who follows: so many at once, so many of one client, and nobody who does not listen.
//!
//! Whoever is told everything checks the tokens of others, and half of the places are theirs alone: any client may follow,
//! and otherwise a few could keep all verifiers out. No realm keeps another out either.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::log::Reads;
use crate::life::UnderWay;

/// How often in a row a follower may leave untaken what it is told every four seconds: after half a minute, its place is
/// another's, and its connection is idle. That shows where its connection takes nothing more; buffers take for long what is
/// told in quiet times.
const MAX_UNTAKEN: u8 = 8;

/// How many places a client has that is told of its own tokens alone: instances of one service, of which few have a use for
/// that.
const MAX_OF_ORDINARY_CLIENT: usize = 20;

/// Everybody who follows.
#[derive(Debug)]
pub(super) struct Seats {
    taken: HashMap<u64, Arc<Seat>>,
    /// How many there are of a realm's client.
    of_client: HashMap<(String, String), usize>,
    /// How many there are that are not told everything.
    ordinary: usize,
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
    /// It is told everything of its realm.
    everything: bool,
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
        Self { taken, of_client, ordinary: 0, next: 0, limit, limit_of_client }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.taken.len()
    }

    /// A place, if there is one left.
    pub(super) fn take(&mut self, reads: &Reads) -> Option<Arc<Seat>> {
        if self.is_full(reads.everything) || self.has_enough(reads) {
            return None;
        }
        let Reads { realm, client, everything, .. } = reads.clone();
        *self.of_client.entry((realm.clone(), client.clone())).or_default() += 1;
        self.ordinary += usize::from(!everything);
        self.next += 1;
        let seat = Arc::new(Seat {
            number: self.next,
            realm,
            client,
            everything,
            finishing: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            untaken: AtomicU8::new(0),
            under_way: Mutex::default(),
        });
        self.taken.insert(seat.number, Arc::clone(&seat));
        Some(seat)
    }

    /// Where there is no place left, takes one from the realm that has most of this kind, unless that would have fewer then
    /// than the realm that gets it. Gives whether it did.
    pub(super) fn make_room(&mut self, reads: &Reads) -> bool {
        if !self.is_full(reads.everything) || self.has_enough(reads) {
            return false;
        }
        // How many each realm has, and its newest: who has been there for long is left alone.
        let mut of_realms: HashMap<&str, (usize, u64)> = HashMap::new();
        for seat in self.taken.values().filter(|seat| seat.everything == reads.everything) {
            let (count, newest) = of_realms.entry(&seat.realm).or_default();
            (*count, *newest) = (*count + 1, seat.number.max(*newest));
        }
        let own = of_realms.get(&*reads.realm).map_or(0, |(count, _)| *count);
        let most = of_realms.values().copied().max();
        let Some((_, newest)) = most.filter(|(count, _)| *count > own + 1) else { return false };
        if let Some(seat) = self.taken.get(&newest).cloned() {
            tracing::info!(realm = seat.realm, client = seat.client, "a follower makes room");
            self.lose(&seat);
        }
        true
    }

    fn is_full(&self, everything: bool) -> bool {
        self.taken.len() >= self.limit || !everything && self.ordinary >= self.limit / 2
    }

    /// Whether there are as many of this client as there may be.
    fn has_enough(&self, reads: &Reads) -> bool {
        let limit = match reads.everything {
            true => self.limit_of_client,
            false => self.limit_of_client.min(MAX_OF_ORDINARY_CLIENT),
        };
        let client = (reads.realm.clone(), reads.client.clone());
        self.of_client.get(&client).copied().unwrap_or_default() >= limit
    }

    /// Gives a place back, if it was not lost before.
    pub(super) fn leave(&mut self, number: u64) {
        let Some(seat) = self.taken.remove(&number) else { return };
        self.ordinary -= usize::from(!seat.everything);
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
            self.lose(&seat);
        }
    }

    /// Takes a place from whoever has it: its stream ends once it wakes up.
    fn lose(&mut self, seat: &Seat) {
        self.leave(seat.number);
        seat.lost.store(true, Ordering::Release);
        seat.hold(None);
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
