//! The list itself: as many bits as there are to a token, packed and compressed (§4.1, §4.2).

use miniz_oxide::deflate::{CompressionLevel, compress_to_vec_zlib};
use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;

use super::StatusListError;
use crate::jose::base64url;

/// The largest list read, in bytes as it is packed: 32 million tokens of one bit. A few kilobytes may claim to be more
/// than there is memory.
pub const MAX_PACKED: usize = 4 * 1024 * 1024;

/// The longest text of a list read: what does not compress at all, in base64.
const MAX_TEXT: usize = MAX_PACKED / 3 * 4 + 1024;

/// The status of one token (§7.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    /// 0: it is what it says.
    Valid,
    /// 1: it was revoked, for good.
    Invalid,
    /// 2: it is not good now, and may be again.
    Suspended,
    /// Anything else means what its issuer says. Who does not know it had better take it for no longer good.
    Other(u8),
}

impl From<u8> for Status {
    fn from(value: u8) -> Self {
        match value {
            0 => Self::Valid,
            1 => Self::Invalid,
            2 => Self::Suspended,
            other => Self::Other(other),
        }
    }
}

/// The statuses of many tokens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StatusList {
    /// How many bits there are to a token: 1, 2, 4 or 8.
    bits: u8,
    packed: Vec<u8>,
}

impl StatusList {
    /// A list of one bit for each of `len` tokens, rounded up to whole bytes, in which these have been revoked. Indices
    /// beyond the list change nothing.
    pub fn revoked(len: usize, indices: impl IntoIterator<Item = u16>) -> Self {
        let mut packed = vec![0; len.div_ceil(8)];
        for index in indices.into_iter().map(usize::from) {
            // §4.1: within a byte, "from the least significant bit ("0") to the most significant bit ("7")".
            if let Some(byte) = packed.get_mut(index / 8) {
                *byte |= 1 << (index % 8);
            }
        }
        Self { bits: 1, packed }
    }

    /// The status at an index.
    ///
    /// # Errors
    ///
    /// The list is not so long. §8.3: then "no statement about the status" is made, and the token "MUST be rejected".
    pub fn status(&self, index: u64) -> Result<Status, StatusListError> {
        let per_byte = u64::from(8 / self.bits);
        let at = usize::try_from(index / per_byte).ok();
        let byte = at.and_then(|at| self.packed.get(at)).ok_or(StatusListError::OutOfRange)?;
        let shift = (index % per_byte) as u8 * self.bits;
        Ok(Status::from(byte >> shift & (u8::MAX >> (8 - self.bits))))
    }

    /// How many bits there are to a token.
    pub const fn bits(&self) -> u8 {
        self.bits
    }

    /// How many tokens have a place.
    pub const fn len(&self) -> usize {
        self.packed.len() * 8 / self.bits as usize
    }

    /// Whether there is no place at all.
    pub const fn is_empty(&self) -> bool {
        self.packed.is_empty()
    }

    /// How many bytes it takes.
    pub const fn size(&self) -> usize {
        self.packed.len()
    }

    /// `lst`: the text of the list.
    pub fn encode(&self) -> String {
        // "RECOMMENDED to use the highest compression level available": what is made once is sent to many.
        let level = CompressionLevel::BestCompression as u8;
        base64url::encode(&compress_to_vec_zlib(&self.packed, level))
    }

    /// Reads `bits` and `lst`.
    ///
    /// # Errors
    ///
    /// Other numbers of bits than 1, 2, 4 and 8; a text that is not the base64url of zlib data, or is of too much.
    pub fn decode(bits: u64, text: &str) -> Result<Self, StatusListError> {
        let bits = match bits {
            1 | 2 | 4 | 8 => bits as u8,
            _ => return Err(StatusListError::Bits),
        };
        if text.len() > MAX_TEXT {
            return Err(StatusListError::TooLarge);
        }
        let compressed = base64url::decode(text).ok_or(StatusListError::Malformed("lst"))?;
        let packed = decompress_to_vec_zlib_with_limit(&compressed, MAX_PACKED).map_err(
            |error| match error.status {
                miniz_oxide::inflate::TINFLStatus::HasMoreOutput => StatusListError::TooLarge,
                _ => StatusListError::Malformed("lst"),
            },
        )?;
        Ok(Self { bits, packed })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All entries of a list that are not 0.
    fn set(list: &StatusList) -> Vec<(u64, Status)> {
        let each = (0..list.len() as u64).map(|i| (i, list.status(i).unwrap()));
        each.filter(|(_, status)| *status != Status::Valid).collect()
    }

    #[test]
    fn row_193_the_lists_of_the_draft_are_read() {
        use Status::{Invalid as I, Other, Suspended as S, Valid as V};
        let cases = [
            (1, "eNrbuRgAAhcBXQ", vec![I, V, V, I, I, I, V, I, I, I, V, V, V, I, V, I]),
            (2, "eNo76fITAAPfAgc", vec![I, S, V, Other(3), V, I, V, I, I, S, Other(3), Other(3)]),
        ];
        for (bits, text, expected) in cases {
            let list = StatusList::decode(bits, text).unwrap();
            let got: Vec<_> = (0..expected.len() as u64).map(|i| list.status(i).unwrap()).collect();
            assert_eq!(got, expected);
            assert_eq!(list.status(expected.len() as u64), Err(StatusListError::OutOfRange));
            assert_eq!(list.status(u64::MAX), Err(StatusListError::OutOfRange));
        }
    }

    #[test]
    fn row_193_the_list_of_a_million_of_the_draft_is_read() {
        let text = concat!(
            "eNrt3AENwCAMAEGogklACtKQPg9LugC9k_ACvreiogEAAKkeCQAAAAAAAAAAAAAAAAAAAIBylgQAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAXG9IAAAAAAAAAPwsJAAAAAAAAAAAAAAAvhsSAAAA",
            "AAAAAAAA7KpLAAAAAAAAAAAAAAAAAAAAAJsLCQAAAAAAAAAAADjelAAAAAAAAAAAKjDMAQAAAACAZC8L2AEb",
        );
        let list = StatusList::decode(1, text).unwrap();
        assert_eq!(list.len(), 1 << 20);
        let expected = [
            0, 1993, 25460, 159_495, 495_669, 554_353, 645_645, 723_232, 854_545, 934_534,
            1_000_345,
        ];
        assert_eq!(set(&list), expected.map(|index| (index, Status::Invalid)));
    }

    #[test]
    fn row_193_every_width_is_read_from_the_least_significant_bit_on() {
        use Status::{Invalid, Other, Suspended, Valid};
        let packed = [0b1110_0100, 0x21];
        let text = base64url::encode(&compress_to_vec_zlib(&packed, 1));
        let cases: [(u64, &[Status]); 4] = [
            (1, &[Valid, Valid, Invalid, Valid, Valid, Invalid, Invalid, Invalid, Invalid, Valid]),
            (2, &[Valid, Invalid, Suspended, Other(3), Invalid, Valid, Suspended, Valid]),
            (4, &[Other(4), Other(14), Invalid, Suspended]),
            (8, &[Other(0xe4), Other(0x21)]),
        ];
        for (bits, expected) in cases {
            let list = StatusList::decode(bits, &text).unwrap();
            for (i, status) in expected.iter().enumerate() {
                assert_eq!(list.status(i as u64), Ok(*status), "{i} of {bits} bits");
            }
            assert_eq!(list.status(16 / bits), Err(StatusListError::OutOfRange), "{bits} bits");
        }
        for bits in [0, 3, 5, 6, 7, 9, 16, 257, u64::MAX] {
            assert_eq!(StatusList::decode(bits, &text), Err(StatusListError::Bits), "{bits}");
        }
    }

    #[test]
    fn row_193_what_is_no_list_is_refused() {
        let good = StatusList::revoked(64, [3]).encode();
        let raw = base64url::decode(&good).unwrap();
        let text = |raw: &[u8]| base64url::encode(raw);
        let mut damaged = raw.clone();
        *damaged.last_mut().unwrap() ^= 1;
        let cases = [
            ("nothing", String::new()),
            ("padding", format!("{good}=")),
            ("no base64url", good.replacen('e', "+", 1)),
            ("another check value", text(&damaged)),
            ("the end is missing", text(&raw[..raw.len() - 1])),
            ("no header", text(&raw[2..])),
        ];
        for (name, text) in cases {
            let read = StatusList::decode(1, &text);
            assert_eq!(read, Err(StatusListError::Malformed("lst")), "{name}");
        }
    }

    #[test]
    fn row_193_inflating_is_bounded() {
        let list = |len| base64url::encode(&compress_to_vec_zlib(&vec![0; len], 1));
        assert!(StatusList::decode(1, &list(MAX_PACKED)).is_ok());
        assert_eq!(StatusList::decode(1, &list(MAX_PACKED + 1)), Err(StatusListError::TooLarge));
        let long = "A".repeat(MAX_TEXT + 1);
        assert_eq!(StatusList::decode(1, &long), Err(StatusListError::TooLarge));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(mut indices in proptest::collection::vec(any::<u16>(), 0..50)) {
            let list = StatusList::revoked(1 << 16, indices.iter().copied());
            prop_assert_eq!(StatusList::decode(1, &list.encode()), Ok(list.clone()));
            indices.sort_unstable();
            indices.dedup();
            let expected: Vec<_> =
                indices.into_iter().map(|i| (u64::from(i), Status::Invalid)).collect();
            prop_assert_eq!(set(&list), expected);
        }

        #[test]
        fn nothing_that_is_read_panics(bits in 0u64..10, raw: Vec<u8>, index: u64) {
            if let Ok(list) = StatusList::decode(bits, &base64url::encode(&raw)) {
                let _ = list.status(index);
            }
        }
    }
}
