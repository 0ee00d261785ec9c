//! Bulk exports: their plans on disk, the worker that carries them out, and the requests that this takes of OpenEMR.

pub mod jobs;
pub mod openemr;
pub mod store;
pub mod worker;
