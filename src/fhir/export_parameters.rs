//! The parameters of a bulk export's kick-off: where they stand, and how an instant is written.

use serde_json::Value;

/// The largest body of a kick-off by POST that is read, in bytes.
pub const MAX_PARAMETERS: usize = 64 * 1024;

/// A FHIR instant (FHIR R4, "Data Types", instant); `None` for anything else. A date is none.
#[must_use]
pub fn instant(text: &str) -> Option<String> {
    // An unencoded `+` of the query has become a space.
    let text = text.trim().replace(' ', "+");
    let (date_and_time, zone) = match text.strip_suffix('Z') {
        Some(rest) => (rest, "Z"),
        None => text.split_at_checked(text.len().checked_sub(6)?)?,
    };
    let fits = |text: &str, shape: &str| {
        text.len() == shape.len()
            && text.bytes().zip(shape.bytes()).all(|(byte, shape)| match shape {
                b'0' => byte.is_ascii_digit(),
                b'+' => matches!(byte, b'+' | b'-'),
                other => byte == other,
            })
    };
    let (seconds, fraction) = date_and_time.split_once('.').unwrap_or((date_and_time, "0"));
    let is_shaped = fits(seconds, "0000-00-00T00:00:00")
        && (1..=9).contains(&fraction.len())
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
        && (zone == "Z" || fits(zone, "+00:00"));
    (is_shaped && text.parse::<jiff::Timestamp>().is_ok()).then_some(text)
}

/// The same instant as OpenEMR reads it: its parser knows four digits of a second at most, takes `.5` for 5 milliseconds,
/// and answers 500 to the rest. Rounded down, because everything since then is wanted.
#[must_use]
pub fn in_whole_seconds(instant: &str) -> Option<String> {
    let time: jiff::Timestamp = instant.parse().ok()?;
    // Down, also before 1970.
    let second = time.as_nanosecond().div_euclid(1_000_000_000);
    let time = jiff::Timestamp::from_second(i64::try_from(second).ok()?).ok()?;
    Some(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// The part of a raw query (without its `?`) that was honoured, byte for byte. The rest could name a patient, and is not
/// kept.
#[must_use]
pub fn honoured(query: &str) -> String {
    let is_honoured = |pair: &&str| {
        let name = form_urlencoded::parse(pair.as_bytes()).next().map(|(name, _)| name.into_owned()).unwrap_or_default();
        matches!(name.as_str(), "_since" | "_type" | "_outputFormat")
    };
    query.split('&').filter(is_honoured).collect::<Vec<_>>().join("&")
}

/// The parameters of a kick-off by POST: a Parameters resource, whose values are of any primitive type.
/// `None` for a body that is no Parameters resource; what is too deep to read is none either.
#[must_use]
pub fn of_resource(body: &[u8]) -> Option<Vec<(String, String)>> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Some(Vec::new());
    }
    let resource: Value = serde_json::from_slice(body).ok()?;
    if resource.get("resourceType")?.as_str() != Some("Parameters") {
        return None;
    }
    let listed = match resource.get("parameter") {
        None => return Some(Vec::new()),
        Some(listed) => listed.as_array()?,
    };
    listed
        .iter()
        .map(|parameter| {
            let members = parameter.as_object()?;
            let name = members.get("name")?.as_str()?;
            let value = members.iter().find(|(key, _)| key.starts_with("value")).map(|(_, value)| value);
            let text = match value {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Bool(flag)) => flag.to_string(),
                Some(Value::Number(number)) => number.to_string(),
                // A reference, or parts: of a parameter that is not supported in any case.
                Some(Value::Object(_) | Value::Array(_) | Value::Null) | None => String::new(),
            };
            Some((name.to_owned(), text))
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_instant_has_a_time_and_a_zone() {
        for good in
            ["2026-11-24T02:28:30Z", "2026-11-24T02:28:30.123456Z", "2026-11-24T02:28:30+01:00", "2026-11-24T02:28:30-05:30"]
        {
            assert_eq!(instant(good).as_deref(), Some(good));
        }
        for bad in [
            "2026-11-24",
            "2026",
            "2026-11-24T02:28:30",
            "2026-13-24T02:28:30Z",
            "2026-11-24T02:28Z",
            "2026-11-24t02:28:30Z",
            "x",
            "ä€Z",
            "2026-11-24T02:28:30.Z",
            "2026-11-24T02:28:30.1234567890Z",
        ] {
            assert_eq!(instant(bad), None, "{bad}");
        }
    }

    #[test]
    fn openemr_gets_whole_seconds_in_utc() {
        for (instant, expected) in [
            ("2026-11-24T02:28:30Z", "2026-11-24T02:28:30Z"),
            ("2026-11-24T02:28:30.999999Z", "2026-11-24T02:28:30Z"),
            ("2026-11-24T02:28:30.5+01:00", "2026-11-24T01:28:30Z"),
            ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(in_whole_seconds(instant).as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_could_name_a_patient_is_not_kept() {
        for (query, kept) in [
            ("_type=Patient&_since=2026-11-24T02:28:30Z", "_type=Patient&_since=2026-11-24T02:28:30Z"),
            ("%5Ftype=a%2Cb&_typeFilter=Patient%3Fname%3DJane&_outputFormat=ndjson", "%5Ftype=a%2Cb&_outputFormat=ndjson"),
            ("Jane", ""),
            ("", ""),
        ] {
            assert_eq!(honoured(query), kept, "{query}");
        }
    }

    #[test]
    fn a_parameters_resource_says_the_same() {
        let body = r#"{"resourceType":"Parameters","parameter":[{"name":"_type","valueString":"Patient"},{"name":"_type","valueCode":"Goal"},
            {"name":"_since","valueInstant":"2026-11-24T02:28:30Z"},{"name":"patient","valueReference":{"reference":"Patient/1"}}]}"#;
        let expected = [("_type", "Patient"), ("_type", "Goal"), ("_since", "2026-11-24T02:28:30Z"), ("patient", "")];
        assert_eq!(of_resource(body.as_bytes()).unwrap(), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(of_resource(b" ").unwrap().is_empty());
        for bad in ["[]", "{}", r#"{"resourceType":"Patient"}"#, r#"{"resourceType":"Parameters","parameter":[1]}"#, "{"] {
            assert_eq!(of_resource(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_a_caller_writes_panics(text in ".{0,60}") {
            let _ = (instant(&text), honoured(&text), of_resource(text.as_bytes()), in_whole_seconds(&text));
        }

        #[test]
        fn every_instant_has_whole_seconds(second in -62_135_596_800_i64..253_402_300_799, nanos in 0_u32..999_999_999) {
            let time = jiff::Timestamp::new(second, 0).unwrap();
            let text = format!("{}.{nanos:09}Z", time.strftime("%Y-%m-%dT%H:%M:%S"));
            let whole = in_whole_seconds(&instant(&text).unwrap()).unwrap();
            prop_assert_eq!(whole.parse::<jiff::Timestamp>().unwrap(), time);
        }
    }
}
