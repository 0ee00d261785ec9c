//! Dates, by the rules and the examples of FHIR R4.

use serde_json::json;

use super::{assert_met, is_met};
use crate::fhir::criteria::criterion::{Criterion, Untestable};

/// Asserts that a dateTime is met by some values and not by others.
fn assert_date(date: &str, met: &[&str], not_met: &[&str]) {
    assert_met("Observation", "date", &json!({"effectiveDateTime": date}), met, not_met);
}

fn assert_period(start: Option<&str>, end: Option<&str>, met: &[&str], not_met: &[&str]) {
    let mut period = json!({});
    for (name, value) in [("start", start), ("end", end)] {
        if let Some(value) = value {
            period[name] = json!(value);
        }
    }
    assert_met("Encounter", "date", &json!({ "period": period }), met, not_met);
}

#[test]
fn the_examples_of_the_specification() {
    assert_date("2013-01-14T00:00", &["eq2013-01-14", "2013-01-14"], &["ne2013-01-14"]);
    assert_date("2013-01-14T10:00", &["eq2013-01-14"], &["ne2013-01-14"]);
    assert_date("2013-01-15T00:00", &["ne2013-01-14"], &["eq2013-01-14"]);
    assert_date("2013-01-14", &["lt2013-01-14T10:00", "gt2013-01-14T10:00"], &[]);
    let from_21_january = (Some("2013-01-21"), None);
    let from_15_march = (Some("2013-03-15"), None);
    let until_21_january = (None, Some("2013-01-21"));
    assert_period(from_21_january.0, from_21_january.1, &["ge2013-03-14", "le2013-03-14"], &["sa2013-03-14", "eb2013-03-14"]);
    assert_period(from_15_march.0, from_15_march.1, &["sa2013-03-14"], &["eb2013-03-14", "le2013-03-14"]);
    assert_period(until_21_january.0, until_21_january.1, &["eb2013-03-14"], &["sa2013-03-14", "ge2013-03-14"]);
}

#[test]
fn the_precision_of_both_sides_counts() {
    assert_date(
        "2024-02",
        &[
            "2024",
            "2024-02",
            "ge2024-02-28",
            "gt2024-02-15",
            "lt2024-02-02",
            "le2024-02-02",
            "sa2024-01",
            "eb2024-03",
            "ne2024-02-15",
        ],
        &[
            "2024-02-29",
            "ne2024-02",
            "gt2024-02",
            "lt2024-02",
            "lt2024-02-01",
            "gt2024-02-29",
            "ge2024-02-29",
            "le2024-02-01",
            "sa2024-02-01",
            "eb2024-02-29",
        ],
    );
    assert_date("2024-02-29", &["2024-02-29", "lt2024-03", "gt2024-02-28", "sa2024-02-28", "eb2024-03-01"], &["2024-03-01"]);
    assert_date("2023-12-31", &["2023", "lt2024", "eb2024"], &["2024", "gt2023", "ge2024"]);
    assert_date("2024", &["2024", "gt2024-06", "lt2024-06", "ge2024", "le2024"], &["2024-01", "gt2024", "lt2024"]);
    assert_date(
        "2024-01-01T12:00:00Z",
        &["2024-01-01T12:00Z", "ge2024-01-01T12:00:00Z", "gt2024-01-01T12:00:00.5Z"],
        &["2024-01-01T12:01Z", "gt2024-01-01T12:00Z", "2024-01-01T12:00:00.0Z"],
    );
    assert_date(
        "2024-01-01T12:00:00.123Z",
        &["2024-01-01T12:00:00.12Z", "2024-01-01T12:00:00.123Z", "2024-01-01T12:00:00Z"],
        &["2024-01-01T12:00:00.1230Z", "2024-01-01T12:00:00.124Z"],
    );
    assert_date("2024-01-01T12:00:00.1234567891234Z", &["2024-01-01T12:00:00.123456789Z"], &["2024-01-01T12:00:00.123456788Z"]);
    assert_date("9999-12-31", &["9999", "gt9998", "9999-12-31", "sa9999-12-30"], &["gt9999"]);
    assert_date("0001-01-01", &["0001", "lt0002"], &["lt0001"]);
    // 1900 was no leap year, 2000 was.
    assert_date("1900-02-28", &["eb1900-03-01", "1900-02"], &["1900-03"]);
    assert_date("2000-02-29", &["2000-02", "sa2000-02-28", "eb2000-03-01"], &["2000-03"]);
    assert_date("2016-12-31T23:59:60Z", &["ge2016-12-31T23:59:59Z"], &["lt2016-12-31T23:59:59Z"]);
}

#[test]
fn times_with_zones_are_compared_as_moments() {
    assert_date(
        "2024-01-01T23:30:00-05:00",
        &["2024-01-02T04:30:00Z", "2024-01-02T05:30:00+01:00", "ge2024-01-02T04:30:00Z"],
        &["2024-01-01T23:30:00Z", "gt2024-01-02T04:30:00Z"],
    );
    assert_date("2024-01-01T00:00:00+14:00", &["2023-12-31T10:00:00Z", "lt2024-01-01T00:00:00Z"], &["ge2024-01-01T00:00:00Z"]);
    // The blank was a plus.
    assert_date(
        "2024-01-01T01:00:00+01:00",
        &["2024-01-01T00:00:00Z", "2024-01-01T01:00:00 01:00"],
        &["2024-01-01T01:00:00-01:00"],
    );
}

#[test]
fn a_side_without_a_zone_is_in_that_of_the_other() {
    assert_date(
        "2024-01-01T23:30:00-05:00",
        &["2024-01-01", "2024-01", "2024-01-01T23:30:00", "lt2024-01-02", "ge2024-01-01T23:30"],
        &["2024-01-02", "gt2024-01-01"],
    );
    assert_date(
        "2024-01-01",
        &["2024-01-01", "lt2024-01-02T00:00:00Z", "ge2024-01-01T00:00:00-05:00", "sa2023-12-31T23:59:59+14:00"],
        &["lt2024-01-01T00:00:00+14:00"],
    );
    assert_date(
        "2024-01-01T12:00:00",
        &["2024-01-01T12:00:00", "2024-01-01T12:00:00Z", "2024-01-01T12:00:00-05:00"],
        &["2024-01-01T13:00:00"],
    );
    assert_period(
        Some("2024-01-01T23:30:00-05:00"),
        Some("2024-01-02T00:30:00-05:00"),
        &["gt2024-01-01", "lt2024-01-02", "ge2024-01-02T00:00:00", "ne2024-01-01"],
        &["2024-01-01", "sa2024-01-01", "gt2024-01-02"],
    );
}

#[test]
fn periods_reach_from_their_start_to_the_end_of_their_end() {
    assert_period(
        Some("2024-01-10"),
        Some("2024-01-20"),
        &["2024-01", "gt2024-01-19", "ge2024-01-19", "lt2024-01-11", "sa2024-01-09", "eb2024-01-21"],
        // Nothing of it is after the 20th, and it is not within the 20th: neither of what makes `ge`.
        &["2024-01-10", "gt2024-01-20", "ge2024-01-20", "le2024-01-10", "lt2024-01-10", "sa2024-01-10", "eb2024-01-20"],
    );
    assert_period(
        Some("2024-01-10"),
        None,
        &["gt2999", "ge2999", "lt2024-01-11", "ne2024"],
        &["2024-01", "2024", "eb2999", "lt2024-01-10"],
    );
    assert_period(None, Some("2024-01-10"), &["lt0001", "le0001", "ge2024-01-09", "ne2024"], &["2024", "sa0001", "gt2024-01-10"]);
    assert_period(None, None, &[], &["2024", "ne2024", "gt2024", "lt2024"]);
    assert_period(Some("nonsense"), Some("2024-01-10"), &[], &["2024", "lt2024", "gt2000", "ne2024"]);
    assert_period(Some("2024-01-10"), Some(""), &[], &["gt2024", "ne2024"]);
}

#[test]
fn a_timing_has_outer_limits() {
    let timing = json!({"effectiveTiming": {"event": ["2024-03-10", "2024-01-05", "2024-02-01T12:00:00Z"]}});
    assert_met(
        "Observation",
        "date",
        &timing,
        &["2024", "ge2024-03-09", "lt2024-01-06", "sa2024-01-04", "eb2024-03-11"],
        &["2024-01", "gt2024-03-10"],
    );
    let bounded = json!({"effectiveTiming": {"event": "2024-03-10", "repeat": {"boundsPeriod": {"start": "2024-02-01"}}}});
    assert_met("Observation", "date", &bounded, &["gt2999", "sa2024-01"], &["2024", "eb2025"]);
    assert_met("Observation", "date", &json!({"effectiveTiming": {"code": {"text": "BID"}}}), &[], &["ne2024", "ge2024"]);
}

#[test]
fn an_instant_is_one_moment() {
    let issued = json!({"meta": {"lastUpdated": "2024-01-01T12:00:00Z"}});
    assert_met(
        "Observation",
        "_lastUpdated",
        &issued,
        &["2024-01-01T12:00:00Z", "2024-01-01T12:00:00.000Z", "lt2024-01-01T12:00:00.5Z", "eb2024-01-01T12:00:00.5Z"],
        &["gt2024-01-01T12:00:00.5Z", "gt2024-01-01T12:00:00Z", "lt2024-01-01T12:00:00Z"],
    );
}

#[test]
fn what_is_no_date_matches_nothing() {
    for bad in [
        "",
        "0000-00-00",
        "2024-13-01",
        "2023-02-29",
        "2024-01-01T24:00:00Z",
        "2024-01-01T12:00:00 01:00",
        "today",
        "2024-01-01 12:00:00",
        "20240101",
    ] {
        assert_date(bad, &[], &["2024", "ne2024", "ge1900", "lt2999"]);
    }
    assert!(!is_met("Observation", "date", "ne2024", &json!({})));
}

#[test]
fn values_that_are_no_dates_are_refused() {
    for bad in [
        "",
        "2024-",
        "2024-1",
        "2024-01-1",
        "2024-13",
        "2024-00",
        "2024-01-00",
        "2024-01-32",
        "2023-02-29",
        "1900-02-29",
        "2024-04-31",
        "0000",
        "02024",
        "2024T12:00",
        "2024-01T12:00Z",
        "2024-01-01T",
        "2024-01-01T12",
        "2024-01-01T12Z",
        "2024-01-01T24:00:00Z",
        "2024-01-01T12:60Z",
        "2024-01-01T12:00:61Z",
        "2024-01-01T12:00.5Z",
        "2024-01-01T12:00:00.Z",
        "2024-01-01T12:00:00.1234567890Z",
        "2024-01-01T12:00:00+1:00",
        "2024-01-01T12:00:00+0100",
        "2024-01-01T12:00:00+14:01",
        "2024-01-01T12:00:00+15:00",
        "2024-01-01T12:00:00ZZ",
        "2024-01-01Z",
        "2024-01-01t12:00:00Z",
        "ge",
        "gege2024",
        "GE2024",
        "xx2024",
        " 2024",
        "2024 ",
        "ge 2024",
        "2024,2024-13",
        "+2024",
        "\u{ff12}024",
        "2024-01-01T12:00:00.+5Z",
        "2024-01-01-01",
        "2024-01-01T12:00:00:00Z",
        "2024-02-30",
    ] {
        assert_eq!(Criterion::read("Observation", "date", bad), Err(Untestable::Value), "{bad}");
    }
}
