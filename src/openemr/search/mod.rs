//! A search as a client asks for it, as OpenEMR is asked for it, and what its answer has to look like.

pub mod paging;
pub mod parameters;
pub mod plan;
pub mod read_terms;
pub mod reference;
pub mod terms;
pub mod warning;
