//! How long access tokens live, and how long those that are about have left.
//!
//! A lifetime can be made shorter, and the tokens that were issued before keep theirs. So a realm remembers when the last of
//! them has expired: until then, whatever ends tokens has to be told.

use std::time::Duration;

use tokenry_core::Timestamp;
use tokenry_core::realm::Dialect;

use crate::revocations::{Before, Was, settled};
use crate::{Change, StoreError};

/// The shortest time that an ending of more than one token is remembered: few, so that a day of them costs nothing. It is a
/// margin for what cannot be known, such as the lifetimes of a realm that is unreadable.
const AT_LEAST: Duration = Duration::from_secs(24 * 3600);

/// What the access tokens of a realm are like.
pub(crate) struct Terms {
    /// The longest lifetime that is given.
    longest: Duration,
    /// When the last token has expired that was given more than that.
    outlived: Timestamp,
    pub(crate) dialect: Dialect,
    /// Whether the realm could be read, so that no token lives longer than this says.
    is_known: bool,
}

impl Terms {
    pub(crate) fn of(before: &impl Before, realm: &str) -> Result<Self, StoreError> {
        let of_clients = before.longest_access(realm)?.unwrap_or_default();
        let outlived = before.outlived(realm)?;
        Ok(match before.realm(realm)? {
            Was::Known(realm) => Self {
                longest: of_clients.max(realm.tokens.access),
                outlived,
                dialect: realm.dialect,
                is_known: true,
            },
            Was::Nothing | Was::Unreadable => Self {
                longest: of_clients.max(AT_LEAST),
                outlived,
                dialect: Dialect::default(),
                is_known: false,
            },
        })
    }

    /// When all tokens have expired that were issued by `last`.
    pub(crate) fn expired(&self, last: Timestamp) -> Timestamp {
        (last + self.longest).max(self.outlived)
    }

    /// The same, where that is certain.
    pub(crate) fn none_expires_after(&self, last: Timestamp) -> Option<Timestamp> {
        self.is_known.then(|| self.expired(last))
    }

    /// Until when it matters that many tokens have ended, of which the last was issued by `last`.
    pub(crate) fn until(&self, last: Timestamp) -> Timestamp {
        self.expired(last).max(last + AT_LEAST)
    }
}

/// The realm in which a change makes a lifetime shorter, and when all tokens have expired that were issued before it was
/// seen everywhere.
///
/// Whether another client still has the same lifetime is not asked: then this says nothing new.
pub(crate) fn outlived<'c>(
    before: &impl Before,
    change: &'c Change,
    now: Timestamp,
) -> Result<Option<(&'c str, Timestamp)>, StoreError> {
    let (realm, is_shorter) = match change {
        Change::PutRealm(new) => {
            let was = before.realm(&new.name)?;
            (&new.name, was.was_known_and(|old| new.tokens.access < old.tokens.access))
        }
        Change::PutClient(new) => {
            let was = before.client(&new.realm, &new.id)?;
            (&new.realm, was.was_known_and(|old| new.access < old.access))
        }
        Change::RemoveClient { realm, client } => {
            (realm, before.client(realm, client)?.was_known_and(|old| old.access.is_some()))
        }
        // With a realm all its tokens end, and it is told until they have expired.
        Change::RemoveRealm { .. }
        | Change::PutMasterKeyCheck(_)
        | Change::PutCredential { .. }
        | Change::RemoveCredential { .. }
        | Change::PutUser(_)
        | Change::RemoveUser { .. }
        | Change::PutKey(_)
        | Change::RemoveKey { .. } => return Ok(None),
    };
    if !is_shorter {
        return Ok(None);
    }
    Ok(Some((realm, Terms::of(before, realm)?.expired(settled(now)))))
}

impl<T> Was<T> {
    /// Whether it was so; what is unreadable may have been anything.
    fn was_known_and(self, so: impl FnOnce(&T) -> bool) -> bool {
        match self {
            Self::Nothing => false,
            Self::Known(old) => so(&old),
            Self::Unreadable => true,
        }
    }
}
