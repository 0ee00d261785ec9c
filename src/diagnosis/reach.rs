//! The way to a server: its name, a connection, and TLS with what the certificate says.
//!
//! The connection is made by the gateway's own client, so that it fails as the gateway would, and for the same causes.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::{BaseUrl, invalidity};
use crate::diagnosis::certificate::{self, Certificate};
use crate::diagnosis::outcome::{Finding, Step};
use crate::diagnosis::walk::Walk;
use crate::nodes::cause::Cause;
use crate::nodes::client::{Client, Limits};
use crate::nodes::client_error::{ClientError, Stage};
use crate::nodes::origin::Origin;

/// How long the certificate is looked for where no connection was made for the gateway's own sake.
const LOOK_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection may take that is made to see what did not come in time: it, or the handshake behind it.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// Takes the three steps to a server.
///
/// # Errors
/// The step that failed.
pub(super) async fn reach(walk: &mut Walk<'_>, client: &Client, origin: &Origin) -> Result<(), Step> {
    let url = origin.url();
    let looking = walk.begin(Step::Dns, format!("look up {}", url.host));
    let addresses = match origin.addresses().await {
        Ok(addresses) => addresses,
        Err(error) => {
            let explained = origin.place().with(Cause::from(&error));
            walk.end(looking, Finding::failed("no address").cause(explained.cause()).remedy(explained.remedy()));
            skip(walk, url, &[Step::Tcp, Step::Tls], Step::Dns);
            return Err(Step::Dns);
        }
    };
    let shown: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    walk.end(looking, Finding::ok(shown.join(", ")));
    let connecting = walk.begin(Step::Tcp, format!("connect to {}", authority(url)));
    let connected = client.connect(origin, Limits { step: None, total: None, body: 0 }).await.map(drop);
    let is_silent = match &connected {
        Err(error) if url.https && error.is_timeout() => takes_a_connection(&addresses).await,
        Ok(()) | Err(_) => false,
    };
    match &connected {
        Err(error) if error.stage() != Stage::Tls && !is_silent => {
            walk.end(connecting, failed("no connection", error));
            skip(walk, url, &[Step::Tls], Step::Tcp);
            return Err(Step::Tcp);
        }
        Ok(()) | Err(_) => walk.end(connecting, Finding::ok("connected")),
    }
    let securing = walk.begin(Step::Tls, format!("check the certificate of {}", authority(url)));
    if !url.https {
        walk.end(securing, Finding::ok("http: nothing is encrypted, and nothing leaves this machine"));
        return Ok(());
    }
    if is_silent {
        walk.end(securing, silent(origin.place().key));
        return Err(Step::Tls);
    }
    let mut presented = Vec::new();
    for address in addresses {
        presented = certificate::presented(address, &url.host, LOOK_WITHIN).await;
        if !presented.is_empty() {
            break;
        }
    }
    let is_good = connected.is_ok();
    walk.end(securing, judged(url, connected.err().as_ref(), &presented));
    if is_good { Ok(()) } else { Err(Step::Tls) }
}

/// Whether one of these addresses takes a connection now.
async fn takes_a_connection(addresses: &[SocketAddr]) -> bool {
    for address in addresses {
        if timeout(CONNECT_WITHIN, TcpStream::connect(address)).await.is_ok_and(|connected| connected.is_ok()) {
            return true;
        }
    }
    false
}

/// What a server is that takes a connection and does not speak. `key`: the one that names it.
fn silent(key: &str) -> Finding {
    Finding::failed("no handshake")
        .cause("the connection is taken, and the TLS handshake does not end within timeouts.total_connect")
        .remedy(format!("is the port in {key} one that speaks TLS, and is the web server behind it busy, or stopped?"))
}

/// What the handshake and the certificates say together.
fn judged(url: &BaseUrl, error: Option<&ClientError>, presented: &[Certificate]) -> Finding {
    let Some(error) = error else {
        let Some(own) = presented.first() else { return Finding::ok("trusted") };
        return match invalidity(&own.der, SystemTime::now()) {
            Some(soon) => Finding::warning(own.summary())
                .cause(format!("the certificate {soon}"))
                .remedy("renew it at OpenEMR's web server".to_owned()),
            None => Finding::ok(own.summary()),
        };
    };
    let details = presented.first().map(Certificate::described).unwrap_or_default();
    let finding = Finding { details, ..failed("the certificate is not accepted", error) };
    if error.is_unknown_issuer() { trust(url, presented, finding) } else { finding }
}

/// Says which certificate would have to be trusted, and how.
fn trust(url: &BaseUrl, presented: &[Certificate], finding: Finding) -> Finding {
    let Some(last) = presented.last() else { return finding };
    if !last.is_self_issued {
        let remedy = format!(
            "get the certificate of \"{}\" from whoever runs that authority: {} does not send it. Save it as openemr-ca.pem, and \
             write  ca_file: openemr-ca.pem  at the site",
            last.issuer, url.host
        );
        return finding.remedy(remedy);
    }
    let remedy = format!(
        "compare the SHA-256 {} with that of the file at OpenEMR's server. If they are the same, save the certificate by this \
         check with  --save-certificate openemr.pem  and write  ca_file: openemr.pem  at the site",
        last.sha256
    );
    Finding { to_trust: Some(last.clone()), ..finding.remedy(remedy) }
}

fn failed(found: &str, error: &ClientError) -> Finding {
    Finding::failed(found).cause(error.cause()).remedy_or_log(error.remedy())
}

fn skip(walk: &mut Walk<'_>, url: &BaseUrl, steps: &[Step], because: Step) {
    for step in steps {
        let did = match step {
            Step::Tls => format!("check the certificate of {}", authority(url)),
            _ => format!("connect to {}", authority(url)),
        };
        walk.skip(*step, did, because);
    }
}

/// Host and port, the scheme's own port included.
fn authority(url: &BaseUrl) -> String {
    if url.host.contains(':') { format!("[{}]:{}", url.host, url.port) } else { format!("{}:{}", url.host, url.port) }
}
