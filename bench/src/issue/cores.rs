//! Two cores against one.

use super::{Bench, Line};
use crate::load::{Outcome, Plan};
use crate::problem::Result;
use crate::report::thousands;
use crate::rounds::{self, Spread};
use crate::tokenry::{Installation, Realm, Serve, Server};

/// How many times one core's tokens two cores have to give.
const TARGET: f64 = 1.8;

pub(super) async fn measure(bench: &mut Bench) -> Result<()> {
    let realm = |name, signing| Realm { name, signing, tokens: "", refreshes: false, others: "" };
    let installation =
        bench.installation(&[realm("rs256", "RS256"), realm("es256", "ES256")]).await?;
    // Where there are more than two, the load keeps one for itself.
    let (two, apart) = if bench.machine.cores > 2 { ("0,2", true) } else { ("0,1", false) };
    for name in ["rs256", "es256"] {
        let mut shares = Vec::new();
        let (mut one_rates, mut two_rates) = (Vec::new(), Vec::new());
        for _ in 0..bench.settings.rounds {
            let one = run(bench, &installation, name, "0").await?;
            let both = run(bench, &installation, name, two).await?;
            // A signature with RSA costs so much that the load beside it hardly counts. With ES256 the load takes a
            // good part of a shared core; what then can be compared is the server's CPU time for each token.
            let by_time = !apart && name == "es256";
            shares.push(if by_time {
                2.0 * one.cpu_per_token / both.cpu_per_token
            } else {
                both.rate / one.rate
            });
            one_rates.push(one.rate);
            two_rates.push(both.rate);
        }
        let Spread { median, min, max } = Spread::of(&shares);
        let how = match (apart, name) {
            (true, _) => "by throughput, the load on a third core",
            (false, "rs256") => "by throughput, the load on the second core too",
            (false, _) => "by CPU time for each token, twice that of one over that of two",
        };
        bench.report.add(Line::judged(
            "cores",
            format!("two cores over one, {}, {how}", name.to_uppercase()),
            format!(
                "{median:.2} ({min:.2}–{max:.2}); {}/s and {}/s",
                thousands(Spread::of(&one_rates).median),
                thousands(Spread::of(&two_rates).median)
            ),
            format!("≥ {TARGET}"),
            median >= TARGET,
        ));
    }
    Ok(())
}

struct Run {
    rate: f64,
    cpu_per_token: f64,
}

async fn run(bench: &Bench, installation: &Installation, realm: &str, cores: &str) -> Result<Run> {
    let server = installation.serve(Serve { cores, tls: false, log_kept: false }).await?;
    let plan: Plan = server.plan(installation.asking(realm)?);
    let warm = Plan { measure_ms: 300, ..plan.clone() };
    rounds::load(&bench.settings, &warm).await?;
    let (outcome, cpu) = with_cpu(bench, &server, &plan).await?;
    let tokens = outcome.good as f64;
    server.process.end().await;
    Ok(Run { rate: outcome.rate(), cpu_per_token: cpu / tokens.max(1.0) })
}

/// A load, and the server's CPU time for it. What is not counted would spoil the time, so there is no warm-up.
async fn with_cpu(bench: &Bench, server: &Server, plan: &Plan) -> Result<(Outcome, f64)> {
    let measure_ms = u64::try_from(bench.settings.measure.as_millis()).unwrap_or(u64::MAX);
    let plan = Plan { measure_ms, ..plan.clone() };
    let before = server.process.usage().cpu_seconds;
    let outcome = rounds::load(&bench.settings, &plan).await?;
    Ok((outcome, server.process.usage().cpu_seconds - before))
}
