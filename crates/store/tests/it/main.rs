//! What every store must do, whatever happens to it.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

#[macro_use]
mod conformance;
mod as_needed;
mod crash;
mod failures;
mod fixture;
mod model;
mod processes;
mod revocations;
