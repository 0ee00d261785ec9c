//! `token`: makes a token exchange as the gateway does, and says what the token is good for.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::outcome::{Failure, Outcome, load, print};
use super::own_requests;
use crate::config::problem::shown;
use crate::config::{CONFIG_FILE, Site};
use crate::nodes::Nodes;
use crate::scopes::scope::Scope;
use crate::smart::exchange::TokenEndpoint;
use crate::smart::exchanged::{ExchangeError, Exchanged};

/// The arguments of `token`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  openemr-gateway token --config conf/gateway.yaml")]
pub(super) struct Token {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = CONFIG_FILE)]
    config: PathBuf,
    /// A file of KEY=VALUE lines; the process environment wins over it
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// The site; the first one unless it is named
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    /// Print the token, too: whoever has it can read patient data until it ends
    #[arg(long)]
    show: bool,
}

/// What an exchange was made with, and what came of it.
pub(super) struct Made {
    exchanged: Exchanged,
    /// The URL that was asked.
    endpoint: String,
    /// The key that signed.
    kid: String,
}

impl Token {
    /// Runs the command.
    ///
    /// # Errors
    /// An invalid configuration, and whatever kept a usable token from coming back.
    pub(super) fn run(self) -> Outcome {
        let config = load(&self.config, self.env_file.as_deref())?;
        let site = config.site(self.site.as_deref()).map_err(|problem| vec![problem.into()])?;
        let made = own_requests::wait_for(exchange(Arc::clone(site)))?.map_err(|error| {
            let message = format!("site {}: {error}", site.name.as_str());
            vec![Failure::new(message, "docs/troubleshooting.md has what helps, by cause")]
        })?;
        let mut text = described(site, &made);
        if self.show {
            let _ = writeln!(text, "{:<12} {}", "token", made.exchanged.grant.access_token.as_str());
        } else {
            let _ = writeln!(text, "{:<12} not shown; --show prints it", "token");
        }
        print(&text)
    }
}

/// Makes one exchange, as a gateway with this configuration would at its start.
///
/// # Errors
/// Whatever kept a usable token from coming back.
pub(super) async fn exchange(site: Arc<Site>) -> Result<Made, ExchangeError> {
    let nodes = Arc::new(Nodes::new(&site));
    let mut endpoint = TokenEndpoint::alone(site, nodes, own_requests::client());
    let exchanged = endpoint.exchange().await?;
    Ok(Made { exchanged, endpoint: endpoint.asked().unwrap_or_default().to_owned(), kid: endpoint.kid() })
}

/// What the token is good for, one fact a line. What comes from OpenEMR is shown without control characters.
fn described(site: &Site, made: &Made) -> String {
    let grant = &made.exchanged.grant;
    let claims = claims(&grant.access_token);
    let claim = |name: &str| claims.as_ref().and_then(|claims| claims.get(name)?.as_str()).unwrap_or("not said");
    let mut text = String::new();
    let lines = [
        ("site", site.name.as_str().to_owned()),
        ("endpoint", made.endpoint.clone()),
        ("audience", site.token.audience.clone().unwrap_or_else(|| made.endpoint.clone())),
        ("client", site.token.client_id.clone()),
        ("kid", made.kid.clone()),
        ("issuer", claim("iss").to_owned()),
        ("expires in", format!("{} s", grant.expires_in.as_secs())),
    ];
    for (name, value) in lines {
        let _ = writeln!(text, "{name:<12} {}", shown(&value));
    }
    let granted: Vec<&str> = grant.scope.split_whitespace().collect();
    let missing: Vec<&str> = site.token.scopes.missing_from(&grant.scope).into_iter().map(Scope::as_str).collect();
    for (name, scopes) in [("scopes", granted), ("not granted", missing)] {
        for (index, scope) in scopes.iter().enumerate() {
            let _ = writeln!(text, "{:<12} {}", if index == 0 { name } else { "" }, shown(scope));
        }
    }
    text
}

/// The claims of an access token that is a JWT, as OpenEMR's are. They are shown, not relied on: nothing verifies them.
fn claims(token: &str) -> Option<Value> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}
