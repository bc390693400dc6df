//! What every store must do, whatever happens to it.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

mod conformance;
mod crash;
mod failures;
mod fixture;
mod model;
mod processes;
