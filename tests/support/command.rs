//! Runs the built binary in a folder of its own, and keeps what it said.
#![allow(dead_code)] // Each test file uses its part of it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// A working directory with a good configuration in conf/gateway.yaml, and the keys it names.
pub struct Folder(tempfile::TempDir);

pub const GOOD: &str = "\
sites:
  default:
    openemr: https://emr.example.org
    client_id: abc
    private_key: keys/private_key.pem
    jwks: keys/jwks.json
    scopes: [system/Patient.read, system/Observation.read]
";

impl Folder {
    pub fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn good() -> Self {
        let folder = Self::empty();
        folder.write("conf/gateway.yaml", GOOD);
        folder.secret(
            "keys/private_key.pem",
            include_str!("../keys/rsa2048-pkcs8.pem"),
        );
        folder.make_jwks();
        folder
    }

    /// Writes the JWK Set of keys/private_key.pem, by the command that users have for it.
    pub fn make_jwks(&self) {
        let jwks = self.run(&["keys", "jwks", "--private-key", "keys/private_key.pem"]);
        assert_eq!(jwks.code, 0, "{}", jwks.err);
        self.write("keys/jwks.json", &jwks.out);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        // Not canonical on purpose: errors name the path as the program resolves it.
        self.0.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }

    pub fn secret(&self, name: &str, text: &str) {
        self.write(name, text);
        self.chmod(name, 0o600);
    }

    pub fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    pub fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o7777
    }

    /// Replaces `from`, which must be there, in a file.
    pub fn replace(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{from} is not in {name}");
        self.write(name, &text.replace(from, to));
    }

    pub fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(arguments, &[])
    }

    /// Runs the binary with these variables and no others.
    pub fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
        self.run_program(
            Path::new(env!("CARGO_BIN_EXE_openemr-gateway")),
            arguments,
            variables,
        )
    }

    pub fn run_program(
        &self,
        program: &Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Ended {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(self.0.path())
            .env_clear()
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        Ended {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}
