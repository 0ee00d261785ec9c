//! Holds the stand-in to what running OpenEMRs answered: status, header fields and body of 167 recorded exchanges.
//!
//! `recorded/{version}.json` is a table of them: what was sent, and what came back. Small bodies are compared byte by
//! byte, with ids and dates made alike on both sides; large ones by the paths and types of their members. Header
//! fields are compared in their order, session ids and Date aside. `{…}` in a request is filled in here.

#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use openemr_gateway::sandbox::{Client, Keys, Personality, Sandbox, Settings};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    openemr: String,
    site_address: String,
    patients: usize,
    /// Which patient the requests are about, from 1.
    patient_number: usize,
    /// Names of exchanges that cannot be mirrored, each with the reason.
    not_mirrored: Vec<(String, String)>,
    access_token: AccessToken,
    field_sets: HashMap<String, Vec<(String, String)>>,
    shapes: HashMap<String, BTreeSet<String>>,
    scope_sets: HashMap<String, Vec<String>>,
    exchanges: Vec<Exchange>,
}

#[derive(Deserialize)]
struct AccessToken {
    header: Value,
    claims_shape: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exchange {
    name: String,
    method: String,
    target: String,
    #[serde(default)]
    fields: Vec<(String, String)>,
    #[serde(default)]
    body: String,
    /// The scopes of the token to send.
    scopes: Option<String>,
    assertion: Option<AssertionSpec>,
    /// Orders for the admin, after the token was fetched and before the request is sent.
    before: Option<Value>,
    /// Orders for the admin, after the answer.
    after: Option<Value>,
    /// What to remember of the answer for later requests.
    keep: Option<String>,
    status: u16,
    answer_fields: String,
    expect: Expected,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    exact: Option<String>,
    shape: Option<String>,
    first_line_shape: Option<String>,
    #[serde(default)]
    contains: Vec<String>,
    total: Option<u64>,
}

/// What is wrong with a client assertion; times in seconds from now, null leaves a claim away.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct AssertionSpec {
    replay: bool,
    client: Option<String>,
    other_key: bool,
    alg: Option<String>,
    aud: Option<String>,
    iss: Option<String>,
    #[serde(deserialize_with = "present")]
    iat: Option<Option<i64>>,
    #[serde(deserialize_with = "present")]
    exp: Option<Option<i64>>,
    #[serde(deserialize_with = "present")]
    jti: Option<Option<String>>,
}

fn present<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

const CLIENT: &str = "recorded";

struct Run {
    table: Table,
    address: SocketAddr,
    admin: SocketAddr,
    key: RsaKeyPair,
    other_key: RsaKeyPair,
    last_assertion: String,
    jtis: u32,
    kept: BTreeMap<String, String>,
}

struct Answer {
    status: u16,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

#[tokio::test(flavor = "multi_thread")]
async fn openemr_8_0_0() {
    check(Personality::V8_0, include_str!("recorded/8.0.0.json"), 88).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openemr_7_0_3() {
    check(Personality::V7_0_3, include_str!("recorded/7.0.3.json"), 79).await;
}

async fn check(personality: Personality, table: &str, exchanges: usize) {
    let table: Table = serde_json::from_str(table).unwrap();
    assert!(table.openemr.starts_with(&personality.to_string()));
    assert_eq!(table.exchanges.len(), exchanges);
    assert!(table.not_mirrored.len() < 5);
    let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let scopes = personality
        .system_scopes()
        .into_iter()
        // Known to the server, but not registered: what the silent drop was recorded with.
        .filter(|scope| !scope.starts_with("system/Media.") && !scope.starts_with("system/Person."))
        .collect();
    let sandbox = Sandbox::bind(Settings {
        personality,
        clients: vec![Client {
            id: CLIENT.to_owned(),
            keys: Keys::Inline(jwk_set(&key)),
            scopes,
            enabled: true,
        }],
        site_address: Some(table.site_address.clone()),
        patients: table.patients,
        ..Settings::default()
    })
    .await
    .unwrap();
    let mut run = Run {
        address: sandbox.address(),
        admin: sandbox.admin_address(),
        key,
        other_key: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
        last_assertion: String::new(),
        jtis: 0,
        kept: BTreeMap::new(),
        table,
    };
    let serving = tokio::spawn(sandbox.run(std::future::pending()));
    run.find_patient().await;
    run.check_access_token().await;

    let mut wrong = Vec::new();
    for index in 0..run.table.exchanges.len() {
        let name = run.table.exchanges[index].name.clone();
        if run
            .table
            .not_mirrored
            .iter()
            .any(|(not_mirrored, _)| *not_mirrored == name)
        {
            continue;
        }
        let found = run.play(index).await;
        if !found.is_empty() {
            wrong.push(format!("{name}\n  {}", found.join("\n  ")));
        }
    }
    serving.abort();
    assert!(
        wrong.is_empty(),
        "{} of {exchanges} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

impl Run {
    /// Sends one exchange's request; what differs from the recorded answer.
    async fn play(&mut self, index: usize) -> Vec<String> {
        let token = match &self.table.exchanges[index].scopes {
            Some(scopes) => self.token(&self.table.scope_sets[scopes].join(" ")).await,
            None => String::new(),
        };
        let spec = self.table.exchanges[index].assertion.is_some();
        let assertion = if spec {
            self.assertion(index)
        } else {
            String::new()
        };
        let exchange = &self.table.exchanges[index];
        if let Some(orders) = &exchange.before {
            self.order(orders).await;
        }
        let tampered = token
            .char_indices()
            .map(|(at, letter)| if at == 200 { '_' } else { letter })
            .collect();
        let mut values: Vec<(String, String)> = vec![
            ("{token}".to_owned(), token),
            ("{tampered}".to_owned(), tampered),
            ("{assertion}".to_owned(), assertion),
        ];
        values.extend(
            self.kept
                .iter()
                .map(|(name, value)| (format!("{{{name}}}"), value.clone())),
        );
        let fill = |text: &str| {
            values.iter().fold(text.to_owned(), |text, (name, value)| {
                text.replace(name, value)
            })
        };
        let fields: Vec<(String, String)> = exchange
            .fields
            .iter()
            .map(|(name, value)| (name.clone(), fill(value)))
            .collect();
        let answer = send(
            self.address,
            &exchange.method,
            &fill(&exchange.target),
            &fields,
            &fill(&exchange.body),
        )
        .await;
        if let Some(orders) = &exchange.after {
            self.order(orders).await;
        }
        let mut wrong = self.compare(exchange, &answer, &fill);
        if let Some(keep) = exchange.keep.clone() {
            match kept_of(&keep, &answer) {
                Some(value) => drop(self.kept.insert(keep, value)),
                None => wrong.push(format!("nothing to keep as {keep}")),
            }
        }
        wrong
    }

    fn compare(
        &self,
        exchange: &Exchange,
        answer: &Answer,
        fill: &dyn Fn(&str) -> String,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        if answer.status != exchange.status {
            wrong.push(format!(
                "status {} instead of {}",
                answer.status, exchange.status
            ));
        }
        let lines = |fields: &[(String, String)]| -> Vec<String> {
            fields
                .iter()
                .map(|(name, value)| alike(&format!("{name}: {value}")))
                .collect()
        };
        let expected = lines(&self.table.field_sets[&exchange.answer_fields]);
        let found = lines(&answer.fields);
        if found != expected {
            wrong.push(format!("fields {found:#?}\n  instead of {expected:#?}"));
        }
        let body = String::from_utf8_lossy(&answer.body);
        let expect = &exchange.expect;
        if let Some(exact) = &expect.exact {
            let expected = alike(&fill(exact));
            let found = alike(body.trim_end_matches('\n'));
            if found != expected {
                wrong.push(format!("body {found}\n  instead of {expected}"));
            }
        }
        for (shape, text) in [
            (&expect.shape, Some(&*body)),
            (&expect.first_line_shape, body.lines().next()),
        ] {
            let Some(shape) = shape else { continue };
            let expected = &self.table.shapes[shape];
            match serde_json::from_str(text.unwrap_or_default()) {
                Ok(value) => {
                    let mut found = BTreeSet::new();
                    shape_of(&value, "", &mut found);
                    let missing: Vec<_> = expected.difference(&found).collect();
                    let surplus: Vec<_> = found.difference(expected).collect();
                    if !missing.is_empty() || !surplus.is_empty() {
                        wrong.push(format!("shape: missing {missing:#?}, surplus {surplus:#?}"));
                    }
                }
                Err(error) => wrong.push(format!("body is no JSON: {error}")),
            }
        }
        for part in &expect.contains {
            if !body.contains(part.as_str()) {
                wrong.push(format!("body without {part}"));
            }
        }
        if let Some(total) = expect.total {
            let found = serde_json::from_str::<Value>(&body).unwrap_or_default();
            let entries = found["entry"].as_array().map_or(0, Vec::len) as u64;
            if (found["total"].as_u64(), entries) != (Some(total), total) {
                wrong.push(format!(
                    "total {} with {entries} entries instead of {total}",
                    found["total"]
                ));
            }
        }
        wrong
    }

    async fn order(&self, orders: &Value) {
        let answer = send(
            self.admin,
            "POST",
            "/__sandbox/faults",
            &[],
            &orders.to_string(),
        )
        .await;
        assert_eq!(
            answer.status,
            200,
            "{orders}: {}",
            String::from_utf8_lossy(&answer.body)
        );
    }

    fn assertion(&mut self, index: usize) -> String {
        let none = AssertionSpec::default();
        let spec = self
            .table
            .exchanges
            .get(index)
            .and_then(|exchange| exchange.assertion.as_ref())
            .unwrap_or(&none);
        if spec.replay {
            return self.last_assertion.clone();
        }
        self.jtis += 1;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs() as i64;
        let client = match spec.client.as_deref() {
            None => CLIENT.to_owned(),
            Some("{registered}") => self.kept["registered"].clone(),
            Some(client) => client.to_owned(),
        };
        let mut claims = Map::new();
        claims.insert(
            "iss".to_owned(),
            json!(spec.iss.as_ref().unwrap_or(&client)),
        );
        claims.insert("sub".to_owned(), json!(client));
        let token_url = format!("{}/oauth2/default/token", self.table.site_address);
        claims.insert(
            "aud".to_owned(),
            json!(spec.aud.as_ref().unwrap_or(&token_url)),
        );
        if let Some(iat) = spec.iat.unwrap_or(Some(0)) {
            claims.insert("iat".to_owned(), json!(now + iat));
        }
        if let Some(exp) = spec.exp.unwrap_or(Some(240)) {
            claims.insert("exp".to_owned(), json!(now + exp));
        }
        if let Some(jti) = spec
            .jti
            .clone()
            .unwrap_or_else(|| Some(format!("jti-{}", self.jtis)))
        {
            claims.insert("jti".to_owned(), json!(jti));
        }
        let alg = spec.alg.as_deref().unwrap_or("RS384");
        let padding = if alg == "RS256" {
            &RSA_PKCS1_SHA256
        } else {
            &RSA_PKCS1_SHA384
        };
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = json!({"alg": alg, "typ": "JWT", "kid": "ignored"});
        let message = format!("{}.{}", encode(&header), encode(&Value::Object(claims)));
        let key = if spec.other_key {
            &self.other_key
        } else {
            &self.key
        };
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(
            padding,
            &SystemRandom::new(),
            message.as_bytes(),
            &mut signature,
        )
        .unwrap();
        self.last_assertion = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
        self.last_assertion.clone()
    }

    async fn token(&mut self, scope: &str) -> String {
        let assertion = self.assertion(usize::MAX);
        let form: String = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("scope", scope)
            .append_pair(
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            )
            .append_pair("client_assertion", &assertion)
            .finish();
        let fields = [(
            "Content-Type".to_owned(),
            "application/x-www-form-urlencoded".to_owned(),
        )];
        let answer = send(
            self.address,
            "POST",
            "/oauth2/default/token",
            &fields,
            &form,
        )
        .await;
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["scope"], scope, "{body}");
        body["access_token"].as_str().unwrap().to_owned()
    }

    async fn find_patient(&mut self) {
        let token = self.token("system/Patient.read").await;
        let fields = [("Authorization".to_owned(), format!("Bearer {token}"))];
        let answer = send(
            self.address,
            "GET",
            "/apis/default/fhir/Patient",
            &fields,
            "",
        )
        .await;
        let bundle: Value = serde_json::from_slice(&answer.body).unwrap();
        let id = bundle["entry"][self.table.patient_number - 1]["resource"]["id"]
            .as_str()
            .unwrap();
        self.kept.insert("patient".to_owned(), id.to_owned());
    }

    async fn check_access_token(&mut self) {
        let token = self
            .token("system/Patient.read system/Observation.read")
            .await;
        let part = |index: usize| -> Value {
            let part = token.split('.').nth(index).unwrap();
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        assert_eq!(part(0), self.table.access_token.header);
        let mut shape = BTreeSet::new();
        shape_of(&part(1), "", &mut shape);
        assert_eq!(shape, self.table.access_token.claims_shape);
        assert!(part(1)["iat"].is_f64() && part(1)["exp"].is_f64());
    }
}

fn kept_of(what: &str, answer: &Answer) -> Option<String> {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let text = |pointer: &str| {
        body.pointer(pointer)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    match what {
        "job" => answer
            .fields
            .iter()
            .find(|(name, _)| name == "Content-Location")
            .and_then(|(_, value)| value.split_once("job=").map(|(_, job)| job.to_owned())),
        "binary" => text("/output/0/url")?.rsplit('/').next().map(str::to_owned),
        "created" => text("/uuid"),
        "registered" => text("/client_id"),
        other => panic!("{other} is nothing to keep"),
    }
}

/// The paths of all members with their types; array elements share theirs.
fn shape_of(value: &Value, path: &str, shape: &mut BTreeSet<String>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    shape.insert(format!("{path}: {kind}"));
    match value {
        Value::Array(items) => items
            .iter()
            .for_each(|item| shape_of(item, &format!("{path}[]"), shape)),
        Value::Object(members) => members.iter().for_each(|(name, member)| {
            let dot = if path.is_empty() { "" } else { "." };
            shape_of(member, &format!("{path}{dot}{name}"), shape);
        }),
        _ => {}
    }
}

/// Makes what differs from run to run alike: UUIDs, dates with a time, Binary numbers, the Date field, session ids and
/// access tokens.
fn alike(text: &str) -> String {
    if text.starts_with("Date: ") {
        return "Date: *".to_owned();
    }
    for name in ["Set-Cookie: apiOpenEMR=", "Set-Cookie: authserverOpenEMR="] {
        if let Some((value, attributes)) = text
            .strip_prefix(name)
            .and_then(|rest| rest.split_once(';'))
            && value != "deleted"
        {
            return format!("{name}*;{attributes}");
        }
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if is_like(rest, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx") {
            out.push_str("<uuid>");
            rest = &rest[36..];
        } else if is_like(rest, "dddd-dd-ddTdd:dd:dd") || is_like(rest, "dddd-dd-dd dd:dd:dd") {
            out.push_str("<time>");
            rest = &rest[19..];
        } else if rest.starts_with("\"access_token\":\"") {
            out.push_str("\"access_token\":\"<access-token>");
            rest = rest[16..].trim_start_matches(|letter| letter != '"');
        } else if let Some(number) = rest.strip_prefix("\\/Binary\\/") {
            out.push_str("\\/Binary\\/<number>");
            rest = number.trim_start_matches(|letter: char| letter.is_ascii_digit());
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

/// Whether `text` begins like `pattern`: x a hex digit, d a digit.
fn is_like(text: &str, pattern: &str) -> bool {
    text.len() >= pattern.len()
        && text
            .bytes()
            .zip(pattern.bytes())
            .all(|(byte, wanted)| match wanted {
                b'x' => byte.is_ascii_hexdigit(),
                b'd' => byte.is_ascii_digit(),
                wanted => byte == wanted,
            })
}

fn jwk_set(key: &RsaKeyPair) -> Value {
    let public = key.public_key();
    let n = URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero());
    let e = URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero());
    json!({"keys": [{"kty": "RSA", "alg": "RS384", "use": "sig", "kid": "k", "n": n, "e": e}]})
}

/// One request on a connection of its own, read as it comes off the wire.
async fn send(
    address: SocketAddr,
    method: &str,
    target: &str,
    fields: &[(String, String)],
    body: &str,
) -> Answer {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n");
        for (name, value) in fields {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        let head_end = loop {
            if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            assert!(
                stream.read_buf(&mut bytes).await.unwrap() > 0,
                "closed within the head"
            );
        };
        let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let fields: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .collect();
        let field = |name: &str| {
            fields
                .iter()
                .find(|(field, _)| field == name)
                .map(|(_, value)| value.as_str())
        };
        let mut rest = bytes.split_off(head_end + 4);
        let body = if field("Transfer-Encoding") == Some("chunked") {
            while !rest.ends_with(b"0\r\n\r\n") {
                assert!(
                    stream.read_buf(&mut rest).await.unwrap() > 0,
                    "closed within the chunks"
                );
            }
            unchunked(&rest)
        } else {
            let length = field("Content-Length").map_or(0, |length| length.parse().unwrap());
            while rest.len() < length {
                assert!(
                    stream.read_buf(&mut rest).await.unwrap() > 0,
                    "closed within the body"
                );
            }
            rest
        };
        Answer {
            status,
            fields,
            body,
        }
    };
    tokio::time::timeout(Duration::from_secs(30), exchange)
        .await
        .expect("an answer within 30 s")
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = bytes
            .windows(2)
            .position(|window| window == b"\r\n")
            .unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        bytes = &bytes[end + 4 + size..];
    }
}
