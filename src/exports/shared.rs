//! The plans of a site's exports in the store that several gateways share.
//!
//! Every gateway reads plans, adds jobs and marks them to be deleted. One has the lease of the site and changes plans; each of its writes
//! carries the fencing number of its lease, and the store refuses one that is not the latest. No key has patient data in its name.
//!
//! Decision: `docs/decisions/57-export-leases.md`.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::config;
use crate::exports::listing::Listing;
use crate::exports::scripts;
use crate::exports::store_error::StoreError;
use crate::exports::tenure::{HOLDER_FIRST, LEASE, Tenure};
use crate::keys::sha256;
use crate::openemr::export::files::{FILES_LIVE, LONGEST_JOB};
use crate::openemr::export::plan::{MAX_PLAN, Plan, PlanError};
use crate::store::reply::Reply;
use crate::store::script::Script;
use crate::store::shared_store::SharedStore;

/// How long what is stored outlives what is kept, should all gateways be given up.
const AFTER_LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The plans of one site.
#[derive(Debug, Clone)]
pub(crate) struct SharedPlans {
    store: SharedStore,
    site: String,
    /// See [`whose`].
    whose: u64,
    keys: Vec<String>,
    /// How long what is stored lives after the last change of it.
    life: Duration,
}

impl SharedPlans {
    /// The plans of a site.
    pub(crate) fn new(store: SharedStore, site: &config::Site) -> Self {
        Self::named(store, site.name.as_str(), whose(site), life(site))
    }

    fn named(store: SharedStore, name: &str, whose: u64, life: Duration) -> Self {
        let keys = ["state", "plans", "written", "marked", "damaged"];
        let keys = keys.map(|key| format!("exports:{name}:{whose:016x}:{key}")).to_vec();
        Self { store, site: name.to_owned(), whose, keys, life }
    }

    /// Whether these are the plans of this site in this store.
    pub(crate) fn is_of(&self, store: &SharedStore, site: &config::Site) -> bool {
        self.store.is_same(store) && self.site == site.name.as_str() && self.whose == whose(site) && self.life == life(site)
    }

    /// The name of the site.
    pub(super) fn site(&self) -> &str {
        &self.site
    }

    async fn run(&self, script: &'static Script, arguments: &[Argument<'_>]) -> Result<Reply, StoreError> {
        let arguments: Vec<Vec<u8>> = arguments.iter().map(Argument::to_bytes).collect();
        Ok(self.store.run(script, &self.keys, &arguments).await?)
    }

    /// Lists the jobs and marks.
    pub(crate) async fn list(&self) -> Result<Listing, StoreError> {
        let reply = self.run(&scripts::LIST, &[files_live()]).await?;
        let [Reply::Int(changes), Reply::Int(lost), jobs, marked] = items(reply)? else { return Err(StoreError::Foreign) };
        let changes = u64::try_from(changes).map_err(|_| StoreError::Foreign)?;
        Ok(Listing { jobs: ids(jobs)?, marked: ids(marked)?, has_lost_plan: lost != 0, changes })
    }

    /// Reads a job's plan; `None` when there is none, or when it is to be deleted.
    pub(crate) async fn load(&self, job: Uuid) -> Result<Option<Plan>, StoreError> {
        match self.read(job).await? {
            (true, _) => Ok(None),
            (false, plan) => plan.map(|plan| parse(job, &plan)).transpose(),
        }
    }

    /// Reads a job's plan, also of a job that is to be deleted; `None` when there is none.
    pub(crate) async fn load_any(&self, job: Uuid) -> Result<Option<Plan>, StoreError> {
        let (_, plan) = self.read(job).await?;
        plan.map(|plan| parse(job, &plan)).transpose()
    }

    /// Whether a job is to be deleted.
    pub(crate) async fn is_marked(&self, job: Uuid) -> Result<bool, StoreError> {
        let (is_marked, _) = self.read(job).await?;
        Ok(is_marked)
    }

    async fn read(&self, job: Uuid) -> Result<(bool, Option<Vec<u8>>), StoreError> {
        match items(self.run(&scripts::LOAD, &[Argument::Job(job)]).await?)? {
            [Reply::Int(marked), Reply::Nil] => Ok((marked != 0, None)),
            [Reply::Int(marked), Reply::Bytes(plan)] => Ok((marked != 0, Some(plan))),
            _ => Err(StoreError::Foreign),
        }
    }

    /// Whether OpenEMR may still have files of a job whose plan cannot be read.
    pub(crate) async fn may_have_files(&self, job: Uuid) -> Result<bool, StoreError> {
        flag(self.run(&scripts::IS_FRESH, &[Argument::Job(job), files_live()]).await?)
    }

    /// Adds a job, and marks another one in its place; false when jobs were added, marked or removed since `seen` was read.
    pub(crate) async fn add(&self, plan: &Plan, in_place_of: Option<Uuid>, seen: &Listing) -> Result<bool, StoreError> {
        let bytes = stored(plan)?;
        let other = in_place_of.map_or(Argument::Nothing, Argument::Job);
        let arguments = [self.life(), Argument::Job(plan.job), Argument::Plan(&bytes), Argument::Number(seen.changes), other];
        flag(self.run(&scripts::ADD, &arguments).await?)
    }

    /// Marks a job to be deleted.
    pub(crate) async fn mark_deleted(&self, job: Uuid) -> Result<(), StoreError> {
        done(self.run(&scripts::MARK, &[self.life(), Argument::Job(job)]).await?)
    }

    /// Keeps a plan apart that cannot be read, for the operator to look at.
    pub(crate) async fn set_aside(&self, job: Uuid) -> Result<(), StoreError> {
        done(self.run(&scripts::SET_ASIDE, &[self.life(), Argument::Job(job)]).await?)
    }

    /// Takes the lease; `None` while another gateway has it.
    pub(super) async fn take(&self) -> Result<Option<Tenure>, StoreError> {
        let asked = Instant::now();
        let arguments = [self.life(), Argument::Time(LEASE), Argument::Time(HOLDER_FIRST)];
        match self.run(&scripts::TAKE, &arguments).await? {
            Reply::Int(0) => Ok(None),
            Reply::Int(fence) => {
                let fence = u64::try_from(fence).map_err(|_| StoreError::Foreign)?;
                Ok(Some(Tenure::new(fence, asked)))
            }
            Reply::Nil | Reply::Bytes(_) | Reply::List(_) => Err(StoreError::Foreign),
        }
    }

    /// Renews the lease.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`]; the store is away.
    pub(super) async fn renew(&self, tenure: &Tenure) -> Result<(), StoreError> {
        let asked = Instant::now();
        let arguments = [Argument::Number(tenure.fence()), Argument::Time(LEASE)];
        let is_renewed = flag(self.run(&scripts::RENEW, &arguments).await?)?;
        note(tenure, is_renewed.then_some(asked))
    }

    /// Gives the lease back, so that another gateway need not wait for its end.
    pub(super) async fn release(&self, tenure: &Tenure) -> Result<(), StoreError> {
        done(self.run(&scripts::RELEASE, &[Argument::Number(tenure.fence())]).await?)
    }

    /// Writes a plan that has changed, and renews the lease. The store has it when this returns.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`]: nothing was written. The store is away: it may have been written.
    pub(super) async fn save(&self, tenure: &Tenure, plan: &Plan) -> Result<(), StoreError> {
        let bytes = stored(plan)?;
        let asked = Instant::now();
        let (fence, plan_of) = (Argument::Number(tenure.fence()), Argument::Job(plan.job));
        let write = Argument::Number(tenure.next_write());
        let arguments = [self.life(), fence, Argument::Time(LEASE), plan_of, Argument::Plan(&bytes), write];
        let is_written = flag(self.run(&scripts::SAVE, &arguments).await?)?;
        note(tenure, is_written.then_some(asked))
    }

    /// Removes a job's plan and mark.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub(super) async fn remove(&self, tenure: &Tenure, job: Uuid) -> Result<(), StoreError> {
        let arguments = [Argument::Number(tenure.fence()), Argument::Job(job)];
        if flag(self.run(&scripts::REMOVE, &arguments).await?)? {
            return Ok(());
        }
        tenure.lose();
        Err(StoreError::LeaseLost)
    }

    fn life(&self) -> Argument<'static> {
        Argument::Time(self.life)
    }
}

/// An argument of a script.
enum Argument<'a> {
    Nothing,
    Job(Uuid),
    Plan(&'a [u8]),
    Number(u64),
    /// In milliseconds.
    Time(Duration),
}

impl Argument<'_> {
    fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Job(job) => job.to_string().into_bytes(),
            Self::Plan(bytes) => bytes.to_vec(),
            Self::Number(number) => number.to_string().into_bytes(),
            Self::Time(time) => time.as_millis().to_string().into_bytes(),
        }
    }
}

/// Tells the clients of OpenEMRs apart: OpenEMR tells of a job to the client alone that began it.
fn whose(site: &config::Site) -> u64 {
    let openemr = site.token.audience.clone().unwrap_or_else(|| site.fhir_base().to_string());
    let digest = sha256(format!("{openemr} {}", site.token.client_id).as_bytes());
    digest.first_chunk().map_or(0, |start| u64::from_be_bytes(*start))
}

fn life(site: &config::Site) -> Duration {
    site.answers.bulk_data.keep.saturating_add(AFTER_LIFE)
}

/// How long OpenEMR may have files of a job after its plan was written.
fn files_live() -> Argument<'static> {
    Argument::Number(u64::try_from(FILES_LIVE + LONGEST_JOB).unwrap_or(u64::MAX))
}

fn note(tenure: &Tenure, renewed: Option<Instant>) -> Result<(), StoreError> {
    match renewed {
        Some(asked) => {
            tenure.renewed(asked);
            Ok(())
        }
        None => {
            tenure.lose();
            Err(StoreError::LeaseLost)
        }
    }
}

/// The stored form of a plan.
fn stored(plan: &Plan) -> Result<Vec<u8>, PlanError> {
    let bytes = plan.to_bytes();
    if bytes.len() > MAX_PLAN { Err(PlanError::TooLarge) } else { Ok(bytes) }
}

fn parse(job: Uuid, bytes: &[u8]) -> Result<Plan, StoreError> {
    let plan = Plan::parse(bytes)?;
    if plan.job == job { Ok(plan) } else { Err(StoreError::OtherJob) }
}

fn items<const COUNT: usize>(reply: Reply) -> Result<[Reply; COUNT], StoreError> {
    match reply {
        Reply::List(items) => items.try_into().map_err(|_| StoreError::Foreign),
        Reply::Nil | Reply::Int(_) | Reply::Bytes(_) => Err(StoreError::Foreign),
    }
}

fn flag(reply: Reply) -> Result<bool, StoreError> {
    match reply {
        Reply::Int(flag) => Ok(flag != 0),
        Reply::Nil | Reply::Bytes(_) | Reply::List(_) => Err(StoreError::Foreign),
    }
}

fn done(reply: Reply) -> Result<(), StoreError> {
    flag(reply).map(drop)
}

/// The jobs in a list; a member that is none is left out.
fn ids(reply: Reply) -> Result<HashSet<Uuid>, StoreError> {
    let Reply::List(items) = reply else { return Err(StoreError::Foreign) };
    let id = |item: Reply| match item {
        Reply::Bytes(text) => Uuid::try_parse_ascii(&text).ok(),
        Reply::Nil | Reply::Int(_) | Reply::List(_) => None,
    };
    Ok(items.into_iter().filter_map(id).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
