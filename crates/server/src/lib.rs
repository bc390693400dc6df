//! The authorization server as a library: sockets in, tokens out.
//!
//! [`App`] is the server without a socket; [`serve`] gives it one. What it decides is decided in `tokenry-core`;
//! here are the accept loop, the realms in memory, the keys, and the bytes of each dialect.
//!
//! What this crate does not do: read configuration, parse arguments, set up logging.

mod admin;
mod admission;
mod app;
pub mod certificate;
mod clients;
mod clock;
mod dialect;
mod directory;
mod document;
mod endpoint;
mod feed;
mod fetch;
mod http_answer;
mod in_process;
mod json;
mod keyring;
mod life;
mod limits;
mod metadata;
mod metrics;
pub mod password;
mod peer;
mod reader;
mod remote_keys;
mod reuse;
mod revoking;
mod serve;
mod socket;
mod status_list;
mod throttle;
mod tls;
mod workers;

pub use admin::{Access, Admin, AdminGuard, Administration, Denied, serve_admin};
pub use app::{App, StartError, Summary, Ways};
pub use clock::{Clock, NoEntropy, SystemClock, random};
pub use fetch::{
    Allowed, Fetch, FetchError, FetchRules, HttpsFetch, NotAllowable, NotCertificates, is_fetchable,
};
pub use http_answer::Body;
pub use in_process::{Issues, NotKnown};
pub use limits::Limits;
pub use peer::{BadNetwork, Network, Peer, Proxies};
pub use revoking::{RevokedKind, RevokedToken, revoke_token};
pub use serve::serve;
pub use tls::{Tls, TlsError};
pub use workers::Workers;
