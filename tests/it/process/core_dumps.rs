//! The process's memory: no core file, and nothing for other programs of the same user.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};

use serde_json::json;

use crate::support::gateway::{config_for, free_address};
use crate::support::{Process, binary, eventually};

/// The user that owns nothing.
const NOBODY: u32 = 65_534;

#[test]
fn the_process_leaves_no_core_and_cannot_be_read_unless_said_otherwise() {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    for core_dumps in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let address = free_address();
        let mut config = config_for("http://127.0.0.1:9");
        for (key, file) in [("private_key", "private_key.pem"), ("jwks", "jwks.json")] {
            fs::copy(config["sites"]["default"][key].as_str().unwrap(), path(file)).unwrap();
            config["sites"]["default"][key] = json!(path(file));
        }
        config["listen"] = json!([{"address": address.to_string()}]);
        config["core_dumps"] = json!(core_dumps);
        config["server"] = json!({"upgrade_sock": path("upgrade.sock")});
        fs::write(path("gateway.yaml"), config.to_string()).unwrap();
        // The process shows most when its user is not root.
        let mut program = vec!["sh".to_owned(), "-c".to_owned(), "ulimit -S -c 1000; exec \"$@\"".to_owned(), "sh".to_owned()];
        if is_root {
            fs::copy(binary(), path("openemr-gateway")).unwrap();
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
            for name in ["private_key.pem", "jwks.json", "gateway.yaml", ""] {
                chown(path(name), Some(NOBODY), Some(NOBODY)).unwrap();
            }
            let words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
            program.extend(words.map(str::to_owned));
        } else {
            println!("half of it is skipped: only root can start a process as another user");
        }
        program.insert(0, "env".to_owned());
        program.insert(1, "PATH=/usr/bin:/bin".to_owned());
        let program: Vec<&str> = program.iter().map(String::as_str).collect();
        let file = path("gateway.yaml");
        let process = Process::start_within(&program, &["serve", "--config", file.to_str().unwrap()]);
        eventually("the gateway listens", || process.log().contains("listening on ").then_some(()));
        let proc = format!("/proc/{}", process.id());
        let limits = fs::read_to_string(format!("{proc}/limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        let soft = core.split_ascii_whitespace().nth(4).unwrap();
        assert_eq!(soft == "0", !core_dumps, "{core}");
        // The kernel gives the files of a process that is not dumpable to root (proc(5)).
        let owner = fs::metadata(format!("{proc}/mem")).unwrap().uid();
        if is_root {
            assert_eq!(owner, if core_dumps { NOBODY } else { 0 });
        } else {
            assert_eq!(owner == 0, !core_dumps);
        }
    }
}
