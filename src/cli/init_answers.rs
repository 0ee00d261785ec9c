//! The questions of `init`, each with its option, its default and the check of its answer.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::init_openemr::{OpenEmr, Trusted};
use super::outcome::{Failure, failures};
use super::prompts::{Prompts, Question};
use crate::config::problem::shown;
use crate::config::{self, LISTEN, is_client_name, upstream_of};
use crate::scopes::scope::Scopes;

/// What a first client most often reads. Every supported OpenEMR knows these types.
const TYPES: &str = "Patient AllergyIntolerance CarePlan CareTeam Condition DiagnosticReport DocumentReference Encounter Goal Immunization \
                     Location MedicationRequest Observation Organization Practitioner Procedure";

/// The options that answer a question.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// OpenEMR's address, with its sub-folder if it has one
    #[arg(long, value_name = "URL")]
    openemr: Option<String>,
    /// OpenEMR's site id [default: default]
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    #[command(flatten)]
    trusted: Trusted,
    /// What is asked of OpenEMR: resource types, for reading, or whole scopes, with blanks between them [default: what is read most often]
    #[arg(long, value_name = "TYPES")]
    scopes: Option<String>,
    /// The folder of the signing key; a key that is there is kept and used [default: keys]
    #[arg(long, value_name = "FOLDER")]
    keys: Option<PathBuf>,
    /// The address that the gateway listens on [default: 127.0.0.1:8000]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The certificate of the listener, for HTTPS
    #[arg(long, value_name = "FILE", requires = "tls_private_key")]
    tls_certificate: Option<PathBuf>,
    /// The private key of that certificate
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_private_key: Option<PathBuf>,
    /// The networks of the programs that may call, where the address is reached from other machines
    #[arg(long, value_name = "NETWORKS")]
    allow_from: Option<String>,
    /// Names by which the gateway is called, besides its addresses
    #[arg(long, value_name = "NAMES")]
    hosts: Option<String>,
    /// Make an API key for a first client of this name. Without one the programs on this machine call without a key
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Answers {
    /// Where OpenEMR is.
    pub(super) openemr: OpenEmr,
    /// What is asked of it.
    pub(super) scopes: Scopes,
    /// The folder of the signing key.
    pub(super) keys: PathBuf,
    /// Where the gateway listens, and who may call.
    pub(super) callers: Callers,
}

/// Where the gateway listens, and who may call.
#[derive(Debug)]
pub(super) struct Callers {
    pub(super) listen: SocketAddr,
    pub(super) tls: Option<(PathBuf, PathBuf)>,
    pub(super) allow_from: Vec<String>,
    pub(super) hosts: Vec<String>,
    /// The name of the first client.
    pub(super) client: Option<String>,
}

impl Options {
    /// Gets all answers. OpenEMR is looked at unless it `is_unseen`; nothing is written.
    ///
    /// # Errors
    /// An answer that is missing or cannot be used, an OpenEMR that is not reached.
    pub(super) fn answers(&self, config: &Path, is_unseen: bool, prompts: &mut Prompts) -> Result<Answers, Vec<Failure>> {
        let openemr = self.openemr(config, is_unseen, prompts)?;
        let words = "Resource types to read, or whole scopes. They cannot be changed later, except by another registration";
        let question = Question { words, option: "--scopes", default: Some(TYPES) };
        let read = |text: &str| config::scopes_of(text, "--scopes").map_err(failures);
        let scopes = prompts.answer(question, self.scopes.as_deref(), read)?;
        let question = Question { words: "Folder of the signing key", option: "--keys", default: Some("keys") };
        let keys = path(question, self.keys.as_deref(), prompts)?;
        let callers = self.callers(prompts)?;
        Ok(Answers { openemr, scopes, keys, callers })
    }

    fn openemr(&self, config: &Path, is_unseen: bool, prompts: &mut Prompts) -> Result<OpenEmr, Vec<Failure>> {
        let words = "OpenEMR's site id";
        let question =
            Question { words: "OpenEMR's address, such as https://emr.example.org", option: "--openemr", default: None };
        let ask_site = |prompts: &mut Prompts| {
            let question = Question { words, option: "--site", default: Some("default") };
            prompts.answer(question, self.site.as_deref(), |text| {
                config::site_name_of(text, "--site").map(|name| name.as_str().to_owned()).map_err(failures)
            })
        };
        let url = |text: &str| upstream_of(text, "default", None).map(|_| text.to_owned()).map_err(failures);
        let beside = config.with_file_name("openemr.pem");
        let mut left = if prompts.is_asking() && self.openemr.is_none() { 3 } else { 1 };
        loop {
            left -= 1;
            let url = prompts.answer(question, self.openemr.as_deref(), url)?;
            let site = ask_site(prompts)?;
            if is_unseen {
                return Ok(OpenEmr::unseen(&url, &site, &self.trusted));
            }
            match OpenEmr::seen(&url, &site, &self.trusted, &beside, prompts) {
                Err(failures) if left > 0 && prompts.confirm("Name another address?", "--openemr", true)? => {
                    drop(failures);
                }
                seen => return seen,
            }
        }
    }

    fn callers(&self, prompts: &mut Prompts) -> Result<Callers, Vec<Failure>> {
        let question = Question { words: "Address to listen on", option: "--listen", default: Some(LISTEN) };
        let read = |text: &str| config::address_of(text, "--listen").map_err(failures);
        let listen = prompts.answer(question, self.listen.as_deref(), read)?;
        let is_local = listen.ip().is_loopback();
        let tls = if is_local && self.tls_certificate.is_none() { None } else { self.tls(prompts)? };
        let allow_from = match &self.allow_from {
            None if is_local => Vec::new(),
            given => {
                let words = "Networks of the programs that may call, such as 10.20.0.0/16";
                let question = Question { words, option: "--allow-from", default: None };
                let read = |text: &str| config::networks_of(text, "--allow-from").map_err(failures);
                prompts.answer(question, given.as_deref(), read)?
            }
        };
        let hosts = match &self.hosts {
            None if is_local => Vec::new(),
            given => {
                let words = "Names by which they call it, such as gateway.example.org; none is its address alone";
                let question = Question { words, option: "--hosts", default: Some("") };
                prompts.answer(question, given.as_deref(), |text| config::hosts_of(text, "--hosts").map_err(failures))?
            }
        };
        let words = if is_local {
            "Name of a first client, which gets an API key; none: the programs on this machine call without one"
        } else {
            "Name of a first client, which gets an API key"
        };
        let question = Question { words, option: "--client", default: is_local.then_some("") };
        let client = prompts.answer(question, self.client.as_deref(), client_name)?;
        Ok(Callers { listen, tls, allow_from, hosts, client })
    }

    /// The listener's certificate and its key. Without a person, none are needed.
    fn tls(&self, prompts: &mut Prompts) -> Result<Option<(PathBuf, PathBuf)>, Vec<Failure>> {
        let words = "PEM file of the gateway's certificate; none: plain HTTP, which others in the network can read";
        let question = Question { words, option: "--tls-certificate", default: Some("") };
        let certificate = path(question, self.tls_certificate.as_deref(), prompts)?;
        if certificate.as_os_str().is_empty() {
            return Ok(None);
        }
        let question = Question { words: "PEM file of its private key", option: "--tls-private-key", default: None };
        let key = path(question, self.tls_private_key.as_deref(), prompts)?;
        Ok(Some((certificate, key)))
    }
}

/// A file or folder. The configuration is text, so that its name is text, too.
pub(super) fn path(question: Question<'_>, given: Option<&Path>, prompts: &mut Prompts) -> Result<PathBuf, Vec<Failure>> {
    let given =
        given.map(|path| path.to_str().ok_or_else(|| vec![unwritable(&path.to_string_lossy(), question.option)])).transpose()?;
    prompts.answer(question, given, |text| {
        if text.contains(|c: char| c.is_control() || c == '\u{fffd}') || text.contains("${") {
            return Err(vec![unwritable(text, question.option)]);
        }
        Ok(PathBuf::from(text))
    })
}

fn unwritable(path: &str, option: &str) -> Failure {
    let message = format!("{option}: `{}` cannot stand in a configuration", shown(path));
    Failure::new(message, "name it with letters that can be read, and without ${")
}

fn client_name(text: &str) -> Result<Option<String>, Vec<Failure>> {
    match text {
        "" => Ok(None),
        name if is_client_name(name) => Ok(Some(name.to_owned())),
        _ => {
            let message = format!("--client: `{}` is no name of a client", shown(text));
            Err(vec![Failure::new(message, "name it with 1 to 64 letters, digits, dots, underscores and hyphens")])
        }
    }
}
