#![allow(clippy::unwrap_used)]

use super::*;
use crate::audit::record::{Kind, Record};
use crate::audit::trail::{Inbox, Trail};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

const PLENTY: usize = 1024 * 1024;

/// A connection, and the client's end of it, whose kernel takes so many bytes.
fn connection(kernel: usize, memory: usize, gate: Option<Arc<Gate>>) -> (ClientStream, DuplexStream) {
    let (ours, theirs) = duplex(kernel);
    let memory = Arc::new(AnswerMemory::new(memory));
    (ClientStream::new(Box::new(ours), None, &Limits::default(), &memory, &Arc::default(), gate), theirs)
}

/// What has come until now.
async fn arrived(client: &mut DuplexStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout(Duration::from_millis(20), client.read_to_end(&mut bytes)).await;
    bytes
}

/// Reads as Pingora does while it waits: whether the client sends nothing.
async fn is_idle(ours: &mut ClientStream) -> bool {
    tokio::time::timeout(Duration::from_millis(20), ours.read(&mut [0])).await.is_err()
}

fn audited() -> (Arc<Trail>, Inbox, Option<Arc<Gate>>) {
    let (trail, inbox) = Trail::new(false, false);
    let gate = trail.gate();
    (trail, inbox, gate)
}

#[tokio::test]
async fn what_is_short_leaves_with_the_flush_and_not_before() {
    let (mut ours, mut client) = connection(PLENTY, PLENTY, None);
    for part in [&b"head"[..], b"7530\r\n", &[b'x'; 30_000], b"\r\n"] {
        ours.write_all(part).await.unwrap();
    }
    assert!(is_idle(&mut ours).await);
    assert_eq!(arrived(&mut client).await, b"", "a read is no flush");
    ours.flush().await.unwrap();
    assert_eq!(arrived(&mut client).await.len(), 30_012);
    assert_eq!(ours.open_mut().gathered.capacity(), 0, "an idle connection keeps nothing");
}

#[tokio::test]
async fn every_byte_comes_in_order_however_it_is_written() {
    let lengths = [1, LONG - 1, LONG, LONG + 1, 6, MOST_GATHERED - 6, 1, MOST_GATHERED, 2, 3 * MOST_GATHERED, 5];
    let written: Vec<u8> = (0..lengths.iter().sum()).map(|at: usize| (at % 251) as u8).collect();
    for kernel in [100, LONG, PLENTY] {
        for memory in [0, 16 * LONG, 16 * PLENTY] {
            for flushed in [1, 3, usize::MAX] {
                let (mut ours, mut client) = connection(kernel, memory, None);
                let answer = async {
                    let mut rest = &written[..];
                    for (at, length) in lengths.iter().enumerate() {
                        let (now, later) = rest.split_at(*length);
                        ours.write_all(now).await.unwrap();
                        if at % flushed == 0 {
                            ours.flush().await.unwrap();
                        }
                        rest = later;
                    }
                    ours.shutdown().await.unwrap();
                };
                let mut came = Vec::new();
                let (_, read) = tokio::join!(answer, client.read_to_end(&mut came));
                read.unwrap();
                assert!(came == written, "{kernel} {memory} {flushed}");
            }
        }
    }
}

#[tokio::test]
async fn nothing_leaves_through_a_closed_gate_and_all_does_once_it_opens() {
    for memory in [0, PLENTY] {
        let (trail, mut inbox, gate) = audited();
        let (mut ours, mut client) = connection(PLENTY, memory, gate.clone());
        ours.write_all(b"head ").await.unwrap();
        trail.record(Record::new(Kind::Request, jiff::Timestamp::UNIX_EPOCH), gate.as_ref());
        ours.write_all(b"body").await.unwrap();
        let flushed = tokio::time::timeout(Duration::from_millis(20), ours.flush()).await;
        assert_eq!(flushed.is_ok(), memory > 0, "with memory nobody waits");
        assert_eq!(arrived(&mut client).await, b"");
        assert!(inbox.take(&mut Vec::new(), Duration::from_secs(10)));
        inbox.done(true);
        assert!(is_idle(&mut ours).await);
        assert_eq!(arrived(&mut client).await, b"head body", "{memory}");
    }
}
