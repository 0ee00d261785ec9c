//! A FHIR server that holds its answers back until a test gives them, and a gateway in front of it: what is at OpenEMR at the same time
//! is up to the test.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use serde_json::{Value, json};

use crate::access::limited::clients;
use crate::support::eventually;
use crate::support::gateway::{Gateway, config};
use crate::support::http::{Answer, Connection, request};
use crate::support::openemr::OpenEmr;
use crate::support::raw_openemr::{RawOpenEmr, Received};
use crate::support::told_openemr::{Framing, framed};

/// What the log says of a request that follows another.
const FOLLOWS: &str = "waits for the answer to an identical one";
const JSON: (&str, &str) = ("Content-Type", "application/json");

/// One, with the gateway in front of it.
pub struct Held {
    pub gateway: Gateway,
    pub raw: RawOpenEmr,
    answers: Arc<(Mutex<VecDeque<Vec<u8>>>, Condvar)>,
    _tokens: OpenEmr,
}

/// A request that waits for its answer.
pub struct Asked(thread::JoinHandle<Answer>);

impl Held {
    /// One with the clients of the policy cases, besides those without a name.
    pub fn start() -> Self {
        Self::with(false, |_| {})
    }

    /// One that has versions of its resources, or has none, with a gateway that is configured further.
    pub fn with(is_versioned: bool, change: impl FnOnce(&mut Value)) -> Self {
        let tokens = OpenEmr::start();
        let answers = Arc::<(Mutex<VecDeque<Vec<u8>>>, Condvar)>::default();
        let given = Arc::clone(&answers);
        let raw = RawOpenEmr::start(move |request| {
            if request.head.contains("/metadata ") {
                return framed(200, &[JSON], &statement(request, is_versioned), Framing::Length);
            }
            // A write does not wait.
            if !request.head.starts_with("GET ") && !request.head.contains("/_search") {
                return framed(200, &[JSON], resource("1").as_bytes(), Framing::Length);
            }
            let (queue, came) = &*given;
            let mut queue = came.wait_while(queue.lock().unwrap(), |queue| queue.is_empty()).unwrap();
            queue.pop_front().unwrap()
        });
        let mut config = config(&tokens);
        config["listen"] = json!([{"h2c": true}]);
        config["log"]["level"] = json!("debug");
        config["access"]["allow_from"] = json!(["127.0.0.0/8"]);
        config["access"]["clients"] = clients();
        config["access"]["anonymous"] = json!("everything");
        let site = &mut config["sites"]["default"];
        site["fhir_base"] = json!(raw.fhir_base());
        site.as_object_mut().unwrap().remove("share_answers");
        site["scopes"] = json!(["system/Patient.read", "system/Patient.write", "system/Binary.read", "system/Observation.read"]);
        change(&mut config);
        Self { gateway: Gateway::with(config), raw, answers, _tokens: tokens }
    }

    /// Gives an answer 200 to one request that waits, or to the next.
    pub fn give(&self, fields: &[(&str, &str)], body: &str) {
        self.give_bytes(framed(200, &[&[JSON], fields].concat(), body.as_bytes(), Framing::Length));
    }

    pub fn give_bytes(&self, bytes: Vec<u8>) {
        self.answers.0.lock().unwrap().push_back(bytes);
        self.answers.1.notify_one();
    }

    /// Sends a request on a connection of its own. `target` is below the FHIR base.
    pub fn ask(&self, method: &str, target: &str, fields: &[(&str, &str)]) -> Asked {
        let (mut connection, method) = (self.send(method, target, fields), method.to_owned());
        Asked(thread::spawn(move || connection.read(&method)))
    }

    /// Sends a request; what comes of it is up to the test.
    pub fn send(&self, method: &str, target: &str, fields: &[(&str, &str)]) -> Connection {
        let mut connection = self.gateway.caller().connect();
        connection.write(&request(method, &format!("/fhir{target}"), fields, b""));
        connection
    }

    /// Waits until so many requests have come to OpenEMR, and until so many follow one.
    pub fn until(&self, asked: usize, following: usize) {
        eventually("the requests arrive", || (self.asked() >= asked && self.following() >= following).then_some(()));
        assert_eq!((self.asked(), self.following()), (asked, following));
    }

    /// How many requests OpenEMR has had.
    pub fn asked(&self) -> usize {
        self.raw.received(" /fhir/").iter().filter(|request| !request.head.contains("/metadata ")).count()
    }

    fn following(&self) -> usize {
        self.gateway.log().matches(FOLLOWS).count()
    }
}

impl Asked {
    pub fn answer(self) -> Answer {
        self.0.join().unwrap()
    }
}

/// An Observation of this category.
pub fn observation(id: &str, category: &str) -> String {
    let system = "http://terminology.hl7.org/CodeSystem/observation-category";
    let category = json!([{"coding": [{"system": system, "code": category}]}]);
    json!({"resourceType": "Observation", "id": id, "status": "final", "category": category, "code": {"text": "Heart rate"}})
        .to_string()
}

/// A small Patient.
pub fn resource(id: &str) -> String {
    json!({"resourceType": "Patient", "id": id, "gender": "female"}).to_string()
}

fn statement(request: &Received, is_versioned: bool) -> Vec<u8> {
    let interactions = ["read", "search-type", "create", "update"].map(|code| json!({"code": code}));
    let parameters = [json!({"name": "_id", "type": "token"}), json!({"name": "name", "type": "string"})];
    let mut patient = json!({"type": "Patient", "interaction": interactions.clone(), "searchParam": parameters});
    if is_versioned {
        patient["versioning"] = json!("versioned");
    }
    let base = format!("http://{}/fhir", request.field("host").unwrap());
    let statement = json!({
        "resourceType": "CapabilityStatement", "status": "active", "fhirVersion": "4.0.1", "kind": "instance",
        "software": {"name": "OpenEMR", "version": "8.0.0"}, "implementation": {"url": base},
        "rest": [{"mode": "server", "resource": [patient, {"type": "Observation", "interaction": interactions}]}],
    });
    statement.to_string().into_bytes()
}
