//! A name that moves is followed without a restart: the gateway runs with an /etc/hosts of its own, which is rewritten
//! under it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::gateway::{Gateway, config_for};
use crate::support::http::End;
use crate::support::openemr::OpenEmr;
use crate::support::{eventually, load_report::Row};
use serde_json::json;

const PATIENTS: &str = "/fhir/Patient?_count=1";

/// Whether this machine lets us have a file system of our own.
fn can_have_own_hosts() -> bool {
    Command::new("unshare").args(["-rm", "true"]).status().is_ok_and(|status| status.success())
}

/// A port that is free on both of these addresses.
fn common_port() -> u16 {
    eventually("a port that is free on both addresses", || {
        let one = TcpListener::bind("127.0.0.2:0").unwrap();
        let port = one.local_addr().unwrap().port();
        TcpListener::bind(("127.0.0.3", port)).is_ok().then_some(port)
    })
}

fn node(address: &str, port: u16, audience: &str, database: &Path) -> OpenEmr {
    let listen = format!("{address}:{port}");
    OpenEmr::with(&["--listen", &listen, "--site-address", audience, "--database", database.to_str().unwrap()])
}

/// A gateway in front of `http://localhost:PORT`, and the file that says where that is.
struct Named {
    gateway: Gateway,
    hosts: PathBuf,
    first: OpenEmr,
    second: OpenEmr,
    _folder: tempfile::TempDir,
}

impl Named {
    /// The name leads to the first of two nodes.
    fn start(resolve_every: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (hosts, switch) = (folder.path().join("hosts"), folder.path().join("nsswitch.conf"));
        std::fs::write(&hosts, "127.0.0.2 localhost\n").unwrap();
        std::fs::write(&switch, "hosts: files\n").unwrap();
        let port = common_port();
        let audience = format!("http://localhost:{port}");
        let database = folder.path().join("database");
        let (first, second) = (node("127.0.0.2", port, &audience, &database), node("127.0.0.3", port, &audience, &database));
        let mut config = config_for(&audience);
        config["sites"]["default"]["connections"] = json!({"resolve_every": resolve_every});
        let script = "mount --bind \"$0\" /etc/hosts && mount --bind \"$1\" /etc/nsswitch.conf && shift && exec \"$@\"";
        let (hosts_file, switch) = (hosts.to_str().unwrap(), switch.to_str().unwrap());
        let gateway = Gateway::within(&["unshare", "-rm", "sh", "-c", script, hosts_file, switch], config);
        Self { gateway, hosts, first, second, _folder: folder }
    }

    /// In place: a file that is bound keeps its inode.
    fn is_at(&self, text: &str) {
        std::fs::write(&self.hosts, text).unwrap();
    }
}

#[test]
fn a_name_that_moves_is_followed_and_one_that_is_lost_is_remembered() {
    if !can_have_own_hosts() {
        println!("skipped: no mount namespace is to be had here");
        return;
    }
    let named = Named::start("300ms");
    let Named { gateway, first, second, .. } = &named;
    let (mut sent, mut good, mut longest_stall) = (0, 0, Duration::ZERO);
    let mut ask = || {
        let asked = Instant::now();
        let answer = gateway.caller().get(PATIENTS);
        longest_stall = longest_stall.max(asked.elapsed());
        sent += 1;
        good += u64::from(answer.status == 200 && answer.end == End::Whole);
    };
    ask();
    assert_eq!((first.count("fhir_requests"), second.count("fhir_requests")), (1, 0));

    named.is_at("127.0.0.3 localhost\n");
    eventually("the new address is found", || {
        ask();
        (second.count("fhir_requests") > 0).then_some(())
    });
    gateway.logs(&["INFO", "localhost has moved to [127.0.0.3"]);
    let before = first.count("fhir_requests");
    (0..10).for_each(|_| ask());
    assert_eq!(first.count("fhir_requests"), before, "the old address, which still answers, is left alone");

    named.is_at("# nobody\n");
    gateway.logs(&["WARN", "localhost cannot be resolved"]);
    (0..10).for_each(|_| ask());
    named.is_at("127.0.0.2 localhost\n");
    gateway.logs(&["INFO", "localhost is resolved again"]);
    eventually("the first address is found again", || {
        ask();
        (first.count("fhir_requests") > before).then_some(())
    });
    assert_eq!(good, sent);
    Row { fault: "OpenEMR's name moves".to_owned(), sent, failed: sent - good, longest_stall }.print();
}

#[test]
fn a_name_that_moves_because_its_server_died_is_found_before_its_time() {
    if !can_have_own_hosts() {
        println!("skipped: no mount namespace is to be had here");
        return;
    }
    let named = Named::start("1h");
    let ask = || named.gateway.caller().get(PATIENTS).status;
    assert_eq!(ask(), 200);
    named.first.process.signal("KILL");
    named.is_at("127.0.0.3 localhost\n");
    eventually("its new address is found", || (ask() == 200).then_some(()));
    assert!(named.second.count("fhir_requests") > 0);
}
