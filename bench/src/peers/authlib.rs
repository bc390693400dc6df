//! Authlib on Flask behind gunicorn: one worker for the one core, with threads, so that connections are kept.

use std::time::Duration;

use super::{FORM, Peer, SECRET, cache, copied, free_port, installed, step, until_ready};
use crate::machine::said;
use crate::problem::{Problem, Result};
use crate::process::Launch;

const FILES: [&str; 2] = ["requirements.txt", "app.py"];

pub(super) async fn start(algorithm: &str, core: &str) -> Result<Peer> {
    if algorithm == "EdDSA" {
        return Err(Problem::new("its JOSE library refuses EdDSA unless told otherwise"));
    }
    let folder = cache("authlib")?;
    let python = "venv/bin/python";
    if !copied("authlib", &FILES, &folder)? {
        step(&folder, "python3", &["-m", "venv", "venv"]).await?;
        let pip = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "-r",
            "requirements.txt",
        ];
        step(&folder, &folder.join(python).display().to_string(), &pip).await?;
        installed(&FILES, &folder)?;
    }
    let address = free_port()?;
    let bind = address.to_string();
    let process = Launch::new(folder.join(python))
        .args([
            "-m",
            "gunicorn",
            "--bind",
            &bind,
            "--workers",
            "1",
            "--worker-class",
            "gthread",
            "--threads",
            "4",
        ])
        .args(["--no-control-socket", "--log-level", "warning", "app:app"])
        .folder(&folder)
        .env("BENCH_ALGORITHM", algorithm)
        .env("BENCH_SECRET", SECRET)
        // Plain HTTP, as for all others.
        .env("AUTHLIB_INSECURE_TRANSPORT", "1")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .on(core)
        .silent()
        .start()?;
    until_ready(address, "/token", Duration::from_secs(60)).await?;
    let pinned = std::fs::read_to_string(folder.join("requirements.txt"))?;
    let version = |name: &str| {
        let line = pinned.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("=="));
        line.unwrap_or("?").to_owned()
    };
    let name = format!(
        "Authlib {}, gunicorn {}, {}",
        version("Authlib"),
        version("gunicorn"),
        said("python3", &["--version"])
    );
    Ok(Peer { name, address, path: "/token", form: FORM, process })
}
