//! Why a TLS handshake with OpenEMR failed, read from the text in which Pingora keeps rustls's error.
//!
//! Decision: `docs/decisions/27-own-requests.md`.

use std::fmt;

/// A failed handshake, by what an operator can do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TlsFailure {
    /// The certificate is self-signed, or of a private authority, and not trusted.
    UnknownIssuer,
    /// The certificate is marked as an authority's own, as `openssl req -x509` makes it: no trust makes it valid for a server.
    AuthorityCertificate,
    /// The certificate is for other names.
    OtherName {
        /// The name that was dialled.
        expected: String,
        /// The names in the certificate; empty when there are none.
        presented: String,
    },
    /// The certificate has expired.
    Expired,
    /// The certificate is not valid yet.
    NotValidYet,
    /// The port answers without TLS.
    NotTls,
    /// The server closed the connection during the handshake.
    Closed,
    /// Anything else, in rustls's words.
    Other(String),
}

impl TlsFailure {
    /// Reads the text of a failed handshake.
    #[must_use]
    pub(super) fn parse(text: &str) -> Self {
        const SIGNS: [(&str, TlsFailure); 8] = [
            ("UnknownIssuer", TlsFailure::UnknownIssuer),
            ("CaUsedAsEndEntity", TlsFailure::AuthorityCertificate),
            ("certificate expired", TlsFailure::Expired),
            ("certificate not valid yet", TlsFailure::NotValidYet),
            ("InvalidContentType", TlsFailure::NotTls),
            ("handshake eof", TlsFailure::Closed),
            ("Connection reset", TlsFailure::Closed),
            ("Broken pipe", TlsFailure::Closed),
        ];
        if let Some((_, names)) = text.split_once("certificate not valid for name ") {
            return other_name(names);
        }
        match SIGNS.into_iter().find(|(sign, _)| text.contains(sign)) {
            Some((_, failure)) => failure,
            None => Self::Other(detail(text)),
        }
    }
}

/// Reads `"expected"; certificate is only valid for DnsName("one"), IpAddress(10.0.0.1) or DnsName("two"), …`.
fn other_name(text: &str) -> TlsFailure {
    let expected = text.split('"').nth(1).unwrap_or_default().to_owned();
    let presented = text.split_once("is only valid for ").map_or("", |(_, names)| names);
    let presented = presented.split(", SNI: ").next().unwrap_or_default();
    let presented = presented.replace("DnsName(\"", "").replace("IpAddress(", "").replace("\")", "").replace(')', "");
    TlsFailure::OtherName { expected, presented: presented.trim().to_owned() }
}

/// The innermost error of the text, without Pingora's context around it.
fn detail(text: &str) -> String {
    let text = text.split(", SNI: ").next().unwrap_or_default();
    let text = text.rsplit_once("cause: ").map_or(text, |(_, inner)| inner);
    let text = text.rsplit_once("tls connect error: ").map_or(text, |(_, inner)| inner);
    text.replace(char::is_control, " ").trim().to_owned()
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownIssuer => f.write_str("its certificate is self-signed, or of a private authority (UnknownIssuer)"),
            Self::AuthorityCertificate => {
                f.write_str("its certificate is marked as that of an authority, which a server's must not be (CaUsedAsEndEntity)")
            }
            Self::OtherName { expected, presented } if presented.is_empty() => {
                write!(f, "its certificate is not valid for name {expected}, nor for any other: it has no subjectAltName")
            }
            Self::OtherName { expected, presented } => {
                write!(f, "its certificate is not valid for name {expected}, only for {presented}")
            }
            Self::Expired => f.write_str("its certificate has expired"),
            Self::NotValidYet => f.write_str("its certificate is not valid yet, or this machine's clock is wrong"),
            Self::NotTls => f.write_str("the port does not speak TLS"),
            Self::Closed => f.write_str("it closed the connection in the TLS handshake"),
            Self::Other(detail) => write!(f, "the TLS handshake failed: {detail}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_certificate_are_read() {
        for (text, expected, presented) in [
            (
                r#"certificate not valid for name "emr.example"; certificate is only valid for DnsName("a.example"), SNI: emr.example"#,
                "emr.example",
                "a.example",
            ),
            (
                r#"x: certificate not valid for name "10.0.0.5"; certificate is only valid for DnsName("a"), DnsName("b") or IpAddress(127.0.0.1), SNI: 10.0.0.5 cause: y"#,
                "10.0.0.5",
                "a, b or 127.0.0.1",
            ),
            (
                r#"certificate not valid for name "a"; certificate is not valid for any names (according to its subjectAltName extension), SNI: a"#,
                "a",
                "",
            ),
        ] {
            let names = TlsFailure::OtherName { expected: expected.to_owned(), presented: presented.to_owned() };
            assert_eq!(TlsFailure::parse(text), names, "{text}");
        }
    }

    #[test]
    fn what_nobody_foresaw_is_quoted_without_its_context() {
        let text = "TLS connect() failed:  TLSHandshakeFailure context: tls connect error: received fatal alert: HandshakeFailure, SNI: emr";
        assert_eq!(TlsFailure::parse(text), TlsFailure::Other("received fatal alert: HandshakeFailure".to_owned()));
    }
}
