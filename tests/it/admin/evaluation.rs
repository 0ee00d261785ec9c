//! What an expression gives over the scrapes of a gateway, as Prometheus would have it. The window of a function is all of the scrapes.

use std::collections::BTreeMap;
use std::time::Instant;

use super::expression::{Expression, Selector};

/// The labels of a series, without its name.
pub type Labels = BTreeMap<String, String>;

/// What was read at one moment: of each metric its series.
pub struct Scrape {
    at: Instant,
    series: BTreeMap<String, Vec<(Labels, f64)>>,
}

/// What an expression gives: a value for each set of labels.
pub type Vector = Vec<(Labels, f64)>;

impl Scrape {
    /// Reads Prometheus' text format. `up` is what Prometheus adds by itself; `None`: nobody answered.
    pub fn of(text: Option<&str>) -> Self {
        let mut scrape = Self { at: Instant::now(), series: BTreeMap::new() };
        let up = f64::from(u8::from(text.is_some()));
        scrape.series.insert("up".to_owned(), vec![(labels_of(""), up)]);
        for line in text.unwrap_or_default().lines().filter(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let value = value.parse().unwrap();
            scrape.series.entry(name.to_owned()).or_default().push((labels_of(labels.trim_end_matches('}')), value));
        }
        scrape
    }

    fn select(&self, selector: &Selector) -> Vector {
        let all = self.series.get(&selector.name).into_iter().flatten();
        all.filter(|(labels, _)| fits(labels, selector)).cloned().collect()
    }
}

/// The labels, with the one that Prometheus adds. No value here has a comma or a quotation mark.
fn labels_of(text: &str) -> Labels {
    let pairs = text.split(',').filter(|pair| !pair.is_empty()).chain(["job=openemr-gateway"]);
    pairs
        .map(|pair| {
            let (label, value) = pair.split_once('=').unwrap();
            (label.to_owned(), value.trim_matches('"').to_owned())
        })
        .collect()
}

fn fits(labels: &Labels, selector: &Selector) -> bool {
    selector.matchers.iter().all(|(label, operator, expected)| {
        let found = labels.get(label).map_or("", String::as_str);
        match operator.as_str() {
            "=" => found == expected,
            "!=" => found != expected,
            "=~" => expected.split('|').any(|one| one == found),
            "!~" => expected.split('|').all(|one| one != found),
            _ => unreachable!("{operator}"),
        }
    })
}

/// Evaluates an expression at the last of these scrapes. A comparison keeps what it is true for: an alert fires when anything is left.
pub fn evaluate(expression: &Expression, scrapes: &[Scrape]) -> Vector {
    match expression {
        Expression::Number(number) => vec![(Labels::new(), *number)],
        Expression::Selector(selector) => scrapes.last().map(|last| last.select(selector)).unwrap_or_default(),
        Expression::Window(function, selector) => over_window(function, selector, scrapes),
        Expression::Aggregate(function, by, inner) => aggregate(function, by, evaluate(inner, scrapes)),
        Expression::Quantile(..) => panic!("no alert has a quantile"),
        Expression::Binary(operator, left, right) => {
            binary(operator, evaluate(left, scrapes), evaluate(right, scrapes), matches!(**right, Expression::Number(_)))
        }
    }
}

fn over_window(function: &str, selector: &Selector, scrapes: &[Scrape]) -> Vector {
    let mut series: BTreeMap<Labels, Vec<(Instant, f64)>> = BTreeMap::new();
    for scrape in scrapes {
        for (labels, value) in scrape.select(selector) {
            series.entry(labels).or_default().push((scrape.at, value));
        }
    }
    let result = series.into_iter().filter_map(|(labels, points)| Some((labels, of_points(function, &points)?)));
    result.collect()
}

fn of_points(function: &str, points: &[(Instant, f64)]) -> Option<f64> {
    let values = || points.iter().map(|(_, value)| *value);
    match function {
        "min_over_time" => return values().reduce(f64::min),
        "max_over_time" => return values().reduce(f64::max),
        "changes" => return Some(points.windows(2).filter(|pair| pair[0].1 != pair[1].1).count() as f64),
        _ => {}
    }
    // One point is no growth, and a counter that is less than before has begun anew.
    let (first, last) = (points.first()?, points.last().filter(|_| points.len() > 1)?);
    let grown: f64 = points.windows(2).map(|pair| if pair[1].1 < pair[0].1 { pair[1].1 } else { pair[1].1 - pair[0].1 }).sum();
    match function {
        "increase" => Some(grown),
        "rate" => Some(grown / (last.0 - first.0).as_secs_f64()),
        _ => unreachable!("{function}"),
    }
}

fn aggregate(function: &str, by: &[String], inner: Vector) -> Vector {
    let mut groups: BTreeMap<Labels, Vec<f64>> = BTreeMap::new();
    for (labels, value) in inner {
        let kept = labels.into_iter().filter(|(label, _)| by.contains(label)).collect();
        groups.entry(kept).or_default().push(value);
    }
    let one = |values: Vec<f64>| match function {
        "sum" => values.iter().sum(),
        "count" => values.len() as f64,
        "min" => values.into_iter().fold(f64::INFINITY, f64::min),
        "max" => values.into_iter().fold(f64::NEG_INFINITY, f64::max),
        _ => unreachable!("{function}"),
    };
    groups.into_iter().map(|(labels, values)| (labels, one(values))).collect()
}

/// Series meet by equal labels; a number meets all.
fn binary(operator: &str, left: Vector, right: Vector, with_a_number: bool) -> Vector {
    let partner = |labels: &Labels| right.iter().find(|(other, _)| with_a_number || other == labels).map(|(_, value)| *value);
    let joined = left.into_iter().filter_map(|(labels, value)| Some((partner(&labels)?, labels, value)));
    joined
        .filter_map(|(other, labels, value)| {
            let result = match operator {
                "+" => value + other,
                "-" => value - other,
                "*" => value * other,
                "/" => value / other,
                comparison => return is_true(comparison, value, other).then_some((labels, value)),
            };
            Some((labels, result))
        })
        .collect()
}

fn is_true(comparison: &str, value: f64, other: f64) -> bool {
    match comparison {
        "and" => true,
        "==" => value == other,
        "!=" => value != other,
        ">" => value > other,
        "<" => value < other,
        ">=" => value >= other,
        "<=" => value <= other,
        _ => unreachable!("{comparison}"),
    }
}

#[test]
fn expressions_give_what_prometheus_has() {
    let scrapes = [
        Scrape::of(Some("a_total{site=\"x\",class=\"5xx\"} 1\na_total{site=\"x\",class=\"2xx\"} 9\nb{site=\"x\"} 0\nstart 7\n")),
        Scrape::of(Some(
            "# TYPE a counter\na_total{site=\"x\",class=\"5xx\"} 3\na_total{site=\"x\",class=\"2xx\"} 11\nb{site=\"x\"} 2\nstart 8\n",
        )),
    ];
    let fires = |text: &str| !evaluate(&Expression::parse(text).unwrap(), &scrapes).is_empty();
    for (text, expected) in [
        ("up == 1", true),
        ("b > 1", true),
        ("b > 2", false),
        ("missing == 0", false),
        (r#"sum by (site) (rate(a_total{class="5xx"}[5m])) / sum by (site) (rate(a_total[5m])) == 0.5"#, true),
        (r#"sum by (site) (rate(a_total{class="4xx"}[5m])) / sum by (site) (rate(a_total[5m])) >= 0"#, false),
        (r#"increase(a_total{class=~"5xx|4xx"}[5m]) == 2"#, true),
        ("sum(increase(a_total[5m])) == 4", true),
        ("min_over_time(b[5m]) > 0", false),
        ("max_over_time(b[5m]) > 0", true),
        ("changes(start[5m]) == 1", true),
        ("sum by (site) (b) > 1 and sum by (site) (a_total) > 13", true),
        ("sum by (site) (b) > 1 and sum by (site) (a_total) > 14", false),
    ] {
        assert_eq!(fires(text), expected, "{text}");
    }
    let restarted = [Scrape::of(Some("a 9\n")), Scrape::of(Some("a 2\n")), Scrape::of(None)];
    let increase = evaluate(&Expression::parse("increase(a[5m])").unwrap(), &restarted);
    assert_eq!(increase[0].1, 2.0);
    assert_eq!(evaluate(&Expression::parse("up == 0").unwrap(), &restarted).len(), 1);
}
