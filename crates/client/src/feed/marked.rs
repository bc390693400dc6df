//! What the held token says that decides whether it was revoked.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use tokenry_core::revocation::{Ended, Marks};
use tokenry_core::{Secret, Timestamp};

use super::recent::not_before;

/// A part of a token that is longer is not read.
const PART_LIMIT: usize = 64 * 1024;

/// The longest wait for a token that is not revoked as well. What ends all tokens of a client is told with a point one to
/// two seconds ahead; one that lies further ahead is no reason to make callers wait for longer.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// By how much the clocks of two machines usually differ.
const CLOCKS: Duration = Duration::from_millis(100);

/// How much later than its `iat` a token may be here: that is rounded down to a second, and an answer takes its time.
const ARRIVAL: Duration = Duration::from_secs(2);

/// A refresh token is no newer than the access token beside it, whose `iat` is rounded down to a second, and the point
/// before which tokens have ended is rounded up.
const ROUNDED: Duration = Duration::from_secs(2);

/// A token as far as revocations are concerned. It is read and not verified: a hint is all that is needed.
#[derive(Clone, Debug)]
pub(crate) struct Marked {
    /// Which of the keeper's tokens it is.
    pub(crate) generation: u64,
    jti: Option<String>,
    family: Option<String>,
    client: Option<String>,
    subject: Option<String>,
    kid: Option<String>,
    /// By the clock of the issuer, if it says so.
    iat: Option<Timestamp>,
    /// By the clock of this machine.
    obtained: Timestamp,
    /// The same, since the keeper began.
    pub(crate) obtained_at: Duration,
}

impl Marked {
    /// Reads a token that was obtained just now by this client. Of one that is opaque no more is known than that.
    pub(crate) fn read(
        token: &Secret,
        generation: u64,
        client: Option<&str>,
        (obtained, obtained_at): (Timestamp, Duration),
    ) -> Self {
        let (mut header, mut claims) = parts(token.expose()).unwrap_or_default();
        let text = |members: &mut Map<String, Value>, name| match members.remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let said = text(&mut claims, "client_id").or_else(|| text(&mut claims, "azp"));
        Self {
            generation,
            jti: text(&mut claims, "jti"),
            family: text(&mut claims, "sid"),
            client: said.or_else(|| client.map(str::to_owned)),
            subject: text(&mut claims, "sub"),
            kid: text(&mut header, "kid"),
            iat: claims.get("iat").and_then(Value::as_u64).map(Timestamp::from_secs),
            obtained,
            obtained_at,
        }
    }

    /// A token that does not say when it was issued is as old as it has been here: one that counts as older than any would
    /// be given up for every point that was ever told.
    pub(crate) fn marks(&self) -> Marks<'_> {
        Marks {
            jti: self.jti.as_deref(),
            family: self.family.as_deref(),
            client: self.client.as_deref(),
            subject: self.subject.as_deref(),
            issued_at: Some(self.iat.unwrap_or(self.obtained)),
            kid: self.kid.as_deref(),
        }
    }

    /// How long it takes until the issuer gives a token that has not ended by the same, `now` by the keeper's clock and by
    /// the wall clock.
    pub(crate) fn wait(&self, ended: &Ended, (now, wall): (Duration, Timestamp)) -> Duration {
        let Some(point) = not_before(ended) else { return Duration::ZERO };
        let theirs = match self.iat {
            None => wall,
            Some(iat) => {
                let earliest = iat + now.saturating_sub(self.obtained_at);
                // Our clock tells parts of seconds, if it is right.
                let is_right = earliest <= wall && wall <= earliest + ARRIVAL;
                if is_right { wall } else { earliest }
            }
        };
        match point.since(theirs) {
            Duration::ZERO => Duration::ZERO,
            left => (left + CLOCKS).min(LONGEST_WAIT),
        }
    }

    /// Whether the refresh token that came with this token has ended for sure by what has ended the token.
    pub(crate) fn ends_refresh_token(&self, ended: &Ended) -> bool {
        match ended {
            Ended::Token(id) => self.family.as_ref() == Some(&id.to_string()),
            Ended::Key(_) => false,
            Ended::Client { not_before, .. }
            | Ended::Subject { not_before, .. }
            | Ended::All { not_before } => self.iat.is_some_and(|iat| iat + ROUNDED <= *not_before),
        }
    }
}

/// The header and the claims of a JWT (RFC 7519 §3).
fn parts(token: &str) -> Option<(Map<String, Value>, Map<String, Value>)> {
    let mut parts = token.split('.');
    let (header, claims, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    Some((object(header)?, object(claims)?))
}

fn object(part: &str) -> Option<Map<String, Value>> {
    if part.len() > PART_LIMIT {
        return None;
    }
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01234567-89ab-7fff-bfff-ffffffffffff";

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn jwt(header: &str, claims: &str) -> String {
        let encode = |text| BASE64_URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.c2ln", encode(header), encode(claims))
    }

    /// Obtained at 1000.5 s by a clock that agrees with the issuer's, 10 s after the keeper began.
    fn read(token: &str) -> Marked {
        let obtained = (Timestamp::from_millis(1_000_500), Duration::from_secs(10));
        Marked::read(&Secret::new(token), 7, Some("own"), obtained)
    }

    #[test]
    fn a_token_is_known_by_what_it_says() {
        let claims = format!(
            r#"{{"jti":"{ID}","sid":"f","client_id":"c","azp":"x","sub":"s","iat":1000,"aud":["a"]}}"#
        );
        let marked = read(&jwt(r#"{"alg":"ES256","kid":"k"}"#, &claims));
        let marks = marked.marks();
        assert_eq!((marks.jti, marks.family), (Some(ID), Some("f")));
        assert_eq!((marks.client, marks.subject, marks.kid), (Some("c"), Some("s"), Some("k")));
        assert_eq!(marks.issued_at, Some(at(1000)));
        let marked = read(&jwt("{}", r#"{"azp":"a"}"#));
        assert_eq!(marked.marks().client, Some("a"));
    }

    #[test]
    fn of_an_opaque_token_nothing_is_known_but_whose_it_is_and_since_when() {
        let long = jwt("{}", &format!(r#"{{"jti":"{}"}}"#, "a".repeat(PART_LIMIT)));
        for opaque in ["tka_opaque", "a.b", "a.b.c", "a.b.c.d", "..", "", &long, "W10.W10.x"] {
            let marked = read(opaque);
            let marks = marked.marks();
            assert_eq!(
                (marks.jti, marks.family, marks.subject, marks.kid),
                (None, None, None, None)
            );
            assert_eq!(marks.client, Some("own"));
            assert!(Ended::All { not_before: at(1001) }.covers(&marks), "{opaque}");
            assert!(!Ended::All { not_before: at(1000) }.covers(&marks), "{opaque}");
        }
        // Members of odd types are none.
        let marked = read(&jwt(r#"{"kid":5}"#, r#"{"jti":[],"sub":null,"iat":"x","client_id":1}"#));
        let marks = marked.marks();
        assert_eq!((marks.jti, marks.subject, marks.kid), (None, None, None));
        assert_eq!((marks.client, marks.issued_at), (Some("own"), Some(marked.obtained)));
    }

    #[test]
    fn the_wait_ends_when_the_issuer_gives_better_tokens() {
        let all = |secs| Ended::All { not_before: at(secs) };
        let (jwt, opaque) = (read(&jwt("{}", r#"{"iat":1000}"#)), read("opaque"));
        let ms = Duration::from_millis;
        let since = |ms: u64| Duration::from_millis(10_000 + ms);
        for (token, ended, now, wall, expected) in [
            // Our clock agrees with the issuer's.
            (&jwt, all(1002), since(600), 1_001_100, ms(1000)),
            (&opaque, all(1002), since(600), 1_001_100, ms(1000)),
            (&jwt, all(1001), since(600), 1_001_100, ms(0)),
            (&jwt, Ended::Key("k".into()), since(600), 1_001_100, ms(0)),
            (&jwt, Ended::Token(ID.parse().unwrap()), since(600), 1_001_100, ms(0)),
            // It is slow, fast, or was set: the token's `iat` says what time it is at least.
            (&jwt, all(1002), since(600), 900_000, ms(1500)),
            (&jwt, all(1002), since(600), 1_900_000, ms(1500)),
            // Nobody waits for what lies far ahead.
            (&jwt, all(9000), since(600), 1_001_100, LONGEST_WAIT),
            (&opaque, all(9000), since(600), 1_001_100, LONGEST_WAIT),
        ] {
            let wait = token.wait(&ended, (now, Timestamp::from_millis(wall)));
            assert_eq!(wait, expected, "{ended:?} {wall}");
        }
    }

    #[test]
    fn a_refresh_token_ends_with_its_family_and_with_all_that_is_older() {
        let token = read(&jwt("{}", &format!(r#"{{"jti":"j","sid":"{ID}","iat":1000}}"#)));
        let client = |secs| Ended::Client { id: "own".into(), not_before: at(secs) };
        for (ended, expected) in [
            (Ended::Token(ID.parse().unwrap()), true),
            (Ended::Token("01234567-89ab-7fff-bfff-fffffffffff0".parse().unwrap()), false),
            (Ended::Key("k".into()), false),
            (client(1002), true),
            // It may have been issued within the second in which others were ended, and after that.
            (client(1001), false),
        ] {
            assert_eq!(token.ends_refresh_token(&ended), expected, "{ended:?}");
        }
        assert!(!read("opaque").ends_refresh_token(&client(5000)));
    }
}
