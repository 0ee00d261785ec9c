//! The answers to several searches as one Bundle, for a search that OpenEMR cannot be asked at once.

use crate::fhir::json::outline::{Event, Outline, Shape};
use crate::openemr::bundle::fault::Fault;
use crate::openemr::bundle::full_url::text;
use crate::openemr::bundle::links;

/// Joins the Bundles that OpenEMR sent: the members are those of the first one, the entries those of all, as they are written.
///
/// # Errors
/// One of them is no whole Bundle, or has a next page.
pub(crate) fn joined<B: AsRef<[u8]>>(bundles: &[B]) -> Result<Vec<u8>, Fault> {
    let parts = bundles.iter().map(|bundle| Parts::read(bundle.as_ref())).collect::<Result<Vec<_>, _>>()?;
    let mut joined = br#"{"resourceType":"Bundle""#.to_vec();
    for (name, value) in parts.first().map_or(&[][..], |first| &first.others) {
        for part in [b",\"", name.as_slice(), b"\":", value] {
            joined.extend_from_slice(part);
        }
    }
    joined.extend_from_slice(br#","entry":["#);
    for (number, entries) in parts.iter().map(|parts| parts.entries).filter(|entries| !entries.is_empty()).enumerate() {
        if number > 0 {
            joined.push(b',');
        }
        joined.extend_from_slice(entries);
    }
    joined.extend_from_slice(b"]}");
    Ok(joined)
}

/// What a Bundle consists of.
#[derive(Default)]
struct Parts<'a> {
    /// What is between the brackets of its entries, without white space around it.
    entries: &'a [u8],
    /// The names, as written between their quotes, and the values of the other members, but for the total, which is that of one
    /// Bundle alone.
    others: Vec<(Vec<u8>, &'a [u8])>,
}

impl<'a> Parts<'a> {
    fn read(bundle: &'a [u8]) -> Result<Self, Fault> {
        let mut outline = Outline::default();
        let (mut at, mut begins_at, mut is_inside, mut parts) = (0, 0, false, Self::default());
        let (mut names, mut is_bundle) = (Vec::new(), false);
        while let Some(event) = outline.next(bundle, &mut at)? {
            match event {
                Event::Value(shape @ Shape::Object) if !is_inside => {
                    is_inside = true;
                    outline.enter(shape, &mut at)?;
                }
                Event::Value(_) if !is_inside => return Err(Fault::NoBundle),
                Event::Value(shape) => {
                    begins_at = at;
                    outline.pass(shape);
                }
                Event::Name if names.iter().any(|name| *name == outline.name()) => return Err(Fault::Twice),
                Event::Name => names.push(outline.name().into_owned()),
                Event::Passed { is_end: false } | Event::Closed => {}
                Event::Passed { is_end: true } => {
                    let value = bundle.get(begins_at..at).ok_or(Fault::Malformed)?.trim_ascii();
                    let name = names.last().map(String::as_str).unwrap_or_default();
                    is_bundle |= parts.take(name, outline.written_name(), value)?;
                }
            }
        }
        if !outline.has_ended() {
            return Err(Fault::CutShort);
        }
        is_bundle.then_some(parts).ok_or(Fault::NoBundle)
    }

    /// Takes a member. Returns whether it says that this is a Bundle.
    fn take(&mut self, name: &str, written_name: &[u8], value: &'a [u8]) -> Result<bool, Fault> {
        match name {
            "resourceType" => {
                let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
                return if quoted.is_some_and(|quoted| text(quoted) == "Bundle") { Ok(true) } else { Err(Fault::NoBundle) };
            }
            "entry" if value == b"null" => {}
            "entry" => {
                let entries = value.strip_prefix(b"[").and_then(|value| value.strip_suffix(b"]"));
                self.entries = entries.ok_or(Fault::NoBundle)?.trim_ascii();
            }
            "total" => {}
            "link" if value != b"null" => {
                if links::read(value).ok_or(Fault::NoBundle)?.iter().any(|(relation, _)| relation == "next") {
                    return Err(Fault::Incomplete);
                }
                self.others.push((written_name.to_vec(), value));
            }
            _ => self.others.push((written_name.to_vec(), value)),
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn joined_value(bundles: &[&str]) -> Value {
        serde_json::from_slice(&joined(bundles).unwrap()).unwrap()
    }

    #[test]
    fn entries_of_all_stand_behind_each_other_as_they_are_written() {
        let first = r#"{"type":"collection","total":2,"entry":[ {"a":"]}"},{"b":1} ],"resourceType":"Bundle","link":[{"relation":"self","url":"u"}]}"#;
        let empty = r#" {"resourceType":"Bundle","entry":[ ],"total":0} "#;
        let none = r#"{"resourceType":"Bundle","entry":null}"#;
        let second = "\u{feff}{\"\\u0065ntry\":[{\"c\":[]}],\"resourceType\":\"Bu\\u006edle\",\"type\":\"searchset\"}";
        let expected = json!({
            "resourceType": "Bundle", "type": "collection", "link": [{"relation": "self", "url": "u"}],
            "entry": [{"a": "]}"}, {"b": 1}, {"c": []}],
        });
        assert_eq!(joined_value(&[first, empty, none, second]), expected);
        assert_eq!(joined_value(&[empty, second, empty]), json!({"resourceType": "Bundle", "entry": [{"c": []}]}));
        assert_eq!(joined_value(&[none, empty]), json!({"resourceType": "Bundle", "entry": []}));
    }

    #[test]
    fn what_is_no_whole_bundle_is_not_joined() {
        let good = r#"{"resourceType":"Bundle","entry":[{"a":1}]}"#;
        for (bad, fault) in [
            ("", Fault::CutShort),
            (&good[..good.len() - 1], Fault::CutShort),
            (&*format!("{good}x"), Fault::Malformed),
            ("Warning", Fault::Malformed),
            ("[]", Fault::NoBundle),
            (r#"{"entry":[]}"#, Fault::NoBundle),
            (r#"{"resourceType":"OperationOutcome"}"#, Fault::NoBundle),
            (r#"{"resourceType":"Bundle","entry":{}}"#, Fault::NoBundle),
            (r#"{"resourceType":"Bundle","entry":[],"\u0065ntry":[]}"#, Fault::Twice),
            (r#"{"resourceType":"Bundle","link":[{"relation":"next","url":"u"}]}"#, Fault::Incomplete),
            (r#"{"resourceType":"Bundle","link":5}"#, Fault::NoBundle),
        ] {
            assert_eq!(joined(&[good, bad]), Err(fault), "{bad}");
            assert_eq!(joined(&[bad, good]), Err(fault), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn says_the_same_as_serde(
            bundles in prop::collection::vec(prop::collection::vec("[a\"\\\\\\]}{,é]{0,6}", 0..4), 1..4), is_pretty in any::<bool>()
        ) {
            let written = |texts: &Vec<String>| {
                let entry: Vec<Value> = texts.iter().map(|text| json!({"resource": {"x": text}})).collect();
                let bundle = json!({"id": texts.len(), "entry": entry, "resourceType": "Bundle", "total": 1});
                if is_pretty { serde_json::to_string_pretty(&bundle).unwrap() } else { bundle.to_string() }
            };
            let all: Vec<Value> = bundles.iter().flatten().map(|text| json!({"resource": {"x": text}})).collect();
            let joined: Value = serde_json::from_slice(&joined(&bundles.iter().map(written).collect::<Vec<_>>()).unwrap()).unwrap();
            prop_assert_eq!(joined, json!({"resourceType": "Bundle", "id": bundles[0].len(), "entry": all}));
        }
    }
}
