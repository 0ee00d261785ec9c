//! The members of a whole JSON object, one after the other.

use crate::fhir::criteria::json::Illegible;
use crate::fhir::json::brackets::Brackets;
use crate::fhir::json::is_blank;
use crate::fhir::json::outline;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Calls `found` with the name of each member, as it is written between its quotes, and with its value. What is within a value is
/// not looked at.
///
/// # Errors
/// This is no JSON object, or `found` fails.
pub(crate) fn each<'a>(
    object: &'a [u8],
    found: impl FnMut(&'a [u8], &'a [u8]) -> Result<(), Illegible>,
) -> Result<(), Illegible> {
    end(each_of_first(object.strip_prefix(BYTE_ORDER_MARK).unwrap_or(object), found)?)
}

/// The same for an object with which these bytes begin; returns what follows it.
///
/// # Errors
/// They do not begin with one, or `found` fails.
pub(crate) fn each_of_first<'a>(
    bytes: &'a [u8],
    mut found: impl FnMut(&'a [u8], &'a [u8]) -> Result<(), Illegible>,
) -> Result<&'a [u8], Illegible> {
    let mut rest = after(bytes, b'{')?;
    if let Ok(behind) = after(rest, b'}') {
        return Ok(behind);
    }
    loop {
        let name_and_more = after(rest, b'"')?;
        let (name, behind) = name_and_more.split_at_checked(rest_of_string(name_and_more)?).ok_or(Illegible)?;
        let value_and_more = without_blanks(after(behind, b':')?);
        let (value, behind) = value_and_more.split_at_checked(length_of_value(value_and_more)?).ok_or(Illegible)?;
        found(name.strip_suffix(b"\"").ok_or(Illegible)?, value)?;
        match without_blanks(behind).split_first() {
            Some((b',', behind)) => rest = behind,
            Some((b'}', behind)) => return Ok(behind),
            _ => return Err(Illegible),
        }
    }
}

/// What stands behind a byte, which must come next.
fn after(bytes: &[u8], byte: u8) -> Result<&[u8], Illegible> {
    without_blanks(bytes).strip_prefix(&[byte]).ok_or(Illegible)
}

fn end(behind: &[u8]) -> Result<(), Illegible> {
    if without_blanks(behind).is_empty() { Ok(()) } else { Err(Illegible) }
}

fn without_blanks(bytes: &[u8]) -> &[u8] {
    if !bytes.first().is_some_and(is_blank) {
        return bytes;
    }
    let blanks = bytes.iter().take_while(|byte| is_blank(byte)).count();
    bytes.get(blanks..).unwrap_or_default()
}

/// Returns the length of the value that begins here.
///
/// # Errors
/// It is none, or does not end.
pub(crate) fn length_of_value(bytes: &[u8]) -> Result<usize, Illegible> {
    match bytes.split_first().ok_or(Illegible)? {
        (b'{' | b'[', _) => Brackets::default().end(bytes).ok_or(Illegible),
        (b'"', behind) => Ok(1 + rest_of_string(behind)?),
        (b'-' | b'0'..=b'9' | b't' | b'f' | b'n', _) => {
            let is_over = |byte: &u8| matches!(byte, b',' | b'}' | b' ' | b'\n' | b'\r' | b'\t');
            bytes.iter().position(is_over).ok_or(Illegible)
        }
        _ => Err(Illegible),
    }
}

/// Returns the length of the rest of a string with its closing quote.
fn rest_of_string(bytes: &[u8]) -> Result<usize, Illegible> {
    let (length, has_ended) = outline::rest_of_string(bytes, &mut false);
    if has_ended { Ok(length) } else { Err(Illegible) }
}
