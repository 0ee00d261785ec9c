//! The Bundle that answers a search, as OpenEMR writes it, and the step that makes a valid searchset of it.

pub mod dropped_entry;
pub mod entry;
pub mod head;
pub mod links;
pub mod local_time;
pub mod page;
pub mod stream;
