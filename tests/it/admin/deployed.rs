//! What deploy/ has for Prometheus and Grafana: every metric in it exists, with every label that is asked of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::alerts::alerts;
use super::expression::Expression;

const DASHBOARD: &str = include_str!("../../../deploy/grafana/openemr-gateway.json");
/// The labels that Prometheus adds.
const ADDED: [&str; 2] = ["job", "instance"];

/// The series that there are, by docs/metrics.md, each with its labels; a unit test holds that table to the code.
fn series() -> BTreeMap<String, BTreeSet<String>> {
    let mut series = BTreeMap::from([("up".to_owned(), BTreeSet::new())]);
    let rows = include_str!("../../../docs/metrics.md").lines().filter(|line| line.starts_with("| `"));
    let rows = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    for row in rows.filter(|row| ["counter", "gauge", "histogram"].contains(&row[2])) {
        let name = row[1].trim_matches('`');
        let labels = || row[3].split(", ").map(|label| label.trim_matches('`').to_owned()).filter(|label| !label.is_empty());
        if row[2] == "histogram" {
            for end in ["_sum", "_count"] {
                series.insert(format!("{name}{end}"), labels().collect());
            }
            series.insert(format!("{name}_bucket"), labels().chain(["le".to_owned()]).collect());
        } else {
            series.insert(name.to_owned(), labels().collect());
        }
    }
    assert!(series.len() > 50, "{series:?}");
    series
}

/// The labels that a text shows: `{{site}}`, `{{ $labels.site }}`.
fn shown(text: &str) -> Vec<&str> {
    let inner = text.split("{{").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0.trim()));
    inner.filter(|word| !word.starts_with("$value")).map(|word| word.trim_start_matches("$labels.")).collect()
}

/// Checks that an expression uses what there is, and that what it gives has the labels that the text shows.
fn check(place: &str, expression: &Expression, text: &str) {
    let known = series();
    let labels_of = |name: &str| known.get(name).unwrap_or_else(|| panic!("{place}: there is no metric {name}"));
    let is_label = |labels: &BTreeSet<String>, label: &str| labels.contains(label) || ADDED.contains(&label);
    for selector in expression.selectors() {
        let labels = labels_of(&selector.name);
        for (label, ..) in &selector.matchers {
            assert!(is_label(labels, label), "{place}: {} has no label {label}", selector.name);
        }
        for label in expression.grouped_by() {
            assert!(is_label(labels, label), "{place}: {} has no label {label}", selector.name);
        }
        for label in shown(text) {
            assert!(is_label(labels, label), "{place}: {} has no label {label}", selector.name);
        }
    }
    let grouped = expression.grouped_by();
    let is_grouped = matches!(expression, Expression::Aggregate(..) | Expression::Quantile(..)) || !grouped.is_empty();
    for label in shown(text).into_iter().filter(|_| is_grouped) {
        assert!(grouped.contains(label), "{place}: {label} is not among the labels that are left");
    }
}

#[test]
fn the_alerts_use_metrics_and_labels_that_exist() {
    for alert in alerts() {
        check(&alert.name, &alert.expression, alert.annotations["summary"].as_str().unwrap());
    }
}

#[test]
fn the_dashboard_uses_metrics_and_labels_that_exist() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let (mut ids, mut count) = (BTreeSet::new(), 0);
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is there twice");
        for target in panel["targets"].as_array().into_iter().flatten() {
            let text = target["expr"].as_str().unwrap();
            let expression = Expression::parse(text).unwrap_or_else(|error| panic!("{title}: {error}"));
            check(title, &expression, target["legendFormat"].as_str().unwrap());
            count += 1;
        }
    }
    assert!(count > 40, "{count}");
    let of_site = dashboard["templating"]["list"][1]["query"]["query"].as_str().unwrap();
    let (metric, label) = of_site.strip_prefix("label_values(").unwrap().trim_end_matches(')').split_once(", ").unwrap();
    assert!(series()[metric].contains(label));
}

#[test]
fn promtool_takes_the_rules() {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/alerts.yaml");
    match Command::new("promtool").args(["check", "rules"]).arg(rules).output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(_) => println!("not checked by promtool, which is not installed here (Debian: prometheus)"),
    }
}
