//! A signing key is replaced while requests and exchanges go on: with every way in which OpenEMR gets the JWK Set, over
//! restarts, and with damaged files.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::command::Ended;
use crate::support::gateway::{config_for, free_address};
use crate::support::http::Caller;
use crate::support::load::{Load, rate};
use crate::support::openemr::{CLIENT, OpenEmr};
use crate::support::permits::LOADS;
use crate::support::{Process, Stop, eventually, keys};
use serde_json::{Value, json};
use tempfile::TempDir;

const PATIENTS: &str = "/fhir/Patient?_count=1";

/// A gateway that can be stopped and started again, with keys of its own.
struct Setting {
    folder: TempDir,
    address: SocketAddr,
    openemr: OpenEmr,
    gateway: Option<Process>,
}

impl Setting {
    /// The client is registered with the gateway's own address as jwks_uri.
    fn with_jwks_uri(options: &[&str]) -> Self {
        let address = free_address();
        let openemr = OpenEmr::with_jwks(&format!("http://{address}/.well-known/jwks.json"), options);
        Self::new(address, openemr, "RS384")
    }

    /// The client is registered with a copy of the JWK Set.
    fn with_inline_set(options: &[&str]) -> Self {
        Self::new(free_address(), OpenEmr::with(options), "RS384")
    }

    fn new(address: SocketAddr, openemr: OpenEmr, algorithm: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("keys")).unwrap();
        for name in ["private_key.pem", "public_key.pem", "jwks.json"] {
            fs::copy(keys(algorithm).join(name), folder.path().join("keys").join(name)).unwrap();
        }
        let setting = Self { folder, address, openemr, gateway: None };
        let mut config = config_for(&setting.openemr.base);
        config["listen"] = json!([{ "address": address.to_string() }]);
        setting.configure(config);
        setting
    }

    /// Writes the configuration, every site with this folder's keys.
    fn configure(&self, mut config: Value) {
        for site in config["sites"].as_object_mut().unwrap().values_mut() {
            site["private_key"] = json!(self.file("private_key.pem"));
            site["jwks"] = json!(self.file("jwks.json"));
        }
        fs::write(self.folder.path().join("gateway.yaml"), config.to_string()).unwrap();
    }

    fn change(&self, change: impl FnOnce(&mut Value)) {
        let file = self.folder.path().join("gateway.yaml");
        let mut config = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        change(&mut config);
        fs::write(file, config.to_string()).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("keys").join(name)
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path().join("keys")).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Starts the gateway and waits for its first token.
    fn start(&mut self) {
        self.start_without_token();
        eventually("a token", || (Caller::new(self.address).get(PATIENTS).status == 200).then_some(()));
    }

    fn start_without_token(&mut self) {
        let config = self.folder.path().join("gateway.yaml");
        let process = Process::start(&["serve", "--config", config.to_str().unwrap()]);
        eventually("the gateway listens", || process.log().contains("listening on ").then_some(()));
        self.gateway = Some(process);
    }

    /// SIGKILL.
    fn kill(&mut self) {
        self.gateway.take().unwrap();
    }

    fn log(&self) -> String {
        self.gateway.as_ref().unwrap().log()
    }

    fn logs(&self, words: &[&str]) -> String {
        eventually(&format!("a log line with {words:?}"), || {
            self.log().lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned)
        })
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        let output = Command::new(crate::support::binary())
            .args(arguments)
            .arg("--config")
            .arg(self.folder.path().join("gateway.yaml"))
            .env_clear()
            .env("TZ", "Europe/Vienna")
            .output()
            .unwrap();
        Ended::of(output)
    }

    fn rotate(&self, publish_for: &str, retire_after: &str) -> String {
        let ended = self.run(&["keys", "rotate", "--publish-for", publish_for, "--retire-after", retire_after]);
        assert_eq!(ended.code, 0, "{}", ended.err);
        ended.out
    }

    /// `keys status`, with its runs of blanks made one.
    fn status(&self) -> String {
        let ended = self.run(&["keys", "status"]);
        assert_eq!(ended.code, 0, "{}", ended.err);
        ended.out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
    }

    fn status_says(&self, words: &[&str]) -> String {
        eventually(&format!("a status with {words:?}"), || {
            let status = self.status();
            words.iter().all(|word| status.contains(word)).then_some(status)
        })
    }

    /// The kids that the gateway publishes, in their order. Nothing private is among the members.
    fn published(&self) -> Vec<String> {
        let answer = Caller::new(self.address).get("/.well-known/jwks.json");
        assert_eq!(answer.status, 200);
        kids(&answer.json())
    }

    fn publishes(&self, wanted: &[&str]) {
        eventually(&format!("{wanted:?} is published"), || (self.published() == wanted).then_some(()));
    }

    /// The kids in the JWK Set's file.
    fn kids_in(&self, name: &str) -> Vec<String> {
        kids(&serde_json::from_slice(&fs::read(self.file(name)).unwrap()).unwrap())
    }

    /// The kid of the last assertion that OpenEMR saw.
    fn signed_with(&self) -> String {
        self.openemr.state()["last_token_request"]["assertion_header"]["kid"].as_str().unwrap().to_owned()
    }

    fn force(&self) {
        let answer = Caller::new(self.address).post("/oauth/token?force=true", &[], b"");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// The administrator gives OpenEMR the set of that file.
    fn register(&self, name: &str) {
        let set: Value = serde_json::from_slice(&fs::read(self.file(name)).unwrap()).unwrap();
        self.openemr.order(&json!({"clients": {CLIENT: {"jwks": set}}}));
    }

    /// Requests, from now until the work is done, none of which may fail; and how many assertions OpenEMR refused.
    fn under_load(&self, work: impl FnOnce()) -> u64 {
        self.load(false, work).1
    }

    /// The same, and every order in which keys were published meanwhile.
    fn watched_under_load(&self, work: impl FnOnce()) -> (Vec<Vec<String>>, u64) {
        self.load(true, work)
    }

    fn load(&self, watched: bool, work: impl FnOnce()) -> (Vec<Vec<String>>, u64) {
        let refused_before = self.openemr.count("assertions_refused");
        let _permit = LOADS.take();
        let done = AtomicBool::new(false);
        // For as long as the work takes.
        let load = Load::new(self.address, rate(200), Duration::from_secs(3600)).get(PATIENTS).start();
        let orders = thread::scope(|scope| {
            let orders = scope.spawn(|| {
                let mut orders = Vec::new();
                if !watched {
                    return orders;
                }
                loop {
                    // One more look when the work is done: it may have ended with a change.
                    let is_last = done.load(Ordering::Relaxed);
                    let order = self.published();
                    if orders.last() != Some(&order) {
                        orders.push(order);
                    }
                    if is_last {
                        return orders;
                    }
                    thread::sleep(Duration::from_millis(5));
                }
            });
            let stopping = Stop(&done);
            work();
            drop(stopping);
            orders.join().unwrap()
        });
        eventually("that was a load", || (load.done() > 50).then_some(()));
        let report = load.stop();
        let test = thread::current().name().and_then(|name| name.rsplit("::").next()).unwrap_or_default().replace('_', " ");
        report.expect(&format!("key rotated: {test}"), |status| status == 200);
        (orders, self.openemr.count("assertions_refused") - refused_before)
    }

    /// The rotation is over, and everything is as the configuration says.
    fn is_over(&self, old: &str, new: &str) {
        self.status_says(&["phase idle", &format!("signs with {new}"), &format!("last rotated to {new}")]);
        self.publishes(&[new]);
        assert_eq!(self.kids_in("jwks.json"), [new]);
        assert_eq!(self.files(), ["jwks.json", "jwks.rotation.json", "private_key.pem", "public_key.pem"]);
        assert_eq!(mode(&self.file("private_key.pem")), 0o600);
        let private = self.file("private_key.pem");
        let kid = Command::new(crate::support::binary()).args(["keys", "kid", "--private-key"]).arg(private).output();
        assert_eq!(String::from_utf8(kid.unwrap().stdout).unwrap().trim(), new);
        assert_eq!(self.run(&["config", "check"]).code, 0);
        self.force();
        assert_eq!(self.signed_with(), new);
        assert!(!fs::read_to_string(self.file("jwks.rotation.json")).unwrap().contains(old));
    }
}

fn mode(path: &PathBuf) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn kids(set: &Value) -> Vec<String> {
    let keys = set["keys"].as_array().unwrap();
    let public = ["kty", "n", "e", "alg", "use", "kid", "crv", "x", "y"];
    for key in keys {
        let others: Vec<&String> = key.as_object().unwrap().keys().filter(|name| !public.contains(&name.as_str())).collect();
        assert!(others.is_empty(), "{others:?}");
    }
    keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// The kid before, and the one that `keys rotate` made.
fn rotate(setting: &Setting, publish_for: &str, retire_after: &str) -> (String, String) {
    let old = setting.kids_in("jwks.json").remove(0);
    let said = setting.rotate(publish_for, retire_after);
    let new = setting.kids_in("jwks.next.json").remove(0);
    assert!(said.contains(&format!("from {old} to {new}")), "{said}");
    (old, new)
}

fn owned(orders: &[&[&str]]) -> Vec<Vec<String>> {
    orders.iter().map(|order| order.iter().map(|kid| (*kid).to_owned()).collect()).collect()
}

#[test]
fn with_a_jwks_uri_no_request_and_no_exchange_fails() {
    let mut setting = Setting::with_jwks_uri(&["--token-lifetime", "2"]);
    setting.start();
    let mut kids = None;
    let (orders, refused) = setting.watched_under_load(|| {
        let (old, new) = rotate(&setting, "4s", "4s");
        assert_eq!(mode(&setting.file(&format!("private_key.{new}.pem"))), 0o600);
        setting.status_says(&["phase idle"]);
        setting.publishes(&[&new]);
        kids = Some((old, new));
    });
    let (old, new) = kids.unwrap();
    assert_eq!(orders, owned(&[&[&old], &[&old, &new], &[&new, &old], &[&new]]));
    assert_eq!(refused, 0);
    assert!(setting.openemr.count("jwks_fetches") > 3);
    setting.logs(&["OpenEMR accepts the new key", &new]);
    setting.is_over(&old, &new);
    assert!(!setting.log().contains("refuses"), "{}", setting.log());
}

#[test]
fn forced_refreshes_meet_the_switch_without_a_refusal() {
    let mut setting = Setting::with_jwks_uri(&[]);
    setting.change(|config| {
        config["sites"]["default"]["forced_refreshes"] = json!({"every": "1ms", "burst": 1000, "daily": 100000})
    });
    setting.start();
    // Between the signature and OpenEMR's fetch of the set.
    setting.openemr.order(&json!({"token": {"delay_ms": 300}}));
    let refused = setting.under_load(|| {
        rotate(&setting, "2s", "1s");
        // Back to back, so that an exchange is under way whenever the switch comes.
        let before = setting.openemr.count("token_requests");
        while !setting.status().contains("phase idle") || setting.openemr.count("token_requests") <= before + 6 {
            for _ in 0..3 {
                setting.force();
            }
        }
    });
    assert_eq!(refused, 0);
}

#[test]
fn a_server_that_goes_by_kid_and_keeps_copies_refuses_nothing() {
    let mut setting = Setting::with_jwks_uri(&["--token-lifetime", "2", "--strict-kid", "--jwks-cache", "2"]);
    setting.start();
    let mut kids = None;
    let (orders, refused) = setting.watched_under_load(|| {
        let (old, new) = rotate(&setting, "4s", "4s");
        setting.status_says(&["phase idle"]);
        setting.publishes(&[&new]);
        kids = Some((old, new));
    });
    let (old, new) = kids.unwrap();
    assert_eq!(orders, owned(&[&[&old], &[&old, &new], &[&new, &old], &[&new]]));
    assert_eq!(refused, 0);
    setting.is_over(&old, &new);
}

#[test]
fn a_copy_that_is_kept_too_long_keeps_the_old_key_signing() {
    // One server kept a copy from before the rotation; the other goes by the first key of a copy from before the switch.
    for (options, says) in [(&["--strict-kid", "--jwks-cache", "600"][..], "keeps an old copy"), (&[], "seems to use a copy")] {
        let mut setting = Setting::with_jwks_uri(&[&["--token-lifetime", "2"], options].concat());
        setting.start();
        let mut kids = None;
        let began = Instant::now();
        let refused = setting.under_load(|| {
            let (old, new) = rotate(&setting, "8s", "1s");
            setting.publishes(&[&old, &new]);
            if options.is_empty() {
                setting.openemr.order(&json!({"jwks_cache_seconds": 600}));
            }
            setting.status_says(&["phase switched", "refuses the new key of site default", &format!("signs with {old}")]);
            let said = setting.logs(&["OpenEMR refuses the new key", &new]);
            assert!(said.contains(says), "{said}");
            setting.publishes(&[&old, &new]);
            let before = setting.openemr.count("assertions_refused");
            let is_again = || setting.openemr.count("assertions_refused") > before + 1;
            eventually("it is refused again and again", || is_again().then_some(()));
            assert_eq!(setting.log().matches("OpenEMR refuses the new key").count(), 1, "said once an hour");
            setting.openemr.order(&json!({"jwks_cache_seconds": 0}));
            setting.status_says(&["phase idle"]);
            kids = Some((old, new));
        });
        // One at the switch, and then one a token life at most, of which a new token has 1.5 s.
        let most = 2 + began.elapsed().as_millis() as u64 / 1_500;
        assert!((2..=most).contains(&refused), "{refused} of {most}");
        let (old, new) = kids.unwrap();
        setting.is_over(&old, &new);
    }
}

#[test]
fn an_inline_set_keeps_the_old_key_signing_until_openemr_is_given_the_new_one() {
    let mut setting = Setting::with_inline_set(&["--token-lifetime", "2"]);
    setting.start();
    let mut kids = None;
    let began = Instant::now();
    let refused = setting.under_load(|| {
        let (old, new) = rotate(&setting, "1s", "1s");
        let said = setting.logs(&["OpenEMR refuses the new key", &new]);
        let next = setting.file("jwks.next.json");
        assert!(said.contains("inline") && said.contains(next.to_str().unwrap()) && said.contains("API Clients"), "{said}");
        let status = setting.status_says(&["phase switched", "refuses the new key", "jwks.next.json"]);
        assert!(status.contains("has not accepted the new key") && status.contains("has not fetched the JWK Set"), "{status}");
        setting.publishes(&[&old, &new]);
        // Well after the time at which the old key would have been retired.
        thread::sleep(Duration::from_secs(4));
        assert_eq!(setting.kids_in("jwks.json"), [old.clone(), new.clone()]);
        setting.register("jwks.next.json");
        setting.status_says(&["phase idle"]);
        kids = Some((old, new));
    });
    let most = 2 + began.elapsed().as_millis() as u64 / 1_500;
    assert!((2..=most).contains(&refused), "{refused} of {most}");
    let (old, new) = kids.unwrap();
    setting.is_over(&old, &new);
}

#[test]
fn an_inline_set_that_is_given_before_the_switch_is_followed_early() {
    for options in [&["--token-lifetime", "2"][..], &["--token-lifetime", "2", "--strict-kid"]] {
        let mut setting = Setting::with_inline_set(options);
        setting.start();
        let mut kids = None;
        let refused = setting.under_load(|| {
            let (old, new) = rotate(&setting, "10s", "1s");
            setting.publishes(&[&old, &new]);
            setting.register("jwks.next.json");
            setting.status_says(&["phase published", "has accepted the new key", &format!("signs with {new}")]);
            setting.status_says(&["phase idle"]);
            kids = Some((old, new));
        });
        assert_eq!(refused, 1, "the one that showed it");
        let (old, new) = kids.unwrap();
        setting.is_over(&old, &new);
    }
}

#[test]
fn every_step_survives_a_kill() {
    let mut setting = Setting::with_inline_set(&[]);
    setting.start();
    let (old, new) = rotate(&setting, "12s", "8s");
    setting.publishes(&[&old, &new]);
    setting.status_says(&["phase published", "has taken it up, "]);
    setting.kill();
    setting.start();
    assert_eq!((setting.published(), setting.signed_with()), (vec![old.clone(), new.clone()], old.clone()));
    setting.status_says(&["phase published", &format!("signs with {old}")]);

    // The switch falls due while nothing runs.
    setting.kill();
    thread::sleep(Duration::from_secs(12));
    setting.status_says(&["phase published"]);
    setting.start();
    // The new one first, in vain: the token in hand was got with the old one.
    setting.status_says(&["phase switched", "refuses the new key", &format!("signs with {old}")]);
    assert_eq!((setting.published(), setting.signed_with()), (vec![old.clone(), new.clone()], old.clone()));

    setting.kill();
    setting.register("jwks.next.json");
    setting.start();
    setting.status_says(&["phase switched", "has accepted the new key", &format!("signs with {new}")]);
    assert_eq!((setting.published(), setting.signed_with()), (vec![new.clone(), old.clone()], new.clone()));

    setting.kill();
    setting.status_says(&["phase switched", "the old key is retired: "]);
    setting.start();
    assert_eq!(setting.signed_with(), new);
    setting.status_says(&["phase idle"]);
    setting.kill();
    setting.start();
    setting.is_over(&old, &new);
}

#[test]
fn what_a_crash_left_undone_is_done_at_the_next_start() {
    let mut setting = Setting::with_inline_set(&[]);
    let set_before = fs::read(setting.file("jwks.json")).unwrap();
    let (old, new) = rotate(&setting, "1h", "1s");
    // As if the power had failed when only the state was written.
    fs::write(setting.file("jwks.json"), &set_before).unwrap();
    fs::remove_file(setting.file("jwks.next.json")).unwrap();
    setting.start();
    setting.publishes(&[&old, &new]);
    eventually("the files agree", || {
        setting
            .file("jwks.next.json")
            .exists()
            .then(|| setting.kids_in("jwks.json"))
            .filter(|kids| *kids == [old.clone(), new.clone()])
    });
    setting.kill();

    // At the last step: decided, and nothing moved yet; then the key moved, and the state not.
    let state_file = setting.file("jwks.rotation.json");
    let mut state: Value = serde_json::from_slice(&fs::read(&state_file).unwrap()).unwrap();
    state["rotation"]["phase"] = json!("retiring");
    setting.register("jwks.next.json");
    fs::write(&state_file, state.to_string()).unwrap();
    setting.status_says(&["phase retiring", &format!("signs with {new}")]);
    fs::rename(setting.file(&format!("private_key.{new}.pem")), setting.file("private_key.pem")).unwrap();
    setting.status_says(&["phase retiring", &format!("signs with {new}")]);
    setting.start();
    setting.is_over(&old, &new);
    setting.kill();

    // The same with no gateway running, only `keys rotate`: it ends the one and begins another.
    let (old, new) = rotate(&setting, "1h", "1s");
    let mut state: Value = serde_json::from_slice(&fs::read(&state_file).unwrap()).unwrap();
    state["rotation"]["phase"] = json!("retiring");
    fs::write(&state_file, state.to_string()).unwrap();
    let (second, third) = {
        setting.rotate("1h", "1s");
        let kids = setting.kids_in("jwks.json");
        (kids[0].clone(), kids[1].clone())
    };
    assert_eq!(second, new);
    assert!(third != old && third != new);
}

#[test]
fn a_second_rotation_waits_for_the_first() {
    let setting = Setting::with_inline_set(&[]);
    let before = setting.status();
    assert!(before.contains("phase idle: no rotation is in progress"), "{before}");
    let said = setting.rotate("10m", "1h");
    let new = setting.kids_in("jwks.next.json").remove(0);
    for words in [
        "jwks.next.json",
        "Admin > System > API Clients",
        "registered anew",
        " UTC (",
        "1h after OpenEMR accepted it",
        "keys status",
        &new,
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let files = setting.files();
    let again = setting.run(&["keys", "rotate"]);
    assert_eq!((again.code, setting.files()), (1, files));
    for words in ["a rotation is in progress", "published", &new, "no running gateway has taken it up yet"] {
        assert!(again.err.contains(words), "{words}: {}", again.err);
    }
    let status = setting.status();
    for words in ["phase published", "no running gateway has taken it up yet", "next the new key comes first and signs: "] {
        assert!(status.contains(words), "{words}: {status}");
    }
}

#[test]
fn a_damaged_state_is_an_error_at_start_and_ignored_while_running() {
    let mut setting = Setting::with_inline_set(&[]);
    setting.start();
    let (old, new) = rotate(&setting, "1h", "1s");
    setting.publishes(&[&old, &new]);
    let state_file = setting.file("jwks.rotation.json");
    setting.status_says(&["has taken it up, "]);
    let good = fs::read(&state_file).unwrap();
    fs::write(&state_file, &good[..good.len() / 2]).unwrap();
    setting.logs(&["is not followed", "jwks.rotation.json is damaged", "stay as they are"]);
    setting.force();
    assert_eq!((setting.published(), setting.signed_with()), (vec![old.clone(), new.clone()], old.clone()));
    for command in [&["config", "check"][..], &["serve", "--test"], &["keys", "status"], &["keys", "rotate"]] {
        let ended = setting.run(command);
        assert_eq!(ended.code, 1, "{command:?}");
        assert!(ended.err.contains("jwks.rotation.json is damaged") && ended.err.contains("put it back"), "{}", ended.err);
    }
    assert_eq!(fs::read(&state_file).unwrap(), &good[..good.len() / 2], "somebody wrote over it");
    // Put back, it goes on.
    let mut state: Value = serde_json::from_slice(&good).unwrap();
    state["rotation"]["switch_at"] = state["rotation"]["published_at"].clone();
    setting.register("jwks.next.json");
    fs::write(&state_file, state.to_string()).unwrap();
    setting.status_says(&["phase switched"]);
    setting.force();
    setting.status_says(&["phase idle"]);
    setting.is_over(&old, &new);
}

#[test]
fn a_folder_that_cannot_be_written_to_holds_the_rotation_up_and_nothing_else() {
    let mut setting = Setting::with_inline_set(&[]);
    setting.start();
    let (old, new) = rotate(&setting, "10s", "1s");
    setting.status_says(&["has taken it up, "]);
    // A folder where the new state is to be written first: not even root can write there.
    let in_the_way = setting.file(&format!("jwks.rotation.json.{}.new", setting.gateway.as_ref().unwrap().id()));
    fs::create_dir(&in_the_way).unwrap();
    setting.logs(&["cannot go on", "jwks.rotation.json cannot be written", "must be able to write", "stay as they are"]);
    setting.force();
    assert_eq!((setting.published(), setting.signed_with()), (vec![old.clone(), new.clone()], old.clone()));
    thread::sleep(Duration::from_secs(2));
    assert_eq!(setting.log().matches("cannot go on").count(), 1, "{}", setting.log());
    fs::remove_dir(&in_the_way).unwrap();
    setting.status_says(&["phase switched"]);
    setting.register("jwks.next.json");
    setting.force();
    setting.status_says(&["phase idle"]);
    setting.is_over(&old, &new);
}

#[test]
fn a_folder_without_write_permission_is_named() {
    let setting = Setting::with_inline_set(&[]);
    let folder = setting.folder.path().join("keys");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
    let is_root = fs::write(folder.join("probe"), "").is_ok();
    let ended = setting.run(&["keys", "rotate"]);
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    if is_root {
        println!("root may write anywhere: nothing to test");
        return;
    }
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("cannot be written: Permission denied") && ended.err.contains("may write"), "{}", ended.err);
    assert_eq!(setting.files(), ["jwks.json", "private_key.pem", "public_key.pem"]);
}

#[test]
fn what_a_rotation_would_break_is_refused() {
    let setting = Setting::with_inline_set(&[]);
    let kid = setting.kids_in("jwks.json").remove(0);
    let refuses = |config: Value, arguments: &[&str], words: &[&str]| {
        fs::write(setting.folder.path().join("gateway.yaml"), config.to_string()).unwrap();
        let ended = setting.run(&[&["keys", "rotate"], arguments].concat());
        assert_eq!(ended.code, 1, "{}", ended.out);
        assert!(words.iter().all(|word| ended.err.contains(word)), "{words:?}: {}", ended.err);
        assert_eq!(setting.files(), ["jwks.json", "private_key.pem", "public_key.pem"]);
    };
    let site = |private_key: PathBuf, jwks: PathBuf| {
        let mut site = config_for(&setting.openemr.base)["sites"]["default"].take();
        site["private_key"] = json!(private_key);
        site["jwks"] = json!(jwks);
        site
    };
    let own = || site(setting.file("private_key.pem"), setting.file("jwks.json"));
    let mut with_kid = own();
    with_kid["kid"] = json!(kid);
    refuses(json!({"sites": {"default": with_kid}}), &[], &["sites.default.kid names the old key", "leave kid out"]);
    let half = site(setting.file("private_key.pem"), keys("RS384").join("jwks.json"));
    refuses(
        json!({"sites": {"default": own(), "other": half}}),
        &["--site", "default"],
        &["site other uses one of the two files"],
    );
    let other = site(keys("RS384").join("private_key.pem"), keys("RS384").join("jwks.json"));
    refuses(json!({"sites": {"default": own(), "other": other}}), &[], &["several keys", "--site"]);
    refuses(json!({"sites": {"default": own()}}), &["--site", "nowhere"], &["no site `nowhere`", "name one of  default"]);
    let ended = setting.run(&["keys", "rotate", "--publish-for", "soon"]);
    assert!(ended.code == 2 && ended.err.contains("is no duration"), "{}", ended.err);
}

#[test]
fn sites_that_share_a_key_go_together_and_wait_for_each_other() {
    let openemr = OpenEmr::with(&["--site", "default", "--site", "second", "--token-lifetime", "2"]);
    let mut setting = Setting::new(free_address(), openemr, "RS384");
    let mut config = config_for(&setting.openemr.base);
    config["listen"] = json!([{ "address": setting.address.to_string() }]);
    config["sites"]["second"] = config["sites"]["default"].clone();
    setting.configure(config);
    setting.start();
    let (old, new) = rotate(&setting, "1s", "1s");
    setting.status_says(&["refuses the new key of site default", "refuses the new key of site second"]);
    assert!(setting.status().contains("has yet to accept the new key of sites default, second"), "{}", setting.status());
    let second = Caller::new(setting.address).get("/second/.well-known/jwks.json");
    assert_eq!(kids(&second.json()), [old.clone(), new.clone()]);
    setting.register("jwks.next.json");
    setting.status_says(&["phase idle"]);
    setting.is_over(&old, &new);
    assert_eq!(kids(&Caller::new(setting.address).get("/second/.well-known/jwks.json").json()), [new]);
}

#[test]
fn es384_keys_rotate_as_well() {
    // The sandbox verifies RS384 alone, as OpenEMR does: it refuses both keys, and neither is given up.
    let mut setting = Setting::new(free_address(), OpenEmr::start(), "ES384");
    setting.start_without_token();
    let (old, new) = rotate(&setting, "6s", "1s");
    setting.publishes(&[&old, &new]);
    setting.publishes(&[&new, &old]);
    let set: Value = serde_json::from_slice(&fs::read(setting.file("jwks.json")).unwrap()).unwrap();
    assert_eq!((&set["keys"][0]["kty"], &set["keys"][0]["alg"]), (&json!("EC"), &json!("ES384")));
    setting.status_says(&["phase switched", "has not accepted", &format!("signs with {new} (ES384)")]);
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        assert!(setting.kids_in("jwks.json").contains(&old), "retired without having been accepted");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_copy_of_the_set_is_not_to_be_kept_while_its_order_may_change() {
    let mut setting = Setting::with_inline_set(&[]);
    setting.start();
    let caching = || {
        let answer = Caller::new(setting.address).get("/.well-known/jwks.json");
        answer.field("cache-control").unwrap().to_owned()
    };
    assert_eq!(caching(), "public, max-age=300");
    rotate(&setting, "1h", "1h");
    eventually("it says so", || (caching() == "no-cache").then_some(()));
}

#[test]
fn another_key_at_a_reload_signs_the_next_assertion_and_costs_no_token() {
    let mut setting = Setting::with_inline_set(&[]);
    setting.start();
    let token = || Caller::new(setting.address).post("/oauth/token", &[], b"").json()["access_token"].clone();
    let before = token();
    let other = setting.folder.path().join("other");
    let mut generate = Command::new(crate::support::binary());
    generate.args(["keys", "generate", "--bits", "2048", "--out"]).arg(&other);
    assert!(generate.output().unwrap().status.success());
    setting.change(|config| {
        config["sites"]["default"]["private_key"] = json!(other.join("private_key.pem"));
        config["sites"]["default"]["jwks"] = json!(other.join("jwks.json"));
    });
    setting.openemr.order(&json!({"clients": {CLIENT: {"jwks": serde_json::from_slice::<Value>(&fs::read(other.join("jwks.json")).unwrap()).unwrap()}}}));
    setting.gateway.as_ref().unwrap().signal("HUP");
    setting.logs(&["is in force"]);
    assert_eq!((token(), setting.openemr.count("token_requests")), (before, 1));
    setting.force();
    let new = kids(&serde_json::from_slice(&fs::read(other.join("jwks.json")).unwrap()).unwrap()).remove(0);
    assert_eq!((setting.signed_with(), setting.published()), (new.clone(), vec![new.clone()]));

    // In the files' place it is noticed without a signal, once the set has changed.
    let old = setting.kids_in("jwks.json").remove(0);
    fs::copy(setting.file("private_key.pem"), other.join("private_key.pem")).unwrap();
    fs::copy(setting.file("jwks.json"), other.join("jwks.json")).unwrap();
    setting.publishes(&[&old]);
    setting.register("jwks.json");
    setting.force();
    assert_eq!(setting.signed_with(), old);
    // A set that does not fit is not taken.
    fs::write(other.join("jwks.json"), r#"{"keys":[]}"#).unwrap();
    setting.logs(&["site default", "is not in", "stay as they are"]);
    setting.force();
    assert_eq!((setting.signed_with(), setting.published()), (old.clone(), vec![old]));
}
