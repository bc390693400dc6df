//! `tokenry apply`: makes what realm files declare so.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use tokenry_store::StoreError;

use super::Outcome;
use crate::args::Global;
use crate::diagnostic::Diagnostics;
use crate::edge;
use crate::installation::{ATTEMPTS, Installation, Read, store_failed};
use crate::output::Output;
use crate::plan::Plan;
use crate::realm_file::Drafts;

/// Makes what realm files declare so: prints the plan, then carries it out.
///
/// All files together are one change: either all of it happens or nothing. What is so already is left alone, so that
/// applying a second time does nothing. Secrets, users and clients that no file declares stay, and so does `enabled`
/// where a file does not say it. It works while the server runs.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Realm files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print the plan and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Remove the clients of these realms that no file declares, with their secrets.
    #[arg(long)]
    prune: bool,
}

pub(crate) async fn run(arguments: &Arguments, global: &Global, output: Output) -> Outcome {
    let mut diagnostics = Diagnostics::default();
    let drafts = Drafts::read(&arguments.files, &mut diagnostics);
    let installation = Installation::open_noting(global, Read::Whole, &mut diagnostics).await;
    let stored = installation.as_ref().map_or(&[][..], |i| &i.snapshot.realms);
    drafts.check_with(stored, &mut diagnostics);
    let Some(installation) = installation.filter(|_| !diagnostics.has_errors()) else {
        return Err(diagnostics);
    };
    output.complain(&diagnostics);

    let declarations = drafts.into_declarations();
    // One moment for all comparisons, so that a plan is not another one for being made a second later.
    let now = edge::now();
    let plan = Plan::new(&declarations, &installation.snapshot, arguments.prune, now);
    let applied = !arguments.dry_run && !plan.is_empty();
    if !output.is_json() && !plan.text().is_empty() {
        // Nobody agrees to what could not be shown.
        output.answer(&Value::Null, || plan.text())?;
    }
    if applied {
        carry_out(&installation, &plan, |snapshot| {
            Plan::new(&declarations, snapshot, arguments.prune, now)
        })
        .await?;
    }
    let mut json = plan.json();
    json["applied"] = json!(applied);
    json["dry_run"] = json!(arguments.dry_run);
    json["nothing_to_do"] = json!(plan.is_empty());
    output.done(&json, || match (plan.is_empty(), arguments.dry_run) {
        (true, _) => "nothing to do".to_owned(),
        (false, true) => "nothing was changed, since this is a dry run".to_owned(),
        (false, false) => "done".to_owned(),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Makes the changes of the plan that was printed, and no others.
async fn carry_out(
    installation: &Installation,
    plan: &Plan,
    again: impl Fn(&tokenry_store::Snapshot) -> Plan,
) -> Result<(), Diagnostics> {
    let mut expected = installation.snapshot.revision;
    for _ in 1..ATTEMPTS {
        match installation.change(plan.changes(), Some(expected)).await {
            Err(StoreError::Conflict) => {
                let now = installation.store.load().await.map_err(|error| store_failed(&error))?;
                if again(&now) != *plan {
                    break;
                }
                expected = now.revision;
            }
            other => return other.map(drop).map_err(|error| store_failed(&error).into()),
        }
    }
    Err(store_failed(&StoreError::Conflict).into())
}
