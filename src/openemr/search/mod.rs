//! A search as a client asks for it, as OpenEMR is asked for it, and what its answer has to look like.

pub(crate) mod paging;
mod parameters;
pub(crate) mod plan;
pub(crate) mod read_terms;
mod reference;
pub(crate) mod terms;
mod warning;
