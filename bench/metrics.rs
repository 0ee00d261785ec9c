//! What a request costs the metrics: every counter and histogram that there is, on one thread and on two at once.

#![allow(missing_docs)]

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};

use criterion::{Criterion, criterion_group, criterion_main};
use openemr_gateway::bench::CountedRequests;

fn count(criterion: &mut Criterion) {
    let requests = CountedRequests::full();
    criterion.bench_function("metrics/one thread", |bench| bench.iter(|| black_box(&requests).count()));
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                requests.count();
            }
        });
        criterion.bench_function("metrics/two threads", |bench| bench.iter(|| black_box(&requests).count()));
        ends.store(true, Ordering::Relaxed);
    });
    assert!(requests.samples() > 0);
}

criterion_group!(benches, count);
criterion_main!(benches);
