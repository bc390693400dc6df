//! Asking an issuer about its tokens (RFC 7662): those that only it can read, and those that it may have ended.

mod answer;
mod flight;
mod health;
mod http_source;
mod negatives;
mod settings;
mod source;

use std::sync::Arc;
use std::time::Duration;

use tokenry_core::Timestamp;
use tokenry_core::jose::jws::{Compact, JwsError, MAX_TOKEN_LEN};

use self::flight::Flights;
use crate::cache::{Entry, Print, TokenCache};
use crate::credentials::is_b64token_char;
use crate::fetch::HttpSettings;
use crate::issuer::{Epoch, Found, Revocations};
use crate::{BuildError, Policy, Rejection};

pub use settings::IntrospectionSettings;
pub(crate) use settings::can_tell_apart;
pub use source::IntrospectionSource;

/// When to come again where nothing better is known.
const SOON: Duration = Duration::from_secs(1);

/// Asks one issuer about tokens.
#[derive(Debug)]
pub(crate) struct Introspection {
    prefixes: Vec<String>,
    always: bool,
    flights: Arc<Flights>,
}

/// What was asked about the tokens of an issuer.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct IntrospectionMetrics {
    /// How many times it was asked.
    pub asked: u64,
    /// How many of these times there was no answer, or none that can be used.
    pub failed: u64,
    /// How many times it was not asked because a token had been found bad only just before.
    pub spared: u64,
    /// Whether the last time came to nothing.
    pub failing: bool,
}

/// What of its issuer an introspection needs.
pub(crate) struct Surroundings<'s> {
    pub(crate) policy: &'s Policy,
    pub(crate) revocations: &'s Arc<Revocations>,
    pub(crate) epoch: &'s Arc<Epoch>,
    pub(crate) http: &'s HttpSettings,
    /// Where tokens that are good are kept, and under which number of an issuer.
    pub(crate) cache: (&'s Arc<TokenCache>, usize),
}

impl Introspection {
    /// Nothing is asked yet.
    pub(crate) fn new(
        settings: IntrospectionSettings,
        surroundings: &Surroundings<'_>,
    ) -> Result<Self, BuildError> {
        let flights = Arc::new(Flights::new(&settings, surroundings)?);
        let IntrospectionSettings { prefixes, always, .. } = settings;
        Ok(Self { prefixes, always, flights })
    }

    /// Whether this issuer is to be asked about a text that is no JWT.
    pub(crate) fn is_for(&self, text: &str) -> bool {
        self.prefixes.is_empty() || self.prefixes.iter().any(|prefix| text.starts_with(prefix))
    }

    /// Whether it is to be asked about JWTs as well.
    pub(crate) const fn is_for_all(&self) -> bool {
        self.always
    }

    /// Asks about a token, or waits for what another has asked about it.
    ///
    /// `signed` is what a JWT has been found to be by itself. `is_good` says of a token that is remembered by now whether it
    /// still is.
    pub(crate) async fn ask(
        &self,
        text: &str,
        signed: Option<&Found>,
        is_good: impl Fn(&Entry) -> bool,
        now: Timestamp,
    ) -> Result<Found, Rejection> {
        let print = Print::of(text);
        let mut landing = match Flights::board(&self.flights, print, text, signed, is_good, now)? {
            flight::Boarded::Known(found) => return Ok(found),
            flight::Boarded::Waiting(landing) => landing,
        };
        match landing.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(landed)) => landed.clone(),
            // It has ended without a word, which takes a runtime that shuts down.
            _ => Err(Rejection::Unavailable { retry_after: SOON }),
        }
    }

    /// Forgets what was said about a token, and what is being said right now.
    pub(crate) fn forget(&self, print: &Print) {
        self.flights.forget(print);
    }

    /// The same for all tokens.
    pub(crate) fn forget_all(&self) {
        self.flights.forget_all();
    }

    /// Whether the issuer is left alone now because it has not answered.
    pub(crate) fn is_paused(&self) -> bool {
        self.flights.is_paused()
    }

    pub(crate) fn metrics(&self) -> IntrospectionMetrics {
        self.flights.metrics()
    }
}

/// Whether a text that was not read as a JWT may be a token that only its issuer can read.
///
/// What begins as a JWT and is none, or is encrypted, is not: an issuer that reads more loosely than we do might call it
/// active.
pub(crate) fn is_opaque(text: &str) -> bool {
    is_token(text) && !has_header(text)
}

/// Whether a text may stand in a request as a token at all (RFC 6750 §2.1).
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_TOKEN_LEN && text.bytes().all(is_b64token_char)
}

/// Whether the part before the first dot is a JSON object, in whichever base64.
fn has_header(text: &str) -> bool {
    let Some((header, _)) = text.split_once('.') else { return false };
    let header = header.trim_end_matches('=').replace('+', "-").replace('/', "_");
    let read = Compact::parse(&format!("{header}..")).err();
    !matches!(read, Some(JwsError::NotBase64Url | JwsError::HeaderNotJson))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_239_row_243_what_begins_as_a_jwt_is_not_opaque() {
        let header = "eyJhbGciOiJFUzI1NiJ9";
        for (text, expected) in [
            ("abc", true),
            ("tka_abc-_~+/=", true),
            ("ory_at_abc.def", true),
            ("a.b.c", true),
            ("a.b.c.d.e", true),
            ("eyJpdiI6ImEifQ", true),
            ("", false),
            ("a b", false),
            ("a\"b", false),
            ("\u{e4}", false),
            (&"a".repeat(MAX_TOKEN_LEN), true),
            (&"a".repeat(MAX_TOKEN_LEN + 1), false),
            (&format!("{header}.a"), false),
            (&format!("{header}.a.b.c"), false),
            (&format!("{header}.a.b.c.d"), false),
            (&format!("{header}=.e30.AA"), false),
            (&format!("{header}.e30=.AA"), false),
            (&format!("{header}.e30.A+A/"), false),
            ("eyJhbGciOiJub25lIn0.e30.", false),
            ("eyJhIjoiw78_Pz8_In0.e30.a=", false),
            ("eyJhIjoiw78/Pz8/In0.e30.a", false),
        ] {
            assert!(Compact::parse(text).is_err());
            assert_eq!(is_opaque(text), expected, "{text}");
        }
    }
}
