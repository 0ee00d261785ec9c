//! Answers made smaller for callers who accept it: OpenEMR sends FHIR JSON as it is, which shrinks to a tenth.
//!
//! Pingora's own module is not used: it reads no weights (`gzip;q=0` gets gzip), never ends a Brotli stream (decoders take
//! it for cut), says `Transfer-Encoding` to HTTP/1.0, and knows neither `no-transform` nor ranges.

use std::fmt;
use std::io::Write;

use brotli::CompressorWriter;
use bytes::Bytes;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    HeaderMap, HeaderValue, TRANSFER_ENCODING, VARY,
};
use http::{Method, StatusCode};
use parking_lot::Mutex;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use crate::fhir::body_step::BodyStep;
use crate::fhir::media_type::essence;
use crate::gateway::context::RequestContext;

/// How far a coding looks back, as a power of two: 512 KiB, which bounds the memory of each answer under way.
const WINDOW: u32 = 19;
const BROTLI_BUFFER: usize = 4096;

/// A content coding (RFC 9110 section 8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// RFC 8878.
    Zstd,
    /// RFC 7932.
    Brotli,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    /// Those that there are, the better ones first: measured on Bundles, zstd is both the smallest and the cheapest.
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    /// Its name in fields.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// The one that a caller with these fields gets: of those that he likes best, the best (RFC 9110 section 12.5.3).
    /// `None` where he named none, or likes a body as it is better.
    #[must_use]
    pub fn accepted(fields: &HeaderMap) -> Option<Self> {
        let accepted = Accepted::of(fields);
        let mut best = None;
        let mut weight = accepted.identity.unwrap_or(0).max(1);
        for (coding, theirs) in Self::ALL.into_iter().zip(accepted.codings) {
            let theirs = theirs.or(accepted.any).unwrap_or(0);
            if theirs > weight || (theirs == weight && best.is_none()) {
                (best, weight) = (Some(coding), theirs);
            }
        }
        best
    }
}

/// The weights of `Accept-Encoding`, in thousandths.
#[derive(Debug, Default)]
struct Accepted {
    codings: [Option<u16>; 3],
    identity: Option<u16>,
    any: Option<u16>,
}

impl Accepted {
    fn of(fields: &HeaderMap) -> Self {
        let mut accepted = Self::default();
        for line in fields.get_all(ACCEPT_ENCODING) {
            for entry in line.as_bytes().split(|byte| *byte == b',') {
                let mut parts = entry.split(|byte| *byte == b';');
                let name = parts.next().unwrap_or_default().trim_ascii();
                let weight = parts.find_map(|part| weight(part.trim_ascii())).unwrap_or(1000);
                let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
                if is("*") {
                    accepted.any = Some(weight);
                } else if is("identity") {
                    accepted.identity = Some(weight);
                } else if let Some(slot) =
                    Coding::ALL.iter().zip(&mut accepted.codings).find_map(|(coding, slot)| is(coding.name()).then_some(slot))
                {
                    *slot = Some(weight);
                } else if is("x-gzip") {
                    accepted.codings[2] = Some(weight);
                }
            }
        }
        accepted
    }
}

/// The value of a `q` parameter, in thousandths; one that cannot be read is no wish at all.
fn weight(parameter: &[u8]) -> Option<u16> {
    let (name, value) = parameter.split_at_checked(2)?;
    if !name.eq_ignore_ascii_case(b"q=") {
        return None;
    }
    let text = std::str::from_utf8(value).ok()?;
    let read = text.parse::<f32>().ok().filter(|weight| (0.0..=1.0).contains(weight));
    Some(read.map_or(0, |weight| (weight * 1000.0) as u16))
}

/// Compresses a body as it passes. What it has read and not yet said is bounded by the coding's own window.
pub struct Compressing(Encoder);

enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Option<Box<CompressorWriter<Vec<u8>>>>),
    /// In a lock for its type alone: it is only ever reached through `&mut`.
    Zstd(Mutex<zstd::stream::write::Encoder<'static, Vec<u8>>>),
    /// The library refused to make one, which its interface allows for.
    None,
}

impl Compressing {
    /// Begins a body. `level`: 1 is fast, 9 is small.
    #[must_use]
    pub fn new(coding: Coding, level: u32) -> Self {
        Self(match coding {
            Coding::Gzip => Encoder::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::new(level))),
            Coding::Brotli => {
                let writer = CompressorWriter::new(Vec::new(), BROTLI_BUFFER, level, WINDOW);
                Encoder::Brotli(Some(Box::new(writer)))
            }
            Coding::Zstd => zstd_encoder(level).map_or(Encoder::None, |encoder| Encoder::Zstd(Mutex::new(encoder))),
        })
    }

    /// A whole body.
    #[must_use]
    pub fn whole(coding: Coding, level: u32, body: &Bytes) -> Bytes {
        let mut compressing = Self::new(coding, level);
        let first = compressing.feed(body.clone());
        [first, compressing.finish()].concat().into()
    }
}

fn zstd_encoder(level: u32) -> std::io::Result<zstd::stream::write::Encoder<'static, Vec<u8>>> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level.try_into().unwrap_or(3))?;
    encoder.window_log(WINDOW)?;
    Ok(encoder)
}

/// A vector takes all that is written to it, so that no write here fails.
impl BodyStep for Compressing {
    fn feed(&mut self, piece: Bytes) -> Bytes {
        let written = match &mut self.0 {
            Encoder::Gzip(encoder) => {
                let _ = encoder.write_all(&piece);
                encoder.get_mut()
            }
            Encoder::Brotli(Some(encoder)) => {
                let _ = encoder.write_all(&piece);
                encoder.get_mut()
            }
            Encoder::Zstd(encoder) => {
                let encoder = encoder.get_mut();
                let _ = encoder.write_all(&piece);
                encoder.get_mut()
            }
            Encoder::Brotli(None) | Encoder::None => return Bytes::new(),
        };
        std::mem::take(written).into()
    }

    fn finish(&mut self) -> Bytes {
        let written = match &mut self.0 {
            Encoder::Gzip(encoder) => {
                let _ = encoder.try_finish();
                std::mem::take(encoder.get_mut())
            }
            Encoder::Brotli(encoder) => encoder.take().map(|encoder| encoder.into_inner()).unwrap_or_default(),
            Encoder::Zstd(encoder) => {
                let encoder = encoder.get_mut();
                let _ = encoder.do_finish();
                std::mem::take(encoder.get_mut())
            }
            Encoder::None => Vec::new(),
        };
        written.into()
    }
}

impl fmt::Debug for Compressing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Compressing")
    }
}

/// Decides whether the body behind this head is compressed on its way, and makes the head say so. The last step of all.
/// `length`: of the body as it came.
///
/// # Errors
/// None in practice: the fields that are set are valid.
pub fn choose(
    session: &Session,
    head: &mut ResponseHeader,
    length: Option<u64>,
    context: &mut RequestContext,
) -> pingora::Result<()> {
    let settings = context.runtime.settings.compression;
    if !settings.enabled || !may_be_compressed(head, length, settings.least) {
        return Ok(());
    }
    add_vary(head, "Accept-Encoding")?;
    let request = session.req_header();
    let Some(coding) = Coding::accepted(&request.headers) else { return Ok(()) };
    if request.method == Method::HEAD {
        return Ok(());
    }
    say(head, coding)?;
    if head.remove_header(&CONTENT_LENGTH).is_some() {
        head.insert_header(TRANSFER_ENCODING, "chunked")?;
    }
    context.body.push(Compressing::new(coding, settings.level));
    Ok(())
}

/// Makes a head say that its body is in this coding. Bytes that differ need another validator than the text's.
///
/// # Errors
/// None in practice: the fields that are set are valid.
pub fn say(head: &mut ResponseHeader, coding: Coding) -> pingora::Result<()> {
    head.insert_header(CONTENT_ENCODING, coding.name())?;
    head.remove_header(&ACCEPT_RANGES);
    let strong = head.headers.get(ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""));
    if let Some(weak) = strong.and_then(|tag| HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok()) {
        head.insert_header(ETAG, weak)?;
    }
    Ok(())
}

/// Whether the body is a text, whole, not yet compressed, and long enough as far as is known. Errors are short.
fn may_be_compressed(head: &ResponseHeader, length: Option<u64>, least: usize) -> bool {
    let forbids = |line: &HeaderValue| {
        line.as_bytes().split(|byte| *byte == b',').any(|one| one.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
    };
    head.status.is_success()
        && !matches!(head.status, StatusCode::NO_CONTENT | StatusCode::PARTIAL_CONTENT)
        && length.is_none_or(|length| length >= least as u64)
        && !head.headers.contains_key(CONTENT_ENCODING)
        && !head.headers.contains_key(CONTENT_RANGE)
        && !head.headers.get_all(CACHE_CONTROL).iter().any(forbids)
        && head.headers.get(CONTENT_TYPE).is_some_and(|value| is_text(value.as_bytes()))
}

/// Whether a media type is of texts.
fn is_text(value: &[u8]) -> bool {
    let media_type = essence(value).to_ascii_lowercase();
    match media_type.split_at_checked(b"application/".len()) {
        Some((b"application/", kind)) => {
            matches!(kind, b"json" | b"xml" | b"ndjson" | b"x-ndjson" | b"javascript" | b"rtf")
                || [&b"+json"[..], b"+ndjson", b"+xml"].iter().any(|suffix| kind.ends_with(suffix))
        }
        _ => media_type.starts_with(b"text/") && media_type != b"text/event-stream",
    }
}

/// Says that an answer depends on a field of its request.
///
/// # Errors
/// None in practice: the field is valid.
pub fn add_vary(head: &mut ResponseHeader, name: &'static str) -> pingora::Result<()> {
    let says = |line: &HeaderValue| {
        line.as_bytes().split(|byte| *byte == b',').any(|one| {
            let one = one.trim_ascii();
            one == b"*" || one.eq_ignore_ascii_case(name.as_bytes())
        })
    };
    if head.headers.get_all(VARY).iter().any(says) {
        return Ok(());
    }
    head.append_header(VARY, HeaderValue::from_static(name)).map(|_| ())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::gateway::body::content_length;
    use crate::gateway::response_head::tests::head;
    use proptest::prelude::*;
    use std::io::Read;

    fn accepted(lines: &[&str]) -> Option<Coding> {
        let mut fields = HeaderMap::new();
        for line in lines {
            fields.append(ACCEPT_ENCODING, HeaderValue::from_str(line).unwrap());
        }
        Coding::accepted(&fields)
    }

    #[test]
    fn the_best_of_those_that_the_caller_likes_best() {
        for (lines, coding) in [
            (&[][..], None),
            (&[""], None),
            (&["identity"], None),
            (&["deflate"], None),
            (&["gzip"], Some(Coding::Gzip)),
            (&["x-gzip"], Some(Coding::Gzip)),
            (&["GZIP, deflate"], Some(Coding::Gzip)),
            (&["gzip, deflate, br"], Some(Coding::Brotli)),
            (&["gzip, deflate, br, zstd"], Some(Coding::Zstd)),
            (&["gzip", "br"], Some(Coding::Brotli)),
            (&["gzip;q=1.0, br;q=0.9, zstd ; Q=0.8"], Some(Coding::Gzip)),
            (&["gzip;q=0"], None),
            (&["gzip;q=0, *"], Some(Coding::Zstd)),
            (&["*;q=0"], None),
            (&["*;q=0, gzip"], Some(Coding::Gzip)),
            (&["*"], Some(Coding::Zstd)),
            (&["identity;q=1, gzip;q=0.5"], None),
            (&["identity;q=0.5, gzip;q=0.5"], Some(Coding::Gzip)),
            (&["identity;q=0, gzip;q=0.1"], Some(Coding::Gzip)),
            (&["gzip;q=nonsense"], None),
            (&["gzip;q=7, br"], Some(Coding::Brotli)),
            (&[",,;q=1,gzip;"], Some(Coding::Gzip)),
        ] {
            assert_eq!(accepted(lines), coding, "{lines:?}");
        }
    }

    #[test]
    fn only_texts_that_are_whole_and_long_enough() {
        let json = ("Content-Type", "application/json");
        for (status, fields, may) in [
            (200, &[json][..], true),
            (201, &[json], true),
            (200, &[json, ("Content-Length", "1024")], true),
            (200, &[json, ("Content-Length", "1023")], false),
            (200, &[("Content-Type", "application/fhir+json; charset=utf-8")], true),
            (200, &[("Content-Type", "Application/FHIR+NDJSON")], true),
            (200, &[("Content-Type", "application/fhir+xml")], true),
            (200, &[("Content-Type", "text/html")], true),
            (200, &[("Content-Type", "text/event-stream")], false),
            (200, &[("Content-Type", "application/pdf")], false),
            (200, &[("Content-Type", "application/zip")], false),
            (200, &[("Content-Type", "image/png")], false),
            (200, &[("Content-Type", "app")], false),
            (200, &[], false),
            (200, &[json, ("Content-Encoding", "gzip")], false),
            (200, &[json, ("Cache-Control", "private, No-Transform")], false),
            (200, &[json, ("Cache-Control", "private"), ("Cache-Control", "no-transform")], false),
            (206, &[json, ("Content-Range", "bytes 0-1/2")], false),
            (204, &[json], false),
            (304, &[json], false),
            (404, &[json], false),
        ] {
            let head = head(status, fields);
            assert_eq!(may_be_compressed(&head, content_length(&head.headers), 1024), may, "{status} {fields:?}");
        }
    }

    #[test]
    fn the_head_says_what_became_of_the_body() {
        for (tag, expected) in [("\"a\"", "W/\"a\""), ("W/\"a\"", "W/\"a\"")] {
            let mut head = head(200, &[("ETag", tag), ("Accept-Ranges", "bytes"), ("Vary", "Origin")]);
            say(&mut head, Coding::Brotli).unwrap();
            add_vary(&mut head, "Accept-Encoding").unwrap();
            add_vary(&mut head, "Accept-Encoding").unwrap();
            assert_eq!(head.headers.get("etag").unwrap(), expected);
            assert_eq!(head.headers.get("content-encoding").unwrap(), "br");
            assert!(!head.headers.contains_key("accept-ranges"));
            assert_eq!(head.headers.get_all("vary").iter().collect::<Vec<_>>(), ["Origin", "Accept-Encoding"]);
        }
        let mut head = head(200, &[("Vary", "*")]);
        add_vary(&mut head, "Accept-Encoding").unwrap();
        assert_eq!(head.headers.get_all("vary").iter().count(), 1);
    }

    fn decoded(coding: Coding, body: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        match coding {
            Coding::Gzip => flate2::read::GzDecoder::new(body).read_to_end(&mut text).map(|_| ()).unwrap(),
            Coding::Brotli => brotli::Decompressor::new(body, 4096).read_to_end(&mut text).map(|_| ()).unwrap(),
            Coding::Zstd => text = zstd::stream::decode_all(body).unwrap(),
        }
        text
    }

    proptest! {
        /// However a body is cut, at whatever level, it comes out as it went in, and the stream is whole.
        #[test]
        fn a_body_comes_out_as_it_went_in(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..2000), 0..12),
            level in 1_u32..=9,
        ) {
            for coding in Coding::ALL {
                let mut compressing = Compressing::new(coding, level);
                let mut sent = Vec::new();
                for piece in &pieces {
                    sent.extend_from_slice(&compressing.feed(Bytes::from(piece.clone())));
                }
                sent.extend_from_slice(&compressing.finish());
                prop_assert_eq!(decoded(coding, &sent), pieces.concat());
            }
        }

        #[test]
        fn no_field_panics(line in "[ -~]{0,60}") {
            let _ = accepted(&[&line]);
        }
    }
}
