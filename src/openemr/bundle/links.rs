//! The links of a search Bundle (FHIR R4, "Search", 3.1.1.6): `self` with the parameters that were used, and those to other
//! pages.
//!
//! Decision: `docs/decisions/12-bundles.md`.

use crate::openemr::search::terms::{Page, SearchTerms};

/// Returns the FHIR base in OpenEMR's self link, escaped as there: the link without the searched type, and without the `_search`
/// of a search by POST. `None` when the link is of another type.
#[must_use]
pub(crate) fn base<'a>(self_url: &'a [u8], searched: &str) -> Option<&'a [u8]> {
    let url = without_segment(self_url, b"_search").unwrap_or(self_url);
    without_segment(url, searched.as_bytes())
}

fn without_segment<'a>(url: &'a [u8], segment: &[u8]) -> Option<&'a [u8]> {
    let url = url.strip_suffix(segment)?.strip_suffix(b"/")?;
    Some(url.strip_suffix(b"\\").unwrap_or(url))
}

/// Writes the member `link` with its value. `base` must be escaped already.
#[must_use]
pub(crate) fn member(base: &[u8], terms: &SearchTerms, has_more: bool) -> Vec<u8> {
    let mut member = Vec::with_capacity(64 + 5 * (base.len() + terms.self_target.len() + 48));
    let mut link = |relation: &str, target: &str| {
        member.extend_from_slice(if member.is_empty() { br#""link":[{"relation":""# } else { br#",{"relation":""# });
        member.extend_from_slice(relation.as_bytes());
        member.extend_from_slice(br#"","url":""#);
        member.extend_from_slice(base);
        escape(target, memchr::memchr(b'\\', base).is_some(), &mut member);
        member.extend_from_slice(br#""}"#);
    };
    link("self", &terms.self_target);
    if let Some(Page { offset, count, .. }) = terms.page {
        let page = |offset: u64, count: u64| {
            let target = &terms.page_target;
            let mark = if target.contains('?') { '&' } else { '?' };
            match offset {
                0 => format!("{target}{mark}_count={count}"),
                _ => format!("{target}{mark}_count={count}&_offset={offset}"),
            }
        };
        link("first", &page(0, count));
        if offset > 0 {
            // The page at the beginning is shorter where fewer matches are before this one, or some would be on both.
            link("previous", &page(offset.saturating_sub(count), count.min(offset)));
        }
        if has_more {
            link("next", &page(offset.saturating_add(count), count));
        }
    }
    member.extend_from_slice(b"]");
    member
}

/// Writes a text as part of a JSON string, with slashes escaped or not as the base has them.
fn escape(text: &str, escapes_slashes: bool, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'/' if escapes_slashes => out.extend_from_slice(b"\\/"),
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            // A percent-encoded target has none of these.
            0..0x20 => out.push(b' '),
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::projection::rule::Projection;
    use crate::openemr::search::terms::Window;
    use serde_json::Value;

    #[test]
    fn the_base_is_what_the_self_link_stands_on() {
        for (url, expected) in [
            ("https://emr/apis/default/fhir/Patient", Some("https://emr/apis/default/fhir")),
            (r"https:\/\/emr\/apis\/default\/fhir\/Patient", Some(r"https:\/\/emr\/apis\/default\/fhir")),
            (r"https:\/\/emr\/fhir\/Patient\/_search", Some(r"https:\/\/emr\/fhir")),
            ("https://emr/fhir/Patient/_search", Some("https://emr/fhir")),
            ("https://emr/fhir/Observation", None),
            ("https://emr/fhir/OtherPatient", None),
            ("", None),
        ] {
            assert_eq!(base(url.as_bytes(), "Patient"), expected.map(str::as_bytes), "{url}");
        }
    }

    fn links(self_target: &str, page_target: &str, page: Option<(u64, u64)>, has_more: bool) -> Vec<(String, String)> {
        let terms = SearchTerms {
            resource_type: "Patient",
            self_target: self_target.to_owned(),
            page_target: page_target.to_owned(),
            page: page.map(|(offset, count)| Page { offset, count, window: Window::Whole }),
            total: true,
            entries: true,
            projection: Projection::Whole,
            pretty: false,
            changed: false,
            outcome: None,
        };
        let of = |base: &str| {
            let member = String::from_utf8(member(base.as_bytes(), &terms, has_more)).unwrap();
            let document: Value = serde_json::from_str(&format!("{{{member}}}")).unwrap();
            let text = |link: &Value, name: &str| link[name].as_str().unwrap().to_owned();
            document["link"]
                .as_array()
                .unwrap()
                .iter()
                .map(|link| (text(link, "relation"), text(link, "url")))
                .collect::<Vec<_>>()
        };
        assert_eq!(of("https://emr/fhir"), of(r"https:\/\/emr\/fhir"));
        of("https://emr/fhir")
    }

    #[test]
    fn neighbours_are_linked_where_there_are_any() {
        let own = |links: &[(&str, &str)]| -> Vec<(String, String)> {
            links.iter().map(|(relation, target)| ((*relation).to_owned(), format!("https://emr/fhir{target}"))).collect()
        };
        assert_eq!(links("/Patient?name=a", "/Patient?name=a", None, false), own(&[("self", "/Patient?name=a")]));
        assert_eq!(
            links("/Patient?_count=5", "/Patient", Some((0, 5)), true),
            own(&[("self", "/Patient?_count=5"), ("first", "/Patient?_count=5"), ("next", "/Patient?_count=5&_offset=5")])
        );
        assert_eq!(
            links("/Patient?n=a&_count=5&_offset=7", "/Patient?n=a", Some((7, 5)), false),
            own(&[
                ("self", "/Patient?n=a&_count=5&_offset=7"),
                ("first", "/Patient?n=a&_count=5"),
                ("previous", "/Patient?n=a&_count=5&_offset=2"),
            ])
        );
        assert_eq!(
            links("/Patient?_count=5&_offset=3", "/Patient", Some((3, 5)), true)[2..],
            own(&[("previous", "/Patient?_count=3"), ("next", "/Patient?_count=5&_offset=8")])
        );
        assert_eq!(links("/Patient?n=\"\\\n", "", None, false), own(&[("self", "/Patient?n=\"\\ ")]));
        assert!(links("", "", Some((u64::MAX, u64::MAX)), true).len() == 4);
    }
}
