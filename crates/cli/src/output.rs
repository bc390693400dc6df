//! Where answers and complaints go: the answer to standard output, what is wrong to standard error, each as text or as
//! one JSON object.

use std::io::{self, IsTerminal as _, Write as _};

use annotate_snippets::Renderer;
use comfy_table::{Table, presets};
use serde_json::Value;

use crate::args::Format;
use crate::diagnostic::Diagnostics;

/// How to answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    format: Format,
}

impl Output {
    pub(crate) const fn new(format: Format) -> Self {
        Self { format }
    }

    /// Whether the answer is JSON.
    pub(crate) fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// Prints the answer.
    pub(crate) fn answer(self, json: &Value, text: impl FnOnce() -> String) {
        let text = if self.is_json() { json.to_string() } else { text() };
        print(&text);
    }

    /// Prints something beside the answer that only people need.
    pub(crate) fn note(self, text: &str) {
        if !self.is_json() {
            // A closed standard error is no reason to stop.
            let _ = writeln!(io::stderr().lock(), "{text}");
        }
    }

    /// Prints what is wrong.
    pub(crate) fn complain(self, diagnostics: &Diagnostics) {
        if diagnostics.0.is_empty() {
            return;
        }
        let text = if self.is_json() {
            diagnostics.json().to_string()
        } else {
            let plain = !io::stderr().is_terminal() || std::env::var_os("NO_COLOR").is_some();
            diagnostics.text(&if plain { Renderer::plain() } else { Renderer::styled() })
        };
        let _ = writeln!(anstream::stderr().lock(), "{text}");
    }
}

/// Prints a line to standard output. Whoever closed it has read enough.
pub(crate) fn print(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{}", text.trim_end());
}

/// A table with a head.
pub(crate) fn table<const N: usize>(
    head: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    // Nothing is wrapped: an identifier over two lines cannot be copied.
    table.load_style(presets::NOTHING).set_header(head);
    for row in rows {
        table.add_row(row);
    }
    let trimmed = |line: String| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned();
    table.lines().map(trimmed).collect::<Vec<_>>().join("\n")
}
