//! Who asks, and who may.

use std::collections::BTreeSet;

/// Root may have whatever it likes anyway.
const ROOT: u32 = 0;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Peer {
    /// A process of this machine, as the operating system names it.
    User {
        /// Its effective user.
        uid: u32,
        /// Its effective group.
        gid: u32,
    },
    /// Somebody who reached the loopback listener, and has to show the agent's secret.
    Loopback,
}

/// Whom else a token is for, besides root and the user that the agent runs as.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Access {
    /// Users, by number.
    pub users: BTreeSet<u32>,
    /// Groups, by number: the group that a process runs as counts, not those that its user is a member of as well.
    pub groups: BTreeSet<u32>,
}

impl Access {
    pub(crate) fn allows(&self, peer: Peer, owner: u32) -> bool {
        match peer {
            Peer::User { uid, .. } if is_trusted(uid, owner) => true,
            Peer::User { uid, gid } => self.users.contains(&uid) || self.groups.contains(&gid),
            // It has shown the secret, which is worth as much as the user who can read it.
            Peer::Loopback => true,
        }
    }

    /// Whether it lets anybody in who would not be otherwise.
    pub(crate) fn is_wider(&self) -> bool {
        !self.users.is_empty() || !self.groups.is_empty()
    }
}

/// Whether a process of this user can do to the owner's processes what it likes.
pub(crate) const fn is_trusted(uid: u32, owner: u32) -> bool {
    uid == owner || uid == ROOT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_its_owner_for_root_and_for_those_who_are_named() {
        let access = Access { users: BTreeSet::from([1001]), groups: BTreeSet::from([2001]) };
        let user = |uid, gid| Peer::User { uid, gid };
        for (peer, allowed) in [
            (user(1000, 1000), true),
            (user(0, 0), true),
            (user(1001, 1001), true),
            (user(1002, 2001), true),
            (user(1002, 1002), false),
            // A number is a user or a group, not both.
            (user(2001, 1001), false),
            (Peer::Loopback, true),
        ] {
            assert_eq!(access.allows(peer, 1000), allowed, "{peer:?}");
        }
        assert!(!Access::default().allows(user(1001, 1000), 1000));
    }
}
