//! Memory, and the time to the first token.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::{Bench, Line};
use crate::clock::now;
use crate::load::{Plan, RequestPlan};
use crate::problem::{Problem, Result};
use crate::rounds::{self, Spread};
use crate::tokenry::{Installation, Realm, Serve};

const IDLE_MIB: f64 = 20.0;
const LOADED_MIB: f64 = 40.0;
const START_MS: f64 = 60.0;

/// How often it is started: a median of few is one of luck.
const STARTS: usize = 9;

pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

pub(super) async fn measure(bench: &mut Bench) -> Result<()> {
    let realm = Realm { name: "es256", signing: "ES256", tokens: "", refreshes: false, others: "" };
    let installation = bench.installation(&[realm]).await?;
    // The first start makes the realm's keys; all further ones find them.
    serve_once(&installation).await?;

    let mut starts = Vec::new();
    for _ in 0..STARTS {
        starts.push(serve_once(&installation).await?.as_secs_f64() * 1000.0);
    }
    let Spread { median, min, max } = Spread::of(&starts);
    bench.report.add(Line::judged(
        "footprint",
        "from the start of the process to the first token, database there",
        format!("{median:.0} ms ({min:.0}–{max:.0})"),
        format!("≤ {START_MS} ms"),
        median <= START_MS,
    ));

    let core = bench.settings.server_core.clone();
    let server = installation.serve(Serve { cores: &core, tls: false, log_kept: false }).await?;
    first_token(server.address, &installation)?;
    let idle = mib(server.process.usage().resident);
    let load = server.plan(installation.asking("es256")?);
    rounds::load(&bench.settings, &load).await?;
    // TLS costs memory for each connection; the same process cannot do both.
    let loaded = mib(server.process.usage().peak);
    server.process.end().await;
    for (what, measured, target) in [
        ("memory when idle, after a first token", idle, IDLE_MIB),
        ("memory under load, 64 connections, the most it ever was", loaded, LOADED_MIB),
    ] {
        bench.report.add(Line::judged(
            "footprint",
            what,
            format!("{measured:.1} MiB"),
            format!("≤ {target} MiB"),
            measured <= target,
        ));
    }

    let server = installation.serve(Serve { cores: &core, tls: true, log_kept: false }).await?;
    let plan =
        Plan { tls: Some(installation.trust()), ..server.plan(installation.asking("es256")?) };
    rounds::load(&bench.settings, &plan).await?;
    let measured = mib(server.process.usage().peak);
    server.process.end().await;
    bench.report.add(Line::judged(
        "footprint",
        "the same with TLS",
        format!("{measured:.1} MiB"),
        format!("≤ {LOADED_MIB} MiB"),
        measured <= LOADED_MIB,
    ));
    Ok(())
}

/// Starts the server on all cores, takes one token, ends it; gives how long the token took from the start.
async fn serve_once(installation: &Installation) -> Result<Duration> {
    let began = now();
    let server = installation.serve(Serve { cores: "0,1", tls: false, log_kept: true }).await?;
    first_token(server.address, installation)?;
    let took = began.elapsed();
    server.process.end().await;
    Ok(took)
}

fn first_token(address: SocketAddr, installation: &Installation) -> Result<()> {
    let RequestPlan::Same { text } = installation.asking("es256")? else {
        return Err(Problem::new("another request was expected"));
    };
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(text.as_bytes())?;
    let mut answer = [0; 4096];
    let length = stream.read(&mut answer)?;
    if answer[..length].starts_with(b"HTTP/1.1 200 ") {
        Ok(())
    } else {
        Err(Problem::new(format!("no token: {}", String::from_utf8_lossy(&answer[..length]))))
    }
}
