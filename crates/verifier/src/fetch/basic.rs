//! How a client says who it is, in a header (RFC 6749 §2.3.1).

use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use tokenry_core::Secret;

/// The value of `Authorization`, marked as sensitive.
pub(crate) fn basic(id: &str, secret: &Secret) -> HeaderValue {
    let pair = Secret::new(format!("{}:{}", encoded(id), encoded(secret.expose())));
    let value = format!("Basic {}", BASE64_STANDARD.encode(pair.expose()));
    // Base64 is text that a header may hold, so that the other branch is never taken.
    let mut value =
        HeaderValue::try_from(value).unwrap_or_else(|_| HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

/// "encoded using the "application/x-www-form-urlencoded" encoding algorithm" (RFC 6749 §2.3.1, appendix B).
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'*' | b'-' | b'.' | b'_' => {
                encoded.push(char::from(byte));
            }
            b' ' => encoded.push('+'),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_and_secret_are_encoded_before_they_are_joined() {
        let value = basic("a:b é", &Secret::new("s+%&"));
        let text = value.to_str().unwrap().strip_prefix("Basic ").unwrap();
        let pair = BASE64_STANDARD.decode(text).unwrap();
        assert_eq!(pair, b"a%3Ab+%C3%A9:s%2B%25%26");
        assert_eq!(format!("{value:?}"), "Sensitive");
    }
}
