//! Tokens that are good only together with a key (RFC 7800, RFC 8705 §3, RFC 9449 §6).

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// The keys of which the holder of a token must prove that it has them; none for a bearer token.
///
/// The same value says what a request has proved.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Binding {
    /// The SHA-256 thumbprint of a DPoP key (RFC 7638): `jkt`.
    pub key: Option<[u8; 32]>,
    /// The SHA-256 of a client certificate in DER: `x5t#S256`.
    pub certificate: Option<[u8; 32]>,
}

/// The confirmation method of a DPoP key (RFC 9449 §6.1).
const JKT: &str = "jkt";
/// The confirmation method of a certificate (RFC 8705 §3.1).
const X5T: &str = "x5t#S256";

impl Binding {
    /// No key at all: a bearer token.
    pub const NONE: Self = Self { key: None, certificate: None };

    /// Whether there is no key.
    pub const fn is_none(&self) -> bool {
        self.key.is_none() && self.certificate.is_none()
    }

    /// The confirmation methods with their values in base64url without padding: the members of `cnf`.
    pub fn members(&self) -> impl Iterator<Item = (&'static str, String)> {
        [(JKT, self.key), (X5T, self.certificate)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, BASE64_URL_SAFE_NO_PAD.encode(value?))))
    }

    /// Reads `cnf`. `None` where it names a method that is not known here, or a value that is none: whoever cannot check
    /// a confirmation must not take the token for a bearer token (RFC 7800 §3.1).
    pub fn from_cnf(cnf: &Map<String, Value>) -> Option<Self> {
        let mut binding = Self::NONE;
        for (name, value) in cnf {
            let value = BASE64_URL_SAFE_NO_PAD.decode(value.as_str()?).ok()?.try_into().ok()?;
            match name.as_str() {
                JKT => binding.key = Some(value),
                X5T => binding.certificate = Some(value),
                _ => return None,
            }
        }
        (!binding.is_none()).then_some(binding)
    }

    /// Whether a request that has proved `proven` may use what is bound so.
    pub fn is_proved_by(&self, proven: &Self) -> bool {
        self.key.is_none_or(|key| proven.key == Some(key))
            && self.certificate.is_none_or(|certificate| proven.certificate == Some(certificate))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cnf(value: Value) -> Option<Binding> {
        Binding::from_cnf(value.as_object().unwrap())
    }

    #[test]
    fn row_090_row_194_a_binding_is_written_without_padding_and_reads_back() {
        let both = Binding { key: Some([0xfb; 32]), certificate: Some([1; 32]) };
        let members: Map<String, Value> =
            both.members().map(|(name, value)| (name.to_owned(), value.into())).collect();
        assert_eq!(members["jkt"].as_str().unwrap().len(), 43);
        assert_eq!(members["x5t#S256"], "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE");
        assert_eq!(Binding::from_cnf(&members), Some(both));
        assert_eq!(Binding::NONE.members().count(), 0);
    }

    #[test]
    fn row_250_what_is_not_known_is_never_taken_for_nothing() {
        let good = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";
        assert!(cnf(json!({ "jkt": good })).is_some());
        for bad in [
            json!({}),
            json!({ "jwk": {} }),
            json!({ "jkt": good, "kid": "a" }),
            json!({ "jkt": format!("{good}=") }),
            json!({ "jkt": "AQ" }),
            json!({ "jkt": 1 }),
        ] {
            assert_eq!(cnf(bad.clone()), None, "{bad}");
        }
    }

    #[test]
    fn row_210_each_key_of_a_binding_must_be_proved() {
        let (a, b) = (Some([1; 32]), Some([2; 32]));
        let key = Binding { key: a, ..Binding::NONE };
        let both = Binding { key: a, certificate: b };
        assert!(Binding::NONE.is_proved_by(&Binding::NONE));
        assert!(Binding::NONE.is_proved_by(&both));
        assert!(key.is_proved_by(&both) && key.is_proved_by(&key) && both.is_proved_by(&both));
        assert!(!key.is_proved_by(&Binding::NONE));
        assert!(!key.is_proved_by(&Binding { key: b, ..Binding::NONE }));
        assert!(!both.is_proved_by(&key));
        assert!(!both.is_proved_by(&Binding { certificate: b, ..Binding::NONE }));
    }
}
