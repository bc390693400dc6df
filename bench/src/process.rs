//! Processes on cores of their own, which end when this one does.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::problem::{Doing as _, Problem, Result};

/// How long a process may take to end when it is told to.
const ENDING: Duration = Duration::from_secs(10);

/// Enough for 5,000 connections and what else is open.
const OPEN_FILES: u32 = 16_384;

/// A process to be started.
pub(crate) struct Launch {
    program: OsString,
    args: Vec<OsString>,
    cores: Option<String>,
    folder: Option<PathBuf>,
    environment: Vec<(String, String)>,
    log: Option<PathBuf>,
    silent: bool,
}

impl Launch {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            cores: None,
            folder: None,
            environment: Vec::new(),
            log: None,
            silent: false,
        }
    }

    /// One of this program's own commands.
    ///
    /// Of the program that runs: another build may have taken its place on the disk in the meantime.
    pub(crate) fn own(command: &str) -> Self {
        Self::new(format!("/proc/{}/exe", std::process::id())).arg(command)
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Binds it to cores, such as `0` or `0,1`.
    pub(crate) fn on(mut self, cores: &str) -> Self {
        self.cores = Some(cores.to_owned());
        self
    }

    pub(crate) fn folder(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Where its standard error goes; without it to nowhere.
    pub(crate) fn log(mut self, path: &Path) -> Self {
        self.log = Some(path.to_owned());
        self
    }

    /// Throws away what it prints. Whoever prints much, to nobody who reads, would stand still at last.
    pub(crate) const fn silent(mut self) -> Self {
        self.silent = true;
        self
    }

    fn command(&self) -> Result<Command> {
        // Each of these replaces itself by the next, so that the process identifier is the program's.
        // The first has it told to end when we die without a chance to do so ourselves.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "prlimit", &format!("--nofile={OPEN_FILES}")]);
        if let Some(cores) = &self.cores {
            command.args(["taskset", "-c", cores]);
        }
        command.arg(&self.program).args(&self.args);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let stdout = if self.silent { Stdio::null() } else { Stdio::piped() };
        command.stdin(Stdio::null()).stdout(stdout);
        command.stderr(match &self.log {
            None => Stdio::null(),
            Some(path) => std::fs::File::options().create(true).append(true).open(path)?.into(),
        });
        // A group of its own, so that its own children go with it.
        command.process_group(0).kill_on_drop(true);
        Ok(command)
    }

    /// Starts it.
    pub(crate) fn start(&self) -> Result<Process> {
        let name = self.program.to_string_lossy().into_owned();
        let child = self.command()?.spawn().doing(&format!("starting {name}"))?;
        let pid = child.id().ok_or_else(|| Problem::new(format!("{name} ended at once")))?;
        Ok(Process { child, pid, name })
    }

    /// Runs it to its end, within a time; gives what it printed.
    pub(crate) async fn output(&self, input: Option<&str>, within: Duration) -> Result<String> {
        let name = self.program.to_string_lossy().into_owned();
        let mut command = self.command()?;
        if input.is_some() {
            command.stdin(Stdio::piped());
        }
        if self.log.is_none() {
            command.stderr(Stdio::piped());
        }
        let mut child = command.spawn().doing(&format!("starting {name}"))?;
        let pid = child.id();
        if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
            stdin.write_all(input.as_bytes()).await?;
        }
        let Ok(output) = timeout(within, child.wait_with_output()).await else {
            if let Some(pid) = pid {
                kill(pid, "KILL");
            }
            return Err(Problem::new(format!("{name} was not done in {} s", within.as_secs())));
        };
        let output = output?;
        if !output.status.success() {
            let log = match &self.log {
                Some(path) => std::fs::read_to_string(path).unwrap_or_default(),
                None => String::from_utf8_lossy(&output.stderr).into_owned(),
            };
            return Err(Problem::new(format!("{name} {:?} failed: {}", self.args, tail(&log))));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// The last lines of a log.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

/// A process that runs; it ends with this value.
pub(crate) struct Process {
    child: Child,
    pid: u32,
    name: String,
}

impl Process {
    /// The first line that it prints, within a time.
    pub(crate) async fn first_line(&mut self, within: Duration) -> Result<String> {
        let stdout = self.child.stdout.take().ok_or_else(|| Problem::new("read already"))?;
        let mut lines = BufReader::new(stdout).lines();
        let line = timeout(within, lines.next_line())
            .await
            .map_err(|_| Problem::new(format!("{} did not start in time", self.name)))??;
        // Read on, so that it can go on printing.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        line.ok_or_else(|| Problem::new(format!("{} ended before it was ready", self.name)))
    }

    /// Tells it to end, and sees to it that it does.
    pub(crate) async fn end(mut self) {
        kill(self.pid, "TERM");
        let _ = timeout(ENDING, self.child.wait()).await;
    }

    /// What it uses.
    pub(crate) fn usage(&self) -> Usage {
        Usage::of(&self.pid.to_string())
    }

    /// Its group, to be stopped while others are measured.
    pub(crate) const fn group(&self) -> Group {
        Group(self.pid)
    }
}

/// A process and its children, which can be stopped and go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Group(u32);

impl Group {
    /// Stops it where it is.
    pub(crate) fn stop(self) {
        kill(self.0, "STOP");
    }

    /// Lets it go on.
    pub(crate) fn go_on(self) {
        kill(self.0, "CONT");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        kill(self.pid, "KILL");
    }
}

/// Sends a signal to a process that was started here and to all of its group.
fn kill(pid: u32, signal: &str) {
    let _ = std::process::Command::new("kill")
        .args([format!("-{signal}"), "--".to_owned(), format!("-{pid}")])
        .stderr(Stdio::null())
        .status();
}

/// What a process uses, as the kernel counts it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Memory that is in RAM, in bytes.
    pub(crate) resident: u64,
    /// The most that it ever was.
    pub(crate) peak: u64,
    /// Seconds of all its threads.
    pub(crate) cpu_seconds: f64,
}

/// The kernel counts CPU time in hundredths of a second on every Linux there is.
const TICKS: f64 = 100.0;

impl Usage {
    fn of(pid: &str) -> Self {
        let read =
            |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let status = read("status");
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        let stat = read("stat");
        // The name may hold spaces and parentheses; what is after the last one does not.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: f64 =
            fields.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum();
        Self {
            resident: kib("VmRSS:") * 1024,
            peak: kib("VmHWM:") * 1024,
            cpu_seconds: ticks / TICKS,
        }
    }
}

/// CPU time of this process.
pub(crate) fn own_cpu_seconds() -> f64 {
    Usage::of("self").cpu_seconds
}

/// Memory of this process that is in RAM, in bytes.
pub(crate) fn own_resident() -> u64 {
    Usage::of("self").resident
}
