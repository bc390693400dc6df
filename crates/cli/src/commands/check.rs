//! `tokenry check`: looks whether everything is good, and changes nothing.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{Outcome, serve};
use crate::args::Global;
use crate::config::Config;
use crate::diagnostic::Diagnostics;
use crate::installation::{Installation, Missing};
use crate::output::Output;
use crate::realm_file::Drafts;

/// Looks whether configuration, store, master key, certificates and realm files are good.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Realm files to look at too.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(crate) async fn run(arguments: &Arguments, global: &Global, output: Output) -> Outcome {
    let mut diagnostics = Diagnostics::default();
    let drafts = Drafts::read(&arguments.files, &mut diagnostics);
    if let Some(config) = Config::read(&global.config, &mut Diagnostics::default())
        && let Err(bad) = serve::tls(&config)
    {
        diagnostics.append(bad);
    }
    let installation = Installation::open_noting(global, Missing::Refuse, &mut diagnostics).await;
    let stored = installation.as_ref().map_or(&[][..], |i| &i.snapshot.realms);
    drafts.check_with(stored, &mut diagnostics);
    let Some(installation) = installation.filter(|_| !diagnostics.has_errors()) else {
        return Err(diagnostics);
    };
    output.complain(&diagnostics);

    let declared: Vec<String> =
        drafts.into_declarations().into_iter().map(|d| d.realm.name).collect();
    let snapshot = &installation.snapshot;
    let config = &installation.config;
    let json = json!({
        "ok": true,
        "listen": config.listen.value.to_string(),
        "tls": config.tls.is_some(),
        "store": config.store.value,
        "realms": snapshot.realms.iter().map(|r| &r.name).collect::<Vec<_>>(),
        "clients": snapshot.clients.len(),
        "users": snapshot.users.len(),
        "declared_realms": declared,
    });
    output.answer(&json, || {
        let tls = if config.tls.is_some() { "TLS" } else { "plain HTTP" };
        let mut lines = vec![
            format!(
                "configuration {}: good; {tls} on {}",
                global.config.display(),
                config.listen.value
            ),
            format!(
                "store {}: good; realms {}, clients {}, users {}",
                config.store.value,
                snapshot.realms.len(),
                snapshot.clients.len(),
                snapshot.users.len()
            ),
        ];
        lines.extend(
            arguments
                .files
                .iter()
                .zip(&declared)
                .map(|(file, realm)| format!("realm file {}: good; realm {realm}", file.display())),
        );
        lines.push("OK".to_owned());
        lines.join("\n")
    });
    Ok(ExitCode::SUCCESS)
}
