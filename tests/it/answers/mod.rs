//! Answers to clients, and the searches that OpenEMR gets.

mod bundles;
mod compression;
mod content;
mod cors;
mod documents;
mod errors;
mod evaluator;
mod filters;
mod interactions;
mod links;
mod long_searches;
mod paging;
mod question_values;
mod questions;
mod search;
mod spellings;
