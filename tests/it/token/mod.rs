//! The access token: where it comes from, how long it serves, and what happens when OpenEMR refuses it.

mod answers;
mod clock_skew;
mod discovery;
mod faults;
mod jwks_uri;
mod life;
mod recovery;
mod refresh_under_load;
mod rotation;
