//! Decompresses an answer, so that it can be read and changed.
//!
//! OpenEMR is not asked for compressed answers where the gateway reads them: for 200 KB, decompression takes 56 µs where
//! rewriting every link takes 7 (`bench/links.rs`), and compression takes its server five times as long. It may compress them
//! all the same.
//!
//! Decision: `docs/decisions/14-compression.md`.

use std::fmt;
use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::header::{CONTENT_ENCODING, ETAG};
use pingora::http::ResponseHeader;

use crate::http::fields::forget_length;

/// The most bytes that one piece may become. FHIR JSON grows to ten or twenty times a piece of 64 KiB; a thousand times would be
/// an attack.
const MOST: usize = 16 * 1024 * 1024;

/// Decompresses one body.
pub(crate) struct Decoder {
    inner: Inner,
    has_begun: bool,
}

enum Inner {
    Gzip(Box<MultiGzDecoder<Unpacked>>),
    /// `deflate`, of which nothing has come yet.
    Deflate,
    Zlib(Box<ZlibDecoder<Unpacked>>),
    Raw(Box<DeflateDecoder<Unpacked>>),
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
    /// A decoder for the body behind this head, which is changed to declare a plain body. `None` where the body is plain already,
    /// or in a coding that is not known here.
    pub(crate) fn after_head(head: &mut ResponseHeader) -> Option<Self> {
        let coding = head.headers.get(CONTENT_ENCODING)?.as_bytes().trim_ascii();
        let inner = match coding {
            _ if coding.eq_ignore_ascii_case(b"gzip") || coding.eq_ignore_ascii_case(b"x-gzip") => {
                Inner::Gzip(Box::new(MultiGzDecoder::new(Unpacked::default())))
            }
            _ if coding.eq_ignore_ascii_case(b"deflate") => Inner::Deflate,
            _ => return None,
        };
        head.remove_header(&CONTENT_ENCODING);
        head.remove_header(&ETAG);
        forget_length(head);
        Some(Self { inner, has_begun: false })
    }

    /// Decompresses a piece.
    ///
    /// # Errors
    /// The body is not in the declared coding, is cut short, or grows beyond measure.
    pub(crate) fn unpack(&mut self, piece: &[u8], is_end: bool) -> io::Result<Bytes> {
        self.has_begun |= !piece.is_empty();
        if !self.has_begun {
            // Some servers declare a coding of an empty body.
            return Ok(Bytes::new());
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
        let unpacked = match &mut self.inner {
            Inner::Gzip(decoder) => through!(decoder),
            Inner::Zlib(decoder) => through!(decoder),
            Inner::Raw(decoder) => through!(decoder),
            Inner::Deflate => Vec::new(),
        };
        Ok(unpacked.into())
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
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
            _ => with!(DeflateEncoder),
        }
    }

    fn decoder(coding: &str) -> Option<Decoder> {
        let mut head = ResponseHeader::build(200, None).unwrap();
        head.insert_header(CONTENT_ENCODING, coding).unwrap();
        head.insert_header(CONTENT_LENGTH, "9").unwrap();
        let decoder = Decoder::after_head(&mut head);
        assert_eq!(head.headers.contains_key(CONTENT_ENCODING), decoder.is_none());
        assert_eq!(head.headers.contains_key(CONTENT_LENGTH), decoder.is_none());
        decoder
    }

    fn body() -> Vec<u8> {
        (0..40_000_u32).flat_map(|number| number.to_string().into_bytes()).collect()
    }

    #[test]
    fn any_packing_in_any_pieces() {
        for how in ["gzip", "X-Gzip", "deflate", "raw"] {
            let packed = packed(&body(), how);
            for size in [1, 7, 1000, packed.len()] {
                let mut decoder = decoder(if how == "raw" { "deflate" } else { how }).unwrap();
                let mut unpacked = Vec::new();
                for piece in packed.chunks(size) {
                    unpacked.extend_from_slice(&decoder.unpack(piece, false).unwrap());
                }
                unpacked.extend_from_slice(&decoder.unpack(b"", true).unwrap());
                assert!(unpacked == body(), "{how} in pieces of {size}");
            }
        }
    }

    #[test]
    fn what_is_cut_or_broken_is_no_body() {
        for how in ["gzip", "deflate", "raw"] {
            let packed = packed(&body(), how);
            let coding = if how == "raw" { "deflate" } else { how };
            let mut cut = decoder(coding).unwrap();
            assert!(cut.unpack(&packed[..packed.len() / 2], true).is_err(), "{how}");
            let mut cut = decoder(coding).unwrap();
            assert!(cut.unpack(&packed[..packed.len() - 1], true).is_err(), "{how}, by its last byte");
        }
        for text in ["{\"resourceType\":\"Patient\"}", "<html>"] {
            assert!(decoder("gzip").unwrap().unpack(text.as_bytes(), true).is_err(), "{text}");
        }
    }

    #[test]
    fn nothing_packed_is_nothing() {
        for coding in ["gzip", "deflate"] {
            assert_eq!(decoder(coding).unwrap().unpack(b"", true).unwrap(), "", "{coding}");
        }
        for coding in ["br", "zstd", "identity", "gzip, gzip", ""] {
            assert!(decoder(coding).is_none(), "{coding}");
        }
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let bomb = packed(&vec![0; 2 * MOST], "gzip");
        assert!(bomb.len() < 64 * 1024);
        assert_eq!(decoder("gzip").unwrap().unpack(&bomb, true).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
