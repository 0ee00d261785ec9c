//! Bulk exports: their plans on the disk, the worker that carries them out, and OpenEMR's side of them.

pub mod jobs;
pub mod openemr;
pub mod store;
pub mod worker;
