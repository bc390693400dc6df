//! Compact JSON, written in one pass.

use std::fmt::Write as _;

/// Writes one object, member by member.
///
/// Members come out in the order they are written; their names are ours and need no escaping.
pub(crate) struct Object {
    text: String,
}

impl Object {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let mut text = String::with_capacity(capacity);
        text.push('{');
        Self { text }
    }

    /// Goes on with an object that was written before.
    pub(crate) fn continued(mut object: String) -> Self {
        object.truncate(object.trim_end().len().saturating_sub(1));
        Self { text: object }
    }

    fn name(&mut self, name: &str) {
        if !self.text.ends_with('{') {
            self.text.push(',');
        }
        self.text.push('"');
        self.text.push_str(name);
        self.text.push_str("\":");
    }

    pub(crate) fn string(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        quote(value, &mut self.text);
        self
    }

    pub(crate) fn number(mut self, name: &str, value: u64) -> Self {
        self.name(name);
        let _ = write!(self.text, "{value}");
        self
    }

    pub(crate) fn boolean(mut self, name: &str, value: bool) -> Self {
        self.name(name);
        self.text.push_str(if value { "true" } else { "false" });
        self
    }

    /// A member whose value is JSON already.
    pub(crate) fn raw(mut self, name: &str, json: &str) -> Self {
        self.name(name);
        self.text.push_str(json);
        self
    }

    pub(crate) fn strings<'a>(
        mut self,
        name: &str,
        values: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        self.name(name);
        self.text.push('[');
        for (i, value) in values.into_iter().enumerate() {
            if i > 0 {
                self.text.push(',');
            }
            quote(value, &mut self.text);
        }
        self.text.push(']');
        self
    }

    /// One value as a string, several as an array: `aud` (RFC 7519 §4.1.3).
    pub(crate) fn one_or_many(self, name: &str, values: &[impl AsRef<str>]) -> Self {
        match values {
            [one] => self.string(name, one.as_ref()),
            many => self.strings(name, many.iter().map(AsRef::as_ref)),
        }
    }

    /// Goes on with another function, to write what depends on a condition.
    pub(crate) fn then(self, further: impl FnOnce(Self) -> Self) -> Self {
        further(self)
    }

    pub(crate) fn end(mut self) -> String {
        self.text.push('}');
        self.text
    }
}

/// Writes a JSON string (RFC 8259 §7).
fn quote(value: &str, out: &mut String) {
    out.push('"');
    // Without an early end this is done for many bytes at a time; and nearly always it is all there is to do.
    let odd = |byte: u8| (byte < 0x20) | (byte == b'"') | (byte == b'\\');
    if !value.bytes().fold(false, |any, byte| any | odd(byte)) {
        out.push_str(value);
        out.push('"');
        return;
    }
    let mut plain = 0;
    for (i, byte) in value.bytes().enumerate() {
        if !odd(byte) {
            continue;
        }
        out.push_str(&value[plain..i]);
        plain = i + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            other => {
                let _ = write!(out, "\\u{other:04x}");
            }
        }
    }
    out.push_str(&value[plain..]);
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let odd = "a\"b\\c\n\u{1}ü\u{7f}";
        let text = Object::with_capacity(0)
            .string("a", odd)
            .number("b", 7)
            .boolean("c", true)
            .strings("d", ["x", "y"])
            .one_or_many("e", &["z"])
            .end();
        let text = Object::continued(text).raw("f", r#"{"g":[]}"#).end();
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            read,
            serde_json::json!({"a": odd, "b": 7, "c": true, "d": ["x", "y"], "e": "z", "f": {"g": []}})
        );
        assert!(!text.contains(' '));
    }
}
