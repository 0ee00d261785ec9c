//! What OpenEMR says of its token endpoint, and what time it is there.

use std::time::{Instant, SystemTime};

use http::StatusCode;
use http::header::{ACCEPT, DATE, HeaderValue};

use crate::diagnosis::answer;
use crate::diagnosis::outcome::{Area, Finding, Step, Verdict};
use crate::diagnosis::subject::Subject;
use crate::diagnosis::walk::Walk;
use crate::nodes::client::{Client, Limits, Request, Response};
use crate::nodes::node::Node;
use crate::smart::discovery::{self, MAX_DOCUMENT, PATH};
use crate::smart::skew::{self, ABSURD_FROM, NOTABLE_FROM};

/// What the SMART configuration says, as far as later steps need it.
#[derive(Debug, Default)]
pub(super) struct Announced {
    /// The token endpoint by OpenEMR's own account, where that is not the audience of the assertions.
    pub(super) other_audience: Option<String>,
    /// Whether there is no token endpoint to ask.
    pub(super) is_unknown: bool,
}

/// Reads the SMART configuration of a node, and its clock.
pub(super) async fn look(walk: &mut Walk<'_>, client: &Client, subject: &Subject, node: &Node) -> Announced {
    let target = format!("{}{PATH}", node.fhir.url().path);
    let reading = walk.begin(Step::Discovery, format!("read {}{PATH}", node.fhir.url()));
    let request = Request::get(target, vec![(ACCEPT, HeaderValue::from_static("application/json"))]);
    let within = subject.nodes.upstream().timeouts.token;
    let limits = Limits { step: None, total: Some(within), body: MAX_DOCUMENT };
    let (asked, clock) = (Instant::now(), SystemTime::now());
    let answer = client.send(&node.fhir, request, limits).await;
    let took = asked.elapsed();
    let is_needed = node.tokens.known().is_none();
    let verdict = if is_needed { Verdict::Failed } else { Verdict::Warning };
    match &answer {
        Err(error) => {
            walk.end(reading, Finding { verdict, ..answer::none(error, "timeouts.token") });
            walk.skip(Step::Clock, COMPARE, Step::Discovery);
            Announced { is_unknown: is_needed, ..Announced::default() }
        }
        Ok(response) => {
            let (finding, announced) = announced(response, subject, node, verdict);
            walk.end(reading, finding);
            let comparing = walk.begin(Step::Clock, COMPARE);
            let date = response.fields.get(DATE).and_then(|date| date.to_str().ok());
            walk.end(comparing, clocks(date.and_then(|date| skew::measure(date, clock, took))));
            Announced { is_unknown: is_needed && announced.is_unknown, ..announced }
        }
    }
}

pub(super) const COMPARE: &str = "compare the clocks";

/// `verdict`: how bad it is when the document is of no use.
fn announced(response: &Response, subject: &Subject, node: &Node, verdict: Verdict) -> (Finding, Announced) {
    let none = Announced { is_unknown: true, ..Announced::default() };
    let explained = response.explain();
    let useless = |found: String| {
        let finding = Finding::failed(found).cause(explained.cause()).remedy_or_log(explained.remedy());
        Finding { verdict, ..finding.in_area(answer::area(&explained)) }
    };
    if response.status != StatusCode::OK {
        return (useless(response.status.to_string()), none);
    }
    let found = match discovery::token_endpoint(&response.body) {
        Ok(found) => found,
        Err(_) if explained.has_remedy() => return (useless("no SMART configuration".to_owned()), none),
        Err(problem) => {
            let finding = Finding::failed("no token endpoint").cause(problem.to_string()).in_area(Area::OpenEmr);
            let remedy = "set Site Address Override in OpenEMR (Administration > Config > Connectors)".to_owned();
            return (Finding { verdict, ..finding.remedy(remedy) }, none);
        }
    };
    let text = found.text.clone();
    match subject.audience(node) {
        None => (Finding::ok(format!("the token endpoint is {text}, and assertions are addressed to it")), Announced::default()),
        Some(audience) if audience == text => {
            (Finding::ok(format!("the token endpoint is {text}, as configured")), Announced::default())
        }
        Some(audience) => {
            if node.tokens.known().is_none()
                && let Err(problem) = discovery::at_a_known_origin(found, node.fhir.url(), Some(&audience))
            {
                return (Finding::failed(format!("the token endpoint is {text}")).cause(problem.to_string()), none);
            }
            let finding = Finding::warning(format!("the token endpoint is {text}"))
                .cause(format!(
                    "assertions are addressed to {audience}, and OpenEMR takes only those addressed to its own token endpoint"
                ))
                .remedy(audience_remedy(&text));
            (finding, Announced { other_audience: Some(text), is_unknown: false })
        }
    }
}

/// What to write where OpenEMR calls its token endpoint so.
pub(super) fn audience_remedy(text: &str) -> String {
    format!(
        "write  token_audience: {text}  at the site, or correct Site Address Override in OpenEMR (Administration > Config > Connectors)"
    )
}

fn clocks(skew: Option<i64>) -> Finding {
    let Some(ahead) = skew else { return Finding::ok("OpenEMR does not say what time it is there") };
    let direction = if ahead > 0 { "behind" } else { "ahead of" };
    let found = format!("this machine's clock is {} s {direction} OpenEMR's", ahead.abs());
    match ahead.abs() {
        apart if apart > ABSURD_FROM => Finding::failed(found)
            .cause("more than a day is not believed, and assertions are signed by this machine's clock")
            .remedy("set both clocks by NTP".to_owned()),
        apart if apart >= NOTABLE_FROM => Finding::warning(found)
            .cause("OpenEMR takes assertions from a minute in the future, and 5 minutes old; they are shifted by the difference")
            .remedy("set both clocks by NTP".to_owned()),
        0 => Finding::ok("they agree"),
        _ => Finding::ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::outcome::Verdict;

    #[test]
    fn clocks_are_judged_by_what_the_gateway_makes_of_them() {
        for (skew, verdict, words) in [
            (None, Verdict::Ok, "does not say"),
            (Some(0), Verdict::Ok, "agree"),
            (Some(10), Verdict::Ok, "10 s behind"),
            (Some(-600), Verdict::Warning, "600 s ahead of"),
            (Some(400_000), Verdict::Failed, "400000 s behind"),
        ] {
            let finding = clocks(skew);
            assert_eq!(finding.verdict, verdict, "{skew:?}");
            assert!(finding.found.contains(words), "{finding:?}");
            assert_eq!(finding.remedy.is_some(), verdict != Verdict::Ok, "{skew:?}");
        }
    }
}
