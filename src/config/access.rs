//! Which clients may call, and which may see the access token.

use ipnet::IpNet;
use serde_yaml::{Mapping, Value as Yaml};

use super::declaration::{section, section_shape, words};
use super::node::{Node, Value};
use super::problem::{Findings, Place, shown};
use super::section::Section;
use super::setting::Setting;
use super::shape::Shape;

const FORMS: &str = "write  access: { allow_from: [127.0.0.0/8, \"::1/128\"] }  or, for every client there is,  access: open";

/// Which clients may call, by address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Access {
    /// `access: open`: every client.
    Open,
    /// The networks whose clients may call; the others get 403.
    AllowFrom(Vec<IpNet>),
}

section! {
    /// Access by address.
    struct ByAddress {
        /// The networks or single addresses whose clients may call. The others get 403.
        allow_from: Option<Vec<IpNet>> = None, required("[127.0.0.0/8, \"::1/128\"]");
    }
    check ByAddress::check
}

impl ByAddress {
    fn check(self, section: &Section<'_>, findings: &mut Findings) -> Option<Self> {
        if let Some((Node { value: Value::List(networks), .. }, place)) = section.node("allow_from")
            && networks.is_empty()
        {
            let problem = place.problem("names no network, so that nobody could call");
            findings.problem(problem.remedy("write  allow_from: [127.0.0.0/8, \"::1/128\"]"));
        }
        Some(self)
    }
}

impl Access {
    /// Clients on this machine.
    pub(super) fn loopback() -> Self {
        Self::AllowFrom(["127.0.0.0/8", "::1/128"].iter().filter_map(|network| network.parse().ok()).collect())
    }
}

impl Setting for Access {
    fn shape() -> Shape {
        let open = Shape::Words(vec![("open", "Every client may call.".to_owned())]);
        Shape::Either(Box::new(open), Box::new(section_shape::<ByAddress>()))
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        if let Value::Text(word) | Value::Substituted(word) = &node.value {
            if word == "open" {
                return Some(Self::Open);
            }
            findings.problem(place.problem(format!("`{}` is no access rule", shown(word))).remedy(FORMS));
            return None;
        }
        ByAddress::read(node, place, findings)?.allow_from.map(Self::AllowFrom)
    }

    fn to_yaml(&self) -> Yaml {
        match self {
            Self::Open => "open".into(),
            Self::AllowFrom(networks) => Yaml::Mapping(Mapping::from_iter([("allow_from".into(), networks.to_yaml())])),
        }
    }
}

words! {
    /// To which clients `POST /oauth/token` shows the access token; the others get the start of its SHA-256.
    pub(crate) enum TokenExposure {
        /// Clients on this machine.
        Loopback = "loopback",
        /// None.
        Never = "never",
        /// Every client that `access` lets in.
        Always = "always",
    }
}

words! {
    /// When `GET /ready` answers 200.
    pub(crate) enum ReadyRule {
        /// When every site has a token.
        All = "all",
        /// When one has.
        Any = "any",
    }
}
