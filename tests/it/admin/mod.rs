//! The admin listener.

mod alerts;
mod commands;
mod deployed;
mod evaluation;
mod expression;
mod metrics;
mod page;
mod permission;
mod status;
mod top;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use self::evaluation::Scrape;
use crate::support::command::Folder;
use crate::support::eventually;
use crate::support::gateway::{Gateway, free_address};

/// An answer of the admin listener.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// A gateway with this configuration and an admin listener.
pub struct Admin {
    pub gateway: Gateway,
    pub address: SocketAddr,
}

impl Admin {
    pub fn start(config: Value) -> Self {
        Self::within(&[], config, free_address())
    }

    /// The same by way of a program that becomes the gateway, and at this address.
    pub fn within(program: &[&str], mut config: Value, address: SocketAddr) -> Self {
        config["admin"]["address"] = json!(address.to_string());
        let gateway = Gateway::within(program, config);
        eventually("the admin listener", || TcpStream::connect(address).ok());
        Self { gateway, address }
    }

    /// What Prometheus would read now.
    pub fn scrape(&self) -> Scrape {
        let text = TcpStream::connect(self.address).is_ok().then(|| self.get("/metrics").body);
        Scrape::of(text.as_deref())
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "")
    }

    /// Sends a command, as a program of this machine does.
    pub fn order(&self, method: &str, path: &str, body: &str) -> Answer {
        self.send(method, path, &["X-Admin: 1"], body)
    }

    /// Sends a request with these further lines; `Host` is the address, unless a line says otherwise.
    pub fn send(&self, method: &str, path: &str, lines: &[&str], body: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !lines.iter().any(|line| line.starts_with("Host:")) {
            head += &format!("Host: {}\r\n", self.address);
        }
        for line in lines {
            head += &format!("{line}\r\n");
        }
        write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }
}

/// An API key, and what the configuration knows of it.
pub fn new_key() -> (String, String) {
    let printed = Folder::empty().run(&["access", "new-key", "operator"]).out;
    let word = |start: &str| {
        let at = printed.find(start).unwrap_or_else(|| panic!("{printed}"));
        let end = |c: char| !(c.is_ascii_alphanumeric() || "_-:".contains(c));
        printed[at..].split(end).next().unwrap().to_owned()
    };
    (word("oegw_"), word("sha256:"))
}
