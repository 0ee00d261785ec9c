//! Who may call, and for what.

#[cfg(feature = "sandbox")]
mod certificates;
#[cfg(feature = "sandbox")]
mod new_key;
