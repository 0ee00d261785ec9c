//! OpenEMR survives its callers: limits, and what becomes of requests beyond them.

mod at_once;
mod rates;
mod told;
