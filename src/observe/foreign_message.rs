//! What is logged of a message of another crate: nothing that can come from the wire.
//!
//! Pingora puts causes into its messages, and these quote request lines, header values and what an upstream sent. A message
//! that stands in the program as it is can be logged. Of one with values, the beginning is logged if it is known, then the
//! class of the error and the number of the system's error.
//!
//! Decision: `docs/decisions/09-log.md`.

use log::{Level, Record};

/// The log target of access lines.
pub(super) const ACCESS: &str = "access";

/// The beginnings of Pingora's warnings and errors with values, up to the first value.
const KNOWN: [&str; 26] = [
    "Accept() failed",
    "Downstream handshake error",
    "Error finish sending body to downstream",
    "Fail to proxy",
    "Failed to parse accept-encoding",
    "H2 connection Ping Rx error",
    "H2 handshake error",
    "HTTP server fails to finish the request",
    "HTTP server fails to read from downstream",
    "HTTP server fails to write to downstream",
    "Peer sent more data than expected",
    "Peer sent more data then expected",
    "TLS shutdown failed",
    "Trying to write data over content-length",
    "Upstream h2 body send error",
    "body send error",
    "failed to send error response to downstream",
    "health check task failed",
    "invalid content-length header value",
    "invalid h2 response header",
    "load balancer group update failed",
    "negative content-length header value",
    "send error, draining read buf",
    "tearing down downstream h2 connection",
    "upstream response filter error on 304",
    "Crit: FD mismatch",
];

/// Pingora's sources and types of errors.
const CLASSES: [&str; 32] = [
    "Upstream",
    "Downstream",
    "Internal",
    "ConnectTimedout",
    "ConnectRefused",
    "ConnectNoRoute",
    "ConnectProxyFailure",
    "TLSWantX509Lookup",
    "TLSHandshakeFailure",
    "TLSHandshakeTimedout",
    "InvalidCert",
    "HandshakeError",
    "ConnectError",
    "BindError",
    "AcceptError",
    "SocketError",
    "InvalidHTTPHeader",
    "H1Error",
    "H2Error",
    "InvalidH2",
    "H2Downgrade",
    "ReadError",
    "WriteError",
    "ReadTimedout",
    "WriteTimedout",
    "ConnectionClosed",
    "FileOpenError",
    "FileReadError",
    "FileWriteError",
    "HTTPStatus",
    "InternalError",
    "UnknownError",
];

/// Whether a log target is the gateway's own.
pub(super) fn is_own(target: &str) -> bool {
    let rest = target.strip_prefix("openemr_gateway");
    target == ACCESS || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The beginning of Pingora's error after a TLS handshake that failed, and of that after one that took too long.
const HANDSHAKE: &str = "Downstream handshake ";
/// How the cause of one reads whose client left: a probe of the port, or a scan. The last is the gateway's own, which it reports
/// itself.
const LEFT: [&str; 5] = ["handshake eof", "unexpected end of file", "(os error 32)", "(os error 104)", "too many connections"];

/// Returns whether a record reports that the TLS handshake with a client failed, which is no error of the gateway's.
pub(super) fn is_failed_handshake(record: &Record<'_>) -> bool {
    record.level() == Level::Error
        && record.target() == "pingora_core::services::listening"
        && record.args().to_string().starts_with(HANDSHAKE)
}

/// Returns whether a record reports no problem: Pingora logs an error when it takes another connection because the pool is
/// checking the first one, when a new process waits for the listeners of the old one, and when a client leaves before the end
/// of its TLS handshake.
pub(super) fn is_noise(record: &Record<'_>) -> bool {
    match record.target() {
        "pingora_core::connectors" => record.level() == Level::Error,
        "pingora_core::services::listening" => {
            let message = record.args().to_string();
            message.starts_with(HANDSHAKE) && LEFT.iter().any(|cause| message.contains(cause))
        }
        "pingora_core::server::transfer_fd" => record.args().to_string().starts_with("No incoming socket transfer"),
        _ => false,
    }
}

/// Returns the part of a message that cannot hold data, behind the name of its crate.
pub(super) fn safe_part(record: &Record<'_>) -> String {
    let target = record.target();
    let name = target.split("::").next().unwrap_or_default();
    let name = if name.starts_with("pingora") { "pingora" } else { name };
    if let Some(constant) = record.args().as_str() {
        return format!("{name}: {constant}");
    }
    let message = record.args().to_string();
    // Starting, stopping and handing over: what is quoted there is the configuration.
    if target.starts_with("pingora_core::server") {
        return format!("{name}: {message}");
    }
    match KNOWN.iter().find_map(|known| Some((known, message.strip_prefix(known)?))) {
        Some((known, rest)) => format!("{name}: {known}{}{}", class(behind_address(rest)), system_error(rest)),
        None => format!("{target}: a message of {} bytes is withheld{}", message.len(), system_error(&message)),
    }
}

/// Returns what follows a client's address: ` from 127.0.0.1:4711: …`.
fn behind_address(rest: &str) -> &str {
    rest.strip_prefix(" from ").and_then(|rest| Some(rest.split_once(": ")?.1)).unwrap_or(rest)
}

/// Returns the class of the error at the beginning of `rest`: `: Downstream ReadError`.
fn class(rest: &str) -> String {
    let words = rest.trim_start_matches(|c: char| !c.is_ascii_alphabetic()).split([' ', ',', ':']);
    let known: Vec<&str> = words.take_while(|word| CLASSES.contains(word)).collect();
    if known.is_empty() { String::new() } else { format!(": {}", known.join(" ")) }
}

/// Returns the number of the system's error in a message: ` (os error 24)`.
fn system_error(message: &str) -> String {
    let number = message.rsplit_once("(os error ").and_then(|(_, rest)| rest.split_once(')')?.0.parse::<u16>().ok());
    number.map(|number| format!(" (os error {number})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(target: &str, message: &str) -> String {
        safe_part(&Record::builder().target(target).args(format_args!("{message}")).build())
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
    fn a_probe_of_a_tls_port_is_no_error() {
        let listening = |text: &str| {
            let text = text.to_owned();
            let target = "pingora_core::services::listening";
            let record = |at| {
                let args = format_args!("{text}");
                let record = Record::builder().target(target).level(at).args(args).build();
                (is_noise(&record), is_failed_handshake(&record), safe_part(&record))
            };
            record(Level::Error)
        };
        let failed = |cause: &str| {
            listening(&format!(
                "Downstream handshake error from 127.0.0.1:4711:  TLSHandshakeFailure context: TLS accept() failed: {cause}"
            ))
        };
        assert!(failed("tls handshake eof").0);
        assert!(failed("Connection reset by peer (os error 104)").0);
        let (is_noise, is_handshake, text) = failed("peer is incompatible: Doe");
        assert_eq!((is_noise, is_handshake, &*text), (false, true, "pingora: Downstream handshake error: TLSHandshakeFailure"));
        let (is_noise, is_handshake, _) = listening("Accept() failed Too many open files (os error 24)");
        assert!(!is_noise && !is_handshake);
    }

    #[test]
    fn of_a_message_with_values_only_known_words_are_kept() {
        for (message, expected) in [
            (
                "Fail to proxy: Downstream InvalidHTTPHeader context: buf: GET /fhir/Patient?name=Doe",
                "pingora: Fail to proxy: Downstream InvalidHTTPHeader",
            ),
            ("Fail to proxy: Doe Downstream", "pingora: Fail to proxy"),
            ("invalid content-length header value Doe", "pingora: invalid content-length header value"),
            ("Accept() failed Too many open files (os error 24)", "pingora: Accept() failed (os error 24)"),
            ("Accept() failed (os error Doe)", "pingora: Accept() failed"),
            ("Doe", "pingora_proxy: a message of 3 bytes is withheld"),
        ] {
            assert_eq!(kept("pingora_proxy", message), expected);
        }
        assert_eq!(kept("rustls::conn", "unknown peer Doe"), "rustls::conn: a message of 16 bytes is withheld");
    }

    #[test]
    fn a_message_without_values_is_kept() {
        let constant = Record::builder().target("h2").args(format_args!("no ping")).build();
        assert_eq!(safe_part(&constant), "h2: no ping");
        let path = "/run/a.sock";
        assert_eq!(kept("pingora_core::server::transfer_fd", path), "pingora: /run/a.sock");
    }
}
