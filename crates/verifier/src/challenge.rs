//! The `WWW-Authenticate` challenge (RFC 6750 §3, RFC 9728 §5.1).

use http::HeaderValue;
use tokenry_core::Scope;

use crate::Rejection;

/// Writes the challenge that goes with a rejection.
///
/// Every attribute stands at most once and is quoted; what cannot stand between quotes is left out.
pub(crate) fn challenge(
    rejection: &Rejection,
    realm: &str,
    needed: &Scope,
    resource_metadata: Option<&str>,
) -> HeaderValue {
    let mut text = String::from("Bearer");
    let mut attribute = |name: &str, value: &str| {
        text.push_str(if text.len() == "Bearer".len() { " " } else { ", " });
        text.push_str(name);
        text.push_str("=\"");
        text.extend(value.chars().filter(|c| is_quotable(*c)));
        text.push('"');
    };
    attribute("realm", realm);
    if let Some(code) = rejection.code() {
        attribute("error", code);
    }
    if let Some(description) = rejection.description() {
        attribute("error_description", description);
    }
    let needed = match rejection {
        Rejection::InsufficientScope { needed } => needed,
        _ => needed,
    };
    if !needed.is_empty() {
        attribute("scope", needed.as_str());
    }
    if let Some(url) = resource_metadata {
        attribute("resource_metadata", url);
    }
    // Quotable characters are all a header may have, so that the other branch is never taken.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("Bearer"))
}

/// RFC 6750 §3: "values MUST NOT include characters outside the set %x20-21 / %x23-5B / %x5D-7E".
const fn is_quotable(c: char) -> bool {
    matches!(c, '\u{20}'..='\u{21}' | '\u{23}'..='\u{5b}' | '\u{5d}'..='\u{7e}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_228_values_are_quoted_and_have_safe_characters_only() {
        let needed: Scope = "a b".parse().unwrap();
        let evil = "x\"\r\nSet-Cookie: a=b\\\u{e9}\0";
        let value = challenge(&Rejection::NoCredentials, evil, &needed, Some(evil));
        assert_eq!(
            value,
            "Bearer realm=\"xSet-Cookie: a=b\", scope=\"a b\", resource_metadata=\"xSet-Cookie: a=b\""
        );
    }
}
