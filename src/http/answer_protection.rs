//! What keeps a browser from running an answer, from guessing its type, and from showing it inside another page. Pure.
//!
//! Decision: `docs/decisions/19-browsers.md`.

use http::StatusCode;
use http::header::{
    CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    X_CONTENT_TYPE_OPTIONS,
};
use http::response::Parts;

static RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");
const NOTHING: HeaderValue = HeaderValue::from_static("sandbox; default-src 'none'");
const OCTET_STREAM: HeaderValue = HeaderValue::from_static("application/octet-stream");
const ATTACHMENT: HeaderValue = HeaderValue::from_static("attachment");
/// The longest file name that is kept, in bytes.
const LONGEST_NAME: usize = 128;

/// Sets the fields that protect every answer, and makes an attachment of one in which a browser could run a script.
///
/// A body without a readable media type is `application/octet-stream`.
pub(crate) fn protect(head: &mut Parts) {
    head.headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    head.headers.insert(&RESOURCE_POLICY, SAME_ORIGIN);
    head.headers.insert(CONTENT_SECURITY_POLICY, NOTHING);
    if has_no_body(head) {
        return;
    }
    match media_type(&head.headers) {
        Some(media_type) if is_inert(media_type) => return,
        Some(_) => {}
        None => drop(head.headers.insert(CONTENT_TYPE, OCTET_STREAM)),
    }
    if let Some(attachment) = attachment(&head.headers) {
        head.headers.insert(CONTENT_DISPOSITION, attachment);
    }
}

/// Whether no body belongs to an answer with this head; to the answer to a HEAD request belongs that of the GET.
fn has_no_body(head: &Parts) -> bool {
    head.status.is_informational()
        || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || head.headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() == b"0")
}

/// The media type without its parameters; `None` when there is none, more than one, or something else.
fn media_type(fields: &HeaderMap) -> Option<&[u8]> {
    let mut lines = fields.get_all(CONTENT_TYPE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    let name = line.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let mut parts = name.split(|byte| *byte == b'/');
    let is_token = |part: Option<&[u8]>| {
        part.is_some_and(|part| !part.is_empty() && part.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(b)))
    };
    (is_token(parts.next()) && is_token(parts.next()) && parts.next().is_none()).then_some(name)
}

/// Whether no browser runs anything in content of this type: JSON, plain text, pictures of dots, sound, films. Everything else,
/// known or not, is not inert.
fn is_inert(media_type: &[u8]) -> bool {
    let is = |known: &str| media_type.eq_ignore_ascii_case(known.as_bytes());
    let ends = |suffix: &str| {
        let end = media_type.len().checked_sub(suffix.len()).and_then(|at| media_type.get(at..));
        end.is_some_and(|end| end.eq_ignore_ascii_case(suffix.as_bytes()))
    };
    let begins = |prefix: &str| {
        media_type.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes())) && !ends("+xml")
    };
    is("application/fhir+json")
        || is("application/json")
        || is("text/plain")
        || is("text/csv")
        || (begins("application/") && (ends("+json") || ends("ndjson")))
        || ["image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "image/tiff"].into_iter().any(is)
        || begins("audio/")
        || begins("video/")
}

/// The Content-Disposition that makes an attachment of content; `None` when it is one already.
fn attachment(fields: &HeaderMap) -> Option<HeaderValue> {
    let mut lines = fields.get_all(CONTENT_DISPOSITION).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Some(ATTACHMENT) };
    let Ok(line) = line.to_str() else { return Some(ATTACHMENT) };
    let mut parts = line.split(';');
    if parts.next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("attachment")) {
        return None;
    }
    let name = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        let value = value.trim();
        let value = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
        (name.trim().eq_ignore_ascii_case("filename") && is_safe_name(value)).then_some(value)
    });
    Some(name.and_then(|name| HeaderValue::try_from(format!("attachment; filename=\"{name}\"")).ok()).unwrap_or(ATTACHMENT))
}

/// Whether a file name means the same to every client: plain characters alone, and not hidden.
fn is_safe_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= LONGEST_NAME
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" ._-()".contains(&byte))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn protected(status: u16, lines: &[(&str, &[u8])]) -> Parts {
        let mut head = http::Response::builder().status(status).body(()).unwrap().into_parts().0;
        for (name, value) in lines {
            head.headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_bytes(value).unwrap());
        }
        protect(&mut head);
        head
    }

    fn field(head: &Parts, name: &str) -> Option<String> {
        let lines: Vec<_> = head.headers.get_all(name).iter().map(|line| line.to_str().unwrap()).collect();
        assert!(lines.len() < 2, "{name}: {lines:?}");
        lines.first().map(|line| (*line).to_owned())
    }

    #[test]
    fn every_answer_has_the_fields_once() {
        let theirs = [("content-security-policy", &b"default-src *"[..]), ("x-content-type-options", b"x")];
        for (status, lines) in [(200, &[][..]), (204, &[]), (304, &[]), (500, &[]), (200, &theirs)] {
            let head = protected(status, lines);
            assert_eq!(field(&head, "x-content-type-options").as_deref(), Some("nosniff"));
            assert_eq!(field(&head, "cross-origin-resource-policy").as_deref(), Some("same-origin"));
            assert_eq!(field(&head, "content-security-policy").as_deref(), Some("sandbox; default-src 'none'"));
        }
    }

    #[test]
    fn only_what_no_browser_runs_is_shown() {
        for (media_type, is_attachment) in [
            ("application/fhir+json; charset=utf-8", false),
            ("application/json", false),
            ("Application/JWK-Set+JSON", false),
            ("application/fhir+ndjson", false),
            ("text/plain;charset=utf-8", false),
            ("text/csv", false),
            ("image/png", false),
            ("IMAGE/JPEG", false),
            ("audio/mpeg", false),
            ("video/mp4", false),
            ("image/svg+xml", true),
            ("IMAGE/SVG+XML;x", true),
            ("text/html", true),
            ("application/xhtml+xml", true),
            ("text/xml", true),
            ("application/xml", true),
            ("application/fhir+xml", true),
            ("text/xsl", true),
            ("text/javascript", true),
            ("application/javascript", true),
            ("application/pdf", true),
            ("multipart/x-mixed-replace", true),
            ("message/rfc822", true),
            ("audio/x+xml", true),
            ("x/y", true),
        ] {
            let head = protected(200, &[("content-type", media_type.as_bytes())]);
            assert_eq!(field(&head, "content-disposition").is_some(), is_attachment, "{media_type}");
            assert_eq!(field(&head, "content-type").as_deref(), Some(media_type));
        }
    }

    #[test]
    fn a_body_without_a_readable_type_is_bytes() {
        for lines in [
            &[][..],
            &[("content-type", &b""[..])],
            &[("content-type", b"text")],
            &[("content-type", b"text/")],
            &[("content-type", b"text/html/x")],
            &[("content-type", b"text /html")],
            &[("content-type", b"text/html,text/plain")],
            &[("content-type", b"\xff/html")],
            &[("content-type", b"text/plain"), ("content-type", b"text/html")],
        ] {
            let head = protected(200, lines);
            assert_eq!(field(&head, "content-type").as_deref(), Some("application/octet-stream"), "{lines:?}");
            assert_eq!(field(&head, "content-disposition").as_deref(), Some("attachment"), "{lines:?}");
        }
        for (status, lines) in [(204, &[][..]), (304, &[]), (200, &[("content-length", &b"0"[..])])] {
            let head = protected(status, lines);
            assert_eq!((field(&head, "content-type"), field(&head, "content-disposition")), (None, None), "{status}");
        }
    }

    #[test]
    fn a_file_name_stays_if_it_is_plain() {
        for (given, expected) in [
            ("inline", "attachment"),
            ("inline; filename=\"scan 1.svg\"", "attachment; filename=\"scan 1.svg\""),
            ("inline; FileName=scan.svg; x=y", "attachment; filename=\"scan.svg\""),
            ("inline; filename=\"../../x\"", "attachment"),
            ("inline; filename=\".bashrc\"", "attachment"),
            ("inline; filename=\"a\\\"b\"", "attachment"),
            ("inline; filename=\"a;b\"", "attachment"),
            ("inline; filename*=UTF-8''%e2%82%ac", "attachment"),
            ("", "attachment"),
            ("form-data; name=x", "attachment"),
            ("ATTACHMENT; filename=\"Befund ü.html\"", "attachment"),
            ("ATTACHMENT; filename=\"x.html\"", "ATTACHMENT; filename=\"x.html\""),
            ("attachment", "attachment"),
        ] {
            let lines = [("content-type", &b"text/html"[..]), ("content-disposition", given.as_bytes())];
            assert_eq!(field(&protected(200, &lines), "content-disposition").as_deref(), Some(expected), "{given}");
        }
        let two = [("content-disposition", &b"attachment"[..]), ("content-disposition", b"inline")];
        assert_eq!(field(&protected(200, &two), "content-disposition").as_deref(), Some("attachment"));
    }

    proptest! {
        #[test]
        fn nothing_active_is_ever_shown(media_type in "[ -~]{0,40}", disposition in "[ -~]{0,60}") {
            let lines = [("content-type", media_type.as_bytes()), ("content-disposition", disposition.as_bytes())];
            let head = protected(200, &lines);
            let shown = field(&head, "content-type").unwrap().to_ascii_lowercase();
            let is_attachment =
                field(&head, "content-disposition").is_some_and(|it| it.trim_start().to_ascii_lowercase().starts_with("attachment"));
            let is_active = ["html", "xml", "svg", "script", "pdf"].iter().any(|word| {
                shown.split(';').next().unwrap_or_default().contains(word)
            });
            prop_assert!(is_attachment || !is_active, "{shown}");
        }
    }
}
