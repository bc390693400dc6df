//! The command that runs, and the signals that reach it.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};

use clap::ValueEnum;
use rustix::process::{Pid, Signal};
use tokio::signal::unix::{SignalKind, signal};

use super::{Arguments, TokenFile};
use crate::diagnostic::{Diagnostic, plain};

/// How a command can be told of a new token.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Notice {
    #[value(name = "HUP", alias = "SIGHUP")]
    Hup,
    #[value(name = "USR1", alias = "SIGUSR1")]
    Usr1,
    #[value(name = "USR2", alias = "SIGUSR2")]
    Usr2,
    #[value(name = "WINCH", alias = "SIGWINCH")]
    Winch,
    #[value(name = "INT", alias = "SIGINT")]
    Int,
    #[value(name = "TERM", alias = "SIGTERM")]
    Term,
}

impl Notice {
    pub(super) const fn signal(self) -> Signal {
        match self {
            Self::Hup => Signal::HUP,
            Self::Usr1 => Signal::USR1,
            Self::Usr2 => Signal::USR2,
            Self::Winch => Signal::WINCH,
            Self::Int => Signal::INT,
            Self::Term => Signal::TERM,
        }
    }
}

/// The command as a process.
pub(super) struct Child(tokio::process::Child);

impl Child {
    /// Starts the command, which finds the token in this file.
    pub(super) fn start(arguments: &Arguments, file: &TokenFile) -> io::Result<Self> {
        let [program, rest @ ..] = arguments.command.as_slice() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let mut command = tokio::process::Command::new(program);
        command.args(rest);
        for variable in arguments.source.secret_variables() {
            command.env_remove(variable);
        }
        command.env(&arguments.env, file.path());
        command.spawn().map(Self)
    }

    /// Waits until it has ended; gives the exit code of this process.
    pub(super) async fn ended(&mut self) -> Result<ExitCode, Diagnostic> {
        let status = self.0.wait().await.map_err(|error| {
            Diagnostic::error(format!("the command's end cannot be seen: {}", plain(&error)))
        })?;
        Ok(ExitCode::from(code(status)))
    }

    /// Sends it a signal, unless it has ended.
    pub(super) fn send(&self, signal: Signal) {
        let id = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(id) = id {
            // It has not been waited for, so that nobody else has its number. One that ended a moment ago needs no signal.
            let _ = rustix::process::kill_process(id, signal);
        }
    }

    /// Sends it a signal that this process got.
    pub(super) fn pass_on(&self, signal: Signal) {
        // A terminal sends Ctrl-C to both of us. A second one makes some commands end without tidying up.
        if matches!(signal, Signal::INT | Signal::QUIT) && is_in_foreground() {
            return;
        }
        self.send(signal);
    }
}

/// What a shell would say: the exit code, or 128 and the signal's number.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// Whether a terminal sends its signals to this process, and so to the command.
fn is_in_foreground() -> bool {
    let Ok(terminal) = std::fs::File::open("/dev/tty") else { return false };
    rustix::termios::tcgetpgrp(terminal).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// The signals that are passed on.
pub(super) struct Signals {
    hangup: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    quit: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    user1: tokio::signal::unix::Signal,
    user2: tokio::signal::unix::Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, Diagnostic> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Diagnostic::error(format!("signals cannot be received: {}", plain(&error)))
            })
        };
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            interrupt: listen(SignalKind::interrupt())?,
            quit: listen(SignalKind::quit())?,
            terminate: listen(SignalKind::terminate())?,
            user1: listen(SignalKind::user_defined1())?,
            user2: listen(SignalKind::user_defined2())?,
        })
    }

    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.hangup.recv() => Signal::HUP,
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.quit.recv() => Signal::QUIT,
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.user1.recv() => Signal::USR1,
            _ = self.user2.recv() => Signal::USR2,
        }
    }
}
