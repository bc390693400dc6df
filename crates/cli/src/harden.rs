//! What keeps the memory of a process to itself, for those that hold secrets for long.

use crate::diagnostic::Diagnostic;

/// No core dump, and nobody but root may read the memory of this process or trace it.
///
/// A process is its user's: without this, every other program of that user could read every token that it holds.
/// What cannot be had is told, and is no reason to stop: a container may forbid it.
#[cfg(target_os = "linux")]
pub(crate) fn harden() -> Option<Diagnostic> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let no_core = Rlimit { current: Some(0), maximum: Some(0) };
    let done =
        setrlimit(Resource::Core, no_core).map_err(std::io::Error::from).and_then(|()| keep_out());
    let cause = crate::diagnostic::plain(&done.err()?);
    Some(Diagnostic::warning(format!("the memory of this process is not protected: {cause}")))
}

/// Nobody but root may read the memory of this process or trace it. Its children are not touched.
#[cfg(target_os = "linux")]
pub(crate) fn keep_out() -> std::io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Other systems protect a process by other means, or not.
#[cfg(not(target_os = "linux"))]
pub(crate) const fn harden() -> Option<Diagnostic> {
    None
}

/// The same.
#[cfg(not(target_os = "linux"))]
pub(crate) const fn keep_out() -> std::io::Result<()> {
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};

    use super::*;

    #[test]
    fn a_process_with_secrets_leaves_no_core_and_is_not_looked_into() {
        assert!(harden().is_none());
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
}
