//! Events of the feed as text, in both directions.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::{Ended, Revocation};
use crate::Timestamp;
use crate::jose::json;

/// The longest event read. What is revoked is named by identifiers, none of which is nearly as long.
const MAX_EVENT: usize = 16 * 1024;

/// The longest cursor kept.
const MAX_CURSOR: usize = 256;

/// An event of the feed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// Tokens have ended.
    Revoked {
        /// From where to go on after this event.
        cursor: String,
        /// Which, and until when it matters.
        revocation: Revocation,
    },
    /// Everything until now has been told.
    Current {
        /// From where to go on; `None` where nothing was ever told.
        cursor: Option<String>,
        /// Whether this follower is told everything of the issuer, and not only what concerns its own tokens. A feed
        /// that does not say so does not promise it.
        everything: bool,
    },
    /// What follows is everything, from the beginning.
    Reset,
}

impl Event {
    /// The text of the event.
    pub fn encode(&self) -> String {
        let (name, cursor, data) = match self {
            Self::Revoked { cursor, revocation } => ("revoked", Some(cursor), encode(revocation)),
            Self::Current { cursor, everything } => {
                ("current", cursor.as_ref(), json!({ "everything": everything }))
            }
            Self::Reset => ("reset", None, json!({})),
        };
        let mut text = String::with_capacity(160);
        if let Some(cursor) = cursor {
            let _ = writeln!(text, "id: {cursor}");
        }
        let _ = write!(text, "event: {name}\ndata: {data}\n\n");
        text
    }

    /// `None`: an event that means nothing here.
    fn decode(raw: &Raw) -> Result<Option<Self>, EventError> {
        let cursor = || raw.id.clone().ok_or(EventError::Unreadable);
        Ok(Some(match raw.event.as_str() {
            "revoked" => Self::Revoked {
                cursor: cursor()?,
                revocation: decode(&raw.data).ok_or(EventError::Unreadable)?,
            },
            "current" => {
                Self::Current { cursor: raw.id.clone(), everything: says_everything(&raw.data) }
            }
            "reset" => Self::Reset,
            _ => return Ok(None),
        }))
    }
}

fn encode(revocation: &Revocation) -> Value {
    let until = revocation.until.as_secs();
    match &revocation.ended {
        Ended::Token(id) => json!({ "id": id.to_string(), "until": until }),
        Ended::Client { id, not_before } => {
            json!({ "client_id": id, "not_before": not_before.as_secs(), "until": until })
        }
        Ended::Subject { id, not_before } => {
            json!({ "sub": id, "not_before": not_before.as_secs(), "until": until })
        }
        Ended::All { not_before } => json!({ "not_before": not_before.as_secs(), "until": until }),
        Ended::Key(kid) => json!({ "kid": kid, "until": until }),
    }
}

/// Whether a `current` promises everything. Other members, and other values, promise nothing.
fn says_everything(data: &str) -> bool {
    let members = json::object(data.as_bytes()).unwrap_or_default();
    members.get("everything") == Some(&Value::Bool(true))
}

/// `None` also where there is a member that is not known: it may narrow down what the others say, or widen it.
fn decode(data: &str) -> Option<Revocation> {
    let mut members = json::object(data.as_bytes()).ok()?;
    let secs = |members: &mut Map<String, Value>, name| {
        Some(Timestamp::from_secs(members.remove(name)?.as_u64()?))
    };
    let until = secs(&mut members, "until")?;
    let not_before = match members.contains_key("not_before") {
        true => Some(secs(&mut members, "not_before")?),
        false => None,
    };
    let named = members.into_iter().collect::<Vec<_>>();
    let named = match named.as_slice() {
        [] => None,
        [(name, Value::String(text))] => Some((name.as_str(), text.clone())),
        _ => return None,
    };
    let ended = match (named, not_before) {
        (Some(("id", id)), None) => Ended::Token(id.parse().ok()?),
        (Some(("client_id", id)), Some(not_before)) => Ended::Client { id, not_before },
        (Some(("sub", id)), Some(not_before)) => Ended::Subject { id, not_before },
        (Some(("kid", kid)), None) => Ended::Key(kid),
        (None, Some(not_before)) => Ended::All { not_before },
        _ => return None,
    };
    Some(Revocation { ended, until })
}

/// Reads events out of bytes as they arrive, in pieces of any size.
#[derive(Debug, Default)]
pub struct EventReader {
    /// What has arrived of the line that is not complete.
    line: Vec<u8>,
    /// Whether the last byte was a carriage return, after which a line feed belongs to the same end of line.
    after_return: bool,
    raw: Raw,
    size: usize,
}

/// The fields of an event that is not complete.
#[derive(Debug, Default)]
struct Raw {
    event: String,
    data: String,
    id: Option<String>,
}

impl EventReader {
    /// Takes what has arrived, and gives the events that it completes.
    ///
    /// # Errors
    ///
    /// [`EventError`]: something was said that cannot be understood, so that this reader has missed something. What
    /// follows must not be read as if it had not.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Vec<Event>, EventError> {
        let mut events = Vec::new();
        for &byte in bytes {
            let ends = match byte {
                b'\n' if self.after_return => {
                    self.after_return = false;
                    continue;
                }
                b'\n' | b'\r' => true,
                _ => false,
            };
            self.after_return = byte == b'\r';
            if ends {
                let line = std::mem::take(&mut self.line);
                let line = std::str::from_utf8(&line).map_err(|_| EventError::Unreadable)?;
                events.extend(self.end_line(line)?);
            } else {
                self.size += 1;
                if self.size > MAX_EVENT {
                    return Err(EventError::TooLong);
                }
                self.line.push(byte);
            }
        }
        Ok(events)
    }

    fn end_line(&mut self, line: &str) -> Result<Option<Event>, EventError> {
        if line.is_empty() {
            self.size = 0;
            let raw = std::mem::take(&mut self.raw);
            return Event::decode(&raw);
        }
        // "If the line contains a U+003A COLON character [...] If value starts with a U+0020 SPACE character, remove it";
        // a line that begins with a colon is a comment.
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => value.clone_into(&mut self.raw.event),
            "data" => {
                if !self.raw.data.is_empty() {
                    self.raw.data.push('\n');
                }
                self.raw.data.push_str(value);
            }
            "id" if value.len() <= MAX_CURSOR && is_header_text(value) => {
                self.raw.id = Some(value.to_owned());
            }
            "id" => return Err(EventError::Unreadable),
            "" => self.size = self.raw.data.len() + self.raw.event.len(),
            _ => {}
        }
        Ok(None)
    }
}

/// Whether a cursor can be sent back in a header.
fn is_header_text(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Something was told that is not understood.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EventError {
    /// An event is longer than any that there is.
    #[error("an event is too long")]
    TooLong,
    /// Not UTF-8, or a revocation that is not of a known form.
    #[error("an event cannot be read")]
    Unreadable,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01234567-89ab-7fff-bfff-ffffffffffff";

    fn events() -> Vec<Event> {
        let at = Timestamp::from_secs;
        let ended = [
            Ended::Token(ID.parse().unwrap()),
            Ended::Client { id: "a\"b\n".into(), not_before: at(5) },
            Ended::Subject { id: "é".into(), not_before: at(6) },
            Ended::All { not_before: at(7) },
            Ended::Key("k".into()),
        ];
        let revoked = ended.into_iter().enumerate().map(|(i, ended)| Event::Revoked {
            cursor: format!("{i}-9"),
            revocation: Revocation { ended, until: at(100) },
        });
        let others = [
            Event::Current { cursor: Some("4-9".into()), everything: true },
            Event::Current { cursor: None, everything: false },
            Event::Reset,
        ];
        revoked.chain(others).collect()
    }

    #[test]
    fn events_survive_the_way_in_pieces_of_any_size() {
        let text: String = events().iter().map(Event::encode).collect();
        let foreign = text.replace('\n', "\r\n");
        let bare = text.replace('\n', "\r");
        for text in [text, foreign, bare] {
            for size in [1, 2, 7, 64, text.len()] {
                let mut reader = EventReader::default();
                let pieces = text.as_bytes().chunks(size);
                let read: Vec<Event> =
                    pieces.flat_map(|piece| reader.read(piece).unwrap()).collect();
                assert_eq!(read, events(), "{size}");
            }
        }
    }

    #[test]
    fn what_is_not_known_is_passed_over_and_a_revocation_that_is_not_is_an_error() {
        let read = |text: &str| EventReader::default().read(text.as_bytes());
        assert_eq!(read(": a comment\n\n"), Ok(vec![]));
        assert_eq!(read("event: news\nid: 1\ndata: x\n\nretry: 5\n\n"), Ok(vec![]));
        let with = |data: &str| read(&format!("id: 1-1\nevent: revoked\ndata: {data}\n\n"));
        assert_eq!(with(&format!(r#"{{"id":"{ID}","until":1}}"#)).unwrap().len(), 1);
        for bad in [
            "",
            "{}",
            r#"{"until":1}"#,
            r#"{"id":"x","until":1}"#,
            r#"{"client_id":"a","until":1}"#,
            r#"{"kid":"a","not_before":1,"until":1}"#,
            r#"{"client_id":"a","not_before":-1,"until":1}"#,
            r#"{"client_id":"a","not_before":1,"until":1,"scope":"x"}"#,
            r#"{"client_id":"a","sub":"b","not_before":1,"until":1}"#,
            r#"{"kid":"a","kid":"b","until":1}"#,
        ] {
            assert_eq!(with(bad), Err(EventError::Unreadable), "{bad}");
        }
        assert_eq!(
            read("event: revoked\ndata: {\"not_before\":1,\"until\":2}\n\n"),
            Err(EventError::Unreadable),
            "without a cursor nobody could go on"
        );
        assert_eq!(read("id: a b\n"), Err(EventError::Unreadable));
        assert_eq!(EventReader::default().read(b"data: \xff\n"), Err(EventError::Unreadable));
    }

    #[test]
    fn only_true_promises_everything() {
        let says = |data: &str| {
            let text = format!("id: 1-1\nevent: current\n{data}\n\n");
            EventReader::default().read(text.as_bytes()).unwrap()
        };
        for (data, everything) in [
            (r#"data: {"everything":true}"#, true),
            (r#"data: {"everything":true,"more":1}"#, true),
            (r#"data: {"everything":false}"#, false),
            // Of a server that does not know the member.
            ("data: {}", false),
            (r#"data: {"everything":"true"}"#, false),
            (r#"data: {"everything":false,"everything":true}"#, false),
            ("data: true", false),
            ("retry: 5", false),
        ] {
            let cursor = Some("1-1".into());
            assert_eq!(says(data), [Event::Current { cursor, everything }], "{data}");
        }
    }

    #[test]
    fn an_endless_event_is_not_kept() {
        let mut reader = EventReader::default();
        let line = format!("data: {}\n", "a".repeat(1000));
        let mut endless = std::iter::repeat_with(|| reader.read(line.as_bytes()));
        assert_eq!(endless.find(Result::is_err), Some(Err(EventError::TooLong)));
        // Comments keep a connection alive for as long as it likes.
        let mut reader = EventReader::default();
        for _ in 0..10_000 {
            assert_eq!(reader.read(b": still here, and nothing has happened\n"), Ok(vec![]));
        }
    }
}
