//! Link rewriting in a Bundle of 200 KB with one link an entry, as OpenEMR 8 writes it, in pieces of the size that Pingora
//! reads.

#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use openemr_gateway::bench::BodyStep;
use openemr_gateway::bench::{LinkRewriter, Links, Replacement};

const OWN: &str = "https://localhost:9300/apis/default/fhir";
const OTHERS: [&str; 3] = [
    "http://10.0.0.7:8300/apis/default/fhir",
    "https://emr.example.org/apis/default/fhir",
    "http://10.0.0.8:8300/apis/default/fhir",
];
/// The size of the pieces that Pingora reads.
const PIECE: usize = 64 * 1024;

/// Makes numbers for ids and names that cannot be compressed.
fn scattered(number: u64) -> u64 {
    let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// Patients as OpenEMR 8 writes them, 2.4 kB each.
fn bundle(base: &str, size: usize) -> Bytes {
    let base = base.replace('/', "\\/");
    let mut out = format!(
        r#"{{"meta":{{"lastUpdated":"2026-11-23T22:25:34"}},"resourceType":"Bundle","type":"collection","total":84,"link":[{{"relation":"self","url":"{base}\/Patient"}}],"entry":["#
    );
    let mut number = 0;
    while out.len() < size {
        out.push_str(if number == 0 { "" } else { "," });
        let id = scattered(number);
        let name = scattered(number + 1_000_000);
        out.push_str(&format!(
            r#"{{"fullUrl":"{base}\/Patient\/{id:016x}-{name:016x}","resource":{{"id":"{id:016x}-{name:016x}","meta":{{"versionId":"1","lastUpdated":"2026-11-23T22:05:11+00:00","profile":["http:\/\/hl7.org\/fhir\/us\/core\/StructureDefinition\/us-core-patient"]}},"resourceType":"Patient","text":{{"status":"generated","div":"\u003Cdiv xmlns=\u0022http:\/\/www.w3.org\/1999\/xhtml\u0022\u003E \u003Cp\u003EH{name:x}, M{id:x}\u003C\/p\u003E\u003C\/div\u003E"}},"extension":[{{"url":"http:\/\/hl7.org\/fhir\/us\/core\/StructureDefinition\/us-core-birthsex","valueCode":"F"}},{{"url":"http:\/\/hl7.org\/fhir\/us\/core\/StructureDefinition\/us-core-race","extension":[{{"url":"ombCategory","valueCoding":{{"system":"urn:oid:2.16.840.1.113883.6.238","code":"2106-3","display":"White"}}}},{{"url":"text","valueString":"White"}}]}},{{"url":"http:\/\/hl7.org\/fhir\/us\/core\/StructureDefinition\/us-core-ethnicity","extension":[{{"url":"text","valueString":"Not Hispanic or Latino"}}]}}],"identifier":[{{"use":"official","type":{{"coding":[{{"system":"http:\/\/terminology.hl7.org\/CodeSystem\/v2-0203","code":"PT"}}]}},"system":"http:\/\/terminology.hl7.org\/CodeSystem\/v2-0203","value":"{number}"}}],"active":true,"name":[{{"use":"official","family":"M{id:x}","given":["H{name:x}"],"period":{{"start":"1967-01-02T00:00:00+00:00"}}}}],"telecom":[{{"system":"phone","value":"555-{number:04}","use":"home"}},{{"system":"email","value":"haley.{number}@example.org"}}],"gender":"female","birthDate":"1967-01-02","address":[{{"use":"home","type":"both","line":["123 Elm Street"],"city":"Boston","district":"Suffolk","state":"MA","postalCode":"02118","period":{{"start":"2025-11-23T22:05:11.000+00:00"}}}}],"communication":[{{"language":{{"coding":[{{"system":"http:\/\/hl7.org\/fhir\/us\/core\/ValueSet\/simple-language","code":"en","display":"English"}}]}},"preferred":true}}],"generalPractitioner":[{{"reference":"Practitioner\/{name:x}-{id:x}","type":"Practitioner"}}]}},"search":{{"mode":"match"}}}}"#
        ));
        number += 1;
    }
    out.push_str("]}");
    out.into()
}

fn pieces(body: &Bytes) -> Vec<Bytes> {
    (0..body.len()).step_by(PIECE).map(|at| body.slice(at..body.len().min(at + PIECE))).collect()
}

fn benchmarks(criterion: &mut Criterion) {
    let to = Arc::new(Replacement::new("https://gateway.example.org/fhir"));
    let mut group = criterion.benchmark_group("links");
    let bodies = [("a link an entry", bundle(OWN, 200_000)), ("no link", bundle("https://elsewhere.example/fhir", 200_000))];
    for (name, body) in &bodies {
        for count in [1, 2, 4] {
            let bases = [OWN].into_iter().chain(OTHERS).take(count);
            let links = Arc::new(Links::to(bases));
            group.throughput(Throughput::Bytes(body.len() as u64));
            group.bench_function(format!("{name}, {count} bases"), |bencher| {
                bencher.iter_batched(
                    || (LinkRewriter::new(Arc::clone(&links), Arc::clone(&to)), pieces(body)),
                    |(mut rewriter, pieces)| {
                        for piece in pieces {
                            black_box(rewriter.feed(piece));
                        }
                        black_box(rewriter.finish())
                    },
                    BatchSize::SmallInput,
                );
            });
        }
    }
    // The cost of decompression, which decides whether OpenEMR is asked for compressed answers.
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(&bodies[0].1).unwrap();
    let compressed = encoder.finish().unwrap();
    group.bench_function("gunzip alone", |bencher| {
        bencher.iter(|| {
            let mut decoder = flate2::write::GzDecoder::new(Vec::with_capacity(256 * 1024));
            decoder.write_all(&compressed).unwrap();
            black_box(decoder.finish().unwrap())
        });
    });
    group.bench_function("memcpy alone", |bencher| {
        bencher.iter(|| black_box(bodies[0].1.to_vec()));
    });
    group.finish();
}

criterion_group!(benches, benchmarks);
criterion_main!(benches);
