//! `tokenry verify --check`: says that the settings are good, and what the proxy has to do for them.

use std::process::ExitCode;

use serde_json::json;

use super::settings::Settings;
use crate::commands::Outcome;
use crate::diagnostic::{Diagnostic, plain};
use crate::output::Output;

/// Tells what was read. What is wrong with the file was said before; here the verifier is asked, too.
pub(super) fn run(settings: &Settings, output: Output) -> Outcome {
    // Nothing that the verifier begins runs in here, so that no issuer is asked.
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| {
        Diagnostic::error(format!("the operating system gives no threads: {}", plain(&error)))
    })?;
    let built = {
        let _entered = runtime.enter();
        settings.verifier().map(drop)
    };
    // It cannot be waited for here, and there is nothing to wait for.
    runtime.shutdown_background();
    built.map_err(|error| Diagnostic::error(error.to_string()))?;
    let headers: Vec<&str> = settings.headers.0.iter().map(|(name, _)| name.as_str()).collect();
    let issuers: Vec<&str> = settings.issuers.iter().map(|it| it.issuer.as_str()).collect();
    let rules = settings.rules.len();
    let json = json!({ "issuers": issuers, "rules": rules, "headers": headers });
    output.answer(&json, || {
        let rules = match rules {
            0 => "no rules: every path is alike".to_owned(),
            many => format!("rules: {many}; nobody gets to what none of them is for"),
        };
        format!(
            "the settings are good\nissuers: {}\n{rules}\nheaders that the proxy has to overwrite: {}",
            issuers.join(", "),
            headers.join(", ")
        )
    })?;
    Ok(ExitCode::SUCCESS)
}
