//! Refresh tokens: in the answer to client_credentials, and each policy of refreshing.

use super::sign::{signs_with, warm};
use super::{Bench, Line};
use crate::peers::{Kind, with_refresh};
use crate::problem::{Problem, Result};
use crate::rounds::{Contender, Series, Spread, interleave};
use crate::tokenry::{Realm, Serve, plan};

/// The share of the bound that remains when a refresh token is sealed or opened as well.
const TARGET: f64 = 0.70;

/// The share of what the bound and the log would give one after the other on one core.
const ROTATE_TARGET: f64 = 0.75;

/// A realm of ES256 under a policy.
fn realm<'a>(name: &'a str, tokens: &'a str) -> Realm<'a> {
    Realm { name, signing: "ES256", tokens, refreshes: true, others: "" }
}

const KEEP: &str = "refresh = { lifetime = \"24h\", policy = \"keep\", client_credentials = true }";
const REISSUE: &str =
    "refresh = { lifetime = \"24h\", policy = \"reissue\", client_credentials = true }";
const ROTATE: &str =
    "refresh = { lifetime = \"24h\", policy = \"rotate\", client_credentials = true }";

/// What writes nothing.
pub(super) async fn unwritten(bench: &mut Bench) -> Result<()> {
    let installation =
        bench.installation(&[realm("keep", KEEP), realm("reissue", REISSUE)]).await?;
    let core = bench.settings.server_core.clone();
    let server = installation.serve(Serve { cores: &core, tls: false, log_kept: false }).await?;
    let bound = bench.bound("ES256", None).await?;
    let before = installation.database_size();
    let mut contenders = vec![
        Contender::load("bound", &bound.process, plan(bound.address, installation.asking("keep")?)),
        Contender::load("given", &server.process, server.plan(installation.asking("reissue")?)),
        Contender::load("keep", &server.process, server.plan(installation.refreshing("keep")?)),
        Contender::load(
            "reissue",
            &server.process,
            server.plan(installation.refreshing("reissue")?),
        ),
    ];
    let peer = match with_refresh("ES256", &core).await {
        Ok(peer) => warm(&bench.settings, &peer, Kind::Keycloak).await.map(|()| peer),
        Err(problem) => Err(problem),
    };
    if let Ok(peer) = &peer {
        contenders.push(peer.contender(peer.refreshing()));
    }
    let series = interleave(&bench.settings, &contenders).await?;
    let [bound, given, keep, reissue, ..] = &series[..] else {
        return Err(Problem::new("a contender is missing"));
    };
    for (what, series) in [
        ("client_credentials with a refresh token in the answer, ES256: share of the bound", given),
        ("refresh that keeps the refresh token, ES256: share of the bound", keep),
        ("refresh that reissues the refresh token, ES256: share of the bound", reissue),
    ] {
        bench.report.add(Line::share("refresh", what, series, series.over(bound), TARGET));
    }
    match (peer, series.get(4)) {
        (Ok(peer), Some(theirs)) => {
            let what = "refresh that reissues, ES256";
            bench.report.add(match signs_with(theirs, "ES256") {
                Ok(()) => Line::faster("refresh", what, reissue, theirs),
                Err(problem) => Line::blank("refresh", what, problem.to_string()),
            });
            peer.end().await;
        }
        (peer, _) => {
            let reason = peer.err().map_or_else(String::new, |problem| problem.to_string());
            bench.report.add(Line::blank("refresh", "Keycloak, refresh, ES256", reason));
        }
    }
    let grown = installation.database_size().saturating_sub(before);
    bench.report.add(Line::judged(
        "refresh",
        "growth of the database by all of these",
        format!("{grown} bytes"),
        "0 bytes",
        grown == 0,
    ));
    server.process.end().await;
    Ok(())
}

/// What is durable before it is answered.
pub(super) async fn rotate(bench: &mut Bench) -> Result<()> {
    let installation = bench.installation(&[realm("rotate", ROTATE)]).await?;
    let core = bench.settings.server_core.clone();
    let server = installation.serve(Serve { cores: &core, tls: false, log_kept: false }).await?;
    let bound = bench.bound("ES256", None).await?;
    let contenders = vec![
        Contender::load(
            "bound",
            &bound.process,
            plan(bound.address, installation.asking("rotate")?),
        ),
        Contender::rows("rows", bench.folder.path().to_owned()),
        Contender::load("rotate", &server.process, server.plan(installation.refreshing("rotate")?)),
    ];
    let series = interleave(&bench.settings, &contenders).await?;
    let [bound, rows, rotate] = &series[..] else {
        return Err(Problem::new("a contender is missing"));
    };
    let both = Series {
        rates: bound
            .rates
            .iter()
            .zip(&rows.rates)
            .map(|(b, r)| 1.0 / (1.0 / b + 1.0 / r))
            .collect(),
        ..Series::default()
    };
    let part = "rotate";
    let median = |series: &Series| crate::report::thousands(Spread::of(&series.rates).median);
    bench.report.add(Line::told(
        part,
        "the bare log: 64 rows of rotations to a commit, durable on SQLite",
        format!("{} rows/s; with the bound before it {}/s", median(rows), median(&both)),
    ));
    bench.report.add(Line::share(
        part,
        "refresh that rotates, durable on SQLite, ES256: share of 1/(1/bound + 1/rows)",
        rotate,
        rotate.over(&both),
        ROTATE_TARGET,
    ));
    let (p50, p99) = (rotate.last.p50_us / 1000.0, rotate.last.p99_us / 1000.0);
    let latency = format!("p50 {p50:.1} ms, p99 {p99:.1} ms");
    bench.report.add(Line::told(part, "latency of a rotation at 64 connections", latency));
    server.process.end().await;
    Ok(())
}
