//! Identifiers that say which place in which list is theirs.

use crate::Timestamp;
use crate::family::FamilyId;

/// A place in one of the lists of a realm.
///
/// The server writes it into the identifier by which a token would be revoked: the family that it came with, or else its
/// `jti`. Whoever has the identifier has the place; nobody needs to remember which token has which.
///
/// Such an identifier is a UUID of version 8 (RFC 9562 §5.8), whose content is for its maker to say. Any two differ,
/// since no place is given twice.
///
/// | octets | content |
/// | --- | --- |
/// | 0 to 5 | milliseconds since the Unix epoch, so that rows of one time lie together |
/// | 6 and 8 | version and variant; the other 10 bits are random |
/// | 7 and 9 | [`MARK`] |
/// | 10 to 13 | the number of the list |
/// | 14 and 15 | the index in it |
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// The number of the list.
    pub list: u32,
    /// The index in the list.
    pub index: u16,
}

/// What tells an identifier with a place from one without, together with the version and the variant.
///
/// Most identifiers of realms without lists are of version 7; a `jti` is any 16 bytes. One in four millions of these is
/// taken for an identifier with a place, which then lies in a list that is not there, but for as many in four billions as
/// there are lists.
const MARK: [u8; 2] = *b"tl";

/// How many places a list has.
pub const PLACES: usize = 1 << u16::BITS;

impl Place {
    /// An identifier with this place, made at `now`.
    pub fn identifier(self, now: Timestamp, random: [u8; 2]) -> FamilyId {
        let mut id = [0; 16];
        id[..6].copy_from_slice(&now.as_millis().to_be_bytes()[2..]);
        id[6] = 0x80 | (random[0] & 0x0f);
        id[8] = 0x80 | (random[1] & 0x3f);
        [id[7], id[9]] = MARK;
        id[10..14].copy_from_slice(&self.list.to_be_bytes());
        id[14..].copy_from_slice(&self.index.to_be_bytes());
        FamilyId(id)
    }

    /// The place that an identifier has, if any.
    pub const fn of(id: FamilyId) -> Option<Self> {
        let FamilyId([_, _, _, _, _, _, version, one, variant, two, a, b, c, d, e, f]) = id;
        let marked = version >> 4 == 8 && variant >> 6 == 2 && one == MARK[0] && two == MARK[1];
        if !marked {
            return None;
        }
        Some(Self { list: u32::from_be_bytes([a, b, c, d]), index: u16::from_be_bytes([e, f]) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_identifier_with_a_place_is_a_version_8_uuid_that_begins_with_its_time() {
        let place = Place { list: 0xdead_beef, index: 0xcafe };
        let id = place.identifier(Timestamp::from_millis(0x0123_4567_89ab), [0xff; 2]);
        assert_eq!(id.to_string(), "01234567-89ab-8f74-bf6c-deadbeefcafe");
    }

    #[test]
    fn what_was_made_without_a_place_has_none() {
        let id = Place { list: 1, index: 2 }.identifier(Timestamp::EPOCH, [0; 2]);
        for (octet, bits) in [(6, 0xf0), (7, 0xff), (8, 0xc0), (9, 0xff)] {
            for bit in (0..8).map(|bit| 1 << bit).filter(|bit| bit & bits != 0) {
                let mut other = id;
                other.0[octet] ^= bit;
                assert_eq!(Place::of(other), None, "{other}");
            }
        }
        assert_eq!(Place::of(FamilyId([0; 16])), None);
    }

    proptest! {
        #[test]
        fn a_place_is_read_out_of_its_identifier(
            list: u32, index: u16, millis in 0u64..1 << 48, random: [u8; 2], other: [u8; 10]
        ) {
            let (place, now) = (Place { list, index }, Timestamp::from_millis(millis));
            prop_assert_eq!(Place::of(place.identifier(now, random)), Some(place));
            prop_assert_eq!(Place::of(FamilyId::new(now, other)), None);
        }
    }
}
