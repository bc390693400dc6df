//! Words that no tracked file may have in it: they hold on one machine only.

use std::process::Command;

use crate::command::output;
use crate::{Problem, root};

/// In two parts each, so that this file passes its own check.
const FORBIDDEN: [(&str, &str); 4] =
    [("/wo", "rk/"), ("/ro", "ot/"), ("/fa", "rm/"), ("replace-", "with")];

/// Reads every tracked file.
pub(crate) fn check() -> Result<(), Problem> {
    let mut words: Vec<String> = FORBIDDEN.iter().map(|(a, b)| format!("{a}{b}")).collect();
    words.extend(root().to_str().map(str::to_owned));
    let files = output(Command::new("git").current_dir(root()).args(["ls-files", "-z"]))?;
    let mut found = Vec::new();
    for file in files.split('\0').filter(|file| !file.is_empty()) {
        // What is tracked and gone is not there to be read; what is no text has no words.
        let Ok(text) = std::fs::read_to_string(root().join(file)) else { continue };
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(word) = words.iter().find(|word| stands_in(line, word)) {
                found.push(format!("{file}:{number}: {word}"));
            }
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    Err(format!("these lines hold on one machine only:\n{}", found.join("\n")))
}

/// Whether a line has the word, and not as the end of a longer path or name.
fn stands_in(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '}'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_only_where_a_path_begins() {
        assert!(stands_in("see /srv/a", "/srv/"));
        assert!(stands_in("\"/srv/a\"", "/srv/"));
        assert!(stands_in("/srv/a", "/srv/"));
        assert!(!stands_in("https://example.com/srv/a", "/srv/"));
        assert!(!stands_in("../srv/a", "/srv/"));
        assert!(!stands_in("no path", "/srv/"));
    }
}
