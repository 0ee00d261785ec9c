//! What the sandbox does beyond the recordings: keys, clocks, nodes, connections, sessions, streaming.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::support::gateway::{Gateway, config};
use crate::support::openemr::OpenEmr;
use crate::support::sandbox::{
    CLIENT, DEADLINE, PATIENT_READ, PATIENTS, RunningSandbox, exchange, jwk_set, read_answer, refused, send, sign, sign_as,
    started, tls_stream, write_request,
};
use aws_lc_rs::{rsa::KeySize, signature::RsaKeyPair};
use openemr_gateway::sandbox::{Client, Keys, Personality, Settings, Timings, Tls};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

#[tokio::test]
async fn the_first_rsa_key_of_the_set_verifies_and_kid_is_ignored() {
    let (first, second) = (RsaKeyPair::generate(KeySize::Rsa2048).unwrap(), RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
    let two = |keys: Keys| Settings {
        clients: vec![Client { id: "two".to_owned(), keys, scopes: vec![PATIENT_READ.to_owned()], enabled: true }],
        patients: 1,
        ..Settings::default()
    };
    let set = jwk_set(&[&first, &second]);
    let other = RunningSandbox::start(two(Keys::Inline(set)), None).await;
    for (key, status) in [(&first, 200), (&second, 400)] {
        let mut claims = other.claims();
        claims.insert("iss".to_owned(), json!("two"));
        claims.insert("sub".to_owned(), json!("two"));
        assert_eq!(other.ask_token_with(PATIENT_READ, &sign(key, "RS384", claims)).await.status, status);
    }
}

#[tokio::test]
async fn a_jwks_uri_is_fetched_at_every_exchange() {
    let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let (uri, serving) = serve_jwks(jwk_set(&[&key])).await;
    let client = Client { id: "by-uri".to_owned(), keys: Keys::Uri(uri), scopes: vec![PATIENT_READ.to_owned()], enabled: true };
    let sandbox = RunningSandbox::start(Settings { clients: vec![client], patients: 1, ..Settings::default() }, None).await;
    let assertion = || {
        let mut claims = sandbox.claims();
        claims.insert("iss".to_owned(), json!("by-uri"));
        claims.insert("sub".to_owned(), json!("by-uri"));
        sign(&key, "RS384", claims)
    };
    assert_eq!(sandbox.ask_token_with(PATIENT_READ, &assertion()).await.status, 200);
    assert_eq!(sandbox.ask_token_with(PATIENT_READ, &assertion()).await.status, 200);
    assert_eq!(sandbox.state().await["jwks_fetches"], 2);
    serving.abort();
    let _ = serving.await;
    refused(&sandbox.ask_token_with(PATIENT_READ, &assertion()).await, 401, "invalid_client");
}

/// A server of that JWK Set.
async fn serve_jwks(set: Value) -> (String, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{set}").as_bytes()).await;
        }
    });
    (uri, serving)
}

#[tokio::test]
async fn a_newer_server_goes_by_kid_and_keeps_what_it_fetched() {
    let sandbox = started().await;
    let second = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let mut set = jwk_set(&[&sandbox.key, &second]);
    (set["keys"][0]["kid"], set["keys"][1]["kid"]) = (json!("first"), json!("second"));
    sandbox.order(&json!({"clients": {CLIENT: {"jwks": set.clone()}}})).await;
    let signed = |key: &RsaKeyPair, kid: Option<&str>| sign_as(key, "RS384", kid, sandbox.claims());
    let status = |assertion: String| async { sandbox.ask_token_with(PATIENT_READ, &{ assertion }).await.status };
    assert_eq!(status(signed(&sandbox.key, Some("second"))).await, 200);
    sandbox.order(&json!({"strict_kid": true})).await;
    for (key, kid, expected) in [
        (&sandbox.key, Some("first"), 200),
        (&second, Some("second"), 200),
        (&sandbox.key, Some("second"), 400),
        (&second, Some("third"), 400),
        (&second, None, 400),
    ] {
        assert_eq!(status(signed(key, kid)).await, expected, "{kid:?}");
    }

    let (uri, serving) = serve_jwks(set).await;
    sandbox.order(&json!({"clients": {CLIENT: {"jwks_uri": uri}}, "jwks_cache_seconds": 3600})).await;
    for _ in 0..3 {
        assert_eq!(status(signed(&second, Some("second"))).await, 200);
    }
    serving.abort();
    assert_eq!(status(signed(&second, Some("second"))).await, 200);
    assert_eq!(sandbox.state().await["jwks_fetches"], 1);
    sandbox.order(&json!({"jwks_cache_seconds": 0})).await;
    assert_eq!(status(signed(&second, Some("second"))).await, 401);
}

#[tokio::test]
async fn clocks_are_forgiven_sixty_seconds() {
    let sandbox = started().await;
    for (claim, seconds, status) in
        [("exp", -30, 200), ("exp", -65, 400), ("nbf", 30, 200), ("nbf", 120, 400), ("iat", 30, 200), ("iat", 120, 400)]
    {
        let mut claims = sandbox.claims();
        let now = claims["iat"].as_i64().unwrap();
        claims.insert(claim.to_owned(), json!(now + seconds));
        let answer = sandbox.ask_token_with(PATIENT_READ, &sandbox.sign(claims)).await;
        assert_eq!(answer.status, status, "{claim} {seconds}: {}", answer.text());
    }
}

#[tokio::test]
async fn everything_goes_by_the_clock_of_its_machine() {
    let sandbox = RunningSandbox::start(Settings { clock_offset: -600, patients: 1, ..Settings::default() }, None).await;
    for offset in [-600, 600] {
        sandbox.order(&json!({"clock_offset_seconds": offset})).await;
        // Good by the caller's clock, and not by this one.
        let status = sandbox.ask_token(PATIENT_READ).await.status;
        assert_eq!(status, 400, "{offset}");
        let mut claims = sandbox.claims();
        for claim in ["iat", "exp"] {
            claims[claim] = json!(claims[claim].as_i64().unwrap() + offset);
        }
        let answer = sandbox.ask_token_with(PATIENT_READ, &sandbox.sign(claims)).await;
        assert_eq!(answer.status, 200, "{offset}: {}", answer.text());
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
        let date = seconds(httpdate::parse_http_date(answer.field("Date").unwrap()).unwrap());
        assert!((date - offset - seconds(SystemTime::now())).abs() < 60, "{offset}: {date}");
        let body = answer.json();
        let token = body["access_token"].as_str().unwrap();
        assert_eq!(sandbox.get(PATIENTS, token).await.unwrap().status, 200);
        // Tokens end by this clock, too.
        sandbox.order(&json!({"clock_offset_seconds": offset + 301})).await;
        assert_eq!(sandbox.get(PATIENTS, token).await.unwrap().status, 401);
    }
}

#[tokio::test]
async fn tokens_end_when_they_say() {
    let settings = Settings { token_lifetime: Duration::from_secs(4), patients: 1, ..Settings::default() };
    let sandbox = RunningSandbox::start(settings, None).await;
    let since = Instant::now();
    let token = sandbox.token(PATIENT_READ).await;
    assert_eq!(sandbox.get(PATIENTS, &token).await.unwrap().status, 200);
    while sandbox.get(PATIENTS, &token).await.unwrap().status == 200 {
        assert!(since.elapsed() < crate::support::sandbox::DEADLINE, "never ends");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(since.elapsed() > Duration::from_millis(3990));
}

#[tokio::test]
async fn over_tls_the_end_is_told_or_not() {
    let settings = Settings { tls: Some(Tls::SelfSigned), patients: 20, ..Settings::default() };
    let sandbox = RunningSandbox::start(settings, None).await;
    assert!(sandbox.token_url.starts_with("https://"));
    let assertion = sandbox.sign(sandbox.claims());
    let fields = [("Content-Type", "application/x-www-form-urlencoded")];
    let form = crate::support::sandbox::form(PATIENT_READ, &assertion);
    let stream = tls_stream(&sandbox).await;
    let answer = exchange(stream, "POST", "/oauth2/default/token", &fields, form.as_bytes()).await.unwrap();
    let authorization = format!("Bearer {}", answer.json()["access_token"].as_str().unwrap());
    let fields = [("Authorization", authorization.as_str())];
    assert_eq!(sandbox.state().await["last_server_name"], "localhost");
    for (ending, whole) in [("close_notify", true), ("no_close_notify", false)] {
        sandbox.order(&json!({"fhir": {"framing": "http10", "ending": ending}})).await;
        let stream = tls_stream(&sandbox).await;
        let answer = exchange(stream, "GET", PATIENTS, &fields, b"").await;
        assert_eq!(answer.is_ok(), whole, "{ending}: {answer:?}");
    }
}

#[tokio::test]
async fn connections_end_as_apache_ends_them() {
    let settings =
        Settings { keep_alive: Duration::from_secs(3), requests_per_connection: 3, patients: 1, ..Settings::default() };
    let sandbox = RunningSandbox::start(settings, None).await;
    let metadata = "/apis/default/fhir/metadata";
    let mut stream = TcpStream::connect(sandbox.address).await.unwrap();
    for last in [false, false, true] {
        write_request(&mut stream, "GET", metadata, &[], b"").await.unwrap();
        let answer = read_answer(&mut stream).await.unwrap();
        assert_eq!(answer.field("Connection"), last.then_some("close"));
    }
    let closed = |mut stream: TcpStream| async move {
        let read = tokio::time::timeout(crate::support::sandbox::DEADLINE, stream.read(&mut [0; 1])).await.unwrap();
        matches!(read, Ok(0) | Err(_))
    };
    assert!(closed(stream).await);

    let mut idle = TcpStream::connect(sandbox.address).await.unwrap();
    write_request(&mut idle, "GET", metadata, &[], b"").await.unwrap();
    read_answer(&mut idle).await.unwrap();
    assert!(closed(idle).await);

    sandbox.order(&json!({"fhir": {"close_reused": true, "times": 1}})).await;
    let mut reused = TcpStream::connect(sandbox.address).await.unwrap();
    write_request(&mut reused, "GET", metadata, &[], b"").await.unwrap();
    assert_eq!(read_answer(&mut reused).await.unwrap().status, 200);
    write_request(&mut reused, "GET", metadata, &[], b"").await.unwrap();
    assert!(read_answer(&mut reused).await.is_err());

    sandbox.order(&json!({"fhir": {"close_idle": true, "times": 1}})).await;
    let mut silent = TcpStream::connect(sandbox.address).await.unwrap();
    write_request(&mut silent, "GET", metadata, &[], b"").await.unwrap();
    assert_eq!(read_answer(&mut silent).await.unwrap().field("Connection"), None);
    assert!(closed(silent).await);
}

#[tokio::test]
async fn the_listener_goes_down_and_comes_back() {
    let sandbox = started().await;
    let token = sandbox.token(PATIENT_READ).await;
    let mut open = TcpStream::connect(sandbox.address).await.unwrap();
    sandbox.order(&json!({"listener": "down"})).await;
    assert!(TcpStream::connect(sandbox.address).await.is_err());
    assert!(matches!(open.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    let state = sandbox.state().await;
    assert_eq!((&state["listener"], &state["connections_open"]), (&json!("down"), &json!(0)));
    sandbox.order(&json!({"listener": "up"})).await;
    assert_eq!(sandbox.get(PATIENTS, &token).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_share_a_session_run_one_after_the_other() {
    let sandbox = started().await;
    const DELAY: Duration = Duration::from_secs(3);
    sandbox.order(&json!({"fhir": {"delay_ms": DELAY.as_millis() as u64}})).await;
    let metadata = "/apis/default/fhir/metadata";
    let both = async |first: &str, second: &str| {
        let since = Instant::now();
        let first = [("Cookie", first)];
        let second = [("Cookie", second)];
        tokio::join!(send(sandbox.address, "GET", metadata, &first, ""), send(sandbox.address, "GET", metadata, &second, ""),);
        since.elapsed()
    };
    assert!(both("x=y; apiOpenEMR=one", "apiOpenEMR=one").await >= DELAY * 2);
    assert!(both("apiOpenEMR=one", "apiOpenEMR=two").await < DELAY * 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_requests_are_worked_on_than_there_are_workers() {
    let settings = Settings { workers: 2, patients: 1, ..Settings::default() };
    let sandbox = RunningSandbox::start(settings, None).await;
    sandbox.order(&json!({"fhir": {"delay_ms": 100}})).await;
    let since = Instant::now();
    let asked: Vec<_> = (0..6)
        .map(|_| {
            let address = sandbox.address;
            tokio::spawn(async move { send(address, "GET", "/apis/default/fhir/metadata", &[], "").await.status })
        })
        .collect();
    for task in asked {
        assert_eq!(task.await.unwrap(), 200);
    }
    assert!(since.elapsed() >= Duration::from_millis(300));
    assert_eq!(sandbox.state().await["most_workers_busy"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_workers_changes_while_they_work() {
    let sandbox = RunningSandbox::start(Settings { workers: 3, patients: 1, ..Settings::default() }, None).await;
    let ask = || {
        let address = sandbox.address;
        tokio::spawn(async move { send(address, "GET", "/apis/default/fhir/metadata", &[], "").await.status })
    };
    let busy = async || sandbox.state().await["workers_busy"].as_u64().unwrap();
    sandbox.order(&json!({"fhir": {"delay_ms": 3_000}})).await;
    let mut asked: Vec<_> = (0..3).map(|_| ask()).collect();
    until(async || busy().await == 3).await;
    sandbox.order(&json!({"workers": 1})).await;
    assert_eq!(sandbox.state().await["workers"], 1);
    asked.extend((0..2).map(|_| ask()));
    for task in asked.drain(..3) {
        assert_eq!(task.await.unwrap(), 200);
    }
    until(async || busy().await == 1).await;
    sandbox.order(&json!({"workers": 4})).await;
    asked.extend((0..4).map(|_| ask()));
    until(async || busy().await == 4).await;
    for task in asked {
        assert_eq!(task.await.unwrap(), 200);
    }
    assert_eq!(send(sandbox.admin, "POST", "/__sandbox/faults", &[], "{\"workers\": 0}").await.status, 400);
    send(sandbox.admin, "POST", "/__sandbox/reset", &[], "").await;
    assert_eq!(sandbox.state().await["workers"], 3);
}

async fn until(is_so: impl AsyncFn() -> bool) {
    let waited = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waited).await.expect("in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_takes_as_long_as_openemr_also_for_a_client_that_hangs_up() {
    let settings = Settings { workers: 1, patients: 20, timings: Timings::OpenEmr, ..Settings::default() };
    let sandbox = RunningSandbox::start(settings, None).await;
    let scopes = "system/Patient.read system/Encounter.read";
    let token = sandbox.token(scopes).await;
    // 15 % less than usual, at least.
    for (target, at_least) in [("metadata", 246), ("Patient?_count=5", 26), ("Encounter", 756)] {
        let since = Instant::now();
        assert_eq!(sandbox.get(&format!("/apis/default/fhir/{target}"), &token).await.unwrap().status, 200);
        assert!(since.elapsed() >= Duration::from_millis(at_least), "{target}");
    }
    let mut leaves = TcpStream::connect(sandbox.address).await.unwrap();
    let authorization = format!("Bearer {token}");
    let since = Instant::now();
    let fields = [("Authorization", authorization.as_str())];
    write_request(&mut leaves, "GET", "/apis/default/fhir/Encounter", &fields, b"").await.unwrap();
    until(async || sandbox.state().await["workers_busy"] == 1).await;
    drop(leaves);
    assert_eq!(sandbox.get(PATIENTS, &token).await.unwrap().status, 200);
    assert!(since.elapsed() >= Duration::from_millis(756), "the worker was free before its time");
}

#[tokio::test]
async fn bodies_stream_in_both_directions() {
    let sandbox = started().await;
    sandbox.order(&json!({"binary": {"id": "5000", "bytes": 3_000_000}})).await;
    let token = sandbox.token("system/Binary.read system/Patient.write").await;
    let answer = sandbox.get("/apis/default/fhir/Binary/5000", &token).await.unwrap();
    assert_eq!(answer.body.len(), 3_000_000);
    assert!(answer.body.iter().enumerate().all(|(index, &byte)| byte == (index % 251) as u8));

    let body = vec![b'x'; 6_000_000];
    let authorization = format!("Bearer {token}");
    let fields = [("Authorization", authorization.as_str())];
    let stream = TcpStream::connect(sandbox.address).await.unwrap();
    let answer = exchange(stream, "POST", "/apis/default/fhir/Patient", &fields, &body).await.unwrap();
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("resourceType Not Found"));
    let seen = &sandbox.state().await["last_fhir_request"];
    assert_eq!(seen["body_length"], 6_000_000);
    let sha256: String =
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &body).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(seen["body_sha256"], sha256);
}

#[tokio::test]
async fn what_is_created_is_found_and_links_follow_the_site_address() {
    let settings = Settings { site_address: Some("https://emr.example.org".to_owned()), patients: 3, ..Settings::default() };
    let sandbox = RunningSandbox::start(settings, None).await;
    let token = sandbox.token("system/Patient.read system/Patient.write").await;
    let authorization = format!("Bearer {token}");
    let fields = [("Authorization", authorization.as_str()), ("X-Forwarded-Host", "evil.example")];
    let sent = json!({
        "resourceType": "Patient", "name": [{"use": "official", "family": "Made", "given": ["Up"]}], "gender": "male",
        "birthDate": "2001-02-03",
    });
    let create = "/apis/default/fhir/Patient";
    let answer = send(sandbox.address, "POST", create, &fields, &sent.to_string()).await;
    assert_eq!((answer.status, answer.field("Location")), (201, None));
    assert_eq!(answer.json()["pid"], 4);
    let id = answer.json()["uuid"].as_str().unwrap().to_owned();
    let found = sandbox.get("/apis/default/fhir/Patient?family=made", &token).await.unwrap().json();
    assert_eq!(found["entry"][0]["fullUrl"], format!("https://emr.example.org{create}/{id}"));
    assert_eq!(found["entry"][0]["resource"]["birthDate"], "2001-02-03");
}

#[tokio::test]
async fn a_registered_client_works_once_it_is_enabled() {
    for personality in [Personality::V8_0, Personality::V7_0_3] {
        let sandbox = RunningSandbox::start(Settings { personality, patients: 1, ..Settings::default() }, None).await;
        let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let request = json!({
            "application_type": "private", "client_name": "x", "redirect_uris": ["https://x.example"],
            "token_endpoint_auth_method": "client_secret_post", "jwks": jwk_set(&[&key]), "scope": PATIENT_READ,
        });
        let path = "/oauth2/default/registration";
        let json = [("Content-Type", "application/json")];
        let answer = send(sandbox.address, "POST", path, &json, &request.to_string()).await.json();
        let id = answer["client_id"].as_str().unwrap();
        assert_eq!(id.len(), 43);
        let assertion = || {
            let mut claims = sandbox.claims();
            claims.insert("iss".to_owned(), json!(id));
            claims.insert("sub".to_owned(), json!(id));
            sign(&key, "RS384", claims)
        };
        refused(&sandbox.ask_token_with(PATIENT_READ, &assertion()).await, 401, "invalid_client");
        sandbox.order(&json!({"clients": {id: {"enabled": true}}})).await;
        assert_eq!(sandbox.ask_token_with(PATIENT_READ, &assertion()).await.status, 200);
        sandbox.order(&json!({"system_scopes": "off"})).await;
        refused(&sandbox.ask_token_with(PATIENT_READ, &assertion()).await, 400, "invalid_scope");
    }
}

#[tokio::test]
async fn heads_over_apaches_limits_are_refused() {
    let sandbox = started().await;
    let long = "x".repeat(33_000);
    let answer = send(sandbox.address, "GET", PATIENTS, &[("Authorization", long.as_str())], "").await;
    assert_eq!((answer.status, answer.field("Connection")), (400, Some("close")));
    let answer = send(sandbox.address, "GET", &format!("/{}", "x".repeat(9000)), &[], "").await;
    assert_eq!(answer.status, 414);
}

#[tokio::test]
async fn the_admin_refuses_what_it_does_not_know_and_resets() {
    let sandbox = started().await;
    for orders in [json!({"tokne": {}}), json!({"fhir": {"erorr": "system"}}), json!({"clients": {"nobody": {"enabled": true}}})]
    {
        let answer = send(sandbox.admin, "POST", "/__sandbox/faults", &[], &orders.to_string()).await;
        assert_eq!(answer.status, 400, "{orders}");
    }
    sandbox.order(&json!({"token": {"down": true}, "fhir": {"html": true}, "listener": "down"})).await;
    assert_eq!(send(sandbox.admin, "POST", "/__sandbox/reset", &[], "").await.status, 200);
    let token = sandbox.token(PATIENT_READ).await;
    assert_eq!(sandbox.get(PATIENTS, &token).await.unwrap().json()["total"], 5);
}

#[tokio::test]
async fn nodes_with_one_database_are_one_openemr() {
    let folder = tempfile::tempdir().unwrap();
    let node = || {
        let site_address = Some("https://emr.example.org".to_owned());
        RunningSandbox::start(
            Settings { database: Some(folder.path().into()), site_address, patients: 1, ..Settings::default() },
            None,
        )
    };
    let (one, other) = (node().await, node().await);
    assert_ne!(one.address, other.address);
    assert_eq!(one.token_url, "https://emr.example.org/oauth2/default/token");
    let both = |token: String| {
        let (one, other) = (&one, &other);
        async move { [one.get(PATIENTS, &token).await.unwrap().status, other.get(PATIENTS, &token).await.unwrap().status] }
    };
    let token = one.token(PATIENT_READ).await;
    assert_eq!(both(token.clone()).await, [200, 200]);
    // Each node has a key of its own for the client here; what it signs is spent at both.
    let mut claims = one.claims();
    claims.insert("jti".to_owned(), json!("used at one node"));
    assert_eq!(one.ask_token_with(PATIENT_READ, &one.sign(claims.clone())).await.status, 200);
    refused(&other.ask_token_with(PATIENT_READ, &other.sign(claims)).await, 400, "invalid_client");
    for (how, status) in [("by_admin", 401), ("trusted_user", 400), ("unknown", 401)] {
        let token = other.token(PATIENT_READ).await;
        one.order(&json!({"revoke_tokens": how})).await;
        assert_eq!(both(token).await, [status, status], "{how}");
    }
    let token = one.token(PATIENT_READ).await;
    drop((one, other));
    assert_eq!(node().await.get(PATIENTS, &token).await.unwrap().status, 200, "a token did not outlive the restart");
}

#[test]
fn a_node_that_is_killed_comes_back_with_its_database() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().to_str().unwrap();
    let public = "https://emr.example.org";
    let node = |listen: &str| OpenEmr::with(&["--database", database, "--site-address", public, "--listen", listen]);
    let mut first = node("127.0.0.1:0");
    let mut config = config(&first);
    config["sites"]["default"]["token_audience"] = json!(format!("{public}/oauth2/default/token"));
    let gateway = Gateway::with(config);
    assert_eq!(gateway.caller().get("/fhir/Patient").status, 200);
    first.process.signal("KILL");
    crate::support::eventually("the node is dead", || first.process.ended());
    assert!(gateway.caller().get("/fhir/Patient").status >= 500);
    let again = node(&first.address.to_string());
    assert_eq!(gateway.caller().get("/fhir/Patient").status, 200);
    assert_eq!((again.count("token_requests"), again.count("fhir_requests")), (0, 1));
}

#[tokio::test]
async fn each_site_has_its_own_audience_and_tokens() {
    for (personality, status) in [(Personality::V8_0, 401), (Personality::V7_0_3, 400)] {
        let sites = vec!["default".to_owned(), "north".to_owned()];
        let settings = Settings { personality, sites, patients: 1, ..Settings::default() };
        let sandbox = RunningSandbox::start(settings, None).await;
        let token = sandbox.token(PATIENT_READ).await;
        assert_eq!(sandbox.get("/apis/default/fhir/Patient", &token).await.unwrap().status, 200);
        assert_eq!(sandbox.get("/apis/north/fhir/Patient", &token).await.unwrap().status, status);
        let north = "/oauth2/north/token";
        let fields = [("Content-Type", "application/x-www-form-urlencoded")];
        for (aud, status) in [(sandbox.token_url.clone(), 400), (sandbox.token_url.replace("/default/", "/north/"), 200)] {
            let mut claims = sandbox.claims();
            claims.insert("aud".to_owned(), json!(aud));
            let form = crate::support::sandbox::form(PATIENT_READ, &sandbox.sign(claims));
            assert_eq!(send(sandbox.address, "POST", north, &fields, &form).await.status, status);
        }
    }
}
