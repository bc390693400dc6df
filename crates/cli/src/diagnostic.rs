//! What is wrong, where, and what to do about it: shown all at once, as text with the line in question or as JSON.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value, json};

/// How many are shown; beyond that nobody reads on, and a binary file taken for TOML has thousands.
const MAX_SHOWN: usize = 50;

/// How much of a value is repeated in a message.
const MAX_QUOTED: usize = 80;

/// A file as read.
#[derive(Debug)]
pub(crate) struct Source {
    /// The path as the operator wrote it.
    pub(crate) name: String,
    /// Its content.
    pub(crate) text: String,
}

/// The largest configuration or realm file that is read: some ten thousand clients.
const MAX_FILE_LEN: u64 = 8 * 1024 * 1024;

impl Source {
    /// Reads a file; the error says what to do.
    pub(crate) fn read(path: &Path) -> Result<Arc<Self>, Diagnostic> {
        let name = path.display().to_string();
        let problem =
            |e: &std::io::Error| Diagnostic::error(format!("{name}: cannot be read: {}", plain(e)));
        let length = std::fs::metadata(path).map_err(|e| problem(&e))?.len();
        if length > MAX_FILE_LEN {
            return Err(Diagnostic::error(format!("{name}: larger than {MAX_FILE_LEN} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|e| problem(&e))?;
        Ok(Arc::new(Self { name, text }))
    }

    /// Line and column, both counted in characters from 1.
    fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// The part of `span` that lies on its first line, made at least one character long where there is one.
    fn first_line(&self, span: &Range<usize>) -> Range<usize> {
        let start = span.start.min(self.text.len());
        let rest = &self.text[start..];
        let line = rest.find(['\n', '\r']).unwrap_or(rest.len());
        let first = rest[..line].chars().next().map_or(0, char::len_utf8);
        start..start + span.len().clamp(first, line.max(first))
    }
}

/// An I/O error without Rust's `(os error 2)`.
pub(crate) fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |c| c.to_lowercase().chain(chars).collect())
}

/// A value as it is repeated in a message: in backquotes, on one line, cut where it is long.
pub(crate) fn quoted(value: &str) -> String {
    let mut text: String = value.chars().take(MAX_QUOTED).flat_map(char::escape_debug).collect();
    if value.chars().nth(MAX_QUOTED).is_some() {
        text.push('…');
    }
    // Quotation marks need no backslash here, since backquotes delimit.
    format!("`{}`", text.replace("\\\"", "\"").replace("\\'", "'"))
}

/// Whether it stops the command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Severity {
    Error,
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub(crate) struct Diagnostic {
    pub(crate) severity: Severity,
    pub(crate) message: String,
    place: Option<(Arc<Source>, Range<usize>)>,
    help: Option<String>,
    /// Whether the line itself stays unseen, because it may hold a secret.
    hidden: bool,
    /// Whether it may only be a consequence of a syntax error elsewhere.
    pub(crate) consequence: bool,
}

impl Diagnostic {
    /// Something that stops the command.
    pub(crate) fn error(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            place: None,
            help: None,
            hidden: false,
            consequence: false,
        }
    }

    /// Something that the operator should know.
    pub(crate) fn warning(message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(message) }
    }

    /// Where it is.
    pub(crate) fn at(mut self, source: &Arc<Source>, span: Range<usize>) -> Self {
        let span = source.first_line(&span);
        self.place = Some((Arc::clone(source), span));
        self
    }

    /// What to do about it.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// What was said to do about it.
    pub(crate) fn help_text(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// Keeps the line itself unseen.
    pub(crate) const fn hide_source(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// The line it is on, counted from 1; 0 where it is in no file.
    pub(crate) fn line(&self) -> usize {
        self.place.as_ref().map_or(0, |(source, span)| source.position(span.start).0)
    }

    /// `realm.toml:4:10: issuer must be an https URL, got ...`
    pub(crate) fn headline(&self) -> String {
        let level = match (self.severity, &self.place) {
            (Severity::Warning, _) => "warning: ",
            (Severity::Error, None) => "error: ",
            (Severity::Error, Some(_)) => "",
        };
        match &self.place {
            None => format!("{level}{}", self.message),
            Some((source, span)) => {
                let (line, column) = source.position(span.start);
                format!("{}:{line}:{column}: {level}{}", source.name, self.message)
            }
        }
    }

    fn render(&self, renderer: &Renderer) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.no_name().primary_title(self.headline());
        let (Some((source, span)), false) = (&self.place, self.hidden) else {
            let help =
                self.help.as_ref().map_or_else(String::new, |help| format!("\n  help: {help}"));
            return renderer.render(&[Group::with_title(title)]) + &help;
        };
        let mark = AnnotationKind::Primary.span(span.clone());
        let mut report = title.element(Snippet::source(source.text.as_str()).annotation(mark));
        if let Some(help) = &self.help {
            report = report.element(Level::HELP.message(help.as_str()));
        }
        renderer.render(&[report])
    }

    fn json(&self) -> Value {
        let mut value = json!({ "message": self.message });
        if let Some((source, span)) = &self.place {
            let (line, column) = source.position(span.start);
            value["file"] = json!(source.name);
            value["line"] = json!(line);
            value["column"] = json!(column);
        }
        if let Some(help) = &self.help {
            value["help"] = json!(help);
        }
        value
    }
}

impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.headline())
    }
}

impl std::error::Error for Diagnostic {}

/// Everything that is wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct Diagnostics(pub(crate) Vec<Diagnostic>);

impl Diagnostics {
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    pub(crate) fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    /// Whether the command has to stop.
    pub(crate) fn has_errors(&self) -> bool {
        self.0.iter().any(|d| d.severity == Severity::Error)
    }

    /// File by file and line by line; first what is in no file.
    fn sorted(&self) -> Vec<&Diagnostic> {
        let mut sorted: Vec<&Diagnostic> = self.0.iter().collect();
        sorted.sort_by_key(|d| {
            d.place.as_ref().map(|(source, span)| (source.name.as_str(), span.start))
        });
        sorted
    }

    /// As text.
    pub(crate) fn text(&self, renderer: &Renderer) -> String {
        let shown = self.sorted();
        let more = shown.len().saturating_sub(MAX_SHOWN);
        let mut text: Vec<String> =
            shown.iter().take(MAX_SHOWN).map(|d| d.render(renderer)).collect();
        if more > 0 {
            text.push(format!("and {more} more"));
        }
        text.join("\n")
    }

    /// As `{"errors":[{"message":…,"file":…,"line":…,"column":…,"help":…}],"warnings":[…]}`.
    pub(crate) fn json(&self) -> Value {
        let of = |severity| -> Vec<Value> {
            self.sorted()
                .into_iter()
                .filter(|d| d.severity == severity)
                .map(Diagnostic::json)
                .collect()
        };
        json!({ "errors": of(Severity::Error), "warnings": of(Severity::Warning) })
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

/// Which of `known` was probably meant by `written`.
pub(crate) fn did_you_mean<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let written = written.to_lowercase();
    let limit = (written.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| (strsim::osa_distance(&written, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_counted_in_characters_from_one() {
        let source = Source { name: "f".to_owned(), text: "ä = 1\nüü = \"x\"\n".to_owned() };
        assert_eq!(source.position(0), (1, 1));
        assert_eq!(source.position(source.text.find("\"x").unwrap()), (2, 6));
        assert_eq!(source.position(source.text.len()), (3, 1));
    }

    #[test]
    fn the_headline_names_file_line_and_column() {
        let source = Arc::new(Source {
            name: "realm.toml".to_owned(),
            text: "[realm]\nissuer = 1\n".to_owned(),
        });
        let diagnostic =
            Diagnostic::error("issuer is wrong").at(&source, 17..18).help("write another");
        let text = Diagnostics::from(diagnostic.clone()).text(&Renderer::plain());
        assert!(text.starts_with("realm.toml:2:10: issuer is wrong\n"), "{text}");
        assert!(text.contains("issuer = 1") && text.contains('^'), "{text}");
        assert!(text.contains("help: write another"), "{text}");
        let hidden = Diagnostics::from(diagnostic.hide_source()).text(&Renderer::plain());
        assert!(!hidden.contains("issuer = 1"), "{hidden}");
    }

    #[test]
    fn a_span_beyond_its_line_is_cut() {
        let source = Source { name: "f".to_owned(), text: "ab\ncd".to_owned() };
        assert_eq!(source.first_line(&(0..5)), 0..2);
        assert_eq!(source.first_line(&(5..5)), 5..5);
        assert_eq!(source.first_line(&(3..3)), 3..4);
        assert_eq!(source.first_line(&(9..12)), 5..5);
    }

    #[test]
    fn what_is_nearly_a_known_name_is_recognized() {
        let known = ["issuer", "aliases", "token_type"];
        assert_eq!(did_you_mean("isuer", known), Some("issuer"));
        assert_eq!(did_you_mean("tokentype", known), Some("token_type"));
        assert_eq!(did_you_mean("Issuer", known), Some("issuer"));
        assert_eq!(did_you_mean("colour", known), None);
    }
}
