//! The configuration as a whole: its keys, and the rules between them.

use std::sync::Arc;
use std::time::Duration;

use pingora::server::configuration::ServerConf;

use super::access::{Access, ReadyRule, TokenExposure};
use super::admin::Admin;
use super::audit::Audit;
use super::base_url::BaseUrl;
use super::declaration::section;
use super::limits::{Compression, Limits};
use super::listening::{LISTEN, Listener, MAX_LISTENERS, default_listeners};
use super::log::Log;
use super::node::{Entry, Node, Value};
use super::problem::{Findings, Place, Problem, Source, shown};
use super::routes::Routes;
use super::section::Section;
use super::server_conf;
use super::setting::Setting as _;
use super::shape::RestartRequired;
use super::site::{Site, Sites};
use super::store::StoreSettings;
use super::tracing::Tracing;
use super::{changes, exposure, trusted_proxies};
use crate::http::forwarded::trusted_proxy::TrustedProxy;
use crate::limits::replicas::Replicas;

/// The most gateways that share limits.
const MOST_REPLICAS: u32 = 1000;
/// The most sites that one gateway serves.
const MAX_SITES: usize = 256;

section! {
    /// Everything that the gateway runs on. Read-only once it has been read.
    #[derive(Debug)]
    pub(crate) struct Config {
        /// Where clients connect. An address that other machines reach needs `access`.
        listen: Vec<Listener> = default_listeners(), derived("one at `127.0.0.1:8000`");
        /// The paths that the gateway serves; `null` switches one off.
        routes: Routes = Routes::default();
        /// The OpenEMR sites behind the gateway, by OpenEMR's site id; most installs have one, `default`. The first is served
        /// at `/fhir`, each further one at `/<site>/fhir`, with its own client, keys and token.
        sites: Sites = Sites::default(), derived("at least one is required");
        /// Where clients find the gateway, for links in answers.
        public_url: Option<BaseUrl> = None, example("https://gateway.example.org"),
            derived("the address that each client called (`Host`)");
        /// The proxies in front of the gateway, and which of their fields are believed. The first entry with a proxy's address counts.
        trusted_proxies: Vec<TrustedProxy> = Vec::new();
        /// Which clients may call, and by which names. Required once an address of `listen` is not loopback.
        access: Access = Access::default(), derived("clients on this machine");
        /// The admin listener: metrics, state and commands for the operator (metrics.md). Without an address there is none.
        admin: Admin = Admin::default();
        /// The audit trail: a record of every request to a FHIR route, and of what changes who may call. audit.md explains it.
        audit: Audit = Audit::default();
        /// To which clients `POST /oauth/token` shows the access token; the others get the start of its SHA-256.
        token_exposure: TokenExposure = TokenExposure::Loopback;
        /// When `GET /ready` answers 200.
        ready: ReadyRule = ReadyRule::All;
        /// Whether a changed configuration, key or certificate is read again by itself. SIGHUP does that at any time.
        watch: bool = false;
        /// Whether a private key that users other than its owner and root can read is a warning, not an error.
        keys_readable_by_others: bool = false;
        /// Whether a crash may leave a core file, and whether programs of the gateway's own user, such as debuggers, may read its
        /// memory. Both show the private key and patient data.
        core_dumps: bool = false, restart();
        /// How long `GET /ready` answers 503 before connections are refused, after a signal to stop.
        drain_delay: Duration = Duration::from_secs(2), restart();
        /// What a client's connection may use.
        limits: Limits = Limits::default();
        /// Compression of answers (zstd, br or gzip) for clients that accept it.
        compression: Compression = Compression::default();
        /// The log. logs.md explains it.
        log: Log = Log::default();
        /// OpenTelemetry traces: a span for each request, with its waits and its exchange with OpenEMR below. tracing.md explains them.
        tracing: Tracing = Tracing::default();
        /// A store that several gateways share, which speaks the Redis protocol: a mapping, or its URL alone. operation.md says what is
        /// shared with it, and what without.
        store: Option<StoreSettings> = None, derived("none");
        /// How many gateways with this configuration there are in front of the same OpenEMR. Of the limits that each counts by itself
        /// it takes its part, one request at least: rates and bursts, `at_once`, `requests_per_address`, and of `in_flight` what may be
        /// under way.
        replicas: u32 = 1, at_most(MOST_REPLICAS), unit("gateways"), variable("GATEWAY_REPLICAS");
        /// Pingora's own settings, under Pingora's names.
        server: ServerConf = server_conf::defaults(), restart();
    }
    check Config::check
}

impl Config {
    /// What a running process keeps of this configuration.
    #[must_use]
    pub(crate) fn restart_required(&self) -> RestartRequired {
        let mut kept = RestartRequired::default();
        super::setting::Setting::restart_required(self, "", &mut kept);
        kept
    }

    /// The configuration as it takes effect: every default filled in, no secret in it, readable again as a configuration.
    /// Private keys appear as the names of their files, nothing more.
    #[must_use]
    pub(crate) fn effective_yaml(&self) -> String {
        // A tree of strings, numbers and lists always serialises. What begins with ${ was escaped, and is again.
        serde_yaml::to_string(&escaped(self.to_yaml())).unwrap_or_default()
    }

    /// The paths of the keys whose value in `new` is another one, as [`Config::effective_yaml`] names them, in its order.
    #[must_use]
    pub(crate) fn changed_keys(&self, new: &Self) -> Vec<String> {
        changes::paths(&self.to_yaml(), &new.to_yaml())
    }

    /// Returns the site of that name, or the first one.
    ///
    /// # Errors
    /// There is none of that name, which the command line gave.
    pub(crate) fn site(&self, name: Option<&str>) -> Result<&Arc<Site>, Problem> {
        let is_meant = |site: &&Arc<Site>| name.is_none_or(|name| site.name.as_str() == name);
        self.sites.iter().find(is_meant).ok_or_else(|| {
            let names: Vec<&str> = self.sites.iter().map(|site| site.name.as_str()).collect();
            let message = format!("no site `{}` is configured", shown(name.unwrap_or_default()));
            let place = Place::whole(Source::CommandLine).member("--site");
            place.problem(message).remedy(format!("name one of  {}", names.join(", ")))
        })
    }

    /// How many gateways share the limits.
    #[must_use]
    pub(crate) fn replicas(&self) -> Replicas {
        Replicas::new(self.replicas)
    }

    fn check(mut self, section: &Section<'_>, findings: &mut Findings) -> Option<Self> {
        self.sites.share_with(self.replicas());
        if self.limits.shared && section.is_unset("store") {
            let problem = section.place_of("limits").member("shared").problem("is true, and there is no store to count in");
            findings.problem(problem.remedy("write  store: rediss://store.example.org:6379  or leave it out"));
        }
        self.check_listeners(section, findings);
        self.check_admin(section, findings);
        self.check_access(section, findings);
        self.check_sites(section, findings);
        let place_of = |key: &str| section.place_of(key);
        trusted_proxies::check(&self.trusted_proxies, self.public_url.is_some(), place_of, findings);
        exposure::check(&self.listen, &self.access, self.token_exposure, place_of, findings);
        Some(self)
    }

    fn check_listeners(&mut self, section: &Section<'_>, findings: &mut Findings) {
        let place = section.place_of("listen");
        match section.node("listen") {
            None => {
                for listener in &mut self.listen {
                    listener.place = place.element(0).member("address");
                }
            }
            Some((Node { value: Value::List(written), .. }, _)) if written.is_empty() => {
                findings.problem(place.problem("names no address").remedy(format!("write  - address: {LISTEN}")));
            }
            Some((Node { value: Value::List(written), .. }, _)) if written.len() > MAX_LISTENERS => {
                let problem = place.problem(format!("names {} addresses", written.len()));
                findings
                    .problem(problem.remedy(format!("name {MAX_LISTENERS} at most: that many are handed over in an upgrade")));
                return;
            }
            Some(_) => {}
        }
        for (index, Listener { address, place, .. }) in self.listen.iter().enumerate() {
            if self.listen.iter().take(index).any(|earlier| earlier.address == *address) {
                findings.problem(place.problem(format!("`{address}` is listened on twice")).remedy("keep one of the two"));
            }
        }
    }

    fn check_admin(&self, section: &Section<'_>, findings: &mut Findings) {
        if let Some(address) =
            self.admin.address.filter(|address| self.listen.iter().any(|listener| listener.address == *address))
        {
            let problem = section.place_of("admin").member("address").problem(format!("`{address}` is one of `listen`, too"));
            findings.problem(problem.remedy("give the admin listener a port of its own, such as 127.0.0.1:9464"));
        }
    }

    fn check_access(&self, section: &Section<'_>, findings: &mut Findings) {
        if let Some((Node { value: Value::Map(sites), .. }, _)) = section.node("sites") {
            let names: Vec<&str> = sites.iter().map(|site| site.key.as_str()).collect();
            self.access.check_sites(&names, findings);
        }
        let open = self.listen.iter().find(|listener| !listener.is_loopback());
        let Some(Listener { address, .. }) = open else { return };
        let reached = format!("{address} can be reached from other machines: whoever calls reads patient data");
        if !names_clients(section) {
            let problem = section.place_of("access").problem(format!("is missing, and {reached}"));
            findings.problem(problem.remedy(
                "write  access: { allow_from: [10.0.0.0/8], clients: { … } }  with your clients' networks, keys and policies, or, \
                 if everybody there may do everything,  access: { allow_from: [10.0.0.0/8], anonymous: everything }",
            ));
        } else if !self.access.says_what() {
            let problem = section.place_of("access").problem(format!("names no `clients`, and {reached}"));
            findings.problem(problem.remedy(
                "write  clients: { … }  with the keys and policies of your clients or, if everybody whom allow_from lets in may do \
                 everything,  anonymous: everything",
            ));
        }
    }

    fn check_sites(&self, section: &Section<'_>, findings: &mut Findings) {
        let place = section.place_of("sites");
        let written: &[Entry] = match section.node("sites") {
            Some((Node { value: Value::Map(entries), .. }, _)) => entries,
            Some(_) => return,
            None => &[],
        };
        if written.is_empty() {
            let problem = place.problem("names no OpenEMR site");
            findings.problem(
                problem.remedy(
                    "write  sites: { default: { openemr: https://…, client_id: …, private_key: …, jwks: …, scopes: […] } }",
                ),
            );
        }
        if written.len() > MAX_SITES {
            findings.problem(place.problem(format!("names {} sites; at most {MAX_SITES} are served", written.len())));
        }
        // A site that is left out must have been reported. Should that ever fail, the gateway must not run without it.
        if self.sites.0.len() < written.len() && findings.problems.is_empty() {
            findings.problem(place.problem("names a site that cannot be read"));
        }
        let first = written.iter().find(|entry| entry.key == "default").or(written.first()).map(|entry| &entry.key);
        for Entry { key, mark, .. } in written.iter().filter(|entry| Some(&entry.key) != first) {
            let collides = |path: &&str| path.split('/').nth(1).is_some_and(|segment| segment.eq_ignore_ascii_case(key));
            let mut routes = self.routes.named().into_iter().filter_map(|(_, path)| path.map(|path| &**path));
            if let Some(route) = routes.find(collides) {
                let (key, route) = (shown(key), shown(route));
                let message = format!("a site `{key}` would be served below the local route {route}");
                let problem = place.member(&key).at(*mark).problem(message);
                findings.problem(problem.remedy("move that route under `routes`"));
            }
        }
    }
}

/// Whether `access` is written and says which clients may call.
fn names_clients(section: &Section<'_>) -> bool {
    match section.node("access") {
        Some((Node { value: Value::Map(entries), .. }, _)) => entries.iter().any(|entry| entry.key == "allow_from"),
        access => access.is_some(),
    }
}

fn escaped(value: serde_yaml::Value) -> serde_yaml::Value {
    use serde_yaml::Value as Yaml;
    match value {
        Yaml::String(text) => text.replace("${", "$${").into(),
        Yaml::Sequence(values) => values.into_iter().map(escaped).collect::<Vec<_>>().into(),
        Yaml::Mapping(entries) => Yaml::Mapping(entries.into_iter().map(|(key, value)| (key, escaped(value))).collect()),
        other => other,
    }
}
