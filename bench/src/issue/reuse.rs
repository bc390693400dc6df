//! Token reuse: a client that asks again inside the window gets the same token, so no signature is made.

use super::{Bench, Line};
use crate::problem::{Problem, Result};
use crate::rounds::{Contender, interleave};
use crate::tokenry::{Realm, Serve, plan};

/// The share of a server that knows one answer and looks at nothing.
const TARGET: f64 = 0.6;

pub(super) async fn measure(bench: &mut Bench) -> Result<()> {
    let tokens = "reuse = \"30s\"";
    let realm = |name, signing| Realm { name, signing, tokens, refreshes: false, others: "" };
    let algorithms = ["RS256", "ES256", "EdDSA"];
    let realms = [realm("rs256", "RS256"), realm("es256", "ES256"), realm("eddsa", "EdDSA")];
    let installation = bench.installation(&realms).await.map_err(|_| {
        Problem::new("not available: `tokenry apply` refuses `reuse` in `[realm.tokens]`")
    })?;
    let core = bench.settings.server_core.clone();
    let server = installation.serve(Serve { cores: &core, tls: false, log_kept: false }).await?;
    for algorithm in algorithms {
        // An answer of the same size.
        let fixed = bench.bound(&format!("fixed-{algorithm}"), None).await?;
        let asking = || installation.asking(&algorithm.to_lowercase());
        let contenders = [
            Contender::load("fixed", &fixed.process, plan(fixed.address, asking()?)),
            Contender::load(algorithm, &server.process, server.plan(asking()?)),
        ];
        let series = interleave(&bench.settings, &contenders).await?;
        let [fixed, reused] = &series[..] else {
            return Err(Problem::new("a contender is missing"));
        };
        let what = format!("reuse on, {algorithm}: share of a fixed answer");
        bench.report.add(Line::share("reuse", what, reused, reused.over(fixed), TARGET));
    }
    server.process.end().await;
    Ok(())
}
