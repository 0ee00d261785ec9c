//! Limits: what callers may take of OpenEMR, and what is asked of it once.

mod held_openemr;
mod shared;
mod validators;
