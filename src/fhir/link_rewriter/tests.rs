use super::*;
use proptest::prelude::*;

const PUBLIC: &str = "https://gw.example/fhir";

/// A slow implementation of the same rule for a whole body, which shares no code with the rewriter.
fn naive(body: &[u8], bases: &[&str], public: &str) -> Vec<u8> {
    let mut needles: Vec<(String, String)> = Vec::new();
    for base in bases {
        let mut spelled = vec![base.to_string()];
        for (scheme, port) in [("http://", ":80"), ("https://", ":443")] {
            if let Some(rest) = base.strip_prefix(scheme) {
                let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                if !host.trim_start_matches(|c| c != ']').contains(':') && (host.ends_with(']') || !host.contains(':')) {
                    spelled.push(format!("{scheme}{host}{port}{path}"));
                }
            }
        }
        for text in spelled {
            needles.push((text.replace('/', "\\/"), public.replace('/', "\\/")));
            needles.push((text, public.to_owned()));
        }
    }
    needles.sort_by_key(|(needle, _)| usize::MAX - needle.len());
    let mut out = Vec::new();
    let mut at = 0;
    'next: while at < body.len() {
        let before = &body[..at];
        let word = |byte: &u8| byte.is_ascii_alphanumeric() || [b'+', b'-', b'.'].contains(byte);
        let after_escape = before.len() >= 2 && before[at - 2] == b'\\' && b"bfnrt".contains(&before[at - 1])
            || before.len() >= 6 && &before[at - 6..at - 4] == b"\\u" && before[at - 4..].iter().all(u8::is_ascii_hexdigit);
        if !before.last().is_some_and(word) || after_escape {
            for (needle, replacement) in &needles {
                if let Some(rest) = body[at..].strip_prefix(needle.as_bytes())
                    && rest.first().is_none_or(|next| next.is_ascii_control() || b"/\\\"'?#&<>|(),;[]{} ^`".contains(next))
                {
                    out.extend_from_slice(replacement.as_bytes());
                    at += needle.len();
                    continue 'next;
                }
            }
        }
        out.push(body[at]);
        at += 1;
    }
    out
}

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
            "x", ".", "-", "+", "@", "%", "&", " ", ",", "\\n", "\\u0022", "\\u00e", "u", "n", "?", "|", ")", "é", "\0",
        ][..]).prop_map(|text| text.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 400 } else { 4000 }))]

    /// Splits each body in two at every place, and byte by byte.
    #[test]
    fn equals_the_naive_replacement_however_it_is_split(
        body in adversarial(),
        bases in proptest::sample::subsequence(&BASES[..], 1..=BASES.len()),
        public in proptest::sample::select(&[PUBLIC, "http://a", "https://h/f"][..]),
    ) {
        let expected = naive(&body, &bases, public);
        for at in 0..=body.len() {
            let (one, two) = body.split_at(at);
            prop_assert_eq!(streamed([one, two], &bases, public), &expected[..], "at {}", at);
        }
        prop_assert_eq!(streamed(body.chunks(1), &bases, public), &expected[..]);
        prop_assert_eq!(streamed([&body[..]], &bases, public), &expected[..]);
        let whole = Links::to(bases.iter().copied()).rewritten(&body, &Replacement::new(public));
        prop_assert_eq!(whole.unwrap_or(body), expected);
    }

    /// Splits each body into three pieces or more.
    #[test]
    fn equals_it_in_any_pieces(
        body in adversarial(),
        mut cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
    ) {
        let mut at: Vec<usize> = cuts.drain(..).map(|cut| cut.index(body.len() + 1)).collect();
        at.sort_unstable();
        let mut chunks = Vec::new();
        let mut from = 0;
        for to in at.into_iter().chain([body.len()]) {
            chunks.push(&body[from..to]);
            from = to;
        }
        prop_assert_eq!(streamed(chunks, &BASES, PUBLIC), naive(&body, &BASES, PUBLIC));
    }
}
