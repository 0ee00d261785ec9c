//! Who may call: by address, by name, with which credentials, and for what; and which clients may see the access token.

use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use serde_yaml::Value as Yaml;

use super::access_table::AccessTable;
use super::declaration::{section, section_shape, words};
use super::host_pattern::HostPattern;
use super::node::{Node, Value};
use super::problem::{Findings, Place, shown};
use super::section::Section;
use super::setting::Setting;
use super::shape::Shape;
use crate::access::clients::Clients;
use crate::http::forwarded::client::Client;

const FORMS: &str = "write  access: { allow_from: [127.0.0.0/8, \"::1/128\"] }  or, for every client there is,  access: open";
/// Where the keys of access tokens are.
const TOKEN_KEY: &str = "state/token-key.pem";
const NETWORKS: &str = "[127.0.0.0/8, \"::1/128\"]";

/// Which clients may call, and by which names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Access {
    /// The clients, by address.
    pub(crate) allow_from: AllowFrom,
    /// The further names by which they may call.
    pub(crate) hosts: Vec<HostPattern>,
    /// The clients with their policies.
    pub(crate) clients: Arc<Clients>,
    /// The file with the keys that sign the gateway's own access tokens.
    pub(crate) token_key: PathBuf,
    /// The clients and policies as they are written.
    table: Arc<AccessTable>,
}

/// Which clients may call, by address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AllowFrom {
    /// Every client.
    Open,
    /// Those of these networks; the others get 403.
    Networks(Vec<IpNet>),
}

section! {
    /// `access` as it is written.
    struct AccessFile {
        /// The networks or single addresses whose clients may call, or `open` for every client. The others get 403.
        allow_from: Option<AllowFrom> = None, derived("`[127.0.0.0/8, \"::1/128\"]`");
        /// Further names by which the gateway may be called (`Host`), such as `gateway`, `gateway.example.org` or
        /// `"*.example.org"`; `"*"` is every name. `localhost`, the names below it, the addresses of this machine and the host
        /// of `public_url` need not be written. Any other name gets 421: a web page can make a name of its own point here.
        hosts: Vec<HostPattern> = Vec::new();
        /// The PEM file with the keys that sign the access tokens for clients with `smart`: P-256; the first signs, all verify. Made
        /// where there is none, and given a new key every 30 days unless its mode is 0400. Gateways with the same file take each
        /// other's tokens.
        token_key: PathBuf = TOKEN_KEY.into();
        flat table: AccessTable;
    }
    check AccessFile::check
}

impl AccessFile {
    fn check(self, section: &Section<'_>, findings: &mut Findings) -> Option<Self> {
        let says_who = ["hosts", "anonymous", "clients"].iter().any(|key| !section.is_unset(key));
        if section.is_unset("allow_from") && (section.has("allow_from") || !says_who) {
            let what = if section.has("allow_from") { "is left blank" } else { "is missing" };
            let problem = section.place.problem(format!("`allow_from` {what}"));
            findings.problem(problem.remedy(format!("write  allow_from: {NETWORKS}")));
        }
        if self.hosts.contains(&HostPattern::Any) {
            let problem = section.place_of("hosts").problem(
                "takes every name: a web page that makes its own name point at this gateway can read what its visitor may read",
            );
            findings.warning(problem.remedy("write the names by which the gateway is called, unless a proxy checks them"));
        }
        Some(self)
    }
}

impl Default for Access {
    /// Clients on this machine.
    fn default() -> Self {
        Self {
            allow_from: AllowFrom::default(),
            hosts: Vec::new(),
            clients: Arc::default(),
            token_key: TOKEN_KEY.into(),
            table: Arc::default(),
        }
    }
}

impl Access {
    /// The files that are read with it: lists of patients, and the public keys of clients.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.table.files()
    }

    /// Reports policies for sites that are not there.
    pub(super) fn check_sites(&self, sites: &[&str], findings: &mut Findings) {
        self.table.check_sites(sites, findings);
    }

    /// Whether it is said what callers without credentials may do: `anonymous` is written, or there are clients.
    pub(super) fn says_what(&self) -> bool {
        self.table.says_what()
    }
}

impl Default for AllowFrom {
    /// Clients on this machine.
    fn default() -> Self {
        Self::Networks(["127.0.0.0/8", "::1/128"].iter().filter_map(|network| network.parse().ok()).collect())
    }
}

impl AllowFrom {
    /// Whether a client may call.
    #[must_use]
    pub(crate) fn allows(&self, client: Client) -> bool {
        match self {
            Self::Open => true,
            Self::Networks(networks) => client.is_in(networks),
        }
    }
}

impl Setting for Access {
    fn shape() -> Shape {
        let open = Shape::Words(vec![("open", "Every client may call.".to_owned())]);
        Shape::Either(Box::new(open), Box::new(section_shape::<AccessFile>()))
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        if let Value::Text(_) | Value::Substituted(_) = &node.value {
            let allow_from = AllowFrom::read(node, place, findings)?;
            return Some(Self { allow_from, ..Self::default() });
        }
        let AccessFile { allow_from, hosts, token_key, table } = AccessFile::read(node, place, findings)?;
        let clients = Arc::new(table.clients(findings));
        Some(Self { allow_from: allow_from.unwrap_or_default(), hosts, clients, token_key, table: Arc::new(table) })
    }

    fn to_yaml(&self) -> Yaml {
        let file = AccessFile {
            allow_from: Some(self.allow_from.clone()),
            hosts: self.hosts.clone(),
            token_key: self.token_key.clone(),
            table: self.table.effective(),
        };
        file.to_yaml()
    }
}

impl Setting for AllowFrom {
    fn shape() -> Shape {
        let open = Shape::Words(vec![("open", "Every client may call.".to_owned())]);
        Shape::Either(Box::new(open), Box::new(Vec::<IpNet>::shape()))
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        match &node.value {
            Value::Text(word) | Value::Substituted(word) if word == "open" => return Some(Self::Open),
            Value::Text(word) | Value::Substituted(word) if !word.contains(['.', ':']) => {
                findings.problem(place.problem(format!("`{}` is no access rule", shown(word))).remedy(FORMS));
                return None;
            }
            Value::List(networks) if networks.is_empty() => {
                let problem = place.problem("names no network, so that nobody could call");
                findings.problem(problem.remedy(format!("write  allow_from: {NETWORKS}")));
                return None;
            }
            _ => {}
        }
        Vec::<IpNet>::read(node, place, findings).map(Self::Networks)
    }

    fn to_yaml(&self) -> Yaml {
        match self {
            Self::Open => "open".into(),
            Self::Networks(networks) => networks.to_yaml(),
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
