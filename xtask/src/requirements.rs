//! Which rows of the requirements are proven, by which tests.
//!
//! A test proves a row by carrying its number in its name: `row_117_row_118_what_a_rotation_may_answer`. The page
//! `docs/requirements.md` says what is proven; a row that loses its test changes that page, and the check fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::{Problem, root};

const ROWS: &str = include_str!("../requirements/rows.tsv");
const OUT_OF_SCOPE: &str = include_str!("../requirements/out_of_scope.tsv");
const PAGE: &str = "docs/requirements.md";

/// Where tests are.
const FOLDERS: [&str; 4] = ["crates", "examples", "fuzz", "interop"];

const SECTIONS: [(&str, &str); 15] = [
    ("B.1", "Token endpoint: HTTP and forms"),
    ("B.2", "Client authentication"),
    ("B.3", "JWT assertions"),
    ("B.4", "Mutual TLS and SPIFFE"),
    ("B.5", "Grants"),
    ("B.6", "What access tokens hold"),
    ("B.7", "JWKS and discovery"),
    ("B.8", "Introspection and revocation"),
    ("B.9", "DPoP"),
    ("B.10", "Resource server"),
    ("B.11", "Keeper"),
    ("B.12", "Dynamic registration"),
    ("B.13", "FAPI 2.0"),
    ("B.14", "Attestation-based client authentication"),
    ("B.15", "Operation"),
];

/// One row: what a standard obliges, or what we decided.
#[derive(Debug)]
struct Row {
    number: u16,
    section: &'static str,
    /// M must, S should, D decided here, N draft or optional.
    level: &'static str,
    source: &'static str,
    given: &'static str,
    expected: &'static str,
}

/// What is known of a row.
#[derive(Debug, Eq, PartialEq)]
enum Standing<'a> {
    /// These tests fail where it does not hold.
    Proven(&'a BTreeSet<String>),
    /// It is not meant to hold.
    OutOfScope(&'static str),
    Open,
}

/// Prints how many rows are proven, and those that are open; with `write`, writes the page.
pub(crate) fn run(args: &[String]) -> Result<(), Problem> {
    let (mut write, mut open) = (false, false);
    for arg in args {
        match arg.as_str() {
            "--write" => write = true,
            "--open" => open = true,
            other => return Err(format!("`requirements` has no option `{other}`")),
        }
    }
    let known = Known::read()?;
    print!("{}", known.summary());
    if open {
        println!();
        known.open().for_each(|row| {
            println!(
                "{:>3} {} {:<5} {} → {}",
                row.number, row.level, row.section, row.given, row.expected
            );
        });
    }
    if write {
        let page = root().join(PAGE);
        std::fs::write(&page, known.page()).map_err(|e| format!("{}: {e}", page.display()))?;
        println!("written: {PAGE}");
    }
    Ok(())
}

/// Fails where the page does not say what is: a proven row has lost its test, or has gained one.
pub(crate) fn check() -> Result<(), Problem> {
    let known = Known::read()?;
    let page = std::fs::read_to_string(root().join(PAGE)).unwrap_or_default();
    if page == known.page() {
        return Ok(());
    }
    let lost: Vec<String> = known
        .rows
        .iter()
        .filter(|row| known.standing(row) == Standing::Open)
        .filter(|row| {
            page.lines()
                .any(|l| l.starts_with(&format!("| {} |", row.number)) && l.contains("`row_"))
        })
        .map(|row| row.number.to_string())
        .collect();
    let what = if lost.is_empty() {
        format!("{PAGE} is not up to date")
    } else {
        format!("no test proves row {} any more", lost.join(", "))
    };
    Err(format!("{what}; `cargo xtask requirements --write` writes the page anew"))
}

/// All rows, and what proves them.
struct Known {
    rows: Vec<Row>,
    proofs: BTreeMap<u16, BTreeSet<String>>,
    out_of_scope: BTreeMap<u16, &'static str>,
}

impl Known {
    fn read() -> Result<Self, Problem> {
        let rows = lines(ROWS).map(Row::read).collect::<Result<Vec<_>, _>>()?;
        let mut out_of_scope = BTreeMap::new();
        for line in lines(OUT_OF_SCOPE) {
            let (number, reason) =
                line.split_once('\t').ok_or("a row out of scope needs a reason")?;
            out_of_scope
                .insert(number.parse().map_err(|_| format!("no number: {number}"))?, reason);
        }
        let mut proofs: BTreeMap<u16, BTreeSet<String>> = BTreeMap::new();
        for folder in FOLDERS {
            for file in sources(&root().join(folder))? {
                let text = std::fs::read_to_string(&file)
                    .map_err(|e| format!("{}: {e}", file.display()))?;
                for test in tests(&text) {
                    for number in numbers(test) {
                        proofs.entry(number).or_default().insert(test.to_owned());
                    }
                }
            }
        }
        let known = Self { rows, proofs, out_of_scope };
        let unknown = |number: &&u16| !known.rows.iter().any(|row| row.number == **number);
        if let Some(number) = known.proofs.keys().chain(known.out_of_scope.keys()).find(unknown) {
            return Err(format!("there is no row {number}"));
        }
        if let Some(number) = known.out_of_scope.keys().find(|n| known.proofs.contains_key(n)) {
            return Err(format!("row {number} is out of scope, and a test proves it"));
        }
        Ok(known)
    }

    fn standing(&self, row: &Row) -> Standing<'_> {
        match (self.proofs.get(&row.number), self.out_of_scope.get(&row.number)) {
            (Some(tests), _) => Standing::Proven(tests),
            (None, Some(reason)) => Standing::OutOfScope(reason),
            (None, None) => Standing::Open,
        }
    }

    fn open(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| self.standing(row) == Standing::Open)
    }

    /// Rows proven, out of scope and open, of a section.
    fn count(&self, section: &str) -> (usize, usize, usize) {
        let mut count = (0, 0, 0);
        for row in self.rows.iter().filter(|row| row.section == section) {
            match self.standing(row) {
                Standing::Proven(_) => count.0 += 1,
                Standing::OutOfScope(_) => count.1 += 1,
                Standing::Open => count.2 += 1,
            }
        }
        count
    }

    fn summary(&self) -> String {
        let mut text = String::new();
        let mut total = (0, 0, 0);
        for (section, title) in SECTIONS {
            let (proven, out, open) = self.count(section);
            total = (total.0 + proven, total.1 + out, total.2 + open);
            let _ = writeln!(
                text,
                "{section:<5}{title:<42}{proven:>4} proven {out:>3} out of scope {open:>3} open"
            );
        }
        let (proven, out, open) = total;
        let _ =
            writeln!(text, "{:<47}{proven:>4} proven {out:>3} out of scope {open:>3} open", "all");
        text
    }

    fn page(&self) -> String {
        let mut text = String::from(
            "# Requirements\n\n\
             What the standards oblige, row by row, and the tests that prove it. A test that carries a row's number fails\n\
             where the row does not hold. Written by `cargo xtask requirements --write`.\n\n\
             M: must. S: should. D: decided here, where the standards are silent. N: a draft, or optional. Numbers with\n\
             `§` are RFCs; 2.1 is the draft of OAuth 2.1. T, I, R, K, D and G are the endpoints for tokens, introspection,\n\
             revocation, keys, discovery and registration.\n\n\
             | section | proven | out of scope | open |\n| --- | --- | --- | --- |\n",
        );
        for (section, title) in SECTIONS {
            let (proven, out, open) = self.count(section);
            let _ = writeln!(text, "| {section} {title} | {proven} | {out} | {open} |");
        }
        for (section, title) in SECTIONS {
            let _ = write!(
                text,
                "\n## {section} {title}\n\n| row | | source | given | expected | proven by |\n| --- | --- | --- | --- | --- | --- |\n"
            );
            for row in self.rows.iter().filter(|row| row.section == section) {
                let Row { number, level, source, given, expected, .. } = row;
                let proof = match self.standing(row) {
                    Standing::Proven(tests) => tests
                        .iter()
                        .map(|test| format!("`{test}`"))
                        .collect::<Vec<_>>()
                        .join("<br>"),
                    Standing::OutOfScope(reason) => format!("out of scope: {reason}"),
                    Standing::Open => "open".to_owned(),
                };
                let _ = writeln!(
                    text,
                    "| {number} | {level} | {source} | {given} | {expected} | {proof} |"
                );
            }
        }
        text
    }
}

impl Row {
    fn read(line: &'static str) -> Result<Self, Problem> {
        let cells: Vec<_> = line.split('\t').collect();
        let [number, section, level, source, given, expected] = cells[..] else {
            return Err(format!("not six columns: {line}"));
        };
        let number = number.parse().map_err(|_| format!("no number: {number}"))?;
        Ok(Self { number, section, level, source, given, expected })
    }
}

fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The names of the tests in a source file that carry a row's number.
fn tests(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let at = line.trim_start();
        let rest = ["fn ", "async fn ", "def ", "async def "]
            .iter()
            .find_map(|before| at.strip_prefix(before))?;
        let rest = rest.strip_prefix("test_").unwrap_or(rest);
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
        rest.starts_with("row_").then_some(&rest[..end])
    })
}

/// The rows whose numbers a test carries.
fn numbers(test: &str) -> impl Iterator<Item = u16> {
    test.split("row_").skip(1).map_while(|rest| {
        let digits = rest.split('_').next()?;
        (digits.len() == 3).then(|| digits.parse().ok())?
    })
}

/// The source files below a folder, which may be missing.
fn sources(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.map_err(|e| format!("{}: {e}", folder.display()))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() {
                if !matches!(name, "target" | "node_modules" | "corpus") && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if ["rs", "py", "mjs", "go"]
                .iter()
                .any(|e| path.extension().is_some_and(|own| own == *e))
            {
                found.push(path);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_may_carry_several_numbers() {
        let text = "    async fn row_117_row_118_what(a: u8) {}\nfn other() {}\n// fn row_001_x()\n def test_row_002_y(self):\nfn row_3_z() {}\n";
        let names: Vec<_> = tests(text).collect();
        assert_eq!(names, ["row_117_row_118_what", "row_002_y", "row_3_z"]);
        let carried: Vec<Vec<u16>> = names.iter().map(|name| numbers(name).collect()).collect();
        assert_eq!(carried, [vec![117, 118], vec![2], vec![]]);
    }

    #[test]
    fn every_row_is_there_once_and_in_a_section() {
        let known = Known::read().unwrap();
        let numbers: Vec<u16> = known.rows.iter().map(|row| row.number).collect();
        assert_eq!(numbers, (1..=305).collect::<Vec<_>>());
        for row in &known.rows {
            assert!(SECTIONS.iter().any(|(section, _)| *section == row.section), "{}", row.number);
            assert!(["M", "S", "D", "N", "N/M"].contains(&row.level), "{}", row.number);
        }
        // Only what is a draft or optional may be out of scope.
        for number in known.out_of_scope.keys() {
            let row = known.rows.iter().find(|row| row.number == *number).unwrap();
            assert!(row.level.starts_with('N'), "{number}");
        }
    }
}
