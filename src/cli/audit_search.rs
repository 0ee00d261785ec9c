//! `audit search`: the records that are looked for.

use jiff::Timestamp;

use super::audit_files::{Place, Printer, Reader, Stop, since, until};
use super::outcome::Outcome;
use crate::audit::period::Period;
use crate::audit::record;
use crate::audit::selection::{self, Selection};

/// The arguments of `audit search`. A record must be all of what is named.
#[derive(Debug, clap::Args)]
pub(super) struct Search {
    #[command(flatten)]
    place: Place,
    /// The client's name
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// The id of a Patient whom it concerns
    #[arg(long, value_name = "ID")]
    patient: Option<String>,
    /// The resource type
    #[arg(long = "type", value_name = "TYPE")]
    resource_type: Option<String>,
    /// The interaction's code, such as read, search-type or export-file
    #[arg(long, value_name = "CODE")]
    interaction: Option<String>,
    /// What it is about, such as request, token_exchange or lost
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: Option<record::Kind>,
    /// The status of the answer
    #[arg(long, value_name = "STATUS")]
    status: Option<u16>,
    /// How it ended: success, refused, failed or broken_off
    #[arg(long, value_name = "OUTCOME", value_parser = outcome)]
    outcome: Option<record::Outcome>,
    /// From this day on (your time zone), or this time (RFC 3339)
    #[arg(long, value_name = "DATE", value_parser = since)]
    since: Option<Timestamp>,
    /// Until this day, which is included, or this time
    #[arg(long, value_name = "DATE", value_parser = until)]
    until: Option<Timestamp>,
    /// The request's id
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

impl Search {
    /// Runs the command.
    ///
    /// # Errors
    /// An invalid configuration, a trail that cannot be read, or not all of it.
    pub(super) fn run(self) -> Outcome {
        let opened = self.place.open()?;
        let selection = Selection {
            period: Period { since: self.since, until: self.until },
            client: self.client,
            patient: self.patient.map(|patient| opened.sought(&patient)).transpose()?,
            resource_type: self.resource_type,
            interaction: self.interaction,
            kind: self.kind,
            status: self.status,
            outcome: self.outcome,
            request_id: self.request_id,
        };
        let mut reader = Reader::open(&opened.folder)?;
        let mut printer = Printer::default();
        let read = reader.read(|line, record| match selection.has(&record) {
            true => printer.add(line).and_then(|()| printer.add("\n")),
            false => Ok(()),
        });
        match read.and_then(|()| printer.flush()) {
            Ok(()) => reader.outcome(),
            Err(Stop::Closed) => Ok(()),
            Err(Stop::Failed(failures)) => Err(failures),
        }
    }
}

fn kind(name: &str) -> Result<record::Kind, &'static str> {
    selection::kind(name).ok_or(
        "write one of  request, patients, token_exchange, key_rotation, reload, credential_refused, token_issued, forced_refresh, \
         file_begun, file_ended, lost",
    )
}

fn outcome(name: &str) -> Result<record::Outcome, &'static str> {
    selection::outcome(name).ok_or("write one of  success, refused, failed, broken_off")
}
