#![allow(clippy::unwrap_used)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::reply::Reply;
use super::script::{Script, Use};
use super::shared_store::SharedStore;
use super::store_error::StoreError;
use crate::config::{CaFile, StoreSettings, StoreUrl};
use redis_server::Redis;

#[path = "../../tests/it/support/redis.rs"]
#[allow(dead_code, unreachable_pub, clippy::panic)]
pub(crate) mod redis_server;

/// How long anything may take that is bound to happen.
const DEADLINE: Duration = Duration::from_secs(60);

static COUNT: Script = Script::new(Use::Rates, "return redis.call('INCRBY', KEYS[1], ARGV[1])");

fn settings(port: u16) -> StoreSettings {
    let url = StoreUrl { tls: false, user: None, host: "127.0.0.1".to_owned(), port, database: 0 };
    StoreSettings { url, password_file: None, ca_file: None, timeout: Duration::from_millis(500), prefix: "test:".to_owned() }
}

/// A store on a busy machine.
fn patient(port: u16) -> StoreSettings {
    StoreSettings { timeout: DEADLINE, ..settings(port) }
}

async fn count(store: &SharedStore, by: i64) -> Result<Reply, StoreError> {
    store.run(&COUNT, &["n".to_owned()], &[by.to_string().into_bytes()]).await
}

/// Asks until the store answers.
async fn comes_back(store: &SharedStore) -> Reply {
    let end = Instant::now() + DEADLINE;
    loop {
        match count(store, 1).await {
            Ok(reply) => return reply,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn errors(store: &SharedStore, of: Use) -> u64 {
    store.errors().find(|(used_for, _)| *used_for == of).unwrap().1
}

fn password_file(folder: &Path, password: &str) -> std::path::PathBuf {
    let file = folder.join("password");
    fs::write(&file, format!("{password}\n")).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    file
}

#[tokio::test]
async fn a_script_runs_with_its_keys_below_the_prefix_and_answers() {
    let redis = Redis::start();
    let store = SharedStore::connect(&patient(redis.port));
    assert_eq!(store.trouble(), None);
    assert_eq!(count(&store, 5).await, Ok(Reply::Int(5)));
    assert_eq!(count(&store, -7).await, Ok(Reply::Int(-2)));
    static LOOK: Script = Script::new(
        Use::Rates,
        "redis.call('SET', KEYS[2], ARGV[1]) return {redis.call('GET', KEYS[2]), KEYS[1], redis.status_reply('OK'), false, {7}}",
    );
    let bytes = b"\0\r\n\xff".to_vec();
    let reply = store.run(&LOOK, &["n".to_owned(), "m".to_owned()], std::slice::from_ref(&bytes)).await;
    let text = |text: &str| Reply::Bytes(text.as_bytes().to_vec());
    let list = vec![Reply::Bytes(bytes), text("test:n"), text("OK"), Reply::Nil, Reply::List(vec![Reply::Int(7)])];
    assert_eq!(reply, Ok(Reply::List(list)));
    assert_eq!(store.check().await, Ok(()));
    assert!(store.errors().all(|(_, count)| count == 0));
}

#[tokio::test]
async fn an_error_of_a_script_is_known_by_its_first_word_and_costs_no_connection() {
    let redis = Redis::start();
    let store = SharedStore::connect(&patient(redis.port));
    static WRONG: Script = Script::new(Use::Exports, "return redis.error_reply('FENCED patient 17')");
    let error = store.run(&WRONG, &[], &[]).await.unwrap_err();
    assert_eq!(error.to_string(), "refused a command: FENCED");
    assert_eq!(store.trouble(), None);
    assert_eq!((errors(&store, Use::Exports), errors(&store, Use::Rates)), (1, 0));
}

#[tokio::test]
async fn many_share_one_connection() {
    let redis = Redis::start();
    let store = SharedStore::connect(&patient(redis.port));
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { count(&store, 1).await })
        })
        .collect();
    let mut seen = Vec::new();
    for task in tasks {
        seen.push(task.await.unwrap().unwrap().int().unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=200).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_store_that_is_away_is_an_error_at_once_and_comes_back_by_itself() {
    let mut redis = Redis::start();
    let store = SharedStore::connect(&patient(redis.port));
    assert_eq!(count(&store, 1).await, Ok(Reply::Int(1)));
    redis.kill();
    let end = Instant::now() + DEADLINE;
    // Each of these would wait for a minute if it waited at all.
    for _ in 0..100 {
        assert!(matches!(count(&store, 1).await, Err(StoreError::Unreachable(_))));
    }
    assert!(Instant::now() < end);
    assert!(matches!(store.trouble(), Some(StoreError::Unreachable(_))));
    assert_eq!(errors(&store, Use::Rates), 100);
    redis.restart();
    // It has lost all that it knew, the script included.
    assert_eq!(comes_back(&store).await, Reply::Int(1));
    assert_eq!(store.trouble(), None);
}

#[tokio::test]
async fn a_connection_that_the_store_has_closed_meanwhile_is_opened_again_before_the_next_command() {
    let redis = Redis::start();
    let store = SharedStore::connect(&patient(redis.port));
    assert_eq!(count(&store, 1).await, Ok(Reply::Int(1)));
    for expected in 2..10 {
        let mut raw = tokio::net::TcpStream::connect(("127.0.0.1", redis.port)).await.unwrap();
        raw.write_all(b"CLIENT KILL TYPE normal SKIPME yes\r\n").await.unwrap();
        let end = Instant::now() + DEADLINE;
        while store.is_connected() {
            assert!(Instant::now() < end, "it is not seen that the connection was closed");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(count(&store, 1).await, Ok(Reply::Int(expected)));
    }
}

#[tokio::test]
async fn the_password_and_the_database_are_the_configured_ones() {
    let folder = TempDir::new().unwrap();
    let redis = Redis::with(&["--requirepass", "s3cret"]);
    let without = SharedStore::connect(&patient(redis.port));
    assert_eq!(count(&without, 1).await, Err(StoreError::Unauthenticated));
    let with = |password: &str, user: Option<&str>, database| {
        let url = StoreUrl { database, user: user.map(str::to_owned), ..patient(redis.port).url };
        let password_file = Some(password_file(folder.path(), password));
        SharedStore::connect(&StoreSettings { url, password_file, ..patient(redis.port) })
    };
    let wrong = with("guess", None, 0);
    assert_eq!(count(&wrong, 1).await, Err(StoreError::Unauthenticated));
    assert!(!format!("{wrong:?}{:?}", wrong.trouble()).contains("guess"));
    assert_eq!(count(&with("s3cret", None, 0), 1).await, Ok(Reply::Int(1)));
    assert_eq!(count(&with("s3cret", Some("default"), 0), 1).await, Ok(Reply::Int(2)));
    assert_eq!(count(&with("s3cret", Some("default"), 3), 1).await, Ok(Reply::Int(1)));
    assert_eq!(count(&with("s3cret", Some("nobody"), 0), 1).await, Err(StoreError::Unauthenticated));
    // The file is read before each connection.
    password_file(folder.path(), "s3cret");
    assert_eq!(comes_back(&wrong).await, Reply::Int(3));
}

#[tokio::test]
async fn a_password_that_others_can_read_is_not_used() {
    let folder = TempDir::new().unwrap();
    let file = password_file(folder.path(), "s3cret");
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let redis = Redis::with(&["--requirepass", "s3cret"]);
    let store = SharedStore::connect(&StoreSettings { password_file: Some(file), ..patient(redis.port) });
    let error = count(&store, 1).await.unwrap_err().to_string();
    assert!(error.contains("store.password_file") && error.contains("chmod 600"), "{error}");
}

#[tokio::test]
async fn the_certificate_is_checked_against_the_operators_own_ca() {
    let folder = TempDir::new().unwrap();
    let pem = |name: &str, text: String| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let authority = || {
        let mut parameters = rcgen::CertificateParams::default();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        rcgen::CertifiedIssuer::self_signed(parameters, rcgen::KeyPair::generate().unwrap()).unwrap()
    };
    let (own, foreign, key) = (authority(), authority(), rcgen::KeyPair::generate().unwrap());
    let certificate = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &own).unwrap();
    let (certificate_file, key_file) = (pem("certificate.pem", certificate.pem()), pem("key.pem", key.serialize_pem()));
    let own_file = pem("ca.pem", own.pem());
    let redis = Redis::with(&[
        "--tls-port",
        "PORT",
        "--tls-cert-file",
        &certificate_file,
        "--tls-key-file",
        &key_file,
        "--tls-auth-clients",
        "no",
        "--tls-ca-cert-file",
        &own_file,
    ]);
    let trusting = |authority: &rcgen::CertifiedIssuer<'_, rcgen::KeyPair>, host: &str| {
        let url = StoreUrl { tls: true, host: host.to_owned(), ..patient(redis.port).url };
        let ca_file = CaFile { path: own_file.clone().into(), certificates: vec![authority.der().clone()] };
        SharedStore::connect(&StoreSettings { url, ca_file: Some(ca_file), ..patient(redis.port) })
    };
    assert_eq!(count(&trusting(&own, "127.0.0.1"), 1).await, Ok(Reply::Int(1)));
    for (store, why) in [(trusting(&foreign, "127.0.0.1"), "another CA"), (trusting(&own, "localhost"), "another name")] {
        let error = count(&store, 1).await.expect_err(why).to_string();
        assert_eq!(error, "cannot be reached: its certificate is not trusted (store.ca_file)", "{why}");
    }
    let plain = count(&SharedStore::connect(&settings(redis.port)), 1).await;
    assert!(plain.is_err(), "{plain:?}");
}

/// A server that reads a command and answers each connection with these bytes, and then nothing.
async fn hostile(answer: Vec<u8>) -> SharedStore {
    SharedStore::connect(&settings(answers_with(answer).await))
}

/// The port of that server.
async fn answers_with(answer: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            open.push(tokio::spawn(async move {
                let mut command = [0; 64];
                let _ = stream.read(&mut command).await;
                let _ = stream.write_all(&answer).await;
                std::future::pending::<()>().await;
            }));
        }
    });
    port
}

#[tokio::test]
async fn a_store_that_says_nothing_costs_the_configured_time_and_no_more() {
    let store = hostile(Vec::new()).await;
    assert_eq!(count(&store, 1).await, Err(StoreError::TimedOut));
    let end = Instant::now() + DEADLINE;
    while store.trouble().is_none() {
        assert!(Instant::now() < end, "it is never seen to be away");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(store.trouble(), Some(StoreError::TimedOut));
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_nobodys() {
    let redis = Redis::start();
    let store = SharedStore::connect(&settings(redis.port));
    comes_back(&store).await;
    redis.suspend();
    assert_eq!(count(&store, 100).await, Err(StoreError::TimedOut));
    redis.resume();
    let Reply::Int(first) = comes_back(&store).await else { panic!("no number") };
    // Whether the command that nobody waited for was run is not known. Its answer is not the next one's.
    assert!(first == 2 || first == 102, "{first}");
    assert_eq!(count(&store, 10).await, Ok(Reply::Int(first + 10)));
}

#[tokio::test]
async fn answers_that_are_none_cost_the_connection() {
    for (answer, expected) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], StoreError::Unexpected),
        (b"\xff\xfe\xfd\r\n", StoreError::Unexpected),
        (b"$-7\r\n", StoreError::Unexpected),
        (b"%1\r\n+a\r\n+b\r\n", StoreError::Unexpected),
        (b"-LOADING Redis is loading the dataset in memory\r\n", StoreError::Refused(super::store_error::Word::of("LOADING"))),
        // Longer than anything that comes.
        (b"$536870912\r\nabc", StoreError::TimedOut),
        (b"*2147483647\r\n", StoreError::TimedOut),
    ] {
        let store = hostile(answer.to_vec()).await;
        let end = Instant::now() + DEADLINE;
        let mut error = count(&store, 1).await.unwrap_err();
        // Opening takes longer than a command waits.
        while error != expected && error == StoreError::TimedOut && Instant::now() < end {
            error = count(&store, 1).await.unwrap_err();
        }
        assert_eq!(error, expected, "{}", String::from_utf8_lossy(answer));
    }
}

#[tokio::test]
async fn an_answer_without_end_is_not_kept() {
    let mut answer = b"$536870912\r\n".to_vec();
    answer.resize(super::watched_stream::MOST_UNTAKEN + 1024 * 1024, b'x');
    // Megabytes take their time on a busy machine, and after a timeout they begin anew.
    let settings = StoreSettings { timeout: DEADLINE, ..settings(answers_with(answer).await) };
    let store = SharedStore::connect(&settings);
    let end = Instant::now() + 2 * DEADLINE;
    while !matches!(store.trouble(), Some(StoreError::Unreachable(_))) {
        let error = count(&store, 1).await.unwrap_err();
        assert!(Instant::now() < end, "{error}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_port_on_which_nobody_listens_is_said_to_be_none() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = count(&SharedStore::connect(&patient(port)), 1).await.unwrap_err().to_string();
    assert!(error.contains("refused"), "{error}");
}

#[tokio::test]
async fn a_new_configuration_keeps_the_connection_where_the_settings_are_the_same() {
    let redis = Redis::start();
    let store = SharedStore::connect(&patient(redis.port));
    assert_eq!(count(&store, 1).await, Ok(Reply::Int(1)));
    let same = SharedStore::after(&patient(redis.port), Some(&store));
    let other = SharedStore::after(&StoreSettings { prefix: "other:".to_owned(), ..patient(redis.port) }, Some(&store));
    assert_eq!(count(&same, 1).await, Ok(Reply::Int(2)));
    assert_eq!(count(&other, 1).await, Ok(Reply::Int(1)));
    static WRONG: Script = Script::new(Use::Rates, "return redis.error_reply('NO')");
    assert!(other.run(&WRONG, &[], &[]).await.is_err());
    assert_eq!(errors(&same, Use::Rates), 1, "they count together");
}

#[tokio::test]
async fn a_store_that_takes_no_writes_is_away() {
    let redis = Redis::start();
    let store = SharedStore::connect(&patient(redis.port));
    assert_eq!(count(&store, 1).await, Ok(Reply::Int(1)));
    // Another server has its place by now, and this one is a replica.
    assert_eq!(redis.ask("REPLICAOF 127.0.0.1 1"), "+OK\r\n");
    assert!(store.check().await.is_err());
    let trouble = store.trouble().unwrap();
    assert!(trouble.to_string().contains("READONLY"), "{trouble}");
    assert!(!store.is_connected());
    assert_eq!(redis.ask("REPLICAOF NO ONE"), "+OK\r\n");
    assert_eq!(comes_back(&store).await, Reply::Int(2));
    assert_eq!(store.trouble(), None);
}
