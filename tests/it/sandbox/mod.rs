//! The sandbox, compared with recordings of OpenEMR.

mod faults;
mod measured;
mod next;
mod promises;
mod recorded;
mod requests;
