//! Far more asked than can be given.

use std::time::Duration;

use super::footprint::mib;
use super::{Bench, Line};
use crate::load::Plan;
use crate::problem::Result;
use crate::report::thousands;
use crate::rounds::{self, Settings, Spread, troubles};
use crate::tokenry::{Realm, Serve, plan};

const CONNECTIONS: usize = 5_000;

/// How much more is asked than the server gives at its best.
const TIMES: f64 = 10.0;

const TARGET: f64 = 0.9;

/// What the process may take under load, and what each connection may take beyond (its buffers and its task).
const BASE_MIB: f64 = 40.0;
const CONNECTION_KIB: f64 = 24.0;

pub(super) async fn measure(bench: &mut Bench) -> Result<()> {
    let realm = |name, signing| Realm { name, signing, tokens: "", refreshes: false, others: "" };
    let installation =
        bench.installation(&[realm("rs256", "RS256"), realm("es256", "ES256")]).await?;
    let core = bench.settings.server_core.clone();
    let rounds = bench.settings.rounds.min(3);
    for name in ["rs256", "es256"] {
        let server =
            installation.serve(Serve { cores: &core, tls: false, log_kept: false }).await?;
        let peak_plan = server.plan(installation.asking(name)?);
        let (mut shares, mut after, mut rates) = (Vec::new(), Vec::new(), Vec::new());
        let (mut wrong, mut shed, mut asked, mut p99) = (None, 0.0, 0.0_f64, 0.0_f64);
        for _ in 0..rounds {
            let peak = rounds::load(&bench.settings, &peak_plan).await?.rate().max(1.0);
            let storm = storm(&bench.settings, &peak_plan, peak)?;
            let outcome = rounds::load(&bench.settings, &storm).await?;
            // At once: without a pause after the storm, and without a warm-up.
            let calm = Plan { measure_ms: 1_000, ..peak_plan.clone() };
            let calm = rounds::load(&bench.settings, &calm).await?;
            shares.push(outcome.rate() / peak);
            rates.push(outcome.rate());
            after.push(calm.rate() / peak);
            shed = outcome.shed as f64 / outcome.seconds;
            asked = asked.max((outcome.rate() + shed) / peak);
            p99 = p99.max(outcome.p99_us / 1000.0);
            if outcome.other + outcome.broken > 0 {
                wrong.get_or_insert_with(|| troubles(&outcome));
            }
        }
        let memory = mib(server.process.usage().peak);
        server.process.end().await;

        let Spread { median, min, max } = Spread::of(&shares);
        let name = name.to_uppercase();
        bench.report.add(Line::judged(
            "overload",
            format!("{name}, {CONNECTIONS} connections, {TIMES} times the capacity: goodput over the peak"),
            format!(
                "{median:.2} ({min:.2}–{max:.2}), {}/s with 200, {}/s with 503 ({asked:.1} times the peak got an \
                 answer), p99 {p99:.0} ms",
                thousands(Spread::of(&rates).median),
                thousands(shed)
            ),
            format!("≥ {TARGET}"),
            median >= TARGET,
        ));
        bench.report.add(Line::judged(
            "overload",
            format!("{name}: what else than 200 and 503"),
            wrong.clone().unwrap_or_else(|| "nothing".to_owned()),
            "nothing",
            wrong.is_none(),
        ));
        let limit = BASE_MIB + CONNECTIONS as f64 * CONNECTION_KIB / 1024.0;
        bench.report.add(Line::judged(
            "overload",
            format!("{name}: memory, the most it ever was"),
            format!("{memory:.0} MiB"),
            format!("≤ {limit:.0} MiB"),
            memory <= limit,
        ));
        let Spread { median, min, max } = Spread::of(&after);
        bench.report.add(Line::judged(
            "overload",
            format!("{name}: the second after it, over the peak"),
            format!("{median:.2} ({min:.2}–{max:.2})"),
            format!("≥ {TARGET}"),
            median >= TARGET,
        ));
    }
    // So many connections do not fit into the caches, whatever the server.
    let bound = bench.bound("ES256", None).await?;
    let peak_plan = plan(bound.address, installation.asking("es256")?);
    let mut shares = Vec::new();
    for _ in 0..rounds {
        let peak = rounds::load(&bench.settings, &peak_plan).await?.rate().max(1.0);
        let storm = storm(&bench.settings, &peak_plan, peak)?;
        shares.push(rounds::load(&bench.settings, &storm).await?.rate() / peak);
    }
    let Spread { median, min, max } = Spread::of(&shares);
    bench.report.add(Line::told(
        "overload",
        "ES256: the same of the bound",
        format!("{median:.2} ({min:.2}–{max:.2})"),
    ));
    Ok(())
}

/// Ten times what `peak` says, asked by all connections.
fn storm(settings: &Settings, peak_plan: &Plan, peak: f64) -> Result<Plan> {
    let every = CONNECTIONS as f64 / (peak * TIMES);
    Ok(Plan {
        connections: CONNECTIONS,
        every_us: Some(Duration::from_secs_f64(every).as_micros().try_into()?),
        // All connections are open and have asked once before anything counts.
        warmup_ms: 3_000,
        measure_ms: (settings.measure.as_millis() * 2).try_into()?,
        ..peak_plan.clone()
    })
}
