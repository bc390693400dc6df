//! base64url without padding (RFC 7515 §2), strict: no padding, no other characters, no stray trailing bits.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// Decodes, or says nothing about why not.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}

/// Encodes.
pub(crate) fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// Encodes to the end of `out`.
pub(crate) fn encode_to(bytes: &[u8], out: &mut String) {
    BASE64_URL_SAFE_NO_PAD.encode_string(bytes, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_encoding_of_a_value_is_read() {
        assert_eq!(decode("Zg").as_deref(), Some(&b"f"[..]));
        assert_eq!(decode("-_8").as_deref(), Some(&[0xfb, 0xff][..]));
        for other in ["Zg==", "Zh", "Z", "+/8", "Z g", "Zg\n", " Zg", "Zgé"] {
            assert_eq!(decode(other), None, "{other:?}");
        }
    }
}
