//! Limits: how often callers may ask, whose request is next when OpenEMR is busy, and how many requests OpenEMR can take.
//!
//! Pure: keys, costs and times are passed in.

pub(crate) mod admission;
pub(crate) mod at_once;
pub(crate) mod client_limits;
pub(crate) mod rate;
pub(crate) mod rate_table;
pub(crate) mod subject;
pub(crate) mod usage;
