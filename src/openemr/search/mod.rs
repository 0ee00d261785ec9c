//! Searches: what of them OpenEMR is asked, what the gateway tests and what is refused, and the terms on which the answer is
//! rewritten.
//!
//! Decision: `docs/decisions/16-search.md`.

pub(crate) mod bound;
mod choice;
pub(crate) mod condition;
mod filter;
pub(crate) mod honoured;
mod names;
pub(crate) mod paging;
pub(crate) mod parameters;
pub(crate) mod plan;
pub(crate) mod read_terms;
mod reading_context;
mod reference;
mod refusal;
mod selectivity;
pub(crate) mod terms;
mod usual;
mod warning;
