//! What an API says about a token that it refuses: challenges (RFC 9110 §11.6.1, RFC 6750 §3).

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// A challenge: a scheme, and what it says. Names of parameters are in small letters.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Challenge {
    pub(super) scheme: String,
    parameters: Vec<(String, String)>,
}

/// An answer with more challenges than this has something else in mind.
const LIMIT: usize = 32;

impl Challenge {
    /// Every challenge of an answer.
    pub(super) fn all(headers: &HeaderMap) -> Vec<Self> {
        let values = headers.get_all(WWW_AUTHENTICATE).iter();
        values.filter_map(|value| value.to_str().ok()).flat_map(read).take(LIMIT).collect()
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// Reads a header: schemes, each followed by parameters, everything with commas in between.
fn read(header: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    for item in items(header) {
        let (before, value) = match item.split_once('=') {
            Some((before, value)) => (before.trim(), Some(value.trim())),
            None => (item.trim(), None),
        };
        // `Bearer realm` opens a challenge with a parameter, `Bearer` one without, `realm` goes on with the last.
        let (scheme, name) = match before.split_once(char::is_whitespace) {
            Some((scheme, name)) => (Some(scheme), name.trim()),
            None if value.is_none() => (Some(before), ""),
            None => (None, before),
        };
        if let Some(scheme) = scheme.filter(|scheme| !scheme.is_empty()) {
            challenges.push(Challenge { scheme: scheme.to_owned(), parameters: Vec::new() });
        }
        if let (Some(challenge), Some(value)) = (challenges.last_mut(), value) {
            challenge.parameters.push((name.to_ascii_lowercase(), unquoted(value)));
        }
    }
    challenges
}

/// The parts between commas that stand in no quotes.
fn items(header: &str) -> Vec<&str> {
    let (mut items, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in header.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                items.extend(header.get(start..at));
                start = at + 1;
            }
            _ => {}
        }
    }
    items.extend(header.get(start..));
    items.into_iter().filter(|item| !item.trim().is_empty()).collect()
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) else {
        return value.to_owned();
    };
    let (mut text, mut escaped) = (String::new(), false);
    for c in inner.chars() {
        if c == '\\' && !escaped {
            escaped = true;
        } else {
            text.push(c);
            escaped = false;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_told_apart() {
        let header = r#"Bearer realm="a, \"b\"", error="invalid_token",error_description=plain, DPoP algs="ES256", Negotiate"#;
        let challenges = read(header);
        let schemes: Vec<_> = challenges.iter().map(|one| one.scheme.as_str()).collect();
        assert_eq!(schemes, ["Bearer", "DPoP", "Negotiate"]);
        assert_eq!(challenges[0].get("realm"), Some("a, \"b\""));
        assert_eq!(challenges[0].get("error"), Some("invalid_token"));
        assert_eq!(challenges[0].get("error_description"), Some("plain"));
        assert_eq!(challenges[1].get("algs"), Some("ES256"));
        assert_eq!(challenges[2].get("algs"), None);
        for nonsense in ["", ",", "=", "\"", "a=\"", "  ,  = ,"] {
            assert!(read(nonsense).iter().all(|one| one.parameters.len() <= 1), "{nonsense}");
        }
    }
}
