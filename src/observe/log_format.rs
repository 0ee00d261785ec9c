//! The format of log lines: text, or one JSON object on each line.
//!
//! Decision: `docs/decisions/09-log.md`.

use std::io::{self, Write};

use log::kv::{Error as KvError, Key, Value, VisitSource};
use log::{Level, Record};

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// `2026-11-24T04:00:00.000Z INFO message key=value …`
    Text,
    /// `{"time":"…","level":"info","message":"…","key":"value",…}`
    Json,
}

impl Format {
    /// Writes one record as one line.
    ///
    /// # Errors
    /// Those of `out`.
    pub(crate) fn write(self, out: &mut env_logger::fmt::Formatter, record: &Record<'_>) -> io::Result<()> {
        if is_noise(record) {
            return Ok(());
        }
        let time = out.timestamp_millis();
        let message = without_context(record);
        match self {
            Self::Text => {
                write!(out, "{time} {:5} {}", record.level(), one_line(&message))?;
                let _ = record.key_values().visit(&mut Text(out));
            }
            Self::Json => {
                write!(out, r#"{{"time":"{time}","level":"{}","message":"#, level(record.level()))?;
                serde_json::to_writer(&mut *out, &message)?;
                let _ = record.key_values().visit(&mut Json(out));
                out.write_all(b"}")?;
            }
        }
        out.write_all(b"\n")
    }
}

/// Returns whether a record reports no problem: Pingora logs an error when it takes another connection because the pool is
/// checking the first one, and when a new process waits for the listeners of the old one.
fn is_noise(record: &Record<'_>) -> bool {
    match record.target() {
        "pingora_core::connectors" => record.level() == Level::Error,
        "pingora_core::server::transfer_fd" => record.args().to_string().starts_with("No incoming socket transfer"),
        _ => false,
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

/// Returns the message. Of Pingora's messages it returns the part before context and cause, which can contain bytes from the
/// wire, request lines with their queries included.
fn without_context(record: &Record<'_>) -> String {
    let message = record.args().to_string();
    if !record.target().starts_with("pingora") {
        return message;
    }
    let end = [" context:", " cause:", "buf:", "\""].iter().filter_map(|mark| message.find(mark)).min();
    let kept = end.and_then(|end| message.get(..end)).unwrap_or(&message);
    format!("pingora: {}", kept.trim_end())
}

fn one_line(message: &str) -> String {
    message.replace(['\n', '\r'], " ")
}

struct Text<'a>(&'a mut dyn Write);

impl<'kvs> VisitSource<'kvs> for Text<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), KvError> {
        write!(self.0, " {key}={value}")?;
        Ok(())
    }
}

struct Json<'a>(&'a mut dyn Write);

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
mod tests {
    use super::*;

    fn kept(target: &str, message: &str) -> String {
        without_context(&Record::builder().target(target).args(format_args!("{message}")).build())
    }

    #[test]
    fn only_two_errors_are_noise() {
        let transfer = |text: &str| {
            is_noise(&Record::builder().target("pingora_core::server::transfer_fd").args(format_args!("{text}")).build())
        };
        assert!(transfer("No incoming socket transfer, sleep 1s and try again"));
        assert!(!transfer("Giving up reading socket from: /run/a.sock"));
        let noise = |target: &str, level| is_noise(&Record::builder().target(target).level(level).build());
        assert!(noise("pingora_core::connectors", Level::Error));
        assert!(!noise("pingora_core::connectors", Level::Warn));
        assert!(!noise("pingora_core::connectors::l4", Level::Error));
        assert!(!noise("openemr_gateway", Level::Error));
    }

    #[test]
    fn pingoras_context_is_cut() {
        let message = "Fail to proxy: Downstream InvalidHTTPHeader context: buf: GET /fhir/Patient?name=Doe";
        assert_eq!(kept("pingora_proxy", message), "pingora: Fail to proxy: Downstream InvalidHTTPHeader");
        assert_eq!(kept("pingora_core::server", "Bootstrap done"), "pingora: Bootstrap done");
        assert_eq!(kept("openemr_gateway::x", "a context: b"), "a context: b");
    }
}
