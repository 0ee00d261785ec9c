//! What policies cost: the decision on a request, with 100,000 clients in the configuration, and the test of each resource in a Bundle
//! of 200 KB, beside all that is mended in that Bundle.

#![allow(missing_docs)]

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use openemr_gateway::bench::{
    BodyStep, BundleStream, LimitedClient, LinkRewriter, Links, ManyClients, Mender, Permitted, Repairs, Replacement, SearchTerms,
};

const SIZE: usize = 200_000;
/// The size of the pieces that Pingora reads.
const PIECE: usize = 64 * 1024;
const BASE: &str = "https://localhost:9300/apis/default/fhir";
const PATIENT: &str = "a34c6e42-1d69-4ad3-b4ef-b31757983454";
const VITAL: &str = "system/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|vital-signs";

/// Vital signs as OpenEMR 8 writes them, 1 kB each.
fn observation(number: usize) -> String {
    let day = 1 + number % 28;
    format!(
        r#"{{"id":"a34c{number:04}-3feb-49ac-a546-7548525e28fc","meta":{{"versionId":"1","lastUpdated":"2026-11-24T02:17:06+00:00","profile":["http:\/\/hl7.org\/fhir\/StructureDefinition\/resprate","http:\/\/hl7.org\/fhir\/StructureDefinition\/resprate|3.1.1","http:\/\/hl7.org\/fhir\/us\/core\/StructureDefinition\/us-core-respiratory-rate","http:\/\/hl7.org\/fhir\/us\/core\/StructureDefinition\/us-core-respiratory-rate|8.0.0"]}},"resourceType":"Observation","status":"final","category":[{{"coding":[{{"system":"http:\/\/terminology.hl7.org\/CodeSystem\/observation-category","code":"vital-signs"}}]}}],"code":{{"coding":[{{"system":"http:\/\/loinc.org","code":"9279-1","display":"Respiratory Rate"}}]}},"subject":{{"reference":"Patient\/{PATIENT}","type":"Patient"}},"encounter":{{"reference":"Encounter\/a34c6e40-d211-4241-a4c3-90acc54b918d","type":"Encounter"}},"effectiveDateTime":"2024-01-{day:02}T07:00:00+00:00","valueQuantity":{{"value":14,"unit":"\/min","system":"http:\/\/unitsofmeasure.org","code":"\/min"}}}}"#
    )
}

fn bundle() -> (Bytes, Vec<String>) {
    let base = BASE.replace('/', r"\/");
    let mut out = format!(
        r#"{{"meta":{{"lastUpdated":"2026-11-23T22:25:34"}},"resourceType":"Bundle","type":"collection","total":160,"link":[{{"relation":"self","url":"{base}\/Observation"}}],"entry":["#
    );
    let mut resources = Vec::new();
    while out.len() < SIZE {
        let number = resources.len();
        let resource = observation(number);
        out.push_str(if number == 0 { "" } else { "," });
        out.push_str(&format!(
            r#"{{"fullUrl":"{base}\/Observation\/a34c{number:04}-3feb-49ac-a546-7548525e28fc","resource":{resource}}}"#
        ));
        resources.push(resource);
    }
    out.push_str("]}");
    (out.into(), resources)
}

fn benchmarks(criterion: &mut Criterion) {
    decisions(criterion);
    answers(criterion);
}

fn decisions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide");
    let many = ManyClients::new(100_000).expect("scopes that are read");
    group.bench_function("a client of 100,000 found by its key, and a read allowed", |bencher| {
        let mut number = 0;
        bencher.iter(|| {
            number = (number + 7919) % 100_000;
            many.decides(number)
        });
    });
    let none = LimitedClient::new(&["system/Observation.rs"], &[]).expect("scopes");
    let panel = LimitedClient::new(&["system/*.rs"], &[PATIENT, "a", "b"]).expect("scopes");
    let vital = LimitedClient::new(&[VITAL, "system/Patient.r"], &[]).expect("scopes");
    let types: Vec<String> = (0..40).map(|_| "system/Observation.rs?status=final".to_owned()).collect();
    let long: Vec<&str> = types.iter().map(String::as_str).collect();
    let long = LimitedClient::new(&long, &[]).expect("scopes");
    let patient = format!("patient={PATIENT}");
    for (name, client, path, query) in [
        ("a search allowed", &none, "/Observation", patient.as_str()),
        ("a search of some patients", &panel, "/Observation", &patient),
        ("a search narrowed by a constraint", &vital, "/Observation", &patient),
        ("a search narrowed by 40 rules", &long, "/Observation", &patient),
        ("an include refused", &vital, "/Observation", "_include=Observation:subject"),
    ] {
        let question = client.question(path, query);
        group.bench_function(name, |bencher| bencher.iter(|| black_box(client.decide(&question))));
    }
    group.finish();
}

fn answers(criterion: &mut Criterion) {
    let (body, resources) = bundle();
    let pieces: Vec<Bytes> = (0..body.len()).step_by(PIECE).map(|at| body.slice(at..body.len().min(at + PIECE))).collect();
    let mut group = criterion.benchmark_group("answer");
    group.throughput(Throughput::Bytes(body.len() as u64));
    let panel = LimitedClient::new(&["system/*.rs"], &[PATIENT, "a"]).expect("scopes");
    let both = LimitedClient::new(&[VITAL], &[PATIENT, "a"]).expect("scopes");
    for (name, test) in [
        ("all default repairs, and resources mended", None),
        ("the same, and each resource tested by patients", Some(panel.test("Observation"))),
        ("the same, and each resource tested by patients and a category", Some(both.test("Observation"))),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || (steps(test.clone()), pieces.clone()),
                |(steps, pieces)| pass(steps, pieces),
                BatchSize::SmallInput,
            );
        });
    }
    let others = ["a34c6e42-1d69-4ad3-b4ef-b31757980000", "b"];
    for (name, scopes, patients) in [
        ("tested by patients", "system/*.rs", &[PATIENT, "a"][..]),
        ("tested by patients, none of them right", "system/*.rs", &others),
        ("tested by a category", VITAL, &[]),
        ("tested by patients and a category", VITAL, &[PATIENT, "a"]),
    ] {
        let test = LimitedClient::new(&[scopes], patients).expect("scopes").test("Observation");
        group.bench_function(name, |bencher| {
            bencher.iter(|| resources.iter().filter(|one| test.0.permits("Observation", one.as_bytes()) == Ok(true)).count());
        });
    }
    group.finish();
}

/// The steps of an answer to a search. `permitted`: the test of each resource.
fn steps(permitted: Option<Permitted>) -> [Box<dyn BodyStep>; 3] {
    let terms = SearchTerms { permitted, ..SearchTerms::whole("Observation", "/Observation".to_owned()) };
    let bundle = BundleStream::new(terms, true, BASE, Some(1_795_472_734));
    let links = Links::to([BASE, "http://10.0.0.7:8300/apis/default/fhir"]);
    let links = LinkRewriter::new(Arc::new(links), Arc::new(Replacement::new("https://gateway.example.org/fhir")));
    let mender = Mender::new(Repairs::all(), &Arc::default());
    [Box::new(mender), Box::new(bundle), Box::new(links)]
}

fn pass(mut steps: [Box<dyn BodyStep>; 3], pieces: Vec<Bytes>) {
    for piece in pieces {
        black_box(steps.iter_mut().fold(piece, |piece, step| step.feed(piece)));
    }
    let [mender, bundle, links] = &mut steps;
    let last = mender.finish();
    black_box(links.feed(bundle.feed(last)));
    black_box(links.feed(bundle.finish()));
    black_box(links.finish());
}

criterion_group!(benches, benchmarks);
criterion_main!(benches);
