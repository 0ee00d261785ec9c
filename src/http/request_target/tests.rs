#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

fn check(raw: &str) -> Result<(), UnsafeTarget> {
    Target::parse(raw.as_bytes()).and_then(|target| target.check())
}

#[test]
fn segments_are_decoded() {
    for (path, expected) in [
        ("/Patient/1", &["Patient", "1"][..]),
        ("/%50atient/%61%2D1/", &["Patient", "a-1"]),
        ("/a%/b%4/c%zz", &["a%", "b%4", "c%zz"]),
        ("", &[]),
    ] {
        assert_eq!(segments(path.as_bytes()).collect::<Vec<_>>(), expected, "{path}");
    }
}

#[test]
fn splits_both_forms_of_a_target() {
    for (raw, path, query) in [
        ("/fhir/Patient?_count=5", "/fhir/Patient", "?_count=5"),
        ("/fhir", "/fhir", ""),
        ("/fhir?a?b", "/fhir", "?a?b"),
        ("http://gw:8000/fhir/Patient?x", "/fhir/Patient", "?x"),
        ("HTTPS://gw/fhir", "/fhir", ""),
        ("http://gw:8000", "/", ""),
        ("http://gw?x=/y", "/", "?x=/y"),
    ] {
        let parsed = Target::parse(raw.as_bytes());
        assert_eq!(parsed, Ok(Target { path: path.as_bytes(), query: query.as_bytes() }), "{raw}");
    }
    for raw in [
        "",
        "*",
        "?x",
        "gw:443",
        "gw",
        "ftp://gw/fhir/Patient",
        "file:///fhir/Patient",
        "http:/fhir/Patient",
        "http:fhir",
        "http:///fhir",
        "http://",
        "javascript:x",
        "x://gw/fhir",
        "://gw/fhir",
        "\\fhir",
        "%2ffhir",
        "fhir/Patient",
    ] {
        assert_eq!(Target::parse(raw.as_bytes()), Err(UnsafeTarget::Form), "{raw}");
    }
}

#[test]
fn lets_fhir_targets_pass() {
    for good in [
        "/",
        "/fhir",
        "/fhir/",
        "/fhir/Patient",
        "/fhir/Patient/",
        "/fhir/Patient/a.b-c",
        "/fhir/Patient/..a",
        "/fhir/Patient/...",
        "/fhir/$export",
        "/fhir/Group/1/$export",
        "/fhir/Patient/%41",
        "/fhir/Patient/a%20b",
        "/fhir/Patient/a|b:c",
        "/fhir/Patient/a~b!c*d(e)f,g;h:i@j=k",
        "/fhir/Patient/a;..",
        "/fhir/Patient/M%C3%BCller",
        "/.well-known/jwks.json",
        "/fhir/Patient?name=M%C3%BCller&given=a+b%20c&&=&x",
        "/fhir/Patient?a=%2F..%2F//..\\%00&b=?c?d",
        "/fhir/Patient?name=%F0%9F%98%80&x=100%&y=%4&z=%zz&u=%u002e",
        "/fhir/Patient?_profile=http://x/y;z&a={b}|\"c\"<d>^`",
    ] {
        assert_eq!(check(good), Ok(()), "{good}");
    }
}

#[test]
fn refuses_what_servers_could_read_differently() {
    use Part::*;
    use UnsafeTarget::*;
    for (bad, reason) in [
        ("/..", DotSegment),
        ("/Patient/..", DotSegment),
        ("/../api", DotSegment),
        ("/.", DotSegment),
        ("/%2e%2e/api", DotSegment),
        ("/%2E./api", DotSegment),
        ("/.%2e", DotSegment),
        ("/%2e", DotSegment),
        ("/..;/api", DotSegment),
        ("/..;x=y/api", DotSegment),
        ("/.;/api", DotSegment),
        ("/%2e%2e;/api", DotSegment),
        ("/..%3b/api", DotSegment),
        ("/..%3B..", DotSegment),
        ("//Patient", EmptySegment),
        ("/Patient//1", EmptySegment),
        ("//", EmptySegment),
        ("/;/Patient", EmptySegment),
        ("/Patient/;x=1/..", EmptySegment),
        ("/Patient/%3bx", EmptySegment),
        ("/a%2fb", EncodedSeparator),
        ("/a%2F..", EncodedSeparator),
        ("/a%5cb", EncodedSeparator),
        ("/%252e%252e", EncodedSeparator),
        ("/a\\b", Backslash),
        ("/Patient/1&_REWRITE_COMMAND=default/fhir/metadata", QueryDelimiter),
        ("/Patient/1%26_REWRITE_COMMAND=default/api/patient", QueryDelimiter),
        ("/Patient/1%23", QueryDelimiter),
        ("/Patient/1%3f_count=1", QueryDelimiter),
        ("/Patient/1+2", QueryDelimiter),
        ("/Patient/1%2b2", QueryDelimiter),
        ("/a%00", Control(Path)),
        ("/a\0", Control(Path)),
        ("/a%0d%0aX", Control(Path)),
        ("/a%7f", Control(Path)),
        ("/a\t", Control(Path)),
        ("/a?b=\0", Control(Query)),
        ("/a?b=\x7f", Control(Query)),
        ("/a%", BrokenEncoding),
        ("/a%4", BrokenEncoding),
        ("/a%zz", BrokenEncoding),
        ("/%u002e%u002e/api", BrokenEncoding),
        ("/M\u{fc}ller", Raw(Path)),
        ("/\u{ff0e}\u{ff0e}/api", Raw(Path)),
        ("/a?b=\u{fc}", Raw(Query)),
        // Overlong forms of `.` and `/`, a surrogate, a lone byte, a cut character, one above U+10FFFF.
        ("/%c0%ae%c0%ae/api", NotUtf8(Path)),
        ("/a%c0%afb", NotUtf8(Path)),
        ("/%e0%80%ae", NotUtf8(Path)),
        ("/%f0%80%80%ae", NotUtf8(Path)),
        ("/%ed%a0%80", NotUtf8(Path)),
        ("/%fc", NotUtf8(Path)),
        ("/%80", NotUtf8(Path)),
        ("/a%c3/b", NotUtf8(Path)),
        ("/a%c3", NotUtf8(Path)),
        ("/a%f4%90%80%80", NotUtf8(Path)),
        ("/a%f8%88%80%80%80", NotUtf8(Path)),
        ("/a?b=%fc", NotUtf8(Query)),
        ("/a?b=%c0%ae", NotUtf8(Query)),
        ("/a?b=%c3&c=%bc", NotUtf8(Query)),
        ("/a?b=%c3", NotUtf8(Query)),
        ("http://gw/../api", DotSegment),
        ("http://gw//api", EmptySegment),
    ] {
        assert_eq!(check(bad), Err(reason), "{bad}");
    }
}

#[test]
fn the_base_stands_alone_for_an_empty_rest() {
    assert_eq!(onto("/apis/default/fhir", b"", b""), b"/apis/default/fhir");
    assert_eq!(onto("/apis/default/fhir", b"/", b"?x"), b"/apis/default/fhir?x");
    assert_eq!(onto("/apis/default/fhir", b"/Patient/", b""), b"/apis/default/fhir/Patient/");
    assert_eq!(onto("", b"", b"?x"), b"/?x");
}

/// Percent-decodes once; what is no percent-encoding stands for itself.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((byte, tail)) = rest.split_first() {
        let pair = tail.get(..2).and_then(|pair| std::str::from_utf8(pair).ok()).filter(|_| *byte == b'%');
        match pair.filter(|pair| pair.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            Some(pair) => {
                out.push(u8::from_str_radix(pair, 16).unwrap());
                rest = &tail[2..];
            }
            None => {
                out.push(*byte);
                rest = tail;
            }
        }
    }
    out
}

/// Decodes and resolves a path the way a careless server would.
fn resolved(path: &[u8]) -> Vec<String> {
    let mut text = String::from_utf8_lossy(path).into_owned();
    for _ in 0..3 {
        text = form_urlencoded::parse(format!("p={}", text.replace('+', "%2B").replace('&', "%26")).as_bytes())
            .next()
            .map(|(_, value)| value.into_owned())
            .unwrap();
    }
    let mut stack = Vec::new();
    for segment in text.replace('\\', "/").split('/').filter(|s| !s.is_empty() && *s != ".") {
        let segment = segment.split(';').next().unwrap();
        if segment == ".." {
            stack.pop();
        } else {
            stack.push(segment.to_owned());
        }
    }
    stack
}

proptest! {
    #[test]
    fn what_passes_stays_below_the_base(path in "(/(\\.|%2e|%2E|%252e|a|%2f|%5c|\\\\|/|%00|%|2e|;|%3b|%c0%ae|%c0%af){0,6}){0,5}") {
        let base = ["apis", "default", "fhir"];
        if check(&format!("/fhir{path}")).is_ok() {
            let target = onto("/apis/default/fhir", path.as_bytes(), b"");
            let place = resolved(&target);
            prop_assert!(place.len() >= 3 && place.iter().zip(base).all(|(a, b)| a == b), "{path} -> {place:?}");
        }
    }

    /// Nothing but visible ASCII passes, and what it stands for is text.
    #[test]
    fn what_passes_is_text_in_ascii(raw in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'/'), Just(b'%'), b'8'..=b'f', Just(b'?')], 0..64)) {
        let raw = [b"/", raw.as_slice()].concat();
        let target = Target::parse(&raw).unwrap();
        if target.check().is_ok() {
            prop_assert!(raw.iter().all(|byte| matches!(byte, 0x20..=0x7e)), "{raw:?}");
            prop_assert!(std::str::from_utf8(&decoded(target.path)).is_ok(), "{raw:?}");
            prop_assert!(std::str::from_utf8(&decoded(target.query)).is_ok(), "{raw:?}");
        }
    }

    #[test]
    fn utf8_is_what_rust_takes_for_it(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0x80_u8..=0xff], 0..12)) {
        let mut characters = Utf8::default();
        let fed = bytes.iter().all(|byte| characters.feed(*byte).is_some());
        prop_assert_eq!(fed && characters.is_complete(), std::str::from_utf8(&bytes).is_ok());
    }

    #[test]
    fn no_bytes_panic(raw in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = Target::parse(&raw).and_then(|target| target.check());
    }
}
