//! What a body is, as far as its beginning tells: a FHIR resource in JSON, other JSON, or none.
//!
//! The members of the outermost object are followed by structure until one of them is `resourceType`, which may come late:
//! OpenEMR 8 writes `id` and `meta` before it.

use memchr::memchr2;

use crate::fhir::resource_type;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// The longest string that is read, in bytes as written: the longest names of resource types, each letter as `\u0041`.
const LONGEST: usize = 256;
/// Members that OpenEMR's error objects have, and the answers to its writes do not.
const OF_ERRORS: [&str; 3] = ["error", "error_description", "validationErrors"];

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Root {
    /// An object that says what resource it is; `None` where R4 does not know the type.
    Resource(Option<&'static str>),
    /// A whole object that does not.
    Object {
        /// Whether it has a member of OpenEMR's error objects.
        is_error: bool,
    },
    /// An array, a string or a number.
    OtherJson,
    /// Text that is no JSON, such as a page or a message of PHP's.
    NotJson,
    /// Nothing, or white space alone.
    Empty,
    /// An object that ends before it is whole.
    CutShort,
}

impl Root {
    /// Returns what a whole body is.
    #[must_use]
    pub(crate) fn of(body: &[u8]) -> Self {
        let mut reader = RootReader::new();
        reader.feed(body).unwrap_or_else(|| reader.end())
    }
}

/// Reads the beginning of a body, in pieces cut anywhere.
#[derive(Debug)]
pub(crate) struct RootReader {
    at: At,
    /// How many brackets within a member's value are open.
    depth: u32,
    in_string: bool,
    escaped: bool,
    text: [u8; LONGEST],
    /// The length of the string in `text`, also where it does not fit.
    length: usize,
    is_type: bool,
    is_error: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before everything but so many bytes of the byte-order mark.
    Start(usize),
    /// After `{` (`true`) or after a comma.
    NameDue {
        may_close: bool,
    },
    Name,
    ColonDue,
    ValueDue,
    /// Within the string that names the type.
    Type,
    /// Within any other value.
    Value,
    /// Within a number, `true`, `false` or `null`.
    Scalar,
    CommaDue,
    Known(Root),
}

impl RootReader {
    /// A reader of which nothing is known.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self {
            at: At::Start(0),
            depth: 0,
            in_string: false,
            escaped: false,
            text: [0; LONGEST],
            length: 0,
            is_type: false,
            is_error: false,
        }
    }

    /// Takes the next piece; returns what the body is, once that is known.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Option<Root> {
        let mut rest = piece;
        while let Some((&byte, behind)) = rest.split_first() {
            match self.at {
                At::Known(root) => return Some(root),
                At::Value => {
                    rest = self.go_through_value(rest);
                    continue;
                }
                _ => self.at = self.step(byte),
            }
            // The first byte of a value belongs to it.
            if self.at != At::Value {
                rest = behind;
            }
        }
        match self.at {
            At::Known(root) => Some(root),
            _ => None,
        }
    }

    /// Returns what a body is that ends here.
    #[must_use]
    pub(crate) fn end(&self) -> Root {
        match self.at {
            At::Known(root) => root,
            At::Start(0 | 3) => Root::Empty,
            At::Start(_) => Root::NotJson,
            _ => Root::CutShort,
        }
    }

    fn step(&mut self, byte: u8) -> At {
        let is_space = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        match self.at {
            At::Start(seen @ 0..3) if BYTE_ORDER_MARK.get(seen) == Some(&byte) => At::Start(seen + 1),
            At::Start(1 | 2) => At::Known(Root::NotJson),
            At::Start(_) => match byte {
                _ if is_space => At::Start(3),
                b'{' => At::NameDue { may_close: true },
                b'[' | b'"' | b'-' | b'0'..=b'9' => At::Known(Root::OtherJson),
                _ => At::Known(Root::NotJson),
            },
            At::NameDue { .. } | At::ColonDue | At::ValueDue | At::CommaDue if is_space => self.at,
            At::NameDue { .. } if byte == b'"' => self.begin_text(At::Name),
            At::NameDue { may_close: true } | At::CommaDue if byte == b'}' => At::Known(Root::Object { is_error: self.is_error }),
            At::CommaDue if byte == b',' => At::NameDue { may_close: false },
            At::Name => self.take_text(byte, At::Name),
            At::Type => self.take_text(byte, At::Type),
            At::ColonDue if byte == b':' => At::ValueDue,
            At::ValueDue => match byte {
                b'"' if self.is_type => self.begin_text(At::Type),
                _ if self.is_type => At::Known(Root::Object { is_error: self.is_error }),
                b'"' | b'{' | b'[' => {
                    (self.depth, self.in_string, self.escaped) = (0, false, false);
                    At::Value
                }
                b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => At::Scalar,
                _ => At::Known(Root::NotJson),
            },
            At::Scalar => match byte {
                b',' => At::NameDue { may_close: false },
                b'}' => At::Known(Root::Object { is_error: self.is_error }),
                _ if is_space => At::CommaDue,
                _ if byte.is_ascii_alphanumeric() || b"+-.".contains(&byte) => At::Scalar,
                _ => At::Known(Root::NotJson),
            },
            At::NameDue { .. } | At::ColonDue | At::CommaDue => At::Known(Root::NotJson),
            At::Value | At::Known(_) => self.at,
        }
    }

    fn begin_text(&mut self, at: At) -> At {
        (self.length, self.escaped) = (0, false);
        at
    }

    /// Takes a byte of a name, or of the value of `resourceType`.
    fn take_text(&mut self, byte: u8, at: At) -> At {
        if byte == b'"' && !self.escaped {
            return self.end_text(at);
        }
        self.escaped = byte == b'\\' && !self.escaped;
        if let Some(place) = self.text.get_mut(self.length) {
            *place = byte;
        }
        self.length = (self.length + 1).min(LONGEST + 1);
        at
    }

    fn end_text(&mut self, at: At) -> At {
        let raw = self.text.get(..self.length).unwrap_or_default();
        let unescaped = raw.contains(&b'\\').then(|| serde_json::from_slice::<String>(&[b"\"", raw, b"\""].concat()));
        let text = match &unescaped {
            None => raw,
            Some(Ok(text)) => text.as_bytes(),
            Some(Err(_)) => &[],
        };
        if at == At::Type {
            let is_name = text.first().is_some_and(u8::is_ascii_uppercase) && text.iter().all(u8::is_ascii_alphanumeric);
            let is_error = self.is_error;
            return At::Known(if is_name { Root::Resource(resource_type::known(text)) } else { Root::Object { is_error } });
        }
        let is_error = OF_ERRORS.iter().any(|name| name.as_bytes() == text);
        self.is_type = text == b"resourceType";
        self.is_error |= is_error;
        At::ColonDue
    }

    /// Goes through the value of a member that is of no interest, as far as the piece has it; returns what follows.
    fn go_through_value<'a>(&mut self, piece: &'a [u8]) -> &'a [u8] {
        let mut rest = piece;
        while let Some((&byte, behind)) = rest.split_first() {
            rest = behind;
            if self.escaped {
                self.escaped = false;
                continue;
            }
            match byte {
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {
                    let Some(at) = memchr2(b'"', b'\\', rest) else { return &[] };
                    rest = rest.get(at..).unwrap_or_default();
                }
                b'{' | b'[' => self.depth = self.depth.saturating_add(1),
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            if self.depth == 0 && !self.in_string {
                self.at = At::CommaDue;
                return rest;
            }
        }
        rest
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn root(body: &[u8]) -> Root {
        Root::of(body)
    }

    fn root_in_pieces(body: &[u8], size: usize) -> Root {
        let mut reader = RootReader::new();
        body.chunks(size).find_map(|piece| reader.feed(piece)).unwrap_or_else(|| reader.end())
    }

    #[test]
    fn a_resource_says_so_wherever_it_stands() {
        for body in [
            r#"{"resourceType":"Patient","id":"1"}"#,
            "\u{feff} \r\n\t{ \"resourceType\" : \"Patient\" }",
            r#"{"id":"1","meta":{"versionId":"1","tag":[{"a":"}]"}]},"resourceType":"Patient""#,
            r#"{"a":-1.5e3,"b":true , "c":null,"d":[],"e":"\"\\","resourceType":"Patient"}"#,
            r#"{"resource\u0054ype":"P\u0061tient"}"#,
            r#"{"error":"x","resourceType":"Patient"}"#,
            r#"{"resource":{"resourceType":"Bundle"},"resourceType":"Patient"}"#,
        ] {
            assert_eq!(root(body.as_bytes()), Root::Resource(Some("Patient")), "{body}");
        }
        assert_eq!(root(br#"{"resourceType":"FutureThing2"}"#), Root::Resource(None));
    }

    #[test]
    fn what_is_none_is_told_apart() {
        let object = |is_error| Root::Object { is_error };
        for (body, expected) in [
            ("", Root::Empty),
            (" \n", Root::Empty),
            ("\u{feff}", Root::Empty),
            ("[]", Root::OtherJson),
            ("\"text\"", Root::OtherJson),
            ("-1", Root::OtherJson),
            ("null", Root::NotJson),
            ("<br />\n<b>Deprecated</b>: x<br />\n{\"resourceType\":\"Patient\"}", Root::NotJson),
            ("<!DOCTYPE html><html>", Root::NotJson),
            ("\nWarning: x in /var/www/x.php on line 1\n{}", Root::NotJson),
            ("{}", object(false)),
            (r#"{"pid":503,"uuid":"x"}"#, object(false)),
            (r#"{"error":"An error occurred","message":"x","code":0}"#, object(true)),
            (r#"{"validationErrors":{"a":"b"}}"#, object(true)),
            (r#"{"resourceType":null}"#, object(false)),
            (r#"{"resourceType":"no type"}"#, object(false)),
            (r#"{"resource":{"resourceType":"Patient"}}"#, object(false)),
            (r#"{"a":"b""#, Root::CutShort),
            (r#"{"resourceType":"Pat"#, Root::CutShort),
            ("{<b>", Root::NotJson),
            ("{\"a\" \"b\"}", Root::NotJson),
            ("{\"a\":<", Root::NotJson),
            ("{,", Root::NotJson),
            ("{\"a\":1 2", Root::NotJson),
        ] {
            assert_eq!(root(body.as_bytes()), expected, "{body}");
            assert_eq!(root_in_pieces(body.as_bytes(), 1), expected, "{body}");
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let name = prop_oneof![
            2 => Just("resourceType".to_owned()),
            1 => Just("error".to_owned()),
            4 => "[a-z\"\\\\{}é]{0,4}",
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(Value::from),
            proptest::sample::select(&["Patient", "Bundle", "", "x\"}]", "\\", "ü\u{1}"][..]).prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 5, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((name.clone(), inner), 0..5).prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn equals_a_whole_parse_in_any_pieces(value in json(), pretty: bool, size in 1_usize..9) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let expected = match &value {
                Value::Object(members) => match members.get("resourceType").and_then(Value::as_str) {
                    Some(name) if resource_type::known(name.as_bytes()).is_some() => Some(Root::Resource(resource_type::known(name.as_bytes()))),
                    _ if members.contains_key("resourceType") => None,
                    _ => Some(Root::Object { is_error: members.contains_key("error") }),
                },
                Value::Null | Value::Bool(_) => Some(Root::NotJson),
                Value::Array(_) | Value::String(_) | Value::Number(_) => Some(Root::OtherJson),
            };
            for found in [root(text.as_bytes()), root_in_pieces(text.as_bytes(), size)] {
                match expected {
                    Some(expected) => prop_assert_eq!(found, expected, "{}", text),
                    None => prop_assert!(matches!(found, Root::Object { .. }), "{}: {:?}", text, found),
                }
            }
        }

        #[test]
        fn no_bytes_panic_and_pieces_do_not_matter(body in proptest::collection::vec(any::<u8>(), 0..60), size in 1_usize..5) {
            prop_assert_eq!(root(&body), root_in_pieces(&body, size));
        }
    }
}
