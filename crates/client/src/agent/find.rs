//! Where the agent is that a process should ask.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::agent::Agent;

/// Names the agent's socket, or says `off`.
const SOCKET_VARIABLE: &str = "TOKENRY_AGENT";
/// The number of a user whose agent is believed, besides root and one's own.
const USER_VARIABLE: &str = "TOKENRY_AGENT_UID";
/// The URL of a loopback listener.
const URL_VARIABLE: &str = "TOKENRY_AGENT_URL";
/// The file that has its secret.
const SECRET_VARIABLE: &str = "TOKENRY_AGENT_SECRET_FILE";
/// Where the agent of the machine is, if there is one.
const MACHINE_SOCKET: &str = "/run/tokenry/agent.sock";

impl Agent {
    /// The agent that this process should ask, if there is one.
    ///
    /// - `TOKENRY_AGENT` names its socket; `off` or nothing says that none is to be asked;
    /// - `TOKENRY_AGENT_URL` and `TOKENRY_AGENT_SECRET_FILE` name a loopback listener, for containers;
    /// - else the socket `tokenry/agent.sock` in `XDG_RUNTIME_DIR`, or else `/run/tokenry/agent.sock`, if it exists.
    ///
    /// A socket is believed if it belongs to the user of this process, to root, or to the user whose number
    /// `TOKENRY_AGENT_UID` is.
    pub fn find() -> Option<Self> {
        Self::find_in(|name| std::env::var_os(name))
    }

    fn find_in(variable: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let trusted = variable(USER_VARIABLE).and_then(|uid| uid.to_str()?.parse().ok());
        if let Some(path) = variable(SOCKET_VARIABLE) {
            let is_off = path.is_empty() || path == "off";
            return (!is_off).then(|| Self::at_socket(path.into(), trusted)).flatten();
        }
        if let (Some(url), Some(secret)) = (variable(URL_VARIABLE), variable(SECRET_VARIABLE)) {
            return Self::loopback(url.to_str()?, PathBuf::from(secret));
        }
        let runtime = variable("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty());
        let own = runtime.map(|folder| Path::new(&folder).join("tokenry/agent.sock"));
        let candidates = own.into_iter().chain([PathBuf::from(MACHINE_SOCKET)]);
        let found = candidates.into_iter().find(|path| path.exists())?;
        Self::at_socket(found, trusted)
    }

    /// Where an agent of this user listens if nothing else is said.
    ///
    /// What `TOKENRY_AGENT` names, else `tokenry/agent.sock` in `XDG_RUNTIME_DIR`, else `/run/tokenry/agent.sock`.
    pub fn default_socket() -> PathBuf {
        let named = std::env::var_os(SOCKET_VARIABLE);
        if let Some(path) = named.filter(|path| !path.is_empty() && path != "off") {
            return path.into();
        }
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty());
        runtime.map_or_else(
            || PathBuf::from(MACHINE_SOCKET),
            |folder| Path::new(&folder).join("tokenry/agent.sock"),
        )
    }

    #[cfg(unix)]
    fn at_socket(path: PathBuf, trusted: Option<u32>) -> Option<Self> {
        let agent = Self::at(path);
        Some(match trusted {
            Some(uid) => agent.trusting(uid),
            None => agent,
        })
    }

    #[cfg(not(unix))]
    fn at_socket(_: PathBuf, _: Option<u32>) -> Option<Self> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_found_by_what_names_it_or_where_it_would_be() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = folder.path().to_str().unwrap();
        let find = |variables: &[(&str, &str)]| {
            let found = Agent::find_in(|name| {
                let value = variables.iter().find(|(own, _)| *own == name)?.1;
                Some(value.into())
            });
            found.map(|agent| agent.to_string())
        };
        let url = [(URL_VARIABLE, "http://127.0.0.1:1"), (SECRET_VARIABLE, "/s")];
        if !Path::new(MACHINE_SOCKET).exists() {
            assert_eq!(find(&[("XDG_RUNTIME_DIR", runtime)]), None);
        }
        std::fs::create_dir(folder.path().join("tokenry")).unwrap();
        std::fs::write(folder.path().join("tokenry/agent.sock"), "").unwrap();
        let own = format!("{runtime}/tokenry/agent.sock");
        assert_eq!(find(&[("XDG_RUNTIME_DIR", runtime)]), Some(own));
        let with = |more: (&'static str, &'static str)| {
            find(&[("XDG_RUNTIME_DIR", runtime), url[0], url[1], more])
        };
        assert_eq!(with((SOCKET_VARIABLE, "/a/b")).as_deref(), Some("/a/b"));
        assert_eq!(with((SOCKET_VARIABLE, "off")), None);
        assert_eq!(with((SOCKET_VARIABLE, "")), None);
        assert_eq!(with(("A", "b")).as_deref(), Some("http://127.0.0.1:1"));
    }
}
