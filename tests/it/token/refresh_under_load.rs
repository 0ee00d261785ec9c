//! A token that lives five seconds is replaced again and again under load, and no caller notices.

use std::time::Duration;

use crate::support::gateway::{Gateway, config};
use crate::support::load::{self, Load};
use crate::support::load_report::Sample;
use crate::support::openemr::OpenEmr;
use serde_json::json;

/// How long each exchange takes. Longer than any request may take, and yet it ends before the last safe moment of the
/// old token, half a second ahead of its end: renewal begins after 4 s of 5 at the latest.
const EXCHANGE: Duration = Duration::from_millis(400);

#[test]
fn no_request_fails_or_waits_while_the_token_is_replaced() {
    let openemr = OpenEmr::with(&["--token-lifetime", "5", "--patients", "1"]);
    let mut config = config(&openemr);
    // What is measured is the token, not the terminal.
    config["log"]["level"] = json!("warn");
    let gateway = Gateway::with(config);
    assert_eq!(gateway.token("").status, 200);
    openemr.order(&json!({"token": {"delay_ms": EXCHANGE.as_millis()}}));

    let (rate, duration) = (load::rate(2000), load::seconds(60));
    let report = Load::new(gateway.address, rate, duration).get("/fhir/Patient?_count=1").run();
    let exchanges = openemr.exchanges();

    println!("{report}\n{} exchanges", exchanges.len());
    let refreshing = |sample: &Sample| exchanges.iter().any(|exchange| sample.meets(*exchange));
    let (during, between) = (report.summary(refreshing).unwrap(), report.summary(|sample| !refreshing(sample)).unwrap());
    println!("while refreshing: {during}\nbetween: {between}");
    report.expect("token replaced under load", |status| status == 200);
    assert!(report.took < duration.mul_f64(1.1) + Duration::from_secs(1), "{rate} requests a second were not carried: {report}");

    // Those that came in an exchange and left before its end went with the token that was being replaced.
    let passed_by = report.summary(|sample| exchanges.iter().any(|exchange| sample.is_within(*exchange))).unwrap();
    println!("begun and ended within an exchange: {passed_by}");
    // Nobody waited: whoever did would have waited for up to a whole exchange. A machine that is so busy with something
    // else that requests take as long between the exchanges cannot tell.
    if between.longest < EXCHANGE {
        assert!(during.longest < EXCHANGE, "while refreshing: {during}, between: {between}");
        assert!(during.p99 < between.p99 + EXCHANGE / 4, "while refreshing: {during}, between: {between}");
        assert!(passed_by.count > during.count * 3 / 4, "{} of {} went with the token in hand", passed_by.count, during.count);
    } else {
        println!("this machine is too busy to tell who waited: between the exchanges {between}");
    }

    // One exchange a life, however many requests: each a renewal of the one before, at 75 to 80 % of its life.
    assert_eq!(openemr.count("tokens_issued"), exchanges.len() as u64);
    assert!(exchanges.len() as u64 >= duration.as_secs() / 5, "{exchanges:?}");
    for pair in exchanges.windows(2) {
        let life = pair[1].0 - pair[0].0;
        assert!((3650..5500).contains(&life), "a life of {life} ms: {exchanges:?}");
    }
}
