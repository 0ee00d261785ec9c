//! The sandbox: `openemr-gateway sandbox`, with its faults and counters.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use openemr_gateway::bench::{Mender, Repairs};
use serde_json::Value;
use tempfile::TempDir;

use super::http::Caller;
use super::permits::STARTS;
use super::{Process, eventually, keys};

/// The client that is registered and enabled.
pub const CLIENT: &str = "e2e-client";

/// A running sandbox.
pub struct OpenEmr {
    pub process: Process,
    /// `http://127.0.0.1:PORT`
    pub base: String,
    pub address: SocketAddr,
    /// What a client of `--tls` has to trust.
    pub certificate: PathBuf,
    admin: SocketAddr,
    _folder: TempDir,
}

impl OpenEmr {
    /// 8.0 over plain HTTP.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With more options of `sandbox`.
    pub fn with(options: &[&str]) -> Self {
        Self::for_keys("RS384", options)
    }

    /// With the client's JWK Set from the keys of `algorithm`.
    pub fn for_keys(algorithm: &str, options: &[&str]) -> Self {
        Self::with_jwks(keys(algorithm).join("jwks.json").to_str().unwrap(), options)
    }

    /// With the client's JWK Set from a file or a URL.
    pub fn with_jwks(jwks: &str, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tls_folder = folder.path().to_str().unwrap().to_owned();
        let mut arguments = vec!["sandbox", "--client-id", CLIENT, "--jwks", jwks];
        for default in [["--listen", "127.0.0.1:0"], ["--patients", "20"]] {
            if !options.contains(&default[0]) {
                arguments.extend(default);
            }
        }
        if options.contains(&"--tls") && !options.contains(&"--tls-certificate") {
            arguments.extend(["--tls-dir", &tls_folder]);
        }
        arguments.extend(options);
        let _permit = STARTS.take();
        let mut process = Process::start(&arguments);
        let output = eventually("the sandbox listens", || {
            assert!(process.ended().is_none(), "the sandbox ended: {}", process.log());
            Some(process.output()).filter(|output| output.contains("listening on "))
        });
        let after = |mark: &str| {
            let line = output.lines().find_map(|line| line.split_once(mark)).unwrap_or_else(|| panic!("{mark}: {output}"));
            line.1.trim().to_owned()
        };
        let base = after("listening on ");
        Self {
            address: base.rsplit('/').next().unwrap().parse().unwrap(),
            admin: after("admin http://").parse().unwrap(),
            certificate: folder.path().join("openemr.pem"),
            base,
            process,
            _folder: folder,
        }
    }

    /// Orders faults; see the sandbox's admin.
    pub fn order(&self, orders: &Value) {
        let answer = Caller::new(self.admin).post("/__sandbox/faults", &[], orders.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{orders}: {}", answer.text());
    }

    /// Everything in order again, counters at nought.
    pub fn reset(&self) {
        assert_eq!(Caller::new(self.admin).post("/__sandbox/reset", &[], b"").status, 200);
    }

    /// The counters and the last requests.
    pub fn state(&self) -> Value {
        Caller::new(self.admin).get("/__sandbox/state").json()
    }

    /// What the repository for AuditEvents has received: `events`, why others were `invalid`, and the field `authorization`.
    pub fn audit_events(&self) -> Value {
        Caller::new(self.admin).get("/__sandbox/audit-events").json()
    }

    /// One counter.
    pub fn count(&self, name: &str) -> u64 {
        self.state()[name].as_u64().unwrap_or_else(|| panic!("no counter {name}"))
    }

    /// How many requests came for a path, such as `GET /apis/default/fhir/metadata`.
    pub fn came(&self, method_and_path: &str) -> u64 {
        self.state()["paths"][method_and_path].as_u64().unwrap_or_default()
    }

    /// When each exchange so far began and ended at the token endpoint, in milliseconds since 1970; those under way
    /// end at the end of time.
    pub fn exchanges(&self) -> Vec<(u64, u64)> {
        let state = self.state();
        let exchanges = state["exchanges"].as_array().unwrap().iter();
        exchanges.map(|one| (one["began_ms"].as_u64().unwrap(), one["ended_ms"].as_u64().unwrap_or(u64::MAX))).collect()
    }

    /// The values of a field of the last FHIR request, as received.
    pub fn received(&self, name: &str) -> Vec<String> {
        let state = self.state();
        let fields = state["last_fhir_request"]["fields"].as_array().unwrap().clone();
        let matching = fields.iter().filter(|field| field[0].as_str().unwrap().eq_ignore_ascii_case(name));
        matching.map(|field| field[1].as_str().unwrap().to_owned()).collect()
    }
}

/// A resource, or several, without the times that OpenEMR invents at each answer: `meta.lastUpdated` of most types, and the
/// start of the address of Organization and Location.
pub fn without_times(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(without_times).collect(),
        Value::Object(members) => {
            let lasting = members.iter().filter(|(name, _)| *name != "lastUpdated" && *name != "start");
            lasting.map(|(name, member)| (name.clone(), without_times(member))).collect()
        }
        other => other.clone(),
    }
}

/// What OpenEMR sent, with what is not valid in its resources mended, for tests that compare something else.
pub fn mended(sent: &Value) -> Value {
    let mender = Mender::new(Repairs::all(), &Arc::default());
    serde_json::from_slice(&mender.whole(Bytes::from(sent.to_string())).unwrap()).unwrap()
}
