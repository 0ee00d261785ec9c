//! A disk that takes no more.

use serde_json::json;

use super::trail::Trail;
use crate::support::eventually;
use crate::support::gateway::{Gateway, config};
use crate::support::http::request;
use crate::support::openemr::OpenEmr;

/// A gateway whose files can have 128 KiB each, which stands for a full disk: the trail's cannot grow beyond.
fn with_a_full_disk(trail: &Trail, openemr: &OpenEmr, required: bool) -> Gateway {
    let mut config = config(openemr);
    trail.keep_with(&mut config, &json!({"required": required}));
    // 512 bytes a block. The signal that a larger file would bring is ignored, and inherited so.
    Gateway::within(&["sh", "-c", "trap '' XFSZ; ulimit -f 256; exec \"$0\" \"$@\""], config)
}

#[test]
fn what_cannot_be_recorded_is_answered_counted_logged_and_shown() {
    let (openemr, trail) = (OpenEmr::start(), Trail::new());
    let gateway = with_a_full_disk(&trail, &openemr, false);
    let mut connection = gateway.caller().connect();
    let refused = request("GET", "/fhir/Patient?_sort=a", &[], b"");
    eventually("the trail is full", || {
        for _ in 0..50 {
            connection.write(&refused);
            assert_eq!(connection.read("GET").status, 400);
        }
        (gateway.caller().get("/health").json()["audit"]["lost"].as_u64().unwrap() > 0).then_some(())
    });
    assert_eq!(gateway.caller().get("/fhir/Patient?_count=1").status, 200);
    let health = gateway.caller().get("/health").json();
    assert_eq!((&health["status"], &health["audit"]["ok"]), (&json!("degraded"), &json!(false)), "{health}");
    gateway.logs(&["audit trail:", "records are lost", "writing to audit.folder: File too large"]);
    // Whole lines alone are in the file: as many as were written, besides its first one and what it says of its gaps.
    let written = trail.records().into_iter().filter(|record| record["kind"] != "file_begun" && record["kind"] != "lost");
    assert_eq!(written.count() as u64, health["audit"]["recorded"].as_u64().unwrap());
}

#[test]
fn where_records_are_required_a_request_is_refused_before_it_is_sent() {
    let (openemr, trail) = (OpenEmr::start(), Trail::new());
    let gateway = with_a_full_disk(&trail, &openemr, true);
    let asked = request("GET", "/fhir/Patient?_count=1", &[], b"");
    let refused = eventually("requests are refused", || {
        let mut connection = gateway.caller().connect();
        connection.write(&asked);
        // The one that was under way when the disk was full got no answer: it is not recorded.
        let answer = connection.is_alive().unwrap_or(false).then(|| connection.read("GET"))?;
        (answer.status == 503).then_some(answer)
    });
    assert!(refused.outcome(503).contains("cannot be recorded") && refused.field("retry-after").is_some());
    let sent = openemr.count("fhir_requests");
    gateway.caller().get("/fhir/Patient?_count=1").outcome(503);
    assert_eq!(openemr.count("fhir_requests"), sent);
    assert_eq!(gateway.caller().get("/health").json()["status"], "down");
    assert_eq!(gateway.caller().get("/ready").status, 200);
    let answered = trail.of_kind("request").into_iter().filter(|record| record["outcome"] == "success").count();
    assert!(answered > 0);
}
