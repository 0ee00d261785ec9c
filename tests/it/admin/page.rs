//! The status page itself: what it may load and run, and who may have it.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::{Admin, new_key};
use crate::support::gateway::config;
use crate::support::openemr::OpenEmr;

/// What stands in the only element of this name.
fn element<'t>(document: &'t str, name: &str) -> &'t str {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    assert_eq!((document.matches(&format!("<{name}")).count(), document.matches(&close).count()), (1, 1), "{name}");
    document.split(&open).nth(1).unwrap().split(&close).next().unwrap()
}

#[test]
fn the_page_runs_its_own_script_alone_and_loads_nothing() {
    let openemr = OpenEmr::start();
    let admin = Admin::start(config(&openemr));
    let page = admin.get("/");
    assert_eq!(page.status, 200);
    for line in [
        "content-type: text/html; charset=utf-8",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "cache-control: no-store",
        "cross-origin-opener-policy: same-origin",
        "connection: close",
    ] {
        assert!(page.head.contains(line), "{line} in {}", page.head);
    }
    assert!(!page.head.contains("content-disposition"), "{}", page.head);
    let policy = page.head.lines().find_map(|line| line.strip_prefix("content-security-policy: ")).unwrap();
    let hash = |name| {
        let hash = STANDARD.encode(digest(&SHA256, element(&page.body, name).as_bytes()));
        format!("'sha256-{hash}'").to_ascii_lowercase()
    };
    let directives: Vec<&str> = policy.split("; ").collect();
    assert_eq!(
        directives,
        [
            "default-src 'none'",
            &format!("style-src {}", hash("style")),
            &format!("script-src {}", hash("script")),
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        ]
    );
    // It is the same whatever the gateway does.
    assert!(!page.body.contains("default") && !page.body.contains(&openemr.base), "data in the page");
    let head = admin.send("HEAD", "/", &[], "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(admin.order("POST", "/", "").status, 405);
}

#[test]
fn the_page_needs_no_key_and_its_data_do() {
    let openemr = OpenEmr::start();
    let (key, digest) = new_key();
    let mut config = config(&openemr);
    config["admin"] = json!({"api_keys": [digest]});
    let admin = Admin::start(config);
    assert_eq!(admin.send("GET", "/", &["Host: gateway.example.org", "Sec-Fetch-Site: cross-site"], "").status, 200);
    for path in ["/status", "/events"] {
        assert_eq!(admin.get(path).status, 401, "{path}");
        assert_eq!(admin.send("GET", path, &["Authorization: Bearer oegw_no"], "").status, 401, "{path}");
    }
    let bearer = format!("Authorization: Bearer {key}");
    assert_eq!(admin.send("GET", "/status", &[&bearer], "").status, 200);
    assert_eq!(admin.send("GET", "/status", &[&bearer, "Origin: http://evil.example"], "").status, 403);
}
