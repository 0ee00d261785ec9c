//! Tells the code what it is built from: the commit, where one is known, the target, and whether recorded requests arrange it.
//!
//! A release build reads the commit from the repository that its sources lie in; a source archive has none. A debug build does
//! not, since it would be compiled again after each commit. `OPENEMR_GATEWAY_COMMIT` names one for any build, such as a package's.

use std::path::Path;
use std::process::Command;

/// The variable of the build that names the commit.
const COMMIT: &str = "OPENEMR_GATEWAY_COMMIT";
/// The variable in which Cargo has the compiler's flags, with an unprintable character between two.
const FLAGS: &str = "CARGO_ENCODED_RUSTFLAGS";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed={COMMIT}");
    println!("cargo:rerun-if-env-changed={FLAGS}");
    let is_release = variable("PROFILE") == "release";
    let named = Some(variable(COMMIT)).filter(|commit| is_name(commit));
    let commit = named.or_else(|| if is_release { commit_of(Path::new(&variable("CARGO_MANIFEST_DIR"))) } else { None });
    let origin = match &commit {
        Some(commit) => format!("commit {commit}, "),
        None if is_release => String::new(),
        None => "debug build, ".to_owned(),
    };
    let target = variable("TARGET");
    let version = variable("CARGO_PKG_VERSION");
    println!("cargo:rustc-env=OPENEMR_GATEWAY_VERSION={version} ({origin}{target}{})", profiling(&variable(FLAGS)));
    println!("cargo:rustc-env=OPENEMR_GATEWAY_TARGET={target}");
    println!("cargo:rustc-env=OPENEMR_GATEWAY_BUILT_FROM={}", commit.as_deref().unwrap_or("unknown"));
}

/// The commit that is checked out in `sources`, and whether files differ from it. `None` where `sources` is no repository of its
/// own: an archive may have been unpacked in somebody else's.
fn commit_of(sources: &Path) -> Option<String> {
    if !sources.join(".git").exists() {
        return None;
    }
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(sources).args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
        Some(text.trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).filter(|commit| is_name(commit))?;
    for path in [git(&["rev-parse", "--git-path", "HEAD"])?, git(&["rev-parse", "--git-path", "logs/HEAD"])?] {
        if sources.join(&path).exists() {
            println!("cargo:rerun-if-changed={}", sources.join(path).display());
        }
    }
    for path in ["src", "Cargo.toml", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={path}");
    }
    let is_modified = git(&["status", "--porcelain", "--untracked-files=no"]).is_none_or(|changes| !changes.is_empty());
    Some(if is_modified { format!("{commit}, modified") } else { commit })
}

/// What the compiler's flags say of profile-guided optimisation: `scripts/profile`.
fn profiling(flags: &str) -> &'static str {
    if flags.contains("profile-generate") {
        ", records a profile"
    } else if flags.contains("profile-use") {
        ", profile-guided"
    } else {
        ""
    }
}

/// Whether a text can be the name of a commit.
fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}
