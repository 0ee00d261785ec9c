//! The members of the Groups that policies name as their patients, in memory: a request must not wait for OpenEMR each time.
//!
//! A list is as old as a minute when a request uses it; behind that it is read again, in the background at first. While OpenEMR cannot be
//! read, the last list is good for a quarter of an hour, and then nobody knows whose data a client may have, so that it gets none.
//!
//! Decision: `docs/decisions/41-patient-groups.md`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::Timestamp;
use log::{info, warn};
use tokio::sync::watch;

use crate::access::patients::PatientList;
use crate::fhir::group;
use crate::site::client::{FhirRequest, SiteClient, SiteClientError};
use crate::site::single_fetch::SingleFetch;

/// The longest Group that is read, in bytes: about 100,000 members.
const MAX_GROUP: usize = 16 * 1024 * 1024;
/// The longest time that reading one may take.
const WITHIN: Duration = Duration::from_secs(15);
/// How long no reading is begun after one has failed.
const PAUSE: Duration = Duration::from_secs(5);
/// How old a list is when it is read again, while it is used all the same.
const READ_AGAIN: Duration = Duration::from_secs(60);
/// How old a list is when a request waits for a new one.
const TOO_OLD: Duration = Duration::from_secs(120);
/// How old a list may be while no new one can be had.
const OLDEST: Duration = Duration::from_secs(15 * 60);

/// The patients in a Group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Members {
    /// These.
    Known(Arc<PatientList>),
    /// OpenEMR has no such Group.
    NoGroup,
    /// Nobody knows: OpenEMR cannot be asked, or its answer is none.
    Unknown,
}

/// The Groups of one site.
#[derive(Debug, Default)]
pub(crate) struct PatientGroups(ArcSwap<HashMap<String, Arc<PatientGroup>>>);

#[derive(Debug, Default)]
struct PatientGroup {
    known: ArcSwapOption<Known>,
    reading: SingleFetch,
}

#[derive(Debug)]
struct Known {
    /// `None`: there is no such Group.
    list: Option<Arc<PatientList>>,
    since: Instant,
    /// Whether it is from before a reload, which reads lists anew.
    is_earlier: bool,
}

/// Where Groups are read from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    /// Sends the request.
    pub(crate) client: &'a SiteClient,
    /// The site's name, for the log.
    pub(crate) site: &'a str,
    /// The longest wait between two reads of the answer.
    pub(crate) read_timeout: Duration,
    /// The addresses with which OpenEMR's references may begin.
    pub(crate) bases: &'a [String],
}

/// What becomes of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// It is used.
    AsItIs,
    /// It is used, and read again.
    Meanwhile,
    /// It is used only where no new one can be had.
    AtWorst,
    /// It is not used.
    No,
}

impl Use {
    fn of(age: Duration, is_earlier: bool) -> Self {
        match age {
            age if age >= OLDEST => Self::No,
            age if is_earlier || age >= TOO_OLD => Self::AtWorst,
            age if age >= READ_AGAIN => Self::Meanwhile,
            _ => Self::AsItIs,
        }
    }
}

/// Why a Group cannot be read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    NoAnswer(#[from] SiteClientError),
    #[error("OpenEMR answered with status {0}; the site needs the scope system/Group.read")]
    Refused(u16),
    #[error("OpenEMR answered with status {0}")]
    Status(u16),
    #[error("the answer is not this Group")]
    Unreadable,
    #[error("it took longer than {} s", WITHIN.as_secs())]
    TimedOut,
}

impl PatientGroups {
    /// The Groups after a reload: what is known of them is used only while OpenEMR cannot be read.
    #[must_use]
    pub(crate) fn after(earlier: &Self) -> Self {
        let groups = earlier.0.load();
        let carried = groups.iter().filter_map(|(id, group)| {
            let known = group.known.load_full()?;
            let known = Known { list: known.list.clone(), since: known.since, is_earlier: true };
            Some((id.clone(), Arc::new(PatientGroup { known: ArcSwapOption::from_pointee(known), ..PatientGroup::default() })))
        });
        Self(ArcSwap::from_pointee(carried.collect()))
    }

    /// The patients in a Group. `id`: one that the configuration names, so that there are not many.
    pub(crate) async fn members(&self, id: &str, origin: Origin<'_>) -> Members {
        let found = self.0.load().get(id).cloned();
        found.unwrap_or_else(|| self.add(id)).members(id, origin).await
    }

    fn add(&self, id: &str) -> Arc<PatientGroup> {
        self.0.rcu(|groups| {
            let mut groups = HashMap::clone(groups);
            groups.entry(id.to_owned()).or_default();
            groups
        });
        self.0.load().get(id).cloned().unwrap_or_default()
    }
}

impl PatientGroup {
    async fn members(self: &Arc<Self>, id: &str, origin: Origin<'_>) -> Members {
        match self.usable() {
            (Use::AsItIs, Some(members)) => return members,
            (Use::Meanwhile, Some(members)) => {
                self.read(id, origin);
                return members;
            }
            (Use::AtWorst | Use::No | Use::AsItIs | Use::Meanwhile, _) => {}
        }
        if let Some(mut reading) = self.read(id, origin) {
            // Nothing is ever sent; the channel is closed at the end of the reading.
            let _ = reading.changed().await;
        }
        self.usable().1.unwrap_or(Members::Unknown)
    }

    /// What is known, and what it is good for.
    fn usable(&self) -> (Use, Option<Members>) {
        let Some(known) = self.known.load_full() else { return (Use::No, None) };
        let members = known.list.clone().map_or(Members::NoGroup, Members::Known);
        match Use::of(known.since.elapsed(), known.is_earlier) {
            Use::No => (Use::No, None),
            good => (good, Some(members)),
        }
    }

    /// Begins to read the Group unless that is under way; `None` when it has just failed. It goes on when the request that began it is
    /// given up.
    fn read(self: &Arc<Self>, id: &str, origin: Origin<'_>) -> Option<watch::Receiver<()>> {
        self.reading.begin(PAUSE, || {
            let Origin { client, site, read_timeout, bases } = origin;
            let (group, client, site, id, bases) =
                (Arc::clone(self), client.clone(), site.to_owned(), id.to_owned(), bases.to_vec());
            async move {
                let read = tokio::time::timeout(WITHIN, read(&client, &id, &bases, read_timeout)).await;
                match read.unwrap_or(Err(ReadError::TimedOut)) {
                    Ok(list) => group.store(&site, &id, list),
                    Err(error) => {
                        warn!("site {site}: Group/{id}, whose members are the patients of a policy, cannot be read: {error}");
                        return false;
                    }
                }
                true
            }
        })
    }

    fn store(&self, site: &str, id: &str, list: Option<Arc<PatientList>>) {
        let had_failed = self.reading.has_failed();
        match &list {
            Some(list) if had_failed => info!("site {site}: Group/{id} has been read, with {} patients", list.len()),
            Some(_) => {}
            None => warn!("site {site}: there is no Group/{id}, whose members are the patients of a policy"),
        }
        self.known.store(Some(Arc::new(Known { list, since: Instant::now(), is_earlier: false })));
    }
}

/// Reads a Group; `None` when there is none.
async fn read(
    client: &SiteClient,
    id: &str,
    bases: &[String],
    read_timeout: Duration,
) -> Result<Option<Arc<PatientList>>, ReadError> {
    let target = format!("/Group/{id}");
    let response = client.send_with_token(&FhirRequest::get(&target, MAX_GROUP, read_timeout)).await?;
    match response.status.as_u16() {
        200 => {
            let members = group::patients(&response.body, id, bases, Timestamp::now()).ok_or(ReadError::Unreadable)?;
            Ok(Some(Arc::new(members.into_iter().collect())))
        }
        404 | 410 => Ok(None),
        status @ (401 | 403) => Err(ReadError::Refused(status)),
        status => Err(ReadError::Status(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_again_in_time_and_ends() {
        for (seconds, is_earlier, expected) in [
            (0, false, Use::AsItIs),
            (59, false, Use::AsItIs),
            (60, false, Use::Meanwhile),
            (119, false, Use::Meanwhile),
            (120, false, Use::AtWorst),
            (899, false, Use::AtWorst),
            (900, false, Use::No),
            (0, true, Use::AtWorst),
            (900, true, Use::No),
        ] {
            assert_eq!(Use::of(Duration::from_secs(seconds), is_earlier), expected, "{seconds} {is_earlier}");
        }
    }
}
