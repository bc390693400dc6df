//! What was found, step by step.

use serde_json::{Map, Value, json};

use crate::diagnostic::Diagnostic;
use crate::output::table;

/// How it stands with one thing.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(in crate::commands) enum Verdict {
    Ok,
    /// It works, and not everywhere or not for ever.
    Warning,
    /// It does not work.
    Wrong,
}

impl Verdict {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Wrong => "wrong",
        }
    }
}

/// One thing that was looked at. It never holds a token or a secret.
#[derive(Clone, Debug)]
pub(in crate::commands) struct Finding {
    pub(in crate::commands) what: &'static str,
    pub(in crate::commands) verdict: Verdict,
    pub(in crate::commands) text: String,
    /// What to do about it.
    pub(in crate::commands) help: Option<String>,
}

impl Finding {
    pub(in crate::commands) fn ok(what: &'static str, text: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Ok, text: text.into(), help: None }
    }

    pub(in crate::commands) fn warning(
        what: &'static str,
        text: impl Into<String>,
        help: &str,
    ) -> Self {
        Self { verdict: Verdict::Warning, help: Some(help.to_owned()), ..Self::ok(what, text) }
    }

    pub(in crate::commands) fn wrong(
        what: &'static str,
        text: impl Into<String>,
        help: &str,
    ) -> Self {
        Self { verdict: Verdict::Wrong, ..Self::warning(what, text, help) }
    }

    /// What kept a step from being taken.
    pub(in crate::commands) fn of(what: &'static str, diagnostic: &Diagnostic) -> Self {
        let help = diagnostic.help_text().map(str::to_owned);
        Self { help, verdict: Verdict::Wrong, ..Self::ok(what, diagnostic.message.as_str()) }
    }
}

/// Everything that was found.
#[derive(Debug, Default)]
pub(in crate::commands) struct Report {
    pub(in crate::commands) findings: Vec<Finding>,
    /// Header and claims of the token, if it has any.
    pub(in crate::commands) token: Option<(Map<String, Value>, Map<String, Value>)>,
}

impl Report {
    pub(in crate::commands) fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Whether something does not work.
    pub(in crate::commands) fn is_bad(&self) -> bool {
        self.findings.iter().any(|finding| finding.verdict == Verdict::Wrong)
    }

    pub(in crate::commands) fn json(&self) -> Value {
        let finding = |finding: &Finding| {
            let Finding { what, verdict, text, help } = finding;
            json!({ "what": what, "verdict": verdict.name(), "text": text, "help": help })
        };
        let findings: Vec<Value> = self.findings.iter().map(finding).collect();
        let token = self.token.as_ref();
        let token = token.map(|(header, claims)| json!({ "header": header, "claims": claims }));
        json!({ "findings": findings, "token": token })
    }

    pub(in crate::commands) fn text(&self) -> String {
        let mut text = String::new();
        if let Some((header, claims)) = &self.token {
            let rows = |part: &'static str, members: &Map<String, Value>| -> Vec<[String; 3]> {
                let row = |(name, value): (&String, &Value)| {
                    [part.to_owned(), printable(name), shown(name, value)]
                };
                members.iter().map(row).collect()
            };
            let rows = rows("header", header).into_iter().chain(rows("claims", claims));
            text = table(["TOKEN", "NAME", "VALUE"], rows) + "\n\n";
        }
        for Finding { what, verdict, text: found, help } in &self.findings {
            text.push_str(&format!("{:<8} {what}: {}\n", verdict.name(), printable(found)));
            if let Some(help) = help {
                text.push_str(&format!("         {}\n", printable(help)));
            }
        }
        text
    }
}

/// A value for people: a time with its date.
fn shown(name: &str, value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let secs = value.as_u64().filter(|_| matches!(name, "exp" | "iat" | "nbf" | "auth_time"));
    let date = secs.map(|secs| crate::edge::date(tokenry_core::Timestamp::from_secs(secs)));
    printable(&date.map_or_else(|| text.clone(), |date| format!("{text} ({date})")))
}

/// What others wrote, on one line of the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_debug().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}
