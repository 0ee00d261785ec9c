//! Reads PEM text (RFC 7468) that may hold private keys: every copy that is made of it is zeroed.
//!
//! Decision: `docs/decisions/26-pem.md`.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use memchr::memmem;
use zeroize::Zeroizing;

use super::byte_order_mark::without_byte_order_mark;

/// Base64 as people copy it: with its padding or without.
const COPIED: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true),
);

/// A block of PEM text.
pub(crate) struct Block<'t> {
    /// Its label, such as `PRIVATE KEY`.
    pub(crate) label: &'t str,
    /// Whether its header says that it is encrypted (RFC 1421).
    pub(crate) is_encrypted: bool,
    /// What it holds, in DER.
    pub(crate) contents: Zeroizing<Vec<u8>>,
}

/// Returns the PEM text that another text stands for: one in which the line ends are written out as `\n`, as environment variables
/// and JSON have it, or the base64 of a PEM file, as Kubernetes has it. `None` for a text that is neither.
#[must_use]
pub(crate) fn unwrapped(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    if memmem::find(text, BEGIN).is_some() {
        return unescaped(text);
    }
    let decoded = base64(text).filter(|decoded| memmem::find(decoded, BEGIN).is_some())?;
    Some(unescaped(&decoded).unwrap_or(decoded))
}

/// Replaces `\n`, `\r` and `\/`, however many backslashes stand before the letter; `None` where there is no backslash.
fn unescaped(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    if !text.contains(&b'\\') {
        return None;
    }
    let mut plain = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let (before, escape) = rest.split_at_checked(at)?;
        plain.extend_from_slice(before);
        let backslashes = escape.iter().take_while(|byte| **byte == b'\\').count();
        rest = escape.get(backslashes..)?;
        if let Some((b'n' | b'r', after)) = rest.split_first() {
            plain.push(b'\n');
            rest = after;
        }
    }
    plain.extend_from_slice(rest);
    Some(plain)
}

/// Decodes a text that is base64 as a whole, in either alphabet, with blanks and quotes around and within it.
pub(super) fn base64(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let text = without_byte_order_mark(text);
    let mut standard = Zeroizing::new(Vec::with_capacity(text.len()));
    standard.extend(text.iter().filter(|byte| !matches!(byte, b'"' | b'\'')).map(|byte| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => *other,
    }));
    decode(&standard, &COPIED).filter(|decoded| !decoded.is_empty())
}

/// Reads every block, however editors and tools left the text around and within them: a byte-order mark, indentation, everything on
/// one line. `None` if a block cannot be decoded, or has no end.
pub(crate) fn blocks(text: &[u8]) -> Option<Vec<Block<'_>>> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    const DASHES: &[u8] = b"-----";
    let (mut blocks, mut rest) = (Vec::new(), text);
    while let Some(at) = memmem::find(rest, BEGIN) {
        let after = rest.get(at + BEGIN.len()..)?;
        let (label, after) = after.split_at_checked(memmem::find(after, DASHES)?)?;
        let label = std::str::from_utf8(label).ok().filter(|label| !label.contains(char::is_control))?;
        let after = after.get(DASHES.len()..)?;
        let end = format!("-----END {label}-----");
        let (body, after) = after.split_at_checked(memmem::find(after, end.as_bytes())?)?;
        let (headers, data) = split_headers(body)?;
        let is_encrypted = memmem::find(headers, b"Proc-Type").is_some() && memmem::find(headers, b"ENCRYPTED").is_some();
        blocks.push(Block { label, is_encrypted, contents: decode(data, &STANDARD)? });
        rest = after.get(end.len()..)?;
    }
    Some(blocks)
}

/// Splits the headers of a block, which end with an empty line, from its data.
fn split_headers(body: &[u8]) -> Option<(&[u8], &[u8])> {
    if !body.contains(&b':') {
        return Some((&[], body));
    }
    let mut seen = 0;
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        seen += line.len();
        // The line of the label ends here; it is empty, too.
        if line.trim_ascii().is_empty() && seen > line.len() {
            return body.split_at_checked(seen);
        }
    }
    None
}

fn decode(data: &[u8], engine: &GeneralPurpose) -> Option<Zeroizing<Vec<u8>>> {
    // As large as it can become: a vector that grows leaves its contents behind.
    let mut text = Zeroizing::new(Vec::with_capacity(data.len()));
    text.extend(data.iter().filter(|byte| !byte.is_ascii_whitespace()));
    let mut der = Zeroizing::new(vec![0; base64::decoded_len_estimate(text.len())]);
    let length = engine.decode_slice(&*text, &mut der).ok()?;
    der.truncate(length);
    Some(der)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RSA: &str = include_str!("../../tests/keys/rsa2048-pkcs8.pem");

    #[test]
    fn another_wrapping_is_taken_off() {
        let plain = blocks(RSA.as_bytes()).unwrap();
        let base64 = STANDARD.encode(RSA);
        let escaped = RSA.replace('\n', "\\n");
        for text in [
            escaped.clone(),
            format!("\"{escaped}\""),
            RSA.replace('\n', "\\r\\n"),
            RSA.replace('\n', "\\\\n"),
            escaped.replace('/', "\\/"),
            base64.clone(),
            format!("'{base64}'\n"),
            format!("\u{feff}{base64}"),
            base64.trim_end_matches('=').to_owned(),
            base64.replace('+', "-").replace('/', "_"),
            base64.as_bytes().chunks(76).map(|line| format!("{}\r\n", String::from_utf8_lossy(line))).collect(),
            STANDARD.encode(&escaped),
        ] {
            let unwrapped = unwrapped(text.as_bytes()).unwrap();
            let blocks = blocks(&unwrapped).unwrap();
            assert_eq!((blocks.len(), &blocks[0].contents[..]), (1, &plain[0].contents[..]), "{text}");
        }
        for text in [RSA, "hello", "", "aGVsbG8="] {
            assert!(unwrapped(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn it_reads_what_the_pem_crate_reads() {
        let one_line = RSA.replace('\n', " ");
        for text in [
            RSA,
            &one_line,
            include_str!("../../tests/keys/encrypted-pkcs1.pem"),
            include_str!("../../tests/keys/encrypted-pkcs8.pem"),
            include_str!("../../tests/keys/p384-sec1.pem"),
            include_str!("../../tests/keys/public.pem"),
        ] {
            let (ours, theirs) = (blocks(text.as_bytes()).unwrap(), ::pem::parse_many(text).unwrap());
            assert_eq!(ours.len(), theirs.len(), "{text}");
            for (ours, theirs) in ours.iter().zip(&theirs) {
                assert_eq!((ours.label, &ours.contents[..]), (theirs.tag(), theirs.contents()), "{text}");
                assert_eq!(ours.is_encrypted, theirs.headers().get("Proc-Type").is_some(), "{text}");
            }
        }
        assert!(blocks(b"hello").unwrap().is_empty());
        assert!(blocks(RSA.replace("-----END", "-----ENDE").as_bytes()).is_none());
        assert!(blocks(RSA.replacen('M', "*", 1).as_bytes()).is_none());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(-----BEGIN [A-Z ]{0,9}-----|-----END [A-Z ]{0,9}-----|[A-Za-z0-9+/=: \n-]{0,20}){0,6}") {
            let _ = (blocks(text.as_bytes()), unwrapped(text.as_bytes()));
        }
    }
}
