//! Files that others can change, and keys that others can read.

use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

use crate::support::command::{Folder, GOOD, check, fails, with};

const CONFIG: &str = "conf/gateway.yaml";
const KEY: &str = "keys/private_key.pem";
/// The user and the group that own nothing.
const NOBODY: u32 = 65_534;

fn can_change_users() -> bool {
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let can = is_root && std::process::Command::new("setpriv").arg("--version").output().is_ok();
    if !can {
        println!("skipped: only root can act as another user, with setpriv");
    }
    can
}

fn give(folder: &Folder, name: &str, user: u32, group: u32) {
    std::os::unix::fs::chown(folder.path(name), Some(user), Some(group)).unwrap();
}

#[test]
fn a_key_that_others_can_read_is_an_error_unless_said_otherwise() {
    let folder = Folder::good();
    folder.chmod(KEY, 0o644);
    fails(
        &folder,
        &[],
        "conf/gateway.yaml: sites.default.private_key: keys/private_key.pem ({abs}keys/private_key.pem) can be read by every user (mode 0644)",
        "close it:  chmod 600 keys/private_key.pem\n  or write  keys_readable_by_others: true",
    );
    let folder = with("keys_readable_by_others: true\n");
    folder.chmod(KEY, 0o644);
    let ended = check(&folder, &[]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.err.starts_with("warning: conf/gateway.yaml: sites.default.private_key: "), "{}", ended.err);
    // A command that only computes says so, too, and does it.
    let kid = folder.run(&["keys", "kid", "--private-key", KEY]);
    assert!(kid.code == 0 && kid.err.contains("can be read by every user"), "{}", kid.err);
}

#[test]
fn what_others_can_change_is_an_error() {
    for (name, mode, remedy) in [
        (CONFIG, 0o646, "chmod go-w conf/gateway.yaml"),
        (KEY, 0o602, "chmod go-w keys/private_key.pem"),
        ("keys/jwks.json", 0o666, "chmod go-w keys/jwks.json"),
        ("keys", 0o777, "chmod go-w keys"),
        ("conf", 0o777, "chmod go-w conf"),
    ] {
        // The first run shows that the mode alone makes the difference.
        let folder = Folder::good();
        assert_eq!(folder.run(&["config", "check"]).code, 0);
        folder.chmod(name, mode);
        for command in [["config", "check"], ["serve", "--test"]] {
            let ended = folder.run(&command);
            assert_eq!(ended.code, 1, "{name}");
            assert!(ended.err.contains("can be changed by every user") && ended.err.contains(remedy), "{}", ended.err);
        }
    }
    let folder = Folder::good();
    folder.write("env", "LOG_LEVEL=debug\n");
    folder.chmod("env", 0o666);
    let ended = folder.run(&["config", "check", "--env-file", "env"]);
    assert!(ended.code == 1 && ended.err.contains("chmod go-w env"), "{}", ended.err);
    let folder = Folder::good();
    folder.chmod(KEY, 0o602);
    assert_eq!(folder.run(&["keys", "kid", "--private-key", KEY]).code, 1);
}

#[test]
fn a_link_counts_as_the_file_and_the_folder_that_it_leads_to() {
    // As a container sees a mounted secret: a link, in a folder with the sticky bit.
    let folder = Folder::good();
    let real = folder.path("mount/..data");
    std::fs::create_dir_all(&real).unwrap();
    std::fs::rename(folder.path(KEY), real.join("private_key.pem")).unwrap();
    symlink("..data/private_key.pem", folder.path("mount/private_key.pem")).unwrap();
    folder.chmod("mount", 0o1777);
    folder.replace(CONFIG, KEY, "mount/private_key.pem");
    assert_eq!(check(&folder, &[]).code, 0);
    folder.chmod("mount/..data", 0o777);
    let ended = check(&folder, &[]);
    assert!(ended.code == 1 && ended.err.contains("..data"), "{}", ended.err);
}

#[test]
fn a_file_of_another_user_is_an_error_and_one_that_root_gave_is_none() {
    if !can_change_users() {
        return;
    }
    for name in [CONFIG, KEY, "keys"] {
        let folder = Folder::good();
        give(&folder, name, NOBODY, NOBODY);
        let ended = folder.run(&["config", "check"]);
        assert_eq!(ended.code, 1, "{name}");
        assert!(ended.err.contains(&format!("belongs to another user (id {NOBODY})")), "{}", ended.err);
        assert!(ended.err.contains("chown 0 "), "{}", ended.err);
    }
    // As the unprivileged user of a container, with files that root mounted for its group.
    let folder = Folder::good();
    for name in ["", "conf", "keys"] {
        folder.chmod(name, 0o755);
    }
    // Whatever the umask of whoever runs the tests is.
    for name in [CONFIG, "keys/jwks.json"] {
        folder.chmod(name, 0o644);
    }
    give(&folder, KEY, 0, NOBODY);
    folder.chmod(KEY, 0o440);
    let gateway = folder.path("openemr-gateway");
    std::fs::copy(env!("CARGO_BIN_EXE_openemr-gateway"), &gateway).unwrap();
    let as_nobody = |arguments: &[&str]| {
        let user = format!("--reuid={NOBODY}");
        let group = format!("--regid={NOBODY}");
        let words = [&[user.as_str(), group.as_str(), "--clear-groups", gateway.to_str().unwrap()], arguments].concat();
        folder.run_program(Path::new("/usr/bin/setpriv"), &words, &[])
    };
    let key = folder.path(KEY);
    let read = || as_nobody(&["keys", "kid", "--private-key", key.to_str().unwrap()]);
    let mut reads = read();
    // While another test starts a process, that holds the copied program open for a moment, and it cannot run.
    for _ in 0..1000 {
        if !reads.err.contains("Text file busy") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
        reads = read();
    }
    if reads.code != 0 {
        println!("skipped: another user cannot reach the temporary folder: {}", reads.err);
        return;
    }
    let good = as_nobody(&["config", "check"]);
    assert_eq!((good.code, good.err.as_str()), (0, ""));
    folder.chmod(KEY, 0o444);
    let ended = as_nobody(&["config", "check"]);
    assert!(ended.code == 1 && ended.err.contains("chmod o= keys/private_key.pem"), "{}", ended.err);
    // Its own file is as good.
    give(&folder, KEY, NOBODY, NOBODY);
    folder.chmod(KEY, 0o400);
    assert_eq!(as_nobody(&["config", "check"]).err, "");
}

#[test]
fn a_remedy_can_be_pasted_as_it_is() {
    // The key was named in the place of its set: the command must not empty it.
    let folder = Folder::empty();
    folder.write(CONFIG, &GOOD.replace("keys/jwks.json", KEY));
    folder.secret(KEY, include_str!("../../keys/rsa2048-pkcs8.pem"));
    let before = folder.read(KEY);
    let said = check(&folder, &[]).err;
    let command = said.lines().find_map(|line| line.split_once("openemr-gateway keys jwks ")).unwrap().1;
    let pasted = format!("{} keys jwks {command}", env!("CARGO_BIN_EXE_openemr-gateway"));
    let ended = folder.run_program(Path::new("/bin/sh"), &["-c", &pasted], &[]);
    assert!(ended.code == 1 && ended.err.contains("already exists"), "{}", ended.err);
    assert_eq!(folder.read(KEY), before);

    // A name that a shell would take apart.
    let folder = Folder::good();
    let odd = "keys/a b'$(touch pwned).pem";
    std::fs::rename(folder.path(KEY), folder.path(odd)).unwrap();
    folder.chmod(odd, 0o644);
    folder.replace(CONFIG, "keys/private_key.pem", &format!("\"{odd}\""));
    let said = check(&folder, &[]).err;
    let command = said.lines().find_map(|line| line.split_once("close it:  ")).unwrap().1;
    let ended = folder.run_program(Path::new("/bin/sh"), &["-c", command], &[("PATH", "/usr/bin:/bin")]);
    assert_eq!((ended.code, folder.mode(odd)), (0, 0o600), "{command}: {}", ended.err);
    assert!(!folder.path("pwned").exists());
    assert_eq!(check(&folder, &[]).code, 0);
}
