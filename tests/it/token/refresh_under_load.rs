//! A token that lives ten seconds is replaced again and again under load, and no client notices.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::eventually;
use crate::support::gateway::{Gateway, config};
use crate::support::load::{self, Load};
use crate::support::load_report::Sample;
use crate::support::openemr::OpenEmr;
use crate::support::permits::LOADS;
use serde_json::json;

/// How long each exchange takes. Renewal begins after 8 s of 10 at the latest, so that it ends before the last safe moment
/// of the old token, a second ahead of its end.
const EXCHANGE: Duration = Duration::from_millis(600);
/// The earliest moment of a renewal, after the token before it.
const EARLIEST: u64 = 7_500;

#[test]
fn no_request_fails_or_waits_while_the_token_is_replaced() {
    let _permit = LOADS.take();
    let openemr = OpenEmr::with(&["--token-lifetime", "10", "--patients", "1"]);
    let mut config = config(&openemr);
    // What is measured is the token, not the terminal.
    config["log"]["level"] = json!("warn");
    let begun = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let gateway = Gateway::with(config);
    assert_eq!(gateway.token("").status, 200);
    openemr.order(&json!({"token": {"delay_ms": EXCHANGE.as_millis()}}));

    // 100 requests in each exchange, and few enough for a machine that has other things to do.
    let rate = load::rate(200);
    let duration = load::as_long_as_needed();
    let load = Load::new(gateway.address, rate, duration).get("/fhir/Patient?_count=1").start();
    eventually("the token is replaced four times", || (openemr.count("tokens_issued") > 4).then_some(()));
    let report = load.end();
    // One token an exchange, once none is under way.
    let exchanges = eventually("as many tokens as exchanges", || {
        Some(openemr.exchanges()).filter(|exchanges| openemr.count("tokens_issued") == exchanges.len() as u64)
    });

    println!("{report}\n{} exchanges", exchanges.len());
    report.expect("token replaced under load", |status| status == 200);

    // Those that came in an exchange and left before its end went with the token that was being replaced: they did not wait.
    for exchange in &exchanges[1..] {
        assert!(report.summary(|sample| sample.is_within(*exchange)).is_some(), "all waited for {exchange:?}: {report}");
    }
    if load::is_measured() {
        assert!(
            report.took < duration.mul_f64(1.1) + Duration::from_secs(1),
            "{rate} requests a second were not carried: {report}"
        );
        let refreshing = |sample: &Sample| exchanges.iter().any(|exchange| sample.meets(*exchange));
        let (during, between) = (report.summary(refreshing).unwrap(), report.summary(|sample| !refreshing(sample)).unwrap());
        let passed_by = report.summary(|sample| exchanges.iter().any(|exchange| sample.is_within(*exchange))).unwrap();
        println!("while refreshing: {during}\nbetween: {between}\nbegun and ended within an exchange: {passed_by}");
        // A request that waited would have waited for up to a whole exchange.
        assert!(during.longest < EXCHANGE, "while refreshing: {during}, between: {between}");
        assert!(during.p99 < between.p99 + EXCHANGE / 4, "while refreshing: {during}, between: {between}");
        assert!(passed_by.count > during.count * 3 / 4, "{} of {} went with the token in hand", passed_by.count, during.count);
    }

    // One exchange a life, however many requests: each a renewal of the one before, after 75 % of its life at the earliest.
    for (renewals, (began, _)) in (0..).zip(&exchanges) {
        assert!(began - begun >= renewals * EARLIEST, "{exchanges:?} since {begun}");
    }
}
