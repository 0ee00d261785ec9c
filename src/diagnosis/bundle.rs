//! What the answer to a search says of itself, read from the structure of its JSON, of which the end may be missing: how many
//! resources there are, and the id of the first one.

use crate::fhir::json::outline::{Event, Malformed, Outline, Shape, unescaped};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// How many resources there are, or how many were seen.
    pub(super) count: usize,
    /// Whether there are no more.
    pub(super) is_all: bool,
    /// The id at the end of the `fullUrl` of the first entry.
    pub(super) first_id: Option<String>,
}

/// Reads a Bundle; `is_whole`: its end has come. `None` for what is no Bundle.
#[must_use]
pub(super) fn read(json: &[u8], is_whole: bool) -> Option<Found> {
    let mut reader = Reader::default();
    reader.read(json).ok()?;
    let is_bundle = match &reader.resource_type {
        Some(name) => name == "Bundle",
        // It may stand behind the entries.
        None => !is_whole && reader.has_entries,
    };
    if !is_bundle || (is_whole && !reader.outline.has_ended()) {
        return None;
    }
    let count = reader.total.unwrap_or(reader.entries);
    Some(Found { count, is_all: is_whole || reader.total.is_some(), first_id: reader.first_url.as_deref().and_then(id_of) })
}

/// The part of a Bundle whose value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    ResourceType,
    Total,
    FirstUrl,
    Other,
}

/// Goes through a Bundle as far as it is there.
#[derive(Debug, Default)]
struct Reader {
    outline: Outline,
    /// How many objects and arrays have been entered.
    depth: u32,
    resource_type: Option<String>,
    total: Option<usize>,
    has_entries: bool,
    entries: usize,
    first_url: Option<String>,
}

impl Reader {
    fn read(&mut self, json: &[u8]) -> Result<(), Malformed> {
        let (mut at, mut begin, mut part) = (0, 0, Part::Other);
        while let Some(event) = self.outline.next(json, &mut at)? {
            match event {
                Event::Name => {}
                Event::Value(shape) if self.leads_to_entries(shape) => {
                    self.outline.enter(shape, &mut at)?;
                    self.depth += 1;
                }
                Event::Value(shape) => {
                    (begin, part) = (at, self.part(shape));
                    self.outline.pass(shape);
                }
                Event::Passed { is_end: true } => self.take(part, json.get(begin..at).unwrap_or_default()),
                Event::Passed { is_end: false } => {}
                Event::Closed => self.depth = self.depth.saturating_sub(1),
            }
        }
        Ok(())
    }

    /// Whether this is the Bundle, its entries, or the first of them. Counts the entries.
    fn leads_to_entries(&mut self, shape: Shape) -> bool {
        match (self.depth, shape) {
            (0, Shape::Object) => true,
            (1, Shape::Array) if self.outline.name() == "entry" => {
                self.has_entries = true;
                true
            }
            (2, _) => {
                self.entries += 1;
                self.entries == 1 && shape == Shape::Object
            }
            _ => false,
        }
    }

    fn part(&self, shape: Shape) -> Part {
        match (self.depth, shape, &*self.outline.name()) {
            (1, Shape::String, "resourceType") => Part::ResourceType,
            (1, Shape::Other, "total") => Part::Total,
            (3, Shape::String, "fullUrl") => Part::FirstUrl,
            _ => Part::Other,
        }
    }

    fn take(&mut self, part: Part, written: &[u8]) {
        let text = || unescaped(written.strip_prefix(b"\"")?.strip_suffix(b"\"")?);
        match part {
            Part::ResourceType => self.resource_type = text(),
            Part::Total => self.total = std::str::from_utf8(written).ok().and_then(|number| number.parse().ok()),
            Part::FirstUrl => self.first_url = text(),
            Part::Other => {}
        }
    }
}

/// The id at the end of a URL.
fn id_of(url: &str) -> Option<String> {
    let id = url.rsplit('/').next()?;
    let is_id = !id.is_empty() && id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    is_id.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BUNDLE: &str = r#"{"resourceType":"Bundle","type":"collection","total":7,"link":[],"entry":[{"fullUrl":"https:\/\/emr\/apis\/default\/fhir\/Patient\/a1-b2","resource":{"total":9}},{"fullUrl":"x\/c3"}]}"#;

    fn count(json: &str, is_whole: bool) -> Option<(usize, bool)> {
        read(json.as_bytes(), is_whole).map(|found| (found.count, found.is_all))
    }

    #[test]
    fn whole_bundles_are_counted_by_their_total_or_their_entries() {
        for (json, found) in [
            (BUNDLE, Some(7)),
            (r#"{"resourceType":"Bundle","entry":[{},{}]}"#, Some(2)),
            (r#"{"resourceType":"Bundle","type":"searchset"}"#, Some(0)),
            (r#" { "entry" : [ 1 , {} , [] ] , "resourceType" : "B\u0075ndle" } "#, Some(3)),
            (r#"{"resourceType":"Bundle","meta":{"total":5},"x":"\"total\":6","entry":[{}],"total":3}"#, Some(3)),
            (r#"{"resourceType":"Bundle","total":null,"entry":[{}]}"#, Some(1)),
            ("[]", None),
            ("{}", None),
            (r#"{"resourceType":"Patient","total":1}"#, None),
            (r#"{"entry":[{"resourceType":"Bundle"}]}"#, None),
            (r#"{"resourceType":"Bundle","total":7"#, None),
            (r#"{"resourceType":"Bundle"} {"#, None),
            ("<html>", None),
            ("", None),
        ] {
            assert_eq!(count(json, true), found.map(|found| (found, true)), "{json}");
        }
    }

    #[test]
    fn of_a_bundle_that_was_cut_off_the_total_of_its_own_counts() {
        for (json, found) in [
            (r#"{"resourceType":"Bundle","total":7,"entry":[{"a":"#, Some((7, true))),
            (r#"{"resourceType":"Bundle","meta":{"total":5},"x":"\"total\":6","entry":[{},{},{"total":4,"a"#, Some((3, false))),
            (r#"{"entry":[{"total":5},{"#, Some((2, false))),
            (r#"{"resourceType":"Bundle","contained":[{"entry":[{}],"total":5}],"#, Some((0, false))),
            (r#"{"resourceType":"Patient","total":5,"entry":[{},{"#, None),
            (r#"{"total":5,"contact":[{"entry":[{"#, None),
            ("[[[[", None),
        ] {
            assert_eq!(count(json, false), found, "{json}");
        }
    }

    #[test]
    fn the_first_id_is_that_of_the_first_entry() {
        let id = |json: &str, is_whole| read(json.as_bytes(), is_whole).and_then(|found| found.first_id);
        assert_eq!(id(BUNDLE, true).as_deref(), Some("a1-b2"));
        assert_eq!(id(&BUNDLE[..BUNDLE.len() - 10], false).as_deref(), Some("a1-b2"));
        for entries in [
            r#"[{"fullUrl":"https://h/Patient/x?y="}]"#,
            r#"[{"fullUrl":"https://h/Patient/"}]"#,
            r#"[{"fullUrl":7},{"fullUrl":"h/second"}]"#,
            r#"[{"resource":{"fullUrl":"h/inner"}}]"#,
            r#"{"fullUrl":"h/no-list"}"#,
            "[]",
        ] {
            let json = format!(r#"{{"resourceType":"Bundle","link":[{{"fullUrl":"h/link"}}],"entry":{entries}}}"#);
            assert_eq!(id(&json, true), None, "{json}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_wherever_it_is_cut_off(text in "[\\[\\]{}:,\"\\\\a0 ]{0,60}", at in 0_usize..=200) {
            let _ = read(text.as_bytes(), true);
            prop_assert!(read(&BUNDLE.as_bytes()[..at.min(BUNDLE.len())], false).is_none_or(|found| found.count <= 7));
        }
    }
}
