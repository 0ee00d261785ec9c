//! What the fuzz targets check, one file a target. `cargo test --test it fuzz::` runs the same over the corpora.

mod bundle;
mod forwarded;
mod framing;
mod jwk_set;
mod mend;
mod path;
mod patients;
mod query;
mod resource;
mod search;
mod token;

/// A target's name, which is the folder of its corpus, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 11] = [
    ("bundle", bundle::check),
    ("forwarded", forwarded::check),
    ("framing", framing::check),
    ("jwk_set", jwk_set::check),
    ("mend", mend::check),
    ("path", path::check),
    ("patients", patients::check),
    ("query", query::check),
    ("resource", resource::check),
    ("search", search::check),
    ("token", token::check),
];

/// Runs a target on an input.
///
/// # Panics
/// The input shows a fault, or there is no such target.
pub fn run(name: &str, input: &[u8]) {
    let (_, check) = TARGETS.iter().find(|(target, _)| *target == name).expect("a target in the table");
    check(input);
}

/// Splits off the first `N` bytes, which choose how the rest is treated. What is missing is `0`.
fn choices<const N: usize>(input: &[u8]) -> ([u8; N], &[u8]) {
    let (first, rest) = input.split_at(N.min(input.len()));
    let mut choices = [b'0'; N];
    choices[..first.len()].copy_from_slice(first);
    (choices, rest)
}
