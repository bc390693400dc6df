//! node-oidc-provider, with its own in-memory adapter: JWT access tokens are not stored.

use std::time::Duration;

use super::{FORM, Peer, SECRET, cache, copied, free_port, installed, step};
use crate::machine::said;
use crate::problem::Result;
use crate::process::Launch;

const FILES: [&str; 3] = ["package.json", "package-lock.json", "server.mjs"];

pub(super) async fn start(algorithm: &str, core: &str) -> Result<Peer> {
    let folder = cache("node")?;
    if !copied("node", &FILES, &folder)? {
        step(&folder, "npm", &["ci", "--omit=dev", "--no-audit", "--no-fund", "--ignore-scripts"])
            .await?;
        installed(&FILES, &folder)?;
    }
    let address = free_port()?;
    let port = address.port().to_string();
    let mut process = Launch::new("node")
        .args(["server.mjs", &port, algorithm, SECRET])
        .folder(&folder)
        .env("NODE_ENV", "production")
        .on(core)
        .start()?;
    process.first_line(Duration::from_secs(60)).await?;
    let package = std::fs::read(folder.join("node_modules/oidc-provider/package.json"))?;
    let package: serde_json::Value = serde_json::from_slice(&package)?;
    let version = package["version"].as_str().unwrap_or("?");
    let name = format!("node-oidc-provider {version}, node {}", said("node", &["--version"]));
    Ok(Peer { name, address, path: "/token", form: FORM, process })
}
