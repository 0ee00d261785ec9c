//! The gateway: `openemr-gateway serve` with a configuration that a test can change.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::http::{Answer, Caller};
use super::openemr::{CLIENT, OpenEmr};
use super::permits::STARTS;
use super::{Process, eventually, keys};

/// The names by which tests call the gateway, besides those that it knows by itself.
const HOSTS: [&str; 7] = ["gateway.example", "gateway", "gw.example", "pub.example", "fhir.example.org", "a", "b"];

/// A running gateway.
pub struct Gateway {
    pub process: Process,
    pub address: SocketAddr,
    /// What it was started with.
    pub config: Value,
    folder: TempDir,
}

/// Gives the default site copies of its key files in `folder`, which a test can change.
pub fn copy_keys(config: &mut Value, folder: &Path) {
    for (key, file) in [("private_key", "private_key.pem"), ("jwks", "jwks.json")] {
        let copy = folder.join(file);
        fs::copy(config["sites"]["default"][key].as_str().unwrap(), &copy).unwrap();
        config["sites"]["default"][key] = json!(copy);
    }
}

/// A configuration in front of `openemr`, as JSON, which is YAML too.
pub fn config(openemr: &OpenEmr) -> Value {
    let mut config = config_for(&openemr.base);
    if openemr.base.starts_with("https:") {
        // The certificate is for localhost as well as for the address; names are the harder way.
        config["sites"]["default"]["ca_file"] = json!(openemr.certificate);
    }
    config
}

/// A configuration in front of whatever is at `base`.
pub fn config_for(base: &str) -> Value {
    json!({
        "sites": {"default": site(base, "RS384")},
        "access": {"hosts": HOSTS},
        "log": {"level": "info", "format": "text"},
    })
}

/// The same without any repair: OpenEMR's answers as they are.
pub fn pass_through(openemr: &OpenEmr) -> Value {
    let mut config = config(openemr);
    config["sites"]["default"]["conformance"] = json!("pass_through");
    config["sites"]["default"]["paging"] = json!("off");
    config
}

/// A site of that OpenEMR, with keys of `algorithm`. Requests share no answers: tests count what OpenEMR is asked. The limit on
/// requests in flight stays where it is: on a busy machine the sandbox's milliseconds become many, which is overload.
pub fn site(base: &str, algorithm: &str) -> Value {
    let keys = keys(algorithm);
    json!({
        "openemr": base,
        "client_id": CLIENT,
        "private_key": keys.join("private_key.pem"),
        "jwks": keys.join("jwks.json"),
        "scopes": ["system/Patient.read", "system/Observation.read", "system/Binary.read"],
        "share_answers": false,
        "in_flight": {"adaptive": false},
    })
}

impl Gateway {
    /// In front of `openemr`, with defaults; returns once it listens.
    pub fn start(openemr: &OpenEmr) -> Self {
        Self::with(config(openemr))
    }

    /// With that configuration; an address is filled in unless it names one.
    pub fn with(config: Value) -> Self {
        Self::within(&[], config)
    }

    /// The same, by way of a program that becomes the gateway.
    pub fn within(program: &[&str], config: Value) -> Self {
        // Another program may take the free port before the gateway does.
        for _ in 0..5 {
            if let Some(gateway) = Self::try_start(program, config.clone()) {
                return gateway;
            }
        }
        panic!("no port is free for long enough");
    }

    fn try_start(program: &[&str], mut config: Value) -> Option<Self> {
        let address = match config["listen"][0]["address"].as_str() {
            Some(given) => given.parse().unwrap(),
            None => {
                let free = free_address();
                let listener = config["listen"].get_mut(0).map_or(json!({}), Value::take);
                config["listen"] = json!([listener]);
                config["listen"][0]["address"] = json!(free.to_string());
                free
            }
        };
        match &config["access"] {
            Value::Null => config["access"] = json!({"hosts": HOSTS}),
            Value::String(rule) => config["access"] = json!({"allow_from": rule, "hosts": HOSTS}),
            rules if rules["hosts"].is_null() => config["access"]["hosts"] = json!(HOSTS),
            _ => {}
        }
        let folder = tempfile::tempdir().unwrap();
        // Two gateways that run at once must not meet on one socket.
        let sock = folder.path().join("upgrade.sock");
        if config["server"]["upgrade_sock"].is_null() {
            config["server"]["upgrade_sock"] = json!(sock);
        }
        let file = folder.path().join("gateway.yaml");
        fs::write(&file, config.to_string()).unwrap();
        let _permit = STARTS.take();
        let mut process = Process::start_within(program, &["serve", "--config", path(&file)]);
        let listens = eventually("the gateway listens", || {
            // Below level info the log does not say so, and elsewhere not here.
            let is_quiet = matches!(config["log"]["level"].as_str(), Some("warn" | "error")) || !config["log"]["to"].is_null();
            if process.log().contains("listening on ") || (is_quiet && TcpStream::connect(address).is_ok()) {
                return Some(true);
            }
            process.ended().map(|_| false)
        });
        if !listens {
            let log = process.log();
            assert!(log.contains("in use"), "the gateway ended: {log}");
            return None;
        }
        Some(Self { process, address, config, folder })
    }

    /// The file that it was started with.
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("gateway.yaml")
    }

    /// Writes another configuration where the gateway will find it.
    pub fn rewrite(&self, config: &Value) {
        let beside = self.folder.path().join("gateway.yaml.new");
        fs::write(&beside, config.to_string()).unwrap();
        fs::rename(beside, self.config_file()).unwrap();
    }

    /// Writes another configuration, sends SIGHUP, and waits until the log says what came of it.
    pub fn reload(&self, config: &Value) -> String {
        self.rewrite(config);
        let before = self.log().len();
        self.process.signal("HUP");
        eventually("the reload ends", || {
            let log = self.log()[before..].to_owned();
            (log.contains("is in force") || log.contains("stays as it is")).then_some(log)
        })
    }

    /// Another process that takes over from this one, once this one gets SIGQUIT.
    pub fn successor(&self) -> Process {
        Process::start(&["serve", "--upgrade", "--config", path(&self.config_file())])
    }

    pub fn caller(&self) -> Caller {
        Caller::new(self.address)
    }

    /// Makes OpenEMR close the next connection that is used again, in place of an answer, and asks until that was done:
    /// a connection can still be on its way to the pool when the next request looks for it. Gives the answer of the
    /// request that met it, and how many times OpenEMR was asked in all.
    pub fn meet_a_dead_connection(&self, openemr: &OpenEmr, mut ask: impl FnMut() -> Answer) -> (Answer, u64) {
        eventually("a request meets a dead connection", || {
            openemr.reset();
            // It leaves a connection behind, which the next request takes as a rule.
            assert_eq!(self.caller().get("/fhir/Patient?_count=1").status, 200);
            let before = openemr.count("fhir_requests");
            openemr.order(&json!({"fhir": {"close_reused": true, "times": 1}}));
            let answer = ask();
            (openemr.count("requests_dropped") == 1).then(|| (answer, openemr.count("fhir_requests") - before))
        })
    }

    /// `POST /oauth/token` with that query.
    pub fn token(&self, query: &str) -> Answer {
        self.caller().post(&format!("/oauth/token{query}"), &[], b"")
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits for a line of the log with all these words.
    pub fn logs(&self, words: &[&str]) -> String {
        eventually(&format!("a log line with {words:?}"), || {
            let log = self.log();
            log.lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned)
        })
    }

    /// Waits for a line with all these words, behind the first `from` bytes of the log.
    pub fn logs_after(&self, from: usize, words: &[&str]) -> String {
        eventually(&format!("a log line with {words:?}"), || {
            let log = self.log();
            log[from..].lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned)
        })
    }

    /// The access line of the request with this `X-Request-Id`.
    pub fn access_line(&self, request_id: &str) -> String {
        self.logs(&["access", request_id])
    }
}

/// A certificate for localhost and its key, made by `keys certificate`.
pub struct Certificate {
    pub certificate: PathBuf,
    pub private_key: PathBuf,
    _folder: TempDir,
}

impl Certificate {
    pub fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut making = Process::start(&["keys", "certificate", "--host", "localhost", "--out", path(folder.path())]);
        assert!(eventually("the certificate is made", || making.ended()).success());
        let file = |name| folder.path().join(name);
        Self { certificate: file("localhost.pem"), private_key: file("localhost-key.pem"), _folder: folder }
    }

    /// What a listener with it has under `tls`.
    pub fn tls(&self) -> Value {
        json!({"certificate": self.certificate, "private_key": self.private_key})
    }
}

/// An address on which nobody listens at the moment. Not from the range that the system takes ports from by itself: the
/// thousands of connections of other tests would be given it before the gateway has it.
pub fn free_address() -> SocketAddr {
    loop {
        let port = 10_000 + (uuid::Uuid::new_v4().as_u128() % 20_000) as u16;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().unwrap();
        }
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
