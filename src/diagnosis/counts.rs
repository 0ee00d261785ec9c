//! One search for each type in the scopes, and how many resources it finds. None of them is shown.
//!
//! OpenEMR cannot count without sending: `_summary=count` empties the Bundle. So a type is counted where that is little work:
//! one page of patients, all of a small type, and of the other types those of one patient. What has no bound is asked for an id
//! that nobody has, which shows whether it may be asked.

use http::StatusCode;
use http::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use serde::Deserialize;
use serde::de::IgnoredAny;
use uuid::Uuid;

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
use crate::scopes::scope::Scope;
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
        let granted: Vec<Scope> = self.token.scope.split_whitespace().filter_map(|scope| Scope::parse(scope).ok()).collect();
        let mut types: Vec<&str> = Vec::new();
        for found in granted.iter().filter_map(Scope::searched_type).filter(|found| !matches!(*found, "*" | "Binary")) {
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
                        patient = answer.first_id.clone();
                    }
                    self.judge(name, &bound, &answer)
                }
                Err(error) => Finding::failed("no answer").cause(error.cause()).remedy_or_log(error.remedy()),
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
        let step = Some(self.subject.nodes.upstream().timeouts.read);
        let connection = self.client.connect(&self.node.fhir, Limits { step, total: None, body: usize::MAX }).await?;
        Answer::read(connection.send(request).await?).await
    }

    fn judge(&self, name: &str, bound: &Bound, answer: &Answer) -> Finding {
        let is_announced = self.capabilities.types.contains_key(name);
        match (answer.status.as_u16(), answer.total) {
            (200, Some(total)) => Finding::ok(bound.found(total)),
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

    fn found(&self, total: usize) -> String {
        match self {
            Self::Page if total >= PAGE => format!("{total} or more"),
            Self::Nobody => "it may be searched".to_owned(),
            Self::Page | Self::All | Self::Patient(_) => total.to_string(),
        }
    }
}

/// What came back from a search: how many resources, and the id of the first one.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    total: Option<usize>,
    first_id: Option<String>,
    database_is_down: bool,
    /// What is wrong with an answer that is no Bundle, and what mends it, where that can be told.
    explained: Option<(String, Option<String>)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    resource_type: String,
    total: Option<usize>,
    #[serde(default)]
    entry: Vec<IgnoredAny>,
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
        let total = if incoming.status == StatusCode::OK { total(&body, is_whole) } else { None };
        let status = StatusCode::from_u16(error::cause(incoming.status.as_u16(), &body)).unwrap_or(incoming.status);
        let explained = incoming.explain(&body);
        let explained = explained.has_remedy().then(|| (explained.cause(), explained.remedy()));
        Ok(Self {
            total,
            first_id: total.and_then(|_| first_id(&body)),
            database_is_down: error::says_the_database_is_down(&body),
            explained,
            status,
        })
    }
}

/// The total of a Bundle: of one that was cut off, the one in front of its entries.
fn total(body: &[u8], is_whole: bool) -> Option<usize> {
    if is_whole {
        let bundle: Bundle = serde_json::from_slice(body).ok().filter(|bundle: &Bundle| bundle.resource_type == "Bundle")?;
        return Some(bundle.total.unwrap_or(bundle.entry.len()));
    }
    let head = body.get(..memchr::memmem::find(body, b"\"entry\"")?)?;
    let after = head.get(memchr::memmem::find(head, b"\"total\":")? + b"\"total\":".len()..)?;
    let digits = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(after.get(..digits)?).ok()?.parse().ok()
}

/// The id at the end of the first `fullUrl`.
fn first_id(body: &[u8]) -> Option<String> {
    let after = body.get(memchr::memmem::find(body, b"\"fullUrl\"")? + b"\"fullUrl\"".len()..)?;
    let url = after.splitn(3, |byte| *byte == b'"').nth(1)?;
    let id = std::str::from_utf8(url).ok()?.rsplit('/').next()?;
    let is_id = !id.is_empty() && id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    is_id.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUNDLE: &[u8] = br#"{"resourceType":"Bundle","type":"collection","total":7,"link":[],"entry":[{"fullUrl":"https:\/\/emr\/apis\/default\/fhir\/Patient\/a1-b2","resource":{"total":9}}]}"#;

    #[test]
    fn counts_whole_bundles_and_the_heads_of_long_ones() {
        assert_eq!(total(BUNDLE, true), Some(7));
        assert_eq!(total(&BUNDLE[..BUNDLE.len() - 10], false), Some(7));
        assert_eq!(total(br#"{"resourceType":"Bundle","entry":[{},{}]}"#, true), Some(2));
        assert_eq!(total(br#"{"resourceType":"Bundle","type":"searchset"}"#, true), Some(0));
        for wrong in [&b"[]"[..], b"{}", br#"{"resourceType":"Patient","total":1}"#, b"<html>"] {
            assert_eq!(total(wrong, true), None);
        }
        assert_eq!(total(br#"{"entry":[{"total":5}]}"#, false), None, "a total behind the entries may be anybody's");
    }

    #[test]
    fn the_first_id_is_that_of_the_first_entry() {
        assert_eq!(first_id(BUNDLE).as_deref(), Some("a1-b2"));
        assert_eq!(first_id(br#"{"entry":[{"fullUrl" : "https://h/Patient/x?y=\"}]}"#), None);
        assert_eq!(first_id(b"{}"), None);
    }
}
