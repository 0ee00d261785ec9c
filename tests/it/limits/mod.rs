//! Limits: what no client can take from the others, and what becomes of requests beyond them.

mod at_once;
mod connections;
mod fairness;
mod rates;
mod slow;
mod told;
