//! Content codings: which one a client accepts best, and compressing a body in pieces (RFC 9110 sections 8.4 and 12.5.3).
//!
//! Pingora's own module is not used: it reads no weights (`gzip;q=0` gets gzip), never ends a Brotli stream (decoders take
//! it for cut), says `Transfer-Encoding` to HTTP/1.0, and knows neither `no-transform` nor ranges.

use std::fmt;
use std::io::Write;

use brotli::CompressorWriter;
use bytes::Bytes;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, HeaderMap};
use parking_lot::Mutex;

use crate::http::fields::members;

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
            for entry in members(line) {
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
    /// In a lock for its type alone: it is only reached through `&mut`.
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
impl Compressing {
    /// Compresses a piece; gives what can be sent by now.
    pub fn feed(&mut self, piece: Bytes) -> Bytes {
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

    /// Ends the body; gives the rest of it.
    pub fn finish(&mut self) -> Bytes {
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http::header::HeaderValue;
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
