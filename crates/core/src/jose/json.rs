//! JSON objects, strictly: UTF-8, no byte order mark, no member twice at any depth, nothing after the end.

use std::fmt;

use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Reads the text of one JSON object.
///
/// # Errors
///
/// [`JsonError`]: what it is instead.
pub fn object(text: &[u8]) -> Result<Map<String, Value>, JsonError> {
    // RFC 8725 §3.7: UTF-8 only. Checked first, since the parser looks at strings alone.
    let text = std::str::from_utf8(text).map_err(|_| JsonError::NotUtf8)?;
    match serde_json::from_str(text) {
        Ok(Strict(Value::Object(members))) => Ok(members),
        Ok(_) => Err(JsonError::NotAnObject),
        Err(e) if e.is_data() => Err(JsonError::DuplicateMember),
        Err(_) => Err(JsonError::Syntax),
    }
}

/// The members of an object: those with known names in the order of the names, and all others.
pub type Members<const N: usize> = ([Option<Value>; N], Map<String, Value>);

/// Reads the text of one JSON object of which some members are known: those, in the order of `names`, and all others.
///
/// The others of most tokens are few. What is known is not put into a map to be taken out of it again, which is half of
/// what reading costs.
///
/// # Errors
///
/// As [`object`].
pub fn object_with<const N: usize>(
    text: &[u8],
    names: &[&str; N],
) -> Result<Members<N>, JsonError> {
    let text = std::str::from_utf8(text).map_err(|_| JsonError::NotUtf8)?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let members = deserializer.deserialize_any(MembersVisitor(names));
    match members.and_then(|members| deserializer.end().map(|()| members)) {
        Ok(Some(members)) => Ok(members),
        Ok(None) => Err(JsonError::NotAnObject),
        Err(e) if e.is_data() => {
            // Another value than an object, or one in which something is wrong: told apart where it is rare.
            Err(object(text.as_bytes()).err().unwrap_or(JsonError::NotAnObject))
        }
        Err(_) => Err(JsonError::Syntax),
    }
}

/// Why a text is not read as a JSON object.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum JsonError {
    /// Some bytes are not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// Not JSON, or more than one text, or nested too deeply.
    #[error("not JSON")]
    Syntax,
    /// Another JSON value.
    #[error("not a JSON object")]
    NotAnObject,
    /// An object within it has a member twice.
    #[error("a member stands twice")]
    DuplicateMember,
}

/// A value in which no object has a member twice. Its only data error is just that.
struct Strict(Value);

impl<'de> de::Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated members")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Number::from_f64(v).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some((name, Strict(value))) = map.next_entry::<String, Strict>()? {
            // RFC 7515 §4 lets a reader take the last of two; RFC 8725bis does not.
            if members.insert(name, value).is_some() {
                return Err(de::Error::custom("a member stands twice"));
            }
        }
        Ok(Value::Object(members))
    }
}

/// Reads an object's members. Anything else is a data error, as a member that stands twice is.
struct MembersVisitor<'n, const N: usize>(&'n [&'n str; N]);

impl<'de, const N: usize> Visitor<'de> for MembersVisitor<'_, N> {
    type Value = Option<Members<N>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object without repeated members")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let twice = || de::Error::custom("a member stands twice");
        let (mut known, mut others) = ([const { None }; N], Map::new());
        while let Some(name) = map.next_key_seed(NameSeed(self.0))? {
            let Strict(value) = map.next_value()?;
            let before = match name {
                Name::Known(i) => known.get_mut(i).and_then(|place| place.replace(value)),
                Name::Other(name) => others.insert(name, value),
            };
            if before.is_some() {
                return Err(twice());
            }
        }
        Ok(Some((known, others)))
    }
}

/// The name of a member.
enum Name {
    /// Which of the known ones.
    Known(usize),
    Other(String),
}

struct NameSeed<'n>(&'n [&'n str]);

impl<'de> de::DeserializeSeed<'de> for NameSeed<'_> {
    type Value = Name;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Name, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed<'_> {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Name, E> {
        let known = self.0.iter().position(|known| *known == name);
        Ok(known.map_or_else(|| Name::Other(name.to_owned()), Name::Known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same texts, by both readers.
    #[test]
    fn known_members_are_the_same_members() {
        let deep = format!("{}1{}", "{\"a\":".repeat(500), "}".repeat(500));
        for text in [
            "{}",
            r#"{"a":1,"b":[{"c":null}],"d":"x"}"#,
            r#"{"\u0061":null,"d":{"a":1}}"#,
            r#"{"a":1,"a":1}"#,
            r#"{"a":null,"\u0061":2}"#,
            r#"{"d":1,"d":2}"#,
            r#"{"x":{"y":1,"y":2}}"#,
            r#"{"a":{"y":1,"y":2}}"#,
            "[]",
            "[{\"a\":1,\"a\":1}]",
            "null",
            "1",
            "\"a\"",
            "{} x",
            "[] x",
            "{\"a\":}",
            "",
            &deep,
        ] {
            let both = object_with(text.as_bytes(), &["a", "b"]).map(|(known, mut members)| {
                for (name, value) in ["a", "b"].into_iter().zip(known) {
                    members.extend(value.map(|value| (name.to_owned(), value)));
                }
                members
            });
            assert_eq!(both, object(text.as_bytes()), "{text}");
        }
        assert_eq!(object_with(b"\xff", &["a"]), Err(JsonError::NotUtf8));
    }

    #[test]
    fn objects_are_read() {
        let members =
            object(br#" {"a":1,"b":[{"c":null},{"c":-2.5}],"d":"\u00e9\ud83d\ude00","e":true} "#)
                .unwrap();
        assert_eq!(Value::Object(members)["b"][1]["c"], -2.5);
    }

    #[test]
    fn row_238_repeated_members_are_refused_at_any_depth() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"a":1,"\u0061":2}"#, r#"{"x":[{"y":{"a":1,"a":2}}]}"#]
        {
            assert_eq!(object(text.as_bytes()), Err(JsonError::DuplicateMember), "{text}");
        }
    }

    #[test]
    fn row_242_only_utf8_without_a_byte_order_mark_is_read() {
        assert_eq!(object(b"\xef\xbb\xbf{}"), Err(JsonError::Syntax));
        assert_eq!(object(b"{\"a\":\"\xff\"}"), Err(JsonError::NotUtf8));
        assert_eq!(object(b"{\0\"\0a\0\"\0:\x001\0}\0"), Err(JsonError::Syntax));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "{",
            "{}{}",
            "{} x",
            r#"{"a":}"#,
            r#"{"a":"\ud800"}"#,
            "{\"a\":\"\n\"}",
            "{'a':1}",
            "{\"a\":1e999}",
        ] {
            assert_eq!(object(text.as_bytes()), Err(JsonError::Syntax), "{text}");
        }
        for text in ["[]", "null", "1", "\"{}\""] {
            assert_eq!(object(text.as_bytes()), Err(JsonError::NotAnObject), "{text}");
        }
        let deep = format!("{}1{}", "{\"a\":".repeat(500), "}".repeat(500));
        assert_eq!(object(deep.as_bytes()), Err(JsonError::Syntax));
    }
}
