//! The audit trail.

mod disclosures;
mod search;
