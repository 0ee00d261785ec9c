//! The format of log lines: text, or one JSON object on each line.
//!
//! Decision: `docs/decisions/09-log.md`.

use std::borrow::Cow;
use std::io::{self, Write};

use jiff::Timestamp;
use log::kv::{Error as KvError, Key, Value, VisitSource};
use log::{Level, Record};

use super::foreign_message;

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// `2026-11-24T04:00:00.000Z INFO message key=value …`
    Text,
    /// `{"time":"…","level":"info","message":"…","key":"value",…}`
    Json,
}

impl Format {
    /// Writes one record as one line, or nothing if it is noise. Of another crate's message it writes only what cannot hold data.
    ///
    /// # Errors
    /// Those of `out`.
    pub(super) fn write(self, out: &mut Vec<u8>, record: &Record<'_>) -> io::Result<()> {
        let is_own = foreign_message::is_own(record.target());
        if !is_own && foreign_message::is_noise(record) {
            return Ok(());
        }
        let message = match record.args().as_str() {
            _ if !is_own => Cow::Owned(foreign_message::safe_part(record)),
            Some(constant) => Cow::Borrowed(constant),
            None => Cow::Owned(record.args().to_string()),
        };
        self.begin(out, record.level(), &message)?;
        if is_own {
            let _ = match self {
                Self::Text => record.key_values().visit(&mut Text(out)),
                Self::Json => record.key_values().visit(&mut Json(out)),
            };
        }
        self.end(out)
    }

    /// Returns the line that stands where `count` lines are missing.
    pub(super) fn lost_line(self, count: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let plural = if count == 1 { "" } else { "s" };
        let message = format!("{count} line{plural} lost: they came faster than the log could be written");
        // A vector takes everything.
        let _ = self.begin(&mut out, Level::Warn, &message).and_then(|()| self.end(&mut out));
        out
    }

    fn begin(self, out: &mut Vec<u8>, at: Level, message: &str) -> io::Result<()> {
        let time = Timestamp::now();
        match self {
            Self::Text => write!(out, "{time:.3} {at:5} {}", one_line(message)),
            Self::Json => {
                write!(out, r#"{{"time":"{time:.3}","level":"{}","message":"#, level(at))?;
                Ok(serde_json::to_writer(out, message)?)
            }
        }
    }

    fn end(self, out: &mut Vec<u8>) -> io::Result<()> {
        out.write_all(match self {
            Self::Text => b"\n",
            Self::Json => b"}\n",
        })
    }
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
        format.write(&mut out, &record.args(format_args!("{message}")).build()).unwrap();
        String::from_utf8(out).unwrap()
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
        for format in [Format::Text, Format::Json] {
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
