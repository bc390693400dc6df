//! What ends tokens before their time, in the order in which it happened.
//!
//! The log says what [`tokenry_core::revocation`] tells. Whatever changes in a store comes through [`endings`], so that
//! nobody who changes something can forget to tell it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use tokenry_core::family::{FamilyId, Rotation};
use tokenry_core::key::KeyRecord;
use tokenry_core::realm::Dialect;
use tokenry_core::revocation::{Ended, Revocation};
use tokenry_core::{Client, Realm, Timestamp, User};

use crate::lifetimes::Terms;
use crate::{Change, StoreError};

/// How long another node may go on before it has seen a change: it looks every 200 ms, and reads a moment. Its tokens of
/// that time must not outlive the client.
const SETTLES: Duration = Duration::from_secs(1);

/// A row of the log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Logged {
    /// Grows with each row, and is never given twice.
    pub number: u64,
    /// When it was written.
    pub at: Timestamp,
    /// The realm, which may be gone.
    pub realm: String,
    /// The client whose tokens have ended; `None`: nobody's in particular.
    pub client: Option<String>,
    /// Which tokens, until when it matters. Times are whole seconds, rounded up.
    pub revocation: Revocation,
}

/// A row that is to be written. There is one for each realm, kind and name: the last stands for those before it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Ending {
    pub(crate) realm: String,
    pub(crate) client: Option<String>,
    pub(crate) revocation: Revocation,
}

impl Ending {
    /// Whether it ends these of a realm, by whatever point.
    pub(crate) fn is_of(&self, realm: &str, ended: &Ended) -> bool {
        self.realm == realm && place(&self.revocation.ended) == place(ended)
    }
}

/// What is stored before a change is made.
pub(crate) trait Before {
    fn realm(&self, name: &str) -> Result<Was<Realm>, StoreError>;
    fn client(&self, realm: &str, id: &str) -> Result<Was<Client>, StoreError>;
    fn user(&self, realm: &str, name: &str) -> Result<Was<User>, StoreError>;
    fn key(&self, realm: &str, kid: &str) -> Result<Was<KeyRecord>, StoreError>;
    /// The longest lifetime of an access token that a client of the realm has of its own.
    fn longest_access(&self, realm: &str) -> Result<Option<Duration>, StoreError>;
    /// When the last access token of the realm has expired whose lifetime was made shorter since.
    fn outlived(&self, realm: &str) -> Result<Timestamp, StoreError>;
}

/// What was stored under a name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Was<T> {
    Nothing,
    Known(T),
    /// Something that makes no sense; it is taken for something that was good until now.
    Unreadable,
}

impl<T> From<Option<T>> for Was<T> {
    fn from(found: Option<T>) -> Self {
        found.map_or(Self::Nothing, Self::Known)
    }
}

/// What a change ends, if it is made at `now`.
pub(crate) fn endings(
    before: &impl Before,
    change: &Change,
    now: Timestamp,
) -> Result<Vec<Ending>, StoreError> {
    match change {
        Change::PutRealm(new) => of_realm(before, &new.name, Some(new), now),
        Change::RemoveRealm { realm } => of_realm(before, realm, None, now),
        Change::PutClient(new) => of_client(before, &new.realm, &new.id, Some(new), now),
        Change::RemoveClient { realm, client } => of_client(before, realm, client, None, now),
        Change::PutUser(new) => of_user(before, &new.realm, &new.name, Some(new), now),
        Change::RemoveUser { realm, user } => of_user(before, realm, user, None, now),
        Change::PutKey(new) => of_key(before, &new.realm, &new.kid, Some(new), now),
        Change::RemoveKey { realm, kid } => of_key(before, realm, kid, None, now),
        Change::PutMasterKeyCheck(_)
        | Change::PutCredential { .. }
        | Change::RemoveCredential { .. } => Ok(Vec::new()),
    }
}

/// What is put so that it knows what was told of it: whoever has access tokens from now on must have none that has ended.
/// `told`: the point that the log has of a realm, kind and name.
///
/// The record has to say it, since it alone is read where tokens are issued and introspected; and nobody who puts one has to
/// know it.
pub(crate) fn knowing(
    change: &Change,
    told: impl Fn(&str, &Ended) -> Result<Option<Timestamp>, StoreError>,
) -> Result<Cow<'_, Change>, StoreError> {
    let not_before = Timestamp::EPOCH;
    let (realm, ended, known) = match change {
        Change::PutRealm(new) => (&new.name, Ended::All { not_before }, new.ended_before),
        Change::PutClient(new) => {
            (&new.realm, Ended::Client { id: new.id.clone(), not_before }, new.ended_before)
        }
        Change::PutUser(new) => {
            (&new.realm, Ended::Subject { id: new.subject.clone(), not_before }, new.ended_before)
        }
        _ => return Ok(Cow::Borrowed(change)),
    };
    let Some(told) = told(realm, &ended)?.filter(|told| *told > known) else {
        return Ok(Cow::Borrowed(change));
    };
    let mut change = change.clone();
    match &mut change {
        Change::PutRealm(new) => new.ended_before = told,
        Change::PutClient(new) => new.ended_before = told,
        Change::PutUser(new) => new.ended_before = told,
        _ => {}
    }
    Ok(Cow::Owned(change))
}

/// A family of refresh tokens that was revoked at `now`, or an access token by itself. `end`: when none of its tokens can be
/// good any more.
///
/// Who is told checks access tokens: it matters to them no longer than those live, and they hold a limited number.
pub(crate) fn of_family(
    before: &impl Before,
    (realm, client): (&str, &str),
    id: FamilyId,
    now: Timestamp,
    end: Timestamp,
) -> Result<Ending, StoreError> {
    let until =
        Terms::of(before, realm)?.none_expires_after(settled(now)).map_or(end, |at| end.min(at));
    Ok(ending(realm, Some(client), Ended::Token(id), until))
}

/// When no token of a family can be good any more whose refresh token was used a second time; `end`: no refresh token. Its
/// access tokens may outlive those.
pub(crate) fn end_of_reused(
    before: &impl Before,
    rotation: &Rotation,
    end: Timestamp,
) -> Result<Timestamp, StoreError> {
    Ok(end.max(Terms::of(before, &rotation.realm)?.expired(settled(rotation.now))))
}

fn of_realm(
    before: &impl Before,
    name: &str,
    new: Option<&Realm>,
    now: Timestamp,
) -> Result<Vec<Ending>, StoreError> {
    let Some(not_before) = realm_ended(before.realm(name)?, new, now) else {
        return Ok(Vec::new());
    };
    let until = Terms::of(before, name)?.until(now.max(not_before));
    Ok(vec![ending(name, None, Ended::All { not_before }, until)])
}

fn of_client(
    before: &impl Before,
    realm: &str,
    id: &str,
    new: Option<&Client>,
    now: Timestamp,
) -> Result<Vec<Ending>, StoreError> {
    let Some(not_before) = client_ended(before.client(realm, id)?, new, now) else {
        return Ok(Vec::new());
    };
    let terms = Terms::of(before, realm)?;
    let until = terms.until(now.max(not_before));
    let of = |ended| ending(realm, Some(id), ended, until);
    let mut endings = vec![of(Ended::Client { id: id.to_owned(), not_before })];
    // What others were given about it. Keycloak has no token exchange, and names service accounts otherwise.
    if terms.dialect == Dialect::Rfc {
        endings.push(of(Ended::Subject { id: id.to_owned(), not_before }));
    }
    Ok(endings)
}

fn of_user(
    before: &impl Before,
    realm: &str,
    name: &str,
    new: Option<&User>,
    now: Timestamp,
) -> Result<Vec<Ending>, StoreError> {
    let Some((id, not_before)) = user_ended(before.user(realm, name)?, new, now) else {
        return Ok(Vec::new());
    };
    let until = Terms::of(before, realm)?.until(now.max(not_before));
    Ok(vec![ending(realm, None, Ended::Subject { id, not_before }, until)])
}

fn of_key(
    before: &impl Before,
    realm: &str,
    kid: &str,
    new: Option<&KeyRecord>,
    now: Timestamp,
) -> Result<Vec<Ending>, StoreError> {
    let old = before.key(realm, kid)?;
    if old == Was::Nothing {
        return Ok(Vec::new());
    }
    let terms = Terms::of(before, realm)?;
    if !key_ended(old, new, &terms, now) {
        return Ok(Vec::new());
    }
    Ok(vec![ending(realm, None, Ended::Key(kid.to_owned()), terms.until(settled(now)))])
}

fn ending(realm: &str, client: Option<&str>, ended: Ended, until: Timestamp) -> Ending {
    let client = client.map(str::to_owned);
    Ending {
        realm: realm.to_owned(),
        client,
        revocation: Revocation { ended, until: until.ceil_to_secs() },
    }
}

/// From when on there can be no token of who was ended at `now`, by whatever node.
pub(crate) fn settled(now: Timestamp) -> Timestamp {
    (now + SETTLES).ceil_to_secs()
}

fn client_ended(old: Was<Client>, new: Option<&Client>, now: Timestamp) -> Option<Timestamp> {
    let since = |client: &Client| client.not_before.max(client.created_at.trunc_to_secs());
    match (old, new) {
        (Was::Nothing, _) => None,
        (Was::Known(old), Some(new)) => {
            let disabled = (old.enabled && !new.enabled).then(|| settled(now));
            disabled.max(rise(since(&old), since(new)))
        }
        (Was::Known(_) | Was::Unreadable, _) => Some(settled(now)),
    }
}

fn user_ended(old: Was<User>, new: Option<&User>, now: Timestamp) -> Option<(String, Timestamp)> {
    let Was::Known(old) = old else { return None };
    let ended = match new.filter(|new| new.subject == old.subject) {
        None => Some(settled(now)),
        Some(new) => {
            let disabled = (old.enabled && !new.enabled).then(|| settled(now));
            disabled.max(rise(old.not_before, new.not_before))
        }
    };
    Some((old.subject, ended?))
}

fn realm_ended(old: Was<Realm>, new: Option<&Realm>, now: Timestamp) -> Option<Timestamp> {
    let since = |realm: &Realm| realm.not_before.max(realm.created_at.trunc_to_secs());
    match (old, new) {
        (Was::Nothing, _) => None,
        (Was::Known(old), Some(new)) => rise(since(&old), since(new)),
        (Was::Known(_) | Was::Unreadable, _) => Some(settled(now)),
    }
}

fn rise(old: Timestamp, new: Timestamp) -> Option<Timestamp> {
    (new > old).then(|| new.ceil_to_secs())
}

/// Whether a key goes before all that it has signed, and before it would have gone by itself.
fn key_ended(old: Was<KeyRecord>, new: Option<&KeyRecord>, terms: &Terms, now: Timestamp) -> bool {
    let old = match old {
        Was::Nothing => return false,
        Was::Unreadable => return true,
        Was::Known(old) => old,
    };
    let Some(goes_at) = new.map_or(Some(now), |new| new.gone_at) else { return false };
    let signed_until = new.unwrap_or(&old).retired_at.unwrap_or(now).min(now);
    goes_at < terms.expired(signed_until) && old.gone_at.is_none_or(|planned| goes_at < planned)
}

/// How an ending is stored: its kind, and what is named by that.
pub(crate) fn place(ended: &Ended) -> (&'static str, String) {
    match ended {
        Ended::Token(id) => ("token", id.to_string()),
        Ended::Client { id, .. } => ("client", id.clone()),
        Ended::Subject { id, .. } => ("subject", id.clone()),
        Ended::All { .. } => ("all", String::new()),
        Ended::Key(kid) => ("key", kid.clone()),
    }
}

/// The ending of a kind; `None`: there is no such kind, or not with that.
pub(crate) fn of_place(kind: &str, what: String, not_before: Option<Timestamp>) -> Option<Ended> {
    Some(match (kind, not_before) {
        ("token", None) => Ended::Token(what.parse().ok()?),
        ("client", Some(not_before)) => Ended::Client { id: what, not_before },
        ("subject", Some(not_before)) => Ended::Subject { id: what, not_before },
        ("all", Some(not_before)) => Ended::All { not_before },
        ("key", None) => Ended::Key(what),
        _ => return None,
    })
}

/// The point before which tokens have ended, where it is one.
pub(crate) fn not_before(ended: &Ended) -> Option<Timestamp> {
    match ended {
        Ended::Client { not_before, .. }
        | Ended::Subject { not_before, .. }
        | Ended::All { not_before } => Some(*not_before),
        Ended::Token(_) | Ended::Key(_) => None,
    }
}

/// The log in memory: the reference for other stores.
#[derive(Debug, Default)]
pub(crate) struct Log {
    rows: BTreeMap<u64, Logged>,
    places: BTreeMap<(String, &'static str, String), u64>,
    last: u64,
}

impl Log {
    /// Writes a row. It takes the place of the one before it, and says at least as much.
    pub(crate) fn write(&mut self, ending: Ending, at: Timestamp) {
        let Ending { realm, client, revocation: Revocation { ended, until } } = ending;
        let (kind, what) = place(&ended);
        self.last += 1;
        let before = self.places.insert((realm.clone(), kind, what.clone()), self.last);
        let before = before.and_then(|number| self.rows.remove(&number)).map(|row| row.revocation);
        let until = before.iter().map(|before| before.until).fold(until, Timestamp::max);
        let earlier = before.and_then(|before| not_before(&before.ended));
        let ended = of_place(kind, what, not_before(&ended).max(earlier)).unwrap_or(ended);
        let revocation = Revocation { ended, until };
        self.rows.insert(self.last, Logged { number: self.last, at, realm, client, revocation });
    }

    /// The point before which these have ended, where it is held.
    pub(crate) fn told(&self, realm: &str, ended: &Ended) -> Option<Timestamp> {
        let (kind, what) = place(ended);
        let number = self.places.get(&(realm.to_owned(), kind, what))?;
        not_before(&self.rows.get(number)?.revocation.ended)
    }

    pub(crate) fn after(&self, after: Option<u64>, limit: usize) -> Vec<Logged> {
        let from = after.map_or(0, |number| number.saturating_add(1));
        self.rows.range(from..).take(limit).map(|(_, row)| row.clone()).collect()
    }

    /// Forgets what no longer matters; the newest row stays, since it says up to where others have read.
    pub(crate) fn forget(&mut self, now: Timestamp) {
        let last = self.last;
        self.rows.retain(|number, row| *number == last || row.revocation.until > now);
        self.places.retain(|_, number| self.rows.contains_key(number));
    }
}
