//! Why a request to OpenEMR got no usable answer: the URL, the cause in an operator's words, and the configuration key that
//! mends it. For the log alone: callers are told neither addresses nor names.
//!
//! A [`Cause`] never quotes what was on the wire, which can be patient data: of a connection that broke it has Pingora's
//! name for the error and the system's, of an answer its status and where it redirects to, without the query.
//!
//! Decision: `docs/decisions/27-own-requests.md`.

use std::fmt;

use http::StatusCode;
use pingora::{Error, ErrorSource, ErrorType};

use crate::config::BaseUrl;
use crate::nodes::resolve::ResolveError;
use crate::nodes::tls_failure::TlsFailure;

/// One of OpenEMR's URLs, and the configuration key that it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The URL; it has neither userinfo nor query.
    pub url: BaseUrl,
    /// The key below `sites.{site}` that names it, or the option of a command with which the gateway itself is asked.
    pub key: &'static str,
}

/// What is known of an answer that is of no use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unusable<'a> {
    /// The status.
    pub status: StatusCode,
    /// The Location field.
    pub location: Option<&'a str>,
    /// The Content-Type field.
    pub content_type: Option<&'a str>,
    /// The body, or its beginning; empty where it was not read.
    pub body: &'a [u8],
}

/// Why there is no usable answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The name has no address.
    Unresolved(String),
    /// Nothing listens there.
    Refused,
    /// The network does not lead there.
    NoRoute,
    /// No connection came about in time.
    ConnectTimeout,
    /// The system makes no connection to that address; what it says.
    NoConnection(String),
    /// The TLS handshake failed.
    Tls(TlsFailure),
    /// A port that speaks TLS was addressed without.
    TlsPort,
    /// The connection was closed, or broke, before the answer was whole.
    Closed(String),
    /// No answer came in time.
    ReadTimeout,
    /// The answer is not HTTP, or breaks its rules.
    NotHttp,
    /// The answer leads elsewhere.
    Redirect {
        /// Its status.
        status: StatusCode,
        /// Where to; `None` when Location is no plain URL.
        to: Option<BaseUrl>,
    },
    /// Nothing of the kind is at that path: a web page, or a status that says so.
    WrongPath {
        /// The status.
        status: StatusCode,
        /// Whether a web page came.
        is_page: bool,
    },
    /// A status that is no answer to the request.
    Status(StatusCode),
    /// Anything else, in Pingora's words.
    Other(String),
}

/// A cause at its place; prints as one line for the log.
#[derive(Debug)]
pub(crate) struct Explained<'a> {
    place: &'a Place,
    cause: Cause,
}

impl Place {
    /// Explains a transport error.
    #[must_use]
    pub(crate) fn explain(&self, error: &Error) -> Explained<'_> {
        self.with(Cause::of_transport(&self.url, error))
    }

    /// Explains an answer that is of no use.
    #[must_use]
    pub(crate) fn explain_answer(&self, answer: Unusable<'_>) -> Explained<'_> {
        self.with(Cause::of_answer(&self.url, answer))
    }

    /// Puts a cause at this place.
    #[must_use]
    pub(crate) fn with(&self, cause: Cause) -> Explained<'_> {
        Explained { place: self, cause }
    }
}

impl Explained<'_> {
    /// Whether it says more of an answer than its status.
    #[must_use]
    pub(crate) fn has_remedy(&self) -> bool {
        !matches!(self.cause, Cause::Status(_) | Cause::Other(_))
    }
}

impl Cause {
    fn of_transport(url: &BaseUrl, error: &Error) -> Self {
        use ErrorType::*;
        match error.etype() {
            ConnectRefused => Self::Refused,
            ConnectNoRoute => Self::NoRoute,
            ConnectTimedout | TLSHandshakeTimedout => Self::ConnectTimeout,
            ConnectError => match error.root_cause().downcast_ref::<std::io::Error>() {
                Some(io) => Self::NoConnection(io.to_string()),
                None => Self::Other(summary(error)),
            },
            TLSHandshakeFailure | InvalidCert | HandshakeError => Self::Tls(TlsFailure::parse(&error.to_string())),
            ReadTimedout | WriteTimedout => Self::ReadTimeout,
            InvalidHTTPHeader | H1Error if !url.https && quotes_tls(error) => Self::TlsPort,
            InvalidHTTPHeader | H1Error => Self::NotHttp,
            ReadError | WriteError | ConnectionClosed => Self::Closed(summary(error)),
            _ => Self::Other(summary(error)),
        }
    }

    fn of_answer(url: &BaseUrl, answer: Unusable<'_>) -> Self {
        let Unusable { status, .. } = answer;
        let is_page = answer.content_type.is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/html"));
        if status.is_redirection() {
            return Self::Redirect { status, to: answer.location.and_then(|location| target(url, location)) };
        }
        if !url.https && status == StatusCode::BAD_REQUEST && says_tls_is_due(answer.body) {
            return Self::TlsPort;
        }
        if is_page && !status.is_server_error() || matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
            return Self::WrongPath { status, is_page };
        }
        Self::Status(status)
    }
}

impl From<&ResolveError> for Cause {
    fn from(error: &ResolveError) -> Self {
        Self::Unresolved(error.to_string())
    }
}

impl Explained<'_> {
    /// What happened, in an operator's words, without the URL.
    #[must_use]
    pub(crate) fn cause(&self) -> String {
        match &self.cause {
            Cause::Unresolved(problem) => problem.clone(),
            Cause::Refused => "nothing listens there (Connection refused)".to_owned(),
            Cause::NoRoute => "there is no route to that address (No route to host)".to_owned(),
            Cause::ConnectTimeout => "no connection within timeouts.connect and timeouts.total_connect".to_owned(),
            Cause::NoConnection(problem) => format!("no connection came about ({problem})"),
            Cause::Tls(failure) => failure.to_string(),
            Cause::TlsPort => "the port speaks TLS, and http was spoken to it".to_owned(),
            Cause::Closed(summary) => format!("the connection was closed before the answer was whole ({summary})"),
            Cause::ReadTimeout => "no answer came in time (the limits are under timeouts)".to_owned(),
            Cause::NotHttp => "the answer is not HTTP".to_owned(),
            Cause::Redirect { status, to } => redirect(&self.place.url, *status, to.as_ref()),
            Cause::WrongPath { status, is_page } => {
                let page = if *is_page { " with an HTML page" } else { "" };
                format!("OpenEMR's API is not there, the answer is {}{page}", status.as_u16())
            }
            Cause::Status(status) => format!("the answer is status {}", status.as_u16()),
            Cause::Other(summary) => summary.clone(),
        }
    }

    /// What to do about it, or to look at; `None` where nothing is known. What begins with a small letter goes on from the cause.
    #[must_use]
    pub(crate) fn remedy(&self) -> Option<String> {
        let Place { url, key } = self.place;
        Some(match &self.cause {
            Cause::Unresolved(_) => format!("is the name in {key} right?"),
            Cause::Refused => {
                let server = if matches!(*key, "--url" | "--config" | "--admin") { "the gateway" } else { "OpenEMR" };
                format!("is {server} running, and the port in {key} right?")
            }
            Cause::NoRoute | Cause::NoConnection(_) => format!("is the address in {key} right?"),
            Cause::ConnectTimeout => format!("is a firewall in between, or the address in {key} wrong?"),
            Cause::Tls(failure) => tls_remedy(failure, url, key),
            Cause::TlsPort => format!("Write https:// in {key}"),
            Cause::NotHttp => format!("is the port in {key} right?"),
            Cause::Redirect { to: Some(_), .. } => format!("Write that address in {key}"),
            Cause::Redirect { to: None, .. } => format!("Write the final address in {key}"),
            Cause::WrongPath { .. } => path_remedy(url, key),
            Cause::Closed(_) | Cause::ReadTimeout | Cause::Status(_) | Cause::Other(_) => return None,
        })
    }

    /// Whether the certificate is not trusted because its issuer is not.
    #[must_use]
    pub(crate) fn is_unknown_issuer(&self) -> bool {
        self.cause == Cause::Tls(TlsFailure::UnknownIssuer)
    }
}

impl fmt::Display for Explained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place.url, self.cause())?;
        match self.remedy() {
            Some(remedy) if remedy.starts_with(|c: char| c.is_ascii_lowercase()) => write!(f, ": {remedy}"),
            Some(remedy) => write!(f, ". {remedy}"),
            None => Ok(()),
        }
    }
}

fn tls_remedy(failure: &TlsFailure, url: &BaseUrl, key: &str) -> String {
    match failure {
        TlsFailure::UnknownIssuer => "Name that certificate, or its authority's, in ca_file".to_owned(),
        TlsFailure::AuthorityCertificate => format!(
            "Give OpenEMR's web server another one (openemr-gateway keys certificate --host {} makes one), and name that in ca_file",
            url.host
        ),
        TlsFailure::OtherName { presented, .. } if presented.is_empty() => format!(
            "Give OpenEMR's web server a certificate for that name (openemr-gateway keys certificate --host {} makes one), and name it in ca_file",
            url.host
        ),
        TlsFailure::OtherName { .. } => {
            format!("Write one of the certificate's names in {key}, or give the server a certificate for this one")
        }
        TlsFailure::Expired | TlsFailure::NotValidYet => "Renew it at OpenEMR's web server, or set the clocks".to_owned(),
        TlsFailure::NotTls => {
            format!("Write the port that speaks https in {key}; http:// is for an OpenEMR on this machine alone")
        }
        TlsFailure::Closed | TlsFailure::Other(_) => format!("Is the port in {key} one that speaks TLS 1.2 or 1.3?"),
    }
}

fn redirect(url: &BaseUrl, status: StatusCode, to: Option<&BaseUrl>) -> String {
    let status = status.as_u16();
    match to {
        Some(to) => {
            format!("it redirects to {to} (status {status}){}, and redirects are not followed", likely_reason(url, to))
        }
        None => format!("it redirects elsewhere (status {status}), and redirects are not followed"),
    }
}

/// Why a server is likely to redirect from one address to the other.
fn likely_reason(from: &BaseUrl, to: &BaseUrl) -> &'static str {
    match () {
        () if from.host != to.host => ", so it goes by another name",
        () if !from.https && to.https => ", so it takes https alone",
        () if from.https && !to.https => ", so it takes http, or a proxy in front of it ends TLS",
        () if from.port != to.port => ", so it is at another port",
        () if from.path != to.path => ", so OpenEMR is in another sub-folder, or a page of its own came",
        () => ", so it wants the path to be written otherwise",
    }
}

/// What is wrong with the path, where that can be seen.
fn path_remedy(url: &BaseUrl, key: &str) -> String {
    if key != "openemr" {
        return format!("Is the path in {key} right?");
    }
    let base = url.path.rsplit_once("/oauth2/").or_else(|| url.path.rsplit_once("/apis/")).map_or("", |(base, _)| base);
    let tail = ["/apis", "/oauth2", "/fhir"].iter().filter_map(|mark| base.find(mark)).min();
    match tail.and_then(|at| base.get(at..)) {
        Some(tail) => format!("Take {tail} out of openemr: it is OpenEMR's address with its sub-folder alone"),
        None if base.is_empty() => "Is OpenEMR in a sub-folder of that server? It belongs in openemr".to_owned(),
        None => format!("Is {base} OpenEMR's sub-folder? It stands in openemr"),
    }
}

/// Where a Location field leads, seen from `url`. Of its path only what can hold no patient data is kept: the one that was
/// configured, or that of a token endpoint.
fn target(url: &BaseUrl, location: &str) -> Option<BaseUrl> {
    let location = location.split(['?', '#']).next().unwrap_or_default();
    let to = if location.starts_with('/') && !location.starts_with("//") {
        BaseUrl::parse(&BaseUrl { path: location.to_owned(), ..url.clone() }.to_string()).ok()?
    } else {
        BaseUrl::parse(location).ok()?
    };
    let path = match &to.path {
        path if path.starts_with(&url.path) => url.path.clone(),
        path if path.ends_with("/token") => path.clone(),
        _ => String::new(),
    };
    Some(BaseUrl { path, ..to })
}

/// Whether what Pingora could not parse begins like a TLS record: an alert (21), version 3.
fn quotes_tls(error: &Error) -> bool {
    error.context.as_ref().is_some_and(|context| context.as_str().starts_with("buf: \\x15\\x03"))
}

/// Whether this is what Apache or nginx answers to HTTP on a port that speaks TLS.
fn says_tls_is_due(body: &[u8]) -> bool {
    let signs: [&[u8]; 2] = [b"plain HTTP to an SSL-enabled server port", b"plain HTTP request was sent to HTTPS port"];
    signs.iter().any(|sign| memchr::memmem::find(body, sign).is_some())
}

/// Whether the other side is why no connection stands: it refused, was silent, or failed the handshake. Trouble of this
/// machine, such as having no socket left, is not its fault.
#[must_use]
pub(crate) fn is_no_connection(error: &Error) -> bool {
    use ErrorType::*;
    matches!(
        error.etype(),
        ConnectTimedout
            | ConnectRefused
            | ConnectNoRoute
            | ConnectError
            | TLSHandshakeFailure
            | TLSHandshakeTimedout
            | InvalidCert
            | HandshakeError
    )
}

/// An error of Pingora's in one line, without what was on the wire: of a connection that did not come about everything,
/// of another one Pingora's name for the error and the system's.
#[must_use]
pub(crate) fn summary(error: &Error) -> String {
    let (source, kind) = (error.esource().as_str(), error.etype());
    if is_no_connection(error) && *error.esource() != ErrorSource::Downstream {
        return error.to_string().replace(char::is_control, " ").trim().to_owned();
    }
    match error.root_cause().downcast_ref::<std::io::Error>() {
        Some(io) => format!("{source} {} ({io})", kind.as_str()),
        None => format!("{source} {}", kind.as_str()),
    }
    .trim()
    .to_owned()
}

#[cfg(test)]
mod tests;
