//! Answers to clients, and the searches that OpenEMR gets.

mod bundles;
mod compression;
mod content;
mod cors;
mod documents;
mod errors;
mod filters;
mod interactions;
mod links;
mod paging;
mod search;
