//! The links of a search Bundle (FHIR R4, "Search", 3.1.1.6): `self` with the parameters that were used, and those to other
//! pages.
//!
//! Decision: `docs/decisions/12-bundles.md`.

use crate::fhir::json::outline::{Event, Outline, Shape};
use crate::openemr::bundle::full_url::{Base, escaped, text};
use crate::openemr::bundle::page::Next;
use crate::openemr::search::terms::{Page, SearchTerms};

/// Reads the links of a Bundle: the relation of each, and its URL as it is written without its quotes. `None` where they are not
/// what FHIR calls links.
#[must_use]
pub(crate) fn read(links: &[u8]) -> Option<Vec<(String, Vec<u8>)>> {
    let mut outline = Outline::default();
    let mut at = 0;
    let mut read = Vec::new();
    let (mut relation, mut url) = (String::new(), Vec::new());
    let mut is_in_link = false;
    while !outline.has_ended() {
        let begin = at;
        match outline.next(links, &mut at).ok()?? {
            Event::Value(shape @ Shape::Array) if begin == 0 => outline.enter(shape, &mut at).ok()?,
            Event::Value(shape) if !is_in_link => {
                is_in_link = shape == Shape::Object;
                if !is_in_link {
                    return None;
                }
                outline.enter(shape, &mut at).ok()?;
            }
            Event::Value(shape) => outline.pass(shape),
            Event::Name => {}
            Event::Passed { .. } => {
                let value = links.get(begin..at)?;
                let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
                match outline.name().as_ref() {
                    "relation" => relation = text(quoted?).into_owned(),
                    "url" => url = quoted?.to_vec(),
                    _ => {}
                }
            }
            Event::Closed if is_in_link => {
                is_in_link = false;
                read.push((std::mem::take(&mut relation), std::mem::take(&mut url)));
            }
            Event::Closed => {}
        }
    }
    Some(read)
}

/// Writes the member `link` with its value. `openemrs_next`: the URL of OpenEMR's own link to a next page, as it is written.
#[must_use]
pub(crate) fn member(base: &Base, terms: &SearchTerms, next: Next, openemrs_next: &[u8]) -> Vec<u8> {
    let mut links = Links { base: base.written(), escapes: base.escapes, written: Vec::with_capacity(512) };
    links.add("self", &terms.self_target);
    if let Some(Page { offset, count, .. }) = terms.page {
        let target = &terms.page_target;
        links.add("first", &page(target, 0, count));
        if offset > 0 {
            // The page at the beginning is shorter where fewer matches are before this one, or some would be on both.
            links.add("previous", &page(target, offset.saturating_sub(count), count.min(offset)));
        }
        match next {
            Next::Page { offset, of_all: false } => links.add("next", &page(target, offset, count)),
            Next::Page { offset, of_all: true } => links.add("next", &page(&counted(target), offset, count)),
            Next::Nothing | Next::OpenEmrs | Next::OutOfReach => {}
        }
    }
    if next == Next::OpenEmrs {
        links.add_url("next", openemrs_next);
    }
    links.written.push(b']');
    links.written
}

struct Links {
    base: Vec<u8>,
    escapes: bool,
    written: Vec<u8>,
}

impl Links {
    fn add(&mut self, relation: &str, target: &str) {
        let url = [self.base.as_slice(), &escaped(target, self.escapes)].concat();
        self.add_url(relation, &url);
    }

    fn add_url(&mut self, relation: &str, url: &[u8]) {
        let begin: &[u8] = if self.written.is_empty() { br#""link":[{"relation":""# } else { br#",{"relation":""# };
        for part in [begin, relation.as_bytes(), br#"","url":""#, url, br#""}"#] {
            self.written.extend_from_slice(part);
        }
    }
}

fn page(target: &str, offset: u64, count: u64) -> String {
    let mark = if target.contains('?') { '&' } else { '?' };
    match offset {
        0 => format!("{target}{mark}_count={count}"),
        _ => format!("{target}{mark}_count={count}&_offset={offset}"),
    }
}

/// The target with the demand that all matches are counted, for which OpenEMR is asked for all of them.
fn counted(target: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let kept = query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("_total="));
    let pairs: Vec<&str> = kept.chain(["_total=accurate"]).collect();
    format!("{path}?{}", pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openemr::search::terms::Window;
    use serde_json::Value;

    fn links(self_target: &str, page_target: &str, page: Option<(u64, u64)>, next: Option<u64>) -> Vec<(String, String)> {
        let terms = SearchTerms {
            page_target: page_target.to_owned(),
            page: page.map(|(offset, count)| Page { offset, count, window: Window::Whole }),
            ..SearchTerms::whole("Patient", self_target.to_owned())
        };
        let next = next.map_or(Next::Nothing, |offset| Next::Page { offset, of_all: false });
        let of = |escapes: bool| {
            let base = Base { url: "https://emr/fhir".to_owned(), escapes };
            let member = String::from_utf8(member(&base, &terms, next, b"")).unwrap();
            let document: Value = serde_json::from_str(&format!("{{{member}}}")).unwrap();
            let text = |link: &Value, name: &str| link[name].as_str().unwrap().to_owned();
            document["link"]
                .as_array()
                .unwrap()
                .iter()
                .map(|link| (text(link, "relation"), text(link, "url")))
                .collect::<Vec<_>>()
        };
        assert_eq!(of(false), of(true));
        of(false)
    }

    #[test]
    fn neighbours_are_linked_where_there_are_any() {
        let own = |links: &[(&str, &str)]| -> Vec<(String, String)> {
            links.iter().map(|(relation, target)| ((*relation).to_owned(), format!("https://emr/fhir{target}"))).collect()
        };
        assert_eq!(links("/Patient?name=a", "/Patient?name=a", None, None), own(&[("self", "/Patient?name=a")]));
        assert_eq!(
            links("/Patient?_count=5", "/Patient", Some((0, 5)), Some(5)),
            own(&[("self", "/Patient?_count=5"), ("first", "/Patient?_count=5"), ("next", "/Patient?_count=5&_offset=5")])
        );
        assert_eq!(
            links("/Patient?n=a&_count=5&_offset=7", "/Patient?n=a", Some((7, 5)), None),
            own(&[
                ("self", "/Patient?n=a&_count=5&_offset=7"),
                ("first", "/Patient?n=a&_count=5"),
                ("previous", "/Patient?n=a&_count=5&_offset=2"),
            ])
        );
        assert_eq!(
            links("/Patient?_count=5&_offset=3", "/Patient", Some((3, 5)), Some(8))[2..],
            own(&[("previous", "/Patient?_count=3"), ("next", "/Patient?_count=5&_offset=8")])
        );
        assert_eq!(links("/Patient?n=\"\\\n", "", None, None), own(&[("self", "/Patient?n=\"\\ ")]));
        assert!(links("", "", Some((u64::MAX, u64::MAX)), Some(u64::MAX)).len() == 4);
    }

    #[test]
    fn the_next_page_is_openemrs_or_cut_out_of_all_matches() {
        let base = Base::new("https://emr/fhir");
        let mut terms = SearchTerms::whole("Patient", "/Patient?name=a&_total=none".to_owned());
        let written =
            |terms: &SearchTerms, next| String::from_utf8(member(&base, terms, next, br"https:\/\/emr\/x?page=2")).unwrap();
        assert!(written(&terms, Next::OpenEmrs).ends_with(r#",{"relation":"next","url":"https:\/\/emr\/x?page=2"}]"#));
        terms.page = Some(Page { offset: 0, count: 5, window: Window::First(6) });
        let next = written(&terms, Next::Page { offset: 4, of_all: true });
        assert!(next.ends_with(r#""url":"https://emr/fhir/Patient?name=a&_total=accurate&_count=5&_offset=4"}]"#), "{next}");
        assert!(!written(&terms, Next::OutOfReach).contains("next"));
    }

    #[test]
    fn openemrs_links_are_read_however_they_are_written() {
        let links = br#"[ {"relation":"self","url":"https:\/\/a"}, { "url" : "b", "id" : [{"url":1}], "rel\u0061tion":"n\u0065xt" } ,{}]"#;
        let expected = [("self", r"https:\/\/a"), ("next", "b"), ("", "")];
        let expected = expected.map(|(relation, url)| (relation.to_owned(), url.as_bytes().to_vec()));
        assert_eq!(read(links).unwrap(), expected);
        assert_eq!(read(b"[]").unwrap(), []);
        for other in ["[1]", "[[]]", r#"[{"url":1}]"#, r#"[{"url":null}]"#, "[", "[{}"] {
            assert_eq!(read(other.as_bytes()), None, "{other}");
        }
    }
}
