//! The client against a server that misbehaves, by its public interface alone, on a virtual clock.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod cell;
mod crowd;
mod faults;
mod integration;
mod matrix;
mod page;
mod steady;
mod through_agent;
mod through_proxy;
mod through_reqwest;
mod world;
