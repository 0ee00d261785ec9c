//! What comes back to a client, and what a search reaches OpenEMR as.

mod bundles;
mod compression;
mod content;
mod cors;
mod documents;
mod errors;
mod interactions;
mod links;
mod paging;
mod search;
