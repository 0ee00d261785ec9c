//! Decompresses an answer, so that it can be read and changed.
//!
//! OpenEMR is not asked for compressed answers where the gateway reads them: for 200 KB, decompression takes 56 µs where
//! rewriting every link takes 7 (`bench/links.rs`), and compression takes its server five times as long. It may compress them
//! all the same.
//!
//! Decision: `docs/decisions/14-compression.md`.

use std::fmt;
use std::io::{self, Write};

use brotli::DecompressorWriter;
use bytes::Bytes;
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::header::{CONTENT_ENCODING, ETAG};
use parking_lot::Mutex;
use pingora::http::ResponseHeader;

use crate::http::fields::{forget_length, members};

/// The most bytes that one piece may become. FHIR JSON grows to ten or twenty times a piece of 64 KiB; a thousand times would be
/// an attack.
const MOST: usize = 16 * 1024 * 1024;
/// The most codings on top of each other.
const MOST_LAYERS: usize = 3;
/// The furthest that zstd may look back, as a power of two: what RFC 9659 allows a content coding.
const ZSTD_WINDOW: u32 = 23;
const BROTLI_BUFFER: usize = 16 * 1024;

/// Decompresses one body.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// The coding that was applied last is undone first.
    layers: Vec<Layer>,
}

/// The body is in a coding that is not known here, or in too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is in a content coding that the gateway does not know")]
pub(crate) struct UnknownCoding;

struct Layer {
    inner: Inner,
    has_begun: bool,
}

enum Inner {
    Gzip(Box<MultiGzDecoder<Unpacked>>),
    /// `deflate`, of which nothing has come yet.
    Deflate,
    Zlib(Box<ZlibDecoder<Unpacked>>),
    Raw(Box<DeflateDecoder<Unpacked>>),
    /// In a lock for its type alone: it is only reached through `&mut`.
    Brotli(Mutex<Box<DecompressorWriter<Unpacked>>>),
    /// In a lock for the same reason.
    Zstd(Mutex<Box<zstd::stream::zio::Writer<Unpacked, zstd::stream::raw::Decoder<'static>>>>),
}

/// What was decompressed and not yet taken.
#[derive(Debug, Default)]
struct Unpacked(Vec<u8>);

impl Write for Unpacked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MOST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Decoder {
    /// A decoder for the body behind this head, which is changed to declare a plain body. `None` where the body is plain already:
    /// without Content-Encoding, or with one that names no coding (`identity`, `none`, nothing at all).
    ///
    /// # Errors
    /// The body is in a coding that is not known here. The head is as it was.
    pub(crate) fn after_head(head: &mut ResponseHeader) -> Result<Option<Self>, UnknownCoding> {
        if !head.headers.contains_key(CONTENT_ENCODING) {
            return Ok(None);
        }
        let mut layers = Vec::new();
        for coding in head.headers.get_all(CONTENT_ENCODING).iter().flat_map(members) {
            if !is_no_coding(coding) {
                layers.push(Layer::of(coding)?);
            }
        }
        if layers.len() > MOST_LAYERS {
            return Err(UnknownCoding);
        }
        head.remove_header(&CONTENT_ENCODING);
        if layers.is_empty() {
            return Ok(None);
        }
        layers.reverse();
        head.remove_header(&ETAG);
        forget_length(head);
        Ok(Some(Self { layers }))
    }

    /// Decompresses a piece.
    ///
    /// # Errors
    /// The body is not in the declared coding, is cut short, or grows beyond measure.
    pub(crate) fn unpack(&mut self, piece: &[u8], is_end: bool) -> io::Result<Bytes> {
        let (first, rest) = self.layers.split_first_mut().expect("a decoder has a layer");
        let mut unpacked = first.unpack(piece, is_end)?;
        for layer in rest {
            unpacked = layer.unpack(&unpacked, is_end)?;
        }
        Ok(unpacked.into())
    }
}

/// Whether a member of Content-Encoding names no coding. `identity` is for Accept-Encoding alone (RFC 9110 section 8.4.1), and
/// servers write it all the same, or `none`.
#[must_use]
pub(crate) fn is_no_coding(coding: &[u8]) -> bool {
    coding.is_empty() || coding.eq_ignore_ascii_case(b"identity") || coding.eq_ignore_ascii_case(b"none")
}

impl Layer {
    fn of(coding: &[u8]) -> Result<Self, UnknownCoding> {
        let is = |names: &[&str]| names.iter().any(|name| coding.eq_ignore_ascii_case(name.as_bytes()));
        let unpacked = Unpacked::default();
        let inner = match coding {
            _ if is(&["gzip", "x-gzip"]) => Inner::Gzip(Box::new(MultiGzDecoder::new(unpacked))),
            _ if is(&["deflate"]) => Inner::Deflate,
            _ if is(&["br"]) => Inner::Brotli(Mutex::new(Box::new(DecompressorWriter::new(unpacked, BROTLI_BUFFER)))),
            _ if is(&["zstd"]) => Inner::Zstd(Mutex::new(Box::new(zstd_decoder(unpacked).map_err(|_| UnknownCoding)?))),
            _ => return Err(UnknownCoding),
        };
        Ok(Self { inner, has_begun: false })
    }

    fn unpack(&mut self, piece: &[u8], is_end: bool) -> io::Result<Vec<u8>> {
        self.has_begun |= !piece.is_empty();
        if !self.has_begun {
            // Some servers declare a coding of an empty body.
            return Ok(Vec::new());
        }
        if let (Inner::Deflate, Some(first)) = (&self.inner, piece.first()) {
            // RFC 9110 section 8.4.1.2: some send it without the zlib wrapping, whose first byte says "deflate, 32 KiB at
            // most". Raw, it would be a stored block with a reserved bit set.
            self.inner = if first & 0x0f == 8 && first >> 4 <= 7 {
                Inner::Zlib(Box::new(ZlibDecoder::new(Unpacked::default())))
            } else {
                Inner::Raw(Box::new(DeflateDecoder::new(Unpacked::default())))
            };
        }
        macro_rules! through {
            ($decoder:expr) => {{
                $decoder.write_all(piece)?;
                if is_end { $decoder.try_finish() } else { $decoder.flush() }?;
                std::mem::take(&mut $decoder.get_mut().0)
            }};
        }
        Ok(match &mut self.inner {
            Inner::Gzip(decoder) => through!(decoder),
            Inner::Zlib(decoder) => through!(decoder),
            Inner::Raw(decoder) => through!(decoder),
            Inner::Brotli(decoder) => {
                let decoder = decoder.get_mut();
                decoder.write_all(piece)?;
                if is_end {
                    decoder.close()?;
                }
                std::mem::take(&mut decoder.get_mut().0)
            }
            Inner::Zstd(decoder) => {
                let decoder = decoder.get_mut();
                decoder.write_all(piece)?;
                if is_end { decoder.finish() } else { decoder.flush() }?;
                std::mem::take(&mut decoder.writer_mut().0)
            }
            Inner::Deflate => Vec::new(),
        })
    }
}

fn zstd_decoder(unpacked: Unpacked) -> io::Result<zstd::stream::zio::Writer<Unpacked, zstd::stream::raw::Decoder<'static>>> {
    let mut decoder = zstd::stream::raw::Decoder::new()?;
    decoder.set_parameter(zstd::stream::raw::DParameter::WindowLogMax(ZSTD_WINDOW))?;
    Ok(zstd::stream::zio::Writer::new(unpacked, decoder))
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use http::header::CONTENT_LENGTH;

    fn packed(body: &[u8], how: &str) -> Vec<u8> {
        macro_rules! with {
            ($encoder:ident) => {{
                let mut encoder = $encoder::new(Vec::new(), Compression::default());
                encoder.write_all(body).unwrap();
                encoder.finish().unwrap()
            }};
        }
        match how {
            "gzip" | "X-Gzip" => with!(GzEncoder),
            "deflate" => with!(ZlibEncoder),
            "zstd" => zstd::stream::encode_all(body, 3).unwrap(),
            "br" => {
                let mut packed = Vec::new();
                brotli::CompressorWriter::new(&mut packed, 4096, 4, 19).write_all(body).unwrap();
                packed
            }
            "raw" => with!(DeflateEncoder),
            stacked => stacked.split(", ").fold(body.to_vec(), |body, one| packed(&body, one)),
        }
    }

    fn after(codings: &[&str]) -> (Result<Option<Decoder>, UnknownCoding>, ResponseHeader) {
        let mut head = ResponseHeader::build(200, None).unwrap();
        for coding in codings {
            head.append_header(CONTENT_ENCODING, *coding).unwrap();
        }
        head.insert_header(CONTENT_LENGTH, "9").unwrap();
        (Decoder::after_head(&mut head), head)
    }

    fn decoder(coding: &str) -> Decoder {
        let (decoder, head) = after(&[coding]);
        assert!(!head.headers.contains_key(CONTENT_ENCODING) && !head.headers.contains_key(CONTENT_LENGTH));
        decoder.unwrap().unwrap()
    }

    fn body() -> Vec<u8> {
        (0..40_000_u32).flat_map(|number| number.to_string().into_bytes()).collect()
    }

    const ALL: [&str; 8] = ["gzip", "X-Gzip", "deflate", "raw", "br", "zstd", "gzip, gzip", "deflate, br, zstd"];

    fn named(how: &str) -> &str {
        if how == "raw" { "deflate" } else { how }
    }

    #[test]
    fn any_packing_in_any_pieces() {
        for how in ALL {
            let packed = packed(&body(), how);
            for size in [1, 7, 1000, packed.len()] {
                let mut decoder = decoder(named(how));
                let mut unpacked = Vec::new();
                for piece in packed.chunks(size) {
                    unpacked.extend_from_slice(&decoder.unpack(piece, false).unwrap());
                }
                unpacked.extend_from_slice(&decoder.unpack(b"", true).unwrap());
                assert!(unpacked == body(), "{how} in pieces of {size}");
            }
            assert!(decoder(named(how)).unpack(&packed, true).unwrap() == body(), "{how} at once");
        }
    }

    #[test]
    fn what_is_cut_or_broken_is_no_body() {
        for how in ALL {
            let packed = packed(&body(), how);
            let half = decoder(named(how)).unpack(&packed[..packed.len() / 2], true);
            assert!(half.is_err(), "{how}");
            let last = decoder(named(how)).unpack(&packed[..packed.len() - 1], true);
            assert!(last.is_err(), "{how}, by its last byte");
        }
        for coding in ["gzip", "br", "zstd", "gzip, br"] {
            for text in ["{\"resourceType\":\"Patient\"}", "<html>"] {
                assert!(decoder(coding).unpack(text.as_bytes(), true).is_err(), "{coding} {text}");
            }
        }
    }

    #[test]
    fn nothing_packed_is_nothing() {
        for coding in ["gzip", "deflate", "br", "zstd", "gzip, br"] {
            assert_eq!(decoder(coding).unpack(b"", true).unwrap(), "", "{coding}");
        }
    }

    #[test]
    fn a_field_that_names_no_coding_is_dropped() {
        for codings in [&["identity"][..], &["none"], &[""], &["Identity , none,,"], &["identity", "NONE"]] {
            let (decoder, head) = after(codings);
            assert!(decoder.unwrap().is_none(), "{codings:?}");
            assert_eq!(head.headers.len(), 1, "{codings:?}: the length stays");
        }
        let (decoder, _) = after(&["identity", "gzip"]);
        assert_eq!(decoder.unwrap().unwrap().unpack(&packed(b"{}", "gzip"), true).unwrap(), "{}");
        for codings in [&["compress"][..], &["gzip, sdch"], &["gzip, gzip, gzip, gzip"], &["gzip", "x"]] {
            let (decoder, head) = after(codings);
            assert!(decoder.is_err() && head.headers.contains_key(CONTENT_ENCODING), "{codings:?}");
        }
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        for how in ["gzip", "deflate", "br", "zstd", "gzip, zstd", "zstd, br"] {
            let bomb = packed(&vec![0; 2 * MOST], how);
            assert!(bomb.len() < 64 * 1024);
            assert_eq!(decoder(how).unpack(&bomb, true).unwrap_err().kind(), io::ErrorKind::FileTooLarge, "{how}");
        }
    }

    #[test]
    fn zstd_looks_back_no_further_than_http_allows() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(b"{}").unwrap();
        let far = encoder.finish().unwrap();
        assert!(decoder("zstd").unpack(&far, true).is_err());
    }
}
