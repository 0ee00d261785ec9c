//! One line of a file: a record with its number and the hash of the line before.
//!
//! ```json
//! {"n":7,"prev":"<base64>","time":"…","kind":"request",…}
//! ```
//!
//! `n` counts from 0 in each file. `prev` is the hash of the line before as a leaf of the [tree](super::tree), which is over the
//! lines without their line feeds: one hash a record serves both. The first line has no `prev`; it may have `follows`, which names
//! another file and what was signed of it.

use std::borrow::Cow;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::record::{Kind, Record};
use super::tree::Hash;

/// The longest line that is written and read, in bytes, without its line feed.
pub(crate) const MAX_LINE: usize = 16 * 1024 * 1024;
/// The length of a hash in base64.
const BASE64: usize = 44;

/// What the first line of a file says of another file: the newest checkpoint of that one, which may have had more records to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Follows {
    /// Its name.
    pub(crate) file: String,
    /// How many records were signed.
    pub(crate) records: u64,
    /// The root of the tree over them.
    #[serde(serialize_with = "write_hash", deserialize_with = "read_hash")]
    pub(crate) root: Hash,
}

/// What binds a line to others.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Head {
    /// The number of the record.
    pub(crate) n: u64,
    /// The hash of the line before.
    #[serde(default, deserialize_with = "read_some_hash")]
    pub(crate) prev: Option<Hash>,
    /// The file before.
    #[serde(default)]
    pub(crate) follows: Option<Follows>,
    /// What the record is about.
    pub(crate) kind: Kind,
}

/// What stands before a record's own members.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bond<'a> {
    /// In the first line of a file.
    First(Option<&'a Follows>),
    /// In another line: the hash of the line before.
    Prev(&'a Hash),
}

/// Adds a line with its line feed to `text`.
pub(crate) fn write(text: &mut Vec<u8>, n: u64, bond: Bond<'_>, record: &Record) {
    // Writing to a vector never fails, and texts and numbers always serialise.
    let _ = write!(text, "{{\"n\":{n}");
    match bond {
        Bond::First(None) => {}
        Bond::First(Some(follows)) => {
            text.extend_from_slice(b",\"follows\":");
            let _ = serde_json::to_writer(&mut *text, follows);
        }
        Bond::Prev(hash) => {
            let mut base64 = [0; BASE64];
            let _ = STANDARD.encode_slice(hash, &mut base64);
            text.extend_from_slice(b",\"prev\":\"");
            text.extend_from_slice(&base64);
            text.push(b'"');
        }
    }
    let brace = text.len();
    record.write(text);
    if let Some(brace) = text.get_mut(brace) {
        *brace = b',';
    }
    text.push(b'\n');
}

/// Reads what binds a line, given without its line feed; `None` for what is no record.
#[must_use]
pub(crate) fn head(line: &[u8]) -> Option<Head> {
    serde_json::from_slice(line).ok()
}

/// Reads a line, given without its line feed; `None` for what is no record.
#[cfg(test)]
#[must_use]
pub(crate) fn read(line: &[u8]) -> Option<(Head, Record)> {
    Some((head(line)?, serde_json::from_slice(line).ok()?))
}

fn write_hash<S: Serializer>(hash: &Hash, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(hash))
}

fn read_hash<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Hash, D::Error> {
    let text = Cow::<'de, str>::deserialize(deserializer)?;
    parse_hash(&text).ok_or_else(|| de::Error::custom("not a hash"))
}

fn read_some_hash<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Hash>, D::Error> {
    read_hash(deserializer).map(Some)
}

/// Reads a hash from its base64.
pub(super) fn parse_hash(text: &str) -> Option<Hash> {
    let mut hash = [0; 33];
    let length = STANDARD.decode_slice(text, &mut hash).ok()?;
    hash.get(..length)?.try_into().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn line(n: u64, bond: Bond<'_>) -> String {
        let mut text = b"before".to_vec();
        write(&mut text, n, bond, &Record::new(Kind::Reload, Timestamp::UNIX_EPOCH));
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_line_reads_back_with_what_binds_it() {
        let hash = [7; 32];
        let text = line(3, Bond::Prev(&hash));
        assert_eq!(
            text,
            "before{\"n\":3,\"prev\":\"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\",\
             \"time\":\"1970-01-01T00:00:00.000Z\",\"kind\":\"reload\"}\n"
        );
        let (head, record) = read(text.trim_start_matches("before").trim_end().as_bytes()).unwrap();
        assert_eq!(head, Head { n: 3, prev: Some(hash), follows: None, kind: Kind::Reload });
        assert_eq!(record, Record::new(Kind::Reload, Timestamp::UNIX_EPOCH));
        let follows = Follows { file: "a".to_owned(), records: 2, root: hash };
        let first = line(0, Bond::First(Some(&follows)));
        let (head, _) = read(first.trim_start_matches("before").as_bytes()).unwrap();
        assert_eq!((head.prev, head.follows), (None, Some(follows)));
        assert!(line(0, Bond::First(None)).starts_with("before{\"n\":0,\"time\""));
    }

    #[test]
    fn what_is_no_record_is_none() {
        for text in [
            "",
            "{}",
            "[]",
            "{\"n\":1}",
            "{\"n\":-1,\"kind\":\"reload\"}",
            "{\"n\":1,\"prev\":\"\",\"kind\":\"reload\"}",
            "{\"n\":1,\"prev\":\"AA==\",\"kind\":\"reload\"}",
            "{\"n\":1,\"n\":2,\"kind\":\"reload\"}",
        ] {
            assert_eq!(head(text.as_bytes()), None, "{text}");
        }
    }
}
