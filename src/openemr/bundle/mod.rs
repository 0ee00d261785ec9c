//! The Bundle that answers a search, as OpenEMR writes it, and the step that makes a valid searchset of it.

mod entry;
pub(crate) mod fault;
mod full_url;
pub(crate) mod joined;
mod links;
mod local_time;
mod members;
mod page;
mod reader;
mod searchset;
mod seen;
pub(crate) mod stream;
mod targets;
