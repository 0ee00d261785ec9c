//! From a request to what happens on its connection, with the faults that are in force.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::{Bytes, BytesMut};
use serde_json::json;

use super::{
    answer::{Answer, Area},
    counters::UnderWay,
    faults::{FhirFaults, FixedAnswer, TokenFaults, lock},
    fhir_api::{self, FhirRequest},
    http1::{Body, Ending, ReceivedBody, Response},
    refusals, registration,
    request_head::RequestHead,
    token_endpoint::{self, Assertion, TokenForm, TokenRefusal},
    world::World,
};

/// What a request meets before its body is read.
pub enum Faced {
    /// Close the connection, do not answer.
    HangUp,
    /// Read on, do not answer.
    Silence,
    /// Go on, with the faults of its side.
    Token(TokenFaults),
    /// Go on, with the faults of its side.
    Fhir(FhirFaults),
    /// Neither side.
    Other,
}

/// What becomes of the connection.
pub struct Outcome {
    /// None: closed without an answer.
    pub response: Option<Response>,
    /// How it is closed, if it is.
    pub ending: Ending,
    /// Close it after the answer, which does not say so.
    pub closes_silently: bool,
}

impl Outcome {
    fn answered(response: Response) -> Outcome {
        Outcome { response: Some(response), ending: Ending::CloseNotify, closes_silently: false }
    }

    fn nothing() -> Outcome {
        Outcome { response: None, ending: Ending::CloseNotify, closes_silently: false }
    }
}

/// Counts the request and finds its faults; it is under way until the second value is dropped. `reused`: its
/// connection has served another before.
pub fn face<'a>(world: &'a World, head: &RequestHead, reused: bool) -> (Faced, Option<UnderWay<'a>>) {
    let path = head.path();
    let counters = &world.counters;
    counters.count_path(&head.method, path);
    if path.starts_with("/apis/") {
        let faults = world.faults.for_fhir_request(&head.method, &head.target, reused);
        if faults.close_reused || faults.hang_up {
            return (Faced::HangUp, None);
        }
        let under_way = if is_probe(head) {
            counters.probes.fetch_add(1, Ordering::Relaxed);
            None
        } else {
            Some(counters.begin_fhir())
        };
        (if faults.silent { Faced::Silence } else { Faced::Fhir(faults) }, under_way)
    } else if path.starts_with("/oauth2/") && path.ends_with("/token") {
        let under_way = counters.begin_exchange();
        let faults = world.faults.for_token_request();
        let faced = if faults.down {
            Faced::HangUp
        } else if faults.silent {
            Faced::Silence
        } else {
            Faced::Token(faults)
        };
        (faced, Some(under_way))
    } else {
        (Faced::Other, None)
    }
}

/// Waits for so many milliseconds; for none, not at all: the shortest sleep is a tick of the timer, a millisecond.
async fn wait(milliseconds: u64) {
    if milliseconds > 0 {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
}

/// A health check; it is not to be seen among what callers asked.
fn is_probe(head: &RequestHead) -> bool {
    head.path().ends_with("/fhir/metadata") && head.field("authorization").is_none()
}

/// Answers, or does what the faults want instead.
pub async fn outcome(world: &World, head: &RequestHead, body: &ReceivedBody, faced: Faced) -> Outcome {
    let origin = head.field("origin");
    let path = head.path();
    let parts = |rest: &'_ str| {
        let (site, rest) = rest.split_once('/').unwrap_or((rest, ""));
        (site.to_owned(), rest.to_owned())
    };
    let mut outcome = if let Some(rest) = path.strip_prefix("/apis/") {
        let (site, rest) = parts(rest);
        let faults = if let Faced::Fhir(faults) = faced { faults } else { FhirFaults::default() };
        fhir(world, &FhirRequest { site: &site, head, body }, &rest, &faults, origin).await
    } else if let Some(rest) = path.strip_prefix("/oauth2/") {
        let (site, rest) = parts(rest);
        let faults = if let Faced::Token(faults) = faced { faults } else { TokenFaults::default() };
        oauth2(world, &site, &rest, head, body, &faults, origin).await
    } else {
        let answer = Answer::apache(404, "Not Found", "The requested URL was not found on this server.");
        Outcome::answered(answer.into_response(world, Area::Apis, None))
    };
    if let (true, Some(response)) = (head.method == "HEAD", outcome.response.as_mut()) {
        response.body = Body::Omitted;
    }
    outcome
}

async fn fhir(world: &World, request: &FhirRequest<'_>, rest: &str, faults: &FhirFaults, origin: Option<&str>) -> Outcome {
    if !is_probe(request.head) {
        *lock(&world.counters.last_fhir_request) = json!({
            "method": request.head.method, "target": request.head.target, "fields": request.head.fields,
            "body_length": request.body.length, "body_sha256": request.body.sha256,
        });
    }
    wait(faults.delay_ms).await;
    let answer = if let Some(error) = faults.error {
        refusals::server_error(world.personality, error)
    } else if let Some(denial) = faults.refuse {
        refusals::on_demand(world.personality, denial)
    } else if let Some(fixed) = &faults.answer {
        fixed_answer(fixed)
    } else if faults.html {
        html_page()
    } else if world.sites.contains_key(request.site) {
        fhir_api::answer(world, request, rest)
    } else {
        refusals::no_such_site(world.personality, false)
    };
    wait(answer.takes_ms.into()).await;
    if faults.lose_answer {
        world.counters.requests_dropped.fetch_add(1, Ordering::Relaxed);
        return Outcome::nothing();
    }
    let mut response = answer.into_response(world, Area::Apis, origin);
    if let Some(framing) = faults.framing {
        response.framing = framing;
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
    world: &World,
    site: &str,
    rest: &str,
    head: &RequestHead,
    body: &ReceivedBody,
    faults: &TokenFaults,
    origin: Option<&str>,
) -> Outcome {
    let dress = |answer: Answer| answer.into_response(world, Area::OAuth2, origin);
    let discovery = world.sites.get(site);
    let answer = match (head.method.as_str(), rest, discovery) {
        (_, "token", _) => return token(world, site, head, body, faults, origin).await,
        (_, _, None) => refusals::no_such_site(world.personality, true),
        ("GET", ".well-known/openid-configuration", Some(discovery)) => Answer::json(200, discovery.openid_configuration.clone()),
        ("GET", "jwk", _) => Answer::json(200, world.tokens.jwk_set()),
        ("POST", "registration", _) => registration::register(world, site, &body.kept),
        _ => refusals::route_not_found(world.personality),
    };
    Outcome::answered(dress(answer))
}

async fn token(
    world: &World,
    site: &str,
    head: &RequestHead,
    body: &ReceivedBody,
    faults: &TokenFaults,
    origin: Option<&str>,
) -> Outcome {
    let form = TokenForm::parse(&body.kept);
    let assertion = form.get("client_assertion").and_then(Assertion::parse);
    *lock(&world.counters.last_token_request) = json!({
        "method": head.method, "target": head.target, "fields": head.fields, "form_fields": form.names(),
        "scope": form.get("scope"),
        "assertion_header": assertion.as_ref().map(|assertion| assertion.header.clone()),
        "assertion_claims": assertion.as_ref().map(|assertion| assertion.claims.clone()),
    });
    wait(faults.delay_ms).await;
    let answer = if let Some(fixed) = &faults.answer {
        fixed_answer(fixed)
    } else if faults.html {
        html_page()
    } else if !world.sites.contains_key(site) {
        refusals::no_such_site(world.personality, true)
    } else if head.method == "OPTIONS" {
        Answer::empty(200)
    } else if head.method != "POST" {
        refusals::route_not_found(world.personality)
    } else {
        let result = match faults.refuse {
            Some(refusal) => Err(TokenRefusal::on_demand(refusal, form.get("scope").unwrap_or_default())),
            None => token_endpoint::exchange(world, site, &form, faults).await,
        };
        result.unwrap_or_else(|refusal| {
            world.counters.assertions_refused.fetch_add(1, Ordering::Relaxed);
            refused(&refusal, head)
        })
    };
    if faults.lose_answer {
        world.counters.requests_dropped.fetch_add(1, Ordering::Relaxed);
        return Outcome::nothing();
    }
    let mut response = answer.into_response(world, Area::OAuth2, origin);
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

/// A refusal; league adds WWW-Authenticate to invalid_client when the request had an Authorization field.
fn refused(refusal: &TokenRefusal, head: &RequestHead) -> Answer {
    let answer = refusal.answer();
    let is_client = matches!(refusal, TokenRefusal::WhoYouAre | TokenRefusal::TheAssertion);
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
