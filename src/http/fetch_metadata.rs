//! What a browser says of a request in fields that no web page can write (Fetch Metadata Request Headers). Pure.
//!
//! Decision: `docs/decisions/19-browsers.md`.

use http::header::{HeaderMap, HeaderName, ORIGIN, REFERER};

static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whose page made a browser send a request, by `Sec-Fetch-Site`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FetchSite {
    /// The field is not there: a program, or a browser that trusts the connection too little to say.
    Unsaid,
    /// `same-origin`: a page of the gateway's own origin.
    SameOrigin,
    /// `none`: no page; somebody typed the address.
    NoPage,
    /// `cross-site`, `same-site`, and whatever cannot be read: a page of another origin.
    Foreign,
}

impl FetchSite {
    /// Reads the fields of a request.
    #[must_use]
    pub(crate) fn of(fields: &HeaderMap) -> Self {
        let mut lines = fields.get_all(&SEC_FETCH_SITE).iter();
        match (lines.next(), lines.next()) {
            (None, _) => Self::Unsaid,
            (Some(site), None) if site.as_bytes() == b"same-origin" => Self::SameOrigin,
            (Some(site), None) if site.as_bytes() == b"none" => Self::NoPage,
            (Some(_), _) => Self::Foreign,
        }
    }
}

/// Whether a request bears a mark of a browser: `Origin`, `Referer`, or any field of those that only a browser can write.
#[must_use]
pub(crate) fn is_of_browser(fields: &HeaderMap) -> bool {
    fields.keys().any(|name| *name == ORIGIN || *name == REFERER || name.as_str().starts_with("sec-"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn fields(lines: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        fields
    }

    #[test]
    fn what_cannot_be_read_is_foreign() {
        let site = "sec-fetch-site";
        for (lines, expected) in [
            (&[][..], FetchSite::Unsaid),
            (&[("sec-fetch-mode", &b"cors"[..])], FetchSite::Unsaid),
            (&[(site, b"same-origin")], FetchSite::SameOrigin),
            (&[(site, b"none")], FetchSite::NoPage),
            (&[(site, b"same-site")], FetchSite::Foreign),
            (&[(site, b"cross-site")], FetchSite::Foreign),
            (&[(site, b"")], FetchSite::Foreign),
            (&[(site, b"None")], FetchSite::Foreign),
            (&[(site, b"none, same-origin")], FetchSite::Foreign),
            (&[(site, b"\xff")], FetchSite::Foreign),
            (&[(site, b"none"), (site, b"none")], FetchSite::Foreign),
            (&[(site, b"same-origin"), (site, b"cross-site")], FetchSite::Foreign),
        ] {
            assert_eq!(FetchSite::of(&fields(lines)), expected, "{lines:?}");
        }
    }

    #[test]
    fn programs_bear_no_mark() {
        let curl = [("host", &b"gw"[..]), ("user-agent", b"curl/8"), ("accept", b"*/*")];
        let postman =
            [("user-agent", &b"PostmanRuntime/7"[..]), ("postman-token", b"x"), ("accept-encoding", b"gzip, deflate, br")];
        assert!(!is_of_browser(&fields(&curl)) && !is_of_browser(&fields(&postman)));
        for mark in ["origin", "referer", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest", "sec-fetch-user", "sec-ch-ua"] {
            assert!(is_of_browser(&fields(&[(mark, b"")])), "{mark}");
        }
    }
}
