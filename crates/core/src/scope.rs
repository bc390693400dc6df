//! The scope parameter (RFC 6749 §3.3).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A set of scope tokens: without order, without repeats, case-sensitive.
///
/// Written as its tokens in ascending order with one space between them; the empty set is the empty text, which
/// is not a scope on the wire and is left out there.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scope {
    /// Kept as written on the wire, so that issuing a token never joins anything.
    text: String,
}

/// A character that RFC 6749 does not allow in a scope (`"`, `\`, control characters, anything beyond ASCII).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a scope has a character that RFC 6749 does not allow")]
pub struct MalformedScope;

impl Scope {
    /// The empty scope.
    pub const fn empty() -> Self {
        Self { text: String::new() }
    }

    /// The tokens, ascending.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.text.split(' ').filter(|token| !token.is_empty())
    }

    /// As on the wire.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the scope holds no token.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Whether the scope holds this token.
    pub fn contains(&self, token: &str) -> bool {
        self.tokens().any(|own| own == token)
    }

    /// The first token of `self` that `allowed` does not hold.
    pub fn first_outside(&self, allowed: &Self) -> Option<&str> {
        self.tokens().find(|token| !allowed.contains(token))
    }

    /// The same scope without one token.
    pub fn without(&self, token: &str) -> Self {
        if self.contains(token) {
            self.tokens().filter(|own| *own != token).collect()
        } else {
            self.clone()
        }
    }
}

impl<'a> FromIterator<&'a str> for Scope {
    /// Collects tokens that are known to be well-formed.
    fn from_iter<I: IntoIterator<Item = &'a str>>(tokens: I) -> Self {
        let tokens: BTreeSet<&str> = tokens.into_iter().collect();
        let mut text = String::new();
        for token in tokens {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(token);
        }
        Self { text }
    }
}

impl FromStr for Scope {
    type Err = MalformedScope;

    fn from_str(s: &str) -> Result<Self, MalformedScope> {
        if !s.bytes().all(|b| b == b' ' || is_scope_char(b)) {
            return Err(MalformedScope);
        }
        // Most scopes are written as they are kept.
        if s.split(' ').is_sorted_by(|a, b| !a.is_empty() && a < b) && !s.starts_with(' ') {
            return Ok(Self { text: s.to_owned() });
        }
        Ok(s.split(' ').filter(|token| !token.is_empty()).collect())
    }
}

impl TryFrom<String> for Scope {
    type Error = MalformedScope;

    fn try_from(text: String) -> Result<Self, MalformedScope> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.text
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// RFC 6749 appendix A.4: scope-token = 1*( %x21 / %x23-5B / %x5D-7E ).
const fn is_scope_char(b: u8) -> bool {
    matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_108_a_scope_is_a_set_and_case_sensitive() {
        let scope: Scope = "a  b a".parse().unwrap();
        assert_eq!(scope.as_str(), "a b");
        assert_eq!(scope, "b a".parse().unwrap());
        assert_ne!(scope, "A b".parse().unwrap());
        for odd in [" a b", "a b ", "a  b", "b a", "a b b", " a  b  a "] {
            assert_eq!(odd.parse::<Scope>().unwrap(), scope, "{odd:?}");
        }
        for empty in ["", " ", "  "] {
            assert!(empty.parse::<Scope>().unwrap().is_empty(), "{empty:?}");
        }
    }

    #[test]
    fn row_105_a_scope_has_only_the_characters_of_the_rfc() {
        for bad in ["\"", "a\\b", "a\tb", "a\nb", "\u{7f}", "grün"] {
            assert_eq!(bad.parse::<Scope>(), Err(MalformedScope), "{bad:?}");
        }
    }

    #[test]
    fn what_is_outside_is_named() {
        let allowed: Scope = "read write".parse().unwrap();
        assert_eq!("read".parse::<Scope>().unwrap().first_outside(&allowed), None);
        assert_eq!("read admin".parse::<Scope>().unwrap().first_outside(&allowed), Some("admin"));
        assert_eq!(allowed.without("write").as_str(), "read");
    }
}
