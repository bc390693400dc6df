//! What has changed since a revision, so that a server drops no more than that from its memory.

use std::collections::BTreeSet;

use crate::{Change, Revision};

/// How many of the latest touched clients are remembered. A server looks every few seconds; in that time fewer are
/// changed, or so many that it is as well to read everything anew. 10,000 rows are a megabyte.
pub(crate) const JOURNAL: usize = 10_000;

/// Of how many clients a single change is remembered; where it touches more, everything counts as touched, and the
/// journal keeps its place for others.
const OF_ONE_CHANGE: usize = 1000;

/// What has changed between two revisions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Touched {
    /// The newest revision.
    pub revision: Revision,
    /// What has changed, each item once; empty: nothing. `None`: it is not known, so everything may have.
    ///
    /// It is not known where it was too long ago or too much, where a realm was removed, and where the revision that
    /// was asked about is none of this store (an older copy was put in its place).
    pub what: Option<Vec<Item>>,
}

/// Something that has changed.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Item {
    /// A client was put or removed, or a credential of it was.
    Client {
        /// Its realm.
        realm: String,
        /// Its identifier.
        id: String,
    },
    /// Something else: realms, users, keys, the master key's check value, revoked families.
    ///
    /// Also where a client was put that has something of its own, since that may add to
    /// [`Snapshot::usage`](crate::Snapshot::usage). That usage has become less is not said.
    Rest,
}

/// What a list of changes touches.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Reach<'a> {
    /// Realm and identifier of each client.
    pub(crate) clients: BTreeSet<(&'a str, &'a str)>,
    /// Whether anything else is touched.
    pub(crate) rest: bool,
    /// Whether everything counts as touched; then nothing else is said.
    pub(crate) everything: bool,
}

impl<'a> Reach<'a> {
    pub(crate) fn of(changes: &'a [Change]) -> Self {
        let mut reach = Self::default();
        for change in changes {
            match change {
                Change::PutClient(client) => {
                    reach.clients.insert((&client.realm, &client.id));
                    reach.rest |= client.signing.is_some() || client.access.is_some();
                }
                Change::RemoveClient { realm, client }
                | Change::PutCredential { realm, client, .. }
                | Change::RemoveCredential { realm, client, .. } => {
                    reach.clients.insert((realm, client));
                }
                // Its clients go with it, and nobody counts them. Whoever still held one would take it for a client
                // of the next realm of this name.
                Change::RemoveRealm { .. } => return Self::everything(),
                Change::PutMasterKeyCheck(_)
                | Change::PutRealm(_)
                | Change::PutUser(_)
                | Change::RemoveUser { .. }
                | Change::PutKey(_)
                | Change::RemoveKey { .. } => reach.rest = true,
            }
            if reach.clients.len() > OF_ONE_CHANGE {
                return Self::everything();
            }
        }
        reach
    }

    fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }
}
