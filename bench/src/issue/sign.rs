//! client_credentials with Basic, answered with a JWT: the bound, Tokenry, and the peers that have the algorithm.

use super::report::Speed;
use super::{Bench, Line};
use crate::problem::{Problem, Result};
use crate::rounds::{Contender, Series, interleave};
use crate::tokenry::{Realm, Serve, plan};

/// What share of the bound Tokenry has to reach: the less a signature costs, the more the rest of a request counts.
fn target(algorithm: &str) -> f64 {
    match algorithm {
        "RS256" => 0.93,
        "ES256" => 0.80,
        _ => 0.75,
    }
}

pub(super) async fn measure(bench: &mut Bench, algorithm: &str) -> Result<()> {
    let name = algorithm.to_lowercase();
    let realm = Realm { name: &name, signing: algorithm, tokens: "", refreshes: false };
    let installation = bench.installation(&[realm]).await?;
    let core = bench.settings.server_core.clone();
    let server = installation.serve(Serve { cores: &core, tls: false, log_kept: false }).await?;
    let bound = bench.bound(algorithm, None).await?;
    let asking = installation.asking(&name)?;
    let contenders = vec![
        Contender::load("bound", plan(bound.address, asking.clone())),
        Contender::load("tokenry", server.plan(asking)),
    ];
    let series = interleave(&bench.settings, &contenders).await?;
    let [bound, tokenry, ..] = &series[..] else {
        return Err(Problem::new("a contender is missing"));
    };
    signs_with(tokenry, algorithm)?;
    bench.report.add(Line::share(
        algorithm,
        format!("client_credentials, Basic, {algorithm}: share of the bound"),
        tokenry,
        tokenry.over(bound),
        target(algorithm),
    ));
    for one in [bound, tokenry] {
        bench.report.speed(Speed::new(algorithm, one, bound));
    }
    server.process.end().await;
    Ok(())
}

/// Whether the answers really hold tokens of this algorithm.
pub(super) fn signs_with(series: &Series, algorithm: &str) -> Result<()> {
    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    let answer = series.last.example.as_deref().unwrap_or_default();
    let token = answer.split("\"access_token\"").nth(1).and_then(|rest| rest.split('"').nth(1));
    let header = token.and_then(|token| token.split('.').next()).unwrap_or_default();
    let header = BASE64_URL_SAFE_NO_PAD.decode(header).unwrap_or_default();
    let header: serde_json::Value = serde_json::from_slice(&header).unwrap_or_default();
    // RFC 9864 gives the EdDSA of Ed25519 a name of its own.
    let alike = header["alg"] == algorithm || (algorithm == "EdDSA" && header["alg"] == "Ed25519");
    if alike {
        return Ok(());
    }
    let problem = series.problem.as_deref().unwrap_or("its answer holds no such token");
    Err(Problem::new(format!("{} does not sign with {algorithm}: {problem}", series.name)))
}
