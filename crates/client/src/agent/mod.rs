//! The agent: holds tokens for all processes of a machine, so that a thousand of them are one client to the server.
//!
//! A process asks an agent by [`AgentSource`], a [`TokenSource`](crate::TokenSource): for a token that the agent's file
//! [names](AgentSource::named), or for that of a keeper which the process [lends](AgentSource::lent) with its secrets.
//! Processes that lend the same keeper share it. The source keeps a copy of the token, so that requests stay in the process,
//! and has [somebody else](AgentSource::or) to ask where there is no agent.
//!
//! An [`AgentServer`] knows by the operating system's word who asks. What is said over its socket is plain enough for curl:
//!
//! ```sh
//! curl --unix-socket "$XDG_RUNTIME_DIR/tokenry/agent.sock" http://localhost/v1/token --json '{"name":"billing"}'
//! ```

mod access;
#[expect(clippy::module_inception, reason = "the way to an agent is the agent to who asks")]
mod agent;
mod builder;
mod find;
mod lent;
mod listen;
mod metrics;
mod protocol;
mod register;
mod server;
mod site;
#[cfg(unix)]
mod socket;
mod source;

#[cfg(test)]
mod server_tests;
#[cfg(test)]
#[cfg(unix)]
mod socket_tests;
#[cfg(test)]
mod source_tests;
#[cfg(test)]
mod testing;

pub use access::{Access, Peer};
pub use agent::{Agent, AgentFault, Io};
pub use builder::AgentServerBuilder;
pub use protocol::{AgentError, Invalidated, Listed, Trouble};
pub use server::AgentServer;
#[cfg(unix)]
pub use socket::{AgentListener, ListenError, own_user};
pub use source::AgentSource;
