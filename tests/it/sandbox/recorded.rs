//! Holds the sandbox to what running OpenEMRs answered: status, header fields and body of 167 recorded exchanges.
//!
//! `recorded/{version}.json` is a table of them: what was sent, and what came back. Small bodies are compared byte by
//! byte, with ids and dates made alike on both sides; large ones by the paths and types of their members. Header
//! fields are compared in their order, session ids and Date aside. `{…}` in a request is filled in here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::support::sandbox::{Answer, RunningSandbox, send};
use aws_lc_rs::{rsa::KeySize, signature::RsaKeyPair};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use openemr_gateway::sandbox::{Personality, Settings};
use serde::Deserialize;
use serde_json::{Value, json};

/// Members that OpenEMR writes, but of nobody who was recorded.
const PARTICULARS: [&str; 2] = ["entry[].resource.deceasedDateTime", "entry[].resource.generalPractitioner"];

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

fn present<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

struct Run {
    table: Table,
    sandbox: RunningSandbox,
    other_key: RsaKeyPair,
    last_assertion: String,
    kept: BTreeMap<String, String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn openemr_8_0_0() {
    check(Personality::V8_0, include_str!("../../recorded/8.0.0.json"), 88).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openemr_7_0_3() {
    check(Personality::V7_0_3, include_str!("../../recorded/7.0.3.json"), 79).await;
}

async fn check(personality: Personality, table: &str, exchanges: usize) {
    let table: Table = serde_json::from_str(table).unwrap();
    assert!(table.openemr.starts_with(&personality.to_string()));
    assert_eq!(table.exchanges.len(), exchanges);
    assert!(table.not_mirrored.len() < 5);
    let scopes = personality
        .system_scopes()
        .into_iter()
        // Known to the server, but not registered: what the silent drop was recorded with.
        .filter(|scope| !scope.starts_with("system/Media.") && !scope.starts_with("system/Person."))
        .collect();
    let settings =
        Settings { personality, site_address: Some(table.site_address.clone()), patients: table.patients, ..Settings::default() };
    let mut run = Run {
        sandbox: RunningSandbox::start(settings, Some(scopes)).await,
        other_key: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
        last_assertion: String::new(),
        kept: BTreeMap::new(),
        table,
    };
    run.find_patient().await;
    run.check_access_token().await;

    let mut wrong = Vec::new();
    for index in 0..run.table.exchanges.len() {
        let name = run.table.exchanges[index].name.clone();
        if run.table.not_mirrored.iter().any(|(not_mirrored, _)| *not_mirrored == name) {
            continue;
        }
        let found = run.play(index).await;
        if !found.is_empty() {
            wrong.push(format!("{name}\n  {}", found.join("\n  ")));
        }
    }
    assert!(wrong.is_empty(), "{} of {exchanges} differ:\n{}", wrong.len(), wrong.join("\n"));
}

impl Run {
    /// Sends one exchange's request; what differs from the recorded answer.
    async fn play(&mut self, index: usize) -> Vec<String> {
        let token = match &self.table.exchanges[index].scopes {
            Some(scopes) => self.sandbox.token(&self.table.scope_sets[scopes].join(" ")).await,
            None => String::new(),
        };
        let assertion = self.assertion(index);
        let exchange = &self.table.exchanges[index];
        if let Some(orders) = &exchange.before {
            self.sandbox.order(orders).await;
        }
        let tampered = token.char_indices().map(|(at, letter)| if at == 200 { '_' } else { letter }).collect();
        let mut values: Vec<(String, String)> =
            vec![("{token}".to_owned(), token), ("{tampered}".to_owned(), tampered), ("{assertion}".to_owned(), assertion)];
        values.extend(self.kept.iter().map(|(name, value)| (format!("{{{name}}}"), value.clone())));
        let fill = |text: &str| values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value));
        let fields: Vec<(String, String)> = exchange.fields.iter().map(|(name, value)| (name.clone(), fill(value))).collect();
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let target = fill(&exchange.target);
        let body = fill(&exchange.body);
        let answer = send(self.sandbox.address, &exchange.method, &target, &fields, &body).await;
        if let Some(orders) = &exchange.after {
            self.sandbox.order(orders).await;
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

    fn compare(&self, exchange: &Exchange, answer: &Answer, fill: &dyn Fn(&str) -> String) -> Vec<String> {
        let mut wrong = Vec::new();
        if answer.status != exchange.status {
            wrong.push(format!("status {} instead of {}", answer.status, exchange.status));
        }
        let lines = |fields: &[(String, String)]| -> Vec<String> {
            fields.iter().map(|(name, value)| alike(&format!("{name}: {value}"))).collect()
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
        for (shape, text) in [(&expect.shape, Some(&*body)), (&expect.first_line_shape, body.lines().next())] {
            let Some(shape) = shape else { continue };
            let expected = &self.table.shapes[shape];
            match serde_json::from_str(text.unwrap_or_default()) {
                Ok(value) => {
                    let mut found = BTreeSet::new();
                    shape_of(&value, "", &mut found);
                    let missing: Vec<_> = expected.difference(&found).collect();
                    let is_particular = |path: &&String| PARTICULARS.iter().any(|member| path.starts_with(member));
                    let surplus: Vec<_> = found.difference(expected).filter(|path| !is_particular(path)).collect();
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
                wrong.push(format!("total {} with {entries} entries instead of {total}", found["total"]));
            }
        }
        wrong
    }

    /// The exchange's client assertion; empty if it has none.
    fn assertion(&mut self, index: usize) -> String {
        let Some(spec) = &self.table.exchanges[index].assertion else {
            return String::new();
        };
        if spec.replay {
            return self.last_assertion.clone();
        }
        let mut claims = self.sandbox.claims();
        let now = claims["iat"].as_i64().unwrap();
        if let Some(client) = &spec.client {
            let client = if client == "{registered}" { &self.kept["registered"] } else { client };
            claims.insert("sub".to_owned(), json!(client));
            claims.insert("iss".to_owned(), json!(client));
        }
        for (claim, value) in [("iss", &spec.iss), ("aud", &spec.aud)] {
            if let Some(value) = value {
                claims.insert(claim.to_owned(), json!(value));
            }
        }
        let mut set = |claim: &str, value: Option<Value>| match value {
            Some(value) => drop(claims.insert(claim.to_owned(), value)),
            None => drop(claims.remove(claim)),
        };
        for (claim, seconds) in [("iat", spec.iat), ("exp", spec.exp)] {
            if let Some(seconds) = seconds {
                set(claim, seconds.map(|seconds| json!(now + seconds)));
            }
        }
        if let Some(jti) = &spec.jti {
            set("jti", jti.as_ref().map(|jti| json!(jti)));
        }
        let key = if spec.other_key { &self.other_key } else { &self.sandbox.key };
        self.last_assertion = crate::support::sandbox::sign(key, spec.alg.as_deref().unwrap_or("RS384"), claims);
        self.last_assertion.clone()
    }

    async fn find_patient(&mut self) {
        let token = self.sandbox.token("system/Patient.read").await;
        let bundle = self.sandbox.get("/apis/default/fhir/Patient", &token).await.unwrap().json();
        let id = bundle["entry"][self.table.patient_number - 1]["resource"]["id"].as_str().unwrap();
        self.kept.insert("patient".to_owned(), id.to_owned());
    }

    async fn check_access_token(&mut self) {
        let token = self.sandbox.token("system/Patient.read system/Observation.read").await;
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
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
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
        Value::Array(items) => items.iter().for_each(|item| shape_of(item, &format!("{path}[]"), shape)),
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
        if let Some((value, attributes)) = text.strip_prefix(name).and_then(|rest| rest.split_once(';'))
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
        && text.bytes().zip(pattern.bytes()).all(|(byte, wanted)| match wanted {
            b'x' => byte.is_ascii_hexdigit(),
            b'd' => byte.is_ascii_digit(),
            wanted => byte == wanted,
        })
}
