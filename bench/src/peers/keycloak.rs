//! Keycloak, built and started optimized as its guide for production says, with its database in memory.

use std::path::Path;
use std::time::Duration;

use super::{Peer, SECRET, cache, copied, free_port, installed, step, until_ready};
use crate::machine::said;
use crate::problem::{Problem, Result};
use crate::process::Launch;

const VERSION: &str = "26.4.7";

const FILES: [&str; 1] = ["realm.json"];

/// On one core it takes a minute where other work is under way.
const START: Duration = Duration::from_secs(240);

pub(super) async fn start(algorithm: &str, core: &str, refreshes: bool) -> Result<Peer> {
    let folder = cache("keycloak")?;
    let home = folder.join(format!("keycloak-{VERSION}"));
    if !copied("keycloak", &FILES, &folder)? || !home.is_dir() {
        install(&folder, &home).await?;
        installed(&FILES, &folder)?;
    }
    let realm = std::fs::read_to_string(folder.join("realm.json"))?
        .replace("@SECRET@", SECRET)
        .replace("@ALGORITHM@", algorithm)
        .replace("@REFRESH@", if refreshes { "true" } else { "false" });
    let import = home.join("data/import");
    std::fs::create_dir_all(&import)?;
    std::fs::write(import.join("bench-realm.json"), realm)?;

    let address = free_port()?;
    let port = format!("--http-port={}", address.port());
    let process = Launch::new(home.join("bin/kc.sh"))
        .args([
            "start",
            "--optimized",
            "--import-realm",
            "--http-enabled=true",
            "--http-host=127.0.0.1",
            &port,
        ])
        // A cache of its own alone: a cluster would listen beyond this machine.
        .args(["--cache=local", "--hostname-strict=false", "--log-level=warn"])
        .folder(&home)
        .on(core)
        .silent()
        .start()?;
    until_ready(address, "/realms/bench", START).await?;
    let java = said("java", &["--version"]);
    let java = java.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    let path = "/realms/bench/protocol/openid-connect/token";
    // A realm as it comes has scopes of its own, all of which are granted to who asks for none.
    let form = "grant_type=client_credentials";
    Ok(Peer { name: format!("Keycloak {VERSION}, {java}"), address, path, form, process })
}

async fn install(folder: &Path, home: &Path) -> Result<()> {
    let artifact = format!("-Dartifact=org.keycloak:keycloak-quarkus-dist:{VERSION}:tar.gz");
    step(folder, "mvn", &["-q", "-B", "dependency:copy", &artifact, "-DoutputDirectory=."]).await?;
    let archive = format!("keycloak-quarkus-dist-{VERSION}.tar.gz");
    step(folder, "tar", &["-xzf", &archive]).await?;
    std::fs::remove_file(folder.join(archive))?;
    if !home.is_dir() {
        return Err(Problem::new("the archive holds something else than expected"));
    }
    let kc = home.join("bin/kc.sh").display().to_string();
    step(folder, &kc, &["build", "--db=dev-mem"]).await
}
