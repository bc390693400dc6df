//! client_credentials with Basic, answered with a JWT: the bound, Tokenry, and the peers that have the algorithm.

use super::{Bench, Line};
use crate::load::Plan;
use crate::peers::{Kind, Peer};
use crate::problem::{Problem, Result};
use crate::report::Speed;
use crate::rounds::{self, Contender, Series, Settings, interleave};
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
    let realm = Realm { name: &name, signing: algorithm, tokens: "", refreshes: false, others: "" };
    let installation = bench.installation(&[realm]).await?;
    let core = bench.settings.server_core.clone();
    let server = installation.serve(Serve { cores: &core, tls: false, log_kept: false }).await?;
    let bound = bench.bound(algorithm, None).await?;
    let asking = installation.asking(&name)?;
    let mut contenders = vec![
        Contender::load("bound", &bound.process, plan(bound.address, asking.clone())),
        Contender::load("tokenry", &server.process, server.plan(asking)),
    ];
    let peers = start_peers(bench, algorithm).await;
    contenders.extend(peers.iter().map(|peer| peer.contender(peer.asking())));
    let series = interleave(&bench.settings, &contenders).await?;
    for peer in peers {
        peer.end().await;
    }
    server.process.end().await;

    let [bound, tokenry, peers @ ..] = &series[..] else {
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
    for peer in peers {
        match signs_with(peer, algorithm) {
            Ok(()) => {
                bench.report.add(Line::faster(algorithm, algorithm, tokenry, peer));
                bench.report.speed(Speed::new(algorithm, peer, bound));
            }
            Err(problem) => {
                bench.report.add(Line::blank(algorithm, &peer.name, problem.to_string()))
            }
        }
    }
    Ok(())
}

/// Starts and warms what peers there are; the others are blank lines.
async fn start_peers(bench: &mut Bench, algorithm: &str) -> Vec<Peer> {
    let mut running = Vec::new();
    for kind in Kind::ALL {
        let started = match kind.start(algorithm, &bench.settings.server_core).await {
            Ok(peer) => warm(&bench.settings, &peer, kind).await.map(|()| peer),
            Err(problem) => Err(problem),
        };
        match started {
            Ok(peer) => running.push(peer),
            Err(problem) => {
                let what = format!("{}, {algorithm}", kind.name());
                bench.report.add(Line::blank(algorithm, what, problem.to_string()));
            }
        }
    }
    running
}

/// Lets a peer run before it is measured.
pub(super) async fn warm(settings: &Settings, peer: &Peer, kind: Kind) -> Result<()> {
    let measure_ms = kind.warmup().as_millis().try_into()?;
    rounds::load(settings, &Plan { measure_ms, ..peer.asking() }).await.map(|_| ())
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
