//! Where answers and complaints go: the answer to standard output, what is wrong to standard error, each as text or as
//! one JSON object.

use std::io::{self, IsTerminal as _, Write as _};

use annotate_snippets::Renderer;
use comfy_table::{Table, presets};
use serde_json::Value;

use crate::args::Format;
use crate::diagnostic::{Diagnostic, Diagnostics, plain};

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

    /// Prints the answer of a command that has changed nothing. Whoever stopped reading, such as `head`, has read
    /// enough.
    pub(crate) fn answer(
        self,
        json: &Value,
        text: impl FnOnce() -> String,
    ) -> Result<(), Diagnostic> {
        match self.write(json, text) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(unwritten(&error)),
            _ => Ok(()),
        }
    }

    /// Prints the answer of a command that has done what it was asked for.
    pub(crate) fn done(
        self,
        json: &Value,
        text: impl FnOnce() -> String,
    ) -> Result<(), Diagnostic> {
        self.answer(json, text)
            .map_err(|error| error.help("it was done all the same; only the answer is lost"))
    }

    /// Prints something that is never shown again: whoever does not read it to its end has not got it.
    pub(crate) fn reveal(
        self,
        json: &Value,
        text: impl FnOnce() -> String,
    ) -> Result<(), Diagnostic> {
        self.write(json, text).map_err(|error| unwritten(&error))
    }

    fn write(self, json: &Value, text: impl FnOnce() -> String) -> io::Result<()> {
        let text = if self.is_json() { json.to_string() } else { text() };
        if is_closed() {
            return Err(io::Error::other("it is closed"));
        }
        write_line(&text)
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
    let _ = write_line(text);
}

fn write_line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.trim_end())?;
    out.flush()
}

fn unwritten(error: &io::Error) -> Diagnostic {
    Diagnostic::error(format!("the answer cannot be written to standard output: {}", plain(error)))
}

/// Whether the process was started without a standard output.
///
/// The standard library then opens the null device in its place, for reading and writing, so that nothing else gets
/// its number. Whoever means the null device (`> /dev/null`) opens it for writing alone.
#[cfg(unix)]
fn is_closed() -> bool {
    use std::io::Read as _;
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::MetadataExt as _;
    let Ok(copy) = io::stdout().as_fd().try_clone_to_owned() else { return true };
    let mut out = std::fs::File::from(copy);
    let device = |metadata: io::Result<std::fs::Metadata>| metadata.map(|m| m.rdev()).ok();
    let null = device(std::fs::metadata("/dev/null"));
    null.is_some_and(|null| null != 0)
        && device(out.metadata()) == null
        && out.read(&mut [0]).is_ok()
}

#[cfg(not(unix))]
const fn is_closed() -> bool {
    false
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
