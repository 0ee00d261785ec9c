//! A real store: `redis-server` on a port of this machine, which can be killed and started again there.
//!
//! The unit tests of `src/store` include this file, too.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long it may take until it accepts connections.
const WITHIN: Duration = Duration::from_secs(60);

/// A running `redis-server` that keeps nothing on the disk; killed when dropped.
pub struct Redis {
    pub port: u16,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Redis {
    /// Starts one without a password.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts one with further arguments. `--tls-port` stands for the port where there is no other.
    pub fn with(arguments: &[&str]) -> Self {
        // Another program may take the free port before it does.
        for _ in 0..5 {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
            let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
            let mut redis = Self { port, arguments, child: None };
            if redis.try_restart() {
                return redis;
            }
        }
        panic!("redis-server does not start: install it with  apt-get install redis-server");
    }

    /// The URL of the store.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills it with SIGKILL: what it knew is lost.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it on its port again.
    pub fn restart(&mut self) {
        assert!(self.try_restart(), "redis-server does not start again");
    }

    /// Stops it so that it accepts connections and answers nothing, until [`Redis::resume`].
    pub fn suspend(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    /// Its answer to a command, as it comes off the wire.
    pub fn ask(&self, command: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        // After QUIT it closes the connection, so that the end of the answer is known.
        stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.strip_suffix("+OK\r\n").unwrap_or(&answer).to_owned()
    }

    fn signal(&self, signal: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    fn try_restart(&mut self) -> bool {
        self.kill();
        let port = self.port.to_string();
        let is_tls = self.arguments.iter().any(|argument| argument == "--tls-port");
        let arguments = self.arguments.iter().map(|argument| if argument == "PORT" { &port } else { argument });
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"]);
        command.arg(if is_tls { "0" } else { &port }).args(arguments);
        self.child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok();
        let Some(child) = &mut self.child else { return false };
        let end = Instant::now() + WITHIN;
        while Instant::now() < end && child.try_wait().is_ok_and(|ended| ended.is_none()) {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                return true;
            }
            thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
