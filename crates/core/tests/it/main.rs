//! The core as its users see it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod arbitrary;
mod jose;
mod ml_dsa;
mod oracle;
mod vectors;
