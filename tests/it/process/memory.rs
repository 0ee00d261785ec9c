//! What a running gateway's memory holds of its private key and of its tokens, read as root reads it.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;

use serde_json::json;

use crate::support::eventually;
use crate::support::gateway::{Gateway, config, copy_keys};
use crate::support::openemr::OpenEmr;

/// How often each needle stands in the writable memory of a process.
fn count(process: u32, needles: &[Vec<u8>]) -> Vec<usize> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let mut memory = File::open(format!("/proc/{process}/mem")).unwrap();
    let finders: Vec<_> = needles.iter().map(memchr::memmem::Finder::new).collect();
    let mut counts = vec![0; needles.len()];
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (range, mode) = (words.next().unwrap(), words.next().unwrap());
        if !mode.starts_with("rw") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let [mut from, to] = [from, to].map(|number| u64::from_str_radix(number, 16).unwrap());
        // In pieces that overlap by less than a needle: a needle is counted once.
        let overlap = needles.iter().map(Vec::len).max().unwrap() as u64 - 1;
        while from < to {
            let end = to.min(from + (16 << 20));
            let mut piece = vec![0; (end - from) as usize];
            // Memory that was never touched cannot be read everywhere.
            if memory.seek(SeekFrom::Start(from)).is_ok() && memory.read_exact(&mut piece).is_ok() {
                for (finder, count) in finders.iter().zip(&mut counts) {
                    *count += finder.find_iter(&piece).count();
                }
            }
            from = if end == to { to } else { end - overlap };
        }
    }
    counts
}

/// The contents of the elements of a DER sequence.
fn elements(der: &[u8]) -> Vec<&[u8]> {
    let (mut found, mut rest) = (Vec::new(), der);
    while let [_, first, ..] = rest {
        let (length, at) = match *first {
            short @ 0..0x80 => (usize::from(short), 2),
            long => {
                let bytes = usize::from(long & 0x7f);
                (rest[2..2 + bytes].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), 2 + bytes)
            }
        };
        found.push(&rest[at..at + length]);
        rest = &rest[at + length..];
    }
    found
}

/// A part of the first prime of a PKCS#8 RSA key.
fn prime(pem: &str) -> Vec<u8> {
    let block = pem::parse(pem).unwrap();
    let info = elements(elements(block.contents())[0]);
    let key = elements(elements(info[2])[0]);
    key[4][40..72].to_vec()
}

#[test]
fn the_key_stands_in_memory_once_and_past_tokens_do_not_pile_up() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&openemr);
    copy_keys(&mut config, folder.path());
    config["sites"]["default"]["forced_refreshes"] = json!({"every": "1s", "burst": 100});
    // The same file for two sites is one key.
    config["sites"]["other"] = config["sites"]["default"].clone();
    let gateway = Gateway::with(config.clone());
    if fs::metadata("/proc/self").unwrap().uid() != 0 || File::open(format!("/proc/{}/mem", gateway.process.id())).is_err() {
        println!("skipped: only root can read the memory of another process");
        return;
    }
    let pem = fs::read_to_string(folder.path().join("private_key.pem")).unwrap();
    let jwks = folder.path().join("jwks.json");
    let mut tokens = Vec::new();
    for turn in 0..12 {
        let answer = gateway.token("?force=true");
        assert_eq!(answer.status, 200, "{}", answer.text());
        tokens.push(answer.json()["access_token"].as_str().unwrap().to_owned());
        for _ in 0..3 {
            assert_eq!(gateway.caller().get("/fhir/Patient?_count=1").status, 200);
        }
        // The keeper reads the key again, and so does a reload.
        fs::write(&jwks, fs::read(&jwks).unwrap()).unwrap();
        config["sites"]["default"]["paging"] = json!(if turn % 2 == 0 { "native" } else { "slice" });
        assert!(gateway.reload(&config).contains("is in force"));
    }
    let prime = prime(&pem);
    let limbs: Vec<u8> = prime.iter().rev().copied().collect();
    let line = pem.lines().nth(10).unwrap().as_bytes().to_vec();
    let end = |token: &String| token.as_bytes()[token.len() - 40..].to_vec();
    let needles: Vec<Vec<u8>> = [limbs, prime, line].into_iter().chain(tokens.iter().map(end)).collect();
    eventually("what is left of the old configurations is dropped", || {
        let counts = count(gateway.process.id(), &needles);
        println!("prime in limbs, prime in DER, line of PEM, tokens: {counts:?}");
        // aws-lc keeps a prime as a number, and once more in the form in which it multiplies.
        // Of a token, a buffer of a connection may keep a copy until it is used again: the older ones must be gone but for such.
        let older = tokens.len() - 4;
        let left: usize = counts[3..3 + older].iter().sum();
        ((1..=2).contains(&counts[0]) && counts[1..3] == [0, 0] && left <= older).then_some(())
    });
}
