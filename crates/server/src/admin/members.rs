//! The members of a JSON body, asked for one by one; what nobody asked for is refused by name.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Map, Value};
use tokenry_core::duration;
use tokenry_core::jose::json;

use super::problem::{Problem, Wrong, quoted};

/// Members that are being read.
#[derive(Debug)]
pub(super) struct Members {
    /// What stands before their names in messages: `refresh.` within `refresh`.
    within: String,
    members: Map<String, Value>,
    wrong: Vec<Wrong>,
}

impl Members {
    /// Reads a body that is one JSON object.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Problem> {
        let members = json::object(body).map_err(|error| {
            Problem::bad_request(format!("the body is no JSON object without repeats: {error}"))
        })?;
        Ok(Self { within: String::new(), members, wrong: Vec::new() })
    }

    /// Notes that a member is wrong.
    pub(super) fn refuse(&mut self, member: &str, detail: impl Into<String>) {
        let member = format!("{}{member}", self.within);
        self.wrong.push(Wrong { member, detail: detail.into() });
    }

    /// Notes that a member has to be there, unless it is there and wrong.
    pub(super) fn missing(&mut self, name: &str) {
        let member = format!("{}{name}", self.within);
        if !self.wrong.iter().any(|wrong| wrong.member == member) {
            self.refuse(name, "is missing");
        }
    }

    /// Whether nothing was wrong so far.
    pub(super) const fn are_good(&self) -> bool {
        self.wrong.is_empty()
    }

    /// Takes a member out, whatever it is; gives whether it was there.
    pub(super) fn forget(&mut self, name: &str) -> bool {
        self.members.remove(name).is_some()
    }

    /// A member that is there; `null` stands for one that is not.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.members.remove(name).filter(|value| !value.is_null())
    }

    fn must<T>(&mut self, name: &str, must: &str) -> Option<T> {
        self.refuse(name, format!("must be {must}"));
        None
    }

    /// A text for which `good` holds.
    pub(super) fn text(
        &mut self,
        name: &str,
        must: &str,
        good: impl Fn(&str) -> bool,
    ) -> Option<String> {
        match self.take(name)? {
            Value::String(text) if good(&text) => Some(text),
            _ => self.must(name, must),
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, name: &str) -> Option<bool> {
        match self.take(name)? {
            Value::Bool(on) => Some(on),
            _ => self.must(name, "true or false"),
        }
    }

    /// A list of texts for each of which `good` holds.
    pub(super) fn list(
        &mut self,
        name: &str,
        must: &str,
        good: impl Fn(&str) -> bool,
    ) -> Option<Vec<String>> {
        let Value::Array(items) = self.take(name)? else {
            return self.must(name, &format!("a list, each item {must}"));
        };
        let mut texts = Vec::new();
        for item in items {
            match item {
                Value::String(text) if good(&text) => texts.push(text),
                Value::String(text) => {
                    self.refuse(name, format!("each item must be {must}, not {}", quoted(&text)));
                }
                _ => self.refuse(name, format!("each item must be {must}")),
            }
        }
        Some(texts)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Option<T> {
        let value = self.take(name)?;
        let chosen = value.as_str().and_then(|text| choices.iter().find(|(word, _)| *word == text));
        match chosen {
            Some((_, chosen)) => Some(*chosen),
            None => {
                let words: Vec<String> = choices.iter().map(|(word, _)| quoted(word)).collect();
                self.must(name, &format!("one of {}", words.join(", ")))
            }
        }
    }

    /// A duration within a range, such as `5m`.
    pub(super) fn duration(
        &mut self,
        name: &str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let value = self.take(name)?;
        let Some(read) = value.as_str().and_then(duration::parse) else {
            return self.must(name, "a duration such as `30s`, `5m`, `24h` or `90d`");
        };
        if range.contains(&read) {
            return Some(read);
        }
        let (from, to) = (duration::write(*range.start()), duration::write(*range.end()));
        self.must(name, &format!("from {from} to {to}"))
    }

    /// An object within this one, all of whose members `reader` asks for.
    pub(super) fn object<T>(
        &mut self,
        name: &str,
        reader: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let Value::Object(members) = self.take(name)? else { return self.must(name, "an object") };
        let within = format!("{}{name}.", self.within);
        let mut inner = Self { within, members, wrong: Vec::new() };
        let read = reader(&mut inner);
        inner.refuse_the_rest();
        self.wrong.append(&mut inner.wrong);
        read
    }

    fn refuse_the_rest(&mut self) {
        for name in std::mem::take(&mut self.members).into_iter().map(|(name, _)| name) {
            let name: String = name.chars().take(80).collect();
            self.refuse(&name, "there is no such member");
        }
    }

    /// That nothing was wrong, and nothing is left that nobody asked for.
    pub(super) fn end(mut self) -> Result<(), Problem> {
        self.refuse_the_rest();
        if self.wrong.is_empty() { Ok(()) } else { Err(Problem::wrong(self.wrong)) }
    }
}
