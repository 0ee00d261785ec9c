//! The audit trail: where it goes, and what is written.

use std::path::PathBuf;
use std::time::Duration;

use super::base_url::BaseUrl;
use super::certificates::CaFile;
use super::declaration::{section, words};
use super::problem::Findings;
use super::section::Section;

const MIB: usize = 1024 * 1024;

section! {
    /// The audit trail: a record of every request to a FHIR route, and of what changes who may call. audit.md explains it.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) struct Audit {
        /// The folder for the trail's files, one JSON object a line; it is made where there is none. `null` writes no files.
        folder: Option<PathBuf> = None, restart();
        /// How ids of patients and resources are written into the files.
        ids: IdForm = IdForm::Hashed, restart();
        /// The file with the key of hashed ids; made where there is none. With another key the same patient has another hash.
        ids_key: PathBuf = "state/audit-ids.key".into(), restart();
        /// Whether a request that cannot be recorded is refused with 503 before it is sent. Otherwise lost records are counted, logged
        /// once a minute, and shown by `GET /health`.
        required: bool = false, restart();
        /// When records are forced to the disk itself. They are handed to the system before the end of an answer leaves in any case, and
        /// survive a crash of the gateway.
        sync: Sync = Sync::Interval, restart();
        /// The time between two such writes with `sync: interval`.
        sync_interval: Duration = Duration::from_secs(1), between(Duration::from_millis(10), Duration::from_secs(3600)), restart();
        /// The size at which a new file is begun; with each day (UTC) one is in any case.
        rotate_at: usize = 100 * MIB, between(64 * 1024, 4096 * MIB), restart();
        /// The time between two signed checkpoints while there are new records.
        checkpoint_interval: Duration = Duration::from_secs(60), between(Duration::from_secs(1), Duration::from_secs(3600)), restart();
        /// The PEM file with the Ed25519 key that signs checkpoints; made where there is none, with the public half beside it.
        checkpoint_key: PathBuf = "state/audit-checkpoint.key".into(), restart();
        /// The name of the trail in checkpoints: yours alone, such as a host name and a path.
        name: String = "openemr-gateway".into(), restart();
        /// A FHIR repository that gets an AuditEvent (IHE BALP) for each record.
        repository: Option<AuditRepository> = None, derived("none"), restart();
    }
    check Audit::check
}

section! {
    /// A FHIR repository for AuditEvents.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) struct AuditRepository {
        /// Its FHIR base. AuditEvents are posted there in Bundles of type `batch`.
        url: Option<BaseUrl> = None, required("<https://audit.example.org/fhir>"), restart();
        /// A PEM file with a private CA, which is trusted besides the system's.
        ca_file: Option<CaFile> = None, restart();
        /// A file with the value of the field Authorization, such as `Bearer …`. It is read before each attempt.
        authorization_file: Option<PathBuf> = None, restart();
        /// The folder for records that have not been posted yet. They have the ids of patients as they are, and queries.
        spool: PathBuf = "state/audit-spool".into(), restart();
        /// The most bytes in that folder. Further records are lost, or with `required` their requests refused.
        spool_size: usize = 256 * MIB, between(MIB, 64 * 1024 * MIB), restart();
        /// The most events in a Bundle.
        batch: u32 = 100, unit("events"), restart();
        /// The longest time for one Bundle.
        timeout: Duration = Duration::from_secs(30), restart();
    }
    check AuditRepository::check
}

words! {
    /// How ids are written.
    pub(crate) enum IdForm {
        /// As a keyed hash (HMAC-SHA-256): the same for the same patient, and nothing to whoever has no key.
        Hashed = "hashed",
        /// As they are.
        Plain = "plain",
        /// Not at all: then no accounting of disclosures can be made.
        None = "none",
    }
}

words! {
    /// When records are forced to the disk itself.
    pub(crate) enum Sync {
        /// Before the end of each answer leaves; one write serves all answers that wait.
        Each = "each",
        /// Every `sync_interval`: a power failure can lose that much.
        Interval = "interval",
        /// When the system does.
        None = "none",
    }
}

impl Audit {
    /// Whether there is any place for records.
    #[must_use]
    pub(crate) fn is_on(&self) -> bool {
        self.folder.is_some() || self.repository.is_some()
    }

    fn check(self, section: &Section<'_>, findings: &mut Findings) -> Option<Self> {
        if self.required && !self.is_on() {
            let problem = section.place_of("required").problem("is true, and nothing is recorded anywhere");
            findings.problem(problem.remedy("write  folder: state/audit"));
        }
        let is_name =
            (1..=255).contains(&self.name.len()) && self.name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'+');
        if !is_name {
            let problem = section.place_of("name").problem("is no name of a log");
            findings.problem(problem.remedy("write it without blanks and +, like  gateway.example.org/audit"));
        }
        Some(self)
    }
}

impl AuditRepository {
    fn check(self, section: &Section<'_>, findings: &mut Findings) -> Option<Self> {
        if self.url.as_ref().is_some_and(|url| !url.https && !url.is_loopback()) {
            let problem = section.place_of("url").problem("is not https, and AuditEvents name patients");
            findings.problem(problem.remedy("write it with https://"));
        }
        Some(self)
    }
}
