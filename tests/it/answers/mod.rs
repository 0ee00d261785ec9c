//! Answers to clients, and the searches that OpenEMR gets.

mod bundles;
mod codings;
mod compression;
mod content;
mod cors;
mod documents;
mod errors;
mod interactions;
mod links;
mod not_fhir;
mod paging;
mod search;
mod stored_documents;
