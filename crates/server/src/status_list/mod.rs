//! The status lists of a realm (draft-ietf-oauth-status-list-21): which of its tokens were revoked, for anybody to fetch.
//!
//! A token leaves nothing behind. Its place is written into the identifier by which it would be revoked, and a list is made
//! of what is known to be revoked when somebody asks for it.

mod lists;
mod places;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Response;
use http::request::Parts;
use tokenry_core::Timestamp;
use tokenry_core::family::FamilyId;
use tokenry_core::realm::Dialect;
use tokenry_core::status_list::Place;
use tokenry_store::{Store, StoreError};

use crate::app::App;
use crate::dialect::{decorate, not_found};
use crate::directory::RealmState;
use crate::document::{Document, other_method};
use crate::http_answer::{Body, unavailable};
use lists::{NoList, SignedLists};
use places::Places;

/// How long the store is not asked again how many lists there are: strangers can ask for lists that are not.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// What a snapshot knows to be revoked, by the numbers of lists: indices in order, none twice.
pub(crate) type Ended = HashMap<u32, Vec<u16>>;

/// What this node knows of the lists of a realm. It outlives snapshots.
#[derive(Debug, Default)]
pub(crate) struct StatusLists {
    places: Places,
    /// How many there are at least, on all nodes.
    taken: AtomicU32,
    /// When the store was last asked how many.
    asked: tokio::sync::Mutex<Option<Timestamp>>,
    /// What this node revoked since its last snapshot.
    ended_here: Mutex<BTreeSet<Place>>,
    signed: Mutex<SignedLists>,
}

/// Whether there is a list of some number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Known {
    Yes,
    No,
    /// The store was asked just before, and is not asked again so soon.
    NotYet,
}

impl StatusLists {
    /// A place for a token, if one is left.
    pub(crate) fn place(&self) -> Option<Place> {
        self.places.next()
    }

    /// The same, where none may be left.
    pub(crate) async fn take(&self, store: &dyn Store, realm: &str) -> Result<Place, StoreError> {
        let place = self.places.take(store, realm).await?;
        self.taken.fetch_max(place.list.saturating_add(1), Ordering::Relaxed);
        Ok(place)
    }

    /// Takes note of what this node has revoked.
    pub(crate) fn insert(&self, id: FamilyId) {
        if let Some(place) = Place::of(id) {
            self.ended_here().insert(place);
        }
    }

    /// Forgets what a snapshot knows as well.
    pub(crate) fn forget_those_in(&self, snapshot: &Ended) {
        let known = |place: &Place| {
            snapshot.get(&place.list).is_some_and(|list| list.binary_search(&place.index).is_ok())
        };
        self.ended_here().retain(|place| !known(place));
    }

    /// Everything is inserted or removed as a whole, so a panic elsewhere leaves nothing half done.
    fn ended_here(&self) -> MutexGuard<'_, BTreeSet<Place>> {
        self.ended_here.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended_here_in(&self, list: u32) -> Vec<u16> {
        let all = Place { list, index: 0 }..=Place { list, index: u16::MAX };
        self.ended_here().range(all).map(|place| place.index).collect()
    }

    async fn knows(
        &self,
        number: u32,
        store: &dyn Store,
        realm: &str,
        now: Timestamp,
    ) -> Result<Known, StoreError> {
        let is_taken = || number < self.taken.load(Ordering::Relaxed);
        if is_taken() {
            return Ok(Known::Yes);
        }
        // Whoever waits for an answer here takes the one that comes.
        let mut asked = self.asked.lock().await;
        if is_taken() {
            return Ok(Known::Yes);
        }
        if asked.is_some_and(|at| at <= now && at + ASK_EVERY > now) {
            return Ok(Known::NotYet);
        }
        // Also where it does not answer: those that wait here would ask it one after the other.
        *asked = Some(now);
        let taken = store.status_lists(realm).await?;
        self.taken.fetch_max(taken, Ordering::Relaxed);
        Ok(if is_taken() { Known::Yes } else { Known::No })
    }
}

/// Sorts what is revoked by the realms and lists that tell it.
pub(crate) fn ended(revoked: &[(String, FamilyId, Timestamp)]) -> HashMap<String, Ended> {
    let mut realms: HashMap<String, Ended> = HashMap::new();
    for (realm, id, _) in revoked {
        let Some(place) = Place::of(*id) else { continue };
        if !realms.contains_key(realm) {
            realms.insert(realm.clone(), Ended::new());
        }
        if let Some(lists) = realms.get_mut(realm) {
            lists.entry(place.list).or_default().push(place.index);
        }
    }
    realms.values_mut().flat_map(HashMap::values_mut).for_each(in_order);
    realms
}

fn in_order(list: &mut Vec<u16>) {
    list.sort_unstable();
    list.dedup();
}

/// Answers a request for the list that the last segment of a path names.
pub(crate) async fn answer(
    app: &App,
    state: &RealmState,
    name: Option<&str>,
    parts: &Parts,
) -> Response<Body> {
    let realm = &state.realm;
    let Some(number) = name.and_then(number) else { return missing(state) };
    if let Some(answer) = other_method(realm.dialect, &parts.method) {
        return answer;
    }
    let lists = &state.status_lists;
    match lists.knows(number, &*app.store, &realm.name, app.now()).await {
        Ok(Known::Yes) => {}
        Ok(Known::No) => return missing(state),
        Ok(Known::NotYet) => return later(state),
        Err(error) => {
            tracing::error!(%error, "status lists not counted");
            return later(state);
        }
    }
    match document(app, state, number) {
        Ok(document) => document.answer(&parts.method, &parts.headers),
        Err(NoList::NoRealm) => missing(state),
        Err(NoList::TooMany) => later(state),
        Err(NoList::NoKey) => {
            tracing::error!(realm = realm.name, number, "status list not signed");
            later(state)
        }
    }
}

/// The list of this number, as it is now.
fn document(app: &App, state: &RealmState, number: u32) -> Result<Arc<Document>, NoList> {
    let lists = &state.status_lists;
    // From here on, so that what is signed later says no less.
    let mut signed = lists.signed.lock().unwrap_or_else(PoisonError::into_inner);
    // In this order: what is forgotten here is in the snapshot by then.
    let mut revoked = lists.ended_here_in(number);
    let directory = app.directory();
    let state = directory.realm(&state.realm.name).ok_or(NoList::NoRealm)?;
    revoked.extend(state.ended.get(&number).into_iter().flatten());
    in_order(&mut revoked);
    let taken = lists.taken.load(Ordering::Relaxed);
    signed.get(state, (number, taken), revoked, app.now())
}

/// The one form of a number.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number: &u32| number.to_string() == text)
}

fn missing(state: &RealmState) -> Response<Body> {
    let is_keycloak = state.realm.dialect == Dialect::Keycloak;
    not_found(is_keycloak.then_some(true))
}

fn later(state: &RealmState) -> Response<Body> {
    let mut response = unavailable();
    decorate(state.realm.dialect, response.headers_mut());
    response
}
