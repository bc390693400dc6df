//! Token reuse: a client that asks again inside the window gets the same token, so no signature is made.

use super::{Bench, Line};
use crate::problem::{Problem, Result};
use crate::rounds::{Contender, interleave};
use crate::tokenry::{Realm, Serve, plan};

/// The share of a server that knows one answer and looks at nothing.
const TARGET: f64 = 0.6;

pub(super) async fn measure(bench: &mut Bench) -> Result<()> {
    let tokens = "reuse = \"30s\"";
    let realm = |name, signing| Realm { name, signing, tokens, refreshes: false };
    let names = ["rs256", "es256", "eddsa"];
    let realms = [realm("rs256", "RS256"), realm("es256", "ES256"), realm("eddsa", "EdDSA")];
    let installation = bench.installation(&realms).await.map_err(|_| {
        Problem::new("not available: `tokenry apply` refuses `reuse` in `[realm.tokens]`")
    })?;
    let core = bench.settings.server_core.clone();
    let server = installation.serve(Serve { cores: &core, tls: false, log_kept: false }).await?;
    let fixed = bench.bound("fixed", None).await?;
    let mut contenders = vec![Contender::load(
        "fixed",
        &fixed.process,
        plan(fixed.address, installation.asking("es256")?),
    )];
    for name in names {
        contenders.push(Contender::load(
            name,
            &server.process,
            server.plan(installation.asking(name)?),
        ));
    }
    let series = interleave(&bench.settings, &contenders).await?;
    let Some((fixed, reused)) = series.split_first() else {
        return Err(Problem::new("a contender is missing"));
    };
    for series in reused {
        let what = format!("reuse on, {}: share of a fixed answer", series.name.to_uppercase());
        bench.report.add(Line::share("reuse", what, series, series.over(fixed), TARGET));
    }
    server.process.end().await;
    Ok(())
}
