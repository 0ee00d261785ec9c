//! The request target, as far as it names a host (RFC 9112 section 3.2).

use std::ops::Range;

use http::uri::Authority;

use super::violation::Violation;

/// Where in the target its authority stands: in absolute form alone.
///
/// # Errors
/// Bytes that must be percent-encoded, or none of the forms that a gateway takes: `/…`, `*` with OPTIONS, `http(s)://…`.
pub(super) fn authority(method: &[u8], target: &[u8]) -> Result<Option<Range<usize>>, Violation> {
    if !target.iter().all(u8::is_ascii_graphic) {
        return Err(Violation::Target);
    }
    // Pingora escapes these, in the requests of known methods.
    if !method.iter().all(u8::is_ascii_alphanumeric) && target.iter().any(|byte| b"\"<>".contains(byte)) {
        return Err(Violation::Target);
    }
    match target {
        [b'/', ..] => return Ok(None),
        b"*" if method == b"OPTIONS" => return Ok(None),
        _ => {}
    }
    let begins = ["http://", "https://"].into_iter().find_map(|scheme| {
        target.get(..scheme.len()).filter(|start| start.eq_ignore_ascii_case(scheme.as_bytes())).map(<[u8]>::len)
    });
    let begins = begins.ok_or(Violation::Target)?;
    let rest = target.get(begins..).unwrap_or_default();
    let length = rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len());
    let authority = rest.get(..length).unwrap_or_default();
    if authority.is_empty() || authority.contains(&b'@') || Authority::try_from(authority).is_err() {
        return Err(Violation::Target);
    }
    Ok(Some(begins..begins + length))
}
