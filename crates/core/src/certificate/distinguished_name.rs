//! Distinguished names as text (RFC 4514), and when two of them are one (RFC 4517 §4.2.15).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest text of a name, in bytes: ten times what authorities write.
const MAX_LEN: usize = 1024;

/// The attribute types that have a name here: those of RFC 4514 §3, and what certificates of people and firms have
/// besides (RFC 4519, RFC 2985 §5.2.1, EN 319 412-1 §5.1.4).
const TYPES: [(&str, &str); 24] = [
    ("CN", "2.5.4.3"),
    ("L", "2.5.4.7"),
    ("ST", "2.5.4.8"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("C", "2.5.4.6"),
    ("STREET", "2.5.4.9"),
    ("DC", "0.9.2342.19200300.100.1.25"),
    ("UID", "0.9.2342.19200300.100.1.1"),
    ("serialNumber", "2.5.4.5"),
    ("SN", "2.5.4.4"),
    ("surname", "2.5.4.4"),
    ("givenName", "2.5.4.42"),
    ("initials", "2.5.4.43"),
    ("generationQualifier", "2.5.4.44"),
    ("title", "2.5.4.12"),
    ("description", "2.5.4.13"),
    ("businessCategory", "2.5.4.15"),
    ("postalCode", "2.5.4.17"),
    ("dnQualifier", "2.5.4.46"),
    ("pseudonym", "2.5.4.65"),
    ("organizationIdentifier", "2.5.4.97"),
    ("emailAddress", "1.2.840.113549.1.9.1"),
    ("E", "1.2.840.113549.1.9.1"),
];

/// A distinguished name. Two are equal if they have the same attributes in the same order, whatever their case.
///
/// The order is that of RFC 4514 §2.1: what is most particular comes first, as in `CN=billing,O=Example,C=DE`. A
/// certificate has it the other way round, and so do some programs that show it; no order is taken for the other.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct DistinguishedName(Vec<Vec<Attribute>>);

/// Why a text is no distinguished name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct BadName(pub &'static str);

/// One attribute of a name.
#[derive(Clone, Debug)]
pub struct Attribute {
    /// Its type: an object identifier in digits and dots.
    oid: Box<str>,
    /// As written.
    value: Value,
    /// As compared.
    compared: Value,
}

/// The value of an attribute.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Value {
    Text(String),
    /// What is no text: its tag in DER, and its content.
    Other(u8, Vec<u8>),
}

impl Value {
    /// From DER: all types of text are one, as RFC 5280 §7.1 wants it.
    fn read(tag: u8, content: &[u8]) -> Self {
        let text = match tag {
            // UTF8String, NumericString, PrintableString and IA5String.
            0x0c | 0x12 | 0x13 | 0x16 => std::str::from_utf8(content).ok().map(str::to_owned),
            // TeletexString, which everybody has used for Latin-1.
            0x14 => Some(content.iter().copied().map(char::from).collect()),
            // BMPString.
            0x1e if content.len().is_multiple_of(2) => {
                let units =
                    content.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
                char::decode_utf16(units).collect::<Result<_, _>>().ok()
            }
            _ => None,
        };
        text.map_or_else(|| Self::Other(tag, content.to_vec()), Self::Text)
    }

    /// `caseIgnoreMatch`: case and the number of spaces mean nothing (RFC 4518 §2.6.1).
    fn compared(&self) -> Self {
        match self {
            Self::Text(text) => {
                let words: Vec<_> = text.split_whitespace().collect();
                Self::Text(words.join(" ").to_lowercase())
            }
            other => other.clone(),
        }
    }
}

impl Attribute {
    fn new(oid: &str, value: Value) -> Self {
        Self { oid: oid.into(), compared: value.compared(), value }
    }

    /// As a certificate has it: the object identifier of the type in digits and dots, tag and content of the value in
    /// DER. `None` where the first is none.
    pub fn read(oid: &str, tag: u8, content: &[u8]) -> Option<Self> {
        is_oid(oid).then(|| Self::new(oid, Value::read(tag, content)))
    }

    fn key(&self) -> (&str, &Value) {
        (&self.oid, &self.compared)
    }
}

impl PartialEq for Attribute {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Attribute {}

impl DistinguishedName {
    /// From its relative names, the most particular first. The attributes of one relative name have no order.
    pub fn new(relative: impl IntoIterator<Item = Vec<Attribute>>) -> Self {
        let sorted = |mut relative: Vec<Attribute>| {
            relative.sort_by(|a, b| a.key().cmp(&b.key()));
            relative
        };
        Self(relative.into_iter().map(sorted).collect())
    }

    /// Whether it has no attribute at all, as the subject of a certificate may have none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for DistinguishedName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        if text.len() > MAX_LEN {
            return Err(BadName("a distinguished name has at most 1024 bytes"));
        }
        let mut rest = text;
        let (mut names, mut relative) = (Vec::new(), Vec::new());
        loop {
            let (kind, after) = rest
                .split_once('=')
                .ok_or(BadName("an attribute is a type, `=` and a value, such as `CN=billing`"))?;
            let oid = oid(kind.trim_matches(' '))?;
            let (value, after) = value(after)?;
            relative.push(Attribute::new(oid, value));
            let mut chars = after.chars();
            match chars.next() {
                Some('+') => {}
                Some(_) => names.push(std::mem::take(&mut relative)),
                None => {
                    names.push(relative);
                    return Ok(Self::new(names));
                }
            }
            rest = chars.as_str();
        }
    }
}

/// The object identifier of an attribute type, which is named or written as such.
fn oid(kind: &str) -> Result<&str, BadName> {
    if let Some((_, oid)) = TYPES.iter().find(|(name, _)| name.eq_ignore_ascii_case(kind)) {
        return Ok(oid);
    }
    is_oid(kind).then_some(kind).ok_or(BadName(
        "an attribute type that has no name here; write its object identifier, such as `2.5.4.3`",
    ))
}

/// Digits and dots (RFC 4512 §1.4, `numericoid`).
fn is_oid(text: &str) -> bool {
    let arc = |arc: &str| {
        !arc.is_empty()
            && arc.bytes().all(|b| b.is_ascii_digit())
            && (arc == "0" || !arc.starts_with('0'))
    };
    text.contains('.') && text.split('.').all(arc)
}

/// A value, and what follows it: nothing, or text that begins with `,` or `+`.
fn value(text: &str) -> Result<(Value, &str), BadName> {
    let text = text.trim_start_matches(' ');
    if let Some(hex) = text.strip_prefix('#') {
        let end = hex.find([',', '+']).unwrap_or(hex.len());
        let (hex, rest) = hex.split_at(end);
        let der =
            unhex(hex.trim_end_matches(' ')).ok_or(BadName("`#` stands before hex digits"))?;
        let (tag, content) = tlv(&der).ok_or(BadName("what follows `#` is no value in DER"))?;
        return Ok((Value::read(tag, content), rest));
    }
    let (mut bytes, mut kept) = (Vec::new(), 0);
    let mut chars = text.chars();
    let rest = loop {
        let before = chars.as_str();
        match chars.next() {
            None | Some(',' | '+') => break before,
            Some('\\') => bytes.push(escaped(&mut chars)?),
            Some('"' | ';' | '<' | '>' | '\0') => {
                return Err(BadName("one of `\" ; < >` needs a `\\` before it"));
            }
            Some(' ') => {
                // Kept if something follows.
                bytes.push(b' ');
                continue;
            }
            Some(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        kept = bytes.len();
    };
    bytes.truncate(kept);
    let text = String::from_utf8(bytes).map_err(|_| BadName("a value is not UTF-8"))?;
    Ok((Value::Text(text), rest))
}

/// What follows a `\`: a special character, or a byte in two hex digits.
fn escaped(chars: &mut std::str::Chars<'_>) -> Result<u8, BadName> {
    const BAD: BadName = BadName("after `\\` there is a special character or two hex digits");
    let first = chars.next().ok_or(BAD)?;
    if let c @ ('\\' | '"' | '+' | ',' | ';' | '<' | '>' | ' ' | '#' | '=') = first {
        return u8::try_from(c).map_err(|_| BAD);
    }
    let digit = |c: char| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (high, low) = (digit(first), chars.next().and_then(digit));
    high.zip(low).map(|(high, low)| high << 4 | low).ok_or(BAD)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    rest.is_empty().then(|| bytes.collect())?
}

/// Tag and content of one value in DER that is as long as `der`.
fn tlv(der: &[u8]) -> Option<(u8, &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    // Of the long forms only those that a name of [`MAX_LEN`] can need.
    let (length, content) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => rest.split_first().map(|(&length, rest)| (usize::from(length), rest))?,
        0x82 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        _ => return None,
    };
    (content.len() == length && tag & 0x1f != 0x1f).then_some((tag, content))
}

/// RFC 4514 §2, with the values as they were given.
impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, relative) in self.0.iter().enumerate() {
            for (j, attribute) in relative.iter().enumerate() {
                f.write_str(match (i, j) {
                    (0, 0) => "",
                    (_, 0) => ",",
                    _ => "+",
                })?;
                write!(f, "{attribute}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = TYPES.iter().find(|(_, oid)| *oid == &*self.oid).map(|(name, _)| *name);
        write!(f, "{}=", name.unwrap_or(&self.oid))?;
        match &self.value {
            Value::Text(text) => write_text(f, text),
            Value::Other(tag, content) => {
                write!(f, "#{tag:02x}")?;
                match content.len() {
                    length @ 0..=0x7f => write!(f, "{length:02x}")?,
                    length @ 0x80..=0xff => write!(f, "81{length:02x}")?,
                    length => write!(f, "82{length:04x}")?,
                }
                content.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

/// RFC 4514 §2.4; also what a log or a terminal would take for something else is escaped.
fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let last = text.len().saturating_sub(1);
    for (i, c) in text.char_indices() {
        match c {
            '\\' | '"' | '+' | ',' | ';' | '<' | '>' => write!(f, "\\{c}")?,
            ' ' if i == 0 || i == last => f.write_str("\\ ")?,
            '#' if i == 0 => f.write_str("\\#")?,
            c if c.is_control() => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    write!(f, "\\{byte:02x}")?;
                }
            }
            c => write!(f, "{c}")?,
        }
    }
    Ok(())
}

impl TryFrom<String> for DistinguishedName {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<DistinguishedName> for String {
    fn from(name: DistinguishedName) -> Self {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> DistinguishedName {
        text.parse().unwrap_or_else(|bad| panic!("{text}: {bad}"))
    }

    #[test]
    fn row_085_names_are_one_whatever_their_case_spaces_and_spelling() {
        let plain = name("CN=billing,O=Example Ltd,C=DE");
        for same in [
            "cn=Billing,o=EXAMPLE LTD,c=de",
            "CN=billing, O=Example Ltd, C=DE",
            " CN = billing ,O= Example   Ltd ,C=DE ",
            "2.5.4.3=billing,2.5.4.10=Example Ltd,2.5.4.6=DE",
            "CN=#0c0762696c6c696e67,O=Example Ltd,C=#13024445",
            "CN=bill\\69ng,O=Example\\20Ltd,C=DE",
        ] {
            assert_eq!(name(same), plain, "{same}");
        }
        assert_eq!(name("CN=a+UID=1,O=x"), name("UID=1+CN=a,O=x"));
        assert_eq!(name("O=M\\C3\\BCller"), name("O=MÜLLER"));
    }

    #[test]
    fn row_086_names_that_differ_in_order_attribute_or_value_are_two() {
        let plain = name("CN=billing,O=Example Ltd,C=DE");
        for other in [
            "C=DE,O=Example Ltd,CN=billing",
            "CN=billing,O=Example Ltd",
            "CN=billing,OU=x,O=Example Ltd,C=DE",
            "CN=billing,O=ExampleLtd,C=DE",
            "CN=billing,OU=Example Ltd,C=DE",
            "CN=billing+O=Example Ltd,C=DE",
            "CN=billing\\,O=Example Ltd,C=DE",
            "CN=#040762696c6c696e67,O=Example Ltd,C=DE",
        ] {
            assert_ne!(name(other), plain, "{other}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = format!("CN={}", "a".repeat(MAX_LEN));
        for bad in [
            "",
            "billing",
            "CN=a,",
            "CN=a,b",
            "XY=a",
            "2.5.04=a",
            "2=a",
            "CN=a;O=b",
            "CN=\"a\"",
            "CN=a\\",
            "CN=a\\4",
            "CN=a\\zz",
            "CN=\\ff",
            "CN=#",
            "CN=#0c",
            "CN=#0c0261",
            "CN=#0c016",
            "CN=#xy",
            &long,
        ] {
            assert!(bad.parse::<DistinguishedName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_attribute_has_a_type() {
        for (oid, good) in
            [("2.5.4.3", true), ("", false), ("2", false), ("2..3", false), ("55 04", false)]
        {
            assert_eq!(Attribute::read(oid, 0x0c, b"a").is_some(), good, "{oid}");
        }
    }

    #[test]
    fn text_of_each_type_is_read() {
        let read = |tag, content: &[u8]| {
            DistinguishedName::new([vec![Attribute::read("2.5.4.10", tag, content).unwrap()]])
        };
        let plain = name("O=Müller");
        assert_eq!(read(0x0c, "Müller".as_bytes()), plain);
        assert_eq!(read(0x14, b"M\xfcller"), plain);
        assert_eq!(read(0x1e, b"\0M\0\xfc\0l\0l\0e\0r"), plain);
        for (tag, content) in [(0x04, "Müller".as_bytes()), (0x0c, b"M\xfcller"), (0x1e, b"\0M\0")]
        {
            let other = read(tag, content);
            assert_ne!(other, plain);
            assert_eq!(name(&other.to_string()), other, "{other}");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_written_as_it_is_read(
            values in proptest::collection::vec((0..TYPES.len(), "\\PC{0,8}|[ #,+\\\\\u{0}\u{7f}a]{0,6}"), 1..4)
        ) {
            let relative = values.into_iter().map(|(kind, value)| {
                vec![Attribute::read(TYPES[kind].1, 0x0c, value.as_bytes()).unwrap()]
            });
            let made = DistinguishedName::new(relative);
            let again = name(&made.to_string());
            prop_assert_eq!(&again, &made);
            prop_assert_eq!(again.to_string(), made.to_string());
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}|[CN=#,+\\\\ 0-9a-f]{0,30}") {
            let _ = text.parse::<DistinguishedName>();
        }
    }
}
