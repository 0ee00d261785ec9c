//! What an idle connection costs.

use std::fs;

use crate::support::gateway::{Certificate, Gateway, config};
use crate::support::http::{Connection, request};
use crate::support::openemr::OpenEmr;
use serde_json::json;

/// Connections that are open when the measurement begins: the first ones bring up the allocator's pages.
const WARM: usize = 50;
const CONNECTIONS: usize = 150;
/// With Pingora's own buffers a connection costs 108 KiB, and 119 KiB with TLS.
const MOST_KIB: usize = 90;

fn resident_kib(process: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Holds connections that were served once; gives the memory that each of them costs, in KiB.
fn cost(gateway: &Gateway, connect: impl Fn() -> Connection) -> usize {
    let served = || {
        let mut connection = connect();
        connection.write(&request("GET", "/health", &[], b""));
        assert_eq!(connection.read("GET").status, 200);
        connection
    };
    let warm: Vec<Connection> = (0..WARM).map(|_| served()).collect();
    let before = resident_kib(gateway.process.id());
    let held: Vec<Connection> = (0..CONNECTIONS).map(|_| served()).collect();
    let cost = (resident_kib(gateway.process.id()).saturating_sub(before)) / CONNECTIONS;
    drop((warm, held));
    cost
}

#[test]
fn an_idle_connection_holds_no_large_buffer() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let plain = cost(&gateway, || gateway.caller().connect());
    assert!(plain < MOST_KIB, "{plain} KiB each");

    let certificate = Certificate::make();
    let mut config = config(&openemr);
    config["listen"] = json!([{"tls": certificate.tls()}]);
    let gateway = Gateway::with(config);
    let tls = cost(&gateway, || gateway.caller().connect_tls(&certificate.certificate));
    assert!(tls < MOST_KIB, "{tls} KiB each");
}
