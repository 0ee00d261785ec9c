//! Content codings, and which of them a client accepts.

use http::header::{ACCEPT_ENCODING, HeaderMap};

/// A content coding (RFC 9110 section 8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// RFC 8878.
    Zstd,
    /// RFC 7932.
    Brotli,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    /// All codings, in the order of preference: measured on Bundles, zstd gives the smallest bodies for the least time.
    pub(crate) const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    /// The name in `Accept-Encoding` and `Content-Encoding`.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// Chooses the coding for a request with these fields: of those with the highest weight in `Accept-Encoding`, the first
    /// in the order of preference (RFC 9110 section 12.5.3). `None` when the request accepts no coding or prefers `identity`.
    #[must_use]
    pub(crate) fn accepted(fields: &HeaderMap) -> Option<Self> {
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

/// The value of a `q` parameter, in thousandths; 0 when it cannot be read.
fn weight(parameter: &[u8]) -> Option<u16> {
    let (name, value) = parameter.split_at_checked(2)?;
    if !name.eq_ignore_ascii_case(b"q=") {
        return None;
    }
    let text = std::str::from_utf8(value).ok()?;
    let read = text.parse::<f32>().ok().filter(|weight| (0.0..=1.0).contains(weight));
    Some(read.map_or(0, |weight| (weight * 1000.0) as u16))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn no_field_panics(line in "[ -~]{0,60}") {
            let _ = accepted(&[&line]);
        }
    }
}
