//! The token endpoint is down, slow, or answers nonsense: the current token serves to its last safe moment, then clients are
//! told when to come back, and the gateway recovers within one step of the backoff.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::support::eventually;
use crate::support::gateway::{Gateway, config};
use crate::support::openemr::OpenEmr;
use serde_json::{Value, json};

const PATIENTS: &str = "/fhir/Patient?_count=1";
/// Renewed after 22.5 to 24 s, and not used in its last second: there are five seconds at least in which the token in hand
/// serves although its renewal has failed.
const LIFE: Duration = Duration::from_secs(30);
const SAFE: Duration = Duration::from_secs(29);
/// The same, as the sandbox is told.
const LIFETIME: [&str; 2] = ["--token-lifetime", "30"];

/// What is wrong with the token endpoint.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It says so at once.
    Failing,
    /// It says nothing: the gateway gives up after 500 ms, which a busy machine may take for an exchange that is all right.
    Silent,
}

/// One outage from its beginning to its end. `begin` and `mend` switch it.
fn outage(name: &str, kind: Kind, openemr: &OpenEmr, mut config: Value, begin: impl Fn(), mend: impl Fn(), words: &str) {
    if kind == Kind::Silent {
        config["sites"]["default"]["timeouts"] = json!({"token": "500ms"});
    }
    let gateway = Gateway::with(config);
    let health = || gateway.caller().get("/health").json()["status"].as_str().unwrap().to_owned();
    let ready = || gateway.caller().get("/ready").status;
    eventually("the first token", || (health() == "ok" && ready() == 200).then_some(()));
    // A token of which it is known when it was requested, and whose renewal is not due before the outage.
    let (before, after) = loop {
        let (before, after) = eventually("a new token", || {
            let before = Instant::now();
            (gateway.token("?force=true").status == 200).then(|| (before, Instant::now()))
        });
        begin();
        if before.elapsed() < LIFE / 2 {
            break (before, after);
        }
        mend();
    };

    let (mut sent, mut good, mut degraded) = (0, 0, 0);
    let served_before = openemr.count("fhir_requests");
    let first_503 = loop {
        let state = health();
        let asked = Instant::now();
        let answer = gateway.caller().get(PATIENTS);
        sent += 1;
        if answer.status == 200 {
            good += 1;
            degraded += u32::from(state == "degraded");
            assert!(state != "down" || asked > before + SAFE, "{name}: down with a token in hand");
            assert!(asked < after + LIFE, "{name}: a token was used past its end");
        } else {
            answer.outcome(503);
            let retry_after: u64 = answer.field("retry-after").unwrap().parse().unwrap();
            assert!((1..=30).contains(&retry_after), "{name}: {retry_after}");
            break Instant::now();
        }
        thread::sleep(Duration::from_millis(25));
    };
    assert!(first_503 >= before + SAFE, "{name}: 503 with a token in hand, after {:?}", first_503 - before);
    assert_eq!((sent, openemr.count("fhir_requests") - served_before), (good + 1, good), "{name}");
    assert!(degraded > 0, "{name}: it was never degraded");
    assert_eq!((health().as_str(), ready()), ("down", 503), "{name}");
    gateway.logs(&["no new token (failure 1)", words]);

    mend();
    let mended = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    eventually(name, || (health() == "ok").then_some(()));
    // The first attempt after the outage is all it takes; `schedule` tells when that is.
    let attempts = openemr.exchanges().into_iter().filter(|(began, _)| u128::from(*began) > mended).count();
    assert!(attempts <= 1 || kind == Kind::Silent, "{name}: {attempts} exchanges after the outage");
    assert_eq!((gateway.caller().get(PATIENTS).status, ready()), (200, 200), "{name}");
}

#[test]
fn whatever_the_token_endpoint_says_the_token_in_hand_serves_to_its_end() {
    let answer = |status: u16, body: &str| json!({"answer": {"status": status, "body": body}});
    let token = |kind: &str, life: &str| {
        answer(
            200,
            &format!(r#"{{"scope":"system/Patient.read","token_type":"{kind}","expires_in":{life},"access_token":"abc"}}"#),
        )
    };
    let faults = [
        ("hangs up", json!({"down": true}), "broke off"),
        ("is slow", json!({"delay_ms": 60_000}), "did not answer within 500ms"),
        ("500", answer(500, "Check that you can ping the server"), "answered 500"),
        ("500 server_error", json!({"refuse": "not_set_up"}), "Server was not properly setup"),
        ("refuses", json!({"refuse": "unknown_client"}), "401 invalid_client"),
        ("a page", json!({"html": true}), "HTML page"),
        ("cut", json!({"truncate": true}), "broke off"),
        ("10 MB", json!({"oversize_bytes": 10_000_000}), "larger than 65536 bytes"),
        ("another type", token("mac", "300"), "token_type is not Bearer"),
        ("no life", token("Bearer", "0"), "expires_in"),
        ("a negative life", token("Bearer", "-300"), "expires_in"),
        ("a fraction of a life", token("Bearer", "0.5"), "expires_in"),
        ("an absurd life", token("Bearer", "1e300"), "expires_in"),
        ("a life beyond all numbers", token("Bearer", "99999999999999999999999"), "expires_in"),
        ("an answer lost", json!({"lose_answer": true}), "broke off"),
    ];
    thread::scope(|scope| {
        for (name, fault, words) in faults {
            scope.spawn(move || {
                let openemr = OpenEmr::with(&LIFETIME);
                let config = config(&openemr);
                let kind = if name == "is slow" { Kind::Silent } else { Kind::Failing };
                let begin = || openemr.order(&json!({"token": fault}));
                outage(name, kind, &openemr, config, begin, || openemr.order(&json!({"token": null})), words);
                // A jti whose answer was lost is used up: it is never sent again.
                if name == "an answer lost" {
                    assert_eq!(openemr.count("assertions_refused"), 0);
                }
            });
        }
    });
}

/// Stands in front of the token endpoint, and can be gone or deaf.
struct Relay {
    address: SocketAddr,
    to: SocketAddr,
    state: Mutex<Option<(Arc<AtomicBool>, thread::JoinHandle<()>)>>,
}

impl Relay {
    fn new(to: SocketAddr) -> Self {
        let relay = Self { address: crate::support::gateway::free_address(), to, state: Mutex::new(None) };
        relay.listen(false);
        relay
    }

    /// Takes connections; if it is deaf, it says nothing on them for ever.
    fn listen(&self, deaf: bool) {
        self.stop();
        let listener = eventually("the relay's port", || TcpListener::bind(self.address).ok());
        let (stopped, to) = (Arc::new(AtomicBool::new(false)), self.to);
        let seen = Arc::clone(&stopped);
        let serving = thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                if seen.load(Ordering::SeqCst) {
                    return;
                }
                let stream = stream.unwrap();
                if deaf {
                    held.push(stream);
                } else {
                    thread::spawn(move || pass(stream, to));
                }
            }
        });
        *self.state.lock().unwrap() = Some((stopped, serving));
    }

    /// Nobody listens any more: connections are refused.
    fn stop(&self) {
        if let Some((stopped, serving)) = self.state.lock().unwrap().take() {
            stopped.store(true, Ordering::SeqCst);
            let _ = TcpStream::connect(self.address);
            serving.join().unwrap();
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Bytes both ways, until either side is done.
fn pass(here: TcpStream, to: SocketAddr) {
    let there = TcpStream::connect(to).unwrap();
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        let mut piece = [0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut piece) {
            if to.write_all(&piece[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    };
    let (from, back) = (here.try_clone().unwrap(), there.try_clone().unwrap());
    thread::scope(|scope| {
        scope.spawn(|| copy(from, back));
        copy(there, here);
    });
}

#[test]
fn a_token_endpoint_that_refuses_connections_or_is_a_black_hole_is_survived() {
    thread::scope(|scope| {
        for (name, deaf, words) in [("refused", false, "cannot be reached"), ("black hole", true, "did not answer within 500ms")]
        {
            scope.spawn(move || {
                let openemr = OpenEmr::with(&LIFETIME);
                let relay = Relay::new(openemr.address);
                let mut config = config(&openemr);
                config["sites"]["default"]["token_url"] = json!(format!("http://{}/oauth2/default/token", relay.address));
                config["sites"]["default"]["token_audience"] = json!(format!("{}/oauth2/default/token", openemr.base));
                let begin = || if deaf { relay.listen(true) } else { relay.stop() };
                let kind = if deaf { Kind::Silent } else { Kind::Failing };
                outage(name, kind, &openemr, config, begin, || relay.listen(false), words);
            });
        }
    });
}

#[test]
fn a_token_that_claims_to_live_for_ever_is_replaced_when_openemr_has_had_enough() {
    let openemr = OpenEmr::with(&["--token-lifetime", "4"]);
    openemr.order(&json!({"token": {"expires_in": i64::MAX}}));
    let gateway = Gateway::start(&openemr);
    let mut sent = 0;
    let lives = eventually("two lives have ended", || {
        let answer = gateway.caller().get(PATIENTS);
        sent += 1;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let lives = openemr.count("tokens_issued");
        (lives >= 3).then_some(lives)
    });
    // One refused request for each life that ended, and no caller saw it.
    assert_eq!(openemr.count("fhir_requests"), sent + lives - 1);
    let health = gateway.caller().get("/health").json();
    assert!(health["sites"][0]["expires_in"].as_u64().unwrap() <= 30 * 24 * 60 * 60, "{health}");
}
