//! Many at once: at the moment when a token expires, and a thousand processes that start together.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokenry_client::TransportError;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::Command;

use super::{Bench, token};
use crate::clock::now;
use crate::problem::{Doing as _, Problem, Result};
use crate::process::{Launch, Process};
use crate::report::Line;

/// Tasks that ask at the moment when there is no token.
const TASKS: usize = 10_000;

/// Processes that start at once.
const PROCESSES: usize = 1_000;

/// How many of them are being started at a time.
const STARTING: usize = 64;

/// How long an agent may take to start, and all processes to end.
const START: Duration = Duration::from_secs(20);
const ALL: Duration = Duration::from_secs(180);

pub(super) async fn measure(bench: &mut Bench) -> Result<()> {
    tasks(bench).await?;
    processes(bench).await
}

async fn tasks(bench: &mut Bench) -> Result<()> {
    let requests = Arc::new(AtomicU64::new(0));
    let counted = requests.clone();
    let keeper = token::keeper(move |_: Request<Bytes>| {
        counted.fetch_add(1, Ordering::Relaxed);
        async {
            // As long as a server is away.
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok::<_, TransportError>(Response::new(token::answer()))
        }
    })?;
    let began = now();
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let keeper = keeper.clone();
            tokio::spawn(async move { keeper.token().await.is_ok() })
        })
        .collect();
    let mut served = 0;
    for task in tasks {
        served += usize::from(task.await.unwrap_or(false));
    }
    let requests = requests.load(Ordering::Relaxed);
    bench.report.add(Line::judged(
        "storm",
        format!("{TASKS} tasks that ask at once when there is no token: token requests"),
        format!("{requests}; {served} served, after {} ms", began.elapsed().as_millis()),
        "1, and all served",
        requests == 1 && served == TASKS,
    ));
    Ok(())
}

async fn processes(bench: &mut Bench) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let requests = Arc::new(AtomicU64::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(serve(listener, requests.clone()));
    let socket = folder.path().join("agent.sock");
    let agent = agent(bench, &socket).await?;
    let starting = Arc::new(tokio::sync::Semaphore::new(STARTING));
    let began = now();
    let all: Vec<_> = (0..PROCESSES)
        .map(|_| {
            let mut command = Command::new(bench.tokenry.path());
            command
                .args(["token", "--token-url", &format!("http://{address}/token")])
                .args(["--client-id", "bench"])
                .env("TOKENRY_CLIENT_SECRET", "bench")
                .env("TOKENRY_AGENT", &socket)
                .kill_on_drop(true);
            let starting = starting.clone();
            tokio::spawn(async move {
                let _permit = starting.acquire().await;
                command.output().await.is_ok_and(|output| {
                    output.status.success() && output.stdout.starts_with(b"aaaa")
                })
            })
        })
        .collect();
    let mut served = 0;
    let wait = async {
        for process in all {
            served += usize::from(process.await.unwrap_or(false));
        }
    };
    tokio::time::timeout(ALL, wait).await.map_err(|_| Problem::new("not all ended in time"))?;
    let elapsed = began.elapsed();
    let requests = requests.load(Ordering::Relaxed);
    bench.report.add(Line::judged(
        "storm",
        format!("{PROCESSES} processes through the agent: token requests"),
        format!("{requests}; {served} served, within {:.1} s", elapsed.as_secs_f64()),
        "1, and all served",
        requests == 1 && served == PROCESSES,
    ));
    let memory = super::mib(agent.usage().peak);
    bench.report.add(Line::told(
        "storm",
        "the most memory the agent used",
        format!("{memory:.1} MiB"),
    ));
    agent.end().await;
    server.abort();
    Ok(())
}

async fn agent(bench: &Bench, socket: &Path) -> Result<Process> {
    let mut agent = Launch::new(bench.tokenry.path())
        .args(["agent", "--output", "json", "--socket"])
        .arg(socket)
        .start()?;
    agent.first_line(START).await.doing("tokenry agent")?;
    Ok(agent)
}

/// A token endpoint that counts, and takes its time.
async fn serve(listener: TcpListener, requests: Arc<AtomicU64>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let requests = requests.clone();
        tokio::spawn(async move {
            let mut request = vec![0; 4096];
            let mut length = 0;
            // The form ends with the request.
            while let Ok(read @ 1..) = stream.read(&mut request[length..]).await {
                length += read;
                if request[..length].windows(10).any(|window| window == b"grant_type") {
                    break;
                }
            }
            requests.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(50)).await;
            let body = token::answer();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(&body).await;
        });
    }
}
