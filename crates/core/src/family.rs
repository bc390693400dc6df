//! Families of refresh tokens: what is remembered of them, and what a rotation may answer.
//!
//! A family is all the refresh tokens that come from one grant. Nothing is remembered of it until one of them is
//! rotated or the family is revoked.
//!
//! | presented generation is | and | then |
//! | --- | --- | --- |
//! | the current one | | the next generation becomes current |
//! | the one before the current | within the grace, counted from the rotation | the same successor again |
//! | anything else | | the family is revoked |

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// The identifier of a family: a UUIDv7 (RFC 9562 §5.7), so that rows of one time lie together.
///
/// An access token that is revoked by itself is remembered as a family of one, by its `jti`: both are UUIDs that are
/// never given twice.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct FamilyId(pub [u8; 16]);

impl FamilyId {
    /// Makes an identifier from the time and 10 random bytes.
    pub fn new(now: Timestamp, random: [u8; 10]) -> Self {
        Self(uuid_v7(now, random))
    }
}

/// No UUID in the form that [`Display`](fmt::Display) writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a UUID")]
pub struct NotAUuid;

impl FromStr for FamilyId {
    type Err = NotAUuid;

    /// Reads the one form that is written: 36 characters of lower-case hex and hyphens.
    fn from_str(text: &str) -> Result<Self, NotAUuid> {
        let mut id = [0; 16];
        let mut digits = text.bytes().filter(|byte| *byte != b'-');
        for byte in &mut id {
            let mut digit = || digits.next().and_then(|digit| char::from(digit).to_digit(16));
            let (high, low) = (digit().ok_or(NotAUuid)?, digit().ok_or(NotAUuid)?);
            *byte = (high << 4 | low) as u8;
        }
        let id = Self(id);
        if hyphenated(&id.0) == *text.as_bytes() { Ok(id) } else { Err(NotAUuid) }
    }
}

impl fmt::Display for FamilyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&hyphenated(&self.0)).unwrap_or_default())
    }
}

/// A UUIDv7: 48 bits of milliseconds, 74 random bits.
pub fn uuid_v7(now: Timestamp, random: [u8; 10]) -> [u8; 16] {
    let mut id = [0; 16];
    id[..6].copy_from_slice(&now.as_millis().to_be_bytes()[2..]);
    id[6..].copy_from_slice(&random);
    id[6] = 0x70 | (id[6] & 0x0f);
    id[8] = 0x80 | (id[8] & 0x3f);
    id
}

/// A UUID as text: 36 characters of lower-case hex and hyphens.
pub fn hyphenated(id: &[u8; 16]) -> [u8; 36] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (i, byte) in id.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            at += 1;
        }
        text[at] = HEX[usize::from(byte >> 4)];
        text[at + 1] = HEX[usize::from(byte & 15)];
        at += 2;
    }
    text
}

/// What is remembered of a family.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Family {
    /// The generation that may be refreshed.
    pub generation: u32,
    /// When that generation became current.
    pub rotated_at: Timestamp,
    /// When the family was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When none of its tokens can be valid any more, so that it may be forgotten.
    pub expires_at: Timestamp,
}

/// A refresh token of policy `rotate` that is to be used up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rotation {
    /// The realm of the family.
    pub realm: String,
    /// The client whose family it is.
    pub client: String,
    /// The family.
    pub family: FamilyId,
    /// The generation of the refresh token that was presented.
    pub presented: u32,
    /// The time of the request.
    pub now: Timestamp,
    /// How long after a rotation the same request is answered alike.
    pub grace: Duration,
    /// When the successor expires: the family is remembered at least until then.
    pub expires_at: Timestamp,
}

/// What became of a [`Rotation`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rotated {
    /// This is the current generation now: by this request, or by the one that it repeats.
    Successor {
        /// The current generation.
        generation: u32,
        /// When it became current. The same for every repetition.
        rotated_at: Timestamp,
    },
    /// A token was used a second time; the family has been revoked by this request.
    Reused,
    /// The family had been revoked before.
    Revoked,
}

impl Rotation {
    /// The earliest rotation that this request may be a repetition of.
    ///
    /// Without grace there is none, not even within the millisecond: a program that refreshes twice is that quick.
    pub fn repeatable_since(&self) -> Timestamp {
        if self.grace.is_zero() {
            return Timestamp::from_millis(u64::MAX);
        }
        self.now - self.grace
    }

    /// What this rotation does to what is remembered: the reference that every store must agree with.
    ///
    /// A generation above 0 of which nothing is remembered was used up before its row was lost (a restored backup):
    /// it fails closed.
    pub fn apply(&self, family: Option<Family>) -> (Family, Rotated) {
        let next = Family {
            generation: self.presented.saturating_add(1),
            rotated_at: self.now,
            revoked_at: None,
            expires_at: self.expires_at,
        };
        let successor =
            |f: Family| Rotated::Successor { generation: f.generation, rotated_at: f.rotated_at };
        let Some(known) = family else {
            return if self.presented == 0 {
                (next, successor(next))
            } else {
                (
                    Family { generation: self.presented, revoked_at: Some(self.now), ..next },
                    Rotated::Reused,
                )
            };
        };
        let expires_at = known.expires_at.max(self.expires_at);
        if known.revoked_at.is_some() {
            (known, Rotated::Revoked)
        } else if known.generation == self.presented {
            let next = Family { expires_at, ..next };
            (next, successor(next))
        } else if Some(known.generation) == self.presented.checked_add(1)
            && known.rotated_at >= self.repeatable_since()
        {
            (known, successor(known))
        } else {
            (Family { revoked_at: Some(self.now), expires_at, ..known }, Rotated::Reused)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_a_version_7_uuid_that_begins_with_its_time() {
        let id = FamilyId::new(Timestamp::from_millis(0x0123_4567_89ab), [0xff; 10]);
        let text = "01234567-89ab-7fff-bfff-ffffffffffff";
        assert_eq!(id.to_string(), text);
        assert_eq!(text.parse(), Ok(id));
        for bad in ["", "01234567", &text.replace('f', "F"), &text.replace('-', ""), &text[1..]] {
            assert_eq!(bad.parse::<FamilyId>(), Err(NotAUuid), "{bad}");
        }
        assert_eq!(format!("{text}0").parse::<FamilyId>(), Err(NotAUuid));
    }

    #[test]
    fn row_117_without_grace_nothing_is_repeated() {
        let rotation = Rotation {
            realm: "r".into(),
            client: "c".into(),
            family: FamilyId([0; 16]),
            presented: 0,
            now: Timestamp::from_secs(110),
            grace: Duration::ZERO,
            expires_at: Timestamp::from_secs(2000),
        };
        let (first, _) = rotation.apply(None);
        let (after, rotated) = rotation.apply(Some(first));
        assert_eq!(rotated, Rotated::Reused);
        assert_eq!(after.revoked_at, Some(rotation.now));
    }

    #[test]
    fn row_117_row_118_what_a_rotation_may_answer() {
        let known = |generation, rotated| Family {
            generation,
            rotated_at: Timestamp::from_secs(rotated),
            revoked_at: None,
            expires_at: Timestamp::from_secs(1000),
        };
        let revoked = Family { revoked_at: Some(Timestamp::EPOCH), ..known(3, 100) };
        let next = |generation, at| Rotated::Successor {
            generation,
            rotated_at: Timestamp::from_secs(at),
        };
        let cases = [
            ("first refresh", None, 0, next(1, 110)),
            ("a row that was lost", None, 2, Rotated::Reused),
            ("the current one", Some(known(3, 100)), 3, next(4, 110)),
            ("the one before, within the grace", Some(known(3, 100)), 2, next(3, 100)),
            ("the one before, at the end of the grace", Some(known(3, 80)), 2, next(3, 80)),
            ("the one before, after the grace", Some(known(3, 79)), 2, Rotated::Reused),
            ("one before that", Some(known(3, 100)), 1, Rotated::Reused),
            ("one that was never issued", Some(known(3, 100)), 4, Rotated::Reused),
            ("the current one of a revoked family", Some(revoked), 3, Rotated::Revoked),
            ("the largest generation", Some(known(3, 100)), u32::MAX, Rotated::Reused),
        ];
        for (name, family, presented, expected) in cases {
            let rotation = Rotation {
                realm: "r".into(),
                client: "c".into(),
                family: FamilyId([0; 16]),
                presented,
                now: Timestamp::from_secs(110),
                grace: Duration::from_secs(30),
                expires_at: Timestamp::from_secs(2000),
            };
            let (after, rotated) = rotation.apply(family);
            assert_eq!(rotated, expected, "{name}");
            assert_eq!(
                after.revoked_at.is_some(),
                !matches!(rotated, Rotated::Successor { .. }),
                "{name}"
            );
        }
    }
}
