//! The token exchange as the gateway makes it, and what was granted.

use std::sync::Arc;

use crate::config::Site;
use crate::diagnosis::discovered::audience_remedy;
use crate::diagnosis::outcome::{Area, Finding, Step};
use crate::diagnosis::subject::Subject;
use crate::diagnosis::walk::Walk;
use crate::nodes::client::Client;
use crate::smart::exchange::TokenEndpoint;
use crate::smart::exchanged::ExchangeError;
use crate::smart::remedy::REGISTER_ANEW;
use crate::smart::token::AccessToken;
use crate::smart::token_response::TokenError;

/// Makes one exchange, and compares the scopes. `other_audience`: OpenEMR's token endpoint by its own account, if that is another.
pub(super) async fn exchange(
    walk: &mut Walk<'_>,
    client: &Client,
    subject: &Subject,
    site: &Arc<Site>,
    other_audience: Option<&str>,
) -> Option<AccessToken> {
    let asking = walk.begin(Step::Token, ASK);
    let mut endpoint = TokenEndpoint::alone(Arc::clone(site), Arc::clone(&subject.nodes), client.clone());
    let exchanged = endpoint.exchange().await;
    let used = used(subject, site);
    let exchanged = match exchanged {
        Ok(exchanged) => exchanged,
        Err(error) => {
            walk.end(asking, failed(&error, &used, other_audience));
            walk.skip(Step::Scopes, COMPARE, Step::Token);
            return None;
        }
    };
    let Some(token) = AccessToken::new(exchanged.grant, 1, exchanged.requested_at) else {
        walk.end(asking, Finding::failed("a token that no field can carry").remedy("see OpenEMR's own log".to_owned()));
        walk.skip(Step::Scopes, COMPARE, Step::Token);
        return None;
    };
    walk.end(asking, Finding::ok(format!("a token for {} s; {used}", token.life.as_secs())));
    let comparing = walk.begin(Step::Scopes, COMPARE);
    walk.end(comparing, scopes(site, &token.scope));
    Some(token)
}

pub(super) const ASK: &str = "get an access token";
pub(super) const COMPARE: &str = "compare the granted scopes with those asked for";

/// What the assertion was made with.
fn used(subject: &Subject, site: &Site) -> String {
    let audience = subject.nodes.by_health(0).find_map(|node| subject.audience(node));
    let aud = audience.unwrap_or_else(|| "unknown".to_owned());
    format!("client_id {}, kid {}, aud {aud}", site.token.client_id, site.keys.kid)
}

fn failed(error: &ExchangeError, used: &str, other_audience: Option<&str>) -> Finding {
    let finding = match error {
        ExchangeError::Answer { error: TokenError::Refused(refusal), .. } => {
            let hint = refusal.hint.as_ref().map(|hint| format!(", hint {hint:?}")).unwrap_or_default();
            Finding::failed(format!("{} {}: {:?}{hint}; {used}", refusal.status, refusal.error, refusal.description))
        }
        ExchangeError::Answer { error: TokenError::NothingGranted, .. } => {
            Finding::failed(format!("200 with an empty scope; {used}"))
        }
        ExchangeError::Answer { explanation: Some(_), .. } | ExchangeError::BrokenOff(_) => {
            Finding::failed("no usable answer").in_area(Area::Network)
        }
        ExchangeError::Answer { .. } => Finding::failed("no usable answer"),
        ExchangeError::TimedOut { .. } | ExchangeError::Unreachable(_) | ExchangeError::Unknown(_) => {
            Finding::failed("no answer").in_area(Area::Network)
        }
        ExchangeError::Signing(_) => Finding::failed("no assertion could be signed").in_area(Area::Here),
    };
    let is_assertion = matches!(
        error,
        ExchangeError::Answer { error: TokenError::Refused(refusal), .. } if refusal.is_about_the_assertion()
    );
    let remedy = match other_audience.filter(|_| is_assertion) {
        Some(audience) => Some(audience_remedy(audience)),
        None => error.remedy(),
    };
    finding.cause(error.cause()).remedy_or_log(remedy)
}

fn scopes(site: &Site, granted: &str) -> Finding {
    let asked = &site.token.scopes;
    let missing: Vec<&str> = asked.missing_from(granted).into_iter().map(|scope| scope.as_str()).collect();
    let count = asked.iter().count();
    if missing.is_empty() {
        return Finding::ok(format!("all {count} are granted"));
    }
    Finding::warning(format!("{} of {count} are granted", count - missing.len()))
        .cause(format!(
            "not granted: {}. The client is not registered for them, and OpenEMR leaves them out silently",
            missing.join(", ")
        ))
        .remedy(format!("take them out of scopes, or {REGISTER_ANEW}"))
}
