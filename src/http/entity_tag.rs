//! Entity tags (RFC 9110 section 8.8.3), and the condition that a client makes of them.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{HeaderMap, HeaderValue, IF_NONE_MATCH};

use crate::http::fields::members;

/// The bytes of the digest that make a tag: none is found twice by chance.
const TAG_BYTES: usize = 16;
/// What the gateway's own tags begin with, so that they are told from OpenEMR's.
const OWN: &[u8] = b"\"gw-";

/// The strong tag of a body. `coding`: in which the client gets it; other bytes have another tag.
#[must_use]
pub(crate) fn of(body: &[u8], coding: Option<&HeaderValue>) -> HeaderValue {
    let digest = digest(&SHA256, body);
    let text = URL_SAFE_NO_PAD.encode(digest.as_ref().get(..TAG_BYTES).unwrap_or_default());
    let mut tag = [OWN, text.as_bytes()].concat();
    if let Some(coding) = coding {
        tag.push(b'-');
        tag.extend_from_slice(coding.as_bytes());
    }
    tag.push(b'"');
    HeaderValue::from_bytes(&tag).expect("base64url and the name of a coding make a field value")
}

/// Whether a client has it already, by the lines of its If-None-Match (RFC 9110 section 13.1.2: weak comparison).
#[must_use]
pub(crate) fn is_known<'a>(lines: impl IntoIterator<Item = &'a HeaderValue>, tag: &[u8]) -> bool {
    let is_it = |one: &[u8]| one == b"*" || opaque(one) == opaque(tag);
    lines.into_iter().any(|line| members(line).any(is_it))
}

/// The members of If-None-Match that are none of the gateway's own tags, as one line; `None` where there are none, or no such field.
#[must_use]
pub(crate) fn foreign(fields: &HeaderMap) -> Option<HeaderValue> {
    let lines = fields.get_all(IF_NONE_MATCH);
    let foreign: Vec<&[u8]> = lines.iter().flat_map(members).filter(|one| !opaque(one).starts_with(OWN)).collect();
    if foreign.is_empty() { None } else { HeaderValue::from_bytes(&foreign.join(&b", "[..])).ok() }
}

/// Whether a field has one of the gateway's own tags.
#[must_use]
pub(crate) fn has_own(fields: &HeaderMap) -> bool {
    fields.get_all(IF_NONE_MATCH).iter().flat_map(members).any(|one| opaque(one).starts_with(OWN))
}

fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn fields(lines: &[&str]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for line in lines {
            fields.append(IF_NONE_MATCH, HeaderValue::from_str(line).unwrap());
        }
        fields
    }

    #[test]
    fn a_tag_is_compared_weakly() {
        for (lines, known) in [
            (&["\"a\""][..], true),
            (&["W/\"a\""], true),
            (&["\"b\", W/\"a\""], true),
            (&["\"b\"", "\"a\""], true),
            (&["*"], true),
            (&["\"b\""], false),
            (&["a"], false),
            (&[""], false),
            (&[], false),
        ] {
            for tag in ["\"a\"", "W/\"a\""] {
                assert_eq!(is_known(fields(lines).get_all(IF_NONE_MATCH), tag.as_bytes()), known, "{lines:?} {tag}");
            }
        }
    }

    #[test]
    fn other_bytes_and_other_codings_have_other_tags() {
        let gzip = HeaderValue::from_static("gzip");
        let tags = [of(b"{}", None), of(b"{ }", None), of(b"{}", Some(&gzip))];
        assert_eq!(tags[0], of(b"{}", None));
        assert_eq!(tags[0].len(), 1 + 3 + 22 + 1);
        assert!(tags[0] != tags[1] && tags[0] != tags[2] && tags[1] != tags[2], "{tags:?}");
    }

    #[test]
    fn openemr_is_asked_about_its_own_tags_alone() {
        let own = of(b"{}", None).to_str().unwrap().to_owned();
        let (weak, mixed) = (format!("W/{own}"), format!("{own}, W/\"3\""));
        for (lines, has, left) in [
            (&[own.as_str()][..], true, None),
            (&[weak.as_str()], true, None),
            (&[&mixed, "\"x\""], true, Some("W/\"3\", \"x\"")),
            (&["W/\"3\""], false, Some("W/\"3\"")),
            (&["*"], false, Some("*")),
            (&[], false, None),
        ] {
            let fields = fields(lines);
            assert_eq!((has_own(&fields), foreign(&fields)), (has, left.map(HeaderValue::from_static)), "{lines:?}");
        }
    }
}
