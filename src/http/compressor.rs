//! Compresses a body in pieces.
//!
//! Pingora's own module is not used: it reads no weights (`gzip;q=0` gets gzip), never ends a Brotli stream (decoders take
//! it for cut), sends `Transfer-Encoding` to HTTP/1.0, and knows neither `no-transform` nor ranges.

use std::fmt;
use std::io::Write;

use brotli::CompressorWriter;
use bytes::Bytes;
use flate2::write::GzEncoder;
use parking_lot::Mutex;

use crate::http::coding::Coding;

/// How far a coding looks back, as a power of two: 512 KiB, which bounds the memory of each answer under way.
const WINDOW: u32 = 19;
const BROTLI_BUFFER: usize = 4096;

/// Compresses one body. What it has read and not yet given is bounded by the coding's window.
pub(crate) struct Compressor(Encoder);

enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Option<Box<CompressorWriter<Vec<u8>>>>),
    /// In a lock for its type alone: it is only reached through `&mut`.
    Zstd(Mutex<zstd::stream::write::Encoder<'static, Vec<u8>>>),
    /// The library refused to make one, which its interface allows for.
    None,
}

impl Compressor {
    /// A compressor for one body. `level`: 1 is fast, 9 is small.
    #[must_use]
    pub(crate) fn new(coding: Coding, level: u32) -> Self {
        Self(match coding {
            Coding::Gzip => Encoder::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::new(level))),
            Coding::Brotli => {
                let writer = CompressorWriter::new(Vec::new(), BROTLI_BUFFER, level, WINDOW);
                Encoder::Brotli(Some(Box::new(writer)))
            }
            Coding::Zstd => zstd_encoder(level).map_or(Encoder::None, |encoder| Encoder::Zstd(Mutex::new(encoder))),
        })
    }

    /// Compresses a whole body.
    #[must_use]
    pub(crate) fn whole(coding: Coding, level: u32, body: &Bytes) -> Bytes {
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
impl Compressor {
    /// Compresses a piece; returns what can be sent by now.
    pub(crate) fn feed(&mut self, piece: Bytes) -> Bytes {
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

    /// Ends the body; returns the rest of it.
    pub(crate) fn finish(&mut self) -> Bytes {
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

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Compressor")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Read;

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
                let mut compressing = Compressor::new(coding, level);
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
