//! Routes a request to its handler and applies the faults in force.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::{Bytes, BytesMut};
use serde_json::json;
use tokio::time::Instant;

use super::{
    answer::{Answer, Area, HeaderSet},
    audit_repository::{self, RepositoryFaults},
    counters::InProgress,
    error_answers,
    faults::{FhirFaults, FixedAnswer, ServerError, TokenFaults},
    fhir_api,
    fhir_request::{FhirRequest, Route},
    http1::ReceivedBody,
    instance::Instance,
    next_answers,
    personality::Personality,
    registration,
    request_head::RequestHead,
    response::{Body, Ending, Response},
    rewrite,
    timings::Takes,
    token_endpoint::{self, Assertion, ExchangeError, TokenForm},
};

/// What is done with a request before its body is read.
pub(super) enum Disposition {
    /// The connection is closed without an answer.
    HangUp,
    /// The request is read, and never answered.
    Silence,
    /// The token endpoint handles it, with these faults.
    Token(TokenFaults),
    /// The FHIR side handles it, with these faults.
    Fhir(FhirFaults),
    /// The repository for AuditEvents handles it, with these faults.
    Repository(RepositoryFaults),
    /// None of them handles it.
    Other,
}

/// The response, and what becomes of the connection.
pub(super) struct Outcome {
    /// The response; `None` closes the connection without one.
    pub(super) response: Option<Response>,
    /// How the connection is closed, if it is.
    pub(super) ending: Ending,
    /// Whether it is closed after a response that does not say so.
    pub(super) closes_silently: bool,
}

impl Outcome {
    fn answered(response: Response) -> Outcome {
        Outcome { response: Some(response), ending: Ending::CloseNotify, closes_silently: false }
    }

    fn nothing() -> Outcome {
        Outcome { response: None, ending: Ending::CloseNotify, closes_silently: false }
    }
}

/// Counts the request and takes the faults that apply to it. It is in progress until the second value is dropped.
/// `reused` tells whether its connection has served another request before.
pub(super) fn begin<'a>(instance: &'a Instance, head: &RequestHead, reused: bool) -> (Disposition, Option<InProgress<'a>>) {
    let path = head.path();
    let counters = &instance.counters;
    counters.count_path(&head.method, path);
    if path.starts_with("/apis/") {
        let faults = instance.faults.for_fhir_request(&head.method, &head.target, reused);
        if faults.close_reused || faults.hang_up {
            return (Disposition::HangUp, None);
        }
        let in_progress = if is_probe(head) {
            counters.probes.fetch_add(1, Ordering::Relaxed);
            None
        } else {
            Some(counters.begin_fhir())
        };
        (if faults.silent { Disposition::Silence } else { Disposition::Fhir(faults) }, in_progress)
    } else if path.starts_with("/oauth2/") && path.ends_with("/token") {
        let in_progress = counters.begin_exchange();
        let faults = instance.faults.for_token_request();
        let disposition = if faults.down {
            Disposition::HangUp
        } else if faults.silent {
            Disposition::Silence
        } else {
            Disposition::Token(faults)
        };
        (disposition, Some(in_progress))
    } else if path == audit_repository::PATH {
        let faults = instance.faults.for_repository_request();
        (if faults.down { Disposition::HangUp } else { Disposition::Repository(faults) }, None)
    } else {
        (Disposition::Other, None)
    }
}

/// Waits for a number of milliseconds. Zero does not sleep at all: the shortest sleep takes a millisecond.
async fn wait(milliseconds: u64) {
    if milliseconds > 0 {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
}

/// Returns whether a request is a health check, which is counted apart from the requests of clients.
fn is_probe(head: &RequestHead) -> bool {
    head.path().ends_with("/fhir/metadata") && head.field("authorization").is_none()
}

/// Answers a request, or does what its faults say instead.
pub(super) async fn outcome(instance: &Instance, head: &RequestHead, body: &ReceivedBody, disposition: Disposition) -> Outcome {
    let origin = head.field("origin");
    let path = head.path();
    let mut outcome = if head.method == "TRACE" {
        Outcome::answered(response(instance, traced(head, body), Area::Apis, None))
    } else if path.starts_with("/apis/") {
        let faults = if let Disposition::Fhir(faults) = disposition { faults } else { FhirFaults::default() };
        match rewrite::rewrite(path, head.query()) {
            Ok(rewritten) => {
                let request = FhirRequest::new(instance.personality, head, body, &rewritten, &faults);
                fhir(instance, &request, &faults, origin).await
            }
            Err(refused) => {
                remember(instance, head, body, None);
                Outcome::answered(response(instance, refused.answer(), Area::Apis, None))
            }
        }
    } else if let Some(rest) = path.strip_prefix("/oauth2/") {
        let (site, rest) = rest.split_once('/').unwrap_or((rest, ""));
        let faults = if let Disposition::Token(faults) = disposition { faults } else { TokenFaults::default() };
        oauth2(instance, site, rest, head, body, &faults, origin).await
    } else if let Disposition::Repository(faults) = disposition {
        wait(faults.delay_ms).await;
        let answer = instance.audit_repository.answer(head, body, &faults);
        answer.map_or_else(Outcome::nothing, |answer| Outcome::answered(response(instance, answer, Area::Apis, None)))
    } else {
        let answer = health(instance.personality, path).unwrap_or_else(error_answers::no_such_file);
        Outcome::answered(response(instance, answer, Area::Apis, None))
    };
    if let (true, Some(response)) = (head.method == "HEAD", outcome.response.as_mut()) {
        response.body = Body::Omitted;
    }
    outcome
}

/// Answers the health routes, which 7.0.3 does not have.
fn health(personality: Personality, path: &str) -> Option<Answer> {
    let body = match path.strip_prefix("/meta/health/")? {
        "livez" => r#"{"status":"alive"}"#,
        "healthz" => r#"{"status":"ok"}"#,
        "readyz" => r#"{"status":"ready","checks":{"installed":true,"database":true,"filesystem":true,"session":true}}"#,
        _ => return None,
    };
    (personality != Personality::V7_0_3).then(|| Answer::json(200, body).with_header_set(HeaderSet::NoSession))
}

/// Returns Apache's answer to TRACE: the request as it came, a bearer token included.
fn traced(head: &RequestHead, body: &ReceivedBody) -> Answer {
    if body.length > 0 {
        return Answer::apache(
            413,
            "Request Entity Too Large",
            "The requested resource does not allow request data with TRACE requests, or the amount of data provided in\nthe request exceeds the capacity limit.",
        );
    }
    let mut echo = format!("TRACE {} HTTP/1.{}\r\n", head.target, head.minor_version);
    for (name, value) in &head.fields {
        echo.push_str(&format!("{name}: {value}\r\n"));
    }
    echo.push_str("\r\n");
    Answer::new(200, "message/http", Body::Whole(Bytes::from(echo))).with_header_set(HeaderSet::Apache)
}

/// Keeps a FHIR request as the last one.
fn remember(instance: &Instance, head: &RequestHead, body: &ReceivedBody, route: Option<&str>) {
    if !is_probe(head) {
        *instance.counters.last_fhir_request.lock() = json!({
            "method": head.method, "target": head.target, "route": route, "fields": head.fields,
            "body_length": body.length, "body_sha256": body.sha256,
        });
    }
}

async fn fhir(instance: &Instance, request: &FhirRequest<'_>, faults: &FhirFaults, origin: Option<&str>) -> Outcome {
    if request.rerouted {
        instance.counters.rerouted.fetch_add(1, Ordering::Relaxed);
    }
    let route = if let Route::Named(route) = &request.route { Some(route.as_str()) } else { None };
    remember(instance, request.head, request.body, route);
    wait(faults.delay_ms).await;
    let begun = Instant::now();
    let answer = if let Some(error) = faults.error {
        error_answers::server_error(instance.personality, error)
    } else if let Some(rejection) = faults.refuse {
        error_answers::forced(instance.personality, rejection)
    } else if let Some(fixed) = &faults.answer {
        fixed_answer(fixed)
    } else if faults.html {
        html_page()
    } else if request.route == Route::Array {
        error_answers::array_for_a_text(instance.personality)
    } else if instance.sites.contains_key(request.site_and_rest().0) {
        fhir_api::answer(instance, request)
    } else {
        error_answers::no_such_site(instance.personality, false)
    };
    let takes = Takes::of(request, &answer);
    let answer = if instance.personality == Personality::Next { next_answers::dressed(answer) } else { answer };
    wait(answer.delay_ms.into()).await;
    instance.timings.fill(instance.personality, takes, begun).await;
    if faults.lose_answer {
        instance.counters.requests_dropped.fetch_add(1, Ordering::Relaxed);
        return Outcome::nothing();
    }
    let mut response = response(instance, answer, Area::Apis, origin);
    if let Some(framing) = faults.framing {
        response.framing = framing;
    }
    if let Some(most) = faults.shorten_to {
        response.body = response.body.shortened(most);
    }
    if let Some(text) = &faults.append {
        response.body = response.body.with_behind(text);
    }
    response.cut_after = faults.truncate_after;
    response.piece = faults.piece_bytes;
    Outcome {
        response: Some(response),
        ending: faults.ending,
        closes_silently: faults.close_idle || faults.truncate_after.is_some(),
    }
}

async fn oauth2(
    instance: &Instance,
    site: &str,
    rest: &str,
    head: &RequestHead,
    body: &ReceivedBody,
    faults: &TokenFaults,
    origin: Option<&str>,
) -> Outcome {
    let discovery = instance.sites.get(site);
    let begun = Instant::now();
    let answer = match (head.method.as_str(), rest, discovery) {
        (_, "token", _) => return token(instance, site, head, body, faults, origin).await,
        (_, _, None) => error_answers::no_such_site(instance.personality, true),
        ("GET", ".well-known/openid-configuration", Some(discovery)) => Answer::json(200, discovery.openid_configuration.clone()),
        ("GET", "jwk", _) => Answer::json(200, instance.tokens.jwk_set()),
        ("POST", "registration", _) => registration::register(instance, site, head.field("content-type"), &body.kept),
        _ => error_answers::route_not_found(instance.personality),
    };
    instance.timings.fill(instance.personality, Takes::Read, begun).await;
    Outcome::answered(response(instance, answer, Area::OAuth2, origin))
}

async fn token(
    instance: &Instance,
    site: &str,
    head: &RequestHead,
    body: &ReceivedBody,
    faults: &TokenFaults,
    origin: Option<&str>,
) -> Outcome {
    let form = TokenForm::parse(&body.kept);
    let assertion = form.get("client_assertion").and_then(Assertion::parse);
    *instance.counters.last_token_request.lock() = json!({
        "method": head.method, "target": head.target, "fields": head.fields, "form_fields": form.names(),
        "scope": form.get("scope"),
        "assertion_header": assertion.as_ref().map(|assertion| assertion.header.clone()),
        "assertion_claims": assertion.as_ref().map(|assertion| assertion.claims.clone()),
    });
    wait(faults.delay_ms).await;
    let begun = Instant::now();
    let answer = if let Some(fixed) = &faults.answer {
        fixed_answer(fixed)
    } else if faults.html {
        html_page()
    } else if !instance.sites.contains_key(site) {
        error_answers::no_such_site(instance.personality, true)
    } else if head.method == "OPTIONS" {
        Answer::empty(200)
    } else if head.method != "POST" {
        error_answers::route_not_found(instance.personality)
    } else {
        let result = match faults.refuse {
            Some(error) => Err(ExchangeError::forced(error, form.get("scope").unwrap_or_default())),
            None => token_endpoint::exchange(instance, site, &form, faults).await,
        };
        result.unwrap_or_else(|error| {
            instance.counters.assertions_refused.fetch_add(1, Ordering::Relaxed);
            error_answer(instance.personality, &error, head)
        })
    };
    instance.timings.fill(instance.personality, Takes::Exchange, begun).await;
    if faults.lose_answer {
        instance.counters.requests_dropped.fetch_add(1, Ordering::Relaxed);
        return Outcome::nothing();
    }
    let mut response = response(instance, answer, Area::OAuth2, origin);
    if let Some(date) = &faults.date {
        response.fields.retain(|(name, _)| *name != "Date");
        if !date.is_empty() {
            response.fields.insert(0, ("Date", date.clone()));
        }
    }
    if let Body::Whole(bytes) = &mut response.body {
        if faults.oversize_bytes > 0 {
            let mut padded = BytesMut::zeroed(0);
            padded.resize(faults.oversize_bytes, b' ');
            padded.extend_from_slice(bytes);
            *bytes = padded.freeze();
        }
        if faults.truncate {
            response.cut_after = Some(bytes.len() as u64 / 2);
        }
    }
    Outcome { closes_silently: faults.truncate, ..Outcome::answered(response) }
}

/// Returns the error answer; league/oauth2-server adds WWW-Authenticate to invalid_client when the request had an
/// Authorization field.
fn error_answer(personality: Personality, error: &ExchangeError, head: &RequestHead) -> Answer {
    let answer = match error {
        ExchangeError::DatabaseDown => error_answers::server_error(personality, ServerError::Database),
        _ => error.answer(),
    };
    let is_client = matches!(error, ExchangeError::UnknownClient | ExchangeError::InvalidAssertion);
    match head.field("authorization") {
        Some(value) if is_client => {
            let scheme = if value.starts_with("Bearer") { "Bearer" } else { "Basic" };
            answer.with("WWW-Authenticate", format!("{scheme} realm=\"OAuth\""))
        }
        _ => answer,
    }
}

fn fixed_answer(fixed: &FixedAnswer) -> Answer {
    let body = if fixed.body.is_empty() { Body::Empty } else { Body::Whole(Bytes::from(fixed.body.clone())) };
    Answer::new(fixed.status, &fixed.content_type, body)
}

fn html_page() -> Answer {
    let page = "<!DOCTYPE html>\n<html><head><title>OpenEMR Login</title></head><body>Please log in.</body></html>\n";
    Answer::new(200, "text/html; charset=UTF-8", Body::Whole(Bytes::from_static(page.as_bytes())))
}

fn response(instance: &Instance, answer: Answer, area: Area, origin: Option<&str>) -> Response {
    answer.into_response(instance.personality, instance.clock.seconds(), area, origin)
}
