//! The routes of the admin listener, each a small function to an answer.

use std::time::Instant;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, HeaderValue, RETRY_AFTER};
use http::{Method, StatusCode};
use jiff::Timestamp;
use log::{LevelFilter, info};
use pingora::http::RequestHeader;
use serde::Serialize;

use crate::admin::state::State;
use crate::admin::watch::Watch;
use crate::admin::{gauges, health};
use crate::audit::record::{Kind, Outcome, Record};
use crate::fhir::rejection::whole_seconds;
use crate::http::answer::Answer;
use crate::observe::metrics::{self, Exposition};
use crate::observe::set_log_level;
use crate::smart::refresh_request::NoNewToken;
use crate::smart::schedule::Reason;

/// Answers a request that may be answered.
pub(super) async fn answer(head: &RequestHeader, body: &Bytes, state: &State, watch: &Watch) -> Answer {
    let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
    let is_read = matches!(head.method, Method::GET | Method::HEAD);
    match (path, &head.method) {
        ("/metrics", _) if is_read => metrics(head, state).await,
        ("/health", _) if is_read => Answer::json(StatusCode::OK, &health::health(state)),
        ("/status", _) if is_read => Answer::json(StatusCode::OK, &watch.status()),
        ("/ready", _) if is_read => health::ready(state),
        ("/config", _) if is_read => config(state),
        ("/log-level", _) if is_read => level(log::max_level()),
        ("/log-level", &Method::PUT) => set_level(body),
        ("/refresh", &Method::POST) => refresh(query, state).await,
        ("/reload", &Method::POST) => command("reload", state.process.reload()),
        ("/drain", &Method::POST) => command("drain", state.process.drain()),
        ("/" | "/metrics" | "/health" | "/status" | "/ready" | "/config", _) => Answer::method_not_allowed("GET, HEAD"),
        ("/events", _) => Answer::method_not_allowed("GET"),
        ("/log-level", _) => Answer::method_not_allowed("GET, HEAD, PUT"),
        ("/refresh" | "/reload" | "/drain", _) => Answer::method_not_allowed("POST"),
        _ => Answer::error(StatusCode::NOT_FOUND, "not_found", "There is nothing at this path."),
    }
}

/// `GET /metrics`.
async fn metrics(head: &RequestHeader, state: &State) -> Answer {
    let accept = head.headers.get(http::header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = Exposition::accepted(accept);
    let mut samples = gauges::samples(state).await;
    if let Some(metrics) = metrics::metrics() {
        samples.extend(metrics.samples());
    }
    Answer::new(StatusCode::OK, format.media_type(), Bytes::from(metrics::write(samples, format)))
        .with(CACHE_CONTROL, HeaderValue::from_static("no-store"))
}

/// `GET /config`: the configuration that takes effect, without secrets.
fn config(state: &State) -> Answer {
    let yaml = state.runtime.load().config.effective_yaml();
    Answer::new(StatusCode::OK, "application/yaml; charset=utf-8", Bytes::from(yaml))
        .with(CACHE_CONTROL, HeaderValue::from_static("no-store"))
}

#[derive(Serialize)]
struct Level {
    level: String,
}

fn level(level: LevelFilter) -> Answer {
    Answer::json(StatusCode::OK, &Level { level: level.as_str().to_ascii_lowercase() })
}

/// `PUT /log-level`: until a reload with another `log.level`, or the end of the process.
fn set_level(body: &Bytes) -> Answer {
    let word = std::str::from_utf8(body).unwrap_or_default().trim();
    match word.parse::<LevelFilter>() {
        Ok(wanted) => {
            // The line about it is there in any case.
            set_log_level(wanted.max(LevelFilter::Info));
            info!("the level of the log is {}, as the admin listener was told", wanted.as_str().to_ascii_lowercase());
            set_log_level(wanted);
            level(wanted)
        }
        Err(_) => {
            Answer::error(StatusCode::BAD_REQUEST, "bad_request", "The body is one of off, error, warn, info, debug, trace.")
        }
    }
}

#[derive(Serialize)]
struct Refreshed {
    site: String,
    expires_in: u64,
}

/// `POST /refresh?site=NAME`: a token exchange, within the same limits as that of `POST /oauth/token?force=true`.
async fn refresh(query: &str, state: &State) -> Answer {
    let runtime = state.runtime.load_full();
    let named = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "site").map(|(_, site)| site);
    let site = runtime.sites.iter().find(|site| named.as_deref().is_none_or(|name| site.name() == name));
    let Some(site) = site else {
        return Answer::error(StatusCode::NOT_FOUND, "unknown_site", "No site of this name is configured.");
    };
    let seen = site.token.latest().map_or(0, |token| token.generation);
    let outcome = site.token.newer_than(seen, Reason::Forced).await;
    let recorded = if outcome.is_ok() { Outcome::Success } else { Outcome::Failed };
    let record = Record::event(Kind::ForcedRefresh, Timestamp::now(), recorded, "the admin listener was told to get a new token");
    runtime.trail.record(Record { site: Some(site.name().to_owned().into()), ..record }, None);
    match outcome {
        Ok(token) => {
            let expires_in = token.left(Instant::now()).as_secs();
            Answer::json(StatusCode::OK, &Refreshed { site: site.name().to_owned(), expires_in })
        }
        Err(NoNewToken::Limited(wait)) => Answer::error(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_refreshes",
            "New tokens were asked for too often of late (forced_refreshes).",
        )
        .with(RETRY_AFTER, HeaderValue::from(whole_seconds(wait))),
        Err(NoNewToken::Failed(_) | NoNewToken::BackingOff(..) | NoNewToken::Stopped) => {
            Answer::error(StatusCode::BAD_GATEWAY, "token_exchange_failed", "There is no new token; /health and the log say why.")
        }
    }
}

#[derive(Serialize)]
struct Begun {
    begun: &'static str,
}

fn command(name: &'static str, has_begun: bool) -> Answer {
    match has_begun {
        true => Answer::json(StatusCode::ACCEPTED, &Begun { begun: name }),
        false => Answer::error(StatusCode::CONFLICT, "not_possible", "The process cannot do that; its log may say why."),
    }
}
