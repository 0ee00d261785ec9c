//! The format of log lines: text, with colours and local time on a terminal, or one JSON object on each line.
//!
//! Decisions: `docs/decisions/09-log.md` and `docs/decisions/47-log-lines.md`.

use std::borrow::Cow;
use std::io::{self, Write};

use jiff::{Timestamp, Zoned};
use log::kv::{Error as KvError, Key, Value, VisitSource};
use log::{Level, Record};

use super::foreign_message;

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// `2026-11-24T04:00:00.000Z INFO message key=value …`
    Text,
    /// The same for a person: local time, and colours.
    Terminal,
    /// `{"time":"…","level":"info","message":"…","key":"value",…}`
    Json,
}

impl Format {
    /// Writes a record as one line, with this level and this message.
    ///
    /// # Errors
    /// Those of `out`.
    pub(super) fn write(self, out: &mut Vec<u8>, record: &Record<'_>, at: Level, message: &str) -> io::Result<()> {
        self.begin(out, at, message)?;
        if foreign_message::is_own(record.target()) {
            let _ = match self {
                Self::Text => record.key_values().visit(&mut Text(out)),
                Self::Terminal => record.key_values().visit(&mut Coloured(out)),
                Self::Json => record.key_values().visit(&mut Json(out)),
            };
        }
        self.end(out)
    }

    /// Writes a line that belongs to no record.
    ///
    /// # Errors
    /// Those of `out`.
    pub(super) fn write_message(self, out: &mut Vec<u8>, at: Level, message: &str) -> io::Result<()> {
        self.begin(out, at, message)?;
        self.end(out)
    }

    /// Returns the line that stands where `count` lines are missing.
    pub(super) fn lost_line(self, count: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let plural = if count == 1 { "" } else { "s" };
        let message = format!("{count} line{plural} lost: they came faster than the log could be written");
        // A vector takes everything.
        let _ = self.write_message(&mut out, Level::Warn, &message);
        out
    }

    fn begin(self, out: &mut Vec<u8>, at: Level, message: &str) -> io::Result<()> {
        let time = Timestamp::now();
        match self {
            Self::Text => write!(out, "{time:.3} {at:5} {}", one_line(message)),
            Self::Terminal => {
                let (now, colour) = (Zoned::now(), colour(at));
                write!(out, "{DIM}{}{RESET} {colour}{at:5}{RESET} {}", now.strftime("%Y-%m-%d %H:%M:%S%.3f"), one_line(message))
            }
            Self::Json => {
                write!(out, r#"{{"time":"{time:.3}","level":"{}","message":"#, level(at))?;
                Ok(serde_json::to_writer(out, message)?)
            }
        }
    }

    fn end(self, out: &mut Vec<u8>) -> io::Result<()> {
        out.write_all(match self {
            Self::Text | Self::Terminal => b"\n",
            Self::Json => b"}\n",
        })
    }
}

const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

/// Returns the escape sequence that begins the colour of a level.
fn colour(level: Level) -> &'static str {
    match level {
        Level::Error => "\x1b[1;31m",
        Level::Warn => "\x1b[33m",
        Level::Info => "\x1b[32m",
        Level::Debug => "\x1b[34m",
        Level::Trace => DIM,
    }
}

/// Returns what is logged of a record: nothing if it is noise; of another crate's message only what cannot hold data.
pub(super) fn message<'a>(record: &Record<'a>) -> Option<Cow<'a, str>> {
    if !foreign_message::is_own(record.target()) {
        return (!foreign_message::is_noise(record)).then(|| Cow::Owned(foreign_message::safe_part(record)));
    }
    Some(match record.args().as_str() {
        Some(constant) => Cow::Borrowed(constant),
        None => Cow::Owned(record.args().to_string()),
    })
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

fn one_line(message: &str) -> Cow<'_, str> {
    if message.contains(char::is_control) { Cow::Owned(message.replace(char::is_control, " ")) } else { Cow::Borrowed(message) }
}

struct Text<'a>(&'a mut Vec<u8>);

impl<'kvs> VisitSource<'kvs> for Text<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), KvError> {
        write!(self.0, " {key}={value}")?;
        Ok(())
    }
}

struct Coloured<'a>(&'a mut Vec<u8>);

impl<'kvs> VisitSource<'kvs> for Coloured<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), KvError> {
        write!(self.0, " {DIM}{key}={RESET}{value}")?;
        Ok(())
    }
}

struct Json<'a>(&'a mut Vec<u8>);

impl<'kvs> VisitSource<'kvs> for Json<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), KvError> {
        write!(self.0, ",\"{key}\":")?;
        let written = if let Some(number) = value.to_u64() {
            write!(self.0, "{number}")
        } else if let Some(number) = value.to_f64() {
            write!(self.0, "{number}")
        } else if let Some(flag) = value.to_bool() {
            write!(self.0, "{flag}")
        } else {
            serde_json::to_writer(&mut *self.0, &value.to_string()).map_err(io::Error::from)
        };
        Ok(written?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn line(format: Format, target: &str, message: &str) -> String {
        let mut out = Vec::new();
        let values = [("route", "health")];
        let mut record = Record::builder();
        record.target(target).level(Level::Info).key_values(&values);
        let args = format_args!("{message}");
        let record = record.args(args).build();
        let shown = super::message(&record).unwrap();
        format.write(&mut out, &record, Level::Info, &shown).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_terminal_gets_colours_and_no_other_control_character() {
        let text = line(Format::Terminal, "openemr_gateway", "a\nb\u{1b}c");
        assert!(text.contains("\u{1b}[32mINFO \u{1b}[0m a b c \u{1b}[2mroute=\u{1b}[0mhealth\n"), "{text:?}");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn a_record_is_one_line_whatever_is_in_it() {
        let text = line(Format::Text, "openemr_gateway", "a\nb\u{1b}c");
        assert!(text.ends_with(" INFO  a b c route=health\n") && text.lines().count() == 1, "{text}");
        let json: serde_json::Value = serde_json::from_str(&line(Format::Json, "openemr_gateway", "a\n\"b")).unwrap();
        assert_eq!((&json["message"], &json["level"], &json["route"]), (&"a\n\"b".into(), &"info".into(), &"health".into()));
        let time = json["time"].as_str().unwrap();
        assert!(time.len() == 24 && time.ends_with('Z') && time.parse::<Timestamp>().is_ok(), "{time}");
    }

    #[test]
    fn of_other_crates_no_value_is_written() {
        for format in [Format::Text, Format::Terminal, Format::Json] {
            let line = line(format, "h2", "Doe");
            assert!(!line.contains("Doe") && !line.contains("health"), "{line}");
        }
    }

    #[test]
    fn lost_lines_are_reported_in_the_format_of_the_log() {
        let text = String::from_utf8(Format::Text.lost_line(1)).unwrap();
        assert!(text.contains(" WARN  1 line lost:") && text.ends_with('\n'), "{text}");
        let json: serde_json::Value = serde_json::from_slice(&Format::Json.lost_line(70)).unwrap();
        assert!(json["message"].as_str().unwrap().starts_with("70 lines lost:"), "{json}");
    }
}
