//! The sandbox: what it plays, held against recordings of OpenEMR.

mod faults;
mod promises;
mod recorded;
