//! Keeps the process's memory, which holds the private key and patient data, out of core files and from other programs of the
//! same user.
//!
//! Decision: `docs/decisions/32-secrets.md`.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// What was forbidden, to be allowed again where the configuration says so.
#[derive(Debug)]
pub(crate) struct Forbidden {
    limit: Rlimit,
}

/// Forbids core files, and other programs of this user to read the process's memory. It is called before any key is read.
/// Where the system does not let it, as in some sandboxes, the process runs all the same.
pub(crate) fn forbid() -> Forbidden {
    let limit = getrlimit(Resource::Core);
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: limit.maximum });
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    Forbidden { limit }
}

impl Forbidden {
    /// Allows again what was allowed when the process started.
    pub(crate) fn allow(self) {
        let _ = setrlimit(Resource::Core, self.limit);
        let _ = set_dumpable_behavior(DumpableBehavior::Dumpable);
    }
}
