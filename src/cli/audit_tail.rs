//! `audit tail`: the latest records, for people.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use jiff::tz::TimeZone;
use memchr::{memchr, memrchr};

use super::audit_files::{Place, Printer, Stop, names, some_names};
use super::outcome::{Failure, Outcome, say};
use crate::audit::record::Record;
use crate::config::problem::{shown, shown_path};

/// How much of a file is read at once, in bytes.
const CHUNK: usize = 64 * 1024;
/// The longest line that is waited for, in bytes.
const MAX_LINE: usize = 16 * 1024 * 1024;
/// The time between two looks for new records.
const LOOK: Duration = Duration::from_millis(200);

/// The arguments of `audit tail`.
#[derive(Debug, clap::Args)]
pub(super) struct Tail {
    #[command(flatten)]
    place: Place,
    /// How many records
    #[arg(short = 'n', long = "lines", value_name = "N", default_value_t = 20)]
    lines: usize,
    /// Go on with those to come
    #[arg(short, long)]
    follow: bool,
}

/// What was read of a file.
#[derive(Debug, Default)]
struct Position {
    /// How many bytes.
    read: u64,
    /// A line whose end has not come.
    begun: Vec<u8>,
}

/// What prints records.
struct Shown {
    printer: Printer,
    zone: TimeZone,
    has_bad_lines: bool,
}

impl Tail {
    /// Runs the command.
    ///
    /// # Errors
    /// An invalid configuration, a trail that cannot be read, or not all of it.
    pub(super) fn run(self) -> Outcome {
        let folder = self.place.open()?.folder;
        let mut shown = Shown { printer: Printer::default(), zone: TimeZone::system(), has_bad_lines: false };
        match self.print(&folder, &mut shown) {
            Ok(()) if shown.has_bad_lines => Err(Vec::new()),
            Ok(()) | Err(Stop::Closed) => Ok(()),
            Err(Stop::Failed(failures)) => Err(failures),
        }
    }

    fn print(&self, folder: &Path, shown: &mut Shown) -> Result<(), Stop> {
        let mut positions = BTreeMap::new();
        let mut latest = VecDeque::new();
        let names = some_names(folder).map_err(Stop::Failed)?;
        for name in names.into_iter().rev() {
            let path = folder.join(&name);
            let wanted = self.lines.saturating_sub(latest.len());
            if wanted == 0 && !self.follow {
                break;
            }
            let (lines, end) = last_lines(&path, wanted).map_err(|error| unreadable(&path, &error))?;
            positions.insert(name, Position { read: end, begun: Vec::new() });
            lines.into_iter().rev().for_each(|line| latest.push_front((path.clone(), line)));
        }
        for (path, line) in &latest {
            shown.line(path, line)?;
        }
        shown.printer.flush()?;
        if !self.follow {
            return Ok(());
        }
        loop {
            thread::sleep(LOOK);
            look(folder, &mut positions, shown)?;
            shown.printer.flush()?;
        }
    }
}

/// Prints what has come since the last look. A file that is gone is forgotten.
fn look(folder: &Path, positions: &mut BTreeMap<String, Position>, shown: &mut Shown) -> Result<(), Stop> {
    let names = names(folder).map_err(Stop::Failed)?;
    positions.retain(|name, _| names.binary_search(name).is_ok());
    for name in names {
        let path = folder.join(&name);
        let position = positions.entry(name).or_default();
        match position.read_on(&path, shown) {
            Ok(stopped) => stopped?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable(&path, &error)),
        }
    }
    Ok(())
}

impl Position {
    fn read_on(&mut self, path: &Path, shown: &mut Shown) -> io::Result<Result<(), Stop>> {
        let length = path.metadata()?.len();
        if length < self.read {
            // After a crash the gateway cuts off what was written in part.
            *self = Self { read: length, begun: Vec::new() };
        }
        if length == self.read {
            return Ok(Ok(()));
        }
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(self.read))?;
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = file.read(&mut chunk)?;
            if count == 0 {
                return Ok(Ok(()));
            }
            self.read += count as u64;
            let mut rest = chunk.get(..count).unwrap_or_default();
            while let Some(at) = memchr(b'\n', rest) {
                let (line, others) = rest.split_at(at);
                self.begun.extend_from_slice(line);
                let printed = shown.line(path, &self.begun);
                self.begun.clear();
                if printed.is_err() {
                    return Ok(printed);
                }
                rest = others.get(1..).unwrap_or_default();
            }
            // Of a line that no gateway writes the beginning is enough to see that it is no record.
            let free = MAX_LINE.saturating_sub(self.begun.len());
            self.begun.extend_from_slice(rest.get(..rest.len().min(free)).unwrap_or_default());
        }
    }
}

impl Shown {
    fn line(&mut self, path: &Path, line: &[u8]) -> Result<(), Stop> {
        match serde_json::from_slice(line) {
            Ok(record) => self.printer.add(&readable(&record, &self.zone)),
            Err(_) => {
                self.has_bad_lines = true;
                say(format!("error: {}: a line is no record, and was passed over", path.display()));
                Ok(())
            }
        }
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Stop {
    Stop::Failed(vec![Failure::new(format!("{} cannot be read: {error}", shown_path(path)), "see who may read it")])
}

/// The last lines of a file that have a line feed, without it, and where the last of them ends. The file is read from its end.
fn last_lines(path: &PathBuf, wanted: usize) -> io::Result<(Vec<Vec<u8>>, u64)> {
    let mut file = File::open(path)?;
    let mut at = file.seek(SeekFrom::End(0))?;
    let mut lines = VecDeque::new();
    // What has been read in front of the first line that is known.
    let mut rest: Vec<u8> = Vec::new();
    let mut end = None;
    while at > 0 && (end.is_none() || lines.len() < wanted) {
        let from = at.saturating_sub(CHUNK as u64);
        file.seek(SeekFrom::Start(from))?;
        let mut chunk = Vec::new();
        file.by_ref().take(at - from).read_to_end(&mut chunk)?;
        chunk.append(&mut rest);
        rest = chunk;
        while end.is_none() || lines.len() < wanted {
            let Some(found) = memrchr(b'\n', &rest) else { break };
            let line = rest.split_off(found);
            rest.truncate(found);
            if end.is_some() {
                lines.push_front(line.get(1..).unwrap_or_default().to_vec());
            }
            end.get_or_insert(from + found as u64 + 1);
        }
        at = from;
    }
    if at == 0 && end.is_some() && lines.len() < wanted {
        lines.push_front(rest);
    }
    Ok((lines.into(), end.unwrap_or(0)))
}

/// A record on one line, with its line feed.
fn readable(record: &Record, zone: &TimeZone) -> String {
    let time = record.time.to_zoned(zone.clone());
    let mut text = time.strftime("%F %T%.3f%:z").to_string();
    let mut add = |word: &str| {
        let _ = write!(text, "  {}", shown(word));
    };
    let named = |value: Result<serde_json::Value, serde_json::Error>| {
        value.ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    };
    add(&named(serde_json::to_value(record.kind)));
    let status = record.status.map(|status| status.to_string());
    let outcome = record.outcome.map(|outcome| named(serde_json::to_value(outcome)));
    let ended: Vec<String> = status.into_iter().chain(outcome).collect();
    if !ended.is_empty() {
        add(&ended.join(" "));
    }
    let who = record.client.as_deref().map(|client| match record.credential.as_deref() {
        Some(credential) => format!("{client} ({credential})"),
        None => client.to_owned(),
    });
    who.into_iter().chain(record.address.map(|address| address.to_string())).for_each(|word| add(&word));
    let operation = record.operation.as_ref().map(|operation| format!("${operation}"));
    let target = match (record.resource_type.as_deref(), record.id.as_deref()) {
        (Some(named), Some(id)) => Some(format!("{named}/{id}")),
        (named, id) => named.or(id).map(str::to_owned),
    };
    let what: Vec<String> = record.interaction.as_deref().map(str::to_owned).into_iter().chain(operation).chain(target).collect();
    if !what.is_empty() {
        add(&what.join(" "));
    }
    if let Some(entries) = record.entries {
        add(&format!("entries={entries}"));
    }
    if !record.patients.is_empty() {
        add(&format!("patients={}", record.patients.len()));
    }
    if record.patients_unknown {
        add("patients=unknown");
    }
    if let Some(id) = &record.request_id {
        add(&format!("request={id}"));
    }
    record.by.iter().for_each(|line| add(line));
    if let Some(detail) = &record.detail {
        add(detail);
    }
    text.push('\n');
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::audit::record::{Kind, Outcome};
    use jiff::tz::Offset;

    #[test]
    fn a_record_is_one_line_without_control_characters() {
        let record = Record {
            client: Some("lab\u{1b}[31m".into()),
            credential: Some("jwt".into()),
            address: Some([192, 0, 2, 1].into()),
            interaction: Some("read".into()),
            resource_type: Some("Patient".into()),
            id: Some("p1".into()),
            status: Some(200),
            outcome: Some(Outcome::Success),
            entries: Some(1),
            patients: vec!["p1".into()],
            patients_unknown: true,
            request_id: Some("r1".into()),
            detail: Some("two\nlines".into()),
            ..Record::new(Kind::Request, "2026-11-29T07:47:06.123Z".parse().unwrap())
        };
        assert_eq!(
            readable(&record, &TimeZone::fixed(Offset::constant(1))),
            "2026-11-29 08:47:06.123+01:00  request  200 success  lab\u{fffd}[31m (jwt)  192.0.2.1  read Patient/p1  entries=1  \
             patients=1  patients=unknown  request=r1  two\u{fffd}lines\n"
        );
        let bare = Record::new(Kind::Reload, "2026-11-29T07:47:06Z".parse().unwrap());
        assert_eq!(readable(&bare, &TimeZone::UTC), "2026-11-29 07:47:06.000+00:00  reload\n");
    }

    #[test]
    fn the_last_lines_are_found_from_the_end_wherever_chunks_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for length in [1, 5, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let lines: Vec<String> = (0..5).map(|number| number.to_string().repeat(length)).collect();
            for tail in ["", "unended"] {
                let whole = format!("{}\n", lines.join("\n"));
                std::fs::write(&path, format!("{whole}{tail}")).unwrap();
                for wanted in 0..7 {
                    let (found, end) = last_lines(&path, wanted).unwrap();
                    let expected: Vec<Vec<u8>> =
                        lines.iter().skip(5_usize.saturating_sub(wanted)).map(|line| line.as_bytes().to_vec()).collect();
                    assert!(found == expected && end == whole.len() as u64, "{wanted} of {length}, {tail}");
                }
            }
        }
        for (text, end) in [("", 0), ("unended", 0), ("\n", 1)] {
            std::fs::write(&path, text).unwrap();
            let expected: Vec<Vec<u8>> = if end == 1 { vec![vec![]] } else { vec![] };
            assert_eq!(last_lines(&path, 3).unwrap(), (expected, end), "{text:?}");
        }
    }
}
