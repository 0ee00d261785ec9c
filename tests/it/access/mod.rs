//! Who may call, and for what.

#[cfg(feature = "sandbox")]
mod certificates;
