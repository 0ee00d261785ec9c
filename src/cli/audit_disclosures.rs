//! `audit disclosures`: an accounting of a patient's disclosures.

use jiff::Timestamp;

use super::audit_files::{Place, Printer, Reader, Stop, since, until};
use super::outcome::{Outcome, say};
use crate::audit::disclosures::{Accounting, Disclosure, Doubts};
use crate::audit::period::Period;

/// The arguments of `audit disclosures`.
#[derive(Debug, clap::Args)]
pub(super) struct Disclosures {
    #[command(flatten)]
    place: Place,
    /// The id of the Patient, as OpenEMR's FHIR API has it
    #[arg(long, value_name = "ID")]
    patient: String,
    /// From this day on (your time zone), or this time (RFC 3339)
    #[arg(long, value_name = "DATE", value_parser = since)]
    since: Timestamp,
    /// Until this day, which is included, or this time
    #[arg(long, value_name = "DATE", value_parser = until)]
    until: Option<Timestamp>,
    /// The form of the output
    #[arg(long, value_name = "FORM", default_value = "csv")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Comma-separated values with a heading (RFC 4180)
    Csv,
    /// An array of JSON objects
    Json,
}

/// Prints disclosures.
struct Table {
    printer: Printer,
    format: Format,
    has_rows: bool,
}

impl Disclosures {
    /// Runs the command.
    ///
    /// # Errors
    /// An invalid configuration, a trail without ids, a trail that cannot be read, or not all of it.
    pub(super) fn run(self) -> Outcome {
        let opened = self.place.open()?;
        let patient = opened.sought(&self.patient)?;
        let period = Period { since: Some(self.since), until: self.until };
        let mut accounting = Accounting::new(patient, period);
        let mut reader = Reader::open(&opened.folder)?;
        let mut table = Table { printer: Printer::default(), format: self.format, has_rows: false };
        let doubts = table.print(&mut reader, &mut accounting);
        let (left, doubts) = match doubts {
            Ok(()) => accounting.finish(),
            Err(Stop::Closed) => return Ok(()),
            Err(Stop::Failed(failures)) => return Err(failures),
        };
        match table.end(left) {
            Ok(()) => {}
            Err(Stop::Closed) => return Ok(()),
            Err(Stop::Failed(failures)) => return Err(failures),
        }
        tell(doubts);
        reader.outcome()
    }
}

impl Table {
    fn print(&mut self, reader: &mut Reader, accounting: &mut Accounting) -> Result<(), Stop> {
        self.printer.add(&match self.format {
            Format::Csv => Disclosure::csv_heading(),
            Format::Json => "[".to_owned(),
        })?;
        reader.read(|_, record| match accounting.take(record) {
            Some(disclosure) => self.row(&disclosure),
            None => Ok(()),
        })
    }

    fn row(&mut self, disclosure: &Disclosure) -> Result<(), Stop> {
        let mut text = String::new();
        match self.format {
            Format::Csv => disclosure.write_csv(&mut text),
            Format::Json => {
                text.push_str(if self.has_rows { ",\n" } else { "\n" });
                disclosure.write_json(&mut text);
            }
        }
        self.has_rows = true;
        self.printer.add(&text)
    }

    fn end(&mut self, left: Vec<Disclosure>) -> Result<(), Stop> {
        left.iter().try_for_each(|disclosure| self.row(disclosure))?;
        if self.format == Format::Json {
            self.printer.add(if self.has_rows { "\n]\n" } else { "]\n" })?;
        }
        self.printer.flush()
    }
}

/// Says what the accounting cannot.
fn tell(doubts: Doubts) {
    let Doubts { unknown, lost } = doubts;
    say(match unknown {
        0 => "the patients of every answer in this period are known".to_owned(),
        1 => "1 answer in this period may be about patients that could not be found out".to_owned(),
        _ => format!("{unknown} answers in this period may be about patients that could not be found out"),
    });
    say(match lost {
        0 => "no record of this period was lost".to_owned(),
        1 => "1 record of this period was lost".to_owned(),
        _ => format!("{lost} records of this period were lost"),
    });
}
