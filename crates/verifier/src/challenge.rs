//! The `WWW-Authenticate` challenge (RFC 6750 §3, RFC 9449 §7.1, RFC 9728 §5.1).

use http::HeaderValue;
use tokenry_core::Scope;

use crate::Rejection;
use crate::credentials::Scheme;

/// What a client is told about one way of sending a token.
#[derive(Clone, Copy)]
pub(crate) struct Challenge<'a> {
    pub(crate) scheme: Scheme,
    pub(crate) realm: &'a str,
    /// What was wrong with the request, where it was sent this way.
    pub(crate) rejection: Option<&'a Rejection>,
    pub(crate) needed: &'a Scope,
    pub(crate) resource_metadata: Option<&'a str>,
    /// The algorithms of proofs.
    pub(crate) algs: Option<&'a str>,
}

impl Challenge<'_> {
    /// Writes it.
    ///
    /// Every attribute stands at most once and is quoted; what cannot stand between quotes is left out.
    pub(crate) fn to_header(self) -> HeaderValue {
        let scheme = self.scheme.as_str();
        let mut text = String::from(scheme);
        let mut attribute = |name: &str, value: Option<&str>| {
            let Some(value) = value else { return };
            text.push_str(if text.len() == scheme.len() { " " } else { ", " });
            text.push_str(name);
            text.push_str("=\"");
            text.extend(value.chars().filter(|c| is_quotable(*c)));
            text.push('"');
        };
        attribute("realm", Some(self.realm));
        attribute("error", self.rejection.and_then(Rejection::code));
        attribute("error_description", self.rejection.and_then(Rejection::description));
        attribute("scope", Some(self.needed.as_str()).filter(|needed| !needed.is_empty()));
        attribute("resource_metadata", self.resource_metadata);
        attribute("algs", self.algs);
        // Quotable characters are all a header may have, so that the other branch is never taken.
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("Bearer"))
    }
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
        let challenge = Challenge {
            scheme: Scheme::Bearer,
            realm: evil,
            rejection: Some(&Rejection::NoCredentials),
            needed: &needed,
            resource_metadata: Some(evil),
            algs: None,
        };
        assert_eq!(
            challenge.to_header(),
            "Bearer realm=\"xSet-Cookie: a=b\", scope=\"a b\", resource_metadata=\"xSet-Cookie: a=b\""
        );
        let dpop = Challenge { scheme: Scheme::Dpop, algs: Some("ES256 \"EdDSA"), ..challenge };
        assert!(dpop.to_header().to_str().unwrap().ends_with(", algs=\"ES256 EdDSA\""));
    }
}
