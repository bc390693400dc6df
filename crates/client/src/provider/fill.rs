//! Placeholders, and what may stand for them.

use std::collections::BTreeMap;

use super::ProviderError;

/// The longest value of a parameter. The longest that vendors have are URLs that name an API.
const PARAMETER_LIMIT: usize = 1024;

/// What is known when a file is filled in.
pub(super) struct Values<'a> {
    /// By the author of the file, who is trusted.
    pub(super) environment: Option<&'a BTreeMap<String, String>>,
    /// By its user, whose values stay where they were put.
    pub(super) parameters: &'a BTreeMap<String, String>,
}

/// Where a text is used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// As a URL.
    Url,
    /// As the pattern of a host.
    Host,
    /// As the value of a form's field, which is encoded.
    Field,
}

/// Why a text cannot be filled in.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Unfilled {
    /// The file's author is at fault.
    Template(String),
    /// The value of this parameter is.
    Value { name: String, what: &'static str },
}

impl Unfilled {
    /// As an error of this provider, if it is not about the file.
    pub(super) fn of(self, provider: &str) -> Result<ProviderError, String> {
        match self {
            Self::Template(what) => Err(what),
            Self::Value { name, what } => {
                Ok(ProviderError::Parameter { provider: provider.to_owned(), name, what })
            }
        }
    }
}

impl Values<'_> {
    /// The text with its `{placeholders}` filled in: first those of the environment, whose values may hold parameters.
    pub(super) fn fill(&self, text: &str, place: Place) -> Result<String, Unfilled> {
        let template = replace(text, |_, key, _| {
            let known = self.environment.and_then(|values| values.get(key));
            Ok(known.cloned().unwrap_or_else(|| format!("{{{key}}}")))
        })?;
        replace(&template, |before, key, after| {
            let Some(value) = self.parameters.get(key) else {
                return Err(Unfilled::Template(format!(
                    "neither the environment nor [parameters] says what {{{key}}} is"
                )));
            };
            let wrong = |what| Unfilled::Value { name: key.to_owned(), what };
            if value.len() > PARAMETER_LIMIT {
                return Err(wrong("is too long"));
            }
            check(before, value, after, place).map_err(|error| match error {
                Misplaced::Template(what) => Unfilled::Template(what.to_owned()),
                Misplaced::Value(what) => wrong(what),
            })?;
            Ok(value.clone())
        })
    }
}

/// Replaces each placeholder by what `value` makes of the text before it, its name and the text after it.
fn replace(
    text: &str,
    value: impl Fn(&str, &str, &str) -> Result<String, Unfilled>,
) -> Result<String, Unfilled> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((key, after)) = after.split_once('}') else {
            return Err(Unfilled::Template("a placeholder has no end".to_owned()));
        };
        filled.push_str(before);
        let value = value(&filled, key, after)?;
        filled.push_str(&value);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

enum Misplaced {
    Template(&'static str),
    Value(&'static str),
}

/// That a value is no more than the part that it stands for: a parameter must not choose another host or path.
fn check(before: &str, value: &str, after: &str, place: Place) -> Result<(), Misplaced> {
    let ends_host = after.is_empty() || after.starts_with('/');
    match place {
        Place::Field => is_text(value).then_some(()).ok_or(NO_TEXT),
        Place::Host => is_host(value, ends_host).then_some(()).ok_or(NO_HOST),
        Place::Url => match before.split_once("://") {
            None => Err(Misplaced::Template("a URL does not begin with a parameter")),
            Some((_, rest)) if rest.contains(['/', '?']) => {
                is_segment(value).then_some(()).ok_or(NO_SEGMENT)
            }
            Some(_) => is_host(value, ends_host).then_some(()).ok_or(NO_HOST),
        },
    }
}

const NO_TEXT: Misplaced = Misplaced::Value("is empty, or has a control character");

const NO_HOST: Misplaced =
    Misplaced::Value("is no host: letters, digits, dots and hyphens, perhaps a port, no https://");

const NO_SEGMENT: Misplaced =
    Misplaced::Value("is no part of a path: letters, digits and -._~ but no slash");

fn is_text(value: &str) -> bool {
    !value.is_empty() && !value.contains(char::is_control)
}

/// Letters, digits, dots and hyphens; and a port where nothing of the host follows.
fn is_host(value: &str, may_have_port: bool) -> bool {
    let (host, port) = match value.split_once(':') {
        Some((host, port)) if may_have_port => (host, Some(port)),
        _ => (value, None),
    };
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|n| n > 0)
    };
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

/// The unreserved characters of RFC 3986 §2.3, and no dot segment (§3.3).
fn is_segment(value: &str) -> bool {
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    !["", ".", ".."].contains(&value) && value.bytes().all(is_unreserved)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn fill(text: &str, place: Place, value: &str) -> Result<String, Unfilled> {
        let parameters = map(&[("p", value)]);
        Values { environment: None, parameters: &parameters }.fill(text, place)
    }

    #[test]
    fn a_parameter_chooses_no_other_host_or_path_than_its_own() {
        for (text, place, bad) in [
            ("https://{p}/t", Place::Url, "evil.example/"),
            ("https://{p}/t", Place::Url, "evil.example/x"),
            ("https://{p}/t", Place::Url, "evil.example#"),
            ("https://{p}/t", Place::Url, "evil.example?"),
            ("https://{p}/t", Place::Url, "evil.example\\"),
            ("https://{p}/t", Place::Url, "good.example@evil.example"),
            ("https://{p}/t", Place::Url, "https://good.example"),
            ("https://{p}/t", Place::Url, "good.example:"),
            ("https://{p}/t", Place::Url, "good.example:+1"),
            ("https://{p}/t", Place::Url, "good.example:70000"),
            ("https://{p}/t", Place::Url, "good.example:0"),
            ("https://{p}/t", Place::Url, "a..b"),
            ("https://{p}/t", Place::Url, ".example"),
            ("https://{p}/t", Place::Url, "{q}"),
            ("https://{p}/t", Place::Url, "ex%61mple"),
            ("https://{p}/t", Place::Url, "b\u{fc}cher.example"),
            ("https://{p}/t", Place::Url, "a b"),
            ("https://{p}/t", Place::Url, "a\r\nb"),
            ("https://{p}/t", Place::Url, ""),
            ("https://{p}.good.example/t", Place::Url, "evil.example:443"),
            ("https://{p}.good.example/t", Place::Url, "evil.example/"),
            ("https://as.example/{p}/t", Place::Url, ".."),
            ("https://as.example/{p}/t", Place::Url, "."),
            ("https://as.example/{p}/t", Place::Url, ""),
            ("https://as.example/{p}/t", Place::Url, "a/b"),
            ("https://as.example/{p}/t", Place::Url, "a\\b"),
            ("https://as.example/{p}/t", Place::Url, "a?b"),
            ("https://as.example/{p}/t", Place::Url, "a#b"),
            ("https://as.example/{p}/t", Place::Url, "%2e%2e"),
            ("https://as.example/t?a={p}", Place::Url, "b&c=d"),
            ("https://as.example?a={p}", Place::Url, "b:80"),
            ("{p}", Place::Host, "*"),
            ("{p}", Place::Host, "*.example"),
            ("{p}", Place::Host, "!good.example"),
            ("{p}", Place::Field, ""),
            ("{p}", Place::Field, "a\nb"),
        ] {
            let filled = fill(text, place, bad);
            assert!(matches!(filled, Err(Unfilled::Value { .. })), "{text} {bad:?} {filled:?}");
        }
        let long = "a".repeat(PARAMETER_LIMIT + 1);
        assert!(fill("{p}", Place::Field, &long).is_err());
        assert!(fill("{p}", Place::Field, &long[1..]).is_ok());
    }

    #[test]
    fn a_good_value_stands_where_its_placeholder_stood() {
        for (text, place, value, filled) in [
            ("https://{p}/t", Place::Url, "a-1.example", "https://a-1.example/t"),
            ("https://{p}/t", Place::Url, "localhost:8443", "https://localhost:8443/t"),
            ("https://{p}", Place::Url, "localhost:8443", "https://localhost:8443"),
            ("https://{p}.as.example/t", Place::Url, "a.b", "https://a.b.as.example/t"),
            ("https://as.example/{p}/t", Place::Url, "a~b_c.d-e", "https://as.example/a~b_c.d-e/t"),
            ("*.{p}", Place::Host, "example.com", "*.example.com"),
            ("{p}/.default", Place::Field, "api://b\u{fc}/a b", "api://b\u{fc}/a b/.default"),
            ("{p}{p}", Place::Field, "{p}", "{p}{p}"),
        ] {
            assert_eq!(fill(text, place, value).unwrap(), filled);
        }
    }

    #[test]
    fn an_environment_may_be_made_of_parameters() {
        let environment = map(&[("host", "{p}.as.example"), ("path", "")]);
        let parameters = map(&[("p", "acme")]);
        let values = Values { environment: Some(&environment), parameters: &parameters };
        assert_eq!(
            values.fill("https://{host}{path}/t/{p}", Place::Url).unwrap(),
            "https://acme.as.example/t/acme"
        );
    }

    #[test]
    fn a_template_that_makes_no_sense_is_its_authors_fault() {
        for (text, place) in [
            ("https://{q}/t", Place::Url),
            ("https://{p", Place::Url),
            ("{p}/t", Place::Url),
            ("{p}://as.example/t", Place::Url),
        ] {
            let filled = fill(text, place, "https");
            assert!(matches!(filled, Err(Unfilled::Template(_))), "{text} {filled:?}");
        }
    }
}
