//! The `application/x-www-form-urlencoded` body (RFC 6749 appendix B), read strictly.
//!
//! Libraries for this format never fail: they turn broken input into replacement characters. A token server that
//! guesses is one that two parties can understand differently, so broken input is refused here.

use std::borrow::Cow;

use crate::Refusal;

/// How many parameters a form may have. The largest request of any grant has fewer than 20.
const MAX_PARAMETERS: usize = 64;

/// The parameters of a form, decoded, in order. Those without a value are left out (RFC 6749 §3.2).
#[derive(Default)]
pub(crate) struct Form<'a> {
    parameters: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Form<'a> {
    /// Reads a body or a query.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let mut parameters = Vec::with_capacity(8);
        for pair in bytes.split(|b| *b == b'&').filter(|pair| !pair.is_empty()) {
            let at = pair.iter().position(|b| *b == b'=');
            let (name, value) = at.map_or((pair, &[][..]), |at| (&pair[..at], &pair[at + 1..]));
            let (name, value) = (decode(name)?, decode(value)?);
            if parameters.len() == MAX_PARAMETERS {
                return Err(Refusal::MalformedRequest("too many parameters"));
            }
            if !value.is_empty() {
                parameters.push((name, value));
            }
        }
        Ok(Self { parameters })
    }

    /// Whether a parameter that is to be sent once was sent twice, whatever the values.
    pub(crate) fn first_repeated(&self, once: &[&'static str]) -> Option<&'static str> {
        once.iter()
            .copied()
            .find(|name| self.parameters.iter().filter(|(own, _)| own == name).nth(1).is_some())
    }

    /// The first value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(own, _)| own == name).map(|(_, value)| &**value)
    }

    /// All values of a parameter, in order.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.parameters.iter().filter(move |(own, _)| own == name).map(|(_, value)| &**value)
    }

    /// Whether any parameter was sent twice, of those that no standard lets come several times.
    pub(crate) fn repeats_any(&self) -> bool {
        // RFC 8707 §2, RFC 8693 §2.1.
        const SEVERAL: [&str; 2] = ["resource", "audience"];
        let names = || self.names().filter(|name| !SEVERAL.contains(name));
        names().enumerate().any(|(i, name)| names().take(i).any(|own| own == name))
    }

    /// The names of all parameters.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.parameters.iter().map(|(name, _)| &**name)
    }
}

/// Undoes the encoding of a name or value: `+` is a space, `%` and two hex digits are a byte, the whole is UTF-8.
pub(crate) fn decode(encoded: &[u8]) -> Result<Cow<'_, str>, Refusal> {
    const NOT_UTF8: Refusal = Refusal::MalformedRequest("a parameter is not UTF-8");
    if encoded.contains(&0) {
        return Err(Refusal::MalformedRequest("a parameter holds a NUL"));
    }
    if !encoded.iter().any(|b| matches!(b, b'%' | b'+')) {
        return std::str::from_utf8(encoded).map(Cow::Borrowed).map_err(|_| NOT_UTF8);
    }
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|b| char::from(*b).to_digit(16));
                match (digit(), digit()) {
                    (Some(high), Some(low)) if (high, low) != (0, 0) => (high << 4 | low) as u8,
                    _ => return Err(Refusal::MalformedRequest("a parameter has a bad % sequence")),
                }
            }
            other => *other,
        });
    }
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| NOT_UTF8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_020_plus_and_percent_20_are_a_space_and_names_are_utf8() {
        let form = Form::parse(b"a=x+y&b=x%20y&%C3%BC=%c3%a4&d=\xc3\xa4").unwrap();
        assert_eq!(form.get("a"), Some("x y"));
        assert_eq!(form.get("b"), Some("x y"));
        assert_eq!(form.get("ü"), Some("ä"));
        assert_eq!(form.get("d"), Some("ä"));
    }

    #[test]
    fn row_019_broken_encoding_is_refused() {
        for bad in ["a=%zz", "a=%", "a=%4", "a=%00", "a=\0", "%=a", "a=%ff", "a=%c3", "a=%+1"] {
            assert!(
                matches!(Form::parse(bad.as_bytes()), Err(Refusal::MalformedRequest(_))),
                "{bad}"
            );
        }
        assert!(Form::parse(b"a=\xff").is_err());
    }

    #[test]
    fn row_012_a_parameter_without_a_value_is_left_out() {
        let form = Form::parse(b"a=&b&=c&&d=e").unwrap();
        assert_eq!(form.names().collect::<Vec<_>>(), ["", "d"]);
    }

    #[test]
    fn a_form_has_a_limited_number_of_parameters() {
        let many = "a=1&".repeat(MAX_PARAMETERS + 1);
        assert!(Form::parse(many.as_bytes()).is_err());
        assert!(Form::parse(&many.as_bytes()[4..]).is_ok());
    }
}
