//! What it costs to test a search's criteria on a Bundle of 200 KB of Observations, as OpenEMR 8 writes them, in pieces of the size
//! that Pingora reads. It should be no more than what the other repairs cost together.

#![allow(missing_docs)]

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use openemr_gateway::bench::{BodyStep, BundleStream, Criteria, LinkRewriter, Links, Replacement, SearchTerms, criteria};

const SIZE: usize = 200_000;
/// The size of the pieces that Pingora reads.
const PIECE: usize = 64 * 1024;
const BASE: &str = "https://localhost:9300/apis/default/fhir";

/// Vital signs, 1.2 kB each.
fn observation(number: usize) -> String {
    let status = if number.is_multiple_of(3) { "preliminary" } else { "final" };
    let day = 1 + number % 28;
    format!(
        r#"{{"id":"a34c{number:04}-3feb-49ac-a546-7548525e28fc","meta":{{"versionId":"1","lastUpdated":"2026-11-24T02:17:06+00:00","profile":["http:\/\/hl7.org\/fhir\/StructureDefinition\/resprate","http:\/\/hl7.org\/fhir\/StructureDefinition\/resprate|3.1.1","http:\/\/hl7.org\/fhir\/us\/core\/StructureDefinition\/us-core-respiratory-rate","http:\/\/hl7.org\/fhir\/us\/core\/StructureDefinition\/us-core-respiratory-rate|8.0.0"]}},"resourceType":"Observation","status":"{status}","category":[{{"coding":[{{"system":"http:\/\/terminology.hl7.org\/CodeSystem\/observation-category","code":"vital-signs"}}]}}],"code":{{"coding":[{{"system":"http:\/\/loinc.org","code":"9279-1","display":"Respiratory Rate"}}]}},"subject":{{"reference":"Patient\/a34c6e42-1d69-4ad3-b4ef-b31757983454","type":"Patient"}},"encounter":{{"reference":"Encounter\/a34c6e40-d211-4241-a4c3-90acc54b918d","type":"Encounter"}},"effectiveDateTime":"2024-01-{day:02}T07:00:00+00:00","valueQuantity":{{"value":14,"unit":"\/min","system":"http:\/\/unitsofmeasure.org","code":"\/min"}}}}"#
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

type Step = Box<dyn BodyStep>;

fn steps(criteria: &Criteria) -> (Step, Step) {
    let whole = SearchTerms::whole("Observation", "/Observation?patient=x".to_owned());
    let terms = SearchTerms { criteria: criteria.clone(), ..whole };
    let links = Links::to([BASE, "http://10.0.0.7:8300/apis/default/fhir"]);
    let rewriter = LinkRewriter::new(Arc::new(links), Arc::new(Replacement::new("https://gateway.example.org/fhir")));
    (Box::new(BundleStream::new(terms, true, BASE, Some(1_795_472_734))), Box::new(rewriter))
}

fn benchmarks(criterion: &mut Criterion) {
    let (body, resources) = bundle();
    let pieces: Vec<Bytes> = (0..body.len()).step_by(PIECE).map(|at| body.slice(at..body.len().min(at + PIECE))).collect();
    let some = |parameters: &[(&str, &str)]| criteria("Observation", parameters).expect("can be tested");
    let thousands: Vec<String> = (0..10_000).map(|number| format!("http://loinc.org|{number}-9")).collect();
    let dates: Vec<String> = (1_000..10_000).map(|year| format!("{year:04}-06")).collect();
    let all = [
        ("none", Criteria::default()),
        ("status and date", some(&[("status", "final"), ("date", "ge2024-01-01"), ("date", "lt2024-02-01")])),
        ("10,000 codes", some(&[("code", &thousands.join(","))])),
        ("9,000 dates", some(&[("date", &dates.join(","))])),
    ];
    let mut group = criterion.benchmark_group("criteria");
    group.throughput(Throughput::Bytes(body.len() as u64));
    for (name, criteria) in &all {
        group.bench_function(format!("all default repairs, criteria: {name}"), |bencher| {
            bencher.iter_batched(
                || (steps(criteria), pieces.clone()),
                |((mut bundle, mut links), pieces)| {
                    for piece in pieces {
                        black_box(links.feed(bundle.feed(piece)));
                    }
                    black_box(links.feed(bundle.finish()));
                    black_box(links.finish());
                },
                BatchSize::SmallInput,
            );
        });
        group.bench_function(format!("each resource alone, criteria: {name}"), |bencher| {
            bencher.iter(|| resources.iter().filter(|one| criteria.are_met_by(one.as_bytes()) == Ok(true)).count());
        });
    }
    group.finish();
}

criterion_group!(benches, benchmarks);
criterion_main!(benches);
