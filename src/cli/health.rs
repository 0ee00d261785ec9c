//! `health`: asks a running gateway whether it runs, or is ready, for the probes of containers.
//!
//! Decision: `docs/decisions/58-containers.md`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::StatusCode;
use http::header::{ACCEPT, HeaderValue};
use serde::Deserialize;

use super::outcome::{Failure, Outcome, load, print};
use super::own_requests;
use crate::config::value::duration;
use crate::config::{BaseUrl, ClientDemand, Config, Listener, RoutePath};
use crate::nodes::client::{Limits, Request, Response};
use crate::nodes::client_error::ClientError;
use crate::nodes::origin::Origin;

/// The largest answer that is read: room for the sites of a large gateway.
const LARGEST_ANSWER: usize = 1024 * 1024;

/// The arguments of `health`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  openemr-gateway health --config conf/gateway.yaml\n  openemr-gateway health --ready --url https://gateway.example.org:8443"
)]
pub(super) struct Health {
    /// The gateway's address; /health or /ready is asked below it, unless it has a path
    #[arg(long, value_name = "URL", required_unless_present = "config")]
    url: Option<String>,
    /// The configuration of a gateway on this machine, which says where it listens
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    config: Option<PathBuf>,
    /// A file of KEY=VALUE lines; the process environment wins over it
    #[arg(long, value_name = "FILE", requires = "config")]
    env_file: Option<PathBuf>,
    /// Ask whether requests should be sent to it, not only whether it runs
    #[arg(long)]
    ready: bool,
    /// A PEM file with a private CA, which is trusted besides the system's
    #[arg(long, value_name = "FILE", requires = "url")]
    ca_file: Option<PathBuf>,
    /// How long the answer may take
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = duration)]
    timeout: Duration,
}

/// What is read of an answer: `status` of /health, `ready` of /ready.
#[derive(Deserialize)]
struct Said {
    status: Option<String>,
    ready: Option<bool>,
}

impl Health {
    /// Runs the command.
    ///
    /// # Errors
    /// A gateway that does not answer, or answers with another status than 200.
    pub(super) fn run(self) -> Outcome {
        let (origin, path) = match (&self.url, &self.config) {
            (Some(url), _) => self.by_url(url)?,
            (None, Some(config)) => self.by_config(config)?,
            (None, None) => return Err(vec![Failure::new("no gateway is named", "name it with --url or --config")]),
        };
        let asked = format!("{}{path}", BaseUrl { path: String::new(), ..origin.url().clone() });
        let response = own_requests::wait_for(ask(&origin, path, self.timeout))?;
        let response = response.map_err(|error| Self::unanswered(&error))?;
        match said(&response) {
            Some(word) if response.status == StatusCode::OK => print(&format!("{word}\n")),
            Some(word) => Err(vec![Failure::new(
                format!("{asked}: {word} (status {})", response.status.as_u16()),
                "the gateway's log says why",
            )]),
            None => Err(vec![refused(&asked, &response)]),
        }
    }

    fn by_url(&self, url: &str) -> Result<(Origin, String), Vec<Failure>> {
        let url = own_requests::gateway_url("--url", url, "http://127.0.0.1:8000")?;
        let default = if self.ready { "/ready" } else { "/health" };
        let path = if url.path.is_empty() { default.to_owned() } else { url.path.clone() };
        let authorities = own_requests::authorities(self.ca_file.as_deref())?;
        Ok((Origin::elsewhere(url, "--url", authorities.as_deref()), path))
    }

    fn by_config(&self, file: &Path) -> Result<(Origin, String), Vec<Failure>> {
        let config = load(file, self.env_file.as_deref())?;
        let (route, key) = match self.ready {
            true => (&config.routes.ready, "ready"),
            false => (&config.routes.health, "health"),
        };
        let path = route.as_ref().map(|path: &RoutePath| path.to_string()).ok_or_else(|| {
            let message = format!("{}: routes.{key} is switched off", file.display());
            vec![Failure::new(message, "give it a path, or ask for the other one (--ready)")]
        })?;
        let listener = listener(&config).ok_or_else(|| {
            let message = format!("{}: every listener asks for a client's certificate", file.display());
            vec![Failure::new(message, "add a listener for probes, such as  - address: 127.0.0.1:8001")]
        })?;
        let host = reached_at(listener.address.ip()).to_string();
        let url = BaseUrl { https: listener.tls.is_some(), host, port: listener.address.port(), path: String::new() };
        let chain = listener.tls.as_ref().map(|tls| tls.certified_key.cert.as_slice());
        Ok((Origin::on_this_machine(url, "--config", chain), path))
    }

    fn unanswered(error: &ClientError) -> Vec<Failure> {
        vec![if error.is_timeout() {
            Failure::new(error, "see whether the gateway is busy, or give it longer with --timeout")
        } else {
            Failure::of(error)
        }]
    }
}

async fn ask(origin: &Origin, path: String, timeout: Duration) -> Result<Response, ClientError> {
    let request = Request::get(path, vec![(ACCEPT, HeaderValue::from_static("application/json"))]);
    let limits = Limits { step: None, total: Some(timeout), body: LARGEST_ANSWER };
    own_requests::client().send(origin, request, limits).await
}

/// The listener that a program on this machine asks: one without TLS if there is one, none that demands a certificate.
fn listener(config: &Config) -> Option<&Listener> {
    let demands = |listener: &Listener| {
        let clients = listener.tls.as_ref().and_then(|tls| tls.clients.as_ref());
        clients.is_some_and(|clients| clients.demand == ClientDemand::Required)
    };
    config.listen.iter().filter(|listener| !demands(listener)).min_by_key(|listener| listener.tls.is_some())
}

/// The address at which a listener is reached from this machine.
fn reached_at(listening: IpAddr) -> IpAddr {
    match listening {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}

/// The word of a gateway's answer; `None` where it is none of a gateway's.
fn said(response: &Response) -> Option<&'static str> {
    let said: Said = serde_json::from_slice(&response.body).ok()?;
    match (said.status.as_deref(), said.ready) {
        (Some("ok"), _) => Some("ok"),
        (Some("degraded"), _) => Some("degraded"),
        (Some("down"), _) => Some("down"),
        (None, Some(true)) => Some("ready"),
        (None, Some(false)) => Some("not ready"),
        _ => None,
    }
}

fn refused(asked: &str, response: &Response) -> Failure {
    let status = response.status;
    match status {
        StatusCode::FORBIDDEN => Failure::new(
            format!("{asked}: 403, it may not be called from here"),
            "name this machine's address in access.allow_from",
        ),
        StatusCode::MISDIRECTED_REQUEST => {
            Failure::new(format!("{asked}: 421, it does not go by that name"), "use a name that access.hosts has, or its address")
        }
        _ => {
            Failure::new(format!("{asked}: the answer, {}, is none of this gateway's", status.as_u16()), "is the address right?")
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_unspecified_address_is_reached_by_loopback() {
        for (listening, reached) in [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.0.0.7", "10.0.0.7"), ("::1", "::1")] {
            assert_eq!(reached_at(listening.parse().unwrap()).to_string(), reached);
        }
    }
}
