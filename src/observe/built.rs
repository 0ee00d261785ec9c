//! What this program was built from.

/// The version, the commit where one is known, and the target.
pub(crate) const VERSION: &str = env!("OPENEMR_GATEWAY_VERSION");

/// The target triple.
pub(crate) const TARGET: &str = env!("OPENEMR_GATEWAY_TARGET");

/// The commit, or `unknown`; it ends with `modified` where the sources differed from it.
pub(crate) const COMMIT: &str = env!("OPENEMR_GATEWAY_BUILT_FROM");
