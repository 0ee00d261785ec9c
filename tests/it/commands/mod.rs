//! The operator's commands: what is built, a running gateway's health, a token's claims, completions and manual pages.

mod build_script;
#[cfg(feature = "sandbox")]
mod health;
mod import_env;
#[cfg(feature = "sandbox")]
mod init;
#[cfg(feature = "sandbox")]
mod register;
#[cfg(feature = "sandbox")]
mod token;

use crate::support::command::{Ended, Folder};

fn good(ended: Ended) -> String {
    assert_eq!(ended.code, 0, "{}", ended.err);
    ended.out
}

#[test]
fn the_version_names_the_target() {
    let version = good(Folder::empty().run(&["--version"]));
    assert!(version.starts_with(concat!("openemr-gateway ", env!("CARGO_PKG_VERSION"), " (")), "{version}");
    for part in [std::env::consts::ARCH, std::env::consts::OS] {
        assert!(version.contains(part), "{version}");
    }
}

#[test]
fn completions_know_the_commands_and_their_options() {
    let folder = Folder::empty();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = good(folder.run(&["completions", shell]));
        for word in ["serve", "kid-method", "env-file"] {
            assert!(script.contains(word), "{word} is not completed in {shell}");
        }
    }
    folder.write("completion.bash", &good(folder.run(&["completions", "bash"])));
    let bash = std::path::Path::new("/bin/bash");
    if bash.exists() {
        let asks = "source completion.bash; COMP_WORDS=(openemr-gateway keys ro); COMP_CWORD=2; _openemr-gateway openemr-gateway ro keys; echo \"${COMPREPLY[@]}\"";
        let ended = folder.run_program(bash, &["-c", asks], &[("PATH", "/usr/bin:/bin")]);
        assert_eq!(good(ended).trim(), "rotate");
    }
}

#[test]
fn manual_pages_are_printed_or_all_written() {
    let folder = Folder::empty();
    let page = good(folder.run(&["man"]));
    assert!(page.starts_with(".") && page.contains("openemr\\-gateway"), "{page}");
    let page = good(folder.run(&["man", "keys", "rotate"]));
    assert!(page.contains("KEYS") && page.contains("downtime"), "{page}");
    let ended = folder.run(&["man", "keys", "rotat"]);
    assert!(ended.code == 1 && ended.err.contains("there is no command `rotat`\n  name one of  generate,"), "{}", ended.err);

    let said = good(folder.run(&["man", "--out", "man1"]));
    let files: Vec<String> =
        std::fs::read_dir(folder.path("man1")).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(said, format!("wrote {} pages to man1\n", files.len()));
    for name in ["openemr-gateway.1", "openemr-gateway-serve.1", "openemr-gateway-keys-rotate.1"] {
        assert!(files.iter().any(|file| file == name), "{name} is not in {files:?}");
    }
    folder.write("man1/openemr-gateway.1", "mine");
    assert_eq!(folder.run(&["man", "--out", "man1"]).code, 1);
    assert_eq!(folder.read("man1/openemr-gateway.1"), "mine");
    good(folder.run(&["man", "--out", "man1", "--force"]));
    assert_ne!(folder.read("man1/openemr-gateway.1"), "mine");
}
