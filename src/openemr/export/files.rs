//! The files of an export, which are OpenEMR's Binaries: which of them are of which type, and how long there are any.

use crate::openemr::export::plan::Plan;
use crate::openemr::export::state::{State, TypePlan};

/// How long OpenEMR keeps the files of a job after the kick-off, in milliseconds.
pub(crate) const FILES_LIVE: i64 = 60 * 60 * 1000;
/// How long OpenEMR may work on one job, in milliseconds.
pub(crate) const LONGEST_JOB: i64 = 15 * 60 * 1000;
/// The type of the files that say what went wrong.
pub(crate) const OUTCOME: &str = "OperationOutcome";

/// A file as a client knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GivenFile<'a> {
    /// The id of the Binary.
    pub(crate) id: &'a str,
    /// The type of the resources in it.
    pub(crate) resource_type: &'a str,
    number: usize,
}

impl GivenFile<'_> {
    /// Returns the name, which tells nothing of OpenEMR.
    #[must_use]
    pub(crate) fn name(&self) -> String {
        format!("{}-{}.ndjson", self.resource_type, self.number)
    }

    /// Whether it says what went wrong at OpenEMR.
    #[must_use]
    pub(crate) fn is_outcome(&self) -> bool {
        self.resource_type == OUTCOME
    }
}

impl Plan {
    /// Returns the Binaries with the resources of a type. Those of the job that made its Provenance come before those of its own
    /// job: no Provenance is of a resource that is not there.
    #[must_use]
    pub(crate) fn files_of<'a>(&'a self, one: &'a TypePlan) -> &'a [String] {
        let State::Done { files, .. } = &one.state else { return &[] };
        let with_provenance = self.types.iter().find_map(|other| match &other.state {
            State::Done { made_from, .. } if other.of.as_deref() == Some(&one.name) && one.of.is_none() => Some(made_from),
            _ => None,
        });
        with_provenance.filter(|made_from| !made_from.is_empty()).unwrap_or(files)
    }

    /// Iterates over the files that a client is told of, in the order of the manifest.
    pub(crate) fn given_files(&self) -> impl Iterator<Item = GivenFile<'_>> {
        let errors = self.types.iter().flat_map(|one| match &one.state {
            State::Done { errors, .. } => errors.as_slice(),
            _ => &[],
        });
        let output = self.types.iter().flat_map(|one| self.files_of(one).iter().map(|id| (id.as_str(), one.name.as_str())));
        let files = output.chain(errors.map(|id| (id.as_str(), OUTCOME))).zip(1..);
        files.map(|((id, resource_type), number)| GivenFile { id, resource_type, number })
    }

    /// Iterates over all files: the id of the Binary, and the type of the resources in it.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.types.iter().flat_map(|one| match &one.state {
            State::Done { files, errors, made_from, .. } => {
                let of = one.of.as_deref().unwrap_or_default();
                named(files, &one.name).chain(named(errors, OUTCOME)).chain(named(made_from, of))
            }
            _ => named(&[], "").chain(named(&[], "")).chain(named(&[], "")),
        })
    }

    /// Returns the time at which OpenEMR deletes the first file; `None` when there are no files.
    #[must_use]
    pub(crate) fn files_end_at(&self) -> Option<i64> {
        let begins = self.types.iter().filter_map(|one| match &one.state {
            State::Done { since, files, errors, .. } if !(files.is_empty() && errors.is_empty()) => Some(*since),
            _ => None,
        });
        begins.min().map(|begin| begin.saturating_add(FILES_LIVE))
    }

    /// Returns the time until which OpenEMR may have files of which a client must not get all, and of which this plan does not
    /// know; `None` when there are no such files.
    #[must_use]
    pub(crate) fn withholds_until(&self, now: i64) -> Option<i64> {
        let latest = self.finished_at.unwrap_or(now.saturating_add(LONGEST_JOB));
        (!self.filters.is_empty()).then(|| latest.saturating_add(FILES_LIVE))
    }
}

fn named<'a>(ids: &'a [String], name: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    ids.iter().map(move |id| (id.as_str(), name))
}
