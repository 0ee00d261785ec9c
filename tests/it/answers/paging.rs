//! A client that follows the links of a search meets each match exactly once, in OpenEMR's order, whatever the page size, the
//! type and the version; and OpenEMR gets no more requests than are needed.

use crate::support::gateway::{Gateway, config};
use crate::support::http::{Answer, End};
use crate::support::openemr::OpenEmr;
use serde_json::{Value, json};

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
const SIZES: [u64; 7] = [1, 7, 50, 199, 200, 201, 1000];

struct Site {
    openemr: OpenEmr,
    gateway: Gateway,
}

/// One entry: its resource's type and id.
type Entry = (String, String);

struct Page {
    entries: Vec<Entry>,
    total: Option<u64>,
    bundle: Value,
}

impl Page {
    fn link(&self, relation: &str) -> Option<String> {
        let links = self.bundle["link"].as_array().unwrap();
        let mut urls = links.iter().filter(|link| link["relation"] == relation).map(|link| link["url"].as_str().unwrap());
        let url = urls.next()?;
        assert_eq!(urls.next(), None, "{relation} twice: {links:?}");
        let (_, path) = url.split_once("/fhir/").unwrap();
        Some(format!("/fhir/{path}"))
    }

    fn matches(&self, resource_type: &str) -> u64 {
        self.entries.iter().filter(|(of, _)| of == resource_type).count() as u64
    }
}

fn page_of(answer: &Answer) -> Page {
    assert_eq!((answer.status, answer.end), (200, End::Whole), "{}", answer.text());
    let bundle = answer.json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let entries = bundle["entry"].as_array().into_iter().flatten().map(|entry| &entry["resource"]);
    let entries = entries.map(|resource| (text(&resource["resourceType"]), text(&resource["id"]))).collect();
    Page { entries, total: bundle["total"].as_u64(), bundle }
}

impl Site {
    fn start(version: &str, patients: &str, paging: &str) -> Self {
        let openemr = OpenEmr::with(&["--openemr", version, "--patients", patients]);
        let mut config = config(&openemr);
        let site = &mut config["sites"]["default"];
        let types = ["Patient", "Observation", "Condition", "Encounter", "Provenance"];
        site["scopes"] = types.iter().map(|name| json!(format!("system/{name}.read"))).collect();
        site["paging"] = json!(paging);
        Self { gateway: Gateway::with(config), openemr }
    }

    fn get(&self, target: &str) -> Page {
        page_of(&self.gateway.caller().get(target))
    }

    /// What OpenEMR was asked for.
    fn asked(&self) -> String {
        let target = self.openemr.state()["last_fhir_request"]["target"].as_str().unwrap().to_owned();
        target.strip_prefix("/apis/default/fhir/").unwrap().to_owned()
    }

    /// Follows the links from that page on, and checks each page.
    fn walk(&self, first: Page, resource_type: &str, size: u64, set: u64) -> Vec<Entry> {
        let mut met = Vec::new();
        let mut page = first;
        let beginning = page.link("first").unwrap();
        for number in 0.. {
            assert!(number <= set / size + 1, "page {number} of {set} by {size}");
            let (matches, next) = (page.matches(resource_type), page.link("next"));
            assert!(matches == size || (matches < size && next.is_none()), "{matches} on a page of {size}");
            assert!(page.total.is_none_or(|total| total == set), "{:?} of {set}", page.total);
            // An empty page behind the last one cannot know what stands before it.
            assert!(page.total.is_some() || next.is_some() || matches == 0, "the end is known and the total is not");
            assert_eq!(page.link("first").as_ref(), Some(&beginning));
            assert_eq!(page.link("previous").is_some(), number > 0);
            met.append(&mut page.entries);
            match next {
                Some(next) => page = self.get(&next),
                None => break,
            }
        }
        met
    }

    /// Walks through a whole search at each size.
    fn walks(&self, search: &str, sizes: &[u64]) {
        let resource_type = search.split('?').next().unwrap();
        let mark = if search.contains('?') { '&' } else { '?' };
        let whole = self.get(&format!("/fhir/{search}"));
        let set = whole.matches(resource_type);
        assert_eq!(whole.total, Some(set), "{search}");
        for &size in sizes {
            let first = self.get(&format!("/fhir/{search}{mark}_count={size}"));
            let met = self.walk(first, resource_type, size, set);
            assert_eq!(met, whole.entries, "{search} by {size}");
        }
    }
}

#[test]
fn patients_of_8_0_at_any_size() {
    let site = Site::start("8.0", "401", "slice");
    site.walks("Patient", &SIZES);
    site.walks("Patient?gender=female&_sort=-birthdate", &[50]);
}

#[test]
fn a_set_that_is_a_multiple_of_the_page_ends_where_it_ends() {
    let site = Site::start("8.0", "400", "slice");
    site.walks("Patient", &[50, 100, 200, 400]);
    site.walks("Condition", &[50, 100, 200]);
}

#[test]
fn other_types_of_8_0_at_any_size() {
    let site = Site::start("8.0", "402", "slice");
    site.walks("Condition", &SIZES);
    site.walks("Encounter", &SIZES[2..]);
    site.walks("Observation?code=8867-4", &SIZES[2..]);
}

#[test]
fn every_type_of_7_0_3_at_any_size() {
    let site = Site::start("7.0.3", "202", "slice");
    site.walks("Condition", &SIZES);
    site.walks("Patient", &SIZES[1..]);
    site.walks("Encounter", &SIZES[2..]);
    site.walks("Observation", &SIZES[3..]);
}

#[test]
fn what_is_included_stays_with_its_match() {
    for version in ["8.0", "7.0.3"] {
        let site = Site::start(version, "230", "slice");
        for resource_type in ["Patient", "Condition"] {
            site.walks(&format!("{resource_type}?_revinclude=Provenance:target"), &[7, 100, 1000]);
            let page = site.get(&format!("/fhir/{resource_type}?_revinclude=Provenance:target&_count=7&_offset=7"));
            assert_eq!((page.entries.len(), page.total), (14, Some(if resource_type == "Patient" { 230 } else { 115 })));
            for pair in page.entries.chunks(2) {
                assert_eq!(pair[1], ("Provenance".to_owned(), format!("{resource_type}-PSK-{}", pair[0].1)));
            }
        }
    }
}

#[test]
fn openemr_is_asked_for_no_more_than_the_page_needs() {
    let site = Site::start("8.0", "30", "slice");
    for (asked, sent) in [
        ("Patient?_count=10", "Patient?_count=11"),
        ("Patient?_count=10&_offset=20", "Patient?_count=11&_offset=20"),
        ("Condition?_count=10&_offset=5", "Condition?_count=16"),
        ("Condition?_count=150&_offset=50", "Condition"),
        ("Patient?_count=10&_total=accurate", "Patient"),
        ("Patient?_count=10&_revinclude=Provenance:target", "Patient?_revinclude=Provenance:target"),
    ] {
        let page = site.get(&format!("/fhir/{asked}"));
        assert_eq!(site.asked(), sent);
        assert!(page.matches("Patient") + page.matches("Condition") <= 15, "{asked}");
    }
    let accurate = site.get("/fhir/Patient?_count=10&_total=accurate");
    assert_eq!((accurate.total, accurate.entries.len()), (Some(30), 10));
    assert!(accurate.link("next").unwrap().contains("_total=accurate"));
    let none = site.get("/fhir/Patient?_total=none");
    assert_eq!((none.total, none.entries.len()), (None, 30));
    let beyond = site.get("/fhir/Patient?_count=10&_offset=50");
    assert_eq!((beyond.entries.len(), beyond.link("next")), (0, None));
    assert!(beyond.link("previous").is_some());
}

#[test]
fn the_matches_alone_are_counted_without_what_is_included() {
    for version in ["8.0", "7.0.3", "next"] {
        let site = Site::start(version, "230", "slice");
        for query in ["_summary=count", "_count=0", "_summary=count&_count=5&_revinclude=Provenance:target"] {
            for (resource_type, number) in [("Patient", 230), ("Condition", 115), ("Observation", 1242)] {
                let page = site.get(&format!("/fhir/{resource_type}?{query}"));
                assert_eq!((page.total, page.entries.len()), (Some(number), 0), "{version} {resource_type}?{query}");
                assert_eq!(site.asked(), resource_type);
            }
        }
    }
}

#[test]
fn a_search_by_post_goes_on_by_get() {
    let site = Site::start("8.0", "60", "slice");
    let whole = site.get("/fhir/Patient?gender=female");
    let form = b"gender=female&_count=7&_=1&_format=json";
    let mut first = page_of(&site.gateway.caller().post("/fhir/Patient/_search", &[FORM], form));
    // What was left out is said on the first page: the links show what was used.
    assert!(first.entries.contains(&("OperationOutcome".to_owned(), String::new())));
    first.entries.retain(|(of, _)| of == "Patient");
    assert!(first.link("next").unwrap().starts_with("/fhir/Patient?gender=female&_count=7"), "{:?}", first.link("next"));
    let met = site.walk(first, "Patient", 7, whole.entries.len() as u64);
    assert_eq!(met, whole.entries);
}

#[test]
fn native_paging_promises_no_more_than_openemr_keeps() {
    let site = Site::start("8.0", "401", "native");
    site.walks("Patient", &[50, 200]);
    let others = site.get("/fhir/Condition?_count=50&_offset=50");
    assert_eq!((site.asked().as_str(), others.link("next"), others.total), ("Condition?_count=50", None, None));
    assert_eq!(others.matches("Condition"), 50);
    let old = Site::start("7.0.3", "60", "native");
    let all = old.get("/fhir/Patient?_count=5");
    assert_eq!((all.matches("Patient"), all.link("next"), all.total), (60, None, Some(60)));
}

#[test]
fn with_paging_off_a_page_is_openemrs_and_has_no_neighbours() {
    let site = Site::start("8.0", "60", "off");
    let page = site.get("/fhir/Patient?_count=7&_offset=7");
    assert_eq!((site.asked().as_str(), page.matches("Patient")), ("Patient?_count=7&_offset=7", 7));
    assert_eq!((page.link("next"), page.link("previous"), page.total), (None, None, None));
}
