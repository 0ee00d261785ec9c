//! The access token: where it comes from, how long it serves, what is done when OpenEMR refuses it.

mod clock_skew;
mod discovery;
mod faults;
mod life;
mod recovery;
mod refresh_under_load;
mod rotation;
