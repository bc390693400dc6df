//! What a test logs, for those that look for what must not be there.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, ThreadId};

use tracing_subscriber::filter::LevelFilter;

/// The log of this test, all of which happens on one thread.
pub(crate) struct Log(ThreadId);

type Logs = Arc<Mutex<HashMap<ThreadId, Vec<u8>>>>;

fn logs() -> &'static Logs {
    static LOGS: OnceLock<Logs> = OnceLock::new();
    LOGS.get_or_init(|| {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_writer(|| Writer(thread::current().id()))
            .finish();
        // For all threads: one that has no subscriber would switch events off for the others, too.
        tracing::subscriber::set_global_default(subscriber).unwrap();
        Logs::default()
    })
}

impl Log {
    /// Keeps what this thread logs from now on.
    pub(crate) fn keep() -> Self {
        let id = thread::current().id();
        logs().lock().unwrap().insert(id, Vec::new());
        Self(id)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(logs().lock().unwrap()[&self.0].clone()).unwrap()
    }
}

struct Writer(ThreadId);

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Some(log) = logs().lock().unwrap().get_mut(&self.0) {
            log.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
