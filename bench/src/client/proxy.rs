//! The outbound proxy, against nginx with a header that never changes.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::Bench;
use crate::bound;
use crate::load::{Outcome, Plan, RequestPlan};
use crate::problem::{Doing as _, Problem, Result};
use crate::process::{Launch, Process};
use crate::report::{Line, thousands};
use crate::rounds::{self, Spread};
use crate::tokenry::plan;

/// What share of nginx's requests a second it has to reach.
const SHARE: f64 = 0.85;

/// How many times nginx's slowest hundredth its own may take.
const P99: f64 = 1.2;

/// How long a process may take to start.
const START: Duration = Duration::from_secs(20);

/// One of the two.
struct Runner {
    process: Process,
    plan: Plan,
    rates: Vec<f64>,
    /// Requests for each second of its CPU time.
    by_cpu: Vec<f64>,
    p99_us: Vec<f64>,
}

pub(super) async fn measure(bench: &mut Bench) -> Result<()> {
    let folder = tempfile::tempdir()?;
    // Beside the load, and never stopped. It also is the server that the token comes from.
    let mut upstream =
        Launch::own("bound").arg("fixed-ES256").on(&bench.settings.load_core).start()?;
    let line = upstream.first_line(START).await?;
    let address: SocketAddr = line.parse().doing(&line)?;
    let mut ours = tokenry(bench, folder.path(), address).await?;
    let mut nginx = nginx(bench, folder.path(), address).await?;
    for round in 0..bench.settings.rounds {
        // Each comes first every other time.
        let order: [&mut Runner; 2] =
            if round % 2 == 0 { [&mut ours, &mut nginx] } else { [&mut nginx, &mut ours] };
        let [one, other] = order;
        other.process.group().stop();
        one.round(bench).await?;
        other.process.group().go_on();
        one.process.group().stop();
        other.round(bench).await?;
        one.process.group().go_on();
    }
    report(bench, &ours, &nginx);
    Ok(())
}

impl Runner {
    fn new(process: Process, address: SocketAddr) -> Self {
        let text = format!("GET /things HTTP/1.1\r\nHost: {address}\r\nAccept: */*\r\n\r\n");
        let plan = plan(address, RequestPlan::Same { text });
        Self { process, plan, rates: Vec::new(), by_cpu: Vec::new(), p99_us: Vec::new() }
    }

    async fn round(&mut self, bench: &Bench) -> Result<()> {
        // What is not counted would spoil the CPU time, so the warm-up is a load of its own.
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let warm = Plan { measure_ms: millis(bench.settings.warmup), ..self.plan.clone() };
        rounds::load(&bench.settings, &warm).await?;
        let plan = Plan { measure_ms: millis(bench.settings.measure), ..self.plan.clone() };
        let before = self.process.usage().cpu_seconds;
        let outcome: Outcome = rounds::load(&bench.settings, &plan).await?;
        let cpu = self.process.usage().cpu_seconds - before;
        if !outcome.is_clean() {
            return Err(Problem::new(rounds::troubles(&outcome)));
        }
        self.rates.push(outcome.rate());
        self.by_cpu.push(outcome.good as f64 / cpu.max(0.01));
        self.p99_us.push(outcome.p99_us);
        Ok(())
    }
}

fn report(bench: &mut Bench, ours: &Runner, nginx: &Runner) {
    let over =
        |a: &[f64], b: &[f64]| Spread::of(&a.iter().zip(b).map(|(a, b)| a / b).collect::<Vec<_>>());
    let median = |values: &[f64]| Spread::of(values).median;
    let told = |Spread { median, min, max }: Spread| format!("{median:.3} ({min:.3}–{max:.3})");
    let share = over(&ours.rates, &nginx.rates);
    bench.report.add(Line::judged(
        "proxy",
        "requests a second through the proxy, one core, over those through nginx with a fixed header",
        format!(
            "{}; {}/s and {}/s",
            told(share),
            thousands(median(&ours.rates)),
            thousands(median(&nginx.rates))
        ),
        format!("≥ {SHARE}"),
        share.median >= SHARE,
    ));
    // The load and the upstream share the other core: where that is the narrow one, this shows it.
    let by_cpu = over(&ours.by_cpu, &nginx.by_cpu);
    bench.report.add(Line::judged(
        "proxy",
        "the same for each second of the proxy's CPU time",
        format!(
            "{}; {} and {}",
            told(by_cpu),
            thousands(median(&ours.by_cpu)),
            thousands(median(&nginx.by_cpu))
        ),
        format!("≥ {SHARE}"),
        by_cpu.median >= SHARE,
    ));
    let p99 = over(&ours.p99_us, &nginx.p99_us);
    bench.report.add(Line::judged(
        "proxy",
        "99 of 100 requests are done within, over nginx",
        format!(
            "{}; {:.2} ms and {:.2} ms",
            told(p99),
            median(&ours.p99_us) / 1000.0,
            median(&nginx.p99_us) / 1000.0
        ),
        format!("≤ {P99}"),
        p99.median <= P99,
    ));
    let resident = super::mib(ours.process.usage().peak);
    bench.report.add(Line::told(
        "proxy",
        "the most memory it ever used",
        format!("{resident:.1} MiB"),
    ));
}

async fn tokenry(bench: &Bench, folder: &Path, upstream: SocketAddr) -> Result<Runner> {
    let mut process = Launch::new(bench.tokenry.path())
        .args(["proxy", "--output", "json", "--listen", "127.0.0.1:0"])
        .args(["--upstream", &format!("http://{upstream}")])
        .args(["--token-url", &format!("http://{upstream}/token"), "--client-id", "bench"])
        .env("TOKENRY_CLIENT_SECRET", "bench")
        .folder(folder)
        .on(&bench.settings.server_core)
        .start()?;
    let line = process.first_line(START).await?;
    let said: serde_json::Value = serde_json::from_str(&line)?;
    let url = said["listening"][0]["url"].as_str().unwrap_or_default();
    let address = url.rsplit('/').next().unwrap_or_default().parse().doing(&line)?;
    Ok(Runner::new(process, address))
}

/// One worker, connections kept on both sides, a header of the same length.
async fn nginx(bench: &Bench, folder: &Path, upstream: SocketAddr) -> Result<Runner> {
    let address = free_port()?;
    let token = bound::access_token()?;
    let configuration = format!(
        "daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log stderr crit;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; keepalive_requests 1000000000;\n\
         client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; uwsgi_temp_path d; scgi_temp_path e;\n\
         upstream api {{ server {upstream}; keepalive 64; keepalive_requests 1000000000; }}\n\
         server {{ listen {address}; location / {{ proxy_pass http://api; proxy_http_version 1.1;\n\
         proxy_set_header Connection \"\"; proxy_set_header Authorization \"Bearer {token}\"; }} }} }}\n"
    );
    std::fs::write(folder.join("nginx.conf"), configuration)?;
    let process = Launch::new("nginx")
        .arg("-p")
        .arg(folder)
        .args(["-e", "stderr", "-c", "nginx.conf"])
        .on(&bench.settings.server_core)
        .env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()))
        .silent()
        .start()
        .doing("nginx; is it installed? (Debian: `apt-get install nginx`)")?;
    until_it_listens(address).await?;
    Ok(Runner::new(process, address))
}

/// A port that nobody listens at.
fn free_port() -> Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

async fn until_it_listens(address: SocketAddr) -> Result<()> {
    let connect = async {
        while tokio::net::TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(START, connect).await.map_err(|_| {
        Problem::new("nginx does not listen; is it installed? (Debian: `apt-get install nginx`)")
    })
}
