//! The CapabilityStatement of OpenEMR: what it offers, which version it is, and what is particular to that.

use http::StatusCode;
use http::header::{ACCEPT, HeaderValue};

use crate::config::problem::shown;
use crate::diagnosis::answer;
use crate::diagnosis::outcome::{Finding, Step};
use crate::diagnosis::shields::{Release, Running};
use crate::diagnosis::subject::Subject;
use crate::diagnosis::walk::Walk;
use crate::fhir::capabilities::Capabilities;
use crate::nodes::client::{Client, Limits, Request};
use crate::nodes::node::Node;
use crate::openemr::breakages;
use crate::openemr::version::Version;

/// The largest CapabilityStatement that is read.
const MAX_DOCUMENT: usize = 4 * 1024 * 1024;

/// Reads the CapabilityStatement.
pub(super) async fn read(walk: &mut Walk<'_>, client: &Client, subject: &Subject, node: &Node) -> Option<Capabilities> {
    let reading = walk.begin(Step::Metadata, format!("read {}/metadata", node.fhir.url()));
    let fields = vec![(ACCEPT, HeaderValue::from_static("application/fhir+json"))];
    let request = Request::get(format!("{}/metadata", node.fhir.url().path), fields);
    // The whole, not each read: an answer that comes byte by byte would never end.
    let limits = Limits { step: None, total: Some(subject.nodes.upstream().timeouts.read), body: MAX_DOCUMENT };
    let (finding, capabilities) = match client.send(&node.fhir, request, limits).await {
        Err(error) => (answer::none(&error, "timeouts.read"), None),
        Ok(response) => match Capabilities::parse(&response.body) {
            Ok(capabilities) if response.status == StatusCode::OK => {
                (Finding::ok(format!("a CapabilityStatement with {} types", capabilities.types.len())), Some(capabilities))
            }
            parsed => {
                let explained = response.explain();
                let cause = match parsed {
                    Err(error) if response.status == StatusCode::OK && !explained.has_remedy() => error.to_string(),
                    _ => explained.cause(),
                };
                let finding = Finding::failed(response.status.to_string()).in_area(answer::area(&explained));
                (finding.cause(cause).remedy_or_log(explained.remedy()), None)
            }
        },
    };
    walk.end(reading, finding);
    capabilities
}

/// Says which version it is, and what is particular to it; gives the release as far as it is known, if it is OpenEMR's. `said`: the
/// release by the operator's word, who can see it in OpenEMR.
pub(super) fn version(walk: &mut Walk<'_>, capabilities: &Capabilities, said: Option<Release>) -> Option<Running> {
    let telling = walk.begin(Step::Version, "tell the version");
    let software = capabilities.software.as_ref();
    let number = software.and_then(|software| software.version.as_deref());
    let version = Version::of(capabilities);
    let running = match (said, number.and_then(Release::parse)) {
        _ if version == Version::Other => None,
        (Some(release), _) | (None, Some(release)) => Some(Running::Exactly(release)),
        (None, None) => Release::parse(FIRST_WITHOUT_NUMBER).map(Running::AtLeast),
    };
    let found = match (running, number) {
        (None, _) => {
            let name = software.and_then(|software| software.name.as_deref()).unwrap_or("a server without a name");
            Finding::warning(shown(name)).cause("this is not OpenEMR, and the gateway's repairs were made for OpenEMR")
        }
        (Some(_), Some(number)) => Finding::ok(format!("OpenEMR {}", shown(number))),
        (Some(Running::Exactly(release)), None) => {
            Finding::ok(format!("OpenEMR {release}, by --release; it does not say its number"))
        }
        (Some(Running::AtLeast(_)), None) => Finding {
            details: vec!["number    see Administration > About in OpenEMR, and check again with  --release NUMBER".to_owned()],
            ..Finding::ok(format!("OpenEMR {FIRST_WITHOUT_NUMBER} or later, which does not say its number"))
        },
    };
    let mut details = found.details.clone();
    details.extend(quirks(version).iter().map(|quirk| (*quirk).to_owned()));
    if version != Version::Other {
        details.extend(breakages::known(capabilities).map(|breakage| format!("searches  {breakage}")));
        if !Version::is_measured(capabilities) {
            details.push("measured  up to 8.1: what this one does better is not asked of it".to_owned());
        }
    }
    walk.end(telling, Finding { details, ..found });
    running
}

/// The first release of OpenEMR that does not say its number.
const FIRST_WITHOUT_NUMBER: &str = "7.0.4";

/// What is particular to a version; docs/openemr.md has more.
fn quirks(version: Version) -> &'static [&'static str] {
    match version {
        Version::Old => &[
            "pages     none: every search is answered whole, and the gateway cuts pages out of it",
            "scopes    system/Type.read alone: nothing can be written",
            "errors    often without a body: the gateway writes an OperationOutcome",
        ],
        Version::Modern => &[
            "pages     of Patient alone, 200 at most: the gateway cuts the others out of the whole answer",
            "writes    Patient, and on 8.x Practitioner and Organization",
            "clocks    an assertion that was issued more than 5 minutes ago is refused",
        ],
        Version::Other => &[],
    }
}
