//! Following an issuer's revocation feed, so that a token that was revoked is refused before it expires.
//!
//! One task follows the feed of one issuer; requests never wait for it. What it hears is in the index of revocations
//! before it believes that it has heard everything. Where it cannot be sure of that it is *behind*, says so, and after
//! a while has the issuer's policy applied.

mod follower;
mod http;
mod settings;
mod source;
mod standing;

pub(crate) use follower::{Around, Follower};
pub use settings::{FeedSettings, WhenBehind};
pub use source::{FeedError, FeedSource, FeedStream};
pub use standing::FeedMetrics;
