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
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue,
    TRANSFER_ENCODING,
};
use http::{Method, StatusCode};
use parking_lot::Mutex;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use crate::fhir::body_step::BodyStep;
use crate::fhir::media_type::essence;
use crate::gateway::context::RequestContext;
use crate::http::coding::Coding;
use crate::http::vary::add_vary;

/// How far a coding looks back, as a power of two: 512 KiB, which bounds the memory of each answer under way.
const WINDOW: u32 = 19;
const BROTLI_BUFFER: usize = 4096;

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
    add_vary(head, "Accept-Encoding");
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::gateway::body::content_length;
    use crate::gateway::response_head::tests::head;
    use proptest::prelude::*;
    use std::io::Read;

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
            add_vary(&mut head, "Accept-Encoding");
            add_vary(&mut head, "Accept-Encoding");
            assert_eq!(head.headers.get("etag").unwrap(), expected);
            assert_eq!(head.headers.get("content-encoding").unwrap(), "br");
            assert!(!head.headers.contains_key("accept-ranges"));
            assert_eq!(head.headers.get_all("vary").iter().collect::<Vec<_>>(), ["Origin", "Accept-Encoding"]);
        }
        let mut head = head(200, &[("Vary", "*")]);
        add_vary(&mut head, "Accept-Encoding");
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
    }
}
