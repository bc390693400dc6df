//! Where time, randomness and secrets come in from outside.

use std::io::{Read as _, Write as _};
use std::path::Path;

use tokenry_core::{Secret, Timestamp};
use tokenry_server::{Clock as _, SystemClock};

use crate::diagnostic::{Diagnostic, plain};

/// The longest secret or key that is read: twice an ML-DSA-87 key as a JWK.
const MAX_SECRET: u64 = 8192;

/// The time now.
pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}

/// Random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Diagnostic> {
    tokenry_server::random().map_err(|error| Diagnostic::error(error.to_string()))
}

/// A point in time as people write it, in UTC.
pub(crate) fn date(at: Timestamp) -> String {
    let millis = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis)
        .map_or_else(|_| "never".to_owned(), |t| format!("{t:.0}"))
}

/// Makes a new file that only its owner can read, and writes it. An existing one stays as it is.
pub(crate) fn write_private(path: &Path, content: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()
}

/// Writes a generated secret to a new file, without a line break that some reader would take for a part of it.
pub(crate) fn hand_over(path: &Path, secret: &Secret, what: &str) -> Result<(), Diagnostic> {
    write_private(path, secret.expose()).map_err(|error| {
        Diagnostic::error(format!(
            "{what} cannot be written to {}: {}",
            path.display(),
            plain(&error)
        ))
        .help("nothing was changed; an existing file is never overwritten")
    })
}

/// Removes the file of a secret that came to nothing.
pub(crate) fn take_back(path: &Path, error: Diagnostic) -> Diagnostic {
    match std::fs::remove_file(path) {
        Ok(()) => error,
        Err(_) => error.help(format!("what stands in {} is of no use", path.display())),
    }
}

/// Reads a secret from a file, or from standard input if the file is `-`. A line break at its end is not part of it.
///
/// `what` names it in errors, which never repeat it.
pub(crate) fn read_secret(path: &Path, what: &str) -> Result<Secret, Diagnostic> {
    let from = if path == Path::new("-") {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    };
    let unreadable = |e: std::io::Error| {
        Diagnostic::error(format!("{what} cannot be read from {from}: {}", plain(&e)))
    };
    let mut text = zeroize::Zeroizing::new(String::new());
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(MAX_SECRET + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_SECRET + 1).read_to_string(&mut text))
    };
    let length = read.map_err(unreadable)?;
    if u64::try_from(length).is_ok_and(|length| length > MAX_SECRET) {
        return Err(Diagnostic::error(format!(
            "{what} from {from} is longer than {MAX_SECRET} bytes"
        )));
    }
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.is_empty() {
        return Err(Diagnostic::error(format!("{what} from {from} is empty")));
    }
    Ok(Secret::new(secret))
}
