//! What ends tokens before their time, and how it is told to those who check them: the revocation feed.
//!
//! The feed is a stream of server-sent events (WHATWG HTML §9.2), which anybody can read with `curl -N`. It first tells
//! everything that still matters, then what happens. Whoever comes back sends the last `id` that it saw as
//! `Last-Event-ID`, and is told what came after it.
//!
//! | `event` | `id` | `data` | meaning |
//! | --- | --- | --- | --- |
//! | `revoked` | a cursor | `{"id": UUID, "until": secs}` | the token of this `jti`, and those of this `sid` |
//! | | | `{"client_id": text, "not_before": secs, "until": secs}` | the client's tokens with an earlier `iat` |
//! | | | `{"sub": text, "not_before": secs, "until": secs}` | tokens about it with an earlier `iat` |
//! | | | `{"not_before": secs, "until": secs}` | all tokens of the issuer with an earlier `iat` |
//! | | | `{"kid": text, "until": secs}` | all that this key has signed |
//! | `current` | a cursor, or none yet | `{"everything": bool}` | all that there is for this follower has been told; comes again every few seconds |
//! | `reset` | none | `{}` | the cursor is of no use here: what follows is everything |
//!
//! `everything`: whether that is everything of the issuer, or only what concerns the follower's own tokens; without it, take it
//! for `false`. `until`: when no such token can be good any more, so that it may be forgotten. A token without `iat` is as old as can be.
//! An event that a reader does not know may be passed over; a `revoked` that it cannot read tells it that it has missed
//! something.

mod event;
mod pause;

use std::time::Duration;

use crate::Timestamp;
use crate::family::FamilyId;

pub use event::{Event, EventError, EventReader};
pub use pause::{Outcome, pause};

/// How often a feed says that it is current.
pub const CURRENT_EVERY: Duration = Duration::from_secs(5);

/// Something that has ended tokens before their time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Revocation {
    /// Which tokens.
    pub ended: Ended,
    /// When no such token can be good any more: it may be forgotten then.
    pub until: Timestamp,
}

/// Which tokens of an issuer have ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ended {
    /// The access token of this `jti`, or those that came with this family of refresh tokens (`sid`).
    Token(FamilyId),
    /// Those issued to a client before a point in time.
    Client {
        /// Its identifier.
        id: String,
        /// Tokens with an earlier `iat` have ended. Whole seconds, as in tokens.
        not_before: Timestamp,
    },
    /// Those about somebody that were issued before a point in time.
    Subject {
        /// The `sub`.
        id: String,
        /// Tokens with an earlier `iat` have ended.
        not_before: Timestamp,
    },
    /// All that were issued before a point in time.
    All {
        /// Tokens with an earlier `iat` have ended.
        not_before: Timestamp,
    },
    /// All that a key has signed.
    Key(String),
}

/// What a token says that decides whether it has ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marks<'t> {
    /// `jti`.
    pub jti: Option<&'t str>,
    /// `sid`: the family of refresh tokens that it came with.
    pub family: Option<&'t str>,
    /// `client_id`, or `azp`.
    pub client: Option<&'t str>,
    /// `sub`.
    pub subject: Option<&'t str>,
    /// `iat`.
    pub issued_at: Option<Timestamp>,
    /// The `kid` of the key that it was verified with.
    pub kid: Option<&'t str>,
}

impl Ended {
    /// Whether a token has ended by this: what every index of revocations must agree with.
    pub fn covers(&self, token: &Marks<'_>) -> bool {
        let older = |not_before: &Timestamp| token.issued_at.is_none_or(|at| at < *not_before);
        match self {
            Self::Token(id) => {
                let id = id.to_string();
                [token.jti, token.family].into_iter().flatten().any(|one| one == id)
            }
            Self::Client { id, not_before } => token.client == Some(id) && older(not_before),
            Self::Subject { id, not_before } => token.subject == Some(id) && older(not_before),
            Self::All { not_before } => older(not_before),
            Self::Key(kid) => token.kid == Some(kid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_revocation_covers() {
        let id: FamilyId = "01234567-89ab-7fff-bfff-ffffffffffff".parse().unwrap();
        let text = id.to_string();
        let at = Timestamp::from_secs;
        let token = Marks {
            jti: Some("j"),
            family: Some("f"),
            client: Some("c"),
            subject: Some("s"),
            issued_at: Some(at(10)),
            kid: Some("k"),
        };
        let client = |id: &str, secs| Ended::Client { id: id.into(), not_before: at(secs) };
        let subject = |id: &str, secs| Ended::Subject { id: id.into(), not_before: at(secs) };
        let cases = [
            (Ended::Token(id), token, false),
            (Ended::Token(id), Marks { jti: Some(&text), ..token }, true),
            (Ended::Token(id), Marks { family: Some(&text), ..token }, true),
            (client("c", 11), token, true),
            (client("c", 10), token, false),
            (client("d", 11), token, false),
            (client("c", 1), Marks { issued_at: None, ..token }, true),
            (client("s", 11), token, false),
            (subject("s", 11), token, true),
            (subject("s", 10), token, false),
            (subject("c", 11), token, false),
            (Ended::All { not_before: at(11) }, token, true),
            (Ended::All { not_before: at(10) }, token, false),
            (Ended::Key("k".into()), token, true),
            (Ended::Key("k".into()), Marks { kid: None, ..token }, false),
        ];
        for (ended, token, expected) in cases {
            assert_eq!(ended.covers(&token), expected, "{ended:?} {token:?}");
        }
    }
}
