//! Limits: how often callers may ask, whose request is next when OpenEMR is busy, and how many requests OpenEMR can take.
//!
//! Pure: keys, costs and times are passed in.
