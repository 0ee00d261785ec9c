//! The values of date parameters (FHIR R4, "Search", 3.1.1.4.7).

/// The prefixes of a date.
const PREFIXES: [&str; 9] = ["eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"];

/// Whether every value between commas has the form of a date. Whether such a day exists is not checked.
#[must_use]
pub(crate) fn are_dates(values: &str) -> bool {
    values.split(',').all(is_date)
}

fn is_date(value: &str) -> bool {
    let date = PREFIXES.iter().find_map(|prefix| value.strip_prefix(prefix)).unwrap_or(value);
    let year = date.bytes().take_while(u8::is_ascii_digit).count();
    // A plus that was not percent-encoded has become a space.
    let is_allowed = |byte: u8| byte.is_ascii_digit() || b"-:T.Z+ ".contains(&byte);
    year == 4 && date.len() <= 40 && date.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_as_fhir_writes_them_and_other_values() {
        for good in [
            "2024",
            "2024-02",
            "ge2024-02-29",
            "ap1970-01-01T00:00Z",
            "eq2024-01-01T00:00:00.123+01:00",
            "2024-01-01T00:00:00 01:00",
            "sa2024,eb2025-01",
        ] {
            assert!(are_dates(good), "{good}");
        }
        for bad in [
            "notadate",
            "",
            "2024,",
            "29.02.2024",
            "02/29/2024",
            "=2024",
            "xx2024",
            "gege2024",
            "20240229",
            "today",
            "2024-02-29x",
        ] {
            assert!(!are_dates(bad), "{bad}");
        }
    }
}
