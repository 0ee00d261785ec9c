//! Exports that several gateways share through a real store: each answers for all of them, one works on them, and whichever is killed or
//! stands still, no type is kicked off twice.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{KICK_OFF, direct, ended, errors, exporting, files, kick_off, kick_offs};
use crate::admin::Admin;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::openemr::OpenEmr;
use crate::support::redis::Redis;

const TWENTY: [&str; 20] = [
    "AllergyIntolerance",
    "Appointment",
    "CarePlan",
    "CareTeam",
    "Condition",
    "Device",
    "DiagnosticReport",
    "DocumentReference",
    "Encounter",
    "Goal",
    "Immunization",
    "Location",
    "Media",
    "MedicationDispense",
    "MedicationRequest",
    "Observation",
    "Organization",
    "Patient",
    "Practitioner",
    "Procedure",
];
/// How many types are exported between two kills.
const STAGE: u64 = 4;

/// A store that loses nothing when it is killed.
fn durable_store(folder: &tempfile::TempDir) -> Redis {
    Redis::with(&["--appendonly", "yes", "--appendfsync", "always", "--dir", folder.path().to_str().unwrap()])
}

/// A configuration with the scopes of an export of these types, and that store.
fn sharing(openemr: &OpenEmr, types: &[&str], folder: &tempfile::TempDir, redis: &Redis) -> Value {
    let mut config = exporting(openemr, types, folder);
    config["store"] = json!({"url": redis.url(), "timeout": "2s"});
    config
}

/// The number of the latest lease that a gateway took; 0 when it took none.
fn lease(gateway: &Gateway) -> u64 {
    let log = gateway.log();
    let taken = log.lines().filter_map(|line| line.split_once("in the shared store, with lease "));
    taken.map(|(_, number)| number.trim().parse().unwrap()).max().unwrap_or_default()
}

/// Which of the gateways works on the exports, with its lease.
fn owner(gateways: &[Gateway]) -> (usize, u64) {
    eventually("a gateway works on the exports", || {
        let leases = gateways.iter().map(lease).enumerate();
        leases.max_by_key(|(_, lease)| *lease).filter(|(_, lease)| *lease > 0)
    })
}

/// How often OpenEMR was asked how far a job is.
fn asked(openemr: &OpenEmr) -> u64 {
    openemr.came("GET /apis/default/fhir/$bulkdata-status")
}

/// Lets OpenEMR tell of [`STAGE`] jobs that they are done, and then nothing.
fn tell_of_a_stage(openemr: &OpenEmr) {
    let nothing = json!({"target": "bulkdata-status", "answer": {"status": 429, "body": "{}"}});
    openemr.order(&json!({"fhir": [{"target": "bulkdata-status", "times": STAGE}, nothing]}));
}

/// Waits until the stage is over that began when OpenEMR had been asked so often: the worker asks in vain.
fn stage_ends(openemr: &OpenEmr, asked_before: u64) {
    // One may have come while the order was given.
    eventually("the stage ends", || (asked(openemr) >= asked_before + STAGE + 2).then_some(()));
}

#[test]
fn three_gateways_export_twenty_types_once_each_while_all_of_them_and_the_store_are_killed() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let mut redis = durable_store(&folder);
    let config = sharing(&openemr, &TWENTY, &folder, &redis);
    let mut gateways: Vec<Gateway> = (0..3).map(|_| Gateway::with(config.clone())).collect();
    let mut asked_before = asked(&openemr);
    tell_of_a_stage(&openemr);
    let status = kick_off(&gateways[0].caller(), "/fhir/$export");
    for stage in 1..=3 {
        stage_ends(&openemr, asked_before);
        let (at, lease) = owner(&gateways);
        let told = gateways[(at + 1) % 3].caller().get(&status);
        let expected = format!("{} of 20 types done", stage * STAGE);
        assert_eq!((told.status, told.field("x-progress")), (202, Some(expected.as_str())), "every gateway answers");
        // Killed with SIGKILL.
        drop(gateways.remove(at));
        eventually("another gateway goes on", || (owner(&gateways).1 > lease).then_some(()));
        gateways.push(Gateway::with(config.clone()));
        asked_before = asked(&openemr);
        tell_of_a_stage(&openemr);
    }
    stage_ends(&openemr, asked_before);

    // The store is killed while OpenEMR tells nothing.
    redis.kill();
    for gateway in &gateways {
        let caller = gateway.caller();
        let kicked_off = caller.send("GET", "/fhir/$export", &KICK_OFF, b"");
        for answer in [caller.get(&status), kicked_off, caller.send("DELETE", &status, &[], b"")] {
            let told = answer.outcome(503);
            assert!(answer.field("retry-after").is_some() && !told.contains("127.0.0.1"), "{told}");
        }
        assert_eq!(caller.get("/fhir/Patient?_count=1").status, 200, "everything else is served");
    }
    redis.restart();
    let told = eventually("the store is back", || Some(gateways[0].caller().get(&status)).filter(|told| told.status == 202));
    assert_eq!(told.field("x-progress"), Some("16 of 20 types done"));

    // It is killed while OpenEMR exports a type, and away when OpenEMR answers.
    openemr.order(&json!({"fhir": [], "export": {"type_takes_ms": 4_000}}));
    eventually("the next type is kicked off", || (kick_offs(&openemr).len() == 18).then_some(()));
    redis.kill();
    eventually("the answer waits for the store", || {
        gateways.iter().any(|gateway| gateway.log().contains("cannot be written yet")).then_some(())
    });
    redis.restart();
    openemr.order(&json!({"export": {}}));
    for gateway in &gateways {
        eventually("the store is back for it", || (gateway.caller().get(&status).status != 503).then_some(()));
    }

    let caller = gateways[2].caller();
    let manifest = ended(&caller, &status).json();
    assert_eq!(manifest["error"], json!([]), "it is whole");
    let files = files(&caller, &manifest);
    assert_eq!(files.keys().map(String::as_str).collect::<Vec<_>>(), TWENTY);
    for name in TWENTY {
        let bundle = direct(&openemr, &gateways[0], "GET", &format!("/apis/default/fhir/{name}"), &[]).json();
        let entries = bundle["entry"].as_array().into_iter().flatten();
        // The sandbox finds some twice; a file has each resource once.
        let ids: BTreeSet<&str> = entries.map(|entry| entry["resource"]["id"].as_str().unwrap()).collect();
        assert_eq!(files[name].lines().count(), ids.len(), "{name}");
    }
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for (types, _) in kick_offs(&openemr) {
        assert_eq!(types.len(), 1);
        *times.entry(types[0].clone()).or_default() += 1;
    }
    assert_eq!(times.into_iter().collect::<Vec<_>>(), TWENTY.map(|name| (name.to_owned(), 1)), "each once");

    // Deleted at one, it is deleted for all, and at OpenEMR.
    assert_eq!(gateways[1].caller().send("DELETE", &status, &[], b"").status, 202);
    for gateway in &gateways {
        gateway.caller().get(&status).outcome(404);
    }
    eventually("OpenEMR's jobs are deleted", || (openemr.state()["exports"]["jobs"] == 0).then_some(()));
    assert!(!folder.path().join("bulk").exists(), "nothing is kept on the disk");
}

#[test]
fn the_late_write_of_a_gateway_that_stood_still_is_refused() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let redis = durable_store(&folder);
    let config = sharing(&openemr, &["Patient", "Condition", "Encounter"], &folder, &redis);
    let [first, second] = [0, 1].map(|_| Admin::start(config.clone()));
    openemr.order(&json!({"export": {"type_takes_ms": 5_000}}));
    let status = kick_off(&second.gateway.caller(), "/fhir/$export");
    eventually("the first type is under way", || (kick_offs(&openemr).len() == 1).then_some(()));
    let (late, other) = eventually("one of them works on it", || {
        let leases = [&first, &second].map(|one| lease(&one.gateway));
        match leases {
            [0, 0] => None,
            [one, another] => Some(if one > another { (&first, &second) } else { (&second, &first) }),
        }
    });
    late.gateway.process.signal("STOP");
    openemr.order(&json!({"export": {}}));
    let caller = other.gateway.caller();
    let manifest = ended(&caller, &status).json();
    assert!(lease(&other.gateway) > 0, "it has taken over");
    let given_up = kick_offs(&openemr)[0].0[0].clone();
    let said = errors(&caller, &manifest);
    let sentence = format!("{given_up}: The gateway was restarted");
    assert!(said.len() == 1 && said[0].starts_with(&sentence), "{said:?}");
    assert_eq!(files(&caller, &manifest).len(), 2);

    // It reads OpenEMR's answer to the kick-off only now.
    late.gateway.process.signal("CONT");
    late.gateway
        .logs(&["the plan of export", "is not written: another gateway has the lease by now, or the store has lost its data"]);
    eventually("it is counted", || {
        let metrics = late.get("/metrics").body;
        metrics.contains("\nopenemr_gateway_export_refused_writes_total{site=\"default\"} 1").then_some(())
    });
    for gateway in [&late.gateway, &other.gateway] {
        assert_eq!(gateway.caller().get(&status).json(), manifest, "the plan is untouched");
    }
    let mut came: Vec<String> = kick_offs(&openemr).into_iter().flat_map(|(types, _)| types).collect();
    came.sort();
    assert_eq!(came, ["Condition", "Encounter", "Patient"], "each once");
}

#[test]
fn exports_go_on_in_the_folder_when_a_store_that_is_away_is_taken_out() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let mut redis = durable_store(&folder);
    let gateway = Gateway::with(sharing(&openemr, &["Patient", "Condition"], &folder, &redis));
    openemr.order(&json!({"fhir": [{"target": "bulkdata-status", "answer": {"status": 429, "body": "{}"}}]}));
    let caller = gateway.caller();
    kick_off(&caller, "/fhir/$export");
    eventually("it is worked on", || (asked(&openemr) > 0).then_some(()));
    redis.kill();
    gateway.logs(&["lease", "cannot be renewed"]);
    openemr.order(&json!({"fhir": []}));
    let mut config = gateway.config.clone();
    config.as_object_mut().unwrap().remove("store");
    gateway.reload(&config);
    let status = kick_off(&caller, "/fhir/$export");
    let manifest = ended(&caller, &status).json();
    assert_eq!(manifest["error"], json!([]));
    assert!(folder.path().join("bulk").exists());
}
