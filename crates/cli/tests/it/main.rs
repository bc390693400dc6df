//! The built binary, from the outside: arguments and files in, exit code, answer and complaint out.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod admin;
#[cfg(unix)]
mod agent;
#[cfg(unix)]
mod caddy;
mod canary;
mod certificate;
mod client_certificate;
mod concurrent;
mod crash;
mod doctor;
mod exec;
mod feed;
mod files;
#[cfg(unix)]
mod forward_auth;
mod inspect;
mod introspection;
mod killed;
#[cfg(unix)]
mod nginx;
mod output;
mod proxy;
mod recovery;
mod revoked;
mod run;
mod running;
mod secrets;
mod server;
mod sources;
#[cfg(unix)]
mod status_lists;
mod store;
mod subjects;
mod tokens;
#[cfg(unix)]
mod verify_settings;
