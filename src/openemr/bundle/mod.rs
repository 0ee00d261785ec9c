//! The Bundle that answers a search, as OpenEMR writes it, and the step that makes a valid searchset of it.

mod entry;
mod fault;
mod full_url;
mod links;
mod local_time;
mod members;
mod page;
mod reader;
mod searchset;
mod seen;
pub(crate) mod stream;
mod targets;
