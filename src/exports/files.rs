//! What a client gets of a Binary that is, or could be, the file of an export.
//!
//! A file is known by the plan of its export. Where an export has a filter, what cannot be attributed is not served: OpenEMR's own file has
//! what the filter was to leave out.
//!
//! Decision: `docs/decisions/21-bulk-export.md`.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use uuid::Uuid;

use crate::exports::store::Store;
use crate::exports::store_error::StoreError;
use crate::openemr::export::ndjson::LinePermit;
use crate::openemr::export::plan::Plan;
use crate::openemr::export::type_filter::TypeTest;

/// What a client gets of a Binary, should it be the file of an export.
#[derive(Debug, Clone, Default)]
pub(crate) enum ExportFile {
    /// All resources in it.
    #[default]
    Whole,
    /// Those that pass this test.
    Filtered(Arc<TypeTest>),
    /// Nothing: it may be of an export with a filter, of which nobody knows what it selects of this file.
    Withheld,
    /// The export that its address names is not there, or has no such file.
    Unknown,
}

/// What a client gets of the file of its own export, whose address is the gateway's own.
#[derive(Debug)]
pub(crate) struct OwnFile {
    /// The name at the end of the address.
    pub(crate) name: String,
    /// Which lines the client may have; `None` where it may have all.
    pub(crate) permit: Option<Arc<LinePermit>>,
}

/// The files of one export.
#[derive(Debug)]
pub(super) struct FilesOfJob {
    /// The ids of the Binaries, each with the test that its resources must pass.
    files: Vec<(String, Option<Arc<TypeTest>>)>,
    /// See [`Plan::withholds_until`].
    withheld_until: Option<i64>,
}

impl FilesOfJob {
    fn of(plan: &Plan, now: i64) -> Self {
        let tests: HashMap<&str, Arc<TypeTest>> = plan
            .filters
            .iter()
            // A plan with a filter that cannot be read is no plan.
            .filter_map(|filter| Some((filter.resource_type.as_str(), Arc::new(filter.test()?))))
            .collect();
        let files = plan.files().map(|(id, name)| (id.to_owned(), tests.get(name).cloned())).collect();
        Self { files, withheld_until: plan.withholds_until(now) }
    }

    fn find(&self, id: &str) -> Option<ExportFile> {
        let (_, test) = self.files.iter().find(|(known, _)| known == id)?;
        Some(test.clone().map_or(ExportFile::Whole, ExportFile::Filtered))
    }
}

/// The files of the exports that have ended.
pub(super) type KnownFiles = HashMap<Uuid, Arc<FilesOfJob>>;

/// Looks for a file in one export. One without a filter is withheld where another export with a filter has a file of its id, too: an
/// OpenEMR that was set up anew gives ids again.
pub(super) async fn of_job(
    store: &Store,
    known: &Mutex<KnownFiles>,
    job: Uuid,
    id: &str,
    now: i64,
) -> Result<ExportFile, StoreError> {
    let found = store.load(job).await?.and_then(|plan| FilesOfJob::of(&plan, 0).find(id));
    match found.unwrap_or(ExportFile::Unknown) {
        ExportFile::Whole => Ok(match look(store, known, id, now).await?.found {
            None | Some(ExportFile::Whole) => ExportFile::Whole,
            Some(_) => ExportFile::Withheld,
        }),
        file => Ok(file),
    }
}

/// What all exports say of a file.
struct Look {
    found: Option<ExportFile>,
    /// Whether it may be of an export with a filter if none has it.
    withheld: bool,
}

/// Looks for a file in all exports.
pub(super) async fn of_any_job(store: &Store, known: &Mutex<KnownFiles>, id: &str, now: i64) -> Result<ExportFile, StoreError> {
    let Look { found, withheld } = look(store, known, id, now).await?;
    Ok(found.unwrap_or(if withheld { ExportFile::Withheld } else { ExportFile::Whole }))
}

async fn look(store: &Store, known: &Mutex<KnownFiles>, id: &str, now: i64) -> Result<Look, StoreError> {
    let mut found = None;
    let listing = store.list().await?;
    known.lock().retain(|job, _| listing.jobs.contains(job));
    let mut withheld = listing.has_lost_plan;
    for job in listing.jobs {
        let known_files = known.lock().get(&job).cloned();
        let files = match known_files {
            Some(files) => files,
            None => match store.load_any(job).await {
                Ok(Some(plan)) => {
                    let files = Arc::new(FilesOfJob::of(&plan, now));
                    if plan.finished_at.is_some() {
                        known.lock().insert(job, Arc::clone(&files));
                    }
                    files
                }
                Ok(None) => continue,
                // Of another version, or damaged: it may have a filter.
                Err(error) if error.is_of_the_plan() => {
                    withheld |= store.may_have_files(job).await?;
                    continue;
                }
                Err(error) => return Err(error),
            },
        };
        if let Some(file) = files.find(id) {
            found = Some(match (found, file) {
                (None, file) => file,
                (Some(ExportFile::Whole), ExportFile::Whole) => ExportFile::Whole,
                // Nobody knows of which export it is.
                (Some(_), _) => ExportFile::Withheld,
            });
        }
        withheld |= files.withheld_until.is_some_and(|until| until > now);
    }
    Ok(Look { found, withheld })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
