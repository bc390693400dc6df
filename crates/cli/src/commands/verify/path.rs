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

/// Why a request is refused, whatever the rules say.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Unclear {
    #[error("the path has a segment of dots")]
    Dots,
    #[error("the path is malformed or encoded twice")]
    Encoding,
    #[error("the method is not written in capitals")]
    Method,
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
            Self::Plain(text) => is_at_or_below(text, &place.text),
            Self::Odd(readings) => readings.written.starts_with(&place.segments),
        }
    }

    /// Whether somebody may find it at or below a place.
    pub(super) fn may_be_below(&self, place: &Place) -> bool {
        match self {
            Self::Plain(text) => is_at_or_below(text, &place.lower_text),
            Self::Odd(readings) => readings.widest.starts_with(&place.lower),
        }
    }
}

/// Where a rule begins to hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Place {
    /// Without a slash at its end; empty for the root.
    text: String,
    lower_text: String,
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
        let (text, lower_text, lower) = (text.to_owned(), lower.clone(), segments(&lower));
        Some(Self { segments: segments(&text), text, lower_text, lower })
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
            // As file systems of Windows do, which also have streams: `x::$DATA` is `x`.
            let part = without_stream(part);
            if part.contains('.') && part.chars().all(|it| matches!(it, '.' | ' ')) {
                return Err(Unclear::Dots);
            }
            let part = part.trim_end_matches(['.', ' ']);
            if !part.is_empty() {
                widest.push(part.to_ascii_lowercase());
            }
        }
        Ok(Self { written, widest })
    }
}

fn is_at_or_below(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether nobody can read it in another way: it has neither escapes nor capitals, nor empty segments or such of dots.
fn is_plain(path: &str) -> bool {
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        if (segment.is_empty() && !is_last)
            || segment.ends_with('.')
            || without_stream(segment) != segment
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
    if text.chars().any(|it| it.is_control() || is_a_guise(it)) || has_escape(&text) {
        return Err(Unclear::Encoding);
    }
    Ok(text)
}

/// What is left of the name of a file before that of a stream in it.
fn without_stream(part: &str) -> &str {
    match part.split_once(':') {
        Some((name, stream)) if stream.contains(['$', ':']) => name,
        _ => part,
    }
}

/// Whether somebody may take a character for one of ASCII, or for none: by folding case, by compatibility (Unicode NFKC),
/// or because it cannot be seen.
fn is_a_guise(it: char) -> bool {
    !it.is_ascii()
        && (matches!(
            it,
            // Signs and raised letters of Latin-1; modifiers and what combines; letters that modify.
            '\u{80}'..='\u{bf}' | '\u{2b0}'..='\u{36f}' | '\u{1d00}'..='\u{1dff}'
            // Punctuation and whatever cannot be seen, raised and lowered, letterlike, numbers, in circles.
            | '\u{2000}'..='\u{2bff}' | '\u{2c7c}'..='\u{2c7d}' | '\u{3000}'..='\u{303f}' | '\u{3200}'..='\u{33ff}'
            // Ligatures, variants, full width; for mathematics, in squares, tags.
            | '\u{fb00}'..='\u{fb06}' | '\u{fe00}'..='\u{fe6f}' | '\u{feff}' | '\u{ff00}'..='\u{ffff}'
            | '\u{1d400}'..='\u{1d7ff}' | '\u{1f100}'..='\u{1f1ff}' | '\u{e0000}'..='\u{e0fff}'
        ) || is_one_of_ascii(it.to_lowercase())
            || is_one_of_ascii(it.to_uppercase()))
}

fn is_one_of_ascii(mut folded: impl Iterator<Item = char>) -> bool {
    folded.next().is_some_and(|it| it.is_ascii()) && folded.next().is_none()
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
            "/admin::$data",
            "/admin:$i30:$index_allocation/x",
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
            "/public/..%20/admin",
            "/public/...",
            "/%2e%20%2e/x",
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
            // A Kelvin sign, a long s, full width, a soft hyphen, a space without width.
            "/%E2%84%AAeys",
            "/key%C5%BF",
            "/%EF%BC%8Fadmin",
            "/%EF%BC%8E%EF%BC%8E/admin",
            "/admin%C2%AD",
            "/adm%E2%80%8Bin",
            "/adm%C4%B1n",
        ] {
            assert_eq!(admin(broken), Err(Unclear::Encoding), "{broken}");
        }
        assert_eq!(admin("/100%25"), Ok((false, false)));
        assert_eq!(admin("/.well-known/x"), Ok((false, false)));
    }

    #[test]
    fn a_place_with_capitals_is_found_by_those_who_forget_about_case() {
        let place = Place::new("/V1.2/Admin").unwrap();
        for (text, is_below) in
            [("/V1.2/Admin/x", true), ("/v1.2/admin", false), ("/V1.2/ADMIN", false)]
        {
            let path = Path::read(text).unwrap();
            assert_eq!(
                (path.is_below(&place), path.may_be_below(&place)),
                (is_below, true),
                "{text}"
            );
        }
        assert!(!Path::read("/v1.2/admins").unwrap().may_be_below(&place));
    }

    #[test]
    fn letters_of_other_languages_are_what_they_are() {
        for text in [
            "/caf%C3%A9",
            "/stra%C3%9Fe",
            "/%C3%84",
            "/%CE%B1",
            "/%D0%B0dmin",
            "/%E6%97%A5%E6%9C%AC",
        ] {
            assert_eq!(admin(text), Ok((false, false)), "{text}");
        }
        assert_eq!(admin("/admin:list"), Ok((false, false)));
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
