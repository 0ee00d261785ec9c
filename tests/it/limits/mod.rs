//! Limits: what no client can take from the others, what becomes of requests beyond them, and what is asked of OpenEMR once.

mod at_once;
mod connections;
mod fairness;
mod held_openemr;
mod queue;
pub mod rates;
mod shared;
mod slow;
pub mod told;
mod validators;
