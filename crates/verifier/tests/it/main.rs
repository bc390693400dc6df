//! The verifier as an API sees it: through its layer, with an issuer made here and time that is wound by hand.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bound;
mod cache;
mod certificate;
mod extractors;
mod feed;
mod http;
mod introspection;
mod issuer;
mod issuers;
mod known;
mod log;
mod metadata;
mod oracle;
mod proofs;
mod rows;
mod status;
mod whole;
