//! `audit`: what the audit trail says.

use super::audit_disclosures::Disclosures;
use super::audit_search::Search;
use super::audit_tail::Tail;
use super::audit_verify::Verify;
use super::outcome::Outcome;

/// The subcommands of `audit`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Audit {
    /// Print to whom a patient's data were disclosed, when and what for (45 CFR 164.528)
    #[command(
        after_help = "Example:\n  openemr-gateway audit disclosures --patient a34c6e42 --since 2020-11-29 > disclosures.csv"
    )]
    Disclosures(Disclosures),
    /// Print the records that are looked for, one JSON object a line
    #[command(after_help = "Example:\n  openemr-gateway audit search --client lab --outcome refused --since 2026-11-29")]
    Search(Search),
    /// Print the latest records, a line each
    #[command(after_help = "Example:\n  openemr-gateway audit tail --follow")]
    Tail(Tail),
    /// Check that nobody has edited, removed, added or reordered a record, and say which
    #[command(after_help = "Example:\n  openemr-gateway audit verify state/audit")]
    Verify(Verify),
}

impl Audit {
    /// Runs the command.
    ///
    /// # Errors
    /// An invalid configuration; a trail that cannot be read, or not all of it.
    pub(super) fn run(self) -> Outcome {
        match self {
            Self::Disclosures(command) => command.run(),
            Self::Search(command) => command.run(),
            Self::Tail(command) => command.run(),
            Self::Verify(command) => command.run(),
        }
    }
}
