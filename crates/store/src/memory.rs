//! A store in memory: for tests, for trying things out, and the reference for the other stores.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokenry_core::family::{Family, FamilyId, Rotated, Rotation};
use tokenry_core::key::KeyRecord;
use tokenry_core::opaque::StoredToken;
use tokenry_core::realm::Realm;
use tokenry_core::revocation::Ended;
use tokenry_core::user::User;
use tokenry_core::{Client, Timestamp};

use crate::lifetimes::outlived;
use crate::revocations::{
    Before, Ending, Log, Was, end_of_reused, endings, knowing, not_before, of_family,
};
use crate::touched::{JOURNAL, Reach};
use crate::{
    Change, Item, Logged, Revision, Snapshot, Store, StoreError, Touched, Usage, missing_client,
    missing_realm,
};

/// A store that forgets everything when it is dropped.
#[derive(Default)]
pub struct Memory {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    revision: Revision,
    journal: Journal,
    registry: Registry,
    families: BTreeMap<(String, FamilyId), Family>,
    used_up: BTreeMap<(String, FamilyId), Timestamp>,
    tokens: BTreeMap<(String, FamilyId), StoredToken>,
    revocations: Log,
    status_lists: BTreeMap<String, u32>,
}

/// Which revision has touched what.
#[derive(Default)]
struct Journal {
    /// Of what came up to here, not everything is known.
    from: Revision,
    /// The last one that has touched something other than clients.
    rest: Revision,
    /// The clients touched, the last at the back.
    clients: VecDeque<(Revision, (String, String))>,
}

/// What is changed by [`Change`]s: copied before a change, so that one that fails has done nothing.
#[derive(Clone, Default)]
struct Registry {
    master_key_check: Option<[u8; 32]>,
    realms: BTreeMap<String, Realm>,
    clients: BTreeMap<(String, String), Client>,
    users: BTreeMap<(String, String), User>,
    keys: BTreeMap<(String, String), KeyRecord>,
    /// By realm.
    outlived: BTreeMap<String, Timestamp>,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every change is made on a copy and then put in place, so a panic elsewhere leaves nothing half done.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Moves the revision on for something that is no change of a client.
    fn bump(&mut self) {
        self.revision.0 += 1;
        self.journal.rest = self.revision;
    }

    fn require(&self, realm: &str) -> Result<(), StoreError> {
        self.registry.require(realm)
    }

    fn outline(&self) -> Snapshot {
        let revoked = self.families.iter().filter(|(_, f)| f.revoked_at.is_some());
        Snapshot {
            revision: self.revision,
            master_key_check: self.registry.master_key_check,
            realms: self.registry.realms.values().cloned().collect(),
            clients: Vec::new(),
            usage: self.registry.usage(),
            users: self.registry.users.values().cloned().collect(),
            keys: self.registry.keys.values().cloned().collect(),
            revoked: revoked.map(|((realm, id), f)| (realm.clone(), *id, f.expires_at)).collect(),
            outlived: self.registry.outlived.iter().map(|(r, at)| (r.clone(), *at)).collect(),
        }
    }
}

impl Journal {
    fn note(&mut self, revision: Revision, reach: &Reach<'_>) {
        if reach.everything {
            (self.from, self.rest) = (revision, revision);
            self.clients.clear();
        }
        if reach.rest {
            self.rest = revision;
        }
        for &(realm, id) in &reach.clients {
            self.clients.push_back((revision, (realm.to_owned(), id.to_owned())));
        }
        while self.clients.len() > JOURNAL {
            self.from = self.clients.pop_front().map_or(self.from, |(revision, _)| revision);
        }
    }

    fn after(&self, since: Revision) -> Vec<Item> {
        let clients = self.clients.iter().rev().take_while(|(revision, _)| *revision > since);
        let mut items: BTreeSet<Item> = clients
            .map(|(_, (realm, id))| Item::Client { realm: realm.clone(), id: id.clone() })
            .collect();
        if self.rest > since {
            items.insert(Item::Rest);
        }
        items.into_iter().collect()
    }
}

impl Registry {
    fn require(&self, realm: &str) -> Result<(), StoreError> {
        if self.realms.contains_key(realm) { Ok(()) } else { Err(missing_realm(realm)) }
    }

    fn client(&mut self, realm: &str, client: &str) -> Option<&mut Client> {
        self.clients.get_mut(&(realm.to_owned(), client.to_owned()))
    }

    /// The clients after the one named.
    fn clients_after(
        &self,
        after: Option<(&str, &str)>,
    ) -> impl Iterator<Item = (&(String, String), &Client)> {
        let after = after.map(|(realm, id)| (realm.to_owned(), id.to_owned()));
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.clients.range((start, Bound::Unbounded))
    }

    fn usage(&self) -> Vec<Usage> {
        let mut usage = Vec::new();
        for realm in self.realms.keys() {
            let own = || self.clients.values().filter(|client| client.realm == *realm);
            let algorithms: BTreeSet<_> = own().filter_map(|client| client.signing).collect();
            let longest_access = own().filter_map(|client| client.access).max().map(round_up);
            if !algorithms.is_empty() || longest_access.is_some() {
                let algorithms = algorithms.into_iter().collect();
                usage.push(Usage { realm: realm.clone(), algorithms, longest_access });
            }
        }
        usage
    }

    fn make(&mut self, change: Change) -> Result<(), StoreError> {
        match change {
            Change::PutMasterKeyCheck(check) => self.master_key_check = Some(check),
            Change::PutRealm(realm) => {
                self.realms.insert(realm.name.clone(), realm);
            }
            Change::RemoveRealm { realm } => {
                self.realms.remove(&realm);
                self.clients.retain(|key, _| key.0 != realm);
                self.users.retain(|key, _| key.0 != realm);
                self.keys.retain(|key, _| key.0 != realm);
                self.outlived.remove(&realm);
            }
            Change::PutClient(mut client) => {
                self.require(&client.realm)?;
                let known = self.client(&client.realm, &client.id);
                client.credentials =
                    known.map(|c| std::mem::take(&mut c.credentials)).unwrap_or_default();
                self.clients.insert((client.realm.clone(), client.id.clone()), client);
            }
            Change::RemoveClient { realm, client } => {
                self.clients.remove(&(realm, client));
            }
            Change::PutCredential { realm, client, credential } => {
                let known = self.client(&realm, &client);
                let known = known.ok_or_else(|| missing_client(&realm, &client))?;
                known.credentials.retain(|c| c.id != credential.id);
                known.credentials.push(credential);
                known.credentials.sort_by(|a, b| a.id.cmp(&b.id));
            }
            Change::RemoveCredential { realm, client, credential } => {
                if let Some(client) = self.client(&realm, &client) {
                    client.credentials.retain(|c| c.id != credential);
                }
            }
            Change::PutUser(user) => {
                self.require(&user.realm)?;
                self.users.insert((user.realm.clone(), user.name.clone()), user);
            }
            Change::RemoveUser { realm, user } => {
                self.users.remove(&(realm, user));
            }
            Change::PutKey(key) => {
                self.require(&key.realm)?;
                self.keys.insert((key.realm.clone(), key.kid.clone()), key);
            }
            Change::RemoveKey { realm, kid } => {
                self.keys.remove(&(realm, kid));
            }
        }
        Ok(())
    }
}

impl Before for Registry {
    fn realm(&self, name: &str) -> Result<Was<Realm>, StoreError> {
        Ok(self.realms.get(name).cloned().into())
    }

    fn client(&self, realm: &str, id: &str) -> Result<Was<Client>, StoreError> {
        Ok(self.clients.get(&(realm.to_owned(), id.to_owned())).cloned().into())
    }

    fn user(&self, realm: &str, name: &str) -> Result<Was<User>, StoreError> {
        Ok(self.users.get(&(realm.to_owned(), name.to_owned())).cloned().into())
    }

    fn key(&self, realm: &str, kid: &str) -> Result<Was<KeyRecord>, StoreError> {
        Ok(self.keys.get(&(realm.to_owned(), kid.to_owned())).cloned().into())
    }

    fn longest_access(&self, realm: &str) -> Result<Option<Duration>, StoreError> {
        let own = self.clients.values().filter(|client| client.realm == realm);
        Ok(own.filter_map(|client| client.access).max().map(round_up))
    }

    fn outlived(&self, realm: &str) -> Result<Timestamp, StoreError> {
        Ok(self.outlived.get(realm).copied().unwrap_or(Timestamp::EPOCH))
    }
}

#[async_trait]
impl Store for Memory {
    async fn load(&self) -> Result<Snapshot, StoreError> {
        let state = self.state();
        Ok(Snapshot {
            clients: state.registry.clients.values().cloned().collect(),
            ..state.outline()
        })
    }

    async fn outline(&self) -> Result<Snapshot, StoreError> {
        Ok(self.state().outline())
    }

    async fn client(&self, realm: &str, id: &str) -> Result<Option<Client>, StoreError> {
        let key = (realm.to_owned(), id.to_owned());
        Ok(self.state().registry.clients.get(&key).cloned())
    }

    async fn clients(
        &self,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<Client>, StoreError> {
        let state = self.state();
        let found = state.registry.clients_after(after).take(limit);
        Ok(found.map(|(_, client)| client.clone()).collect())
    }

    async fn client_ids(
        &self,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<(String, String)>, StoreError> {
        let state = self.state();
        Ok(state.registry.clients_after(after).take(limit).map(|(key, _)| key.clone()).collect())
    }

    async fn touched(&self, since: Revision) -> Result<Touched, StoreError> {
        let State { revision, journal, .. } = &*self.state();
        let is_known = (journal.from..=*revision).contains(&since);
        Ok(Touched { revision: *revision, what: is_known.then(|| journal.after(since)) })
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        Ok(self.state().revision)
    }

    async fn change(
        &self,
        changes: Vec<Change>,
        expected: Option<Revision>,
        now: Timestamp,
    ) -> Result<Revision, StoreError> {
        let mut state = self.state();
        if expected.is_some_and(|e| e != state.revision) {
            return Err(StoreError::Conflict);
        }
        if changes.is_empty() {
            return Ok(state.revision);
        }
        let mut registry = state.registry.clone();
        let (mut removed, mut ended) = (Vec::new(), Vec::<Ending>::new());
        for change in &changes {
            ended.extend(endings(&registry, change, now)?);
            if let Some((realm, at)) = outlived(&registry, change, now)? {
                let known = registry.outlived.entry(realm.to_owned()).or_insert(at);
                *known = at.max(*known);
            }
            if let Change::RemoveRealm { realm } = change {
                removed.push(realm);
            }
            let told = |realm: &str, what: &Ended| {
                let in_this = ended.iter().filter(|ending| ending.is_of(realm, what));
                let in_this = in_this.filter_map(|ending| not_before(&ending.revocation.ended));
                Ok(in_this.max().max(state.revocations.told(realm, what)))
            };
            let change = knowing(change, told)?;
            registry.make(change.into_owned())?;
        }
        let state = &mut *state;
        state.registry = registry;
        ended.into_iter().for_each(|ending| state.revocations.write(ending, now));
        state.families.retain(|(realm, _), _| !removed.contains(&realm));
        state.used_up.retain(|(realm, _), _| !removed.contains(&realm));
        state.tokens.retain(|(realm, _), _| !removed.contains(&realm));
        state.status_lists.retain(|realm, _| !removed.contains(&realm));
        state.revision.0 += 1;
        state.journal.note(state.revision, &Reach::of(&changes));
        Ok(state.revision)
    }

    async fn rotate(&self, rotation: Rotation) -> Result<Rotated, StoreError> {
        let mut state = self.state();
        let key = (rotation.realm.clone(), rotation.family);
        let known = state.families.get(&key).copied();
        if known.is_none() {
            state.require(&rotation.realm)?;
        }
        let (mut family, rotated) = rotation.apply(known);
        if rotated == Rotated::Reused {
            let Rotation { realm, client, family: id, now, .. } = &rotation;
            family.expires_at = end_of_reused(&state.registry, &rotation, family.expires_at)?;
            let whose = (&**realm, &**client);
            let ending = of_family(&state.registry, whose, *id, *now, family.expires_at)?;
            state.revocations.write(ending, *now);
            state.bump();
        }
        state.families.insert(key, family);
        Ok(rotated)
    }

    async fn revoke_family(
        &self,
        realm: &str,
        client: &str,
        family: FamilyId,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut state = self.state();
        state.require(realm)?;
        let unknown = Family { generation: 0, rotated_at: now, revoked_at: None, expires_at };
        let known = state.families.entry((realm.to_owned(), family)).or_insert(unknown);
        let before = *known;
        known.revoked_at = known.revoked_at.or(Some(now));
        known.expires_at = known.expires_at.max(expires_at);
        let after = *known;
        if after != before {
            let whose = (realm, client);
            let ending = of_family(&state.registry, whose, family, now, after.expires_at)?;
            state.revocations.write(ending, now);
            state.bump();
        }
        Ok(before.revoked_at.is_none())
    }

    async fn family(&self, realm: &str, family: FamilyId) -> Result<Option<Family>, StoreError> {
        Ok(self.state().families.get(&(realm.to_owned(), family)).copied())
    }

    async fn use_up(
        &self,
        realm: &str,
        id: FamilyId,
        expires_at: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut state = self.state();
        state.require(realm)?;
        let key = (realm.to_owned(), id);
        if state.used_up.contains_key(&key) {
            return Ok(false);
        }
        state.used_up.insert(key, expires_at);
        Ok(true)
    }

    async fn put_token(
        &self,
        realm: &str,
        id: FamilyId,
        token: StoredToken,
    ) -> Result<(), StoreError> {
        let mut state = self.state();
        state.require(realm)?;
        state.tokens.insert((realm.to_owned(), id), token);
        Ok(())
    }

    async fn token(&self, realm: &str, id: FamilyId) -> Result<Option<StoredToken>, StoreError> {
        Ok(self.state().tokens.get(&(realm.to_owned(), id)).cloned())
    }

    async fn revocations(
        &self,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Logged>, StoreError> {
        Ok(self.state().revocations.after(after, limit))
    }

    async fn take_status_list(&self, realm: &str) -> Result<u32, StoreError> {
        let mut state = self.state();
        state.require(realm)?;
        let taken = state.status_lists.entry(realm.to_owned()).or_default();
        *taken = taken.checked_add(1).ok_or_else(|| no_number_left(realm))?;
        Ok(*taken - 1)
    }

    async fn status_lists(&self, realm: &str) -> Result<u32, StoreError> {
        Ok(self.state().status_lists.get(realm).copied().unwrap_or_default())
    }

    async fn collect_garbage(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut state = self.state();
        let count = |state: &State| state.families.len() + state.used_up.len() + state.tokens.len();
        let before = count(&state);
        state.revocations.forget(now);
        state.families.retain(|_, f| f.expires_at > now);
        state.used_up.retain(|_, expires_at| *expires_at > now);
        state.tokens.retain(|_, token| token.expires_at > now);
        Ok((before - count(&state)) as u64)
    }
}

fn no_number_left(realm: &str) -> StoreError {
    StoreError::Unavailable(format!("no status list is left in realm {realm:?}").into())
}

/// To whole milliseconds, which is how other stores keep it.
fn round_up(time: Duration) -> Duration {
    let millis = u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    Duration::from_millis(millis)
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory(..)")
    }
}
