//! The search for the patients that an answer is about, in bodies of 200 KB as OpenEMR writes them, in pieces of the size that
//! Pingora reads; beside a search for one byte that is nowhere, the least that reading a body costs.

#![allow(missing_docs)]

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use openemr_gateway::bench::{Form, PatientsFound};

const SIZE: usize = 200_000;
/// The size of the pieces that Pingora reads.
const PIECE: usize = 64 * 1024;

/// An Observation of one of 50 patients.
fn observation(number: usize) -> String {
    let patient = number % 50;
    format!(
        r#"{{"id":"b34c{number:04}-1e2d-4f6b-9c3a-0f1e2d3c4b5a","meta":{{"versionId":"1","lastUpdated":"2026-11-24T02:17:06+00:00","profile":["http:\/\/hl7.org\/fhir\/us\/core\/StructureDefinition\/us-core-vital-signs"]}},"resourceType":"Observation","status":"final","category":[{{"coding":[{{"system":"http:\/\/terminology.hl7.org\/CodeSystem\/observation-category","code":"vital-signs"}}]}}],"code":{{"coding":[{{"system":"http:\/\/loinc.org","code":"85354-9","display":"Blood pressure panel"}}]}},"subject":{{"reference":"Patient\/a34c{patient:04}-1e2d-4f6b-9c3a-0f1e2d3c4b5a","type":"Patient"}},"encounter":{{"reference":"Encounter\/c34c{number:04}-1e2d-4f6b-9c3a-0f1e2d3c4b5a","type":"Encounter"}},"effectiveDateTime":"2026-11-24T02:17:05+00:00","performer":[{{"reference":"Practitioner\/d34c0001-1e2d-4f6b-9c3a-0f1e2d3c4b5a","type":"Practitioner"}}],"component":[{{"code":{{"coding":[{{"system":"http:\/\/loinc.org","code":"8480-6","display":"Systolic blood pressure"}}]}},"valueQuantity":{{"value":120,"unit":"mmHg","system":"http:\/\/unitsofmeasure.org","code":"mm[Hg]"}}}},{{"code":{{"coding":[{{"system":"http:\/\/loinc.org","code":"8462-4","display":"Diastolic blood pressure"}}]}},"valueQuantity":{{"value":80,"unit":"mmHg","system":"http:\/\/unitsofmeasure.org","code":"mm[Hg]"}}}}]}}"#
    )
}

fn bundle() -> String {
    let mut text = r#"{"resourceType":"Bundle","type":"searchset","entry":["#.to_owned();
    let mut number = 0;
    while text.len() < SIZE {
        let comma = if number == 0 { "" } else { "," };
        let _ = write!(
            text,
            r#"{comma}{{"fullUrl":"https:\/\/emr\/fhir\/Observation\/{number}","resource":{}}}"#,
            observation(number)
        );
        number += 1;
    }
    text + "]}"
}

fn lines() -> String {
    let mut text = String::new();
    let mut number = 0;
    while text.len() < SIZE {
        text.push_str(&observation(number));
        text.push('\n');
        number += 1;
    }
    text
}

/// DocumentReferences with an attachment of 20 KB in each.
fn attachments() -> String {
    let data = r"JVBERi0xLjQKJcOkw7zDtsOfCjIgMCBvYmoKPDwvTGVuZ3RoIDMgMCBSL0ZpbHRlci9GbGF0ZURlY29kZT4+\/".repeat(240);
    let mut text = String::new();
    for number in 0..SIZE / 20_000 {
        let _ = writeln!(
            text,
            r#"{{"resourceType":"DocumentReference","id":"{number}","subject":{{"reference":"Patient\/p{number}"}},"content":[{{"attachment":{{"data":"{data}"}}}}]}}"#
        );
    }
    text
}

fn find(form: Form, body: &str) -> usize {
    let mut patients = PatientsFound::new(form);
    for piece in body.as_bytes().chunks(PIECE) {
        patients.read(black_box(piece));
    }
    patients.finish();
    assert!(patients.is_legible(), "a body that cannot be read");
    patients.take().len()
}

fn benchmarks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("patients");
    for (name, form, body) in [
        ("a Bundle of Observations", Form::Document, bundle()),
        ("Observations in NDJSON", Form::Lines, lines()),
        ("attachments in NDJSON", Form::Lines, attachments()),
    ] {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| black_box(find(form, &body))));
        group.bench_function(format!("{name}: one byte is looked for"), |bencher| {
            bencher.iter(|| black_box(memchr::memchr(b'\x01', black_box(body.as_bytes()))));
        });
    }
    group.finish();
}

criterion_group!(benches, benchmarks);
criterion_main!(benches);
