//! Where `top` has the status from: the admin listener of a gateway, asked again and again.

use std::env;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use http::StatusCode;
use http::header::{ACCEPT, AUTHORIZATION, HeaderName, HeaderValue};
use serde_json::Value;
use zeroize::Zeroizing;

use super::outcome::Failure;
use super::own_requests;
use crate::admin::status::Status;
use crate::config::BaseUrl;
use crate::config::problem::shown_path;
use crate::nodes::client::{Client, Limits, Request, Response};
use crate::nodes::origin::Origin;
use crate::observe::safe_text::is_unshowable;

/// The variable of the environment with the key.
const KEY_VARIABLE: &str = "OPENEMR_GATEWAY_ADMIN_KEY";
/// The largest key that is read, in bytes.
const LARGEST_KEY: u64 = 1024;
/// The largest status that is read, in bytes.
const LARGEST_STATUS: usize = 8 * 1024 * 1024;
/// How long an answer may take.
const WITHIN: Duration = Duration::from_secs(5);
/// The pause between an answer and the next request.
const PAUSE: Duration = Duration::from_secs(1);

/// A status, or why there is none.
pub(super) type Reading = Result<Box<Status>, String>;

/// An admin listener.
pub(super) struct Source {
    origin: Origin,
    path: String,
    fields: Vec<(HeaderName, HeaderValue)>,
}

impl Source {
    /// The admin listener at this URL.
    ///
    /// # Errors
    /// A URL that is none, or files that cannot be used.
    pub(super) fn new(url: &str, key_file: Option<&Path>, ca_file: Option<&Path>) -> Result<Self, Vec<Failure>> {
        let base = own_requests::gateway_url("--admin", url, "http://127.0.0.1:9464")?;
        let mut fields = vec![(ACCEPT, HeaderValue::from_static("application/json"))];
        fields.extend(authorization(key_file)?.map(|value| (AUTHORIZATION, value)));
        let path = format!("{}/status", base.path);
        let authorities = own_requests::authorities(ca_file)?;
        Ok(Self { origin: Origin::elsewhere(base, "--admin", authorities.as_deref()), path, fields })
    }

    /// Asks once.
    ///
    /// # Errors
    /// No status came.
    pub(super) fn read(&self) -> Result<Box<Status>, Vec<Failure>> {
        own_requests::wait_for(async { self.ask(&own_requests::client()).await })?.map_err(|failure| vec![failure])
    }

    /// Asks again and again, until nobody reads what comes.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub(super) fn read_on(self) -> Result<Receiver<Reading>, Vec<Failure>> {
        let (readings, receiver) = sync_channel(1);
        let asking = move || {
            own_requests::wait_for(async {
                let client = own_requests::client();
                loop {
                    tokio::time::sleep(PAUSE).await;
                    let reading = self.ask(&client).await.map_err(|failure| failure.text().to_owned());
                    if readings.send(reading).is_err() {
                        return;
                    }
                }
            })
        };
        let started = thread::Builder::new().spawn(asking);
        started.map_err(|error| vec![Failure::new(format!("cannot start: {error}"), "see the limits of this user")])?;
        Ok(receiver)
    }

    async fn ask(&self, client: &Client) -> Result<Box<Status>, Failure> {
        let limits = Limits { step: None, total: Some(WITHIN), body: LARGEST_STATUS };
        let request = Request::get(self.path.clone(), self.fields.clone());
        let response = client.send(&self.origin, request, limits).await.map_err(Failure::of)?;
        let asked = format!("{}{}", BaseUrl { path: String::new(), ..self.origin.url().clone() }, self.path);
        match response.status {
            StatusCode::OK => status(&response.body).ok_or_else(|| {
                Failure::new(
                    format!("{asked}: the answer is no status of a gateway"),
                    "name its admin listener (admin.address), of the same version",
                )
            }),
            _ => Err(refused(&asked, &response)),
        }
    }
}

/// Reads a status. Whatever it says is shown on a terminal, so that no text of it may order anything there.
fn status(body: &[u8]) -> Option<Box<Status>> {
    let mut value: Value = serde_json::from_slice(body).ok()?;
    make_harmless(&mut value);
    serde_json::from_value(value).ok()
}

/// Replaces what a terminal does not show but obeys, in all texts.
fn make_harmless(value: &mut Value) {
    match value {
        Value::String(text) => *text = text.chars().map(|c| if is_unshowable(c) { '\u{fffd}' } else { c }).collect(),
        Value::Array(values) => values.iter_mut().for_each(make_harmless),
        Value::Object(members) => members.values_mut().for_each(make_harmless),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The field with the key, if there is one.
fn authorization(file: Option<&Path>) -> Result<Option<HeaderValue>, Vec<Failure>> {
    let (key, from) = match file {
        Some(file) => {
            let from = shown_path(file);
            let mut key = Zeroizing::new(String::new());
            let read = File::open(file).and_then(|file| file.take(LARGEST_KEY).read_to_string(&mut key));
            read.map_err(|error| vec![Failure::new(format!("{from}: {error}"), "write a key of admin.api_keys there")])?;
            (key, from)
        }
        None => match env::var(KEY_VARIABLE) {
            Ok(key) => (Zeroizing::new(key), KEY_VARIABLE.to_owned()),
            Err(_) => return Ok(None),
        },
    };
    let bearer = Zeroizing::new(format!("Bearer {}", key.trim()));
    match HeaderValue::from_str(&bearer) {
        Ok(mut value) if !key.trim().is_empty() => {
            value.set_sensitive(true);
            Ok(Some(value))
        }
        _ => Err(vec![Failure::new(format!("{from}: holds no API key"), "a key looks like  oegw_…  (access new-key)")]),
    }
}

fn refused(asked: &str, response: &Response) -> Failure {
    match response.status {
        StatusCode::UNAUTHORIZED => Failure::new(
            format!("{asked}: 401, it needs one of its keys"),
            format!("write a key into a file and name it with --key-file, or set {KEY_VARIABLE}"),
        ),
        StatusCode::MISDIRECTED_REQUEST => {
            Failure::new(format!("{asked}: 421, it does not go by that name"), "call it by its IP address, or as localhost")
        }
        StatusCode::NOT_FOUND => Failure::new(
            format!("{asked}: 404, this is no admin listener"),
            "name the address under admin.address, not one under listen",
        ),
        status => Failure::new(format!("{asked}: status {}", status.as_u16()), "the gateway's log may say why"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn no_text_orders_anything_of_a_terminal() {
        let mut value = json!({"sites": [{"name": "a\u{1b}[2Jb\u{7}\u{9b}c\u{202e}d\ne"}], "at": 3});
        make_harmless(&mut value);
        assert_eq!(value, json!({"sites": [{"name": "a\u{fffd}[2Jb\u{fffd}\u{fffd}c\u{fffd}d\u{fffd}e"}], "at": 3}));
    }
}
