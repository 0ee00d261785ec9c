//! The store that several gateways share: where it is, and how it is used.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde_yaml::Value as Yaml;

use super::base_url::{self, BaseUrlError};
use super::certificates::CaFile;
use super::declaration::{section, section_shape};
use super::node::{Node, Value};
use super::problem::{Findings, Place};
use super::section::{Section, text};
use super::setting::Setting;
use super::shape::Shape;

/// The port of the Redis protocol, with TLS or without.
const PORT: u16 = 6379;
/// The longest prefix of keys, in bytes.
const LONGEST_PREFIX: usize = 64;
const EXAMPLE: &str = "write it like  rediss://store.example.org:6379  or, on this machine,  redis://127.0.0.1:6379";
const PASSWORD: &str =
    "leave it out of the URL, and write it into a file of its own:  password_file: /etc/openemr-gateway/store-password";

section! {
    /// The store as it is written.
    struct StoreFile {
        /// Its address: `rediss://HOST:PORT/DATABASE`, or `redis://` on this machine. A user goes in front: `rediss://USER@HOST`.
        url: Option<StoreUrl> = None, required("rediss://store.example.org:6379");
        /// A file with the user's password on one line. It is read before each connection.
        password_file: Option<PathBuf> = None;
        /// A PEM file with a private CA, which is trusted besides the system's.
        ca_file: Option<CaFile> = None;
        /// The longest wait for one command. Without an answer by then the gateway does without the store for that request.
        timeout: Duration = Duration::from_millis(500), between(Duration::from_millis(10), Duration::from_secs(60)), example("500ms");
        /// What each key of the store begins with. Gateways that share something have the same.
        prefix: String = "openemr-gateway:".into();
    }
    check StoreFile::check
}

/// The store that several gateways share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoreSettings {
    /// Where it is.
    pub url: StoreUrl,
    /// The file with the password.
    pub password_file: Option<PathBuf>,
    /// A private CA, which is trusted besides the system's.
    pub ca_file: Option<CaFile>,
    /// The longest wait for one command.
    pub timeout: Duration,
    /// What each key begins with.
    pub prefix: String,
}

/// The address of a store, without a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoreUrl {
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// The user, if not the store's default one.
    pub user: Option<String>,
    /// The host's name or address; IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The number of the database.
    pub database: u16,
}

impl StoreFile {
    fn check(self, section: &Section<'_>, findings: &mut Findings) -> Option<Self> {
        let is_prefix = (1..=LONGEST_PREFIX).contains(&self.prefix.len())
            && self.prefix.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}'));
        if !is_prefix {
            let problem = section.place_of("prefix").problem(format!("is not 1 to {LONGEST_PREFIX} letters, digits and signs"));
            findings.problem(problem.remedy("write it like  openemr-gateway:"));
        }
        let Some(url) = &self.url else { return Some(self) };
        if self.ca_file.is_some() && !url.tls {
            let problem = section.place_of("ca_file").problem("has no effect without rediss://");
            findings.problem(problem.remedy("leave it out, or write the URL with rediss://"));
        }
        if url.user.is_some() && self.password_file.is_none() {
            let problem = section.place_of("url").problem("names a user, and there is no password");
            findings.problem(problem.remedy("write  password_file: /etc/openemr-gateway/store-password"));
        }
        Some(self)
    }
}

impl Setting for StoreSettings {
    fn shape() -> Shape {
        Shape::Either(Box::new(StoreUrl::shape()), Box::new(section_shape::<StoreFile>()))
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        let written = match node.value {
            Value::Text(_) | Value::Substituted(_) => {
                StoreFile { url: StoreUrl::read(node, place, findings), ..StoreFile::default() }
            }
            _ => StoreFile::read(node, place, findings)?,
        };
        let StoreFile { url, password_file, ca_file, timeout, prefix } = written;
        Some(Self { url: url?, password_file, ca_file, timeout, prefix })
    }

    fn to_yaml(&self) -> Yaml {
        let Self { url, password_file, ca_file, timeout, prefix } = self.clone();
        StoreFile { url: Some(url), password_file, ca_file, timeout, prefix }.to_yaml()
    }
}

impl StoreUrl {
    /// Whether the host is this machine: 127.0.0.0/8, ::1 or `localhost`.
    #[must_use]
    pub(crate) fn is_loopback(&self) -> bool {
        base_url::is_loopback(&self.host)
    }

    /// Reads a URL. What is wrong completes a sentence that begins with the key: the value may hold a password.
    fn parse(text: &str) -> Result<Self, (String, &'static str)> {
        let wrong = |what: &str| Err((what.to_owned(), EXAMPLE));
        let (tls, rest) = match text.split_once("://") {
            Some(("rediss", rest)) => (true, rest),
            Some(("redis", rest)) => (false, rest),
            _ => return wrong("does not begin with rediss:// or redis://"),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, authority) = match authority.rsplit_once('@') {
            Some((user, _)) if user.contains(':') => return Err(("holds a password".to_owned(), PASSWORD)),
            Some((user, authority)) if is_user(user) => (Some(user.to_owned()), authority),
            Some(_) => return wrong("names a user with a character that does not belong there"),
            None => (None, authority),
        };
        let host = base_url::host_and_port(authority).and_then(|(host, port)| {
            let port = port.map_or(Ok(PORT), |digits| digits.parse());
            Ok((host, port.ok().filter(|port| *port != 0).ok_or(BaseUrlError::Port)?))
        });
        let (host, port) = host.map_err(|error| (error.to_string(), EXAMPLE))?;
        let Ok(database) = (if path.is_empty() { Ok(0) } else { path.parse() }) else {
            return wrong("does not end in the number of a database");
        };
        let url = Self { tls, user, host, port, database };
        if !tls && !url.is_loopback() {
            let what = format!("is not rediss://, and {} is not this machine: plans of exports name patients", url.host);
            return Err((what, "write rediss://…; a private CA goes into ca_file"));
        }
        Ok(url)
    }
}

/// Whether a text can stand for a user of the store without percent-encoding.
fn is_user(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

impl fmt::Display for StoreUrl {
    /// Writes the URL with its port, and with its database unless that is 0.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "rediss" } else { "redis" };
        write!(f, "{scheme}://")?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?
        } else {
            f.write_str(&self.host)?
        }
        write!(f, ":{}", self.port)?;
        if self.database != 0 { write!(f, "/{}", self.database) } else { Ok(()) }
    }
}

impl Setting for StoreUrl {
    fn shape() -> Shape {
        Shape::Text("URL")
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        let written = text(node, place.clone(), findings)?.value;
        Self::parse(&written).map_err(|(what, remedy)| findings.problem(place.problem(what).remedy(remedy))).ok()
    }

    fn to_yaml(&self) -> Yaml {
        self.to_string().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_they_are_written() {
        for (text, written) in [
            ("redis://127.0.0.1", "redis://127.0.0.1:6379"),
            ("redis://localhost:7000/3", "redis://localhost:7000/3"),
            ("redis://[::1]:1", "redis://[::1]:1"),
            ("rediss://store.example.org/", "rediss://store.example.org:6379"),
            ("rediss://gateway@store:6380/0", "rediss://gateway@store:6380"),
        ] {
            let url = StoreUrl::parse(text).unwrap_or_else(|(what, _)| panic!("{text} {what}"));
            assert_eq!(url.to_string(), written);
            assert_eq!(StoreUrl::parse(written).as_ref(), Ok(&url));
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_value() {
        for (text, what) in [
            ("", "does not begin with"),
            ("http://127.0.0.1", "does not begin with"),
            ("unix:///run/redis.sock", "does not begin with"),
            ("redis://", "host"),
            ("redis://127.0.0.1:0", "port"),
            ("redis://127.0.0.1:x", "port"),
            ("redis://127.0.0.1/one", "database"),
            ("redis://127.0.0.1/-1", "database"),
            ("redis://127.0.0.1/0?timeout=1", "database"),
            ("redis://a%20b@127.0.0.1", "user"),
            ("redis://@127.0.0.1", "user"),
            ("redis://store.example.org", "is not rediss://"),
            ("redis://:s3cret@127.0.0.1", "holds a password"),
            ("rediss://gateway:s3cret@store", "holds a password"),
            ("rediss://gateway:s3/cret@store", "port"),
            ("rediss://gateway:s3@cret@store", "holds a password"),
        ] {
            let (found, remedy) = StoreUrl::parse(text).expect_err(text);
            assert!(found.contains(what), "{text}: {found}");
            assert!(!found.contains("s3") && !remedy.contains("s3"), "{found} {remedy}");
        }
    }
}
