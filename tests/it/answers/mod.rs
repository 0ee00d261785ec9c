//! Answers to clients, and the searches that OpenEMR gets.

mod bundles;
mod codings;
mod compression;
mod content;
mod cors;
mod criteria;
mod documents;
mod errors;
mod evaluator;
mod filters;
mod interactions;
mod links;
mod long_searches;
mod mended;
mod not_fhir;
mod paging;
mod pieces;
mod question_values;
mod questions;
mod search;
mod shared_pages;
mod spellings;
mod stored_documents;
mod us_core;
mod us_core_evaluator;
mod us_core_table;
