//! A log that nobody reads, or that cannot be written, stops nothing.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::support::gateway::{config, free_address, site};
use crate::support::http::{Caller, request};
use crate::support::openemr::OpenEmr;
use crate::support::{binary, eventually};

/// Requests on one connection, fewer than the gateway takes on one.
const BATCH: usize = 5_000;

/// A gateway with these outputs; killed when dropped.
struct Quiet {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Quiet {
    fn start(openemr: &OpenEmr, out: Stdio, err: Stdio) -> Self {
        Self::with(openemr, out, err, "drop")
    }

    fn with(openemr: &OpenEmr, out: Stdio, err: Stdio, when_full: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (file, address) = (folder.path().join("gateway.yaml"), free_address());
        let mut config = config(openemr);
        config["listen"] = json!([{"address": address.to_string()}]);
        config["server"] = json!({"upgrade_sock": folder.path().join("upgrade.sock")});
        config["log"]["when_full"] = json!(when_full);
        // As many requests as it takes, of one address.
        config["limits"] = json!({"local_rate_per_address": "1000000/s", "local_burst_per_address": 100_000});
        // This key is warned of before the log begins.
        config["sites"]["other"] = site(&openemr.base, "ES384");
        std::fs::write(&file, config.to_string()).unwrap();
        let child = serve(&file, out, err);
        eventually("the gateway listens", || TcpStream::connect(address).ok());
        Self { child, address, _folder: folder }
    }

    fn is_healthy(&self) {
        assert_eq!(Caller::new(self.address).get("/health").status, 200);
    }

    fn flood(&self, count: usize) {
        flood(self.address, count);
    }

    /// Sends requests, one after the other, until one is not answered.
    fn ask_until_nothing_comes(&self) {
        let (one, mut piece) = (request("GET", "/nothing", &[], b""), vec![0; 64 * 1024]);
        loop {
            let mut stream = TcpStream::connect(self.address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            for _ in 0..BATCH {
                stream.write_all(&one).unwrap();
                match stream.read(&mut piece) {
                    Ok(count) => assert!(count > 0, "the connection ended"),
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    /// Sends SIGTERM and waits for the end.
    fn terminate(&mut self) -> ExitStatus {
        let killed = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.child.id())]).status().unwrap();
        assert!(killed.success());
        eventually("the gateway ends", || self.child.try_wait().unwrap())
    }
}

/// Sends requests for a path that there is not, each with an access line of about 300 bytes.
pub fn flood(gateway: SocketAddr, count: usize) {
    let id = "x".repeat(64);
    let one = request("GET", "/nothing", &[("X-Request-Id", &id)], b"");
    for _ in 0..count.div_ceil(BATCH) {
        let mut stream = TcpStream::connect(gateway).unwrap();
        let mut answers = stream.try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let (mut piece, mut tail, mut seen) = (vec![0; 64 * 1024], Vec::new(), 0);
                while seen < BATCH {
                    let read = answers.read(&mut piece).unwrap();
                    assert!(read > 0, "the connection ended after {seen} answers");
                    tail.extend_from_slice(&piece[..read]);
                    let last = tail.windows(13).filter(|window| *window == b"HTTP/1.1 404 ").count();
                    seen += last;
                    let keep = tail.len().saturating_sub(12);
                    tail.drain(..keep);
                }
            });
            for _ in 0..BATCH {
                stream.write_all(&one).unwrap();
            }
        });
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(config: &Path, out: Stdio, err: Stdio) -> Child {
    let mut command = Command::new(binary());
    command.args(["serve", "--config"]).arg(config).env_clear().stdin(Stdio::null()).stdout(out).stderr(err);
    command.spawn().unwrap()
}

#[test]
fn a_reader_that_stops_reading_stops_nothing_and_is_told_what_it_missed() {
    let openemr = OpenEmr::start();
    let mut gateway = Quiet::start(&openemr, Stdio::piped(), Stdio::piped());
    let floods = 35_000;
    gateway.flood(floods);
    gateway.is_healthy();

    // Read now: what was kept, and in the place of the rest how many lines it was.
    let mut log = gateway.child.stderr.take().unwrap();
    let (mut text, mut piece) = (String::new(), vec![0; 1024 * 1024]);
    let lost = loop {
        let read = log.read(&mut piece).unwrap();
        assert!(read > 0, "the log ended");
        text.push_str(&String::from_utf8_lossy(&piece[..read]));
        let notice = text.lines().find(|line| line.contains(" lines lost"));
        if let Some(notice) = notice.filter(|_| text.ends_with('\n')) {
            let words: Vec<&str> = notice.split_ascii_whitespace().collect();
            assert_eq!((words[1], &words[3..5]), ("WARN", &["lines", "lost:"][..]), "{notice}");
            break words[2].parse::<usize>().unwrap();
        }
    };
    let kept = text.lines().filter(|line| line.contains(" access ")).count();
    // The lines that are no access lines (start, token) may be lost as well.
    assert!((floods + 1..floods + 20).contains(&(kept + lost)), "{kept} lines kept, {lost} lost");

    // And when it stops again, SIGTERM ends the process as ever.
    gateway.flood(BATCH);
    gateway.is_healthy();
    let status = gateway.terminate();
    assert_eq!(status.code(), Some(0), "{status}");
}

#[test]
fn a_full_disk_under_the_log_stops_nothing() {
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    let openemr = OpenEmr::start();
    let mut gateway = Quiet::start(&openemr, full(), full());
    gateway.flood(BATCH);
    gateway.is_healthy();
    assert_eq!(gateway.terminate().code(), Some(0));
}

#[test]
fn a_log_that_waits_for_its_reader_does_not_keep_the_process_from_ending() {
    let openemr = OpenEmr::start();
    let mut gateway = Quiet::with(&openemr, Stdio::piped(), Stdio::piped(), "wait");
    gateway.ask_until_nothing_comes();
    assert_eq!(gateway.terminate().code(), Some(0));
}

#[test]
fn a_pipe_that_is_full_at_the_start_keeps_it_from_nothing() {
    // As when a service manager starts the program again, on the pipe of the one before.
    let (unread, full) = std::io::pipe().unwrap();
    let mut filling = full.try_clone().unwrap();
    let filler = std::thread::spawn(move || filling.write_all(&vec![b'x'; 1024 * 1024]));
    let openemr = OpenEmr::start();
    let mut gateway = Quiet::start(&openemr, full.try_clone().unwrap().into(), full.into());
    gateway.is_healthy();
    assert_eq!(gateway.terminate().code(), Some(0));
    drop(unread);
    assert!(filler.join().unwrap().is_err(), "the pipe was not full");
}
