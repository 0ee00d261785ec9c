//! The sandbox, compared with recordings of OpenEMR.

mod faults;
mod measured;
mod next;
mod own_shapes;
mod promises;
mod recorded;
mod requests;
