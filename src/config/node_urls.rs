//! The URLs of a site's nodes.

use serde_yaml::Value as Yaml;

use super::base_url::{BaseUrl, BaseUrlError};
use super::node::Node;
use super::problem::{Findings, Place, Written, shown};
use super::section::text;
use super::setting::Setting;
use super::shape::Shape;

/// The most nodes of one site.
const MAX_NODES: usize = 64;
/// The paths that the gateway itself puts behind OpenEMR's address, and those of its pages.
const OPENEMRS_PATHS: [&str; 5] = ["apis", "oauth2", "fhir", "interface", "portal"];

impl Setting for BaseUrl {
    fn shape() -> Shape {
        Shape::Text("URL")
    }

    /// A URL that is never contacted, so that http is as good as https.
    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        let written = text(node, place.clone(), findings)?.value;
        let url = Self::parse(&written);
        url.map_err(|error| findings.problem(not_a_url(&written, error, place))).ok()
    }

    fn to_yaml(&self) -> Yaml {
        self.to_string().into()
    }
}

fn not_a_url(written: &str, error: BaseUrlError, place: &Place) -> super::problem::Problem {
    match error {
        BaseUrlError::Userinfo => place.problem(error.to_string()).remedy("leave it out; the gateway authenticates with its key"),
        error => place.problem(format!("`{}` {error}", shown(written))),
    }
}

/// A URL to which requests are sent: https, or http to this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SafeUrl(pub(super) BaseUrl);

impl Setting for SafeUrl {
    fn shape() -> Shape {
        Shape::Text("URL")
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        const EXAMPLE: &str = "write it like  https://emr.example.org  or, in a sub-folder,  https://emr.example.org/openemr";
        let before = findings.problems.len();
        let Some(url) = BaseUrl::read(node, place, findings) else {
            for problem in findings.problems.iter_mut().skip(before).filter(|problem| problem.remedy.is_none()) {
                problem.remedy = Some(EXAMPLE.to_owned());
            }
            return None;
        };
        if !url.https && !url.is_loopback() {
            let problem = place.problem(format!("`{url}` is not https, and {} is not this machine", url.host));
            findings.problem(problem.remedy("write https://…; a private CA goes into ca_file"));
            return None;
        }
        Some(Self(url))
    }

    fn to_yaml(&self) -> Yaml {
        self.0.to_yaml()
    }
}

/// One URL a node: one where there is a single node, a list where there are several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodeUrls(pub(super) Vec<BaseUrl>);

impl Setting for NodeUrls {
    fn shape() -> Shape {
        Shape::List(Box::new(SafeUrl::shape()))
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        let before = findings.problems.len();
        let written = Vec::<Written<SafeUrl>>::read(node, place, findings)?;
        if findings.problems.len() > before {
            return None;
        }
        if written.is_empty() || written.len() > MAX_NODES {
            let problem = place.problem(format!("names {} addresses; 1 to {MAX_NODES} nodes make a site", written.len()));
            findings.problem(problem.remedy("write it like  [https://emr1.example.org, https://emr2.example.org]"));
            return None;
        }
        let mut urls: Vec<BaseUrl> = Vec::with_capacity(written.len());
        for Written { value: SafeUrl(url), place } in written {
            if urls.contains(&url) {
                findings.problem(place.problem(format!("`{url}` is named twice")).remedy("keep one of the two"));
                return None;
            }
            urls.push(url);
        }
        Some(Self(urls))
    }

    fn to_yaml(&self) -> Yaml {
        match self.0.as_slice() {
            [one] => one.to_yaml(),
            several => several.iter().map(BaseUrl::to_yaml).collect::<Vec<_>>().into(),
        }
    }
}

/// OpenEMR's address, one a node: where OpenEMR's own pages and APIs are below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OpenEmrUrls(pub(super) NodeUrls);

impl Setting for OpenEmrUrls {
    fn shape() -> Shape {
        NodeUrls::shape()
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        let urls = NodeUrls::read(node, place, findings)?;
        let before = findings.problems.len();
        for url in &urls.0 {
            if let Some((address, below)) = with_openemrs_path(url) {
                let message = format!("`{url}` goes on behind OpenEMR's address, with {below}");
                let remedy = format!("write  openemr: {address}  without it; the gateway adds /apis/… and /oauth2/… itself");
                findings.problem(place.problem(message).remedy(remedy));
            }
        }
        (findings.problems.len() == before).then_some(Self(urls))
    }

    fn to_yaml(&self) -> Yaml {
        self.0.to_yaml()
    }
}

/// Splits an address before the first segment that is OpenEMR's own or a page.
fn with_openemrs_path(url: &BaseUrl) -> Option<(BaseUrl, String)> {
    let is_openemrs =
        |segment: &str| OPENEMRS_PATHS.contains(&segment.to_ascii_lowercase().as_str()) || segment.ends_with(".php");
    let segments: Vec<&str> = url.path.split('/').skip(1).collect();
    let at = segments.iter().position(|segment| is_openemrs(segment))?;
    let path = |segments: &[&str]| segments.iter().map(|segment| format!("/{segment}")).collect::<String>();
    let (folder, below) = segments.split_at(at);
    Some((BaseUrl { path: path(folder), ..url.clone() }, path(below)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_stands_behind_openemrs_address_is_found() {
        for (url, expected) in [
            ("https://emr.example.org", None),
            ("https://emr.example.org/openemr", None),
            ("https://emr.example.org/fhir", Some(("https://emr.example.org", "/fhir"))),
            ("https://emr.example.org/apis/default/fhir", Some(("https://emr.example.org", "/apis/default/fhir"))),
            ("https://e.org/openemr/apis/default/fhir/", Some(("https://e.org/openemr", "/apis/default/fhir"))),
            ("https://e.org/openemr/interface/login/login.php", Some(("https://e.org/openemr", "/interface/login/login.php"))),
            ("https://e.org/OAUTH2/default", Some(("https://e.org", "/OAUTH2/default"))),
        ] {
            let found = with_openemrs_path(&BaseUrl::parse(url).unwrap());
            let found = found.map(|(address, below)| (address.to_string(), below));
            assert_eq!(found, expected.map(|(address, below)| (address.to_owned(), below.to_owned())), "{url}");
        }
    }
}
