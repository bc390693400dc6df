//! The issuer's public keys: where they come from, and how they are kept.

mod cache;
mod http_source;
mod snapshot;
mod source;

pub(crate) use cache::{KeyCache, Refetch, Refreshed, Schedule};
pub use http_source::{HttpConfigError, HttpKeySource, HttpKeySourceBuilder};
pub(crate) use snapshot::{Key, Snapshot};
pub use source::{FetchError, Fetched, KeySource};
