//! The steps of the body for a search Bundle of 200 KB, as OpenEMR 8 writes it, in pieces of the size that Pingora reads.

#![allow(clippy::indexing_slicing, missing_docs)]

use std::collections::HashSet;
use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use openemr_gateway::bench::BodyStep;
use openemr_gateway::bench::BundleStream;
use openemr_gateway::bench::Mender;
use openemr_gateway::bench::Pretty;
use openemr_gateway::bench::Projection;
use openemr_gateway::bench::Projector;
use openemr_gateway::bench::Repairs;
use openemr_gateway::bench::{LinkRewriter, Links, Replacement};
use openemr_gateway::bench::{Page, SearchTerms, Window};
use serde_json::{Value, json};

const SIZE: usize = 200_000;
/// The size of the pieces that Pingora reads.
const PIECE: usize = 64 * 1024;

/// Patients as OpenEMR 8 writes them, 2.5 kB each.
fn bundle() -> Bytes {
    let base = r"https:\/\/localhost:9300\/apis\/default\/fhir";
    let mut out = format!(
        r#"{{"meta":{{"lastUpdated":"2026-11-23T22:25:34"}},"resourceType":"Bundle","type":"collection","total":80,"link":[{{"relation":"self","url":"{base}\/Patient"}}],"entry":["#
    );
    let mut number = 0;
    while out.len() < SIZE {
        out.push_str(if number == 0 { "" } else { "," });
        out.push_str(&format!(
            r#"{{"fullUrl":"{base}\/Patient\/a34c{number:04}-1e2d-4f6b-9c3a-0f1e2d3c4b5a","resource":{{"id":"a34c{number:04}-1e2d-4f6b-9c3a-0f1e2d3c4b5a","meta":{{"versionId":"1","lastUpdated":"2026-11-24T02:17:06+00:00","profile":["http:\/\/hl7.org\/fhir\/us\/core\/StructureDefinition\/us-core-patient","http:\/\/hl7.org\/fhir\/us\/core\/StructureDefinition\/us-core-patient|3.1.1","http:\/\/hl7.org\/fhir\/us\/core\/StructureDefinition\/us-core-patient|8.0.0"]}},"resourceType":"Patient","text":{{"status":"generated","div":"\u003Cdiv xmlns=\u0022http:\/\/www.w3.org\/1999\/xhtml\u0022\u003E \u003Cp\u003EJos\u00e9 Garc\u00eda\u003C\/p\u003E\u003C\/div\u003E"}},"extension":[{{"valueCode":"F","url":"http:\/\/hl7.org\/fhir\/us\/core\/StructureDefinition\/us-core-birthsex"}},{{"extension":[{{"valueCoding":{{"system":"urn:oid:2.16.840.1.113883.6.238","code":"2106-3","display":"White"}},"url":"ombCategory"}},{{"valueString":"White","url":"text"}}],"url":"http:\/\/hl7.org\/fhir\/us\/core\/StructureDefinition\/us-core-race"}},{{"extension":[{{"valueCoding":{{"system":"urn:oid:2.16.840.1.113883.6.238","code":"2186-5","display":"Not Hispanic or Latino"}},"url":"ombCategory"}},{{"valueString":"Not Hispanic or Latino","url":"text"}}],"url":"http:\/\/hl7.org\/fhir\/us\/core\/StructureDefinition\/us-core-ethnicity"}},{{"valueCoding":{{"system":"DataAbsentReason","code":"unknown","display":"Unknown"}},"url":"http:\/\/hl7.org\/fhir\/us\/core\/StructureDefinition\/us-core-sex"}},{{"valueCoding":{{"system":"http:\/\/terminology.hl7.org\/CodeSystem\/data-absent-reason","code":"unknown","display":"Unknown"}},"url":"http:\/\/hl7.org\/fhir\/us\/core\/StructureDefinition\/us-core-interpreter-needed"}}],"identifier":[{{"use":"official","type":{{"coding":[{{"system":"http:\/\/terminology.hl7.org\/CodeSystem\/v2-0203","code":"PT"}}]}},"system":"http:\/\/terminology.hl7.org\/CodeSystem\/v2-0203","value":"LAB-{number:06}"}}],"active":true,"name":[{{"use":"official","family":"Garc\u00eda","given":["Jos\u00e9","B"]}}],"telecom":[{{"system":"phone","value":"555-0101","use":"home"}},{{"system":"email","value":"p{number}@example.org","use":"home"}}],"gender":"female","birthDate":"1951-09-07","deceasedBoolean":false,"address":[{{"use":"home","type":"both","line":["1 Stra\u00dfe 1"],"city":"Z\u00fcrich","state":"CA","postalCode":"00037","country":"US","period":{{"start":"2026-11-24T02:17:05.000+00:00"}}}}],"communication":[{{"language":{{"coding":[{{"system":"urn:ietf:bcp:47","code":"en","display":"English"}}],"text":"English"}}}}]}}}}"#
        ));
        number += 1;
    }
    out.push_str("]}");
    out.into()
}

type Step = Box<dyn BodyStep>;

fn stream(page: Option<Page>, entries: bool) -> Step {
    let terms = SearchTerms { page, entries, ..SearchTerms::whole("Patient", "/Patient?name=x".to_owned()) };
    Box::new(BundleStream::new(terms, true, "https://localhost:9300/apis/default/fhir", Some(1_795_472_734)))
}

/// The links of the Bundle, in all spellings, lead to the gateway.
fn links() -> Step {
    let links = Links::to(["https://localhost:9300/apis/default/fhir", "http://10.0.0.7:8300/apis/default/fhir"]);
    Box::new(LinkRewriter::new(Arc::new(links), Arc::new(Replacement::new("https://gateway.example.org/fhir"))))
}

/// The same repairs by a full parse: what the steps are measured against.
fn by_full_parse(body: &[u8]) -> Vec<u8> {
    const FROM: &str = "https://localhost:9300/apis/default/fhir";
    const TO: &str = "https://gateway.example.org/fhir";
    let mut bundle: Value = serde_json::from_slice(body).expect("JSON");
    relink(&mut bundle, FROM, TO);
    bundle["type"] = json!("searchset");
    let written = bundle["meta"]["lastUpdated"].as_str().unwrap_or_default();
    bundle["meta"]["lastUpdated"] = json!(format!("{written}+00:00"));
    bundle["link"] = json!([{"relation": "self", "url": format!("{TO}/Patient?name=x")}]);
    let mut seen = HashSet::new();
    let entries = bundle["entry"].as_array_mut().expect("entries");
    entries.retain_mut(|entry| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (resource_type, id) = (text(&entry["resource"]["resourceType"]), text(&entry["resource"]["id"]));
        entry["fullUrl"] = json!(format!("{TO}/{resource_type}/{id}"));
        entry["search"] = json!({"mode": if resource_type == "Patient" { "match" } else { "include" }});
        seen.insert((resource_type, id))
    });
    bundle["total"] = json!(entries.len());
    serde_json::to_vec(&bundle).expect("JSON")
}

fn relink(value: &mut Value, from: &str, to: &str) {
    match value {
        Value::String(text) if text.starts_with(from) => *text = text.replacen(from, to, 1),
        Value::Array(items) => items.iter_mut().for_each(|item| relink(item, from, to)),
        Value::Object(members) => members.values_mut().for_each(|item| relink(item, from, to)),
        _ => {}
    }
}

fn mender() -> Mender {
    Mender::new(Repairs::all(), &Arc::default())
}

fn projected(projection: Projection) -> Step {
    Box::new(Projector::bundle(projection, Some("Patient")))
}

fn benchmarks(criterion: &mut Criterion) {
    let body = bundle();
    let pieces: Vec<Bytes> = (0..body.len()).step_by(PIECE).map(|at| body.slice(at..body.len().min(at + PIECE))).collect();
    let elements = || Projection::Elements(vec!["name".to_owned(), "birthDate".to_owned()]);
    let mut group = criterion.benchmark_group("bundle");
    group.throughput(Throughput::Bytes(body.len() as u64));
    let valid = mender().whole(body.clone()).expect("it is whole");
    let valid: Vec<Bytes> = (0..valid.len()).step_by(PIECE).map(|at| valid.slice(at..valid.len().min(at + PIECE))).collect();
    let steps: [(&str, &dyn Fn() -> Step); 8] = [
        ("resources mended", &|| Box::new(mender())),
        ("searchset", &|| stream(None, true)),
        ("a page of ten out of it", &|| stream(Some(Page { offset: 20, count: 10, window: Window::Whole }), true)),
        ("the total alone", &|| stream(None, false)),
        ("_summary=true", &|| projected(Projection::Summary)),
        ("_summary=data", &|| projected(Projection::Data)),
        ("_elements", &|| projected(elements())),
        ("_pretty", &|| Box::new(Pretty::default())),
    ];
    group.bench_function("all default repairs", |bencher| {
        bencher.iter_batched(
            || (stream(None, true), links(), pieces.clone()),
            |(mut bundle, mut links, pieces)| {
                for piece in pieces {
                    black_box(links.feed(bundle.feed(piece)));
                }
                black_box(links.feed(bundle.finish()));
                black_box(links.finish());
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("all default repairs by a full parse", |bencher| bencher.iter(|| black_box(by_full_parse(&body))));
    for (name, step) in steps {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || (step(), pieces.clone()),
                |(mut step, pieces)| {
                    for piece in pieces {
                        black_box(step.feed(piece));
                    }
                    black_box(step.finish());
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.bench_function("resources that need no repair", |bencher| {
        bencher.iter_batched(
            || (mender(), valid.clone()),
            |(mut mender, pieces)| {
                for piece in pieces {
                    black_box(mender.feed(piece));
                }
                black_box(mender.finish());
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, benchmarks);
criterion_main!(benches);
