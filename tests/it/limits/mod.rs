//! Limits: what no client can take from the others.

mod connections;
mod fairness;
mod slow;
