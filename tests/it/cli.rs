//! The command line as a user meets it: help, exit codes, and the commands that make keys.

use crate::support::command::{Ended, Folder};
use openemr_gateway::key_files::{Algorithm, JwkSet, SigningKey};

fn good(ended: Ended) -> String {
    assert_eq!(ended.code, 0, "{}", ended.err);
    ended.out
}

fn openssl(folder: &Folder, arguments: &[&str]) -> Option<Ended> {
    let found = std::process::Command::new("openssl").arg("version").output().is_ok();
    found.then(|| folder.run_program(std::path::Path::new("openssl"), arguments, &[("PATH", "/usr/bin:/bin:/usr/local/bin")]))
}

#[test]
fn every_command_shows_an_example() {
    let folder = Folder::empty();
    for command in [
        &["serve"][..],
        #[cfg(feature = "sandbox")]
        &["demo"],
        #[cfg(feature = "sandbox")]
        &["sandbox"],
        &["keys", "generate"],
        &["keys", "jwks"],
        &["keys", "kid"],
        &["keys", "certificate"],
        &["config", "check"],
        &["check"],
        &["audit", "disclosures"],
        &["audit", "search"],
        &["audit", "tail"],
        &["import-env"],
        &["register"],
        &["token"],
        &["health"],
        &["top"],
        &["completions"],
        &["man"],
    ] {
        let help = good(folder.run(&[command, &["--help"]].concat()));
        assert!(help.contains("Example") && help.contains("  openemr-gateway "), "{command:?}:\n{help}");
    }
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    let folder = Folder::empty();
    for wrong in [
        &[][..],
        &["serv"],
        &["serve", "--confg", "x"],
        &["keys"],
        &["keys", "kid"],
        &["keys", "generate", "--bits", "1024"],
        &["keys", "generate", "--algorithm", "RS256"],
        &["config", "check", "extra"],
    ] {
        assert_eq!(folder.run(wrong).code, 2, "{wrong:?}");
    }
    assert_eq!(folder.run(&["config", "check"]).code, 1);
    assert_eq!(folder.run(&["--version"]).code, 0);
}

#[test]
fn a_reader_that_goes_away_is_no_failure_and_a_full_disk_is() {
    let folder = Folder::good();
    let shell = std::path::Path::new("/bin/sh");
    let gateway = env!("CARGO_BIN_EXE_openemr-gateway");
    let piped = format!("{{ {gateway} config check; echo $? >&2; }} | true");
    assert_eq!(folder.run_program(shell, &["-c", &piped], &[]).err, "0\n");
    if std::path::Path::new("/dev/full").exists() {
        let full = folder.run_program(shell, &["-c", &format!("{gateway} config check > /dev/full")], &[]);
        assert_eq!(full.code, 1);
        assert!(full.err.starts_with("error: standard output cannot be written to: "), "{}", full.err);
    }
}

#[test]
fn generate_makes_what_serve_takes() {
    let folder = Folder::good();
    let printed = good(folder.run(&["keys", "generate", "--out", "new/keys"]));
    let kid = printed.lines().find_map(|line| line.strip_prefix("kid: ")).unwrap().to_owned();
    assert_eq!(kid.len(), 32);

    assert_eq!(folder.mode("new/keys/private_key.pem"), 0o600);
    assert!(folder.read("new/keys/private_key.pem").starts_with("-----BEGIN PRIVATE KEY-----\n"));
    assert!(folder.read("new/keys/public_key.pem").starts_with("-----BEGIN PUBLIC KEY-----\n"));
    let key = SigningKey::from_pem(folder.read("new/keys/private_key.pem").as_bytes()).unwrap();
    let set = JwkSet::parse(folder.read("new/keys/jwks.json").as_bytes()).unwrap();
    assert_eq!(set.keys().len(), 1);
    assert_eq!(set.find(&kid).unwrap().public_key(), Some(key.public_key()));
    assert!(set.private_members().is_empty());
    assert_eq!(std::fs::read_dir(folder.path("new/keys")).unwrap().count(), 3);

    assert_eq!(good(folder.run(&["keys", "kid", "--private-key", "new/keys/private_key.pem"])).trim(), kid);
    assert_eq!(
        good(folder.run(&["keys", "jwks", "--private-key", "new/keys/private_key.pem"])),
        folder.read("new/keys/jwks.json")
    );
    folder.replace("conf/gateway.yaml", "keys/", "new/keys/");
    assert!(good(folder.run(&["config", "check"])).contains(&format!("kid: {kid}\n")));
    good(folder.run(&["serve", "--test"]));

    if let Some(ended) = openssl(&folder, &["pkey", "-in", "new/keys/private_key.pem", "-pubout"]) {
        assert_eq!(good(ended), folder.read("new/keys/public_key.pem"));
    }
}

#[test]
fn lengths_algorithms_and_kids_are_as_asked() {
    let folder = Folder::empty();
    for (bits, characters) in [("2048", 342), ("3072", 512)] {
        good(folder.run(&["keys", "generate", "--out", bits, "--bits", bits]));
        let set: serde_json::Value = serde_json::from_str(&folder.read(&format!("{bits}/jwks.json"))).unwrap();
        assert_eq!(set["keys"][0]["n"].as_str().unwrap().len(), characters);
        assert_eq!(set["keys"][0]["alg"], "RS384");
        assert_eq!(set["keys"][0]["use"], "sig");
    }
    let printed = good(folder.run(&["keys", "generate", "--out", "ec", "--algorithm", "ES384", "--kid-method", "rfc7638"]));
    let key = SigningKey::from_pem(folder.read("ec/private_key.pem").as_bytes()).unwrap();
    assert_eq!(key.algorithm(), Algorithm::Es384);
    let thumbprint = good(folder.run(&["keys", "kid", "--private-key", "ec/private_key.pem", "--kid-method", "rfc7638"]));
    assert!(printed.ends_with(&format!("kid: {thumbprint}")), "{printed}");
    assert_eq!(thumbprint.trim().len(), 43);
}

#[test]
fn a_jwk_set_is_written_to_a_new_file_alone() {
    let folder = Folder::good();
    let command = ["keys", "jwks", "--private-key", "keys/private_key.pem"];
    let printed = good(folder.run(&command));
    assert_eq!(good(folder.run(&[&command[..], &["--out", "new/sub/jwks.json"]].concat())), "wrote new/sub/jwks.json\n");
    assert_eq!(folder.read("new/sub/jwks.json"), printed);
    // The umask may take more.
    assert!(matches!(folder.mode("new/sub/jwks.json"), 0o644 | 0o640 | 0o600));
    assert_eq!((folder.mode("new"), folder.mode("new/sub")), (0o700, 0o700));
    let key = folder.read("keys/private_key.pem");
    let ended = folder.run(&[&command[..], &["--out", "keys/private_key.pem"]].concat());
    assert!(ended.code == 1 && ended.err.contains("already exists"), "{}", ended.err);
    assert_eq!(folder.read("keys/private_key.pem"), key);
    assert_eq!(std::fs::read_dir(folder.path("keys")).unwrap().count(), 2);
}

#[test]
fn new_folders_are_their_owners_alone() {
    let folder = Folder::empty();
    good(folder.run(&["keys", "generate", "--out", "a/keys", "--bits", "2048"]));
    good(folder.run(&["keys", "certificate", "--out", "b/certs"]));
    for name in ["a", "a/keys", "b", "b/certs"] {
        assert_eq!(folder.mode(name), 0o700, "{name}");
    }
}

#[test]
fn nothing_is_overwritten_without_force() {
    let folder = Folder::empty();
    folder.write("keys/public_key.pem", "mine");
    let ended = folder.run(&["keys", "generate", "--bits", "2048"]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("error: keys/public_key.pem (") && ended.err.contains("already exists\n  "), "{}", ended.err);
    assert!(ended.err.contains("--force"), "{}", ended.err);
    assert_eq!(folder.read("keys/public_key.pem"), "mine");
    assert!(!folder.path("keys/private_key.pem").exists());

    // An older file open to everybody does not lend its mode to the new key.
    folder.write("keys/private_key.pem", "old");
    folder.chmod("keys/private_key.pem", 0o644);
    good(folder.run(&["keys", "generate", "--bits", "2048", "--force"]));
    assert_eq!(folder.mode("keys/private_key.pem"), 0o600);
    SigningKey::from_pem(folder.read("keys/private_key.pem").as_bytes()).unwrap();
    assert_ne!(folder.read("keys/public_key.pem"), "mine");

    good(folder.run(&["keys", "certificate"]));
    let before = folder.read("certs/localhost.pem");
    assert_eq!(folder.run(&["keys", "certificate"]).code, 1);
    assert_eq!(folder.read("certs/localhost.pem"), before);
}

#[test]
fn a_folder_that_cannot_be_written_to() {
    let folder = Folder::empty();
    folder.write("file", "");
    let ended = folder.run(&["keys", "generate", "--bits", "2048", "--out", "file/keys"]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.starts_with("error: file/keys ("), "{}", ended.err);
}

#[test]
fn the_python_proxys_kid_is_kept() {
    let folder = Folder::good();
    let set: serde_json::Value = serde_json::from_str(&folder.read("keys/jwks.json")).unwrap();
    // python3: hashlib.sha256((n + e).encode()).hexdigest()[:32]
    assert_eq!(set["keys"][0]["kid"], "84f081fcd8776f5a26c43b9dc1a5c58a");
    folder.secret("keys/pkcs1.pem", include_str!("../keys/rsa2048-pkcs1.pem"));
    assert_eq!(good(folder.run(&["keys", "kid", "--private-key", "keys/pkcs1.pem"])), "84f081fcd8776f5a26c43b9dc1a5c58a\n");
    let named = good(folder.run(&["keys", "jwks", "--private-key", "keys/pkcs1.pem", "--kid", "mine"]));
    assert!(JwkSet::parse(named.as_bytes()).unwrap().find("mine").is_some());
}

#[test]
fn keys_that_cannot_be_read() {
    let folder = Folder::empty();
    let ended = folder.run(&["keys", "kid", "--private-key", "none.pem"]);
    assert_eq!(ended.code, 1);
    assert!(
        ended.err.starts_with("error: command line: --private-key: none.pem (")
            && ended.err.contains(") does not exist\n  create one:"),
        "{}",
        ended.err
    );
    folder.secret("e.pem", include_str!("../keys/encrypted-pkcs8.pem"));
    let ended = folder.run(&["keys", "jwks", "--private-key", "e.pem"]);
    assert_eq!((ended.code, ended.out.as_str()), (1, ""));
    assert!(ended.err.contains("is encrypted with a passphrase\n  decrypt it:  openssl pkey -in e.pem"), "{}", ended.err);
}

#[test]
fn certificates_are_for_their_host() {
    let folder = Folder::empty();
    good(folder.run(&["keys", "certificate", "--host", "localhost", "--out", "certs"]));
    assert_eq!(folder.mode("certs/localhost-key.pem"), 0o600);
    if let Some(ended) = openssl(&folder, &["x509", "-in", "certs/localhost.pem", "-noout", "-text"]) {
        let text = good(ended);
        assert!(text.contains("DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1"), "{text}");
        assert!(text.contains("TLS Web Server Authentication"), "{text}");
        // Good for 364 days more, not for 366.
        assert_eq!(openssl(&folder, &["x509", "-in", "certs/localhost.pem", "-noout", "-checkend", "31449600"]).unwrap().code, 0);
        assert_eq!(openssl(&folder, &["x509", "-in", "certs/localhost.pem", "-noout", "-checkend", "31622400"]).unwrap().code, 1);
    }
    good(folder.run(&["keys", "certificate", "--host", "::1", "--out", "certs"]));
    assert!(folder.path("certs/--1.pem").exists());
    let ended = folder.run(&["keys", "certificate", "--host", "../x"]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.starts_with("error: `../x` is neither a host name nor an IP address\n  "), "{}", ended.err);
}
