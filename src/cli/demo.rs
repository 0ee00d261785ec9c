//! `demo`: runs the gateway in front of a sandbox in the same process, with nothing to configure.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;

use serde_json::json;

use super::outcome::{Failure, Outcome, failures};
use crate::config::{Config, LISTEN};
use crate::keys::generate::NewKey;
use crate::keys::{JwkSet, KidMethod, kid};
use crate::sandbox::{Client, Keys, Personality, Sandbox, SandboxError, Settings};
use crate::server::{self, RunOptions};

const CLIENT_ID: &str = "openemr-gateway-demo";
/// The scopes of the sandbox's client beside those for reading.
const WRITE_SCOPES: [&str; 1] = ["system/Patient.write"];

/// The arguments of `demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  openemr-gateway demo\n  curl -s 'http://127.0.0.1:8000/fhir/Patient?_count=5'")]
pub(super) struct Demo {
    /// The address that the gateway listens on
    #[arg(long, value_name = "ADDRESS", default_value = LISTEN)]
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
        if !private_key_file.exists() || !folder.join("jwks.json").exists() {
            super::keys::generate_files(&folder, NewKey::Rsa2048, KidMethod::Sha256Ne, true)?;
        }
        let (key, _) = crate::config::read_private_key(&private_key_file).map_err(failures)?;
        let kid = kid(key.public_key(), KidMethod::Sha256Ne);
        let jwks = JwkSet::of(&key, &kid);
        let (openemr, admin) = start_sandbox(&jwks)?;
        let config = config(self.listen, openemr, &folder)?;
        server::start_log(&config);
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
    let me = rustix::process::geteuid().as_raw();
    let folder = std::env::temp_dir().join(format!("openemr-gateway-demo-{me}"));
    match DirBuilder::new().mode(0o700).create(&folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(&folder, &format!("cannot be created: {error}"))),
    }
    let found = fs::symlink_metadata(&folder).map_err(|error| failed(&folder, &format!("cannot be read: {error}")))?;
    let is_mine = found.is_dir() && found.mode() & 0o077 == 0 && found.uid() == me;
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

/// The folder for exports. The sandbox is a new one each time and gives the ids of files again, so that what is left of an earlier one
/// at its address goes.
fn bulk_folder(openemr: SocketAddr, folder: &Path) -> PathBuf {
    let bulk = folder.join(format!("bulk-{}", openemr.port()));
    // What cannot be removed is of another demo's exports, and does no more harm than that its ids are withheld.
    fs::remove_dir_all(&bulk).ok();
    bulk
}

/// The configuration of the demo: only what differs from the defaults.
fn config(listen: SocketAddr, openemr: SocketAddr, folder: &Path) -> Result<Config, Vec<Failure>> {
    // The patients are synthetic: with an address other than loopback, any client may read them.
    let access = if listen.ip().is_loopback() {
        json!(null)
    } else {
        json!({"allow_from": "open", "hosts": ["*"], "anonymous": "everything"})
    };
    let text = json!({
        "listen": [{ "address": listen }],
        "access": access,
        "sites": { "default": {
            "openemr": format!("http://{openemr}"),
            "client_id": CLIENT_ID,
            "private_key": folder.join("private_key.pem"),
            "jwks": folder.join("jwks.json"),
            "scopes": scope_names(),
            "bulk_data": { "folder": bulk_folder(openemr, folder) },
        } },
    });
    crate::config::read_text(&text.to_string()).map_err(failures)
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
