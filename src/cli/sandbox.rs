//! `openemr-gateway sandbox`: runs the sandbox alone.

use std::{
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;

use crate::sandbox::{Client, Keys, Personality, Sandbox, SandboxError, Settings, Shapes, Timings, Tls};

/// The arguments of `sandbox`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  openemr-gateway keys generate --out keys
  openemr-gateway sandbox --client-id demo --jwks keys/jwks.json
  openemr-gateway sandbox --openemr 7.0.3 --listen 127.0.0.1:9310 --token-lifetime 5 --client-id demo --jwks keys/jwks.json
  curl -s http://127.0.0.1:9300/apis/default/fhir/metadata

Two nodes of one OpenEMR, which share a database and an address:
  openemr-gateway sandbox --listen 127.0.0.1:9301 --database db --site-address https://emr.example.org --client-id demo --jwks keys/jwks.json
  openemr-gateway sandbox --listen 127.0.0.1:9302 --database db --site-address https://emr.example.org --client-id demo --jwks keys/jwks.json

Faults on demand are sent to the admin address that it prints:
  curl -s http://127.0.0.1:PORT/__sandbox/state
  curl -s http://127.0.0.1:PORT/__sandbox/faults -d '{\"token\": {\"down\": true}}'")]
pub(super) struct SandboxArgs {
    /// The address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9300")]
    pub(super) listen: SocketAddr,
    /// The address for faults on demand, on loopback only; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub(super) admin: SocketAddr,
    /// Serve HTTPS, with a self-signed certificate unless one is given
    #[arg(long)]
    pub(super) tls: bool,
    /// The folder for the self-signed certificate (openemr.pem), which clients have to trust
    #[arg(long, value_name = "DIR", requires = "tls", default_value = "certs")]
    pub(super) tls_dir: PathBuf,
    /// The certificate chain, in PEM
    #[arg(long, value_name = "FILE", requires_all = ["tls", "tls_key"])]
    pub(super) tls_certificate: Option<PathBuf>,
    /// The private key of the certificate, in PEM
    #[arg(long, value_name = "FILE", requires_all = ["tls", "tls_certificate"])]
    pub(super) tls_key: Option<PathBuf>,
    /// The OpenEMR release to behave like: 8.0, 7.0.3, or next (what is announced, and no release does yet)
    #[arg(long, value_name = "VERSION", default_value = "8.0")]
    pub(super) openemr: Personality,
    /// How long access tokens live, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(super) token_lifetime: u64,
    /// The seconds by which the clock is ahead, or behind when negative
    #[arg(long, value_name = "SECONDS", default_value_t = 0, allow_negative_numbers = true)]
    pub(super) clock_offset: i64,
    /// A client that is registered and enabled from the start
    #[arg(long, value_name = "ID", requires = "jwks")]
    pub(super) client_id: Option<String>,
    /// The client's keys: a JWK Set file, or an http:// URL of one
    #[arg(long, value_name = "FILE|URL", requires = "client_id")]
    pub(super) jwks: Option<String>,
    /// Choose the key by the assertion's kid and reject an unknown one, as newer servers do
    #[arg(long)]
    pub(super) strict_kid: bool,
    /// The seconds for which a JWK Set fetched from a URL is reused
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(super) jwks_cache: u64,
    /// The client's scopes, separated by spaces [default: every system scope that this release knows]
    #[arg(long, value_name = "SCOPES")]
    pub(super) scope: Option<String>,
    /// The address in links and in the expected audience [default: the address it listens on]
    #[arg(long, value_name = "URL")]
    pub(super) site_address: Option<String>,
    /// The folder of a database that several sandboxes share as nodes of one OpenEMR: a token of one is valid at all
    #[arg(long, value_name = "DIR")]
    pub(super) database: Option<PathBuf>,
    /// The name of a site; can be repeated
    #[arg(long = "site", value_name = "NAME", default_value = "default")]
    pub(super) sites: Vec<String>,
    /// How many requests are processed at once; more wait
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(super) workers: usize,
    /// How long a worker is busy with a request: as long as OpenEMR on two processors (openemr), or no longer than needed (none)
    #[arg(long, value_name = "HOW", default_value_t)]
    pub(super) timings: Timings,
    /// How many synthetic patients there are
    #[arg(long, value_name = "N", default_value_t = 300)]
    pub(super) patients: usize,
    /// How resources are written: with OpenEMR's own mistakes (openemr), or valid
    #[arg(long, value_name = "HOW", default_value_t)]
    pub(super) resources: Shapes,
    /// How long an idle connection is kept, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5000)]
    pub(super) keep_alive: u64,
    /// How many requests one connection serves
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(super) requests_per_connection: u64,
}

/// Why the sandbox does not run.
#[derive(Debug, thiserror::Error)]
pub(super) enum SandboxCommandError {
    /// The client's keys cannot be read.
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
        /// The system's error.
        source: std::io::Error,
    },
    /// The sandbox does not start.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The runtime, signals or standard output cannot be used.
    #[error("cannot start: {0}")]
    Io(#[from] std::io::Error),
}

/// Runs the sandbox until Ctrl-C or SIGTERM, which end it at once.
pub(super) fn run(args: SandboxArgs) -> Result<(), SandboxCommandError> {
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
        timings: args.timings,
        patients: args.patients,
        shapes: args.resources,
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
    let set: serde_json::Value =
        serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| failed(format!("not JSON: {error}")))?;
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
    // This line is the last, so that a program that waits for it has read the others.
    writeln!(out, "OpenEMR sandbox {} listening on {scheme}://{}", args.openemr, sandbox.address())?;
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
