//! The audit trail: what is recorded, where, whether it can be relied on, and how it is read.

#[cfg(feature = "sandbox")]
mod accounted;
mod disclosures;
#[cfg(feature = "sandbox")]
mod exports;
#[cfg(feature = "sandbox")]
mod full;
#[cfg(feature = "sandbox")]
mod killed;
#[cfg(feature = "sandbox")]
mod latency;
#[cfg(feature = "sandbox")]
mod records;
#[cfg(feature = "sandbox")]
mod repository;
mod search;
#[cfg(feature = "sandbox")]
pub mod trail;
#[cfg(feature = "sandbox")]
mod verifying;
