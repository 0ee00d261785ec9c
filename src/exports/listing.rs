//! The jobs of a site, as a store lists them.

use std::collections::HashSet;

use uuid::Uuid;

/// The jobs of a site.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// The jobs.
    pub(crate) jobs: HashSet<Uuid>,
    /// The marks: jobs to be deleted, and those whose plan is gone already when a crash left the mark.
    pub(crate) marked: HashSet<Uuid>,
    /// Whether a plan was set aside that may still have files at OpenEMR.
    pub(crate) has_lost_plan: bool,
    /// How often jobs were added, marked or removed. A store that several gateways share adds a job only to the list that was read.
    pub(crate) changes: u64,
}
