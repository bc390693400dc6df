//! What was given to be inspected: a token, what stands around one, or something else.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;
use tokenry_core::{Secret, client, opaque, refresh};

use crate::commands::doctor::jwt::Decoded;
use crate::commands::doctor::report::Finding;

const WHAT: &str = "type";

/// The schemes that stand before a token in a header.
const SCHEMES: [&str; 2] = ["bearer", "dpop"];

/// The token alone, without the header that it was copied with.
pub(super) fn alone(secret: Secret) -> Secret {
    let text = secret.expose().trim();
    let after = |text: &str, name: &str| {
        let (before, after) = text.split_at_checked(name.len())?;
        before.eq_ignore_ascii_case(name).then(|| after.trim_start().len())
    };
    let kept = |left: usize| text.get(text.len() - left..).unwrap_or_default();
    let text = after(text, "authorization:").map_or(text, kept);
    let is_scheme =
        |(word, _): &(&str, &str)| SCHEMES.iter().any(|it| word.eq_ignore_ascii_case(it));
    let text = text.split_once(' ').filter(is_scheme).map_or(text, |(_, token)| token.trim_start());
    if text.len() == secret.expose().len() { secret } else { Secret::new(text) }
}

/// Takes a JWT apart, or says what else a text is: `is_asked`, where somebody wants to know whether it is good.
pub(super) fn read(token: &str, is_asked: bool) -> Result<Decoded, Finding> {
    if let Some((text, help)) = no_token(token) {
        return Err(Finding::wrong(WHAT, text, help));
    }
    if let Some(decoded) = Decoded::of(token) {
        return Ok(decoded);
    }
    let parts = token.split('.').count();
    let text = if parts == 5 && is_encrypted(token) {
        "encrypted (JWE, RFC 7516): only the API that it is for can read it"
    } else if parts == 3 || parts == 5 || token.starts_with("eyJ") {
        let text = "it looks like a JWT, and is none: its header or its claims are no JSON objects in base64url, or it has not three parts";
        return Err(Finding::wrong(WHAT, text, "every API refuses it: was it copied as a whole?"));
    } else if token.starts_with(opaque::PREFIX) {
        "an opaque access token of Tokenry: it says nothing, and APIs ask the issuer about it (RFC 7662)"
    } else {
        "opaque: it says nothing, and its APIs ask the issuer about it (RFC 7662)"
    };
    Err(if is_asked {
        let help = "an API that checks signatures alone refuses it; one that asks the issuer may let it in, which is not tried here";
        Finding::wrong(WHAT, text, help)
    } else {
        Finding::ok(WHAT, text)
    })
}

/// What a text is that is no access token, and what to do; `None` for one that may be a token.
fn no_token(text: &str) -> Option<(&'static str, &'static str)> {
    if text.starts_with(client::SECRET_PREFIX) {
        let help = "it is for the token endpoint alone; if others have seen it, give the client another: `tokenry client secret add`, then `remove`";
        return Some(("it is the secret of a client, and no token", help));
    }
    if text.starts_with(refresh::PREFIX) {
        let help = "it is for the token endpoint alone, and no API takes it";
        return Some(("it is a refresh token, and no access token", help));
    }
    if text.split_whitespace().nth(1).is_some() {
        return Some((
            "these are several words or lines, and not one token",
            "one token at a time",
        ));
    }
    // RFC 6750 §2.1: b64token.
    let is_token = |it: char| it.is_ascii_alphanumeric() || "-._~+/=".contains(it);
    if !text.chars().all(is_token) {
        let help = "a token has letters, digits and -._~+/= alone (RFC 6750 §2.1); take away quotation marks and what else stands around it";
        return Some(("it has characters that no token has", help));
    }
    None
}

/// Whether the first part is the header of a JWE: it names how the content is encrypted.
fn is_encrypted(token: &str) -> bool {
    let header = token.split('.').next().and_then(|it| BASE64_URL_SAFE_NO_PAD.decode(it).ok());
    let header: Value = header.and_then(|it| serde_json::from_slice(&it).ok()).unwrap_or_default();
    header.get("enc").is_some_and(Value::is_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::report::Verdict;

    #[test]
    fn what_a_token_was_copied_with_is_taken_off() {
        for text in [
            "e30.e30.x",
            " e30.e30.x\n",
            "Bearer e30.e30.x",
            "DPoP  e30.e30.x",
            "Authorization: Bearer e30.e30.x",
            "authorization:bearer e30.e30.x\r\n",
        ] {
            assert_eq!(alone(Secret::new(text)).expose(), "e30.e30.x", "{text}");
        }
        for text in ["Basic e30", "'Bearer e30'", "Bearer", "é"] {
            assert_eq!(alone(Secret::new(text)).expose(), text);
        }
    }

    #[test]
    fn what_is_no_token_is_wrong() {
        let jwe = format!(
            "{}.a.b.c.d",
            BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"dir","enc":"A256GCM"}"#)
        );
        for (text, verdict, told) in [
            ("tka_x", Verdict::Ok, "an opaque access token of Tokenry"),
            ("ory_at_abc.def", Verdict::Ok, "opaque"),
            (&jwe, Verdict::Ok, "encrypted"),
            ("tks_x", Verdict::Wrong, "the secret of a client"),
            ("tkr_x", Verdict::Wrong, "a refresh token"),
            ("a.b.c", Verdict::Wrong, "looks like a JWT"),
            ("a.b.c.d.e", Verdict::Wrong, "looks like a JWT"),
            ("eyJhbGciOiJub25lIn0", Verdict::Wrong, "looks like a JWT"),
            ("e30.e30.x\ne30.e30.x", Verdict::Wrong, "several words or lines"),
            ("Basic abc", Verdict::Wrong, "several words or lines"),
            ("\"e30.e30.x\"", Verdict::Wrong, "characters that no token has"),
        ] {
            let found = read(text, false).map(|_| ()).unwrap_err();
            assert_eq!(found.verdict, verdict, "{text}: {}", found.text);
            assert!(found.text.contains(told), "{text}: {}", found.text);
            assert_eq!(read(text, true).map(|_| ()).unwrap_err().verdict, Verdict::Wrong, "{text}");
        }
        assert!(read("e30.e30.x", false).is_ok());
    }
}
