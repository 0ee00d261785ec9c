//! A FHIR server that answers as a test tells it, byte for byte, and a gateway with all repairs in front of it.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::gateway::{Gateway, config};
use super::openemr::OpenEmr;
use super::raw_openemr::{RawOpenEmr, Received};

/// One, with the gateway in front of it.
pub struct Told {
    pub gateway: Gateway,
    pub raw: RawOpenEmr,
    answer: Arc<Mutex<Vec<u8>>>,
    _tokens: OpenEmr,
}

/// How the end of a body is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Length,
    /// In chunks of one byte each.
    Chunks,
    /// HTTP/1.0, until the connection ends.
    Close,
}

pub const FRAMINGS: [Framing; 3] = [Framing::Length, Framing::Chunks, Framing::Close];

impl Told {
    /// One with all repairs.
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    /// One whose site is configured further.
    pub fn with(configure: impl FnOnce(&mut Value)) -> Self {
        Self::of(None, |config| configure(&mut config["sites"]["default"]))
    }

    /// One that says to be an OpenEMR 8.0, with a gateway that is configured further.
    pub fn openemr(configure: impl FnOnce(&mut Value)) -> Self {
        Self::of(Some("8.0.0"), configure)
    }

    fn of(openemr: Option<&'static str>, configure: impl FnOnce(&mut Value)) -> Self {
        let tokens = OpenEmr::start();
        let answer = Arc::<Mutex<Vec<u8>>>::default();
        let told = Arc::clone(&answer);
        let raw = RawOpenEmr::start(move |request| match request.head.contains("/metadata ") {
            true => framed(200, &[("Content-Type", "application/json")], &statement(request, openemr), Framing::Length),
            false => told.lock().unwrap().clone(),
        });
        let mut config = config(&tokens);
        config["listen"] = json!([{"h2c": true}]);
        config["public_url"] = json!("https://public.example");
        let site = &mut config["sites"]["default"];
        site["fhir_base"] = json!(raw.fhir_base());
        site["scopes"] = json!(["system/Patient.read", "system/Patient.write", "system/Binary.read"]);
        configure(&mut config);
        Self { gateway: Gateway::with(config), raw, answer, _tokens: tokens }
    }

    /// Tells it what to answer from now on.
    pub fn tell(&self, status: u16, fields: &[(&str, &str)], body: impl AsRef<[u8]>, framing: Framing) {
        *self.answer.lock().unwrap() = framed(status, fields, body.as_ref(), framing);
    }

    /// Its FHIR base, which stands in its links.
    pub fn base(&self) -> String {
        self.raw.fhir_base()
    }

    /// The gateway's FHIR base.
    pub fn public_base(&self) -> String {
        "https://public.example/fhir".to_owned()
    }
}

/// The bytes of an answer.
pub fn framed(status: u16, fields: &[(&str, &str)], body: &[u8], framing: Framing) -> Vec<u8> {
    let version = if framing == Framing::Close { "1.0" } else { "1.1" };
    let mut bytes = format!("HTTP/{version} {status} X\r\n").into_bytes();
    for (name, value) in fields {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    match framing {
        Framing::Length => {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            bytes.extend_from_slice(body);
        }
        Framing::Chunks => {
            bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for byte in body {
                bytes.extend_from_slice(&[b"1\r\n", std::slice::from_ref(byte), b"\r\n"].concat());
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        }
        Framing::Close => {
            bytes.extend_from_slice(b"Connection: close\r\n\r\n");
            bytes.extend_from_slice(body);
        }
    }
    bytes
}

fn statement(request: &Received, openemr: Option<&str>) -> Vec<u8> {
    let interactions = ["read", "search-type", "create", "update"].map(|code| json!({"code": code}));
    let parameters = [json!({"name": "_id", "type": "token"}), json!({"name": "name", "type": "string"})];
    let resource = |kind: &str| json!({"type": kind, "interaction": interactions, "searchParam": parameters, "operation": [{"name": "docref"}]});
    let resources = ["Patient", "Binary", "DocumentReference", "Observation", "Location"].map(resource);
    let base = format!("http://{}/fhir", request.field("host").unwrap());
    let mut statement = json!({
        "resourceType": "CapabilityStatement", "status": "active", "fhirVersion": "4.0.1", "kind": "instance",
        "implementation": {"url": base},
        "rest": [{"mode": "server", "resource": resources}],
    });
    if let Some(version) = openemr {
        statement["software"] = json!({"name": "OpenEMR", "version": version});
    }
    statement.to_string().into_bytes()
}
