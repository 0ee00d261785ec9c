//! The YAML file as written: every key that exists, with the shape of its value checked and nothing more.

use std::time::Duration;

use super::node::{Entry, Node, Value};
use super::problem::{Findings, Place, Written};
use super::section::{Section, elements, entries, text};
use super::site_conformance::{self, FileConformance};
use super::{Compression, Connections, HealthCheck, InFlightLimit, Limits, RefreshLimit, Timeouts, defaults};

/// The keys of the file.
const TOP: [&str; 14] = [
    "listen",
    "routes",
    "sites",
    "public_url",
    "trusted_proxies",
    "access",
    "token_exposure",
    "ready",
    "watch",
    "drain_delay",
    "limits",
    "compression",
    "log",
    "server",
];
const ROUTES: [&str; 5] = ["health", "ready", "jwks", "token", "fhir"];
const SITE: [&str; 23] = [
    "openemr",
    "client_id",
    "private_key",
    "jwks",
    "scopes",
    "kid",
    "token_url",
    "token_audience",
    "fhir_base",
    "ca_file",
    "timeouts",
    "connections",
    "balance",
    "health_check",
    "in_flight",
    "forced_refreshes",
    "conformance",
    "repairs",
    "paging",
    "also_known_as",
    "documents",
    "cors",
    "bulk_data",
];
const LIMITS: [&str; 10] = [
    "request_head",
    "request_target",
    "header_fields",
    "request_body",
    "response_head",
    "http2_streams",
    "read_timeout",
    "write_timeout",
    "keepalive_timeout",
    "keepalive_requests",
];
const TIMEOUTS: [&str; 6] = ["connect", "total_connect", "read", "export", "write", "token"];

/// The file as a whole. `None` stands for absent, here and below.
pub(super) struct File {
    pub(super) place: Place,
    pub(super) listen: Option<Vec<FileListener>>,
    pub(super) routes: FileRoutes,
    pub(super) sites: Vec<FileSite>,
    pub(super) public_url: Option<Written<String>>,
    pub(super) trusted_proxies: Vec<Written<String>>,
    pub(super) access: Option<FileAccess>,
    pub(super) token_exposure: Option<Written<String>>,
    pub(super) ready: Option<Written<String>>,
    pub(super) watch: bool,
    pub(super) drain_delay: Duration,
    pub(super) limits: Limits,
    pub(super) compression: Compression,
    pub(super) log_level: Option<Written<String>>,
    pub(super) log_format: Option<Written<String>>,
    pub(super) server: Vec<(String, Node, Place)>,
}

pub(super) struct FileListener {
    pub(super) address: Written<String>,
    pub(super) tls: Option<(Written<String>, Written<String>)>,
    pub(super) http2: bool,
    pub(super) h2c: bool,
}

/// A route as written.
pub(super) enum FileRoute {
    Absent,
    Off,
    At(Written<String>),
}

pub(super) struct FileRoutes {
    pub(super) health: FileRoute,
    pub(super) ready: FileRoute,
    pub(super) jwks: FileRoute,
    pub(super) token: FileRoute,
    pub(super) fhir: FileRoute,
}

pub(super) enum FileAccess {
    Open,
    AllowFrom(Vec<Written<String>>, Place),
}

pub(super) struct FileSite {
    /// The key under `sites`.
    pub(super) name: String,
    /// OpenEMR's site id, where it is not the name: the Python proxy's `SITE`.
    pub(super) openemr_site: Option<Written<String>>,
    pub(super) place: Place,
    /// The keys that were written, also those whose value is broken: not to be reported as missing.
    pub(super) written: Vec<&'static str>,
    /// One address a node, here and in the two below.
    pub(super) openemr: Option<Vec<Written<String>>>,
    pub(super) client_id: Option<Written<String>>,
    pub(super) private_key: Option<Written<String>>,
    pub(super) jwks: Option<Written<String>>,
    pub(super) scopes: Option<Written<Vec<Written<String>>>>,
    pub(super) kid: Option<Written<String>>,
    pub(super) token_url: Option<Vec<Written<String>>>,
    pub(super) token_audience: Option<Written<String>>,
    pub(super) fhir_base: Option<Vec<Written<String>>>,
    pub(super) ca_file: Option<Written<String>>,
    pub(super) timeouts: Timeouts,
    pub(super) connections: Connections,
    pub(super) balance: Option<Written<String>>,
    pub(super) health_check: HealthCheck,
    pub(super) in_flight: InFlightLimit,
    pub(super) forced_refreshes: RefreshLimit,
    pub(super) conformance: FileConformance,
}

impl FileSite {
    /// A site of which nothing is known yet.
    pub(super) fn empty(name: &str, place: Place) -> Self {
        Self {
            name: name.to_owned(),
            openemr_site: None,
            place,
            written: Vec::new(),
            openemr: None,
            client_id: None,
            private_key: None,
            jwks: None,
            scopes: None,
            kid: None,
            token_url: None,
            token_audience: None,
            fhir_base: None,
            ca_file: None,
            timeouts: defaults::TIMEOUTS,
            connections: defaults::CONNECTIONS,
            balance: None,
            health_check: defaults::HEALTH_CHECK,
            in_flight: defaults::IN_FLIGHT,
            forced_refreshes: defaults::FORCED_REFRESHES,
            conformance: FileConformance::default(),
        }
    }
}

impl File {
    /// Reads the tree. Every unknown key and every value of the wrong shape becomes a problem.
    pub(super) fn read(root: &Node, place: Place, findings: &mut Findings) -> Self {
        let empty = Node { value: Value::Map(Vec::new()), ..root.clone() };
        let root = if root.value == Value::Null { &empty } else { root };
        let mut file = Self {
            listen: None,
            routes: FileRoutes {
                health: FileRoute::Absent,
                ready: FileRoute::Absent,
                jwks: FileRoute::Absent,
                token: FileRoute::Absent,
                fhir: FileRoute::Absent,
            },
            sites: Vec::new(),
            public_url: None,
            trusted_proxies: Vec::new(),
            access: None,
            token_exposure: None,
            ready: None,
            watch: false,
            drain_delay: defaults::DRAIN_DELAY,
            limits: defaults::LIMITS,
            compression: defaults::COMPRESSION,
            log_level: None,
            log_format: None,
            server: Vec::new(),
            place: place.clone(),
        };
        let Some(top) = Section::open(root, &place, &TOP, findings) else {
            return file;
        };
        file.listen = top.node("listen").and_then(|(node, place)| {
            let listeners = elements(node, &place, findings)?;
            Some(listeners.filter_map(|(node, place)| listener(node, &place, findings)).collect())
        });
        if let Some(routes) = top.section("routes", &ROUTES, findings) {
            file.routes.health = route(&routes, "health", findings);
            file.routes.ready = route(&routes, "ready", findings);
            file.routes.jwks = route(&routes, "jwks", findings);
            file.routes.token = route(&routes, "token", findings);
            file.routes.fhir = route(&routes, "fhir", findings);
        }
        if let Some((node, place)) = top.node("sites") {
            for Entry { key, mark, node } in entries(node, &place, findings).unwrap_or_default() {
                let place = place.member(key).at(*mark);
                if !file.sites.iter().any(|earlier| earlier.name == *key) {
                    file.sites.extend(site(key, node, &place, findings));
                }
            }
        }
        file.public_url = top.text("public_url", findings);
        file.trusted_proxies = top.texts("trusted_proxies", findings).unwrap_or_default();
        file.access = top.node("access").and_then(|(node, place)| access(node, &place, findings));
        file.token_exposure = top.text("token_exposure", findings);
        file.ready = top.text("ready", findings);
        file.watch = top.flag("watch", false, findings);
        file.drain_delay = top.duration("drain_delay", defaults::DRAIN_DELAY, findings);
        if let Some(limits) = top.section("limits", &LIMITS, findings) {
            let default = defaults::LIMITS;
            file.limits = Limits {
                request_head: limits.size("request_head", default.request_head, findings),
                request_target: limits.size("request_target", default.request_target, findings),
                header_fields: limits.count("header_fields", default.header_fields, findings),
                request_body: limits.size("request_body", default.request_body, findings),
                response_head: limits.size("response_head", default.response_head, findings),
                http2_streams: limits.count("http2_streams", default.http2_streams, findings),
                read_timeout: limits.duration("read_timeout", default.read_timeout, findings),
                write_timeout: limits.duration("write_timeout", default.write_timeout, findings),
                keepalive_timeout: limits.duration("keepalive_timeout", default.keepalive_timeout, findings),
                keepalive_requests: limits.count("keepalive_requests", default.keepalive_requests, findings),
            };
            for (key, size) in [("request_head", file.limits.request_head), ("response_head", file.limits.response_head)] {
                if !(1024..=1024 * 1024).contains(&size) {
                    let problem = limits.place.member(key).problem("is outside 1KiB to 1MiB");
                    findings.problem(problem.remedy("write it like  64KiB"));
                }
            }
            if !(256..=file.limits.request_head).contains(&file.limits.request_target) {
                let problem = limits.place.member("request_target").problem("is outside 256 bytes to request_head");
                findings.problem(problem.remedy("lower it, or raise request_head"));
            }
        }
        if let Some(section) = top.section("compression", &["enabled", "least", "level"], findings) {
            let default = defaults::COMPRESSION;
            file.compression = Compression {
                enabled: section.flag("enabled", default.enabled, findings),
                least: section.size("least", default.least, findings),
                level: section.count("level", default.level, findings),
            };
            if file.compression.level > 9 {
                let problem = section.place.member("level").problem(format!("`{}` is above 9", file.compression.level));
                findings.problem(problem.remedy("write 1 (fast) to 9 (small)"));
            }
        }
        if let Some(log) = top.section("log", &["level", "format"], findings) {
            file.log_level = log.text("level", findings);
            file.log_format = log.text("format", findings);
        }
        if let Some((node, place)) = top.node("server") {
            let keys = entries(node, &place, findings).unwrap_or_default().iter();
            file.server = keys.map(|entry| (entry.key.clone(), entry.node.clone(), entry.place(&place))).collect();
        }
        file
    }
}

fn listener(node: &Node, place: &Place, findings: &mut Findings) -> Option<FileListener> {
    if let Value::Text(address) | Value::Substituted(address) = &node.value {
        let problem = place.problem(format!("`{}` stands alone", super::problem::shown(address)));
        findings.problem(problem.remedy("write it as  - address: 127.0.0.1:8000"));
        return None;
    }
    let listener = Section::open(node, place, &["address", "tls", "http2", "h2c"], findings)?;
    if !listener.has("address") {
        findings.problem(place.problem("`address` is missing").remedy("write  address: 127.0.0.1:8000"));
    }
    let address = listener.text("address", findings);
    let tls = match listener.section("tls", &["certificate", "private_key"], findings) {
        None => None,
        Some(tls) => {
            for key in ["certificate", "private_key"] {
                if !tls.has(key) {
                    let problem = tls.place.problem(format!("`{key}` is missing"));
                    findings.problem(
                        problem.remedy("for trying out:  openemr-gateway keys certificate --host localhost --out certs"),
                    );
                }
            }
            tls.text("certificate", findings).zip(tls.text("private_key", findings))
        }
    };
    let http2 = listener.flag("http2", true, findings);
    let h2c = listener.flag("h2c", false, findings);
    Some(FileListener { address: address?, tls, http2, h2c })
}

fn route(routes: &Section<'_>, key: &str, findings: &mut Findings) -> FileRoute {
    match routes.raw(key) {
        None => FileRoute::Absent,
        Some((Node { value: Value::Null, .. }, _)) => FileRoute::Off,
        Some((node, place)) => text(node, place, findings).map_or(FileRoute::Absent, FileRoute::At),
    }
}

fn access(node: &Node, place: &Place, findings: &mut Findings) -> Option<FileAccess> {
    const FORMS: &str = "write  access: { allow_from: [127.0.0.0/8, \"::1/128\"] }  or, for every caller there is,  access: open";
    if let Value::Text(word) | Value::Substituted(word) = &node.value {
        if word == "open" {
            return Some(FileAccess::Open);
        }
        findings.problem(place.problem(format!("`{}` is no access rule", super::problem::shown(word))).remedy(FORMS));
        return None;
    }
    let access = Section::open(node, place, &["allow_from"], findings)?;
    let Some((node, place)) = access.node("allow_from") else {
        if access.raw("allow_from").is_some() || !access.has("allow_from") {
            findings.problem(place.problem("`allow_from` is missing").remedy(FORMS));
        }
        return None;
    };
    let networks = elements(node, &place, findings)?;
    let networks = networks.filter_map(|(node, place)| text(node, place, findings)).collect();
    Some(FileAccess::AllowFrom(networks, place))
}

fn site(name: &str, node: &Node, place: &Place, findings: &mut Findings) -> Option<FileSite> {
    let section = Section::open(node, place, &SITE, findings)?;
    let mut site = FileSite::empty(name, place.clone());
    site.written = SITE.into_iter().filter(|key| section.has(key)).collect();
    site.openemr = section.texts("openemr", findings);
    site.client_id = section.text("client_id", findings);
    site.private_key = section.text("private_key", findings);
    site.jwks = section.text("jwks", findings);
    site.scopes = section.node("scopes").and_then(|(node, place)| {
        let scopes = elements(node, &place, findings)?;
        let value = scopes.filter_map(|(node, place)| text(node, place, findings)).collect();
        Some(Written { value, place })
    });
    site.kid = section.text("kid", findings);
    site.token_url = section.texts("token_url", findings);
    site.token_audience = section.text("token_audience", findings);
    site.fhir_base = section.texts("fhir_base", findings);
    site.ca_file = section.text("ca_file", findings);
    if let Some(timeouts) = section.section("timeouts", &TIMEOUTS, findings) {
        let default = defaults::TIMEOUTS;
        site.timeouts = Timeouts {
            connect: timeouts.duration("connect", default.connect, findings),
            total_connect: timeouts.duration("total_connect", default.total_connect, findings),
            read: timeouts.duration("read", default.read, findings),
            export: timeouts.duration("export", default.export, findings),
            write: timeouts.duration("write", default.write, findings),
            token: timeouts.duration("token", default.token, findings),
        };
    }
    if let Some(connections) = section.section("connections", &["idle_timeout", "resolve_every", "http2"], findings) {
        let default = defaults::CONNECTIONS;
        site.connections = Connections {
            idle_timeout: connections.duration("idle_timeout", default.idle_timeout, findings),
            resolve_every: connections.duration("resolve_every", default.resolve_every, findings),
            http2: connections.flag("http2", default.http2, findings),
        };
    }
    site.balance = section.text("balance", findings);
    if let Some(check) = section.section("health_check", &["interval", "timeout"], findings) {
        let default = defaults::HEALTH_CHECK;
        site.health_check = HealthCheck {
            interval: check.duration("interval", default.interval, findings),
            timeout: check.duration("timeout", default.timeout, findings),
        };
    }
    if let Some(limit) = section.section("in_flight", &["most", "queue", "queue_timeout"], findings) {
        let default = defaults::IN_FLIGHT;
        site.in_flight = InFlightLimit {
            most: limit.count("most", default.most, findings),
            queue: limit.count("queue", default.queue, findings),
            queue_timeout: limit.duration("queue_timeout", default.queue_timeout, findings),
        };
    }
    if let Some(limit) = section.section("forced_refreshes", &["every", "burst"], findings) {
        let default = defaults::FORCED_REFRESHES;
        site.forced_refreshes = RefreshLimit {
            every: limit.duration("every", default.every, findings),
            burst: limit.count("burst", default.burst, findings),
        };
    }
    site.conformance = site_conformance::read(&section, findings);
    Some(site)
}
