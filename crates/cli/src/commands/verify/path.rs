//! The path of a request as rules see it, and as others may.
//!
//! What stands behind the proxy may read a path otherwise than we do: merge slashes, decode `%2F`, drop `;…`, forget
//! about case. So a path has two readings, the one that is written and the widest that somebody may make of it, and a rule
//! that only the second reaches makes the request one to be refused.

/// A path.
#[derive(Debug)]
pub(super) enum Path<'p> {
    /// Everybody reads it the same way: nothing in it is written in a roundabout way.
    Plain(&'p str),
    /// There are two readings.
    Odd(Readings),
}

/// The segments of a path in two readings.
#[derive(Debug)]
pub(super) struct Readings {
    /// Decoded, each for itself.
    written: Vec<String>,
    /// Slashes of all kinds taken for slashes, parameters and what looks like a query dropped, in lower case, nothing
    /// empty.
    widest: Vec<String>,
}

/// Why a path is refused, whatever the rules say.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Unclear {
    #[error("the path has a segment of dots")]
    Dots,
    #[error("the path is malformed or encoded twice")]
    Encoding,
    #[error("the path may be read as that of another rule")]
    OtherRule,
}

impl<'p> Path<'p> {
    /// Reads a path, which begins with a slash.
    pub(super) fn read(text: &'p str) -> Result<Self, Unclear> {
        if is_plain(text) { Ok(Self::Plain(text)) } else { Readings::of(text).map(Self::Odd) }
    }

    /// Whether it lies at or below a place, as it is written.
    pub(super) fn is_below(&self, place: &Place) -> bool {
        match self {
            Self::Plain(text) => {
                let rest = text.strip_prefix(place.text.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Odd(readings) => readings.written.starts_with(&place.segments),
        }
    }

    /// Whether somebody may find it at or below a place.
    pub(super) fn may_be_below(&self, place: &Place) -> bool {
        match self {
            Self::Plain(_) => self.is_below(place),
            Self::Odd(readings) => readings.widest.starts_with(&place.lower),
        }
    }
}

/// Where a rule begins to hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Place {
    /// Without a slash at its end; empty for the root.
    text: String,
    segments: Vec<String>,
    lower: Vec<String>,
}

impl Place {
    /// A place that is written in the one way that leaves no doubt.
    pub(super) fn new(text: &str) -> Option<Self> {
        let text = text.strip_suffix('/').unwrap_or(text);
        // Only case may be mixed: somebody may tell `/a` from `/A`.
        let lower = text.to_ascii_lowercase();
        if !(text.is_empty() || is_plain(&lower)) || text.ends_with('/') {
            return None;
        }
        let segments = |text: &str| text.split('/').skip(1).map(str::to_owned).collect();
        Some(Self { segments: segments(text), lower: segments(&lower), text: text.to_owned() })
    }

    /// How many segments it has.
    pub(super) const fn depth(&self) -> usize {
        self.segments.len()
    }
}

impl Readings {
    fn of(text: &str) -> Result<Self, Unclear> {
        let written: Vec<String> =
            text.split('/').skip(1).map(decoded).collect::<Result<_, _>>()?;
        let mut widest = Vec::new();
        for part in written.iter().flat_map(|segment| segment.split(['/', '\\'])) {
            let part = part.split([';', '?', '#']).next().unwrap_or_default();
            if matches!(part, "." | "..") {
                return Err(Unclear::Dots);
            }
            // As file systems of Windows do.
            let part = part.trim_end_matches(['.', ' ']);
            if !part.is_empty() {
                widest.push(part.to_ascii_lowercase());
            }
        }
        Ok(Self { written, widest })
    }
}

/// Whether nobody can read it in another way: it has neither escapes nor capitals, nor empty segments or such of dots.
fn is_plain(path: &str) -> bool {
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        if (segment.is_empty() && !is_last)
            || segment.ends_with('.')
            || !segment.bytes().all(is_plain_char)
        {
            return false;
        }
    }
    path.starts_with('/')
}

/// RFC 3986 §3.3: pchar, without capitals, escapes and the semicolon.
const fn is_plain_char(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~')
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@'
        )
}

/// Undoes percent-encoding, once.
fn decoded(segment: &str) -> Result<String, Unclear> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next(), rest.next()].map(|digit| digit.and_then(hex));
                let [Some(high), Some(low)] = digits else { return Err(Unclear::Encoding) };
                high << 4 | low
            }
            other => other,
        });
    }
    let text = String::from_utf8(bytes).map_err(|_| Unclear::Encoding)?;
    // What is still encoded was encoded twice, and somebody may decode it twice.
    if text.chars().any(char::is_control) || has_escape(&text) {
        return Err(Unclear::Encoding);
    }
    Ok(text)
}

fn has_escape(text: &str) -> bool {
    let mut windows = text.as_bytes().windows(3);
    windows.any(|it| matches!(it, [b'%', high, low] if hex(*high).is_some() && hex(*low).is_some()))
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it is below `/admin` as written, and for the widest reading.
    fn admin(path: &str) -> Result<(bool, bool), Unclear> {
        let place = Place::new("/admin").unwrap();
        let path = Path::read(path)?;
        Ok((path.is_below(&place), path.may_be_below(&place)))
    }

    #[test]
    fn a_path_is_below_a_place_by_whole_segments() {
        for below in [
            "/admin",
            "/admin/",
            "/admin/x",
            "/admin//x",
            "/%61dmin",
            "/admin/A%20b",
            "/admin/a%2Fb",
        ] {
            assert_eq!(admin(below), Ok((true, true)), "{below}");
        }
        for beside in
            ["/", "/administrator", "/admi", "/x/admin", "/admin.json", "/Public", "/caf%C3%A9"]
        {
            assert_eq!(admin(beside), Ok((false, false)), "{beside}");
        }
    }

    #[test]
    fn what_somebody_may_take_for_another_path_is_noticed() {
        for trick in [
            "//admin",
            "/%2Fadmin",
            "/%2fadmin/x",
            "/admin%2Fx",
            "/admin%5Cx",
            "/admin\\x",
            "/ADMIN",
            "/aDmin/x",
            "/%41dmin",
            "/admin;x=y",
            "/admin;/x",
            "/;x/admin",
            "/admin%3Bx",
            "/admin%3fx",
            "/admin%23",
            "/admin.",
            "/admin%20",
        ] {
            assert_eq!(admin(trick), Ok((false, true)), "{trick}");
        }
    }

    #[test]
    fn dots_and_broken_escapes_are_refused_wherever_they_stand() {
        for dots in [
            "/admin/../public",
            "/public/../admin",
            "/./admin",
            "/%2e%2e/admin",
            "/public/%2E./admin",
            "/public/..;/admin",
            "/public/..%3bx/admin",
            "/public%2F..%2Fadmin",
            "/public/..\\admin",
            "/public/..%5cadmin",
            "/..",
            "/a/.",
        ] {
            assert_eq!(admin(dots), Err(Unclear::Dots), "{dots}");
        }
        for broken in [
            "/%",
            "/%6",
            "/%zz",
            "/%00admin",
            "/%0a",
            "/%7f",
            "/%ff",
            "/%c0%ae/admin",
            "/%252e%252e/admin",
            "/%25%32%65",
        ] {
            assert_eq!(admin(broken), Err(Unclear::Encoding), "{broken}");
        }
        assert_eq!(admin("/100%25"), Ok((false, false)));
        assert_eq!(admin("/.well-known/x"), Ok((false, false)));
    }

    #[test]
    fn a_place_is_written_without_doubt() {
        for good in ["/", "/admin", "/admin/", "/v1.2/Orders", "/.well-known", "/a:b/@c"] {
            assert!(Place::new(good).is_some(), "{good}");
        }
        for wrong in [
            "", "admin", "//", "/a//b", "/a/..", "/a/./b", "/a%20b", "/a;b", "/a?b", "/a#b",
            "/a\\b", "/é", "/a.", "/a b",
        ] {
            assert!(Place::new(wrong).is_none() || wrong.is_empty(), "{wrong}");
        }
        assert_eq!(Place::new("/").unwrap().depth(), 0);
        assert_eq!(Place::new("/a/b/").unwrap().depth(), 2);
    }
}
