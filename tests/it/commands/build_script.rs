//! The build script by itself: which commit it finds, and that it finds none that is not the sources' own.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// The script, compiled.
struct Script {
    program: PathBuf,
    folder: TempDir,
}

impl Script {
    /// `None` where tests run without a compiler.
    fn compile() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("build-script");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs");
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let made = Command::new(rustc).args(["--edition", "2024", "-o"]).args([&program, &source]).output().ok()?;
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Some(Self { program, folder })
    }

    /// The version that it gives sources in this folder below its own.
    fn version(&self, sources: &str, profile: &str, named: &str) -> String {
        self.version_with(sources, profile, named, "")
    }

    fn version_with(&self, sources: &str, profile: &str, named: &str, flags: &str) -> String {
        let output = Command::new(&self.program)
            .env("CARGO_MANIFEST_DIR", self.folder.path().join(sources))
            .envs([("PROFILE", profile), ("TARGET", "a-b-c"), ("CARGO_PKG_VERSION", "1.2.3"), ("OPENEMR_GATEWAY_COMMIT", named)])
            .env("CARGO_ENCODED_RUSTFLAGS", flags)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let version = said.lines().find_map(|line| line.strip_prefix("cargo:rustc-env=OPENEMR_GATEWAY_VERSION="));
        version.unwrap_or_else(|| panic!("{said}")).to_owned()
    }

    fn git(&self, arguments: &[&str]) -> Option<String> {
        let named = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"];
        let output = Command::new("git").arg("-C").arg(self.folder.path()).args(named).args(arguments).output().ok()?;
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }
}

#[test]
fn a_program_that_recorded_requests_arrange_says_so() {
    let Some(script) = Script::compile() else { return };
    let with = |flags| script.version_with("archive", "release", "0123abc", flags);
    assert_eq!(with("-Cprofile-use=/profiles/1.profdata"), "1.2.3 (commit 0123abc, a-b-c, profile-guided)");
    assert_eq!(with("--cfg=x\u{1f}-Cprofile-generate"), "1.2.3 (commit 0123abc, a-b-c, records a profile)");
    assert_eq!(with("--cfg=x"), "1.2.3 (commit 0123abc, a-b-c)");
}

#[test]
fn a_commit_is_named_where_the_sources_have_one() {
    let Some(script) = Script::compile() else { return };
    std::fs::create_dir(script.folder.path().join("archive")).unwrap();
    assert_eq!(script.version("archive", "release", ""), "1.2.3 (a-b-c)");
    assert_eq!(script.version("archive", "debug", ""), "1.2.3 (debug build, a-b-c)");
    assert_eq!(script.version("archive", "release", "0123abc"), "1.2.3 (commit 0123abc, a-b-c)");
    assert_eq!(script.version("archive", "release", "0123\ncargo:x=y"), "1.2.3 (a-b-c)");

    if script.git(&["init", "-q"]).is_none() {
        return;
    }
    std::fs::write(script.folder.path().join("file"), "one").unwrap();
    script.git(&["add", "file"]);
    script.git(&["commit", "-q", "-m", "one"]);
    let commit = script.git(&["rev-parse", "--short=12", "HEAD"]).unwrap();
    assert_eq!(script.version(".", "release", ""), format!("1.2.3 (commit {commit}, a-b-c)"));
    assert_eq!(script.version(".", "debug", ""), "1.2.3 (debug build, a-b-c)");
    assert_eq!(script.version("archive", "release", ""), "1.2.3 (a-b-c)", "the repository around an archive is another one");
    std::fs::write(script.folder.path().join("file"), "two").unwrap();
    assert_eq!(script.version(".", "release", ""), format!("1.2.3 (commit {commit}, modified, a-b-c)"));
}
