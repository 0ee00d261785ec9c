//! What `init` sees of OpenEMR before anything is written: whether it is there, and which certificate it shows.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;

use super::check_text::Text;
use super::outcome::{Failure, failures, say, warn};
use super::own_requests;
use super::prompts::{Prompts, Question};
use crate::config::{CaFile, upstream_of};
use crate::diagnosis::certificate::Certificate;
use crate::diagnosis::outcome::{Outcome, Step, Verdict};
use crate::diagnosis::site;
use crate::diagnosis::subject::Subject;
use crate::diagnosis::walk::{Walk, Watcher};

/// Where OpenEMR is, and how its certificate comes to be trusted.
#[derive(Debug)]
pub(super) struct OpenEmr {
    /// Its address.
    pub(super) url: String,
    /// Its site id.
    pub(super) site: String,
    /// A file of certificates that are trusted besides the system's.
    pub(super) ca_file: Option<PathBuf>,
    /// What is to be written there, where it is a certificate that OpenEMR showed.
    pub(super) certificate: Option<String>,
    /// Its own name for its token endpoint, where that is another than its address says.
    pub(super) token_audience: Option<String>,
}

/// The options about OpenEMR's certificate.
#[derive(Debug, clap::Args)]
pub(super) struct Trusted {
    /// A PEM file of certificates that are trusted besides the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Trust the certificate that OpenEMR shows, if its SHA-256 is this one, and write it beside the configuration
    #[arg(long, value_name = "SHA256", conflicts_with = "ca_file")]
    trust: Option<String>,
}

/// What a look at OpenEMR found.
struct Looked {
    /// The step that failed on the way.
    failed: Option<Step>,
    /// The certificate that would have to be trusted.
    to_trust: Option<Certificate>,
    token_audience: Option<String>,
}

impl OpenEmr {
    /// OpenEMR by its address alone: it is not asked.
    pub(super) fn unseen(url: &str, site: &str, trusted: &Trusted) -> Self {
        let (url, site) = (url.to_owned(), site.to_owned());
        Self { url, site, ca_file: trusted.ca_file.clone(), certificate: None, token_audience: None }
    }

    /// Looks at OpenEMR, and lets a person decide about a certificate that is not trusted. A certificate that is to be trusted will
    /// be at `beside`.
    ///
    /// # Errors
    /// It is not reached, or its certificate is not to be trusted.
    pub(super) fn seen(
        url: &str,
        site: &str,
        trusted: &Trusted,
        beside: &Path,
        prompts: &mut Prompts,
    ) -> Result<Self, Vec<Failure>> {
        let mut openemr = Self::unseen(url, site, trusted);
        let mut looked = openemr.look(None)?;
        if looked.failed == Some(Step::Tls) && openemr.ca_file.is_none() {
            match &looked.to_trust {
                Some(certificate) => {
                    agree(certificate, trusted.trust.as_deref(), prompts)?;
                    openemr.ca_file = Some(beside.to_owned());
                    openemr.certificate = Some(certificate.to_pem());
                    let der = CertificateDer::from(certificate.der.clone());
                    looked = openemr.look(Some(CaFile { path: beside.to_owned(), certificates: vec![der] }))?;
                }
                None if prompts.is_asking() => {
                    let words = "The PEM file with the certificate of that authority";
                    let question = Question { words, option: "--ca-file", default: None };
                    let file = prompts.answer(question, None, |answer| {
                        let file = PathBuf::from(answer);
                        own_requests::authorities(Some(&file)).map(|_| file)
                    })?;
                    openemr.ca_file = Some(file);
                    looked = openemr.look(None)?;
                }
                None => {}
            }
        }
        if let Some(step) = looked.failed {
            let message = format!("the way to {} ends at {}: nothing was written", openemr.url, step.name());
            return Err(vec![Failure::new(message, "mend what is said there, or name another address with --openemr")]);
        }
        openemr.token_audience = looked.token_audience;
        if let Some(audience) = &openemr.token_audience {
            say(format!("OpenEMR calls its token endpoint {audience}: that is written as token_audience"));
        }
        Ok(openemr)
    }

    /// Takes the steps of `check` to OpenEMR, which are printed. `shown`: a certificate to trust that is in no file yet.
    fn look(&self, shown: Option<CaFile>) -> Result<Looked, Vec<Failure>> {
        let file = self.ca_file.as_deref().filter(|_| shown.is_none());
        let (mut upstream, warnings) = upstream_of(&self.url, &self.site, file).map_err(failures)?;
        warn(warnings);
        upstream.ca_file = shown.or(upstream.ca_file);
        let mut view = View(Text::of_terminal());
        let mut walk = Walk::new(&mut view);
        let token_audience = own_requests::wait_for(async {
            // Its name lookups need the runtime.
            site::look(&mut walk, &own_requests::client(), &Subject::at(&self.site, upstream)).await
        })?;
        let outcomes = walk.into_outcomes();
        let is_way = |outcome: &&Outcome| matches!(outcome.step, Step::Dns | Step::Tcp | Step::Tls);
        let failed = outcomes.iter().filter(is_way).find(|outcome| outcome.finding.verdict == Verdict::Failed);
        Ok(Looked {
            failed: failed.map(|outcome| outcome.step),
            to_trust: failed.and_then(|outcome| outcome.finding.to_trust.clone()),
            token_audience,
        })
    }
}

/// Whether a certificate is to be trusted: by its fingerprint on the command line, or by a person's word.
fn agree(certificate: &Certificate, fingerprint: Option<&str>, prompts: &mut Prompts) -> Result<(), Vec<Failure>> {
    let sha256 = &certificate.sha256;
    let remedy = format!(
        "compare it with that of the file at OpenEMR's server; if they are the same:  --trust {sha256}  (or name the file with --ca-file)"
    );
    if let Some(fingerprint) = fingerprint {
        let plain = |text: &str| text.replace([':', ' '], "").to_ascii_uppercase();
        if plain(fingerprint) == plain(sha256) {
            return Ok(());
        }
        return Err(vec![Failure::new(format!("OpenEMR's certificate has another SHA-256 than --trust: {sha256}"), remedy)]);
    }
    say(format!("\nThe certificate to trust: {}, valid until {}\n  SHA-256  {sha256}", certificate.subject, certificate.until));
    let words = "Is that the SHA-256 of the file at OpenEMR's server, so that it is to be trusted?";
    if prompts.confirm(words, "--trust", false)? {
        return Ok(());
    }
    Err(vec![Failure::new(format!("OpenEMR's certificate is not trusted; its SHA-256 is {sha256}"), remedy)])
}

/// The steps as `check` shows them.
struct View(Text);

impl Watcher for View {
    fn begins(&mut self, did: &str) {
        self.0.begins(did);
    }

    fn ended(&mut self, outcome: &Outcome) {
        self.0.ended(outcome);
    }
}
