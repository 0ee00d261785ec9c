//! An upgrade: a new process takes the listeners of the running one without a refused connection, or changes nothing.
//!
//! | File | What it knows |
//! |---|---|
//! | `socket` | where the upgrade socket is |
//! | `private_folder` | whether other users can put anything into its folder |
//! | `messages` | what the two processes say, and how sockets are attached to it |
//! | `order` | the order to hand over, which SIGQUIT gives |
//! | `hand_over` | the running side |
//! | `take_over` | the new side |
//!
//! Decision: `docs/decisions/31-upgrade.md`.

pub(super) mod hand_over;
mod messages;
pub(super) mod order;
mod private_folder;
pub(super) mod socket;
pub(super) mod take_over;
