//! The audit trail: what is recorded, where, and whether it can be relied on.

mod killed;
mod records;
mod trail;
//! The audit trail.

mod disclosures;
mod search;
