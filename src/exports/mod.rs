//! Bulk exports: their plans on disk, the worker that carries them out, and the requests that this takes of OpenEMR.

pub(crate) mod files;
pub(crate) mod jobs;
pub(crate) mod openemr;
pub(crate) mod progress;
mod room;
pub(crate) mod store;
pub(crate) mod worker;
