//! Form parameters of requests (RFC 6749 Appendix B).

use std::collections::BTreeMap;

/// The parameters of a form or a query. Of a repeated one the first; what cannot be decoded is left out.
pub(crate) fn parse(text: &[u8]) -> BTreeMap<String, String> {
    let mut form = BTreeMap::new();
    for pair in text.split(|byte| *byte == b'&') {
        let (name, value) = split_at(pair, b'=');
        if let (Some(name), Some(value)) = (decode(name), decode(value.unwrap_or_default()))
            && !name.is_empty()
        {
            form.entry(name).or_insert(value);
        }
    }
    form
}

pub(crate) fn split_at(text: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|byte| *byte == separator) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// Undoes `application/x-www-form-urlencoded`.
pub(crate) fn decode(encoded: &[u8]) -> Option<String> {
    let mut bytes = encoded.iter().copied();
    let mut decoded = Vec::with_capacity(encoded.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => (digit(bytes.next()?)? << 4) | digit(bytes.next()?)?,
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

fn digit(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_decoded_and_bad_escapes_left_out() {
        let form = parse(b"a=1&b=x%20y+z&c&a=2&d=%4&e=%zz&=v");
        let pairs: Vec<_> = form.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(pairs, [("a", "1"), ("b", "x y z"), ("c", "")]);
    }
}
