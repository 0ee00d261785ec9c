//! `demo`: runs the gateway in front of a sandbox in the same process, with nothing to configure.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use super::outcome::{Failure, Outcome};
use crate::config::{
    Access, BaseUrl, BulkData, Config, Listener, Log, LogFormat, Node, Paging, Repairs, Routes, Site, SiteKeys, SiteName,
    TokenExposure, defaults, server_conf,
};
use crate::keys::generate::NewKey;
use crate::keys::{JwkSet, KidMethod, SigningKey, kid};
use crate::observe::{self, log_format::Format};
use crate::sandbox::{Client, Keys, Personality, Sandbox, SandboxError, Settings};
use crate::scopes::scope::{Scope, Scopes};
use crate::server::{self, RunOptions};

const CLIENT_ID: &str = "openemr-gateway-demo";
/// The scopes of the sandbox's client beside those for reading.
const WRITE_SCOPES: [&str; 1] = ["system/Patient.write"];

/// The arguments of `demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  openemr-gateway demo\n  curl -s 'http://127.0.0.1:8000/fhir/Patient?_count=5'")]
pub(super) struct Demo {
    /// The address that the gateway listens on
    #[arg(long, value_name = "ADDRESS", default_value = defaults::LISTEN)]
    listen: SocketAddr,
}

impl Demo {
    /// Runs the command.
    ///
    /// # Errors
    /// A folder for the keys that cannot be used, an address that is in use.
    pub(super) fn run(self) -> Outcome {
        let folder = key_folder()?;
        let private_key_file = folder.join("private_key.pem");
        if !private_key_file.exists() {
            super::keys::generate_files(&folder, NewKey::Rsa2048, KidMethod::Sha256Ne, true)?;
        }
        let key = crate::config::read_private_key(&private_key_file).map_err(|problem| vec![Failure::from(problem)])?;
        let kid = kid(key.public_key(), KidMethod::Sha256Ne);
        let jwks = JwkSet::of(&key, &kid);
        let (openemr, admin) = start_sandbox(&jwks)?;
        let site = site(openemr, key, kid, jwks, &folder)?;
        let config = config(self.listen, site);
        observe::start_log(config.log.level, Format::Text);
        let listen = self.listen;
        server::run(config, RunOptions::default(), move || greet(listen, openemr, admin))
            .map_err(|error| vec![Failure::new(error, "listen elsewhere:  openemr-gateway demo --listen 127.0.0.1:8001")])
    }
}

/// Returns the folder for the keys, which belongs to this user alone: others that can write there could replace the key.
fn key_folder() -> Result<PathBuf, Vec<Failure>> {
    let failed = |folder: &Path, what: &str| {
        vec![Failure::new(format!("{}: {what}", folder.display()), "remove it, or set TMPDIR to a folder of your own")]
    };
    let me = fs::metadata("/proc/self").map(|own| own.uid()).ok();
    let name = me.map_or_else(|| "openemr-gateway-demo".to_owned(), |me| format!("openemr-gateway-demo-{me}"));
    let folder = std::env::temp_dir().join(name);
    match DirBuilder::new().mode(0o700).create(&folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(&folder, &format!("cannot be created: {error}"))),
    }
    let found = fs::symlink_metadata(&folder).map_err(|error| failed(&folder, &format!("cannot be read: {error}")))?;
    let is_mine = found.is_dir() && found.mode() & 0o077 == 0 && me.is_none_or(|me| found.uid() == me);
    if is_mine { Ok(folder) } else { Err(failed(&folder, "is not a folder of this user alone")) }
}

/// Runs the sandbox in a thread of its own, with the demo's client registered and enabled.
fn start_sandbox(jwks: &JwkSet) -> Result<(SocketAddr, SocketAddr), Vec<Failure>> {
    let failed = |error: &dyn std::fmt::Display| vec![Failure::new(format!("the sandbox does not start: {error}"), "try again")];
    let keys = serde_json::from_str(&jwks.to_json()).map_err(|error| failed(&error))?;
    let client = Client { id: CLIENT_ID.to_owned(), keys: Keys::Inline(keys), scopes: scope_names(), enabled: true };
    let settings = Settings { clients: vec![client], ..Settings::default() };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(|error| failed(&error))?;
    let sandbox = runtime.block_on(Sandbox::bind(settings)).map_err(|error: SandboxError| failed(&error))?;
    let addresses = (sandbox.address(), sandbox.admin_address());
    thread::Builder::new()
        .name("sandbox".to_owned())
        .spawn(move || runtime.block_on(sandbox.run(std::future::pending())))
        .map_err(|error| failed(&error))?;
    Ok(addresses)
}

fn scope_names() -> Vec<String> {
    let readable = Personality::default().system_scopes();
    readable.into_iter().chain(WRITE_SCOPES.map(str::to_owned)).collect()
}

fn site(openemr: SocketAddr, key: SigningKey, kid: String, jwks: JwkSet, folder: &Path) -> Result<Site, Vec<Failure>> {
    let name = SiteName::parse("default").ok_or_else(Vec::new)?;
    let scopes = Scopes::new(scope_names().iter().filter_map(|scope| Scope::parse(scope).ok())).ok_or_else(Vec::new)?;
    let url = |path: &str| BaseUrl { https: false, host: openemr.ip().to_string(), port: openemr.port(), path: path.to_owned() };
    let token_url = url("/oauth2/default/token");
    Ok(Site {
        openemr_site: name.clone(),
        name,
        token_audience: Some(token_url.to_string()),
        nodes: vec![Node { fhir_base: url("/apis/default/fhir"), token_url: Some(token_url) }],
        client_id: CLIENT_ID.to_owned(),
        private_key_file: folder.join("private_key.pem"),
        jwks_file: folder.join("jwks.json"),
        fixed_kid: None,
        keys: SiteKeys { key: Arc::new(key), kid, jwks, rotating: None },
        scopes,
        ca_file: None,
        timeouts: defaults::TIMEOUTS,
        connections: defaults::CONNECTIONS,
        balance: defaults::BALANCE,
        health_check: defaults::HEALTH_CHECK,
        in_flight: defaults::IN_FLIGHT,
        forced_refreshes: defaults::FORCED_REFRESHES,
        repairs: Repairs::ALL,
        paging: Paging::Slice,
        also_known_as: Vec::new(),
        documents_max_age: defaults::DOCUMENTS_MAX_AGE,
        cors: None,
        bulk_data: BulkData { folder: folder.join("bulk"), ..defaults::bulk_data() },
    })
}

fn config(listen: SocketAddr, site: Site) -> Config {
    let route = |path: &str| Some(path.to_owned());
    Config {
        listen: vec![Listener { address: listen, tls: None, http2: true, h2c: false }],
        routes: Routes {
            health: route(defaults::HEALTH),
            ready: route(defaults::READY),
            jwks: route(defaults::JWKS),
            token: route(defaults::TOKEN),
            fhir: route(defaults::FHIR),
        },
        sites: vec![Arc::new(site)],
        public_url: None,
        trusted_proxies: Vec::new(),
        // The patients are synthetic: with an address other than loopback, any client may read them.
        access: if listen.ip().is_loopback() {
            Access::AllowFrom(defaults::ALLOW_FROM.iter().filter_map(|network| network.parse().ok()).collect())
        } else {
            Access::Open
        },
        token_exposure: TokenExposure::Loopback,
        ready: defaults::READY_RULE,
        watch: false,
        drain_delay: defaults::DRAIN_DELAY,
        limits: defaults::LIMITS,
        compression: defaults::COMPRESSION,
        log: Log { level: log::LevelFilter::Info, format: LogFormat::Text },
        server: server_conf::defaults(),
    }
}

fn greet(listen: SocketAddr, openemr: SocketAddr, admin: SocketAddr) {
    println!(
        "\nThe gateway listens on http://{listen}, in front of a sandbox at http://{openemr}, a stand-in for OpenEMR.\n\
         All its patients are synthetic. Faults on demand: http://{admin}/__sandbox/faults\n\n\
         Try:\n\
         \x20 curl -s 'http://{listen}/fhir/Patient?_count=5'\n\
         \x20 curl -s http://{listen}/health\n\
         \x20 curl -s -X POST 'http://{listen}/oauth/token?force=true'\n\n\
         Ctrl-C ends it.\n"
    );
}
