//! Other verifiers, on the same tokens and the same core in the same rounds.

use std::path::PathBuf;
use std::time::Duration;

use super::Bench;
use super::order::{Order, Took};
use super::tokens::Issuer;
use crate::peers::{cache, copied, installed, step};
use crate::problem::{Doing as _, Problem, Result};
use crate::process::Launch;
use crate::report::Line;
use crate::rounds::Spread;

const ALGORITHMS: [&str; 3] = ["ES256", "RS256", "EdDSA"];

/// Tokens that are verified in turn.
const TOKENS: usize = 1024;

/// What a round may take beyond what it measures: to start, and to read the tokens.
const START: Duration = Duration::from_secs(20);

const RUST: [&str; 3] = ["Cargo.toml", "Cargo.lock", "main.rs"];
const JOSE: [&str; 3] = ["package.json", "package-lock.json", "verify.mjs"];

/// Somebody who carries out an order.
struct Contender {
    name: String,
    launch: Launch,
    /// By round.
    nanos: Vec<f64>,
}

impl Contender {
    fn new(name: impl Into<String>, launch: Launch) -> Self {
        Self { name: name.into(), launch, nanos: Vec::new() }
    }
}

pub(super) async fn measure(bench: &mut Bench) -> Result<()> {
    let core = bench.settings.server_core.clone();
    let peers = peers(bench).await;
    for algorithm in ALGORITHMS {
        let mut contenders = vec![
            Contender::new(
                "Tokenry, never seen before",
                Launch::own("check").arg("anew").on(&core),
            ),
            Contender::new("Tokenry, seen before", Launch::own("check").arg("again").on(&core)),
        ];
        for peer in &peers {
            contenders.push(Contender::new(&peer.name, peer.launch(&core)));
        }
        let order = Order::new(&mut Issuer::new(algorithm)?, TOKENS, &bench.settings)?.text()?;
        let within = bench.settings.warmup + bench.settings.measure + START;
        for _ in 0..bench.settings.rounds {
            for contender in &mut contenders {
                let output = contender.launch.output(Some(&order), within).await;
                let took: Took = serde_json::from_str(&output.doing(&contender.name)?)?;
                contender.nanos.push(took.nanos);
            }
        }
        report(bench, algorithm, &contenders);
    }
    Ok(())
}

fn report(bench: &mut Bench, algorithm: &str, contenders: &[Contender]) {
    let Some((ours, others)) = contenders.split_first() else { return };
    let took = |one: &Contender| {
        let Spread { median, min, max } = Spread::of(&one.nanos);
        format!("{:.2} µs ({:.2}–{:.2})", median / 1e3, min / 1e3, max / 1e3)
    };
    let what = |one: &Contender| format!("{algorithm}: {}", one.name);
    bench.report.add(Line::told("peers", what(ours), took(ours)));
    for other in others {
        let ratios: Vec<f64> = other.nanos.iter().zip(&ours.nanos).map(|(a, b)| a / b).collect();
        let measured =
            format!("{}, {:.2} times the first", took(other), Spread::of(&ratios).median);
        bench.report.add(Line::told("peers", what(other), measured));
    }
}

/// One that is installed.
struct Peer {
    /// With its version.
    name: String,
    program: PathBuf,
    args: Vec<String>,
    folder: PathBuf,
}

impl Peer {
    fn launch(&self, core: &str) -> Launch {
        Launch::new(&self.program).args(&self.args).folder(&self.folder).on(core)
    }
}

/// What peers there are; the others are blank lines.
async fn peers(bench: &mut Bench) -> Vec<Peer> {
    let mut all = Vec::new();
    for (what, found) in [("in Rust", rust().await), ("jose", jose().await)] {
        match found {
            Ok(mut found) => all.append(&mut found),
            Err(problem) => bench.report.add(Line::blank("peers", what, problem.to_string())),
        }
    }
    all
}

/// Builds the ones in Rust, with a lock file of their own: nothing of them is in the workspace's.
async fn rust() -> Result<Vec<Peer>> {
    let folder = cache("rust")?;
    if !copied("rust", &RUST, &folder)? {
        step(&folder, "cargo", &["build", "--release", "--locked", "--target-dir", "target"])
            .await?;
        installed(&RUST, &folder)?;
    }
    let lock = std::fs::read_to_string(folder.join("Cargo.lock"))?;
    let program = folder.join("target/release/tokenry-bench-peers");
    let peer = |name: &str, on: &str| Peer {
        name: format!("{name} {}{on}", version(&lock, name)),
        program: program.clone(),
        args: vec![name.to_owned()],
        folder: folder.clone(),
    };
    Ok(vec![peer("jsonwebtoken", " on aws-lc-rs"), peer("jwt-authorizer", "")])
}

/// The newest version of a crate in a lock file.
fn version<'l>(lock: &'l str, name: &str) -> &'l str {
    let header = format!("name = \"{name}\"\nversion = \"");
    let versions = lock.split(&header).skip(1).filter_map(|rest| rest.split('"').next());
    let major = |version: &&str| version.split('.').next().and_then(|n| n.parse::<u32>().ok());
    versions.max_by_key(major).unwrap_or("?")
}

async fn jose() -> Result<Vec<Peer>> {
    let folder = cache("jose")?;
    if !copied("jose", &JOSE, &folder)? {
        let args = ["ci", "--omit=dev", "--no-audit", "--no-fund", "--ignore-scripts"];
        step(&folder, "npm", &args).await?;
        installed(&JOSE, &folder)?;
    }
    let package = std::fs::read(folder.join("node_modules/jose/package.json"))?;
    let package: serde_json::Value = serde_json::from_slice(&package)?;
    let version = package["version"].as_str().unwrap_or("?");
    let node = crate::machine::said("node", &["--version"]);
    Ok(vec![Peer {
        name: format!("jose {version}, node {node}"),
        program: "node".into(),
        args: vec!["verify.mjs".to_owned()],
        folder,
    }])
}

/// What a good token waits at jwt-authorizer while its JWKS endpoint hangs.
pub(super) async fn hanging(bench: &Bench) -> Result<Stall> {
    let peers = rust().await?;
    let peer = peers
        .iter()
        .find(|peer| peer.name.starts_with("jwt-authorizer"))
        .ok_or_else(|| Problem::new("no jwt-authorizer"))?;
    let order = Order::new(&mut Issuer::new("RS256")?, 1, &bench.settings)?.text()?;
    let output = Launch::new(&peer.program).arg("jwt-authorizer-hanging");
    let output = output.output(Some(&order), START).await?;
    Ok(Stall { name: peer.name.clone(), ..serde_json::from_str(&output)? })
}

/// Nanoseconds that one good token took.
#[derive(serde::Deserialize)]
pub(super) struct Stall {
    #[serde(default)]
    pub(super) name: String,
    pub(super) before_ns: f64,
    pub(super) during_ns: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_told() {
        let lock = "[[package]]\nname = \"a\"\nversion = \"9.3.1\"\n\n\
                    [[package]]\nname = \"a\"\nversion = \"11.1.0\"\n";
        assert_eq!(version(lock, "a"), "11.1.0");
        assert_eq!(version(lock, "b"), "?");
    }
}
