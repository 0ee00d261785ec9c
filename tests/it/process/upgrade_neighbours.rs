//! Other gateways and other users of the machine have no part in an upgrade.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::gateway::{Gateway, config, free_address};
use crate::support::http::Caller;
use crate::support::openemr::OpenEmr;
use crate::support::{Process, eventually};
use serde_json::{Value, json};

const PATIENTS: &str = "/fhir/Patient?_count=1";
const NOBODY: u32 = 65_534;

/// Gateways of one user, whose upgrade sockets have their default places.
struct House {
    openemr: OpenEmr,
    folder: tempfile::TempDir,
}

struct Neighbour {
    process: Process,
    caller: Caller,
    config_file: PathBuf,
}

impl House {
    fn new() -> Self {
        Self { openemr: OpenEmr::start(), folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a folder of that mode.
    fn folder(&self, name: &str, mode: u32) -> PathBuf {
        let folder = self.path(name);
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
        folder
    }

    fn config(&self, name: &str) -> Value {
        let mut config = config(&self.openemr);
        config["listen"] = json!([{"address": free_address().to_string()}]);
        fs::write(self.path(name), config.to_string()).unwrap();
        config
    }

    fn run(&self, arguments: &[&str], name: &str, variables: &[(&str, &Path)]) -> Process {
        let file = self.path(name);
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--config", file.to_str().unwrap()]).collect();
        let temporary = [("TMPDIR", self.folder.path())];
        let variables = temporary.iter().chain(variables);
        let variables: Vec<_> = variables.map(|(name, value)| (*name, value.to_str().unwrap())).collect();
        Process::start_with(&arguments, &variables)
    }

    fn gateway(&self, name: &str, variables: &[(&str, &Path)]) -> Neighbour {
        let config = self.config(name);
        let caller = Caller::new(config["listen"][0]["address"].as_str().unwrap().parse().unwrap());
        let process = self.run(&["serve"], name, variables);
        eventually("the gateway listens", || process.log().contains("listening on ").then_some(()));
        Neighbour { process, caller, config_file: self.path(name) }
    }

    fn successor(&self, of: &Neighbour, variables: &[(&str, &Path)]) -> Process {
        self.run(&["serve", "--upgrade"], of.config_file.file_name().unwrap().to_str().unwrap(), variables)
    }

    /// The own folder of the user's gateways, in the temporary folder.
    fn own_folder(&self) -> PathBuf {
        self.path(&format!("openemr-gateway-{}", fs::metadata(self.folder.path()).unwrap().uid()))
    }
}

fn serves_on(caller: &Caller) {
    let answer = caller.get(PATIENTS);
    assert_eq!(answer.status, 200);
    assert_ne!(answer.field("connection"), Some("close"), "it is about to end");
}

fn end_of(mut process: Process) -> (i32, String) {
    let status = eventually("the process ends", || process.ended());
    (status.code().unwrap_or(-1), process.log())
}

/// The sockets in a folder, with their permissions.
fn sockets(folder: &Path) -> Vec<u32> {
    let entries = fs::read_dir(folder).map(|found| found.map(|entry| entry.unwrap().metadata().unwrap()).collect::<Vec<_>>());
    let entries = entries.unwrap_or_default().into_iter();
    entries.filter(|entry| entry.file_type().is_socket()).map(|entry| entry.mode() & 0o777).collect()
}

/// Runs a Python program as `nobody`; `None`, with a note, where that cannot be done.
fn as_nobody(program: &str, arguments: &[&Path]) -> Option<Child> {
    let command = |words: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).args(words);
        // What comes first in our own path may be in a home folder, closed to others.
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command
    };
    let can = command(&["python3", "-c", ""]).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !can {
        println!("skipped: this needs root, setpriv and python3");
        return None;
    }
    let mut command = command(&["python3", "-c", program]);
    Some(command.args(arguments).stdout(Stdio::piped()).spawn().unwrap())
}

#[test]
fn two_gateways_of_one_user_do_not_take_each_others_listeners() {
    let house = House::new();
    let runtime = house.folder("run", 0o700);
    let variables: &[(&str, &Path)] = &[("XDG_RUNTIME_DIR", &runtime)];
    let (mut one, other) = (house.gateway("one.yaml", variables), house.gateway("other.yaml", variables));
    eventually("each has a socket", || (sockets(&runtime) == [0o600, 0o600]).then_some(()));

    // The signal goes to the wrong one.
    let successor = house.successor(&one, variables);
    eventually("the new process asks", || successor.log().contains("send it SIGQUIT").then_some(()));
    other.process.signal("QUIT");
    let (code, said) = end_of(successor);
    assert_eq!(code, 1);
    assert!(said.contains("no running gateway handed over its listeners"), "{said}");
    serves_on(&other.caller);
    serves_on(&one.caller);

    let successor = house.successor(&one, variables);
    one.process.signal("QUIT");
    eventually("the new process listens", || successor.log().contains("listening on ").then_some(()));
    assert!(eventually("the old process ends", || one.process.ended()).success());
    serves_on(&one.caller);
    serves_on(&other.caller);
}

#[test]
fn the_socket_is_in_the_first_private_folder() {
    let house = House::new();
    let (of_service, of_session) = (house.folder("service", 0o755), house.folder("session", 0o700));
    let open = house.folder("open", 0o1777);
    let variables: [(&str, &Path); 2] = [("RUNTIME_DIRECTORY", &of_service), ("XDG_RUNTIME_DIR", &of_session)];
    let _first = house.gateway("first.yaml", &variables);
    eventually("the service's folder", || (sockets(&of_service) == [0o600]).then_some(()));
    let _second = house.gateway("second.yaml", &[("RUNTIME_DIRECTORY", &open), ("XDG_RUNTIME_DIR", &of_session)]);
    eventually("the session's folder", || (sockets(&of_session) == [0o600]).then_some(()));
    let _third = house.gateway("third.yaml", &[("XDG_RUNTIME_DIR", &open)]);
    eventually("a folder of its own", || (sockets(&house.own_folder()) == [0o600]).then_some(()));
    assert_eq!(fs::metadata(house.own_folder()).unwrap().mode() & 0o777, 0o700);
    assert!(sockets(&open).is_empty());
}

#[test]
fn a_folder_that_others_can_write_to_is_not_used() {
    let house = House::new();
    // As somebody would who came first.
    let squatted = house.own_folder();
    fs::create_dir(&squatted).unwrap();
    fs::set_permissions(&squatted, Permissions::from_mode(0o777)).unwrap();
    let gateway = house.gateway("gateway.yaml", &[]);
    eventually("it says so", || gateway.process.log().contains("cannot be upgraded, only restarted").then_some(()));
    assert!(sockets(&squatted).is_empty());
    for command in [&["serve", "--upgrade"][..], &["serve", "--test"]] {
        let (code, said) = end_of(house.run(command, "gateway.yaml", &[]));
        assert_eq!(code, 1);
        assert!(said.contains("other users can write to the folder") && said.contains("mkdir -m 700"), "{said}");
    }
    gateway.process.signal("QUIT");
    eventually("it goes on", || gateway.process.log().contains("this process goes on").then_some(()));
    serves_on(&gateway.caller);

    // A folder that was chosen must be private at once. The sticky bit is not enough.
    let open = house.folder("open", 0o1777);
    let mut config = house.config("configured.yaml");
    config["server"] = json!({"upgrade_sock": open.join("upgrade.sock")});
    fs::write(house.path("configured.yaml"), config.to_string()).unwrap();
    for command in [&["serve"][..], &["serve", "--upgrade"], &["serve", "--test"]] {
        let (code, said) = end_of(house.run(command, "configured.yaml", &[]));
        assert_eq!(code, 1);
        assert!(said.contains("server.upgrade_sock: other users can write to the folder"), "{said}");
    }
    // Nothing but a socket that was left behind gives way.
    config["server"] = json!({"upgrade_sock": house.path("configured.yaml")});
    fs::write(house.path("configured.yaml"), config.to_string()).unwrap();
    let (code, said) = end_of(house.run(&["serve"], "configured.yaml", &[]));
    assert_eq!(code, 1);
    assert!(said.contains("is there, and is no socket"), "{said}");
    assert!(house.path("configured.yaml").exists());
}

#[test]
fn another_user_gets_no_listener() {
    const TAKE: &str = "
import socket, sys
door = socket.socket(socket.AF_UNIX)
door.connect(sys.argv[1])
print('connected', flush=True)
try:
    door.sendall(b'take\\n')
    line, sockets, _, _ = socket.recv_fds(door, 4096, 16)
except ConnectionError:
    line, sockets = b'', []
print(len(line), len(sockets), flush=True)
";
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let socket = gateway.config_file().with_file_name("upgrade.sock");
    eventually("the socket is there", || socket.exists().then_some(()));
    // Its permissions would keep another user out.
    fs::set_permissions(socket.parent().unwrap(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&socket, Permissions::from_mode(0o666)).unwrap();
    let Some(stranger) = as_nobody(TAKE, &[&socket]) else { return };
    gateway.logs(&["a process of another user (uid 65534)", "was sent away"]);
    gateway.process.signal("QUIT");
    let said = stranger.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stdout), "connected\n0 0\n");
    serves_on(&gateway.caller());
}

#[test]
fn another_user_hands_over_no_listener() {
    const OFFER: &str = "
import os, socket, sys, time
door = socket.socket(socket.AF_UNIX)
door.bind(sys.argv[1] + '.new')
door.listen()
os.rename(sys.argv[1] + '.new', sys.argv[1])
time.sleep(600)
";
    let openemr = OpenEmr::start();
    let mut gateway = Gateway::start(&openemr);
    let folder = tempfile::tempdir().unwrap();
    let foreign = folder.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    if chown(&foreign, Some(NOBODY), None).is_err() {
        return println!("skipped: this needs root");
    }
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let Some(mut stranger) = as_nobody(OFFER, &[&foreign.join("door")]) else { return };
    eventually("it listens", || foreign.join("door").exists().then_some(()));
    gateway.process.signal("INT");
    assert!(eventually("the gateway ends", || gateway.process.ended()).success());
    // Into a folder of this user, where the other one could not have put it.
    fs::rename(foreign.join("door"), gateway.config_file().with_file_name("upgrade.sock")).unwrap();
    let (code, said) = end_of(gateway.successor());
    assert_eq!(code, 1);
    assert!(said.contains("is held by a process of another user (uid 65534)"), "{said}");
    stranger.kill().unwrap();
    stranger.wait().unwrap();

    // A folder of another user is refused before anything in it is looked at.
    let mut config = gateway.config.clone();
    config["server"]["upgrade_sock"] = json!(foreign.join("upgrade.sock"));
    gateway.rewrite(&config);
    let (code, said) = end_of(gateway.successor());
    assert_eq!(code, 1);
    assert!(said.contains("belongs to another user (uid 65534)"), "{said}");
}
