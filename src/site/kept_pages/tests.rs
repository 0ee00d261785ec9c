use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::*;

const TIME: Duration = Duration::from_secs(20);

fn memory(most: usize) -> Arc<PageMemory> {
    Arc::new(PageMemory::new(most))
}

fn pages(memory: &Arc<PageMemory>) -> Arc<KeptPages> {
    Arc::new(KeptPages::new(Some(TIME), Arc::clone(memory), Arc::default()))
}

fn key(name: u8) -> Key {
    Key::new(vec![name])
}

fn client(name: u8) -> Flow {
    Flow::Client(name.into())
}

/// Collects an answer of so many bytes in two pieces; `None` where there is no room for it.
fn collected(pages: &Arc<KeptPages>, name: u8, of: Flow, length: usize) -> Option<Collected> {
    let mut collected = pages.collect(key(name), of);
    let whole = Bytes::from(vec![name; length]);
    let pieces = [whole.slice(..length / 2), whole.slice(length / 2..)];
    pieces.iter().all(|piece| collected.push(piece)).then_some(collected)
}

fn keep(collected: Option<Collected>, now: Instant) {
    if let Some(collected) = collected {
        collected.keep(ResponseHeader::build(200, None).unwrap(), now);
    }
}

fn found(pages: &KeptPages, name: u8, now: Instant) -> Option<Bytes> {
    pages.find(&key(name), now).map(|answer| answer.body.clone())
}

#[tokio::test]
async fn an_answer_is_there_until_its_time_is_over_and_then_its_memory_is_free() {
    let memory = memory(400);
    let pages = pages(&memory);
    let now = Instant::now();
    keep(collected(&pages, 1, client(1), 60), now);
    assert_eq!(found(&pages, 1, now), Some(Bytes::from(vec![1; 60])));
    assert_eq!((found(&pages, 2, now), pages.bytes(), memory.used.load(Ordering::Relaxed)), (None, 60, 60));
    assert_eq!(found(&pages, 1, now + TIME), None, "not even where the timer is late");
    pages.drop_ended(now + TIME);
    assert_eq!((pages.bytes(), memory.used.load(Ordering::Relaxed)), (0, 0));
}

#[tokio::test]
async fn the_timer_needs_no_request() {
    let memory = memory(400);
    let pages = Arc::new(KeptPages::new(Some(Duration::from_millis(20)), Arc::clone(&memory), Arc::default()));
    keep(collected(&pages, 1, client(1), 60), Instant::now());
    let ended = async {
        while memory.used.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
    assert!(pages.entries.lock().is_empty());
}

#[tokio::test]
async fn a_write_drops_what_is_kept_and_what_was_asked_for_before_it() {
    let (memory, now) = (memory(400), Instant::now());
    let pages = pages(&memory);
    keep(collected(&pages, 1, client(1), 60), now);
    let begun = collected(&pages, 2, client(1), 60);
    pages.writes.note();
    pages.drop_all();
    keep(begun, now);
    assert_eq!((found(&pages, 1, now), found(&pages, 2, now), memory.used.load(Ordering::Relaxed)), (None, None, 0));
    keep(collected(&pages, 2, client(1), 60), now);
    assert!(found(&pages, 2, now).is_some());
}

#[tokio::test]
async fn the_latest_answer_takes_the_place_of_the_one_before_it() {
    let (memory, now) = (memory(400), Instant::now());
    let pages = pages(&memory);
    keep(collected(&pages, 1, client(1), 60), now);
    let read = pages.find(&key(1), now);
    keep(collected(&pages, 1, client(1), 70), now);
    assert_eq!(found(&pages, 1, now).map(|body| body.len()), Some(70));
    assert_eq!(
        (memory.used.load(Ordering::Relaxed), read.map(|answer| answer.body.len())),
        (70, Some(60)),
        "who reads it has it"
    );
}

#[tokio::test]
async fn there_are_bounds_for_an_answer_a_client_a_site_and_all_sites() {
    let (memory, now) = (memory(400), Instant::now());
    let (pages, other_site) = (pages(&memory), pages(&memory));
    assert!(collected(&pages, 1, client(1), 101).is_none(), "an answer: a quarter");
    assert_eq!(memory.used.load(Ordering::Relaxed), 0);
    for name in 1..4 {
        keep(collected(&pages, name, client(1), 100), now);
    }
    let kept = |names: std::ops::Range<u8>| names.filter(|name| found(&pages, *name, now).is_some()).collect::<Vec<u8>>();
    assert_eq!(kept(1..4), [2, 3], "a client: half, and its oldest gives way");
    keep(collected(&pages, 4, client(2), 100), now);
    keep(collected(&other_site, 5, client(3), 100), now);
    assert!(found(&other_site, 5, now).is_some());
    assert!(collected(&pages, 6, client(4), 1).is_none(), "all sites together: nobody else's gives way");
    assert_eq!(kept(1..5), [2, 3, 4]);
    drop(other_site);
    assert_eq!(memory.used.load(Ordering::Relaxed), 300, "those of a site go with it");
}

#[tokio::test]
async fn a_site_keeps_so_many_answers_at_most() {
    let (memory, now) = (memory(1 << 20), Instant::now());
    let pages = pages(&memory);
    for name in 0..=u8::try_from(MOST_ENTRIES).unwrap() {
        keep(collected(&pages, name, client(name), 1), now);
    }
    assert_eq!(pages.entries.lock().len(), MOST_ENTRIES);
    assert_eq!(memory.used.load(Ordering::Relaxed), MOST_ENTRIES);
}

#[tokio::test]
async fn a_client_has_half_of_them_and_its_oldest_gives_way() {
    let (memory, now) = (memory(1 << 20), Instant::now());
    let pages = pages(&memory);
    let half = u8::try_from(MOST_ENTRIES / 2).unwrap();
    let is_kept = |name: u8| found(&pages, name, now).is_some();
    for name in 0..=half {
        keep(collected(&pages, name, client(1), 1), now);
    }
    assert!(!is_kept(0) && (1..=half).all(is_kept));
    for name in 100..100 + half {
        keep(collected(&pages, name, client(name), 1), now);
    }
    assert!((1..=half).all(is_kept) && (100..100 + half).all(is_kept), "there is room for those of others");
    // Where all places are taken, a client that has one can use it again.
    keep(collected(&pages, 200, client(100), 1), now);
    keep(collected(&pages, 201, client(9), 1), now);
    assert!(is_kept(200) && !is_kept(100) && !is_kept(201));
}

#[tokio::test]
async fn a_walk_that_begins_anew_ends_what_is_kept_of_it_alone() {
    let (memory, now) = (memory(400), Instant::now());
    let pages = pages(&memory);
    keep(collected(&pages, 1, client(1), 60), now);
    keep(collected(&pages, 2, client(1), 70), now);
    pages.drop_walk(&key(1));
    assert!(found(&pages, 1, now).is_none() && found(&pages, 2, now).is_some());
    assert_eq!(memory.used.load(Ordering::Relaxed), 70);
}

#[tokio::test]
async fn a_site_that_keeps_none_keeps_none() {
    let (memory, now) = (memory(400), Instant::now());
    let off = Arc::new(KeptPages::new(None, Arc::clone(&memory), Arc::default()));
    keep(collected(&off, 1, client(1), 60), now);
    assert!(!off.is_on() && found(&off, 1, now).is_none());
    assert_eq!(memory.used.load(Ordering::Relaxed), 0);
}

proptest! {
    /// The bounds hold whatever is done in which order, and in the end all memory is free.
    #[test]
    fn no_order_of_steps_breaks_a_bound(
        steps in prop::collection::vec((0..6_u8, 0..5_u8, 0..3_u8, 1..130_usize), 0..60)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (memory, begun) = (memory(400), Instant::now());
            let pages = pages(&memory);
            let mut open = Vec::new();
            for (at, (step, name, of, length)) in steps.into_iter().enumerate() {
                let now = begun + Duration::from_secs(u64::try_from(at).unwrap());
                match step {
                    0 | 1 => keep(collected(&pages, name, client(of), length), now),
                    2 => open.extend(collected(&pages, name, client(of), length)),
                    3 => keep(open.pop(), now),
                    4 => pages.drop_ended(now),
                    _ => {
                        pages.writes.note();
                        pages.drop_all();
                    }
                }
                let used = memory.used.load(Ordering::Relaxed);
                let kept: usize = pages.bytes();
                assert!(used <= 400 && kept <= used, "{kept} of {used}");
                for of in 0..3 {
                    let entries = pages.entries.lock();
                    let own: usize = entries.iter().filter(|kept| kept.client == client(of)).map(|kept| kept.room.bytes).sum();
                    assert!(own <= 200, "{own}");
                }
            }
            open.clear();
            pages.drop_all();
            assert_eq!(memory.used.load(Ordering::Relaxed), 0);
        });
    }
}
