//! What a proxy counts.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// What was counted since the start.
        #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
        #[non_exhaustive]
        pub struct Counts {
            $($(#[doc = $doc])* pub $name: u64,)*
        }

        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: Counter,)*
        }

        impl Counters {
            pub(super) fn counts(&self) -> Counts {
                Counts { $($name: self.$name.0.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Requests that began.
    requests,
    /// Requests that were refused: malformed, for somebody else, from foreign web pages.
    refused,
    /// Requests that were not sent, since there was no token.
    without_token,
    /// Requests that an upstream did not answer, or not in time.
    unanswered,
    /// Requests that were sent once more, after a 401 or for a nonce.
    repeated,
    /// Answers that say 401, as programs got them.
    unauthorized,
    /// Connections to upstreams that were opened.
    dialled,
    /// Connections that became something else: WebSocket, a tunnel.
    tunnels,
}

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
