//! How much of a document the mender keeps. What is longer passes as it is.

/// The longest name of a member, and the longest number, in bytes as written.
pub(crate) const MAX_NAME: u64 = 2048;

/// The most levels of a document.
pub(crate) const MAX_DEPTH: u32 = 128;

/// The longest member or item, in bytes as OpenEMR wrote it, that is kept until it is known what becomes of it.
pub(crate) const MAX_HELD: u64 = 64 * 1024;
