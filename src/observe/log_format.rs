//! The format of log lines: text, with colours and local time on a terminal, one JSON object on each line, or entries of systemd's
//! journal.
//!
//! Decisions: `docs/decisions/09-log.md` and `docs/decisions/47-log-lines.md`.

use std::borrow::Cow;
use std::io::{self, Write};

use jiff::Zoned;
use log::kv::{Error as KvError, Key, Value, VisitSource};
use log::{Level, Record};

use super::safe_text::{self, Style};
use super::{clock, foreign_message, journal};

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `2026-11-24T04:00:00.000Z INFO message key=value …`
    Text,
    /// The same behind `<6>`, which systemd reads as the priority of what a service writes.
    Service,
    /// The same for a person: local time, and colours.
    Terminal,
    /// `{"time":"…","level":"info","message":"…","key":"value",…}`
    Json,
    /// An entry of the journal: see [`journal`].
    Journal,
}

impl Format {
    /// Writes a record as one line, with this level and this message.
    ///
    /// # Errors
    /// Those of `out`.
    pub(super) fn write(self, out: &mut Vec<u8>, record: &Record<'_>, at: Level, message: &str) -> io::Result<()> {
        self.begin(out, at, message)?;
        if foreign_message::is_own(record.target()) {
            let _ = record.key_values().visit(&mut Fields { format: self, out });
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

    /// Returns the line that says `message` at level WARN.
    pub(super) fn warning(self, message: &str) -> Vec<u8> {
        let mut out = Vec::new();
        // A vector takes everything.
        let _ = self.write_message(&mut out, Level::Warn, message);
        out
    }

    /// Returns the line that stands where `count` lines are missing.
    pub(super) fn lost_line(self, count: u64) -> Vec<u8> {
        let plural = if count == 1 { "" } else { "s" };
        self.warning(&format!("{count} line{plural} lost: they came faster than the log could be written"))
    }

    /// Returns the first of these lines, with its end.
    pub(super) fn first_line(self, lines: &[u8]) -> &[u8] {
        let end = match self {
            Self::Journal => return journal::first_entry(lines),
            Self::Text | Self::Service | Self::Terminal | Self::Json => memchr::memchr(b'\n', lines),
        };
        end.and_then(|end| lines.get(..=end)).unwrap_or(lines)
    }

    /// Returns a line of this format as standard error shows it.
    pub(super) fn shown(self, line: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Self::Journal => Cow::Owned(journal::text(line)),
            Self::Text | Self::Service | Self::Terminal | Self::Json => Cow::Borrowed(line),
        }
    }

    /// Writes what stands before the fields.
    ///
    /// # Errors
    /// Those of `out`.
    pub(super) fn begin(self, out: &mut Vec<u8>, at: Level, message: &str) -> io::Result<()> {
        match self {
            Self::Text => begin_text(out, at),
            Self::Service => {
                out.extend_from_slice(&[b'<', b'0' + journal::priority(at), b'>']);
                begin_text(out, at);
            }
            Self::Terminal => {
                let (now, colour) = (Zoned::now(), colour(at));
                write!(out, "{DIM}{}{RESET} {colour}{at:5}{RESET} ", now.strftime("%Y-%m-%d %H:%M:%S%.3f"))?;
            }
            Self::Json => {
                out.extend_from_slice(b"{\"time\":\"");
                clock::write_now(out);
                out.extend_from_slice(b"\",\"level\":\"");
                out.extend_from_slice(level(at).as_bytes());
                out.extend_from_slice(b"\",\"message\":");
            }
            Self::Journal => {
                write!(out, "PRIORITY={}\n{}\nTIME=", journal::priority(at), journal::IDENTIFIER)?;
                clock::write_now(out);
                out.extend_from_slice(b"\nMESSAGE=");
            }
        }
        safe_text::write_text(out, self.style(), message);
        Ok(())
    }

    /// Ends the line.
    ///
    /// # Errors
    /// Those of `out`.
    pub(super) fn end(self, out: &mut Vec<u8>) -> io::Result<()> {
        out.write_all(match self {
            Self::Text | Self::Service | Self::Terminal => b"\n",
            Self::Json => b"}\n",
            Self::Journal => b"\n\n",
        })
    }

    /// Begins a field, whose value comes next.
    pub(super) fn begin_field(self, out: &mut Vec<u8>, key: &str) {
        let pieces = match self {
            Self::Text | Self::Service => [" ", key, "="],
            Self::Json => [",\"", key, "\":"],
            Self::Terminal => {
                out.extend_from_slice(b" ");
                out.extend_from_slice(DIM.as_bytes());
                [key, "=", RESET]
            }
            Self::Journal => {
                out.push(b'\n');
                out.extend(key.bytes().map(|byte| byte.to_ascii_uppercase()));
                ["=", "", ""]
            }
        };
        for piece in pieces {
            out.extend_from_slice(piece.as_bytes());
        }
    }

    /// How text is written in it.
    #[must_use]
    pub(super) fn style(self) -> Style {
        match self {
            Self::Json => Style::Json,
            Self::Text | Self::Service | Self::Terminal | Self::Journal => Style::Plain,
        }
    }
}

const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

fn begin_text(out: &mut Vec<u8>, at: Level) {
    clock::write_now(out);
    out.extend_from_slice(match at {
        Level::Error => b" ERROR ",
        Level::Warn => b" WARN  ",
        Level::Info => b" INFO  ",
        Level::Debug => b" DEBUG ",
        Level::Trace => b" TRACE ",
    });
}

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

/// Writes the fields of a record.
struct Fields<'a> {
    format: Format,
    out: &'a mut Vec<u8>,
}

impl<'kvs> VisitSource<'kvs> for Fields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), KvError> {
        let out = &mut *self.out;
        self.format.begin_field(out, key.as_str());
        if self.format == Format::Json {
            if let Some(number) = value.to_u64() {
                return Ok(write!(out, "{number}")?);
            } else if let Some(number) = value.to_f64().filter(|number| number.is_finite()) {
                return Ok(write!(out, "{number}")?);
            } else if let Some(flag) = value.to_bool() {
                return Ok(write!(out, "{flag}")?);
            }
        }
        safe_text::write(out, self.format.style(), value);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn line(format: Format, target: &str, message: &str) -> String {
        line_with(format, target, message, "health")
    }

    fn line_with(format: Format, target: &str, message: &str, route: &str) -> String {
        let mut out = Vec::new();
        let values = [("route", route)];
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
    fn a_field_does_not_leave_its_line() {
        let route = "a\r\nPRIORITY=0\u{1b}[31m\u{9b}0m";
        for format in [Format::Text, Format::Service, Format::Json] {
            let text = line_with(format, "openemr_gateway", "x", route);
            assert!(text.lines().count() == 1 && !text.trim_end().contains(char::is_control), "{text:?}");
        }
        let json: serde_json::Value = serde_json::from_str(&line_with(Format::Json, "openemr_gateway", "x", route)).unwrap();
        assert_eq!(json["route"], route);
        let entry = line_with(Format::Journal, "openemr_gateway", "a\n\nb", route);
        let fields: Vec<&str> = entry.strip_suffix("\n\n").unwrap().lines().map(|line| line.split_once('=').unwrap().0).collect();
        assert_eq!(fields, ["PRIORITY", "SYSLOG_IDENTIFIER", "TIME", "MESSAGE", "ROUTE"], "{entry}");
    }

    #[test]
    fn a_service_says_how_important_a_line_is() {
        let text = line(Format::Service, "openemr_gateway", "x");
        assert!(text.starts_with("<6>20") && text.ends_with(" INFO  x route=health\n"), "{text}");
    }

    #[test]
    fn of_other_crates_no_value_is_written() {
        for format in [Format::Text, Format::Service, Format::Terminal, Format::Json, Format::Journal] {
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
