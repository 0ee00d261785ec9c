//! The audit trail: what is recorded, where, and whether it can be relied on.

mod disclosures;
mod killed;
mod records;
mod repository;
mod search;
mod trail;
