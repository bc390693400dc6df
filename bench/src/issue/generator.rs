//! Whether the load is fast enough: against a fixed answer, and beside wrk.

use std::time::Duration;

use super::{Bench, Line};
use crate::load::RequestPlan;
use crate::load::request::client_credentials;
use crate::problem::{Problem, Result};
use crate::process::Launch;
use crate::report::thousands;
use crate::rounds::{self, Series, Spread};
use crate::tokenry::plan;

pub(super) async fn measure(bench: &mut Bench) -> Result<()> {
    let fixed = bench.bound("fixed-ES256", None).await?;
    let text = client_credentials("/token", "bench:secret");
    let plan = plan(fixed.address, RequestPlan::Same { text });
    let (mut ours, mut theirs, mut busy) = (Series::default(), Series::default(), Vec::new());
    for _ in 0..bench.settings.rounds {
        let outcome = rounds::load(&bench.settings, &plan).await?;
        ours.rates.push(outcome.rate());
        busy.push(outcome.cpu_seconds / outcome.seconds);
        if let Ok(rate) = wrk(bench, fixed.address).await {
            theirs.rates.push(rate);
        }
    }
    bench.report.add(Line::told(
        "load",
        "a fixed answer, asked for by this load on one core",
        format!(
            "{}/s, the load's core {:.0} % busy",
            thousands(ours.rate()),
            Spread::of(&busy).median * 100.0
        ),
    ));
    bench.report.add(if theirs.rates.len() == ours.rates.len() {
        Line::told(
            "load",
            "the same asked for by wrk, 1 thread, 64 connections",
            format!("{}/s", thousands(theirs.rate())),
        )
    } else {
        let reason =
            "wrk is not installed (Debian: `apt-get install wrk`); only this line needs it";
        Line::blank("load", "the same asked for by wrk", reason.to_owned())
    });
    Ok(())
}

async fn wrk(bench: &Bench, address: std::net::SocketAddr) -> Result<f64> {
    let script = bench.folder.path().join("wrk.lua");
    std::fs::write(
        &script,
        "wrk.method = \"POST\"\nwrk.body = \"grant_type=client_credentials&scope=read+write\"\n\
         wrk.headers[\"Content-Type\"] = \"application/x-www-form-urlencoded\"\n\
         wrk.headers[\"Authorization\"] = \"Basic YmVuY2g6c2VjcmV0\"\n",
    )?;
    let seconds = bench.settings.measure.as_secs().max(1);
    let output = Launch::new("wrk")
        .args(["-t1", "-c64", &format!("-d{seconds}s"), "-s"])
        .arg(&script)
        .arg(format!("http://{address}/token"))
        .on(&bench.settings.load_core)
        .output(None, Duration::from_secs(seconds + 30))
        .await?;
    let line = output.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:"));
    let rate = line.and_then(|text| text.trim().parse().ok());
    rate.ok_or_else(|| Problem::new("wrk said nothing that is understood"))
}
