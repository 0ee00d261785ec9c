//! Replaces links to one server in a query or a form by links to another.

use crate::fhir::link_rewriter::{Links, Replacement};
use crate::fhir::resource_type;

/// Search parameters whose values are URLs, not references (FHIR R4, "Search": type `uri`, and canonical references).
const OF_URLS: [&[u8]; 6] = [b"url", b"_profile", b"_source", b"system", b"instantiates-canonical", b"instantiates-uri"];

/// Whether a text can contain a link.
#[must_use]
pub(crate) fn may_hold_a_link(query: &[u8]) -> bool {
    memchr::memmem::find(query, b"http").is_some()
}

/// Replaces links in a query, with or without its `?`, or in a form by links to the base `own`; `None` where there are none.
/// Parameters without a link stay byte for byte.
///
/// A reference to a resource below `own` becomes a relative one, which means the same and which every server understands.
#[must_use]
pub(crate) fn rewritten(links: &Links, own: &Replacement, query: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(query.len());
    let mut is_changed = false;
    let (mark, pairs) = query.strip_prefix(b"?").map_or((&b""[..], query), |pairs| (&b"?"[..], pairs));
    out.extend_from_slice(mark);
    for (number, pair) in pairs.split(|byte| *byte == b'&').enumerate() {
        if number > 0 {
            out.push(b'&');
        }
        match value_with(links, own, pair) {
            Some((name, value)) => {
                is_changed = true;
                out.extend_from_slice(name);
                out.push(b'=');
                out.extend(form_urlencoded::byte_serialize(&value).flat_map(str::bytes));
            }
            None => out.extend_from_slice(pair),
        }
    }
    is_changed.then_some(out)
}

/// Returns the name of a parameter as it is written, and its value decoded and with links replaced; `None` without a link.
fn value_with<'a>(links: &Links, own: &Replacement, pair: &'a [u8]) -> Option<(&'a [u8], Vec<u8>)> {
    let at = memchr::memchr(b'=', pair).filter(|_| may_hold_a_link(pair))?;
    let name = pair.get(..at)?;
    let decoded = form_urlencoded::parse(pair).next()?.1;
    let mut is_changed = false;
    let items = decoded.as_bytes().split(|byte| *byte == b',').map(|item| match links.rewritten(item, own) {
        Some(mapped) => {
            is_changed = true;
            relative(name, own, mapped)
        }
        None => item.to_vec(),
    });
    let mapped = items.collect::<Vec<_>>().join(&b',');
    is_changed.then_some((name, mapped))
}

/// Makes a reference to a resource below `own` relative, unless the parameter's values are URLs.
fn relative(name: &[u8], own: &Replacement, item: Vec<u8>) -> Vec<u8> {
    let modified = name.split(|byte| *byte == b':').next().unwrap_or_default();
    if OF_URLS.contains(&modified) {
        return item;
    }
    let rest = item.strip_prefix(own.as_plain()).and_then(|rest| rest.strip_prefix(b"/"));
    let is_reference = rest.is_some_and(|rest| {
        let mut segments = rest.split(|byte| *byte == b'/');
        let is_id = |id: &[u8]| !id.is_empty() && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(byte));
        segments.next().is_some_and(|first| resource_type::known(first).is_some())
            && segments.next().is_some_and(is_id)
            && segments.next().is_none()
    });
    if is_reference { rest.unwrap_or_default().to_vec() } else { item }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sent(query: &str) -> Option<String> {
        let links = Links::to(["https://gw.example/fhir"]);
        let own = Replacement::new("https://emr.example/apis/default/fhir");
        rewritten(&links, &own, query.as_bytes()).map(|query| String::from_utf8(query).unwrap())
    }

    #[test]
    fn a_reference_to_the_gateway_is_one_to_openemr() {
        for (query, expected) in [
            ("?patient=https://gw.example/fhir/Patient/1", "?patient=Patient%2F1"),
            ("?patient=https%3A%2F%2Fgw.example%2Ffhir%2FPatient%2F1&_count=5", "?patient=Patient%2F1&_count=5"),
            ("a=b+c&subject:Patient=https://gw.example:443/fhir/Patient/a-1.b", "a=b+c&subject:Patient=Patient%2Fa-1.b"),
            (
                "?patient=https://gw.example/fhir/Patient/1,Patient/2,https://other.example/fhir/Patient/3",
                "?patient=Patient%2F1%2CPatient%2F2%2Chttps%3A%2F%2Fother.example%2Ffhir%2FPatient%2F3",
            ),
            ("?url=https://gw.example/fhir/ValueSet/1", "?url=https%3A%2F%2Femr.example%2Fapis%2Fdefault%2Ffhir%2FValueSet%2F1"),
            ("?x=https://gw.example/fhir", "?x=https%3A%2F%2Femr.example%2Fapis%2Fdefault%2Ffhir"),
            (
                "identifier=https://gw.example/fhir/sid|1%262",
                "identifier=https%3A%2F%2Femr.example%2Fapis%2Fdefault%2Ffhir%2Fsid%7C1%262",
            ),
        ] {
            assert_eq!(sent(query).as_deref(), Some(expected), "{query}");
        }
    }

    #[test]
    fn what_is_none_stays_byte_for_byte() {
        for query in [
            "",
            "?",
            "?name=http",
            "?code=http://loinc.org|8480-6",
            "?patient=https://gw.example/fhirs/Patient/1",
            "?patient=https://gw.example.org/fhir/Patient/1",
            "?https://gw.example/fhir/Patient/1",
            "?a=%zz&https=%",
        ] {
            assert_eq!(sent(query), None, "{query}");
        }
    }

    proptest! {
        #[test]
        fn other_parameters_stay_byte_for_byte(before in "[ -%'-~]{0,20}", after in "[ -%'-~]{0,20}") {
            prop_assume!(!before.contains("http") && !after.contains("http"));
            let got = sent(&format!("{before}&p=https://gw.example/fhir/Goal/1&{after}"));
            prop_assert_eq!(got, Some(format!("{before}&p=Goal%2F1&{after}")));
        }
    }
}
