//! Reading what a site's answers are made to be.

use std::time::Duration;

use super::problem::{Findings, Written, shown};
use super::section::Section;
use super::validate::choice;
use super::{BaseUrl, BulkData, Cors, Origins, Paging, Repairs, defaults};

/// The keys of `cors`.
const CORS: [&str; 6] = ["origins", "methods", "headers", "exposed", "credentials", "max_age"];

/// What a site says about its answers, checked.
pub(super) struct FileConformance {
    pub(super) repairs: Repairs,
    pub(super) paging: Paging,
    pub(super) also_known_as: Vec<BaseUrl>,
    pub(super) documents_max_age: Duration,
    pub(super) cors: Option<Cors>,
    pub(super) bulk_data: BulkData,
}

impl Default for FileConformance {
    fn default() -> Self {
        Self {
            repairs: Repairs::ALL,
            paging: Paging::Slice,
            also_known_as: Vec::new(),
            documents_max_age: defaults::DOCUMENTS_MAX_AGE,
            cors: None,
            bulk_data: defaults::bulk_data(),
        }
    }
}

/// Reads the keys `conformance`, `repairs`, `paging`, `also_known_as`, `documents`, `cors` and `bulk_data`.
pub(super) fn read(site: &Section<'_>, findings: &mut Findings) -> FileConformance {
    let conformance = site.text("conformance", findings);
    let words = [("repair", Repairs::ALL), ("pass_through", Repairs::NONE)];
    let mut repairs = choice(conformance.as_ref(), &words, Repairs::ALL, findings);
    if let Some(section) = site.section("repairs", &Repairs::NAMES, findings) {
        for (name, switch) in repairs.switches() {
            *switch = section.flag(name, *switch, findings);
        }
    }
    let paging = site.text("paging", findings);
    let words = [("slice", Paging::Slice), ("native", Paging::Native), ("off", Paging::Off)];
    let paging = choice(paging.as_ref(), &words, Paging::Slice, findings);
    let names = site.texts("also_known_as", findings).unwrap_or_default();
    let documents = site.section("documents", &["max_age"], findings);
    let default = defaults::DOCUMENTS_MAX_AGE;
    let documents_max_age = documents.map_or(default, |section| section.duration("max_age", default, findings));
    let mut bulk_data = defaults::bulk_data();
    if let Some(section) = site.section("bulk_data", &["folder", "keep"], findings) {
        if let Some(folder) = section.text("folder", findings) {
            bulk_data.folder = folder.value.into();
        }
        bulk_data.keep = section.duration("keep", bulk_data.keep, findings);
    }
    FileConformance {
        repairs,
        paging,
        also_known_as: names.iter().filter_map(|name| other_name(name, findings)).collect(),
        documents_max_age,
        cors: site.section("cors", &CORS, findings).and_then(|section| cors(&section, findings)),
        bulk_data,
    }
}

/// Never contacted, so that http is as good as https.
fn other_name(written: &Written<String>, findings: &mut Findings) -> Option<BaseUrl> {
    BaseUrl::parse(&written.value)
        .map_err(|error| {
            let problem = written.place.problem(format!("`{}` {error}", shown(&written.value)));
            findings.problem(problem.remedy("write a FHIR base, like  https://emr.example.org/apis/default/fhir"));
        })
        .ok()
}

fn cors(section: &Section<'_>, findings: &mut Findings) -> Option<Cors> {
    let Some(written) = section.texts("origins", findings) else {
        if !section.has("origins") {
            let problem = section.place.problem("`origins` is missing");
            findings.problem(problem.remedy("write  origins: [https://app.example.org]"));
        }
        return None;
    };
    let credentials = section.flag("credentials", false, findings);
    let origins = match written.as_slice() {
        [one] if one.value == "*" && credentials => {
            let problem = one.place.problem("`*` and credentials do not go together");
            findings.problem(problem.remedy("name the origins, or leave credentials out"));
            return None;
        }
        [one] if one.value == "*" => Origins::Any,
        several => Origins::These(several.iter().filter_map(|one| origin(one, findings)).collect()),
    };
    let mut tokens = |key: &str, default: &[&str]| match section.texts(key, findings) {
        None => default.iter().map(|&name| name.to_owned()).collect(),
        Some(written) => written.iter().filter_map(|one| token(one, findings)).collect(),
    };
    let methods = tokens("methods", &defaults::CORS_METHODS);
    let headers = tokens("headers", &defaults::CORS_HEADERS);
    let exposed = tokens("exposed", &defaults::CORS_EXPOSED);
    let max_age = section.duration("max_age", defaults::CORS_MAX_AGE, findings);
    Some(Cors { origins, methods, headers, exposed, credentials, max_age })
}

/// An origin as a browser writes it (RFC 6454 section 6.2).
fn origin(written: &Written<String>, findings: &mut Findings) -> Option<String> {
    match BaseUrl::parse(&written.value) {
        Ok(url) if url.path.is_empty() => Some(url.to_string().to_ascii_lowercase()),
        Ok(_) | Err(_) => {
            let problem = written.place.problem(format!("`{}` is no origin", shown(&written.value)));
            findings.problem(problem.remedy("write scheme, host and port alone, like  https://app.example.org  or  \"*\""));
            None
        }
    }
}

/// A method or the name of a field (RFC 9110 section 5.6.2).
fn token(written: &Written<String>, findings: &mut Findings) -> Option<String> {
    let good = !written.value.is_empty()
        && written.value.len() <= 128
        && written.value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
    if !good {
        let problem = written.place.problem(format!("`{}` is no name of a method or field", shown(&written.value)));
        findings.problem(problem.remedy("write one name an entry, like  [GET, POST]"));
    }
    good.then(|| written.value.clone())
}
