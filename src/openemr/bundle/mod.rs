//! The Bundle that answers a search, as OpenEMR writes it, and the step that makes a valid searchset of it.

mod dropped_entry;
mod entry;
mod head;
mod links;
mod local_time;
mod page;
pub(crate) mod stream;
