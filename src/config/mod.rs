//! Configuration: one YAML file and the environment in, a [`Config`] whose values cannot be wrong out.

mod base_url;
mod conformance;
pub mod defaults;
mod dotenv;
mod effective;
mod env;
mod file;
pub mod listening;
mod node;
pub mod problem;
mod read;
mod section;
pub mod server_conf;
mod site;
mod site_conformance;
mod site_keys;
mod site_rotation;
mod upstream;
mod validate;
pub mod value;
mod yaml;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;

use env::Environment;
use file::File;
use problem::{Findings, Place, Source, Written, shown, shown_path};
use read::ReadError;

use crate::keys::rotation::{Rotation, Which};
use crate::keys::{JwkSet, SigningKey, without_byte_order_mark};
use crate::scopes::scope::Scopes;

pub use base_url::BaseUrlError;
pub use conformance::{BulkData, Cors, Origins, Paging, Repairs};
pub use effective::effective_yaml;
pub use problem::{Problem, Warning};
pub use upstream::{Balance, Connections, HealthCheck, InFlightLimit, Node, RefreshLimit, Timeouts};

/// The largest configuration file that is read, in bytes.
const MAX_CONFIG_FILE: usize = 1024 * 1024;

/// Reads and checks the configuration: the YAML file, the environment, and every file that they name.
///
/// Without a file at [`defaults::CONFIG_FILE`] the Python proxy's variables alone do, in the environment or in
/// `env_file`; a file of any other name must exist.
///
/// # Errors
/// Every problem found, not only the first.
pub fn load(config_path: &Path, env_file: Option<&Path>) -> Result<(Config, Vec<Warning>), Vec<Problem>> {
    let mut findings = Findings::default();
    let environment = Environment::of_process(env_file, &mut findings);
    let place = Place::whole(Source::File(config_path.into()));
    let root = root(config_path, &place, &environment, &mut findings);
    let mut config = None;
    if let Some(mut root) = root {
        environment.substitute(&mut root, &place, &mut findings);
        let place = root.place(place);
        let mut file = File::read(&root, place, &mut findings);
        environment.override_default_site(&mut file, &mut findings);
        config = validate::validate(&file, &mut findings);
    }
    match config {
        Some(config) if findings.problems.is_empty() => Ok((config, findings.warnings)),
        _ => Err(findings.problems),
    }
}

/// Reads a private key whose file was named on the command line, with the same checks and the same errors.
///
/// # Errors
/// What keeps the file from being read, or why it holds no key that can sign.
pub fn read_private_key(path: &Path) -> Result<SigningKey, Problem> {
    let key = "--private-key".to_owned();
    site_keys::read_private_key(path, &Place { source: Source::CommandLine, mark: None, key })
}

/// Reads the keys of a site again, with the same checks as at start. Changes nothing.
///
/// # Errors
/// Every problem of the files.
pub fn reread_keys(site: &Site) -> Result<SiteKeys, Vec<Problem>> {
    let mut findings = Findings::default();
    let place = Place::whole(Source::File(site.jwks_file.as_path().into()));
    let written = |value: String| Written { value, place: place.clone() };
    let path = |path: &Path| written(path.to_string_lossy().into_owned());
    let kid = site.fixed_kid.clone().map(written);
    let (key_file, jwks_file) = (path(&site.private_key_file), path(&site.jwks_file));
    site_rotation::read(&key_file, &jwks_file, kid.as_ref(), site.name.as_str(), &mut findings)
        .filter(|_| findings.problems.is_empty())
        .ok_or(findings.problems)
}

/// The YAML tree, or an empty one when variables stand in for it.
fn root(path: &Path, place: &Place, environment: &Environment, findings: &mut Findings) -> Option<node::Node> {
    let bytes = match read::file(path, MAX_CONFIG_FILE) {
        Ok(bytes) => bytes,
        Err(ReadError::Missing) if path == Path::new(defaults::CONFIG_FILE) && environment.describes_a_site() => {
            return Some(node::Node::new(node::Value::Null, problem::Mark { line: 1, column: 1 }));
        }
        Err(error) => {
            let problem = Problem { place: place.clone(), message: format!("{} {error}", shown_path(path)), remedy: None };
            findings.problem(match error {
                ReadError::Missing => problem.remedy(
                    "name the file with --config, or set OEMR_BASE, CLIENT_ID, PRIVATE_KEY_PATH, JWKS_PATH and SCOPE instead",
                ),
                ReadError::Forbidden => problem.remedy("let the gateway's user read it"),
                ReadError::NotAFile | ReadError::TooLarge(_) | ReadError::Other(_) => {
                    problem.remedy("name a YAML file with --config")
                }
            });
            return None;
        }
    };
    let Ok(text) = std::str::from_utf8(without_byte_order_mark(&bytes)) else {
        findings.problem(place.problem(format!("{} is not UTF-8 text", shown_path(path))));
        return None;
    };
    match yaml::parse(text) {
        Ok(node) => Some(node),
        Err(error) => {
            let problem = place.clone().at(error.mark).problem(format!(
                "{} is not valid YAML: {}",
                shown_path(path),
                shown(&error.to_string())
            ));
            findings.problem(problem.remedy("mend that line; indent with blanks, and put values with : or # in quotes"));
            None
        }
    }
}

/// Everything that the gateway runs on. Built by `validate`, read-only from then on.
#[derive(Debug)]
pub struct Config {
    /// Where callers connect. Never empty.
    pub listen: Vec<Listener>,
    /// The paths of the local routes.
    pub routes: Routes,
    /// The OpenEMR sites, never none. The first is served at `routes.fhir`, the others at `/{site}` + `routes.fhir`;
    /// `default` comes first where there is one.
    pub sites: Vec<Arc<Site>>,
    /// Where callers find the gateway, when that is not where they say they call.
    pub public_url: Option<BaseUrl>,
    /// Whose word about callers is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Who may call.
    pub access: Access,
    /// To whom `POST /oauth/token` shows the access token itself.
    pub token_exposure: TokenExposure,
    /// When `GET /ready` says yes.
    pub ready: ReadyRule,
    /// Whether a changed file is read again without being told.
    pub watch: bool,
    /// How long `GET /ready` says no before connections are refused, on the way out.
    pub drain_delay: Duration,
    /// What a caller's connection may take.
    pub limits: Limits,
    /// Of answers.
    pub compression: Compression,
    /// The log.
    pub log: Log,
    /// Pingora's own settings.
    pub server: pingora::server::configuration::ServerConf,
}

/// One listening socket.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Address and port.
    pub address: SocketAddr,
    /// Certificate and key, when the listener speaks TLS.
    pub tls: Option<ListenerTls>,
    /// Whether HTTP/2 is offered in the TLS handshake (ALPN).
    pub http2: bool,
    /// Whether HTTP/2 is spoken without TLS to a caller who begins with it (RFC 9113 section 3.3).
    pub h2c: bool,
}

/// The certificate of a listener.
#[derive(Debug, Clone)]
pub struct ListenerTls {
    /// PEM, the server's certificate first, then its issuers.
    pub certificate: PathBuf,
    /// PEM.
    pub private_key: PathBuf,
    /// What the two files held; they fit together.
    pub certified_key: Arc<CertifiedKey>,
}

/// The paths that the gateway answers; `None` is switched off. Each starts with `/` and has no trailing one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routes {
    /// `GET /health`.
    pub health: Option<String>,
    /// `GET /ready`.
    pub ready: Option<String>,
    /// `GET /.well-known/jwks.json`.
    pub jwks: Option<String>,
    /// `POST /oauth/token`.
    pub token: Option<String>,
    /// `ANY /fhir/…`.
    pub fhir: Option<String>,
}

/// One OpenEMR site and the client that the gateway is there.
#[derive(Debug)]
pub struct Site {
    /// The site's name here, and OpenEMR's site id unless [`Site::openemr_site`] differs; `default` in most installs.
    pub name: SiteName,
    /// OpenEMR's site id: the Python proxy's `SITE` makes the site `default` stand for another one.
    pub openemr_site: SiteName,
    /// Where FHIR requests go and tokens come from; never none.
    pub nodes: Vec<Node>,
    /// The `aud` of the client assertion: OpenEMR's own idea of its token URL.
    pub token_audience: Option<String>,
    /// The registered client.
    pub client_id: String,
    /// The file of the private key, as written.
    pub private_key_file: PathBuf,
    /// The file of the JWK Set, as written.
    pub jwks_file: PathBuf,
    /// The `kid`, where it was written rather than found.
    pub fixed_kid: Option<String>,
    /// What was in these files. A rotation changes it while the gateway runs; see [`reread_keys`].
    pub keys: SiteKeys,
    /// What is asked for.
    pub scopes: Scopes,
    /// A private CA that is trusted besides the system's.
    pub ca_file: Option<CaFile>,
    /// How long each step upstream may take.
    pub timeouts: Timeouts,
    /// The pool of connections to OpenEMR.
    pub connections: Connections,
    /// How requests are spread over the nodes.
    pub balance: Balance,
    /// How nodes are looked after.
    pub health_check: HealthCheck,
    /// How many requests OpenEMR works on at once.
    pub in_flight: InFlightLimit,
    /// How often callers can cause a token exchange.
    pub forced_refreshes: RefreshLimit,
    /// What is smoothed.
    pub repairs: Repairs,
    /// How search results are cut into pages.
    pub paging: Paging,
    /// Other FHIR bases that stand in its answers.
    pub also_known_as: Vec<BaseUrl>,
    /// How long its CapabilityStatement and SMART configuration are good.
    pub documents_max_age: Duration,
    /// What web pages of other origins may do; nothing where it is `None`.
    pub cors: Option<Cors>,
    /// Bulk exports.
    pub bulk_data: BulkData,
}

impl Site {
    /// The first node's FHIR base.
    #[must_use]
    pub fn fhir_base(&self) -> &BaseUrl {
        let [first, ..] = self.nodes.as_slice() else { unreachable!("validation refuses a site without nodes") };
        &first.fhir_base
    }
}

/// What signs a site's client assertions, and what is published beside it.
#[derive(Debug, Clone)]
pub struct SiteKeys {
    /// What signs.
    pub key: Arc<SigningKey>,
    /// The `kid` in the assertion's header; stands in `jwks` and belongs to `key`.
    pub kid: String,
    /// The JWK Set that is published. Its first RSA key is `key`, if that is one.
    pub jwks: JwkSet,
    /// The rotation in progress.
    pub rotating: Option<Box<Rotating>>,
}

/// A site's part in a rotation.
#[derive(Debug, Clone)]
pub struct Rotating {
    /// The rotation.
    pub rotation: Rotation,
    /// Which of the two keys signs for this site.
    pub signs: Which,
    /// The other one, its `kid`, and the set that is published when it signs; `None` when the old key is on its way out.
    pub other: Option<(Arc<SigningKey>, String, JwkSet)>,
}

/// A file of CA certificates, read and checked.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CaFile {
    /// The file, as written.
    pub path: PathBuf,
    /// What it held: at least one certificate, each of which can be trusted.
    pub certificates: Vec<CertificateDer<'static>>,
}

impl std::fmt::Debug for CaFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("CaFile").field(&self.path).finish()
    }
}

/// When the gateway is ready for a load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadyRule {
    /// When every site has a token.
    All,
    /// When one has.
    Any,
}

/// OpenEMR's site id: `[A-Za-z0-9.-]+`, and not a name that would collide with a local route.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteName(String);

/// An absolute http or https URL with neither userinfo, query nor fragment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BaseUrl {
    /// https, or http to loopback.
    pub https: bool,
    /// Name or address; IPv6 without brackets.
    pub host: String,
    /// The port, given or the scheme's own.
    pub port: u16,
    /// Starts with `/` unless it is empty; no trailing `/`.
    pub path: String,
}

/// Who may call, by address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// `access: open`, said out loud.
    Open,
    /// The networks that may call; everybody else gets 403.
    AllowFrom(Vec<IpNet>),
}

/// To whom `POST /oauth/token` shows the access token; everybody else gets its SHA-256 prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenExposure {
    /// Callers on this machine.
    Loopback,
    /// Nobody.
    Never,
    /// Every caller that `access` lets in.
    Always,
}

/// What a caller's connection may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Request line and field lines together, in bytes. 431 beyond.
    pub request_head: usize,
    /// The request target, in bytes. 414 beyond.
    pub request_target: usize,
    /// Field lines of a request. 431 beyond.
    pub header_fields: u32,
    /// A request's body, in bytes. 413 beyond.
    pub request_body: usize,
    /// The head of OpenEMR's answer, in bytes. 502 beyond.
    pub response_head: usize,
    /// Requests at once on one HTTP/2 connection.
    pub http2_streams: u32,
    /// Between two reads of a request.
    pub read_timeout: Duration,
    /// For one write of an answer to make progress.
    pub write_timeout: Duration,
    /// Between two requests on a connection.
    pub keepalive_timeout: Duration,
    /// Requests on one connection before it is closed.
    pub keepalive_requests: u32,
}

/// Compression of answers for callers who accept it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    /// Whether there is any.
    pub enabled: bool,
    /// Shorter bodies go as they are, in bytes.
    pub least: usize,
    /// 1 is fast, 9 is small; what each algorithm has for it.
    pub level: u32,
}

/// The log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// From this level up.
    pub level: log::LevelFilter,
    /// Lines for people or for machines.
    pub format: LogFormat,
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line.
    Text,
    /// One JSON object a line.
    Json,
}

impl SiteName {
    /// OpenEMR's rule for site ids.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let good =
            !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
        (good && !text.bytes().all(|b| b == b'.')).then(|| Self(text.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
