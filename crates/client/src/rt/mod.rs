//! What the keeper runs on: a lock, tasks and time. A test can have them from a model that tries interleavings.

#[cfg(not(test))]
pub(crate) use std::sync::{Mutex, MutexGuard};
#[cfg(not(test))]
pub(crate) use tokio::runtime::Handle;
#[cfg(not(test))]
pub(crate) use tokio::time::{Instant, sleep, timeout};

#[cfg(test)]
mod modelled;
#[cfg(test)]
pub(crate) use self::modelled::{
    Handle, Instant, Mutex, MutexGuard, advance, model, sleep, timeout,
};
