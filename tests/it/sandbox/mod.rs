//! The sandbox, compared with recordings of OpenEMR.

mod faults;
mod promises;
mod recorded;
mod requests;
