//! What is wrong with a gateway, by its status. Pure.

use crate::admin::status::{Overall, Problem, Site, Status};
use crate::site::status;

/// What a gateway is of which nothing is wrong.
pub(super) const NOTHING_WRONG: Overall = Overall::Ok;
/// The days before the end of a certificate from which on it is a problem.
const DAYS_BEFORE: i64 = 14;
/// The seconds of a day.
const DAY: i64 = 24 * 60 * 60;

/// Everything that is wrong.
#[must_use]
pub(super) fn of(status: &Status) -> Vec<Problem> {
    let mut problems = Vec::new();
    for site in &status.sites {
        let of_site = |text: String| Problem { site: Some(site.name.clone()), text };
        problems.extend(of_token(site).map(|text| of_site(text.to_owned())));
        problems.extend(site.nodes.iter().filter_map(|node| match node.state.as_str() {
            "ejected" => Some(of_site(format!("{} cannot be reached", node.url))),
            "degraded" => Some(of_site(format!("{} fails some of its connections or checks", node.url))),
            _ => None,
        }));
    }
    let of_gateway = |text: String| Problem { site: None, text };
    problems.extend(status.certificates.iter().filter_map(|certificate| {
        let left = certificate.ends - status.at;
        let what = match certificate.kind.as_str() {
            "jwks" => "a key of",
            _ => "a certificate of",
        };
        match left.div_euclid(DAY) {
            _ if left <= 0 => Some(of_gateway(format!("{what} {} has expired", certificate.file))),
            0 => Some(of_gateway(format!("{what} {} expires within a day", certificate.file))),
            days if days < DAYS_BEFORE => Some(of_gateway(format!("{what} {} expires in {days} days", certificate.file))),
            _ => None,
        }
    }));
    if let Some(audit) = &status.audit {
        if !audit.is_ready {
            problems.push(of_gateway("the audit trail cannot be written".to_owned()));
        }
        let trouble = audit.repository.as_ref().and_then(|repository| repository.trouble.as_ref());
        problems.extend(trouble.map(|trouble| of_gateway(format!("the audit repository takes no events: {trouble}"))));
    }
    if let Some((store, trouble)) = status.store.as_ref().and_then(|store| Some((store, store.trouble.as_ref()?))) {
        problems.push(of_gateway(format!("the store at {} {trouble}", store.url)));
    }
    problems
}

fn of_token(site: &Site) -> Option<&'static str> {
    match (site.token.is_valid, site.token.failures) {
        (true, 0) => None,
        (true, _) => Some("the token exchange fails; the token in hand is still good"),
        (false, 0) => Some("there is no access token yet"),
        (false, _) => Some("there is no access token, and the exchange fails"),
    }
}

/// How a gateway is: as `/health` says, but for what only the operator is told of.
#[must_use]
pub(super) fn overall(known: status::Status, problems: &[Problem], is_draining: bool) -> Overall {
    match (is_draining, known, problems.is_empty()) {
        (true, _, _) => Overall::Draining,
        (false, status::Status::Down, _) => Overall::Down,
        (false, status::Status::Ok, true) => NOTHING_WRONG,
        (false, _, _) => Overall::Degraded,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// A status of which nothing is wrong, with these changes of its first site and these certificates.
    fn status(site: &Value, certificates: &Value) -> Status {
        let mut status = json!({
            "version": "1", "at": 1_000_000, "state": "ok", "problems": [], "requests": 0, "connections": 0, "most_connections": 9,
            "rate": 0.0, "minutes": [], "clients": [], "reasons": [], "certificates": certificates, "audit": null,
            "sites": [{
                "name": "default", "exchanges": [], "in_flight": 0, "limit": 4, "waiting": 0, "exports": [],
                "token": {"is_valid": true, "left": 9.0, "life": 60, "is_exchanging": false, "next_in": null, "failing_since": null, "failures": 0, "kid": "k"},
                "nodes": [{"url": "http://openemr", "state": "healthy"}],
            }],
        });
        for (pointer, value) in site.as_object().unwrap() {
            *status.pointer_mut(&format!("/sites/0{pointer}")).unwrap() = value.clone();
        }
        serde_json::from_value(status).unwrap()
    }

    fn found(site: &Value, certificates: &Value) -> Vec<String> {
        of(&status(site, certificates)).into_iter().map(|problem| problem.text).collect()
    }

    #[test]
    fn what_is_wrong_with_a_site_is_said_once() {
        for (site, text) in [
            (json!({}), None),
            (json!({"/token/failures": 2}), Some("still good")),
            (json!({"/token/is_valid": false}), Some("no access token yet")),
            (json!({"/token/is_valid": false, "/token/failures": 2}), Some("the exchange fails")),
            (json!({"/nodes/0/state": "degraded"}), Some("http://openemr fails some of its connections or checks")),
            (json!({"/nodes/0/state": "ejected"}), Some("http://openemr cannot be reached")),
        ] {
            let problems = found(&site, &json!([]));
            assert_eq!(problems.len(), usize::from(text.is_some()), "{site}");
            assert!(text.is_none_or(|text| problems[0].contains(text)), "{problems:?}");
        }
    }

    #[test]
    fn a_certificate_is_a_problem_before_it_ends() {
        for (left, text) in
            [(-1, Some("has expired")), (60, Some("within a day")), (3 * DAY, Some("in 3 days")), (15 * DAY, None)]
        {
            let certificates = json!([{"kind": "listener", "file": "a.pem", "ends": 1_000_000 + left}]);
            let problems = found(&json!({}), &certificates);
            assert_eq!(problems.len(), usize::from(text.is_some()), "{left}");
            assert!(
                text.is_none_or(|text| problems[0].starts_with("a certificate of a.pem") && problems[0].ends_with(text)),
                "{problems:?}"
            );
        }
    }

    #[test]
    fn no_problem_makes_a_gateway_better_than_health_says() {
        use status::Status::{Degraded, Down, Ok};
        let one = [Problem { site: None, text: "a certificate has expired".to_owned() }];
        for (known, problems, state) in [
            (Ok, &[][..], Overall::Ok),
            (Ok, &one, Overall::Degraded),
            (Degraded, &[], Overall::Degraded),
            (Degraded, &one, Overall::Degraded),
            (Down, &[], Overall::Down),
            (Down, &one, Overall::Down),
        ] {
            assert_eq!(overall(known, problems, false), state);
            assert_eq!(overall(known, problems, true), Overall::Draining);
        }
    }
}
