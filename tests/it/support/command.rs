//! Runs the built binary in a folder of its own, and keeps what it said.

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

impl Ended {
    pub fn of(output: std::process::Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ended {
    /// Takes back what `serve --test` says where a program of whoever runs the tests, such as a demo, has the default port.
    fn forgive_default_port(&mut self) {
        let said =
            |line: &str| line.starts_with("error: ") && line.contains(":8000` cannot be listened on: Address already in use");
        let lines: Vec<&str> = self.err.lines().collect();
        let Some(at) = lines.iter().position(|line| said(line)) else { return };
        // The remedy stands on the next line.
        let rest = lines.iter().enumerate().filter(|(index, _)| *index != at && *index != at + 1);
        self.err = rest.map(|(_, line)| format!("{line}\n")).collect();
        if !self.err.contains("error: ") {
            self.code = 0;
            self.out.push_str("good, but for the default port");
        }
    }
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
        folder.secret("keys/private_key.pem", include_str!("../../keys/rsa2048-pkcs8.pem"));
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

    #[cfg(feature = "sandbox")]
    /// Runs the binary, and writes these lines to its standard input, which ends with them.
    pub fn run_answering(&self, arguments: &[&str], lines: &str) -> Ended {
        use std::io::Write as _;
        use std::process::Stdio;

        let mut child = Command::new(env!("CARGO_BIN_EXE_openemr-gateway"))
            .args(arguments)
            .current_dir(self.0.path())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A program that has ended reads no more.
        let _ = child.stdin.take().unwrap().write_all(lines.as_bytes());
        Ended::of(child.wait_with_output().unwrap())
    }

    /// Runs the binary with these variables and no others.
    pub fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
        self.run_program(Path::new(env!("CARGO_BIN_EXE_openemr-gateway")), arguments, variables)
    }

    pub fn run_program(&self, program: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(self.0.path())
            .env_clear()
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let mut ended = Ended::of(output);
        if arguments.starts_with(&["serve", "--test"]) {
            ended.forgive_default_port();
        }
        ended
    }
}

/// What the program said with `file:line:column:` cut to `file:`, and how many positions were cut.
pub fn without_positions(text: &str) -> (String, usize) {
    let (mut cut, mut count) = (String::new(), 0);
    for line in text.split_inclusive('\n') {
        let parts: Vec<&str> = line.splitn(5, ':').collect();
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        match parts.as_slice() {
            [level, file, line, column, rest] if is_number(line) && is_number(column) => {
                cut.push_str(&format!("{level}:{file}:{rest}"));
                count += 1;
            }
            _ => cut.push_str(line),
        }
    }
    (cut, count)
}

/// Checks the configuration by both commands that do. `err` is what they said, without the positions.
pub fn check(folder: &Folder, variables: &[(&str, &str)]) -> Ended {
    let mut checked = folder.run_with(&["config", "check"], variables);
    let tested = folder.run_with(&["serve", "--test"], variables);
    assert_eq!((checked.code, &checked.err), (tested.code, &tested.err));
    if checked.code == 0 {
        assert!(tested.out.contains("good"), "{}", tested.out);
    } else {
        assert_eq!(checked.out, "");
    }
    let (err, positions) = without_positions(&checked.err);
    // What is wrong with the file as a whole stands on no line of it.
    let whole = err.matches("error: conf/gateway.yaml: conf/gateway.yaml ").count();
    let positions_due = err.matches(": conf/gateway.yaml: ").count() - whole;
    assert!(positions >= positions_due, "{positions_due} positions are due in\n{}", checked.err);
    checked.err = err;
    checked
}

/// One error, word for word; `{abs}` stands for the working directory.
pub fn fails(folder: &Folder, variables: &[(&str, &str)], message: &str, remedy: &str) {
    let ended = check(folder, variables);
    let message = message.replace("{abs}", &folder.path("").display().to_string());
    assert_eq!(ended.code, 1, "{}", ended.err);
    assert_eq!(ended.err.matches("error: ").count(), 1, "not one error:\n{}", ended.err);
    assert!(ended.err.contains(&format!("error: {message}\n  ")), "not\n{message}\nbut\n{}", ended.err);
    assert!(ended.err.contains(remedy), "no remedy `{remedy}` in\n{}", ended.err);
}

pub fn passes(folder: &Folder, variables: &[(&str, &str)]) -> String {
    let ended = check(folder, variables);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    ended.out
}

/// A good folder whose configuration was changed in one place.
pub fn changed(from: &str, to: &str) -> Folder {
    let folder = Folder::good();
    folder.replace("conf/gateway.yaml", from, to);
    folder
}

pub fn with(more: &str) -> Folder {
    let folder = Folder::good();
    folder.write("conf/gateway.yaml", &format!("{GOOD}{more}"));
    folder
}

/// The JWK of the good folder's key.
pub fn own_key(folder: &Folder) -> serde_json::Value {
    let set: serde_json::Value = serde_json::from_str(&folder.read("keys/jwks.json")).unwrap();
    set["keys"][0].clone()
}
