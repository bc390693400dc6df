//! A JSON reader that sees what others hide: members that stand twice, and how a number is written.
//!
//! What is JSON at all serde_json decides; this one shares no code with the reader it is held against.

use std::collections::BTreeSet;

pub(super) enum Json<'t> {
    Text(String),
    /// As written.
    Number(&'t str),
    /// `true`, `false` or `null`.
    Word,
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

/// The members of an object, if the text is one and no object in it has a member twice.
pub(super) fn members(text: &[u8]) -> Result<Vec<(String, Json<'_>)>, &'static str> {
    let text = std::str::from_utf8(text).map_err(|_| "not UTF-8")?;
    serde_json::from_str::<serde_json::Value>(text).map_err(|_| "not JSON")?;
    match (Reader { text, at: 0 }).value().ok_or("not JSON")? {
        json if json.repeats() => Err("a member twice"),
        Json::Object(members) => Ok(members),
        _ => Err("not an object"),
    }
}

impl Json<'_> {
    fn repeats(&self) -> bool {
        match self {
            Self::List(items) => items.iter().any(Self::repeats),
            Self::Object(members) => {
                let names: BTreeSet<&str> = members.iter().map(|(name, _)| &**name).collect();
                names.len() < members.len() || members.iter().any(|(_, value)| value.repeats())
            }
            _ => false,
        }
    }
}

/// Reads a text that is known to be JSON, and not to be nested deeply.
struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    fn value(&mut self) -> Option<Json<'t>> {
        match self.peek()? {
            b'"' => self.string().map(Json::Text),
            b'[' => {
                let mut items = Vec::new();
                self.list(b']', |this| {
                    items.push(this.value()?);
                    Some(())
                })?;
                Some(Json::List(items))
            }
            b'{' => {
                let mut members = Vec::new();
                self.list(b'}', |this| {
                    let name = (this.peek()? == b'"').then(|| this.string())??;
                    (this.peek()? == b':').then(|| this.at += 1)?;
                    members.push((name, this.value()?));
                    Some(())
                })?;
                Some(Json::Object(members))
            }
            _ => {
                let rest = &self.text[self.at..];
                let end = rest.find([',', ']', '}', ' ', '\t', '\n', '\r']).unwrap_or(rest.len());
                self.at += end;
                let word = matches!(&rest[..end], "true" | "false" | "null");
                Some(if word { Json::Word } else { Json::Number(&rest[..end]) })
            }
        }
    }

    /// From a bracket to the one that closes it.
    fn list(&mut self, close: u8, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.at += 1;
        while self.peek()? != close {
            item(self)?;
            if self.peek()? == b',' {
                self.at += 1;
            }
        }
        self.at += 1;
        Some(())
    }

    /// UTF-16 on the way, since escapes are written in it.
    fn string(&mut self) -> Option<String> {
        let mut units = Vec::new();
        let mut chars = self.text[self.at + 1..].char_indices();
        loop {
            let (at, char) = chars.next()?;
            let plain = match char {
                '"' => {
                    self.at += at + 2;
                    return String::from_utf16(&units).ok();
                }
                '\\' => match chars.next()?.1 {
                    'u' => {
                        let hex: String = chars.by_ref().take(4).map(|(_, digit)| digit).collect();
                        units.push(u16::from_str_radix(&hex, 16).ok()?);
                        continue;
                    }
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    itself => itself,
                },
                plain => plain,
            };
            units.extend_from_slice(plain.encode_utf16(&mut [0; 2]));
        }
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..)?;
        self.at += rest.iter().take_while(|byte| b" \t\n\r".contains(byte)).count();
        self.text.as_bytes().get(self.at).copied()
    }
}
