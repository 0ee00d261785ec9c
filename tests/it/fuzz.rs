//! The fuzz targets' bodies over their corpora, and over what random changes make of these. See `fuzz/README.md`.

#[path = "../../fuzz/bodies/mod.rs"]
mod bodies;

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

/// How many changed inputs each target gets, unless `FUZZ_CASES` says otherwise.
const CHANGED: u32 = 2000;

/// The inputs of a target's corpus with their files.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| (file.clone(), std::fs::read(file).unwrap())).collect()
}

#[test]
fn every_input_of_the_corpora_keeps_what_its_target_promises() {
    for (target, _) in bodies::TARGETS {
        let corpus = corpus(target);
        assert!(corpus.len() >= 5, "{target} has {} inputs", corpus.len());
        for (file, input) in corpus {
            let kept = std::panic::catch_unwind(|| bodies::run(target, &input));
            assert!(kept.is_ok(), "{} breaks a promise of {target}", file.display());
        }
    }
}

/// A change: what is cut out at a place, and what is put there.
type Change = (Index, usize, Vec<u8>);

fn change() -> impl Strategy<Value = Change> {
    let bytes = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..4),
        "[\\[\\]{}\",:&=%+. ;_\\\\0-9a-f\r\n]{0,6}".prop_map(String::into_bytes),
    ];
    (any::<Index>(), 0..6_usize, bytes)
}

#[test]
fn changed_inputs_keep_them_too() {
    let cases = std::env::var("FUZZ_CASES").map_or(CHANGED, |cases| cases.parse().unwrap());
    for (target, _) in bodies::TARGETS {
        let inputs: Vec<Vec<u8>> = corpus(target).into_iter().map(|(_, input)| input).collect();
        let one = (any::<Index>(), any::<Index>(), any::<bool>(), proptest::collection::vec(change(), 0..4));
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        let ran = TestRunner::new(config).run(&one, |(first, second, joined, changes)| {
            let mut input = first.get(&inputs).clone();
            if joined {
                input.extend(inputs[second.index(inputs.len())].iter().copied());
            }
            for (place, cut, put) in changes {
                let at = place.index(input.len() + 1);
                let end = (at + cut).min(input.len());
                input.splice(at..end, put);
            }
            bodies::run(target, &input);
            Ok(())
        });
        if let Err(error) = ran {
            panic!("{target}: {error}");
        }
    }
}

#[test]
fn each_target_has_its_program() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for (target, _) in bodies::TARGETS {
        assert!(manifest.contains(&format!("name = \"{target}\"")), "{target} is not in fuzz/Cargo.toml");
        let program = std::fs::read_to_string(fuzz.join("fuzz_targets").join(target).with_extension("rs")).unwrap();
        assert!(program.contains(&format!("bodies::run(\"{target}\", input)")), "{program}");
    }
}
