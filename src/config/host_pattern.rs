//! The names by which the gateway may be called.

use std::fmt;
use std::net::IpAddr;

use serde_yaml::Value as Yaml;

use super::node::Node;
use super::problem::{Findings, Place, shown};
use super::section::text;
use super::setting::Setting;
use super::shape::Shape;
use crate::http::host::{Host, is_below};

/// One entry of `access.hosts`. Ports play no part: a name that points here does so with every port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HostPattern {
    /// `*`: every host.
    Any,
    /// `*.example.org`: the names below a domain.
    Below(String),
    /// A name.
    Name(String),
    /// An IP address.
    Address(IpAddr),
}

impl HostPattern {
    /// Whether a host is meant.
    #[must_use]
    pub(crate) fn matches(&self, host: &Host<'_>) -> bool {
        match (self, host) {
            (Self::Any, _) => true,
            (Self::Below(domain), Host::Name(name)) => is_below(name, domain),
            (Self::Name(known), Host::Name(name)) => known.eq_ignore_ascii_case(name),
            (Self::Address(known), Host::Address(address)) => known == address,
            (Self::Below(_) | Self::Name(_), Host::Address(_)) | (Self::Address(_), Host::Name(_)) => false,
        }
    }

    fn parse(written: &str) -> Option<Self> {
        if written == "*" {
            return Some(Self::Any);
        }
        if let Ok(address) = written.parse::<IpAddr>() {
            return Some(Self::Address(address.to_canonical()));
        }
        let (below, name) = match written.strip_prefix("*.") {
            Some(domain) => (true, domain),
            None => (false, written),
        };
        match Host::of_name(name) {
            Ok(Host::Name(domain)) if below => Some(Self::Below(domain.to_ascii_lowercase())),
            Ok(Host::Name(name)) => Some(Self::Name(name.to_ascii_lowercase())),
            Ok(Host::Address(_)) | Err(_) => None,
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Below(domain) => write!(f, "*.{domain}"),
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl Setting for HostPattern {
    fn shape() -> Shape {
        Shape::Text("host name")
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        let written = text(node, place.clone(), findings)?.value;
        let pattern = Self::parse(&written);
        if pattern.is_none() {
            let problem = place.problem(format!("`{}` is no host name", shown(&written)));
            findings.problem(problem.remedy(
                "write a name without scheme and port, like  gateway.example.org  or, for the names below,  \"*.example.org\"",
            ));
        }
        pattern
    }

    fn to_yaml(&self) -> Yaml {
        self.to_string().into()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_takes_what_it_names_and_nothing_else() {
        for (entry, host, expected) in [
            ("gateway", "gateway", true),
            ("Gateway.Example.", "gateway.example:8443", true),
            ("gateway", "gateway.evil.example", false),
            ("gateway", "evil-gateway", false),
            ("*.example.org", "a.b.EXAMPLE.org", true),
            ("*.example.org", "example.org", false),
            ("*.example.org", "example.org.evil.example", false),
            ("10.0.0.1", "10.0.0.1:8000", true),
            ("10.0.0.1", "10.0.0.11", false),
            ("2001:db8::1", "[2001:db8:0::1]:1", true),
            ("*", "evil.example", true),
            ("*", "6.6.6.6", true),
        ] {
            let host = Host::of_authority(host.as_bytes()).unwrap();
            assert_eq!(HostPattern::parse(entry).unwrap().matches(&host), expected, "{entry} {host:?}");
        }
    }

    #[test]
    fn what_is_no_host_name_is_no_entry() {
        for bad in ["", "*.", "*.*.org", "a*.org", "gateway:8000", "http://gateway", "gate way", "*.10.0.0.1", "a@b", "[::1]"] {
            assert_eq!(HostPattern::parse(bad), None, "{bad}");
        }
        for good in ["*", "*.example.org", "gateway", "10.0.0.1", "2001:db8::1"] {
            assert_eq!(HostPattern::parse(good).unwrap().to_string(), good);
        }
    }
}
