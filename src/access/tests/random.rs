//! Random policies, requests and resources: the two evaluators agree on each.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::naive::{Decided, Plain};
use super::{LABORATORY, VITAL, bases, caller, decided, policy};
use crate::access::decision::Verdict;
use crate::access::patients::Patients;
use crate::access::permitted::{permitted, permitted_of_search};
use crate::access::policy::Policy;
use crate::access::rule::Letter;
use crate::fhir::resource_type;

const TRIPLES: u64 = 100_000;
/// How many requests and resources are tried with one policy.
const OF_ONE_POLICY: u64 = 25;

const TYPES: [&str; 11] = [
    "Observation",
    "Observation",
    "Observation",
    "Patient",
    "Condition",
    "Appointment",
    "Group",
    "Device",
    "Coverage",
    "Basic",
    "Organization",
];
const LETTERS: [&str; 12] = ["rs", "rs", "cruds", "r", "s", "cruds", "cud", "c", "ud", "read", "write", "*"];
const IDS: [&str; 5] = ["P1", "P2", "P3", "P9", "p1"];

/// Numbers that a seed decides (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// Whether something happens that happens once in so many times.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

fn plain(random: &mut Random) -> Plain {
    let mut scopes = Vec::new();
    let count = if random.once_in(12) { 0 } else { 1 + random.below(5) };
    for _ in 0..count {
        let on = if random.once_in(3) { "*" } else { random.of(&TYPES) };
        let mut scope = format!("system/{on}.{}", random.of(&LETTERS));
        if !scope.ends_with(['d', 'e', '*']) || scope.ends_with(".ud") || scope.ends_with(".cud") {
            let tags = ["_tag=a", "_tag=http://tags|a,b"];
            let vital = format!("category={VITAL}");
            let both = format!("category={VITAL},{LABORATORY}");
            let own: &[&str] = match on {
                "Observation" => &[
                    "_tag=a",
                    &vital,
                    &both,
                    "status=final",
                    "code=http://loinc.org|",
                    "date=ge2024-02-01",
                    "date=2024-01",
                    "category=laboratory&status=final",
                    "date=ge2024-01-10&date=lt2024-02-10",
                    "patient=P1",
                ],
                "Patient" => &["gender=female", "birthdate=lt1990-01-01", "_tag=a"],
                "Condition" => &["category=laboratory", "_tag=a"],
                _ => &tags,
            };
            if random.once_in(2) {
                scope = format!("{scope}?{}", random.of(own));
            }
        }
        scopes.push(scope);
    }
    let patients = random.once_in(2).then(|| (0..random.below(4)).map(|_| (*random.of(&IDS[..3])).to_owned()).collect());
    Plain { scopes, patients }
}

fn parameter(random: &mut Random) -> String {
    let id = *random.of(&IDS);
    let other = *random.of(&IDS);
    let vital = format!("category={VITAL}");
    match random.below(24) {
        0 => format!("patient={id}"),
        1 => format!("patient=Patient/{id},{other}"),
        2 => format!("subject={id}"),
        3 => format!("subject:Patient=https://gw/fhir/Patient/{id}"),
        4 => format!("patient=https://evil/fhir/Patient/{id}"),
        5 => format!("_id={id}"),
        6 => format!("_id={id},{other}"),
        7 => format!("patient:missing={id}"),
        8 => "patient=".to_owned(),
        9 => "category=laboratory".to_owned(),
        10 => vital,
        11 => "category:not=laboratory".to_owned(),
        12 => "name=a".to_owned(),
        13 => "_include=Observation:subject".to_owned(),
        14 => "_include:iterate=Observation:patient".to_owned(),
        15 => "_include=*".to_owned(),
        16 => "_include=Observation:subject:Patient".to_owned(),
        17 => "_revinclude=Observation:subject".to_owned(),
        18 => "_revinclude:iterate=Condition:patient".to_owned(),
        19 => "patient.name=a".to_owned(),
        20 => "subject:Patient.name=a".to_owned(),
        21 => "organization.name=a".to_owned(),
        22 => "_has:Observation:patient:code=a".to_owned(),
        _ => "_filter=a".to_owned(),
    }
}

fn request(random: &mut Random) -> String {
    let on = if random.once_in(30) { "Binary" } else { random.of(&TYPES) };
    let id = *random.of(&IDS);
    let target = match random.below(20) {
        0 => format!("POST /{on}"),
        1 => format!("PUT /{on}/{id}"),
        2 => format!("DELETE /{on}/{id}"),
        3 => format!("PATCH /{on}/{id}"),
        4 => format!("GET /{on}/_history"),
        5 => format!("GET /{on}/{id}/_history"),
        6 => format!("GET /{on}/{id}/_history/1"),
        7 => "GET /_history".to_owned(),
        8 => "POST /".to_owned(),
        9 => "GET /metadata".to_owned(),
        10 => format!("GET /Patient/{id}/{on}"),
        11 => format!("GET /{}", on.to_lowercase()),
        12 | 13 => format!("GET /{on}/{id}"),
        14 => "PUT /Observation?code=a".to_owned(),
        15 => "GET /?_type=Patient".to_owned(),
        _ => format!("GET /{on}"),
    };
    if !target.starts_with("GET")
        || target.matches('/').count() != 1
        || target.contains(['?', '_'])
        || target.contains("metadata")
    {
        return target;
    }
    let mut parameters: Vec<String> = (0..random.below(3)).map(|_| parameter(random)).collect();
    parameters.dedup();
    if parameters.is_empty() { target } else { format!("{target}?{}", parameters.join("&")) }
}

fn reference(random: &mut Random) -> Value {
    let id = *random.of(&IDS);
    match random.below(9) {
        0..4 => json!({"reference": format!("Patient/{id}")}),
        4 => json!({"type": "Patient", "reference": format!("https://emr/apis/default/fhir/Patient/{id}")}),
        5 => json!({"reference": format!("https://evil/fhir/Patient/{id}")}),
        6 => json!({"reference": format!("Patient/{id}/_history/2"), "display": "a \\ \" é"}),
        7 => json!({"reference": format!("Group/{id}")}),
        _ => json!({"display": format!("Patient/{id}")}),
    }
}

fn coding(random: &mut Random) -> Value {
    let (system, code) = random
        .of(&[VITAL, LABORATORY, "http://loinc.org|1-8", "http://loinc.org|A", "http://tags|a", "http://tags|c"])
        .split_once('|')
        .unwrap();
    match random.below(4) {
        0 => json!({"code": code}),
        1 => json!({"system": system, "code": code.to_uppercase(), "display": "x"}),
        _ => json!({"system": system, "code": code}),
    }
}

fn resource(random: &mut Random) -> Value {
    let on = if random.once_in(40) { "Binary" } else { random.of(&TYPES) };
    let mut resource = json!({"resourceType": on, "id": random.of(&IDS), "note": [{"text": "\"subject\": {}"}]});
    let mut put = |name: &str, value: Value, chance: bool| {
        if chance {
            resource[name] = value;
        }
    };
    let concept = |random: &mut Random| json!({"coding": [coding(random), coding(random)]});
    put("meta", json!({"tag": [coding(random)]}), random.once_in(2));
    put("category", json!([concept(random)]), !random.once_in(4));
    put("code", concept(random), random.once_in(2));
    put("status", json!(random.of(&["final", "amended"])), random.once_in(2));
    put("effectiveDateTime", json!(random.of(&["2024-01-05", "2024-01-20", "2024-02-05", "2024-03-01"])), random.once_in(2));
    put("gender", json!(random.of(&["female", "male"])), random.once_in(2));
    put("birthDate", json!(random.of(&["1980-05-05", "1990-01-01"])), random.once_in(2));
    for name in ["subject", "patient", "asserter", "beneficiary", "policyHolder", "author"] {
        let value = if random.once_in(5) { json!([reference(random), reference(random)]) } else { reference(random) };
        put(name, value, random.once_in(2));
    }
    put("performer", json!([reference(random)]), random.once_in(4));
    put("participant", json!([{"actor": reference(random)}, {"actor": reference(random)}]), random.once_in(2));
    put("member", json!([{"entity": reference(random)}, {"entity": reference(random)}]), random.once_in(2));
    put("contained", json!([{"resourceType": "Patient", "id": "P1", "subject": reference(random)}]), random.once_in(8));
    resource
}

/// A resource as text: with other white space, and slashes escaped, as PHP writes them.
fn written(random: &mut Random, resource: &Value) -> String {
    let text = if random.once_in(3) { serde_json::to_string_pretty(resource).unwrap() } else { resource.to_string() };
    if random.once_in(2) { text.replace('/', "\\/") } else { text }
}

/// How often something came about.
#[derive(Debug, Default)]
struct Counts {
    allowed: u64,
    tested: u64,
    narrowed: u64,
    refused: u64,
    permitted: u64,
    hidden: u64,
}

fn compare(seed: u64, plain: &Plain, policy: &Arc<Policy>, random: &mut Random, counts: &mut Counts) {
    let caller = crate::access::caller::Caller { policy: Arc::clone(policy), ..caller(Policy::default()) };
    let request = request(random);
    let by_naive = plain.decide(&request);
    let verdict = decided(&caller, &request, "", None).verdict;
    let found = match &verdict {
        Verdict::Allow => Decided::Allow,
        Verdict::Check(_) => Decided::Test(BTreeSet::new()),
        Verdict::Narrow(added, _) => Decided::Test(added.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        Verdict::Refuse(_) => Decided::Refuse,
    };
    match &found {
        Decided::Allow => counts.allowed += 1,
        Decided::Test(added) if added.is_empty() => counts.tested += 1,
        Decided::Test(_) => counts.narrowed += 1,
        Decided::Refuse => counts.refused += 1,
    }
    assert_eq!(found, by_naive, "seed {seed}: {plain:?} {request}: {verdict:?}");

    let resource = resource(random);
    let text = written(random, &resource);
    let on = resource["resourceType"].as_str().unwrap();
    let (letter, number) =
        *random.of(&[('r', Letter::Read), ('s', Letter::Search), ('c', Letter::Create), ('u', Letter::Update)]);
    let found = permitted(&caller, number, &bases()).0.permits(on, text.as_bytes());
    assert_eq!(found, Ok(plain.permits(letter, &resource)), "seed {seed}: {plain:?} {letter} {text}");
    if found == Ok(true) {
        counts.permitted += 1
    } else {
        counts.hidden += 1
    }
    let searched = *random.of(&TYPES);
    let letter = if searched == on { 's' } else { 'r' };
    let test = permitted_of_search(&caller, resource_type::known(searched.as_bytes()).unwrap(), &bases());
    assert_eq!(test.0.permits(on, text.as_bytes()), Ok(plain.permits(letter, &resource)), "seed {seed}: {plain:?} {text}");
    // The test that a decision brings with it is that of its interaction.
    if let Verdict::Check(test) | Verdict::Narrow(_, test) = verdict
        && request.starts_with("GET")
    {
        let searches = !request.split('?').next().unwrap().trim_start_matches("GET /").contains('/');
        let is_searched = searches && request.trim_start_matches("GET /").split('?').next() == Some(on);
        let expected = plain.permits(if is_searched { 's' } else { 'r' }, &resource);
        assert_eq!(test.0.permits(on, text.as_bytes()), Ok(expected), "seed {seed}: {plain:?} {request} {text}");
    }
}

#[test]
fn a_second_evaluator_agrees_on_100_000_random_triples() {
    let first: u64 = std::env::var("ACCESS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut counts = Counts::default();
    for seed in first..first + TRIPLES / OF_ONE_POLICY {
        let mut random = Random(seed);
        let plain = plain(&mut random);
        let patients = plain
            .patients
            .as_ref()
            .map_or(Patients::All, |ids| super::listed(&ids.iter().map(String::as_str).collect::<Vec<_>>()));
        let policy = Arc::new(Policy { patients, ..policy(&plain.scopes.join(" ")) });
        for _ in 0..OF_ONE_POLICY {
            compare(seed, &plain, &policy, &mut random, &mut counts);
        }
    }
    let Counts { allowed, tested, narrowed, refused, permitted, hidden } = counts;
    assert!([allowed, tested, narrowed, refused, permitted, hidden].iter().all(|count| *count > TRIPLES / 50), "{counts:?}");
}
