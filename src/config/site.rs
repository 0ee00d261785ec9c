//! One OpenEMR site, checked: its nodes, its client, its keys, what its answers are made to be.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_yaml::{Mapping, Value as Yaml};

use super::answers::Answers;
use super::base_url::BaseUrl;
use super::declaration::{Members as _, section_shape};
use super::node::{Entry, Node as YamlNode};
use super::node_urls::{NodeUrls, OpenEmrUrls};
use super::problem::{Findings, Place, Source, Written};
use super::section::{Section, entries};
use super::setting::Setting;
use super::shape::Shape;
use super::site_file::SiteFile;
use super::site_keys;
use super::site_name::{Audience, ClientId, SiteName};
use super::site_rotation::{self, SiteKeys};
use super::upstream::{Node, RefreshLimit, Upstream};
use crate::keys::key_files::KeyFiles;
use crate::limits::rate::{Quota, Rate};
use crate::limits::replicas::Replicas;
use crate::scopes::scope::Scopes;

/// One OpenEMR site and the client that the gateway is there.
#[derive(Debug)]
pub struct Site {
    /// The site's name here, and OpenEMR's site id unless [`Site::openemr_site`] differs; `default` in most installs.
    pub name: SiteName,
    /// OpenEMR's site id: the Python proxy's `SITE` makes the site `default` stand for another one.
    pub openemr_site: SiteName,
    /// The way to OpenEMR.
    pub upstream: Upstream,
    /// What tokens are requested with.
    pub token: TokenSettings,
    /// The file of the private key, as written.
    pub private_key_file: PathBuf,
    /// The file of the JWK Set, as written.
    pub jwks_file: PathBuf,
    /// The `kid`, where it was written rather than found.
    pub fixed_kid: Option<String>,
    /// What was in these files. A rotation changes it while the gateway runs; see [`super::reread_keys`].
    pub keys: SiteKeys,
    /// What answers are made to be.
    pub answers: Answers,
    /// How often requests may go to OpenEMR.
    pub(crate) rate: Option<Rate>,
    /// How many may at once after a pause.
    pub(crate) burst: Option<u32>,
}

/// What tokens are requested with, besides the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSettings {
    /// The `aud` of the client assertion: OpenEMR's own idea of its token URL.
    pub audience: Option<String>,
    /// The registered client.
    pub client_id: String,
    /// The scopes that are requested.
    pub scopes: Scopes,
    /// How often clients can cause a token exchange.
    pub forced_refreshes: RefreshLimit,
}

impl Site {
    /// The first node's FHIR base.
    #[must_use]
    pub fn fhir_base(&self) -> &BaseUrl {
        let [first, ..] = self.upstream.nodes.as_slice() else { unreachable!("a site without nodes is refused") };
        &first.fhir_base
    }

    /// All addresses of its FHIR API that are written: those of its nodes, and by which it is known besides.
    pub(crate) fn fhir_bases(&self) -> impl Iterator<Item = &BaseUrl> {
        self.upstream.nodes.iter().map(|node| &node.fhir_base).chain(&self.answers.also_known_as)
    }

    /// How often requests may go to OpenEMR, with the burst.
    #[must_use]
    pub(crate) fn quota(&self) -> Option<Quota> {
        self.rate.map(|rate| rate.quota(self.burst))
    }

    fn read(name: &str, node: &YamlNode, place: &Place, findings: &mut Findings) -> Option<Self> {
        let section = Section::open(node, place, &SiteFile::keys(), findings)?;
        let name = SiteName::checked(name, place, findings);
        let file = SiteFile::read_members(&section, findings)?;
        let openemr_site = file.openemr_site.clone().or_else(|| name.clone());
        let keys = keys(&file, place, findings);
        let nodes = nodes(&file, openemr_site.as_ref(), &section, findings);
        let audience = audience(file.token_audience, nodes.as_deref(), &section, findings);
        Some(Self {
            name: name?,
            openemr_site: openemr_site?,
            upstream: Upstream {
                nodes: nodes?,
                ca_file: file.ca_file,
                timeouts: file.timeouts,
                connections: file.connections,
                balance: file.balance,
                health_check: file.health_check,
                in_flight: file.in_flight,
                replicas: Replicas::default(),
            },
            token: TokenSettings {
                audience,
                client_id: file.client_id?.0,
                scopes: file.scopes?,
                forced_refreshes: file.forced_refreshes,
            },
            private_key_file: file.private_key?.value.into(),
            jwks_file: file.jwks?.value.into(),
            fixed_kid: file.kid.map(|kid| kid.value),
            keys: keys?,
            answers: file.answers,
            rate: file.rate,
            burst: file.burst,
        })
    }

    /// The site as it could have been written.
    fn file(&self) -> SiteFile {
        let written = |value: String| Some(Written { value, place: Place::whole(Source::CommandLine) });
        let Self { upstream, token, answers, .. } = self;
        let token_urls: Vec<BaseUrl> = upstream.nodes.iter().filter_map(|node| node.token_url.clone()).collect();
        SiteFile {
            openemr: None,
            fhir_base: Some(NodeUrls(upstream.nodes.iter().map(|node| node.fhir_base.clone()).collect())),
            // All of them are configured, or none.
            token_url: (!token_urls.is_empty()).then_some(NodeUrls(token_urls)),
            token_audience: token.audience.clone().map(Audience),
            client_id: Some(ClientId(token.client_id.clone())),
            private_key: written(self.private_key_file.display().to_string()),
            jwks: written(self.jwks_file.display().to_string()),
            kid: written(self.keys.kid.clone()),
            scopes: Some(token.scopes.clone()),
            ca_file: upstream.ca_file.clone(),
            timeouts: upstream.timeouts,
            connections: upstream.connections,
            balance: upstream.balance,
            health_check: upstream.health_check,
            in_flight: upstream.in_flight,
            rate: self.rate,
            burst: self.burst,
            forced_refreshes: token.forced_refreshes,
            openemr_site: None,
            answers: answers.clone(),
        }
    }
}

/// The sites of a gateway. The first is served at the routes themselves.
#[derive(Debug, Default)]
pub struct Sites(pub Vec<Arc<Site>>);

impl Sites {
    /// Divides what OpenEMR works on among so many gateways.
    pub(super) fn share_with(&mut self, replicas: Replicas) {
        // Nobody else has a site that was just read.
        for site in self.0.iter_mut().filter_map(Arc::get_mut) {
            site.upstream.replicas = replicas;
        }
    }
}

impl Deref for Sites {
    type Target = [Arc<Site>];

    fn deref(&self) -> &[Arc<Site>] {
        &self.0
    }
}

impl IntoIterator for Sites {
    type Item = Arc<Site>;
    type IntoIter = std::vec::IntoIter<Arc<Site>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'s> IntoIterator for &'s Sites {
    type Item = &'s Arc<Site>;
    type IntoIter = std::slice::Iter<'s, Arc<Site>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl Setting for Sites {
    fn shape() -> Shape {
        Shape::Named(Box::new(section_shape::<SiteFile>()))
    }

    /// `default` comes first where there is one, the others in the order of the file.
    fn read(node: &YamlNode, place: &Place, findings: &mut Findings) -> Option<Self> {
        let entries = entries(node, place, findings)?;
        let mut first_of_each: Vec<&Entry> = Vec::new();
        for entry in entries {
            if !first_of_each.iter().any(|earlier| earlier.key == entry.key) {
                first_of_each.push(entry);
            }
        }
        first_of_each.sort_by_key(|entry| entry.key != "default");
        let site = |entry: &Entry| {
            let place = place.member(&entry.key).at(entry.mark);
            Site::read(&entry.key, &entry.node, &place, findings).map(Arc::new)
        };
        Some(Self(first_of_each.into_iter().filter_map(site).collect()))
    }

    fn to_yaml(&self) -> Yaml {
        let entries = self.0.iter().map(|site| (site.name.as_str().into(), site.file().to_yaml()));
        Yaml::Mapping(Mapping::from_iter(entries))
    }
}

/// Reads the key files; where one of the two is not named, the other one alone, for its own problems.
fn keys(file: &SiteFile, place: &Place, findings: &mut Findings) -> Option<SiteKeys> {
    let name = place.key.rsplit_once('.').map_or("", |(_, name)| name);
    match (&file.private_key, &file.jwks) {
        (Some(key_file), Some(jwks_file)) => {
            // What a running gateway changes in between would not fit together.
            let _unchanging = KeyFiles::new(Path::new(&key_file.value), Path::new(&jwks_file.value)).lock();
            site_rotation::read(key_file, jwks_file, file.kid.as_ref(), name, findings)
        }
        (key_file, jwks_file) => {
            key_file.as_ref().map(|file| site_keys::private_key(file, findings));
            jwks_file.as_ref().map(|file| site_keys::jwk_set(file, "private_key.pem", findings));
            None
        }
    }
}

/// The site's nodes: one a URL of the longest list, where a single URL counts for all nodes.
fn nodes(file: &SiteFile, id: Option<&SiteName>, section: &Section<'_>, findings: &mut Findings) -> Option<Vec<Node>> {
    let derived = |below: &str, after: &str| {
        let OpenEmrUrls(NodeUrls(addresses)) = file.openemr.as_ref()?;
        let derive = |url: &BaseUrl| Some(url.join(&format!("{below}{}{after}", id?.as_str())));
        addresses.iter().map(derive).collect::<Option<Vec<_>>>()
    };
    let urls = |key: &str, written: &Option<NodeUrls>, below: &str, after: &str| match written {
        Some(NodeUrls(urls)) => Some(urls.clone()),
        None if section.is_unset(key) => derived(below, after),
        None => None,
    };
    let fhir_bases = urls("fhir_base", &file.fhir_base, "/apis/", "/fhir");
    if file.fhir_base.is_some() && section.is_unset("openemr") && section.is_unset("token_url") {
        let nodes = fhir_bases?.into_iter().map(|fhir_base| Node { fhir_base, token_url: None });
        return Some(nodes.collect());
    }
    let token_urls = urls("token_url", &file.token_url, "/oauth2/", "/token");
    let (fhir_bases, token_urls) = (fhir_bases?, token_urls?);
    let count = fhir_bases.len().max(token_urls.len());
    if [&fhir_bases, &token_urls].iter().any(|urls| urls.len() != 1 && urls.len() != count) {
        let message = format!("{} FHIR bases and {} token URLs are no nodes", fhir_bases.len(), token_urls.len());
        let problem = section.place.problem(message);
        findings.problem(problem.remedy("name as many of the one as of the other, in the same order, or a single one for all"));
        return None;
    }
    let pairs = fhir_bases.into_iter().cycle().zip(token_urls.into_iter().cycle()).take(count);
    Some(pairs.map(|(fhir_base, token_url)| Node { fhir_base, token_url: Some(token_url) }).collect())
}

/// The audience written, or that of a single node; `None` is the token endpoint, wherever it turns out to be.
fn audience(written: Option<Audience>, nodes: Option<&[Node]>, section: &Section<'_>, findings: &mut Findings) -> Option<String> {
    match (written, nodes) {
        (Some(Audience(written)), _) => Some(written),
        (None, Some([Node { token_url: Some(url), .. }])) => Some(url.to_string()),
        (None, Some(several @ [_, _, ..])) if several.iter().any(|node| node.token_url.is_some()) => {
            if section.is_unset("token_audience") {
                let place = section.place_of("token_audience");
                let problem = place.problem("is missing, and with several nodes it cannot be derived");
                findings.problem(problem.remedy(
                    "write OpenEMR's public token URL: its Site Address, then /oauth2/<site>/token, like  https://emr.example.org/oauth2/default/token",
                ));
            }
            None
        }
        (None, Some(_) | None) => None,
    }
}
