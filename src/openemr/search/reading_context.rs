//! The facts on which the reading of a search's parameters depends.

use crate::fhir::capabilities::TypeCapabilities;
use crate::openemr::breakages::Measured;
use crate::openemr::version::Version;

/// The facts on which the reading of parameters depends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadingContext<'a> {
    /// The type that is searched.
    pub(crate) resource_type: &'static str,
    /// OpenEMR's version; `None` while it is not known.
    pub(crate) version: Option<Version>,
    /// What goes wrong in it.
    pub(crate) measured: Measured,
    /// OpenEMR's announcement of the type; without a version, what every version announces.
    pub(crate) known: &'a TypeCapabilities,
    /// The addresses of this server, with which references to its resources may begin.
    pub(crate) bases: &'a [String],
    /// Whether parameters are repaired.
    pub(crate) repairs: bool,
    /// Whether pages are cut, which takes `_count` and `_offset` even without repairs.
    pub(crate) pages: bool,
    /// Whether every match is tested, whatever is asked.
    pub(crate) tests_all: bool,
}
