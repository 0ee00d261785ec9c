use super::*;
use proptest::prelude::*;

const PUBLIC: &str = "https://gw.example/fhir";

/// Rewrites a body in these chunks. Asserts that never more than a base is withheld, and that no chunk is copied without need.
fn streamed<'a>(chunks: impl IntoIterator<Item = &'a [u8]>, bases: &[&str], public: &str) -> Vec<u8> {
    let links = Arc::new(Links::to(bases.iter().copied()));
    let longest = links.longest;
    let mut rewriter = LinkRewriter::new(links, Arc::new(Replacement::new(public)));
    let mut out = Vec::new();
    for chunk in chunks {
        let had_withheld = !rewriter.withheld.is_empty();
        let chunk = Bytes::copy_from_slice(chunk);
        let given = rewriter.feed(chunk.clone());
        if !had_withheld && rewriter.hits.is_empty() && !given.is_empty() {
            assert_eq!(given.as_ptr(), chunk.as_ptr(), "copied");
        }
        out.extend_from_slice(&given);
        assert!(rewriter.withheld.len() <= longest && rewriter.before.len() <= LOOK_BACK);
    }
    out.extend_from_slice(&rewriter.finish());
    out
}

fn rewritten(body: &str, bases: &[&str]) -> String {
    String::from_utf8(streamed([body.as_bytes()], bases, PUBLIC)).unwrap()
}

const EMR: &str = "https://emr.example/apis/default/fhir";

#[test]
fn every_spelling_points_back() {
    for (body, expected) in [
        (r#"{"url":"https://emr.example/apis/default/fhir"}"#, r#"{"url":"https://gw.example/fhir"}"#),
        (r#""https://emr.example/apis/default/fhir/Patient/1""#, r#""https://gw.example/fhir/Patient/1""#),
        (r#""https:\/\/emr.example\/apis\/default\/fhir\/Patient\/1""#, r#""https:\/\/gw.example\/fhir\/Patient\/1""#),
        ("https://emr.example:443/apis/default/fhir?x", "https://gw.example/fhir?x"),
        (r"https:\/\/emr.example:443\/apis\/default\/fhir", r"https:\/\/gw.example\/fhir"),
        ("<url value=\"https://emr.example/apis/default/fhir\"/>", "<url value=\"https://gw.example/fhir\"/>"),
        ("&quot;https://emr.example/apis/default/fhir&quot;", "&quot;https://gw.example/fhir&quot;"),
        (
            r"\u003Ca href=\u0022https:\/\/emr.example\/apis\/default\/fhir\u0022",
            r"\u003Ca href=\u0022https:\/\/gw.example\/fhir\u0022",
        ),
        (r"see\nhttps://emr.example/apis/default/fhir, and", r"see\nhttps://gw.example/fhir, and"),
        ("ValueSet|https://emr.example/apis/default/fhir|1", "ValueSet|https://gw.example/fhir|1"),
        ("see https://emr.example/apis/default/fhir.", "see https://gw.example/fhir."),
        ("(https://emr.example/apis/default/fhir). And", "(https://gw.example/fhir). And"),
        (
            "https://emr.example/apis/default/fhir... and **https://emr.example/apis/default/fhir**",
            "https://gw.example/fhir... and **https://gw.example/fhir**",
        ),
        (r#"{"a":"https:\/\/emr.example\/apis\/default\/fhir.\u0022"}"#, r#"{"a":"https:\/\/gw.example\/fhir.\u0022"}"#),
        ("HTTPS://EMR.Example/apis/default/fhir/Patient", "https://gw.example/fhir/Patient"),
        ("https://emr.EXAMPLE:443/apis/default/fhir", "https://gw.example/fhir"),
        (
            r"https:\u002f\u002Femr.example\u002fapis\u002fdefault\u002ffhir\u002fPatient",
            r"https:\/\/gw.example\/fhir\u002fPatient",
        ),
        (r"\u0048ttps\u003a//\u0065mr.example:\u003443/apis\/default/f\u0068ir", r"https:\/\/gw.example\/fhir"),
        (r"a\\nhttps://emr.example/apis/default/fhir", r"a\\nhttps://emr.example/apis/default/fhir"),
        (r"a\\\nhttps://emr.example/apis/default/fhir", r"a\\\nhttps://gw.example/fhir"),
        (r"\u0061https://emr.example/apis/default/fhir", r"\u0061https://emr.example/apis/default/fhir"),
        (
            "a=https://emr.example/apis/default/fhir/A,https://emr.example/apis/default/fhir/B",
            "a=https://gw.example/fhir/A,https://gw.example/fhir/B",
        ),
    ] {
        assert_eq!(rewritten(body, &[EMR]), expected);
    }
}

#[test]
fn what_merely_begins_alike_stays() {
    for body in [
        "https://emr.example/apis/default/fhirx/Patient",
        "https://emr.example/apis/default/fhir-2",
        "https://emr.example/apis/default/fhir.bak",
        "https://emr.example/apis/default/fhir%20",
        "https://emr.example/apis/default/fhirü",
        r"https://emr.example/apis/default/fhir\u00fc",
        "https://emr.example/apis/default/fhir./Patient",
        r"https://emr.example/apis/default/fhir.\/Patient",
        "https://emr.example/apis/default/fhir.........",
        "https://emr.example/apis/DEFAULT/fhir",
        "https://emr.example/APIS/default/fhir",
        "https://emr.example/apis/default/FHIR",
        "https://emr.example.org/apis/default/fhir",
        "https://emr.example@evil.example/apis/default/fhir",
        "https://emr.example:8443/apis/default/fhir",
        "https://emr.example:4430/apis/default/fhir",
        "https://xemr.example/apis/default/fhir",
        "https://x.emr.example/apis/default/fhir",
        "http://emr.example/apis/default/fhir",
        "http://emr.example:443/apis/default/fhir",
        "shttps://emr.example/apis/default/fhir",
        "x+https://emr.example/apis/default/fhir",
        "https://emr.example/apis/default",
        "https://emr.example/oauth2/default",
        "/apis/default/fhir/Patient",
    ] {
        assert_eq!(rewritten(body, &[EMR]), body);
    }
    assert_eq!(
        rewritten("https://emr.example.org https://emr.example:1 https://emr.example@x", &["https://emr.example"]).as_str(),
        "https://emr.example.org https://emr.example:1 https://emr.example@x"
    );
}

#[test]
fn of_two_bases_the_longer_is_meant() {
    let bases = ["https://emr.example", EMR, "http://10.0.0.1:8300/apis/default/fhir", "http://[::1]/fhir"];
    for (body, expected) in [
        ("https://emr.example/apis/default/fhir/Patient", "https://gw.example/fhir/Patient"),
        ("https://emr.example/apis/default", "https://gw.example/fhir/apis/default"),
        ("https://emr.example/apis/default/fhirs", "https://gw.example/fhir/apis/default/fhirs"),
        (
            "http://10.0.0.1:8300/apis/default/fhir http://[::1]/fhir http://[::1]:80/fhir",
            "https://gw.example/fhir https://gw.example/fhir https://gw.example/fhir",
        ),
        (
            "http://10.0.0.1:8300/apis https://10.0.0.1:8300/apis/default/fhir",
            "http://10.0.0.1:8300/apis https://10.0.0.1:8300/apis/default/fhir",
        ),
    ] {
        assert_eq!(rewritten(body, &bases), expected);
    }
}

#[test]
fn no_base_is_no_work() {
    let chunk = Bytes::from_static(b"https://emr.example");
    for bases in [&[][..], &["ftp://emr.example"], &["https://"], &["emr.example"]] {
        let links = Arc::new(Links::to(bases.iter().copied()));
        let mut rewriter = LinkRewriter::new(links, Arc::new(Replacement::new(PUBLIC)));
        assert_eq!(rewriter.feed(chunk.clone()).as_ptr(), chunk.as_ptr());
        assert!(rewriter.finish().is_empty());
    }
}

#[test]
fn a_value_is_rewritten_at_once() {
    let links = Links::to([EMR]);
    let to = Replacement::new(PUBLIC);
    let value = links.rewritten(b"<https://emr.example/apis/default/fhir>; rel=\"next\"", &to).unwrap();
    assert_eq!(value, b"<https://gw.example/fhir>; rel=\"next\"");
    assert_eq!(links.rewritten(b"<https://other.example>", &to), None);
}

const BASES: [&str; 5] = ["https://h", "https://h/f", "http://h/f/h", "http://h:8/f", "https://http/https"];

/// Bodies made of parts of bases, of what can surround bases, and of escapes.
fn adversarial() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => proptest::sample::select(&BASES[..]).prop_map(|base| base.as_bytes().to_vec()),
        4 => proptest::sample::select(&BASES[..]).prop_map(|base| base.replace('/', "\\/").into_bytes()),
        3 => (proptest::sample::select(&BASES[..]), any::<proptest::sample::Index>())
            .prop_map(|(base, cut)| base.as_bytes()[..=cut.index(base.len())].to_vec()),
        8 => proptest::sample::select(&[
            "h", "t", "http", "https", "https:", "://", ":\\/\\/", "/", "\\/", "\\", "\"", "f", "/f", "\\/f", ":443", ":80", ":8", ":",
            "x", ".", "-", "+", "@", "%", "&", " ", ",", "\\n", "\\u0022", "\\u002f", "\\u0068", "\\u00e", "u", "n", "?", "|", ")", "é", "\0",
        ][..]).prop_map(|text| text.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 150 } else { 4000 }))]

    /// Splits each body in two at every place, and byte by byte.
    #[test]
    fn a_split_changes_nothing(
        body in adversarial(),
        bases in proptest::sample::subsequence(&BASES[..], 1..=BASES.len()),
        public in proptest::sample::select(&[PUBLIC, "http://a", "https://h/f"][..]),
        mut cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
    ) {
        let whole = Links::to(bases.iter().copied()).rewritten(&body, &Replacement::new(public));
        let expected = whole.unwrap_or_else(|| body.clone());
        for at in 0..=body.len() {
            let (one, two) = body.split_at(at);
            prop_assert_eq!(streamed([one, two], &bases, public), &expected[..], "at {}", at);
        }
        prop_assert_eq!(streamed(body.chunks(1), &bases, public), &expected[..]);
        let mut at: Vec<usize> = cuts.drain(..).map(|cut| cut.index(body.len() + 1)).collect();
        at.sort_unstable();
        let mut chunks = Vec::new();
        let mut from = 0;
        for to in at.into_iter().chain([body.len()]) {
            chunks.push(&body[from..to]);
            from = to;
        }
        prop_assert_eq!(streamed(chunks, &bases, public), expected);
    }
}

/// A slow implementation for decoded text, which shares no code with the rewriter: URLs are cut out of the text and compared by their
/// parts.
fn replaced(text: &str, bases: &[&str], public: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut bases: Vec<(String, String, String)> = bases.iter().map(|base| parts(base)).collect();
    bases.sort_by_key(|(_, host, path)| usize::MAX - host.len() - path.len());
    let mut out = String::new();
    let mut at = 0;
    'next: while at < chars.len() {
        let is_of_a_word = |c: &char| c.is_ascii_alphanumeric() || "+-.".contains(*c);
        if !(at > 0 && is_of_a_word(&chars[at - 1])) {
            for (scheme, host, path) in &bases {
                let default = if scheme == "http" { ":80" } else { ":443" };
                let has_port = host.rfind(':') > host.rfind(']');
                for port in if has_port { vec![""] } else { vec![default, ""] } {
                    let authority = format!("{scheme}://{host}{port}");
                    let length = authority.chars().count() + path.chars().count();
                    let Some(found) = chars.get(at..at + length) else { continue };
                    let found: String = found.iter().collect();
                    let Some((before, behind)) = found.split_at_checked(authority.len()) else { continue };
                    let rest: String = chars[at + length..].iter().collect();
                    let marks = rest.trim_start_matches(|c| "-._~!$*+=:@".contains(c));
                    let many = rest.len() - marks.len();
                    let next = marks.chars().next();
                    let goes_on =
                        |c: char| c.is_ascii_alphanumeric() || !c.is_ascii() || c == '%' || many > 0 && "/?#".contains(c);
                    if before.eq_ignore_ascii_case(&authority) && behind == path && many <= 8 && !next.is_some_and(goes_on) {
                        out.push_str(public);
                        at += length;
                        continue 'next;
                    }
                }
            }
        }
        out.push(chars[at]);
        at += 1;
    }
    out
}

fn parts(base: &str) -> (String, String, String) {
    let (scheme, rest) = base.split_once("://").unwrap();
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    (scheme.to_owned(), host.to_owned(), path.to_owned())
}

/// A JSON string whose characters are written in one of the ways that JSON has; those of `kept` as they are.
fn written(text: &str, ways: &[u8], kept: &[&str]) -> String {
    let mut out = String::from("\"");
    let mut literal = 0;
    for (place, character) in text.char_indices() {
        literal = literal
            .max(kept.iter().filter(|kept| text[place..].starts_with(**kept)).map(|kept| place + kept.len()).max().unwrap_or(0));
        let way = ways[place % ways.len()];
        let escape = |upper: bool| {
            let mut units = [0; 2];
            let units = character.encode_utf16(&mut units);
            units.iter().map(|unit| if upper { format!("\\u{unit:04X}") } else { format!("\\u{unit:04x}") }).collect::<String>()
        };
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push_str(&escape(false)),
            '/' if way % 4 == 1 => out.push_str("\\/"),
            _ if place < literal => out.push(character),
            _ if way % 4 == 2 => out.push_str(&escape(false)),
            _ if way % 4 == 3 && way > 200 => out.push_str(&escape(true)),
            c => out.push(c),
        }
    }
    out + "\""
}

const REAL: [&str; 4] =
    ["https://emr.example/apis/default/fhir", "http://10.0.0.7:8300/apis/default/fhir", "https://h", "http://[::1]/f"];

/// Text with bases in any case, parts of them, and what can stand around them.
fn prose() -> impl Strategy<Value = String> {
    let any_case = |base: &'static str, upper: Vec<bool>| {
        let (scheme, host, path) = parts(base);
        let authority = format!("{scheme}://{host}");
        let flips = authority.chars().zip(upper.into_iter().cycle());
        flips.map(|(c, upper)| if upper { c.to_ascii_uppercase() } else { c }).collect::<String>() + &path
    };
    let base = (proptest::sample::select(&REAL[..]), proptest::collection::vec(any::<bool>(), 1..5));
    let piece = prop_oneof![
        6 => proptest::sample::select(&REAL[..]).prop_map(str::to_owned),
        4 => base.prop_map(move |(base, upper)| any_case(base, upper)),
        3 => (proptest::sample::select(&REAL[..]), any::<proptest::sample::Index>()).prop_map(|(base, cut)| base[..=cut.index(base.len())].to_owned()),
        8 => proptest::sample::select(&[
            "h", "http", "HTTPS://", "://", "/", ":443", ":80", ":8300", ".", "...", "!", ",", ";", ")", " ", "\"", "\\", "\n", "x", "n", "u", "-",
            "+", "@", "%", "&", "?", "#", "é", "/default/", "default", "fhir", "<", "\u{1}", "𝕏",
        ][..]).prop_map(str::to_owned),
    ];
    proptest::collection::vec(piece, 0..9).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 50 } else { 2000 }))]

    /// What a client decodes is what it would be if OpenEMR had been at the gateway's address, however the JSON is written and
    /// wherever it is split.
    #[test]
    fn equals_the_naive_replacement_in_decoded_strings(
        text in prose(),
        ways in proptest::collection::vec(any::<u8>(), 1..7),
        public in proptest::sample::select(&[PUBLIC, "http://a"][..]),
    ) {
        let body = written(&text, &ways, &["default", "f", ":"]);
        let decoded: String = serde_json::from_str(&body).unwrap();
        prop_assert_eq!(&decoded, &text);
        let expected = replaced(&text, &REAL, public);
        for at in 0..=body.len() {
            let (one, two) = body.as_bytes().split_at(at);
            let out = streamed([one, two], &REAL, public);
            let told: String = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(&told, &expected, "at {} of {}", at, body);
        }
        let told: String = serde_json::from_slice(&streamed(body.as_bytes().chunks(1), &REAL, public)).unwrap();
        prop_assert_eq!(&told, &expected, "{}", body);
    }
}
