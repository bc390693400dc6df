//! A TOML document read piece by piece, so that all its mistakes are found in one go.
//!
//! A reader asks a [`Table`] for its keys; what it did not ask for is unknown. Each mistake is noted with its place,
//! and reading goes on.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Diagnostics, Source, did_you_mean, quoted};
use crate::duration;

/// Where something stands in its file, in bytes.
pub(crate) type Span = Range<usize>;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

/// A key of a table, as written.
#[derive(Clone, Debug)]
pub(crate) enum Field<T> {
    /// The key is not there.
    Absent,
    /// It is there and wrong, which has been reported.
    Wrong,
    /// It is there.
    Given(At<T>),
}

impl<T> Field<T> {
    /// The value, where there is a good one.
    pub(crate) const fn given(&self) -> Option<&At<T>> {
        match self {
            Self::Given(at) => Some(at),
            Self::Absent | Self::Wrong => None,
        }
    }

    /// The value alone, where there is a good one.
    pub(crate) fn value(&self) -> Option<&T> {
        self.given().map(|at| &at.value)
    }

    /// The value alone.
    pub(crate) fn into_value(self) -> Option<T> {
        match self {
            Self::Given(at) => Some(at.value),
            Self::Absent | Self::Wrong => None,
        }
    }

    /// Whether nothing is to be concluded from it.
    pub(crate) const fn is_wrong(&self) -> bool {
        matches!(self, Self::Wrong)
    }
}

/// Where mistakes in one file are noted.
#[derive(Debug)]
pub(crate) struct Notes {
    source: Arc<Source>,
    list: RefCell<Diagnostics>,
}

impl Notes {
    /// Notes a mistake at a place.
    pub(crate) fn error(&self, span: &Span, message: impl Into<String>, help: Option<String>) {
        let mut diagnostic = Diagnostic::error(message).at(&self.source, span.clone());
        if let Some(help) = help {
            diagnostic = diagnostic.help(help);
        }
        self.push(diagnostic);
    }

    /// Notes something questionable at a place.
    pub(crate) fn warning(&self, span: &Span, message: impl Into<String>) {
        self.push(Diagnostic::warning(message).at(&self.source, span.clone()));
    }

    /// Notes a mistake at a place whose line may hold a secret.
    pub(crate) fn hidden_error(&self, span: &Span, message: impl Into<String>) {
        self.push(Diagnostic::error(message).at(&self.source, span.clone()).hide_source());
    }

    fn push(&self, diagnostic: Diagnostic) {
        self.list.borrow_mut().push(diagnostic);
    }
}

/// How often lines with syntax errors are taken out. Each time shows what stood behind them; a file that needs more is
/// not TOML at all.
const MAX_REPAIRS: usize = 10;

/// Reads a document. Gives what the reader made of it, and all that is wrong with it.
pub(crate) fn read<T>(
    source: &Arc<Source>,
    reader: impl FnOnce(&Table<'_>) -> T,
) -> (T, Diagnostics) {
    let notes = Notes { source: Arc::clone(source), list: RefCell::default() };
    let (root, syntax) = DeTable::parse_recoverable(&source.text);
    if syntax.is_empty() {
        let result = Table::read(root.get_ref(), root.span(), &notes, reader);
        return (result, notes.list.into_inner());
    }
    let (text, taken_out) = without_syntax_errors(&source.text);
    let root = DeTable::parse_recoverable(&text).0;
    let result = Table::read(root.get_ref(), root.span(), &notes, reader);
    let mut found = notes.list.into_inner();
    // What could not be read is missing, which is not worth a second message.
    found.0.retain(|d| !d.consequence && !taken_out.contains(&d.line()));
    found.0.extend(syntax.iter().map(|error| syntax_error(source, error)));
    (result, found)
}

/// The same text with spaces instead of the lines that cannot be read, and the numbers of those lines.
///
/// The parser gives up on what follows some errors; this way the rest is looked at as well, at its place.
fn without_syntax_errors(text: &str) -> (String, BTreeSet<usize>) {
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    let mut taken_out = BTreeSet::new();
    for _ in 0..MAX_REPAIRS {
        let text = lines.concat();
        let errors = DeTable::parse_recoverable(&text).1;
        if errors.is_empty() {
            return (text, taken_out);
        }
        for start in errors.iter().filter_map(|error| Some(error.span()?.start)) {
            let number =
                text.as_bytes()[..start.min(text.len())].iter().filter(|b| **b == b'\n').count();
            take_out(&mut lines, number, &mut taken_out);
        }
    }
    (String::new(), taken_out)
}

/// Puts spaces instead of a line; instead of all its table, if the line is a header: its keys belong nowhere else.
fn take_out(lines: &mut [String], number: usize, taken_out: &mut BTreeSet<usize>) {
    let is_header = |line: &String| line.trim_start().starts_with('[');
    let header = lines.get(number).is_some_and(is_header);
    for (i, line) in lines.iter_mut().enumerate().skip(number) {
        if i > number && (!header || is_header(line)) {
            return;
        }
        let end = if line.ends_with('\n') { "\n" } else { "" };
        *line = " ".repeat(line.len() - end.len()) + end;
        taken_out.insert(i + 1);
    }
}

fn syntax_error(source: &Arc<Source>, error: &toml::de::Error) -> Diagnostic {
    let span = error.span().unwrap_or(0..0);
    let line = source.text.get(..span.start).map_or(0, |t| t.rfind('\n').map_or(0, |i| i + 1));
    let line = source.text[line..].lines().next().unwrap_or_default();
    let diagnostic = Diagnostic::error(error.message()).at(source, span);
    if names_a_secret(line) { diagnostic.hide_source() } else { diagnostic }
}

/// Whether a key or a line may go with a value that should not be repeated in a log.
fn names_a_secret(text: &str) -> bool {
    let text = text.to_lowercase();
    ["secret", "password", "passphrase", "private", "master"].iter().any(|word| text.contains(word))
}

/// A table that is being read.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    entries: &'a DeTable<'a>,
    /// Where the table begins: its header, or its braces.
    pub(crate) span: Span,
    /// Where to note mistakes.
    pub(crate) notes: &'a Notes,
    asked: RefCell<Vec<&'static str>>,
    /// Whether its keys are the operator's own.
    is_open: Cell<bool>,
    /// What must be there and is not.
    missing: RefCell<Vec<&'static str>>,
}

impl<'a> Table<'a> {
    fn read<T>(
        entries: &'a DeTable<'a>,
        span: Span,
        notes: &'a Notes,
        reader: impl FnOnce(&Self) -> T,
    ) -> T {
        let table = Self {
            entries,
            span,
            notes,
            asked: RefCell::default(),
            is_open: Cell::new(false),
            missing: RefCell::default(),
        };
        let result = reader(&table);
        table.report_missing();
        table.report_unknown();
        result
    }

    /// A key that may be absent.
    pub(crate) fn optional<T>(
        &self,
        key: &'static str,
        reader: impl FnOnce(&Value<'a>) -> Option<T>,
    ) -> Field<T> {
        self.asked.borrow_mut().push(key);
        let Some(entry) = self.entries.get(key) else {
            // Whoever misspelt a key did not leave it out.
            return if self.misspelt(key) { Field::Wrong } else { Field::Absent };
        };
        let value = Value { key, value: entry, notes: self.notes };
        reader(&value)
            .map_or(Field::Wrong, |read| Field::Given(At { value: read, span: entry.span() }))
    }

    /// A key that must be there.
    pub(crate) fn required<T>(
        &self,
        key: &'static str,
        reader: impl FnOnce(&Value<'a>) -> Option<T>,
    ) -> Field<T> {
        let field = self.optional(key, reader);
        if self.entries.contains_key(key) {
            return field;
        }
        self.missing.borrow_mut().push(key);
        Field::Wrong
    }

    /// Whether an unknown key was probably meant to be this one.
    fn misspelt(&self, key: &'static str) -> bool {
        let asked = self.asked.borrow();
        let mut unknown = self
            .entries
            .keys()
            .map(|name| name.get_ref().as_ref())
            .filter(|name| !asked.contains(name));
        unknown.any(|name| did_you_mean(name, [key]).is_some())
    }

    /// Once all keys are known, so that none of them is taken for another.
    fn report_missing(&self) {
        for key in self.missing.borrow().iter().filter(|key| !self.misspelt(key)) {
            let mut diagnostic = Diagnostic::error(format!("{key} is missing"))
                .at(&self.notes.source, self.span.clone());
            diagnostic.consequence = true;
            self.notes.push(diagnostic);
        }
    }

    /// How a key is written where this one stands: as the header of a table, or by itself.
    fn as_written(&self, key: &str, at: &Span) -> String {
        let before = self.notes.source.text.get(..at.start).unwrap_or_default();
        match (before.ends_with("[["), before.ends_with('[')) {
            (true, _) => format!("`[[{key}]]`"),
            (false, true) => format!("`[{key}]`"),
            (false, false) => format!("`{key}`"),
        }
    }

    /// A table within this one.
    pub(crate) fn table<T>(&self, key: &'static str, reader: impl FnOnce(&Self) -> T) -> Field<T> {
        self.optional(key, |value| value.table(reader))
    }

    /// A table within this one that must be there.
    pub(crate) fn required_table<T>(
        &self,
        key: &'static str,
        reader: impl FnOnce(&Self) -> T,
    ) -> Field<T> {
        self.required(key, |value| value.table(reader))
    }

    /// `[[key]]`, any number of times.
    pub(crate) fn tables<T>(
        &self,
        key: &'static str,
        reader: impl Fn(&Self) -> T,
    ) -> Field<Vec<At<T>>> {
        self.optional(key, |value| value.list(|item| item.table(&reader)))
    }

    /// All keys of a table whose keys are the operator's own, such as names of headers.
    pub(crate) fn each<T>(
        &self,
        reader: impl Fn(&At<String>, &Value<'a>) -> Option<T>,
    ) -> Vec<Option<T>> {
        self.is_open.set(true);
        let read = |(name, value): (&'a Spanned<_>, &'a Spanned<DeValue<'a>>)| {
            let name: &'a Spanned<std::borrow::Cow<'a, str>> = name;
            let key = name.get_ref().as_ref();
            let value = Value { key, value, notes: self.notes };
            reader(&At { value: key.to_owned(), span: name.span() }, &value)
        };
        self.entries.iter().map(read).collect()
    }

    fn report_unknown(&self) {
        if self.is_open.get() {
            return;
        }
        let asked = self.asked.borrow();
        for key in self.entries.keys() {
            let name = key.get_ref().as_ref();
            if asked.contains(&name) {
                continue;
            }
            let message = format!("unknown key {}", quoted(name));
            let mut diagnostic = Diagnostic::error(message).at(&self.notes.source, key.span());
            if let Some(meant) = did_you_mean(name, asked.iter().copied()) {
                let meant = self.as_written(meant, &key.span());
                diagnostic = diagnostic.help(format!("did you mean {meant}?"));
            } else if names_a_secret(name) {
                diagnostic = diagnostic
                    .help("no secret belongs into this file: see `tokenry client secret add` and `tokenry user add`");
            } else {
                diagnostic = diagnostic.help(format!("known here: {}", asked.join(", ")));
            }
            self.notes.push(if names_a_secret(name) {
                diagnostic.hide_source()
            } else {
                diagnostic
            });
        }
    }
}

/// A value that is being read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'a> {
    key: &'a str,
    value: &'a Spanned<DeValue<'a>>,
    /// Where to note mistakes.
    pub(crate) notes: &'a Notes,
}

impl<'a> Value<'a> {
    /// Where it stands.
    pub(crate) fn span(&self) -> Span {
        self.value.span()
    }

    /// Notes that it `must` be something else, and gives nothing.
    pub(crate) fn must<T>(&self, must: &str, help: Option<&str>) -> Option<T> {
        let got = match self.value.get_ref() {
            DeValue::String(text) => quoted(text),
            DeValue::Integer(number) => quoted(&number.to_string()),
            DeValue::Float(number) => quoted(&number.to_string()),
            DeValue::Boolean(yes) => quoted(&yes.to_string()),
            DeValue::Datetime(_) => "a date".to_owned(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        };
        let message = format!("{} must be {must}, got {got}", self.key);
        self.notes.error(&self.span(), message, help.map(str::to_owned));
        None
    }

    /// The text, if it is one.
    pub(crate) fn as_text(&self) -> Option<&'a str> {
        match self.value.get_ref() {
            DeValue::String(text) => Some(text.as_ref()),
            _ => None,
        }
    }

    /// Whether it is a table.
    pub(crate) fn is_table(&self) -> bool {
        matches!(self.value.get_ref(), DeValue::Table(_))
    }

    /// Some text; anything else is answered with what it `must` be.
    pub(crate) fn text_that(&self, must: &str) -> Option<&'a str> {
        match self.value.get_ref() {
            DeValue::String(text) => Some(text.as_ref()),
            _ => self.must(must, None),
        }
    }

    /// Text for which `good` holds.
    pub(crate) fn matching(&self, must: &str, good: impl FnOnce(&str) -> bool) -> Option<String> {
        let text = self.text_that(must)?;
        if good(text) { Some(text.to_owned()) } else { self.must(must, None) }
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self) -> Option<bool> {
        self.value.get_ref().as_bool().or_else(|| self.must("`true` or `false`", None))
    }

    /// A whole number within a range.
    pub(crate) fn integer(&self, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let number = self
            .value
            .get_ref()
            .as_integer()
            .and_then(|n| u64::from_str_radix(n.as_str(), n.radix()).ok())
            .filter(|n| range.contains(n));
        number.or_else(|| {
            self.must(&format!("a whole number from {} to {}", range.start(), range.end()), None)
        })
    }

    /// A duration within a range, such as `30s`, `5m`, `24h` or `90d`.
    pub(crate) fn duration(&self, range: std::ops::RangeInclusive<Duration>) -> Option<Duration> {
        const MUST: &str = "a duration such as `30s`, `5m`, `24h` or `90d`";
        let text = self.text_that(MUST)?;
        let Some(read) = duration::parse(text) else { return self.must(MUST, None) };
        if range.contains(&read) {
            return Some(read);
        }
        let (from, to) = (duration::write(*range.start()), duration::write(*range.end()));
        self.must(&format!("from {from} to {to}"), None)
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let names: Vec<String> = choices.iter().map(|(name, _)| format!("`{name}`")).collect();
        let must = match names.as_slice() {
            [all @ .., last] if !all.is_empty() => format!("{} or {last}", all.join(", ")),
            _ => names.join(""),
        };
        let text = self.text_that(&must)?;
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(*value);
        }
        let meant = did_you_mean(text, choices.iter().map(|(name, _)| *name));
        self.must(&must, meant.map(|meant| format!("did you mean `{meant}`?")).as_deref())
    }

    /// A list, all of whose items are good.
    pub(crate) fn list<T>(&self, reader: impl Fn(&Self) -> Option<T>) -> Option<Vec<At<T>>> {
        let Some(items) = self.value.get_ref().as_array() else { return self.must("a list", None) };
        let read: Vec<Option<At<T>>> = items
            .iter()
            .map(|item| {
                let value = reader(&Self { key: self.key, value: item, notes: self.notes })?;
                Some(At { value, span: item.span() })
            })
            .collect();
        // Collected in two steps, so that every item is looked at.
        read.into_iter().collect()
    }

    /// A table.
    pub(crate) fn table<T>(&self, reader: impl FnOnce(&Table<'a>) -> T) -> Option<T> {
        match self.value.get_ref() {
            DeValue::Table(entries) => Some(Table::read(entries, self.span(), self.notes, reader)),
            _ => self.must("a table", None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let source = Arc::new(Source { name: "f".to_owned(), text: text.to_owned() });
        let ((), found) = read(&source, |root| {
            root.required("name", |v| v.text_that("a text in quotation marks"));
            root.optional("count", |v| v.integer(1..=10));
            root.optional("often", |v| {
                v.duration(Duration::from_secs(1)..=Duration::from_secs(3600))
            });
            root.optional("colour", |v| v.choice(&[("red", 1), ("green", 2), ("blue", 3)]));
            root.optional("list", |v| v.list(Value::boolean));
            root.table("inner", |t| t.optional("x", |v| v.boolean()).into_value());
            root.tables("many", |t| t.required("y", |v| v.boolean()).into_value());
        });
        let mut found = found.0;
        found.sort_by_key(Diagnostic::line);
        found.iter().map(Diagnostic::headline).collect()
    }

    #[test]
    fn a_good_document_has_no_problems() {
        let text = "name = \"a\"\ncount = 0xa\noften = \"5m\"\ncolour = \"red\"\nlist = [true]\n\
                    inner = { x = true }\n[[many]]\ny = true\n[[many]]\ny = false\n";
        assert_eq!(problems(text), Vec::<String>::new());
    }

    #[test]
    fn every_mistake_is_found_at_its_place() {
        let text = "name = 1\ncount = 11\noften = \"2h\"\ncolour = \"gren\"\nlist = [1, true, 2]\ncolor = 1\n\
                    [inner]\nz = 1\n[[many]]\n";
        let expected = [
            "f:1:8: name must be a text in quotation marks, got `1`",
            "f:2:9: count must be a whole number from 1 to 10, got `11`",
            "f:3:9: often must be from 1s to 1h, got `2h`",
            "f:4:10: colour must be `red`, `green` or `blue`, got `gren`",
            "f:5:9: list must be `true` or `false`, got `1`",
            "f:5:18: list must be `true` or `false`, got `2`",
            "f:6:1: unknown key `color`",
            "f:8:1: unknown key `z`",
            "f:9:1: y is missing",
        ];
        assert_eq!(problems(text), expected);
    }

    #[test]
    fn a_syntax_error_does_not_hide_other_mistakes_and_has_no_consequences() {
        let found = problems("nam\ncount = 11\nlist = [true,, true]\nz = 3\n[inner\nx = 1\n");
        assert_eq!(found.len(), 5, "{found:#?}");
        assert!(found[0].starts_with("f:1:"), "{found:#?}");
        assert_eq!(found[1], "f:2:9: count must be a whole number from 1 to 10, got `11`");
        assert!(found[2].starts_with("f:3:"), "{found:#?}");
        assert_eq!(found[3], "f:4:1: unknown key `z`");
        assert!(found[4].starts_with("f:5:"), "{found:#?}");
    }

    #[test]
    fn a_misspelt_key_is_neither_missing_nor_left_out() {
        assert_eq!(
            problems("nmae = \"a\"\n[[many]]\nyy = true\n"),
            ["f:1:1: unknown key `nmae`", "f:3:1: unknown key `yy`"]
        );
        let source =
            Arc::new(Source { name: "f".to_owned(), text: "[realms]\nx = 1\n".to_owned() });
        let (realm, found) = read(&source, |root| root.required_table("realm", |_| ()));
        assert!(realm.is_wrong());
        let text = found.text(&annotate_snippets::Renderer::plain());
        assert_eq!(found.0.len(), 1, "{text}");
        assert!(text.contains("did you mean `[realm]`?"), "{text}");
        // One known key is like another, which is missing all the same.
        let source =
            Arc::new(Source { name: "f".to_owned(), text: "max_lifetime = 1\n".to_owned() });
        let (_, found) = read(&source, |root| {
            root.required("lifetime", |v| v.integer(1..=2));
            root.optional("max_lifetime", |v| v.integer(1..=2));
        });
        assert_eq!(found.0[0].message, "lifetime is missing");
    }

    #[test]
    fn the_line_of_a_secret_is_not_shown() {
        for text in ["client_secret = \"hunter2\"\n", "password = \"hunter2\n"] {
            let source = Arc::new(Source { name: "f".to_owned(), text: text.to_owned() });
            let ((), found) = read(&source, |_| ());
            assert!(found.has_errors());
            let shown = found.text(&annotate_snippets::Renderer::plain());
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
