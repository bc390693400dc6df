//! The lives of connections: who is idle is closed, and at the end all finish what they have begun.
//!
//! No connection has a timer, or a place in anybody's queue, that each of its requests would touch: now and then
//! somebody looks at all of them.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use futures_util::task::AtomicWaker;
use hyper_util::server::graceful::GracefulConnection;

/// What a connection has been told. It goes up, never down.
mod told {
    /// It is not yet agreed on how to speak, which has a limit of its own.
    pub(super) const NOTHING_YET: u8 = 0;
    pub(super) const SPEAK: u8 = 1;
    pub(super) const FINISH: u8 = 2;
    pub(super) const CLOSE: u8 = 3;
}

/// All open connections of a listener.
#[derive(Debug, Default)]
pub(crate) struct Lives {
    open: Mutex<HashMap<u64, Arc<Life>>>,
    next: AtomicU64,
}

/// One connection; it has ended once this is dropped.
#[derive(Debug)]
pub(crate) struct Alive {
    lives: Arc<Lives>,
    life: Arc<Life>,
    /// Which connection of the listener it is.
    pub(crate) number: u64,
}

#[derive(Debug)]
struct Life {
    began: AtomicU64,
    ended: AtomicU64,
    /// How many requests had begun when it was looked at last and was idle; otherwise [`BUSY`].
    idle_at: AtomicU64,
    told: AtomicU8,
    waker: AtomicWaker,
}

const BUSY: u64 = u64::MAX;

/// A request that has begun; it ends with this value, answered or given up.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<Life>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

impl Lives {
    pub(crate) fn begin(self: &Arc<Self>) -> Alive {
        let life = Arc::new(Life {
            began: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            idle_at: AtomicU64::new(BUSY),
            told: AtomicU8::new(told::NOTHING_YET),
            waker: AtomicWaker::new(),
        });
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.open().insert(number, Arc::clone(&life));
        Alive { lives: Arc::clone(self), life, number }
    }

    /// Closes connections on which no request has begun or been under way since this was called the last time but one.
    ///
    /// It catches a peer that sends the head of a request slowly or not at all, one that agreed on HTTP/2 and says
    /// nothing more, and one that asks and never reads the answers. A request that is under way has limits of its own.
    pub(crate) fn close_idle(&self) {
        for life in self.open().values() {
            let began = life.began.load(Ordering::Relaxed);
            let idle = began == life.ended.load(Ordering::Relaxed)
                && life.told.load(Ordering::Relaxed) != told::NOTHING_YET;
            let idle_at = if idle { began } else { BUSY };
            if life.idle_at.swap(idle_at, Ordering::Relaxed) == idle_at && idle {
                life.tell(told::CLOSE);
            }
        }
    }

    /// Has all connections end as soon as what they have begun is answered.
    pub(crate) fn finish(&self) {
        self.open().values().for_each(|life| life.tell(told::FINISH));
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Life>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Life {
    fn is_idle(&self) -> bool {
        self.began.load(Ordering::Relaxed) == self.ended.load(Ordering::Relaxed)
    }

    fn tell(&self, what: u8) {
        if self.told.fetch_max(what, Ordering::AcqRel) < what {
            self.waker.wake();
        }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.lives.open().remove(&self.number);
    }
}

impl Alive {
    pub(crate) fn request(&self) -> UnderWay {
        self.life.began.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(&self.life))
    }

    /// Drives a connection to its end, or until it was idle for too long (`None`).
    pub(crate) async fn drive<C: GracefulConnection>(
        &self,
        mut connection: Pin<Box<C>>,
    ) -> Option<Result<(), C::Error>> {
        let life = &*self.life;
        life.told.fetch_max(told::SPEAK, Ordering::AcqRel);
        let mut finishing = false;
        poll_fn(|context| {
            life.waker.register(context.waker());
            match life.told.load(Ordering::Acquire) {
                told::NOTHING_YET | told::SPEAK => {}
                _ if finishing => {}
                // Here nothing can begin in between, and what has begun since it was told is answered.
                told::CLOSE if life.is_idle() => return Poll::Ready(None),
                _ => {
                    // What lies in the socket has come in time.
                    if let Poll::Ready(ended) = connection.as_mut().poll(context) {
                        return Poll::Ready(Some(ended));
                    }
                    finishing = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
            connection.as_mut().poll(context).map(Some)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_closed(alive: &Alive) -> bool {
        alive.life.told.load(Ordering::Relaxed) == told::CLOSE
    }

    fn speaking(lives: &Arc<Lives>) -> Alive {
        let alive = lives.begin();
        alive.life.tell(told::SPEAK);
        alive
    }

    #[test]
    fn a_connection_that_never_asks_is_closed_at_the_second_look() {
        let lives = Arc::new(Lives::default());
        let alive = speaking(&lives);
        lives.close_idle();
        assert!(!is_closed(&alive));
        lives.close_idle();
        assert!(is_closed(&alive));
    }

    #[test]
    fn a_request_that_is_under_way_is_not_idleness_however_long() {
        let lives = Arc::new(Lives::default());
        let alive = speaking(&lives);
        let under_way = alive.request();
        (0..100).for_each(|_| lives.close_idle());
        assert!(!is_closed(&alive));
        drop(under_way);
        lives.close_idle();
        assert!(!is_closed(&alive));
        lives.close_idle();
        assert!(is_closed(&alive));
    }

    #[test]
    fn whoever_asks_now_and_then_is_not_idle() {
        let lives = Arc::new(Lives::default());
        let alive = speaking(&lives);
        for _ in 0..100 {
            drop(alive.request());
            lives.close_idle();
        }
        assert!(!is_closed(&alive));
    }

    #[test]
    fn who_still_shakes_hands_is_not_idle() {
        let lives = Arc::new(Lives::default());
        let alive = lives.begin();
        (0..3).for_each(|_| lives.close_idle());
        assert!(!is_closed(&alive));
    }

    #[test]
    fn what_has_ended_is_forgotten() {
        let lives = Arc::new(Lives::default());
        let (a, b) = (lives.begin(), lives.begin());
        assert_ne!(a.number, b.number);
        drop(a);
        assert_eq!(lives.open().len(), 1);
        drop(b);
        assert!(lives.open().is_empty());
    }
}
