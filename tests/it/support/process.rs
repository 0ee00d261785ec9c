//! The built binary as a running process, and waiting for a condition with a deadline.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long anything may take that is bound to happen.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Asks until there is an answer; panics with `what` and the last state when there is none in time.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "not within {DEADLINE:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Raises a flag when it is dropped, so that the threads that look at it end whether or not their test fails.
pub struct Stop<'a>(pub &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The binary that is tested: the one built along with the tests, or the one that `OPENEMR_GATEWAY` names, which
/// `bench/faults.sh` uses to run the same tests against what is installed.
pub fn binary() -> PathBuf {
    std::env::var_os("OPENEMR_GATEWAY").map_or_else(|| env!("CARGO_BIN_EXE_openemr-gateway").into(), PathBuf::from)
}

/// The built binary, running; killed when dropped.
pub struct Process {
    child: Child,
    out: Arc<Mutex<String>>,
    err: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts it, with an environment that holds nothing.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_in(&std::env::temp_dir(), arguments)
    }

    /// The same, with its temporary files in that folder.
    pub fn start_in(temporary: &Path, arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[("TMPDIR", temporary.to_str().unwrap())])
    }

    /// The same, by way of a program that becomes it.
    pub fn start_within(program: &[&str], arguments: &[&str]) -> Self {
        let temporary = std::env::temp_dir();
        Self::spawn(program, arguments, &[("TMPDIR", temporary.to_str().unwrap())])
    }

    /// The same, with these variables and no others.
    pub fn start_with(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::spawn(&[], arguments, variables)
    }

    fn spawn(program: &[&str], arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut words = program.iter().map(PathBuf::from).chain([binary()]);
        let mut child = Command::new(words.next().unwrap())
            .args(words)
            .args(arguments)
            .env_clear()
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (out, out_reader) = collect(child.stdout.take().unwrap());
        let (err, err_reader) = collect(child.stderr.take().unwrap());
        Self { child, out, err, readers: vec![out_reader, err_reader] }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to standard output so far.
    pub fn output(&self) -> String {
        self.out.lock().unwrap().clone()
    }

    /// What it wrote to standard error so far.
    pub fn log(&self) -> String {
        self.err.lock().unwrap().clone()
    }

    /// How it ended, if it has. All that it wrote is there by then.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().unwrap()?;
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        Some(status)
    }

    /// Sends `TERM`, `INT`, … The shell's own `kill` is everywhere.
    pub fn signal(&self, name: &str) {
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.id())]).status().unwrap();
        assert!(status.success(), "kill -{name}: {status}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            println!("--- log of process {} ---\n{}", self.id(), self.log());
        }
    }
}

fn collect(pipe: impl Read + Send + 'static) -> (Arc<Mutex<String>>, JoinHandle<()>) {
    let text = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&text);
    let reader = thread::spawn(move || {
        let mut lines = BufReader::new(pipe);
        let mut line = Vec::new();
        while matches!(lines.read_until(b'\n', &mut line), Ok(count) if count > 0) {
            kept.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    });
    (text, reader)
}

/// A folder with a key pair and its JWK Set, made once by `keys generate` and kept for all test runs of this build.
pub fn keys(algorithm: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let folder = root.join(format!("keys-{algorithm}"));
    if !folder.join("jwks.json").exists() {
        let fresh = tempfile::tempdir_in(&root).unwrap();
        let made = Command::new(binary())
            .args(["keys", "generate", "--algorithm", algorithm, "--bits", "2048", "--out"])
            .arg(fresh.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        // Another test may have been faster; then there is a folder already, and a rename onto it fails.
        let _ = std::fs::rename(fresh.path(), &folder);
    }
    folder
}
