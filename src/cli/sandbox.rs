//! `openemr-gateway sandbox`: the stand-in for OpenEMR, alone.

use std::{
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;

use crate::sandbox::{Client, Keys, Personality, Sandbox, SandboxError, Settings, Tls};

/// Runs a stand-in for OpenEMR: token endpoint, registration and FHIR API over made-up patients.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  openemr-gateway keys generate --out keys
  openemr-gateway sandbox --client-id demo --jwks keys/jwks.json
  openemr-gateway sandbox --openemr 7.0.3 --listen 127.0.0.1:9310 --token-lifetime 5 --client-id demo --jwks keys/jwks.json
  curl -s http://127.0.0.1:9300/apis/default/fhir/metadata

Two nodes of one OpenEMR, which share a database and are known by one address:
  openemr-gateway sandbox --listen 127.0.0.1:9301 --database db --site-address https://emr.example.org --client-id demo --jwks keys/jwks.json
  openemr-gateway sandbox --listen 127.0.0.1:9302 --database db --site-address https://emr.example.org --client-id demo --jwks keys/jwks.json

Faults on demand go to the admin address it prints:
  curl -s http://127.0.0.1:PORT/__sandbox/state
  curl -s http://127.0.0.1:PORT/__sandbox/faults -d '{\"token\": {\"down\": true}}'")]
pub struct SandboxArgs {
    /// Where it listens; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9300")]
    pub listen: SocketAddr,
    /// Where the admin listens (loopback only); port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub admin: SocketAddr,
    /// Serve HTTPS, with a self-signed certificate unless one is given
    #[arg(long)]
    pub tls: bool,
    /// Where to write the self-signed certificate (openemr.pem), so that clients can trust it
    #[arg(long, value_name = "DIR", requires = "tls", default_value = "certs")]
    pub tls_dir: PathBuf,
    /// A certificate chain in PEM
    #[arg(long, value_name = "FILE", requires_all = ["tls", "tls_key"])]
    pub tls_certificate: Option<PathBuf>,
    /// Its private key in PEM
    #[arg(long, value_name = "FILE", requires_all = ["tls", "tls_certificate"])]
    pub tls_key: Option<PathBuf>,
    /// Which OpenEMR to play: 8.0 or 7.0.3
    #[arg(long, value_name = "VERSION", default_value = "8.0")]
    pub openemr: Personality,
    /// How long access tokens live, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub token_lifetime: u64,
    /// How many seconds its clock is ahead (or behind, when negative)
    #[arg(long, value_name = "SECONDS", default_value_t = 0, allow_negative_numbers = true)]
    pub clock_offset: i64,
    /// A client that is registered and enabled from the start
    #[arg(long, value_name = "ID", requires = "jwks")]
    pub client_id: Option<String>,
    /// Its keys: a JWK Set file, or an http:// URL to fetch one from
    #[arg(long, value_name = "FILE|URL", requires = "client_id")]
    pub jwks: Option<String>,
    /// Choose the key by the assertion's kid and refuse an unknown one, as newer servers do
    #[arg(long)]
    pub strict_kid: bool,
    /// Use a JWK Set fetched from a URL again for so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub jwks_cache: u64,
    /// Its scopes, separated by spaces [default: every system scope this OpenEMR knows]
    #[arg(long, value_name = "SCOPES")]
    pub scope: Option<String>,
    /// The address that links and the expected audience are made of [default: where it listens]
    #[arg(long, value_name = "URL")]
    pub site_address: Option<String>,
    /// A folder with the database that several of these share as nodes of one OpenEMR: a token of one is good at all
    #[arg(long, value_name = "DIR")]
    pub database: Option<PathBuf>,
    /// The sites there are
    #[arg(long = "site", value_name = "NAME", default_value = "default")]
    pub sites: Vec<String>,
    /// How many requests are worked on at once; more wait
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub workers: usize,
    /// How many patients to make up
    #[arg(long, value_name = "N", default_value_t = 300)]
    pub patients: usize,
    /// How long an idle connection is kept, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5000)]
    pub keep_alive: u64,
    /// How many requests one connection serves
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub requests_per_connection: u64,
}

/// Why the stand-in does not run.
#[derive(Debug, thiserror::Error)]
pub enum SandboxCommandError {
    /// The client's keys.
    #[error("{path}: {reason}\n  make a JWK Set:  openemr-gateway keys generate --out keys")]
    Jwks {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificate could not be written.
    #[error("{path}: the certificate cannot be written: {source}\n  choose another folder with --tls-dir")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The stand-in itself.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// No runtime, no signals, no standard output.
    #[error("cannot start: {0}")]
    Io(#[from] std::io::Error),
}

/// Runs until Ctrl-C or SIGTERM, which end it at once.
pub fn run(args: SandboxArgs) -> Result<(), SandboxCommandError> {
    let settings = settings(&args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let sandbox = Sandbox::bind(settings).await?;
        announce(&args, &sandbox)?;
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        sandbox
            .run(async {
                tokio::select! {
                    _ = tokio::signal::ctrl_c() => {}
                    _ = terminate.recv() => {}
                }
            })
            .await;
        Ok(())
    });
    runtime.shutdown_background();
    result
}

fn settings(args: &SandboxArgs) -> Result<Settings, SandboxCommandError> {
    let tls = match (&args.tls_certificate, &args.tls_key) {
        (Some(certificate), Some(key)) => Some(Tls::Files { certificate: certificate.clone(), key: key.clone() }),
        _ => args.tls.then_some(Tls::SelfSigned),
    };
    let clients = match (&args.client_id, &args.jwks) {
        (Some(id), Some(jwks)) => {
            let scopes = match &args.scope {
                Some(scope) => scope.split_whitespace().map(str::to_owned).collect(),
                None => args.openemr.system_scopes(),
            };
            vec![Client { id: id.clone(), keys: keys(jwks)?, scopes, enabled: true }]
        }
        _ => Vec::new(),
    };
    Ok(Settings {
        listen: args.listen,
        admin: args.admin,
        tls,
        personality: args.openemr,
        sites: args.sites.clone(),
        token_lifetime: Duration::from_secs(args.token_lifetime),
        strict_kid: args.strict_kid,
        jwks_cache: Duration::from_secs(args.jwks_cache),
        clock_offset: args.clock_offset,
        clients,
        site_address: args.site_address.clone(),
        database: args.database.clone(),
        workers: args.workers,
        patients: args.patients,
        keep_alive: Duration::from_millis(args.keep_alive),
        requests_per_connection: args.requests_per_connection,
        ..Settings::default()
    })
}

fn keys(jwks: &str) -> Result<Keys, SandboxCommandError> {
    if jwks.starts_with("http://") {
        return Ok(Keys::Uri(jwks.to_owned()));
    }
    let failed = |reason: String| SandboxCommandError::Jwks { path: PathBuf::from(jwks), reason };
    let text = std::fs::read_to_string(jwks).map_err(|error| failed(error.to_string()))?;
    let set: serde_json::Value = serde_json::from_str(&text).map_err(|error| failed(format!("not JSON: {error}")))?;
    if set.get("keys").is_none_or(|keys| !keys.is_array()) {
        return Err(failed("not a JWK Set: it has no \"keys\" array".to_owned()));
    }
    Ok(Keys::Inline(set))
}

fn announce(args: &SandboxArgs, sandbox: &Sandbox) -> Result<(), SandboxCommandError> {
    let scheme = if args.tls { "https" } else { "http" };
    let base = sandbox.base_url();
    let mut out = std::io::stdout().lock();
    if let (true, None, Some(pem)) = (args.tls, &args.tls_certificate, sandbox.certificate_pem()) {
        let path = args.tls_dir.join("openemr.pem");
        write_certificate(&path, pem)?;
        writeln!(out, "certificate {}", path.display())?;
    }
    let site = args.sites.first().map_or("default", String::as_str);
    writeln!(out, "FHIR base {base}/apis/{site}/fhir")?;
    writeln!(out, "token URL {base}/oauth2/{site}/token")?;
    writeln!(out, "admin http://{}", sandbox.admin_address())?;
    // Last, so that whoever waits for it has read the others.
    writeln!(out, "OpenEMR stand-in {} listening on {scheme}://{}", args.openemr, sandbox.address())?;
    out.flush()?;
    Ok(())
}

fn write_certificate(path: &Path, pem: &str) -> Result<(), SandboxCommandError> {
    let failed = |source| SandboxCommandError::Certificate { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    std::fs::write(path, pem).map_err(failed)
}
