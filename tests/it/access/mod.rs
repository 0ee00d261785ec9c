//! Who may call, and for what.
