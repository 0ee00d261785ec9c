//! OpenEMR's answers: status, body, and the header sets of the recordings.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    calendar,
    personality::Personality,
    php_json::{self, Escapes},
    random::random_text,
    response::{Body, Framing, Response},
};

/// The one of OpenEMR's two entry points that answers; cookie and CORS fields depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Area {
    /// `/apis/…`
    Apis,
    /// `/oauth2/…`
    OAuth2,
}

/// The recorded header sets. 8.0 has fewer of them: there `Standard` to `BeforeCors` are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HeaderSet {
    /// The fields of nearly every answer.
    Standard,
    /// For an issued token.
    TokenIssued,
    /// For a registered client.
    Registered,
    /// For an error before a session began: the site does not exist.
    NoSession,
    /// 7.0.3 for a bearer token that is not valid: nothing but the server's own fields.
    ServerOnly,
    /// 7.0.3 when it exits half-way, with CORS fields: the session cookie is not deleted.
    Aborted,
    /// 7.0.3 when it exits before the CORS fields: the session cookie is not deleted.
    AbortedBeforeCors,
    /// 7.0.3 when it ends before the CORS fields, with the session cookie deleted.
    BeforeCors,
    /// For a file.
    Download {
        /// The name in `Content-Disposition`.
        file_name: String,
    },
    /// For an answer of Apache's own, not OpenEMR's.
    Apache,
}

/// An answer before its field lines are written.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// Status code.
    pub(super) status: u16,
    /// The Content-Type field; none if it is empty.
    pub(super) content_type: String,
    /// The body.
    pub(super) body: Body,
    /// The header set.
    pub(super) header_set: HeaderSet,
    /// Fields beyond the set, such as Content-Location.
    pub(super) extra: Vec<(&'static str, String)>,
    /// The milliseconds after which it is sent.
    pub(super) delay_ms: u32,
    /// How many entries the Bundle of a search has.
    pub(super) entries: u16,
}

impl Answer {
    /// Creates an `application/json` answer with this text.
    pub(super) fn json(status: u16, text: impl Into<String>) -> Answer {
        Answer::new(status, "application/json", Body::Whole(Bytes::from(text.into())))
    }

    /// Creates an `application/json` answer with these escapes.
    pub(super) fn value(status: u16, value: &Value, escapes: Escapes) -> Answer {
        Answer::json(status, php_json::encode(value, escapes))
    }

    /// Creates a `text/html` answer without a body: how 7.0.3 rejects, and how both confirm a deletion.
    pub(super) fn empty(status: u16) -> Answer {
        Answer::new(status, "text/html; charset=utf-8", Body::Empty)
    }

    /// Creates an answer with 8.0's error object.
    pub(super) fn error(status: u16, message: &str, code: u32) -> Answer {
        Answer::value(status, &json!({"error": "An error occurred", "message": message, "code": code}), Escapes::Hex)
    }

    /// Creates one of Apache's own error pages.
    pub(super) fn apache(status: u16, title: &str, text: &str) -> Answer {
        let page = format!(
            "<!DOCTYPE HTML PUBLIC \"-//IETF//DTD HTML 2.0//EN\">\n<html><head>\n<title>{status} {title}</title>\n</head><body>\n<h1>{title}</h1>\n<p>{text}</p>\n</body></html>\n"
        );
        Answer::new(status, "text/html; charset=iso-8859-1", Body::Whole(Bytes::from(page))).with_header_set(HeaderSet::Apache)
    }

    /// Creates an answer with any content.
    pub(super) fn new(status: u16, content_type: &str, body: Body) -> Answer {
        Answer {
            status,
            content_type: content_type.to_owned(),
            body,
            header_set: HeaderSet::Standard,
            extra: Vec::new(),
            delay_ms: 0,
            entries: 0,
        }
    }

    /// Replaces the header set.
    pub(super) fn with_header_set(mut self, header_set: HeaderSet) -> Answer {
        self.header_set = header_set;
        self
    }

    /// Delays the answer.
    pub(super) fn delayed_by(mut self, milliseconds: u32) -> Answer {
        self.delay_ms = milliseconds;
        self
    }

    /// Says how many entries its Bundle has.
    pub(super) fn with_entries(mut self, entries: usize) -> Answer {
        self.entries = u16::try_from(entries).unwrap_or(u16::MAX);
        self
    }

    /// Adds a field.
    pub(super) fn with(mut self, name: &'static str, value: String) -> Answer {
        self.extra.push((name, value));
        self
    }

    /// Returns the response with all field lines at `now` (seconds since 1970), framed as php-fpm behind Apache frames
    /// it: a bad request and a server error close the connection.
    pub(super) fn into_response(self, personality: Personality, now: i64, area: Area, origin: Option<&str>) -> Response {
        let mut fields = vec![("Date", calendar::http_date(now)), ("Server", "Apache".to_owned())];
        match personality {
            Personality::V8_0 | Personality::Next => add_fields_of_8_0(&self, area, origin, &mut fields),
            Personality::V7_0_3 => add_fields_of_7_0_3(&self, area, origin, &mut fields),
        }
        let apache = self.header_set == HeaderSet::Apache;
        if !apache {
            fields.push(("Strict-Transport-Security", "max-age=31536000; includeSubDomains; preload".to_owned()));
            fields.push(("X-XSS-Protection", "1; mode=block".to_owned()));
        }
        if !self.content_type.is_empty() {
            fields.push(("Content-Type", self.content_type));
        }
        Response {
            status: self.status,
            fields,
            body: self.body,
            closes: matches!(self.status, 400 | 414 | 500..=599),
            framing: if apache { Framing::ContentLength } else { Framing::Chunked },
            cut_after: None,
            piece: None,
        }
    }
}

type Fields = Vec<(&'static str, String)>;

fn add_fields_of_8_0(answer: &Answer, area: Area, origin: Option<&str>, fields: &mut Fields) {
    let mut push = |name, value: &str| fields.push((name, value.to_owned()));
    match &answer.header_set {
        HeaderSet::Apache => return,
        HeaderSet::NoSession => {
            push("Cache-Control", "no-cache, private");
            return;
        }
        HeaderSet::TokenIssued => {
            push("Cache-Control", "max-age=0, private, must-revalidate, no-store, private");
            push("pragma", "no-cache");
        }
        HeaderSet::Registered => {
            push("Cache-Control", "max-age=0, private, must-revalidate, no-store, private");
            push("Pragma", "no-cache");
        }
        HeaderSet::Download { file_name } => {
            // The stray quotes are Symfony's, which reads PHP's header line as directives.
            push("Cache-Control", "max-age=0, private, must-revalidate, must-revalidate; post-check=\"0; pre-check=0\", private");
            push("Content-Description", "File Transfer");
            push("Content-Disposition", &format!("attachment; filename={file_name}"));
            push("Expires", "0");
            push("Pragma", "public");
        }
        HeaderSet::Standard
        | HeaderSet::ServerOnly
        | HeaderSet::Aborted
        | HeaderSet::AbortedBeforeCors
        | HeaderSet::BeforeCors => {
            push("Cache-Control", "max-age=0, private, must-revalidate, no-cache, private");
        }
    }
    if let Some(origin) = origin {
        push("Access-Control-Allow-Origin", origin);
    }
    fields.extend(answer.extra.iter().cloned());
    fields.push(("Set-Cookie", session_cookie(area)));
}

fn add_fields_of_7_0_3(answer: &Answer, area: Area, origin: Option<&str>, fields: &mut Fields) {
    let mut push = |name, value: &str| fields.push((name, value.to_owned()));
    if matches!(answer.header_set, HeaderSet::Apache | HeaderSet::ServerOnly | HeaderSet::NoSession) {
        return;
    }
    let download = matches!(answer.header_set, HeaderSet::Download { .. });
    let issued = answer.header_set == HeaderSet::TokenIssued;
    push("Expires", if download { "Thu, 19 Nov 1981 08:52:00 GMT, 0" } else { "Thu, 19 Nov 1981 08:52:00 GMT" });
    push(
        "Cache-Control",
        if download {
            "no-store, no-cache, must-revalidate, must-revalidate; post-check=0; pre-check=0"
        } else if issued {
            "no-store, no-cache, must-revalidate, no-store"
        } else {
            "no-store, no-cache, must-revalidate"
        },
    );
    push(
        "Pragma",
        if download {
            "no-cache, public"
        } else if issued {
            "no-cache, no-cache"
        } else {
            "no-cache"
        },
    );
    if !matches!(answer.header_set, HeaderSet::BeforeCors | HeaderSet::AbortedBeforeCors) {
        push("Access-Control-Allow-Credentials", "true");
        push(
            "Access-Control-Allow-Headers",
            match area {
                Area::Apis => "origin, authorization, accept, content-type, content-encoding, x-requested-with",
                Area::OAuth2 => "origin, authorization, accept, content-type, x-requested-with",
            },
        );
        push("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, DELETE, TRACE, OPTIONS");
        match (area, origin) {
            (Area::OAuth2, _) => push("Access-Control-Allow-Origin", "*"),
            (Area::Apis, Some(origin)) => push("Access-Control-Allow-Origin", origin),
            (Area::Apis, None) => {}
        }
    }
    if let HeaderSet::Download { file_name } = &answer.header_set {
        push("Content-Description", "File Transfer");
        push("Content-Disposition", &format!("attachment; filename={file_name}"));
    }
    fields.extend(answer.extra.iter().cloned());
    fields.push(("Set-Cookie", session_cookie(area)));
    if !matches!(answer.header_set, HeaderSet::Aborted | HeaderSet::AbortedBeforeCors) {
        let (name, attributes) = cookie_parts(area);
        let deleted = format!("{name}=deleted; expires=Thu, 01 Jan 1970 00:00:01 GMT; Max-Age=0; {attributes}");
        fields.push(("Set-Cookie", deleted));
    }
}

/// Returns name and attributes of the session cookie.
pub(super) fn cookie_parts(area: Area) -> (&'static str, &'static str) {
    match area {
        Area::Apis => ("apiOpenEMR", "path=/apis/; secure; HttpOnly; SameSite=Strict"),
        Area::OAuth2 => ("authserverOpenEMR", "path=/oauth2/; secure; HttpOnly; SameSite=None"),
    }
}

fn session_cookie(area: Area) -> String {
    let (name, attributes) = cookie_parts(area);
    format!("{name}={}; {attributes}", random_text(36))
}
