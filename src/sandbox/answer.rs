//! An answer as OpenEMR means it, and the field lines it is dressed in (the header sets of the recordings).

use aws_lc_rs::rand::SystemRandom;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    calendar,
    http1::{Body, Framing, Response},
    personality::Personality,
    php_json::{self, Escapes},
    world::World,
};

/// Which of OpenEMR's two entry points answers; it decides cookie and CORS fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// `/apis/…`
    Apis,
    /// `/oauth2/…`
    OAuth2,
}

/// Which of the recorded header sets an answer wears. 8.0 has fewer: there the middle ones are all alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dress {
    /// What nearly every answer wears.
    Usual,
    /// A token was issued.
    TokenIssued,
    /// A client was registered.
    Registered,
    /// Refused before a session began: the site does not exist.
    NoSession,
    /// 7.0.3 when the bearer token is not good: nothing but the server's own fields.
    Bare,
    /// 7.0.3 when it stops half-way, with CORS fields: its session cookie is not deleted.
    CutShort,
    /// 7.0.3 when it stops before CORS: the session cookie is not deleted.
    CutShortBeforeCors,
    /// 7.0.3 when it stops before CORS, but in order.
    BeforeCors,
    /// A file.
    Download {
        /// For `Content-Disposition`.
        file_name: String,
    },
    /// Apache itself, not OpenEMR.
    Apache,
}

/// Status, body and dress.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// The Content-Type field.
    pub content_type: String,
    /// The body.
    pub body: Body,
    /// Its header set.
    pub dress: Dress,
    /// Fields beyond the set, such as Content-Location.
    pub extra: Vec<(&'static str, String)>,
    /// How long it takes to come about, in milliseconds.
    pub takes_ms: u32,
}

impl Answer {
    /// `application/json` with that text.
    pub fn json(status: u16, text: impl Into<String>) -> Answer {
        Answer::new(status, "application/json", Body::Whole(Bytes::from(text.into())))
    }

    /// `application/json` in the given escapes.
    pub fn value(status: u16, value: &Value, escapes: Escapes) -> Answer {
        Answer::json(status, php_json::encode(value, escapes))
    }

    /// No body, `text/html`: how 7.0.3 refuses, and how both confirm a deletion.
    pub fn empty(status: u16) -> Answer {
        Answer::new(status, "text/html; charset=utf-8", Body::Empty)
    }

    /// 8.0's error object; nothing of it needs an escape but slashes.
    pub fn error(status: u16, message: &str, code: u32) -> Answer {
        Answer::value(status, &json!({"error": "An error occurred", "message": message, "code": code}), Escapes::Hex)
    }

    /// One of Apache's own pages.
    pub fn apache(status: u16, title: &str, text: &str) -> Answer {
        let page = format!(
            "<!DOCTYPE HTML PUBLIC \"-//IETF//DTD HTML 2.0//EN\">\n<html><head>\n<title>{status} {title}</title>\n</head><body>\n<h1>{title}</h1>\n<p>{text}</p>\n</body></html>\n"
        );
        Answer::new(status, "text/html; charset=iso-8859-1", Body::Whole(Bytes::from(page))).dressed(Dress::Apache)
    }

    /// Any content.
    pub fn new(status: u16, content_type: &str, body: Body) -> Answer {
        Answer { status, content_type: content_type.to_owned(), body, dress: Dress::Usual, extra: Vec::new(), takes_ms: 0 }
    }

    /// The same answer in another dress.
    pub fn dressed(mut self, dress: Dress) -> Answer {
        self.dress = dress;
        self
    }

    /// The same answer, after a while.
    pub fn after(mut self, milliseconds: u32) -> Answer {
        self.takes_ms = milliseconds;
        self
    }

    /// The same answer with a field more.
    pub fn with(mut self, name: &'static str, value: String) -> Answer {
        self.extra.push((name, value));
        self
    }

    /// The answer with all its field lines, framed as php-fpm behind Apache frames it: errors that PHP calls bad
    /// requests or its own fault close the connection.
    pub fn into_response(self, world: &World, area: Area, origin: Option<&str>) -> Response {
        let mut fields = vec![("Date", calendar::http_date(world.clock.now() as i64)), ("Server", "Apache".to_owned())];
        match world.personality {
            Personality::V8_0 => dress_8(&self, area, origin, &mut fields),
            Personality::V7_0_3 => dress_7(&self, area, origin, &mut fields),
        }
        let apache = self.dress == Dress::Apache;
        if !apache {
            fields.push(("Strict-Transport-Security", "max-age=31536000; includeSubDomains; preload".to_owned()));
            fields.push(("X-XSS-Protection", "1; mode=block".to_owned()));
        }
        fields.push(("Content-Type", self.content_type));
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

fn dress_8(answer: &Answer, area: Area, origin: Option<&str>, fields: &mut Fields) {
    let mut push = |name, value: &str| fields.push((name, value.to_owned()));
    match &answer.dress {
        Dress::Apache => return,
        Dress::NoSession => {
            push("Cache-Control", "no-cache, private");
            return;
        }
        Dress::TokenIssued => {
            push("Cache-Control", "max-age=0, private, must-revalidate, no-store, private");
            push("pragma", "no-cache");
        }
        Dress::Registered => {
            push("Cache-Control", "max-age=0, private, must-revalidate, no-store, private");
            push("Pragma", "no-cache");
        }
        Dress::Download { file_name } => {
            // The stray quotes are Symfony's, which reads PHP's header line as directives.
            push("Cache-Control", "max-age=0, private, must-revalidate, must-revalidate; post-check=\"0; pre-check=0\", private");
            push("Content-Description", "File Transfer");
            push("Content-Disposition", &format!("attachment; filename={file_name}"));
            push("Expires", "0");
            push("Pragma", "public");
        }
        Dress::Usual | Dress::Bare | Dress::CutShort | Dress::CutShortBeforeCors | Dress::BeforeCors => {
            push("Cache-Control", "max-age=0, private, must-revalidate, no-cache, private");
        }
    }
    if let Some(origin) = origin {
        push("Access-Control-Allow-Origin", origin);
    }
    fields.extend(answer.extra.iter().cloned());
    fields.push(("Set-Cookie", session_cookie(area)));
}

fn dress_7(answer: &Answer, area: Area, origin: Option<&str>, fields: &mut Fields) {
    let mut push = |name, value: &str| fields.push((name, value.to_owned()));
    if matches!(answer.dress, Dress::Apache | Dress::Bare | Dress::NoSession) {
        return;
    }
    let download = matches!(answer.dress, Dress::Download { .. });
    let issued = answer.dress == Dress::TokenIssued;
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
    if !matches!(answer.dress, Dress::BeforeCors | Dress::CutShortBeforeCors) {
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
    if let Dress::Download { file_name } = &answer.dress {
        push("Content-Description", "File Transfer");
        push("Content-Disposition", &format!("attachment; filename={file_name}"));
    }
    fields.extend(answer.extra.iter().cloned());
    fields.push(("Set-Cookie", session_cookie(area)));
    if !matches!(answer.dress, Dress::CutShort | Dress::CutShortBeforeCors) {
        let (name, attributes) = cookie_parts(area);
        let deleted = format!("{name}=deleted; expires=Thu, 01 Jan 1970 00:00:01 GMT; Max-Age=0; {attributes}");
        fields.push(("Set-Cookie", deleted));
    }
}

/// Name and attributes of the session cookie.
pub fn cookie_parts(area: Area) -> (&'static str, &'static str) {
    match area {
        Area::Apis => ("apiOpenEMR", "path=/apis/; secure; HttpOnly; SameSite=Strict"),
        Area::OAuth2 => ("authserverOpenEMR", "path=/oauth2/; secure; HttpOnly; SameSite=None"),
    }
}

fn session_cookie(area: Area) -> String {
    let (name, attributes) = cookie_parts(area);
    format!("{name}={}; {attributes}", random_text(36))
}

/// Random bytes, written in base64url.
pub fn random_text(bytes: usize) -> String {
    URL_SAFE_NO_PAD.encode(random_bytes(bytes))
}

/// Random bytes; all zero if the system has none to give, which only makes a session id guessable.
pub fn random_bytes(bytes: usize) -> Vec<u8> {
    let mut buffer = vec![0; bytes];
    let _ = aws_lc_rs::rand::SecureRandom::fill(&SystemRandom::new(), &mut buffer);
    buffer
}
