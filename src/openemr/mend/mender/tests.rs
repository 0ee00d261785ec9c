mod model;

use proptest::prelude::*;

use super::*;
use crate::openemr::mend::repairs::Repair;
use model::{Json, anything, parse, write};

fn mend(document: &str) -> String {
    mend_with(Repairs::all(), document)
}

fn mend_with(repairs: Repairs, document: &str) -> String {
    let mender = Mender::new(repairs, &Arc::default());
    String::from_utf8(in_pieces(mender, document.as_bytes(), std::iter::empty())).unwrap()
}

fn in_pieces(mut mender: Mender, document: &[u8], lengths: impl Iterator<Item = usize>) -> Vec<u8> {
    fed(&mut mender, document, lengths)
}

/// Feeds a document in pieces of these lengths, and the rest of it in one; what becomes of it.
fn fed(mender: &mut Mender, document: &[u8], lengths: impl Iterator<Item = usize>) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), document);
    for length in lengths {
        let (piece, others) = rest.split_at(length.clamp(1, rest.len().max(1)).min(rest.len()));
        out.extend_from_slice(&mender.feed(Bytes::copy_from_slice(piece)));
        rest = others;
        if rest.is_empty() {
            break;
        }
    }
    out.extend_from_slice(&mender.feed(Bytes::copy_from_slice(rest)));
    out.extend_from_slice(&mender.finish());
    out
}

/// Each document as OpenEMR writes it, and as it becomes; `repair` alone makes that of it.
const MENDED: &[(Repair, &str, &str)] = &[
    (
        Repair::EmptyMembers,
        r#"{"resourceType":"Person","address":[null],"active":true}"#,
        r#"{"resourceType":"Person","active":true}"#,
    ),
    (
        Repair::EmptyMembers,
        r#"{"resourceType":"Immunization","site":{"coding":[{"code":null}]},"status":"completed"}"#,
        r#"{"resourceType":"Immunization","status":"completed"}"#,
    ),
    (
        Repair::EmptyMembers,
        r#"{"code":{"coding":[{"system":"http://loinc.org","code":"E11.9","display":""}]}}"#,
        r#"{"code":{"coding":[{"system":"http://loinc.org","code":"E11.9"}]}}"#,
    ),
    (Repair::EmptyMembers, r#"{"a":null,"b":{},"c":[],"d":"","e":{"f":[{}]},"g":1}"#, r#"{"g":1}"#),
    (Repair::EmptyMembers, r#"{"a":{"b":null}}"#, "{}"),
    (Repair::EmptyMembers, r#"{"given":["A",null,"","B"]}"#, r#"{"given":["A","B"]}"#),
    (Repair::EmptyMembers, r#"{"given":[null,"A"],"family":"x"}"#, r#"{"given":["A"],"family":"x"}"#),
    (Repair::EmptyMembers, r#"{"given":[null] , "family":"x"}"#, r#"{ "family":"x"}"#),
    (Repair::EmptyMembers, r#"{"name":[{"given":[null]}],"a":1}"#, r#"{"a":1}"#),
    (
        Repair::EmptyMembers,
        r#"{"given":["A",""],"_given":[null,{"id":"1"}]}"#,
        r#"{"given":["A",null],"_given":[null,{"id":"1"}]}"#,
    ),
    (Repair::EmptyMembers, r#"{"_given":[null,{}],"given":["A",null]}"#, r#"{"given":["A"]}"#),
    (
        Repair::EmptyMembers,
        r#"{"_given":[{},{"id":"1"}],"given":["A",null]}"#,
        r#"{"_given":[null,{"id":"1"}],"given":["A",null]}"#,
    ),
    (Repair::EmptyMembers, r#"{"entry":[null,"",{"a":1},null,{}]}"#, r#"{"entry":[{"a":1}]}"#),
    (Repair::EmptyMembers, r#"{"extension":[{"url":"x","valueString":""}],"a":1}"#, r#"{"a":1}"#),
    (
        Repair::MisplacedObjects,
        r#"{"coding":[{"code":"x","display":{"extension":[{"valueCode":"unknown","url":"u"}]},"system":"s"}]}"#,
        r#"{"coding":[{"code":"x","_display":{"extension":[{"valueCode":"unknown","url":"u"}]},"system":"s"}]}"#,
    ),
    (
        Repair::MisplacedObjects,
        r#"{"resourceType":"Observation","effectiveDateTime" : {"extension":[{"url":"u","valueCode":"unknown"}]}}"#,
        r#"{"resourceType":"Observation","_effectiveDateTime" : {"extension":[{"url":"u","valueCode":"unknown"}]}}"#,
    ),
    (
        Repair::MisplacedObjects,
        r#"{"coding":[{"display":{"id":"1"},"code":"x"}]}"#,
        r#"{"coding":[{"_display":{"id":"1"},"code":"x"}]}"#,
    ),
    (Repair::NumbersForText, r#"{"code":{"coding":[{"code":197361}]}}"#, r#"{"code":{"coding":[{"code":"197361"}]}}"#),
    (Repair::NumbersForText, r#"{"line":[5 ,true],"postalCode":-1.50e3}"#, r#"{"line":["5" ,"true"],"postalCode":"-1.50e3"}"#),
    (
        Repair::NamelessExtensions,
        r#"{"performer":[{"extension":[{"extension":[{"valueCode":"unknown","url":"u"}]}]},{"reference":"a"}]}"#,
        r#"{"performer":[{"reference":"a"}]}"#,
    ),
    (
        Repair::NamelessExtensions,
        r#"{"extension":[{"valueCode":"a","url":"u"},{"valueCode":"b"}],"a":1}"#,
        r#"{"extension":[{"valueCode":"a","url":"u"}],"a":1}"#,
    ),
    (
        Repair::OidSystems,
        r#"{"coding":[{"system":"2.16.840.1.113883.6.90","code":"E11.9"}]}"#,
        r#"{"coding":[{"system":"urn:oid:2.16.840.1.113883.6.90","code":"E11.9"}]}"#,
    ),
    (
        Repair::AbsentReasons,
        r#"{"valueCoding":{"system":"DataAbsentReason","code":"unknown"}}"#,
        r#"{"valueCoding":{"system":"http://terminology.hl7.org/CodeSystem/data-absent-reason","code":"unknown"}}"#,
    ),
    (
        Repair::PrefixedCodes,
        r#"{"coding":[{"code":"SNOMED-CT:80146002","system":"http:\/\/snomed.info\/sct"}]}"#,
        r#"{"coding":[{"code":"80146002","system":"http:\/\/snomed.info\/sct"}]}"#,
    ),
    (
        Repair::Narratives,
        r#"{"id":"1","resourceType":"Patient","text":{"status":"generated","div":"\u003Cdiv\u003E \u003Cp\u003EA & <b>B\u003C\/p\u003E\u003C\/div\u003E"}}"#,
        r#"{"id":"1","resourceType":"Patient","text":{"status":"generated","div":"<div> <p>A &amp; &lt;b&gt;B</p></div>"}}"#,
    ),
    (
        Repair::ValueSetStatus,
        r#"{"entry":[{"resource":{"id":"1","resourceType":"ValueSet"}}]}"#,
        r#"{"entry":[{"resource":{"id":"1","resourceType":"ValueSet","status":"unknown"}}]}"#,
    ),
    (
        Repair::Groups,
        r#"{"id":"1","resourceType":"Group","member":[{"entity":{"reference":"Patient\/1"}}]}"#,
        r#"{"id":"1","resourceType":"Group","member":[{"entity":{"reference":"Patient\/1"}}],"type":"person","actual":true}"#,
    ),
];

#[test]
fn each_repair_makes_of_openemrs_spelling_what_fhir_has() {
    for (repair, before, after) in MENDED {
        let mended = Arc::new(Mended::default());
        let mender = Mender::new(Repairs::all(), &mended);
        assert_eq!(mender.whole(Bytes::from_static(before.as_bytes())).unwrap(), after, "{before}");
        assert!(mended.made().any(|(made, _)| made == *repair), "{before}: {:?}", mended.made().collect::<Vec<_>>());
        assert_eq!(mend(after), *after);
        assert_eq!(mend_with(Repairs::default().with(*repair, true), before), *after, "{repair:?} alone");
        let others = Repairs::all().with(*repair, false);
        assert_ne!(mend_with(others, before), *after, "{repair:?} switched off");
        for length in 1..4 {
            let pieces = in_pieces(Mender::new(Repairs::all(), &Arc::default()), before.as_bytes(), std::iter::repeat(length));
            assert_eq!(String::from_utf8(pieces).unwrap(), *after);
        }
    }
}

#[test]
fn what_openemr_was_seen_to_write_is_changed_where_it_is_not_valid_and_nowhere_else() {
    let patient = include_str!("tests/inputs/patient-8.0.0.json");
    let absent = "http://terminology.hl7.org/CodeSystem/data-absent-reason";
    assert_eq!(mend(patient), patient.replace("DataAbsentReason", absent));
    let name = r"Jos\u00e9 Garc\u00eda\u003C\/p";
    assert!(patient.contains(name));
    let named = patient.replace(name, r"Smith \u0026 \u003Cb\u003ESons\u003C\/p");
    let div = r#""<div xmlns=\"http://www.w3.org/1999/xhtml\"> <p>Smith &amp; &lt;b&gt;Sons</p></div>""#;
    let (before, behind) = patient.split_once(r#""\u003Cdiv"#).unwrap();
    let (_, behind) = behind.split_once(r"\/div\u003E").unwrap();
    let expected = format!("{before}{div}{}", behind.strip_prefix('"').unwrap()).replace("DataAbsentReason", absent);
    assert_eq!(mend(&named), expected);
    let conditions = include_str!("tests/inputs/conditions-7.0.3.json");
    let expected = conditions.replace("\"2.16.840", "\"urn:oid:2.16.840").replace(r#","display":"""#, "");
    assert_eq!(mend(conditions), expected);
    for document in [patient, conditions] {
        for length in [1, 2, 3, 5, 64, 1000] {
            let pieces = in_pieces(Mender::new(Repairs::all(), &Arc::default()), document.as_bytes(), std::iter::repeat(length));
            assert_eq!(String::from_utf8(pieces).unwrap(), mend(document), "{length}");
        }
    }
}

#[test]
fn what_needs_a_guess_is_left_alone() {
    for document in [
        // It may be a code that a client must know.
        r#"{"modifierExtension":[{"valueCode":"a"}]}"#,
        // A resource in the place of its entry.
        r#"{"resourceType":"Bundle","entry":[{"resourceType":"OperationDefinition","system":true,"type":false}]}"#,
        // No element that stands for text has these.
        r#"{"coding":[{"display":{"text":"x"}}]}"#,
        r#"{"resourceType":"Goal","description":{"extension":[{"url":"u","valueCode":"unknown"}]}}"#,
        r#"{"valueQuantity":{"value":5,"unit":"mg"},"component":[{"valueInteger":5}]}"#,
        r#"{"resourceType":"Observation","valueString":"SNOMED-CT:449868002"}"#,
        r#"{"coding":[{"code":"SNOMED-CT:80146002"},{"code":"SNOMED-CT:x","system":"http://snomed.info/sct"}]}"#,
        r#"{"performer":[{"reference":"Practitioner/provider_uuid"}]}"#,
        r#"{"resourceType":"Group","member":[{"entity":{"reference":"Device/1"}}]}"#,
        r#"{"resourceType":"ValueSet","_status":{"id":"x"}}"#,
        r#"{"text":{"status":"generated","div":"A & B"}}"#,
        // What is valid and looks odd.
        r#" {"a" : 0.10e-5 ,"given":["A",null],"_given":[null,{"id":"x"}] } "#,
        r#"{"telecom":[{"system":"phone","value":"2.16"}]}"#,
        "{}",
    ] {
        assert_eq!(mend(document), document);
    }
    assert_eq!(mend("\u{feff}{\"a\":1,\"b\":null}"), "\u{feff}{\"a\":1}");
}

#[test]
fn any_legal_spelling_is_read() {
    for (before, after) in [
        (r#"{"co\u0064ing":[{"syst\u0065m":"2.16\u002e840"}]}"#, r#"{"co\u0064ing":[{"syst\u0065m":"urn:oid:2.16.840"}]}"#),
        (r#"{"coding":[{"displ\u0061y":{"\u0069d":"1"}}]}"#, r#"{"coding":[{"_displ\u0061y":{"\u0069d":"1"}}]}"#),
        (
            "{ \"coding\" :\r\n[ { \"code\"\t: 5 , \"x\" : [ null ] } ] , \"y\" : \"\" }",
            "{ \"coding\" :\r\n[ { \"code\"\t: \"5\"  } ]  }",
        ),
    ] {
        assert_eq!(mend(before), after);
    }
}

/// What is said of a document in pieces of this length.
fn judged(document: &[u8], length: usize) -> Verdict {
    let mut mender = Mender::new(Repairs::all(), &Arc::default());
    fed(&mut mender, document, std::iter::repeat(length));
    mender.verdict()
}

#[test]
fn what_is_no_json_is_mended_no_further_and_does_not_go_on() {
    let cut_short = Verdict::Bad(CUT_SHORT);
    for (before, after, verdict) in [
        ("", "", Verdict::Good),
        (" \r\n", " \r\n", Verdict::Good),
        ("\u{feff}", "\u{feff}", Verdict::Good),
        ("null", "null", Verdict::Good),
        ("[null]", "[null]", Verdict::Good),
        ("<html>null</html>", "<html>null</html>", Verdict::Good),
        ("{", "{", cut_short),
        (r#"{"a"#, r#"{"a"#, cut_short),
        (r#"{"a":1"#, r#"{"a":1"#, cut_short),
        (r#"{"a":1,"#, r#"{"a":1,"#, cut_short),
        (r#"{"a":"x\"}"#, r#"{"a":"x\"}"#, cut_short),
        (r#"{"a":[{"b":1}]"#, r#"{"a":[{"b":1}]"#, cut_short),
        (r#"{"a":null,"b":{"c":null"#, r#"{"b":{"c":null"#, cut_short),
        (r#"{"a":null,"b":1}{"c":null}"#, r#"{"b":1}{"c":null}"#, Verdict::Bad(BEHIND)),
        (r#"{"a":null,"b":1}<br />"#, r#"{"b":1}<br />"#, Verdict::Bad(BEHIND)),
        (r#"{"a":[null}],"b":null}"#, r#"{"a":[null}],"b":null}"#, Verdict::Bad(NO_JSON)),
        (r#"{"a":<br />}"#, r#"{"a":<br />}"#, Verdict::Bad(NO_JSON)),
    ] {
        assert_eq!(mend(before), after, "{before}");
        for length in 1..6 {
            assert_eq!(judged(before.as_bytes(), length), verdict, "{before}");
        }
    }
    let whole =
        |document: &'static str| Mender::new(Repairs::all(), &Arc::default()).whole(Bytes::from_static(document.as_bytes()));
    assert_eq!((whole("{").unwrap_err(), whole("{}x").unwrap_err(), whole("{,").unwrap_err()), (CUT_SHORT, BEHIND, NO_JSON));
}

#[test]
fn what_is_too_deep_or_has_too_long_a_name_is_followed_to_its_end() {
    let deep = format!("{}1{}", "{\"a\":[".repeat(100), "]}".repeat(100));
    let name = format!(r#"{{"b":[{{"{}":[null]}}]}}"#, "n".repeat(3000));
    let escapes = format!(r#"{{"{}\\":"}}"}}"#, r#"n}}\\\""#.repeat(500));
    let number = format!(r#"{{"b":[{}],"c":"]"}}"#, "5".repeat(3000));
    for document in [deep, name, escapes, number] {
        assert_eq!(mend(&document), document);
        let behind = format!("{document} x");
        for length in (1..9).chain([63, 64, 65, 700, 2047, 2048, 2049, 9000]) {
            assert_eq!(judged(document.as_bytes(), length), Verdict::Good, "{length}: {document}");
            assert_eq!(judged(behind.as_bytes(), length), Verdict::Bad(BEHIND), "{length}: {document}");
        }
        for cut in (1..document.len()).step_by(7).chain([document.len() - 1]) {
            let (half, _) = document.split_at(cut);
            assert_eq!(judged(half.as_bytes(), 1 + cut % 90), Verdict::Bad(CUT_SHORT), "{half}");
        }
    }
}

#[test]
fn lines_are_not_judged() {
    for lines in ["{\"a\":1}\n{\"a\":", "{\"a\":<}\n", "{}x\n", "{}{}"] {
        let mut mender = Mender::new(Repairs::all(), &Arc::default()).of_lines();
        assert_eq!(fed(&mut mender, lines.as_bytes(), std::iter::empty()), lines.as_bytes());
        assert_eq!(mender.verdict(), Verdict::Good);
    }
}

#[test]
fn in_ndjson_a_line_does_not_change_what_the_next_becomes() {
    let mender = || Mender::new(Repairs::all(), &Arc::default()).of_lines();
    let lines =
        "{\"a\":null,\"b\":1}\n{\"a\":[null],\"b\":2}\r\nx{\"a\":null}\n{\"b\":{\"c\":\"\"}}{\"a\":null,\"b\":3}\n\n{\"a\":\"\"}";
    let expected = "{\"b\":1}\n{\"b\":2}\r\nx{\"a\":null}\n{}{\"b\":3}\n\n{}";
    assert_eq!(mender().whole(Bytes::from_static(lines.as_bytes())).unwrap(), expected);
    for length in 1..9 {
        assert_eq!(in_pieces(mender(), lines.as_bytes(), std::iter::repeat(length)), expected.as_bytes());
    }
}

#[test]
fn what_is_too_long_to_be_kept_passes_as_it_is() {
    let long = "x".repeat(70_000);
    for document in [
        format!(r#"{{"extension":[{{"valueString":"{long}"}}],"b":1}}"#),
        format!(r#"{{"text":{{"div":"<div>& {long}</div>"}}}}"#),
        format!(r#"{{"given":["A",null,"{long}"]}}"#),
        format!(r#"{{"coding":[{{"display":{{"id":"{long}"}}}}]}}"#),
        format!(r#"{{"a":{} null}}"#, " ".repeat(70_000)),
    ] {
        assert_eq!(mend(&document), document);
        for length in [1000, 7, 65_536] {
            let made = in_pieces(Mender::new(Repairs::all(), &Arc::default()), document.as_bytes(), std::iter::repeat(length));
            assert_eq!(String::from_utf8(made).unwrap(), document);
        }
    }
    let short = "x".repeat(60_000);
    assert_eq!(mend(&format!(r#"{{"extension":[{{"valueString":"{short}"}}],"b":1}}"#)), r#"{"b":1}"#);
    // A long document is mended all the same.
    let item = r#"{"a":null,"b":[{"extension":[{"valueCode":"x"}],"c":1}]}"#;
    let list = format!("{{\"entry\":[{}{{}}]}}", format!("{item},").repeat(20_000));
    let expected = format!("{{\"entry\":[{}]}}", vec![r#"{"b":[{"c":1}]}"#; 20_000].join(","));
    assert_eq!(mend(&list), expected);
}

#[test]
fn little_is_kept_of_a_document_however_long_it_is() {
    let item = format!(r#"{{"resource":{{"a":"{}","b":[1,2,3],"c":{{"d":"x"}}}}}},"#, "x".repeat(90_000));
    let mut mender = Mender::new(Repairs::all(), &Arc::default());
    let (mut fed, mut given) = (0, 0);
    let mut feed = |bytes: &[u8]| {
        for piece in bytes.chunks(4096) {
            fed += piece.len();
            given += mender.feed(Bytes::copy_from_slice(piece)).len();
            assert!(fed - given <= 70_000, "{} of {fed}", fed - given);
        }
    };
    feed(b"{\"entry\":[");
    for _ in 0..20 {
        feed(item.as_bytes());
    }
}

#[test]
fn what_is_not_changed_is_not_copied() {
    let document =
        Bytes::from_static(br#"{"resourceType":"Patient","name":[{"given":["A"]}],"extension":[{"valueCode":"F","url":"x"}]}"#);
    let mut mender = Mender::new(Repairs::all(), &Arc::default());
    let mended = mender.feed(document.clone());
    assert_eq!((mended.as_ptr(), mended.len()), (document.as_ptr(), document.len()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn any_document_in_any_pieces_becomes_what_a_full_parse_makes_of_it(
        json in anything(), spelling in any::<u64>(), lengths in prop::collection::vec(1..40_usize, 1..8)
    ) {
        let document = write(&json, spelling);
        let made = in_pieces(Mender::new(Repairs::all(), &Arc::default()), document.as_bytes(), lengths.into_iter().cycle());
        let made = String::from_utf8(made).unwrap();
        let parsed = parse(&document);
        let expected = model::mended(&parsed);
        prop_assert_eq!(parse(&made), expected.clone(), "{}", document);
        prop_assert_eq!(mend(&document), made.clone());
        prop_assert_eq!(mend(&made), made.clone());
        if expected == parsed {
            prop_assert_eq!(made, document);
        }
    }

    #[test]
    fn every_cut_of_an_object_is_seen_and_everything_behind_it(
        json in anything(), spelling in any::<u64>(), cut in any::<prop::sample::Index>(), length in 1..70_usize
    ) {
        let document = write(&json, spelling);
        let text = document.trim_ascii().trim_start_matches('\u{feff}').as_bytes();
        prop_assert_eq!(judged(document.as_bytes(), length), Verdict::Good, "{}", document);
        if text.starts_with(b"{") {
            let (half, _) = text.split_at(cut.index(text.len()));
            let expected = if half.is_empty() { Verdict::Good } else { Verdict::Bad(CUT_SHORT) };
            prop_assert_eq!(judged(half, length), expected);
            prop_assert_eq!(judged(&[text, b"\n<"].concat(), length), Verdict::Bad(BEHIND));
        }
    }

    #[test]
    fn every_switch_alone_can_be_split_anywhere(json in anything(), one in 0..Repair::ALL.len(), lengths in prop::collection::vec(1..9_usize, 1..4)) {
        let document = write(&json, 0);
        for repairs in [Repairs::default(), Repairs::all()] {
            let repairs = repairs.with(Repair::ALL[one], repairs.is_empty());
            let made = in_pieces(Mender::new(repairs, &Arc::default()), document.as_bytes(), lengths.iter().copied().cycle());
            prop_assert_eq!(mend_with(repairs, &document), String::from_utf8(made).unwrap());
        }
        prop_assert_eq!(mend_with(Repairs::default(), &document), document);
    }

    #[test]
    fn no_bytes_make_it_fail(text in "[\\[\\]{}:,\" \\\\a1nul_\n]{0,60}", lengths in prop::collection::vec(1..9_usize, 1..4), lines in any::<bool>()) {
        let mender = || {
            let mender = Mender::new(Repairs::all(), &Arc::default());
            if lines { mender.of_lines() } else { mender }
        };
        let (mut whole, mut pieces) = (mender(), mender());
        let made = fed(&mut pieces, text.as_bytes(), lengths.into_iter().cycle());
        prop_assert_eq!(fed(&mut whole, text.as_bytes(), std::iter::empty()), made);
        prop_assert_eq!(whole.verdict(), pieces.verdict());
        let is_good = pieces.verdict() == Verdict::Good;
        if !lines && text.trim_start_matches([' ', '\n']).starts_with('{') && serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok() {
            prop_assert!(is_good, "{}", text);
        }
    }
}

#[test]
fn the_model_reads_and_writes() {
    let json = parse(r#" {"a":[1,"\"",{}],"b":{"c":null}} "#);
    assert!(matches!(&json, Json::Object(members) if members.len() == 2));
    assert_eq!(parse(&write(&json, 7)), json);
}
