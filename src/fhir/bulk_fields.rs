//! The header fields of a bulk export's kick-off, in any spelling that HTTP allows (Bulk Data Access IG 2.0, "Headers").
//!
//! OpenEMR compares both as strings; a caller may write lists, several field lines, parameters, other letters' case.

/// What a caller prefers to happen to what the server does not know (FHIR R4, "RESTful API", 3.1.0.1.13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handling {
    /// Refuse the request.
    Strict,
    /// Leave it out, and say so.
    Lenient,
}

/// The preferences (RFC 7240) that matter to an export.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Preferences {
    /// `respond-async`.
    pub respond_async: bool,
    /// `handling`, where it was named; of two the first counts (RFC 7240 section 2).
    pub handling: Option<Handling>,
}

impl Preferences {
    /// Reads all `Prefer` field lines.
    #[must_use]
    pub fn of<'a>(fields: impl IntoIterator<Item = &'a str>) -> Self {
        let mut preferences = Self::default();
        for preference in fields.into_iter().flat_map(|field| split(field, ',')) {
            let main = split(preference, ';').next().unwrap_or_default();
            let (name, value) = main.split_once('=').unwrap_or((main, ""));
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name.eq_ignore_ascii_case("respond-async") {
                preferences.respond_async = true;
            } else if name.eq_ignore_ascii_case("handling") && preferences.handling.is_none() {
                preferences.handling = match value {
                    _ if value.eq_ignore_ascii_case("strict") => Some(Handling::Strict),
                    _ if value.eq_ignore_ascii_case("lenient") => Some(Handling::Lenient),
                    _ => None,
                };
            }
        }
        preferences
    }
}

/// Whether the `Accept` field lines let FHIR's JSON through. No field accepts everything (RFC 9110 section 12.5.1).
#[must_use]
pub fn accept_fhir_json<'a>(fields: impl IntoIterator<Item = &'a str>) -> bool {
    let mut is_empty = true;
    for range in fields.into_iter().flat_map(|field| split(field, ',')) {
        let mut parts = split(range, ';').map(str::trim);
        let range = parts.next().unwrap_or_default();
        if range.is_empty() {
            continue;
        }
        is_empty = false;
        let is_refused = parts.any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            name.trim().eq_ignore_ascii_case("q") && value.trim().parse::<f32>().is_ok_and(|weight| weight <= 0.0)
        });
        let fits = ["application/fhir+json", "application/json", "application/json+fhir", "application/*", "*/*"];
        if !is_refused && fits.iter().any(|fit| range.eq_ignore_ascii_case(fit)) {
            return true;
        }
    }
    is_empty
}

/// The parts between separators that stand in no quoted string (RFC 9110 section 5.6.4).
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c: char| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        c == separator && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn preferences_in_any_spelling() {
        for (fields, respond_async, handling) in [
            (&["respond-async"][..], true, None),
            (&["Respond-Async"], true, None),
            (&["handling=lenient, respond-async"], true, Some(Handling::Lenient)),
            (&["respond-async;wait=10 , handling = \"STRICT\""], true, Some(Handling::Strict)),
            (&["handling=strict", "respond-async"], true, Some(Handling::Strict)),
            (&["handling=strict,handling=lenient,respond-async"], true, Some(Handling::Strict)),
            (&["x=\"respond-async, a\""], false, None),
            (&["return=minimal;respond-async"], false, None),
            (&["handling=sloppy"], false, None),
            (&["respond-asynchronously"], false, None),
            (&[""], false, None),
            (&[], false, None),
        ] {
            let expected = Preferences { respond_async, handling };
            assert_eq!(Preferences::of(fields.iter().copied()), expected, "{fields:?}");
        }
    }

    #[test]
    fn accept_in_any_spelling() {
        for (fields, fits) in [
            (&[][..], true),
            (&[""], true),
            (&["application/fhir+json"], true),
            (&["Application/FHIR+JSON; fhirVersion=4.0; charset=utf-8"], true),
            (&["text/html, application/fhir+json;q=0.5"], true),
            (&["text/html", "*/*;q=0.1"], true),
            (&["application/json"], true),
            (&["application/*"], true),
            (&["application/fhir+json;q=0"], false),
            (&["application/fhir+json; Q=0.000, text/html"], false),
            (&["application/fhir+xml"], false),
            (&["text/html"], false),
            (&["application/fhir+ndjson"], false),
        ] {
            assert_eq!(accept_fhir_json(fields.iter().copied()), fits, "{fields:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_a_caller_writes_panics(text in ".{0,60}") {
            let _ = (Preferences::of([text.as_str()]), accept_fhir_json([text.as_str()]));
        }

        #[test]
        fn other_preferences_do_not_hide_it(before in "([a-z]{1,8}(=[a-z]{1,5})?,){0,4}", after in "(,[a-z]{1,8}(=\"[a-z, ]{0,5}\")?){0,4}") {
            let field = format!("{before} respond-async{after}");
            prop_assert!(Preferences::of([field.as_str()]).respond_async);
        }
    }
}
