//! One search for each type in the scopes, and how many resources it finds. None of them is shown.
//!
//! OpenEMR cannot count without sending: `_summary=count` empties the Bundle. So a type is counted where that is little work:
//! one page of patients, all of a small type, and of the other types those of one patient. What has no bound is asked for an id
//! that nobody has, which shows whether it may be asked.

use http::StatusCode;
use http::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use uuid::Uuid;

use crate::diagnosis::answer;
use crate::diagnosis::bundle::{self, Found};
use crate::diagnosis::outcome::{Finding, Step};
use crate::diagnosis::subject::Subject;
use crate::diagnosis::walk::Walk;
use crate::fhir::capabilities::Capabilities;
use crate::nodes::client::{Client, Incoming, Limits, Request};
use crate::nodes::client_error::ClientError;
use crate::nodes::node::Node;
use crate::openemr::error;
use crate::openemr::search::bound;
use crate::openemr::version::Version;
use crate::scopes::scope::{Scope, Scopes};
use crate::smart::token::AccessToken;

/// The size of a page of patients: the largest that OpenEMR makes.
const PAGE: usize = 200;
/// How much of an answer is read, in bytes: a page of patients, and the head of what is longer.
const MOST_BODY: usize = 4 * 1024 * 1024;

/// Where the searches go, and with which token.
pub(super) struct Searches<'a> {
    pub(super) client: &'a Client,
    pub(super) subject: &'a Subject,
    pub(super) node: &'a Node,
    pub(super) token: &'a AccessToken,
    /// The scopes that were asked for: what else was granted is not searched.
    pub(super) asked: &'a Scopes,
    pub(super) capabilities: &'a Capabilities,
}

/// How a type is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Bound {
    /// One page of it.
    Page,
    /// All of it.
    All,
    /// What belongs to this patient.
    Patient(String),
    /// An id that nobody has.
    Nobody,
}

impl Searches<'_> {
    /// Searches each type that the granted scopes permit to search, patients first.
    pub(super) async fn count_all(&self, walk: &mut Walk<'_>) {
        let missing = self.asked.missing_from(&self.token.scope);
        let granted = self.asked.iter().filter(|scope| !missing.contains(scope));
        let mut types: Vec<&str> = Vec::new();
        for found in granted.filter_map(Scope::searched_type).filter(|found| !matches!(*found, "*" | "Binary")) {
            if !types.contains(&found) {
                types.push(found);
            }
        }
        types.sort_by_key(|name| *name != "Patient");
        let mut patient = None;
        for name in types {
            let bound = self.bound(name, patient.as_deref());
            let counting = walk.begin(Step::Count, bound.described(name));
            let finding = match self.search(name, &bound).await {
                Ok(answer) => {
                    if name == "Patient" {
                        patient = answer.found.as_ref().and_then(|found| found.first_id.clone());
                    }
                    self.judge(name, &bound, &answer)
                }
                Err(error) => answer::none(&error, "timeouts.read"),
            };
            walk.end(counting, finding);
        }
    }

    fn bound(&self, name: &str, patient: Option<&str>) -> Bound {
        let known = self.capabilities.types.get(name);
        match patient {
            // 7.0.3 has no `_count`, and finds nothing with it.
            _ if name == "Patient" && Version::of(self.capabilities) == Version::Old => Bound::All,
            _ if name == "Patient" => Bound::Page,
            _ if bound::is_small(name) => Bound::All,
            Some(id) if known.is_some_and(|known| known.search_parameters.contains("patient")) => Bound::Patient(id.to_owned()),
            _ => Bound::Nobody,
        }
    }

    async fn search(&self, name: &str, bound: &Bound) -> Result<Answer, ClientError> {
        let nobody = Uuid::nil();
        let query = match bound {
            Bound::Page => format!("?_count={PAGE}"),
            Bound::All => String::new(),
            Bound::Patient(id) => format!("?patient={id}"),
            Bound::Nobody => format!("?_id={nobody}"),
        };
        let fields = vec![
            (ACCEPT, HeaderValue::from_static("application/fhir+json")),
            (AUTHORIZATION, self.token.authorization().clone()),
        ];
        let request = Request::get(format!("{}/{name}{query}", self.node.fhir.url().path), fields);
        // The whole, not each read: an answer that comes byte by byte would never end.
        let total = Some(self.subject.nodes.upstream().timeouts.read);
        let connection = self.client.connect(&self.node.fhir, Limits { step: None, total, body: usize::MAX }).await?;
        Answer::read(connection.send(request).await?).await
    }

    fn judge(&self, name: &str, bound: &Bound, answer: &Answer) -> Finding {
        let is_announced = self.capabilities.types.contains_key(name);
        match (answer.status.as_u16(), &answer.found) {
            (200, Some(found)) => Finding::ok(bound.found(found)),
            (200, None) => Finding::failed("200 without a Bundle")
                .cause(answer.explained.clone().map_or("the answer is not FHIR".to_owned(), |(cause, _)| cause))
                .remedy_or_log(answer.explained.clone().and_then(|(_, remedy)| remedy)),
            (401 | 403, _) => Finding::failed(answer.status.to_string())
                .cause(format!("OpenEMR refuses the search although it granted system/{name}.read"))
                .remedy("see OpenEMR's own log at this time; is fhir_base that of another site?".to_owned()),
            (404, _) if !is_announced => Finding::warning("404")
                .cause(format!("this version of OpenEMR has no {name}"))
                .remedy(format!("take the scope for {name} out of scopes")),
            (503, _) if answer.database_is_down => Finding::failed(answer.status.to_string())
                .cause("OpenEMR's database cannot be reached")
                .remedy("start the database; see OpenEMR's own log".to_owned()),
            (500.., _) => Finding::failed(answer.status.to_string()).cause("OpenEMR failed").remedy_or_log(None),
            _ => Finding::failed(answer.status.to_string())
                .cause(answer.explained.clone().map_or("this is no answer to a search".to_owned(), |(cause, _)| cause))
                .remedy_or_log(answer.explained.clone().and_then(|(_, remedy)| remedy)),
        }
    }
}

impl Bound {
    fn described(&self, name: &str) -> String {
        match self {
            Self::Page | Self::All => format!("count {name}"),
            Self::Patient(_) => format!("count {name} of one patient"),
            Self::Nobody => format!("search {name} by an id that nobody has"),
        }
    }

    fn found(&self, Found { count, is_all, .. }: &Found) -> String {
        match self {
            Self::Nobody => "it may be searched".to_owned(),
            Self::Page if *count >= PAGE => format!("{count} or more"),
            Self::Page | Self::All | Self::Patient(_) if *is_all => count.to_string(),
            Self::Page | Self::All | Self::Patient(_) => format!("{count} or more"),
        }
    }
}

/// What came back from a search.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    /// What a Bundle says of itself.
    found: Option<Found>,
    database_is_down: bool,
    /// What is wrong with an answer that is no Bundle, and what mends it, where that can be told.
    explained: Option<(String, Option<String>)>,
}

impl Answer {
    /// Reads as much of an answer as is needed.
    async fn read(mut incoming: Incoming) -> Result<Self, ClientError> {
        let mut body = Vec::new();
        let mut is_whole = true;
        while let Some(piece) = incoming.piece().await? {
            body.extend_from_slice(&piece);
            if body.len() >= MOST_BODY {
                is_whole = false;
                break;
            }
        }
        let found = (incoming.status == StatusCode::OK).then(|| bundle::read(&body, is_whole)).flatten();
        let status = StatusCode::from_u16(error::cause(incoming.status.as_u16(), &body)).unwrap_or(incoming.status);
        let explained = incoming.explain(&body);
        let explained = explained.has_remedy().then(|| (explained.cause(), explained.remedy()));
        Ok(Self { found, database_is_down: error::says_the_database_is_down(&body), explained, status })
    }
}
