//! Keycloak, built and started optimized as its guide for production says, with its database in memory.

use std::time::Duration;

use super::{Peer, SECRET, cache, free_port, step, until_ready};
use crate::machine::said;
use crate::problem::{Doing as _, Result};
use crate::process::Launch;
use crate::tokenry::workspace;

/// On one core it takes a minute where other work is under way.
const START: Duration = Duration::from_secs(240);

pub(super) async fn start(algorithm: &str, core: &str, refreshes: bool) -> Result<Peer> {
    let folder = cache("keycloak")?;
    let own = workspace().join("bench/peers/keycloak");
    // The comparison of `cargo xtask interop` starts it by the same script.
    let script = own.join("keycloak.sh").display().to_string();
    step(&folder, "sh", &[&script, "install", "."]).await?;
    let realm = std::fs::read_to_string(own.join("realm.json"))
        .doing("realm.json")?
        .replace("@SECRET@", SECRET)
        .replace("@ALGORITHM@", algorithm)
        .replace("@REFRESH@", if refreshes { "true" } else { "false" });
    let realms = folder.join("realms");
    std::fs::create_dir_all(&realms)?;
    std::fs::write(realms.join("bench-realm.json"), realm)?;

    let address = free_port()?;
    let port = address.port().to_string();
    let process = Launch::new("sh")
        .args([&script, "start", ".", &port, "realms"])
        .folder(&folder)
        .on(core)
        .silent()
        .start()?;
    until_ready(address, "/realms/bench", START).await?;
    let version = said("sh", &[&script, "version"]);
    let java = said("java", &["--version"]);
    let java = java.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    let path = "/realms/bench/protocol/openid-connect/token";
    // A realm as it comes has scopes of its own, all of which are granted to who asks for none.
    let form = "grant_type=client_credentials";
    Ok(Peer { name: format!("Keycloak {version}, {java}"), address, path, form, process })
}
