//! Names of sites, and the ids of clients at OpenEMR.

use std::fmt;

use super::node::Node;
use super::problem::{Findings, Place, Source, shell_word, shown};
use super::section::text;
use super::setting::Setting;
use super::shape::Shape;

/// OpenEMR's site id: `[A-Za-z0-9.-]+`, and not a name that would collide with a local route.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteName(String);

impl SiteName {
    /// OpenEMR's rule for site ids.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let good =
            !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
        (good && !text.bytes().all(|b| b == b'.')).then(|| Self(text.to_owned()))
    }

    /// The same, with a problem for a text that is none.
    pub(super) fn checked(text: &str, place: &Place, findings: &mut Findings) -> Option<Self> {
        let name = Self::parse(text);
        if name.is_none() {
            let problem = place.problem(format!("`{}` is no site id of OpenEMR's", shown(text)));
            findings
                .problem(problem.remedy("letters, digits, `.` and `-` only, at most 64; most installs have one site, `default`"));
        }
        name
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SiteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Setting for SiteName {
    fn shape() -> Shape {
        Shape::Text("site id")
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        Self::checked(&text(node, place.clone(), findings)?.value, place, findings)
    }

    fn to_yaml(&self) -> serde_yaml::Value {
        self.0.as_str().into()
    }
}

/// The `client_id` that OpenEMR gave at registration.
pub(super) struct ClientId(pub(super) String);

impl Setting for ClientId {
    fn shape() -> Shape {
        Shape::Text("text")
    }

    /// RFC 6749 appendix A.1, bounded, and not the placeholder of the shipped file.
    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        let id = text(node, place.clone(), findings)?.value;
        let problem = if id.starts_with('<') || id == "…" {
            place.problem(format!("`{}` is still the placeholder", shown(&id)))
        } else if id.is_empty() || id.len() > 512 || !id.bytes().all(|b| b.is_ascii_graphic()) {
            place.problem(format!("`{}` is no client id", shown(&id)))
        } else {
            return Some(Self(id));
        };
        let register = register(place).map_or_else(String::new, |command| format!("\n  or have it written:  {command}"));
        findings.problem(problem.remedy(format!("write the client_id that OpenEMR answered at registration{register}")));
        None
    }

    fn to_yaml(&self) -> serde_yaml::Value {
        self.0.as_str().into()
    }
}

/// The command that registers a client and writes its id at this place; `None` where that is no file.
fn register(place: &Place) -> Option<String> {
    let Source::File(file) = &place.source else { return None };
    let site = place.key.strip_prefix("sites.")?.strip_suffix(".client_id").and_then(SiteName::parse)?;
    let site = if site.as_str() == "default" { String::new() } else { format!(" --site {site}") };
    Some(format!("openemr-gateway register --config {}{site}", shell_word(file)))
}

/// The `aud` of a client assertion: a URL that is never contacted, sent to the letter.
pub(super) struct Audience(pub(super) String);

impl Setting for Audience {
    fn shape() -> Shape {
        Shape::Text("URL")
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        let written = text(node, place.clone(), findings)?.value;
        match super::base_url::BaseUrl::parse(&written) {
            Ok(_) => Some(Self(written)),
            Err(error @ super::base_url::BaseUrlError::Userinfo) => {
                findings.problem(place.problem(error.to_string()).remedy("leave it out"));
                None
            }
            Err(error) => {
                let problem = place.problem(format!("`{}` {error}", shown(&written)));
                findings.problem(problem.remedy("write OpenEMR's own token URL: its Site Address, then /oauth2/<site>/token"));
                None
            }
        }
    }

    fn to_yaml(&self) -> serde_yaml::Value {
        self.0.as_str().into()
    }
}
