//! What web pages of other origins may do (Fetch, "CORS protocol").

use std::time::Duration;

use serde_yaml::Value as Yaml;

use super::base_url::BaseUrl;
use super::declaration::{section, section_shape};
use super::node::Node;
use super::problem::{Findings, Place, shown};
use super::section::{Section, text};
use super::setting::Setting;
use super::shape::Shape;

/// What web pages of other origins may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// Whose pages.
    pub origins: Origins,
    /// The methods that a preflight allows.
    pub methods: Vec<String>,
    /// The request fields that a preflight allows.
    pub headers: Vec<String>,
    /// The answer's fields that pages see.
    pub exposed: Vec<String>,
    /// Whether browsers send their credentials.
    pub credentials: bool,
    /// How long a browser may keep the answer to a preflight.
    pub max_age: Duration,
}

/// Origins that may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// `"*"`.
    Any,
    /// These, each as a browser writes it: scheme, host, and the port where it is not the scheme's own.
    These(Vec<String>),
}

section! {
    /// `cors` as it is written.
    struct CorsFile {
        /// The origins whose pages may call, or `"*"` for all.
        origins: Option<Origins> = None, required("[https://app.example.org]");
        /// The methods that a preflight allows.
        methods: Vec<Token> = tokens(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]);
        /// The request fields that a preflight allows.
        headers: Vec<Token> = tokens(&[
            "Accept", "Authorization", "Content-Type", "If-Match", "If-Modified-Since", "If-None-Exist", "If-None-Match",
            "Prefer", "Traceparent", "X-API-Key", "X-Request-Id",
        ]);
        /// The fields of an answer that pages see.
        exposed: Vec<Token> = tokens(&[
            "Content-Disposition", "Content-Location", "ETag", "Link", "Location", "RateLimit", "RateLimit-Policy", "Retry-After",
            "WWW-Authenticate", "X-Progress", "X-Request-Id",
        ]);
        /// Whether browsers send their credentials.
        credentials: bool = false;
        /// How long a browser may keep the answer to a preflight.
        max_age: Duration = Duration::from_secs(10 * 60);
    }
    check CorsFile::check
}

impl CorsFile {
    fn check(self, section: &Section<'_>, findings: &mut Findings) -> Option<Self> {
        if self.origins == Some(Origins::Any) && self.credentials {
            let problem = section.place_of("origins").problem("`*` and credentials do not go together");
            findings.problem(problem.remedy("name the origins, or leave credentials out"));
        }
        Some(self)
    }
}

/// A method or the name of a field (RFC 9110 section 5.6.2).
struct Token(String);

fn tokens(names: &[&str]) -> Vec<Token> {
    names.iter().map(|&name| Token(name.to_owned())).collect()
}

impl Setting for Cors {
    fn shape() -> Shape {
        section_shape::<CorsFile>()
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        let CorsFile { origins, methods, headers, exposed, credentials, max_age } = CorsFile::read(node, place, findings)?;
        let origins = origins?;
        let names = |tokens: Vec<Token>| tokens.into_iter().map(|Token(name)| name).collect();
        let (methods, headers, exposed) = (names(methods), names(headers), names(exposed));
        Some(Self { origins, methods, headers, exposed, credentials, max_age })
    }

    fn to_yaml(&self) -> Yaml {
        let tokens = |names: &[String]| names.iter().cloned().map(Token).collect();
        let file = CorsFile {
            origins: Some(self.origins.clone()),
            methods: tokens(&self.methods),
            headers: tokens(&self.headers),
            exposed: tokens(&self.exposed),
            credentials: self.credentials,
            max_age: self.max_age,
        };
        file.to_yaml()
    }
}

impl Setting for Origins {
    fn shape() -> Shape {
        Shape::List(Box::new(Shape::Text("origin")))
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        let written = Vec::<Origin>::read(node, place, findings)?;
        let origins: Vec<String> = written.into_iter().map(|Origin(origin)| origin).collect();
        match origins.as_slice() {
            [any] if any == "*" => Some(Self::Any),
            several if several.iter().any(|origin| origin == "*") => {
                let problem = place.problem("names `*` and other origins besides");
                findings.problem(problem.remedy("write  \"*\"  alone, or leave it out"));
                None
            }
            _ => Some(Self::These(origins)),
        }
    }

    fn to_yaml(&self) -> Yaml {
        match self {
            Self::Any => "*".into(),
            Self::These(origins) => origins.to_yaml(),
        }
    }
}

/// `*`, or an origin as a browser writes it (RFC 6454 section 6.2).
struct Origin(String);

impl Setting for Origin {
    fn shape() -> Shape {
        Shape::Text("origin")
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        let written = text(node, place.clone(), findings)?.value;
        match BaseUrl::parse(&written) {
            _ if written == "*" => Some(Self(written)),
            Ok(url) if url.path.is_empty() => Some(Self(url.to_string().to_ascii_lowercase())),
            Ok(_) | Err(_) => {
                let problem = place.problem(format!("`{}` is no origin", shown(&written)));
                findings.problem(problem.remedy("write scheme, host and port alone, like  https://app.example.org  or  \"*\""));
                None
            }
        }
    }

    fn to_yaml(&self) -> Yaml {
        self.0.as_str().into()
    }
}

impl Setting for Token {
    fn shape() -> Shape {
        Shape::Text("name")
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        let written = text(node, place.clone(), findings)?.value;
        let good = !written.is_empty()
            && written.len() <= 128
            && written.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
        if !good {
            let problem = place.problem(format!("`{}` is no name of a method or field", shown(&written)));
            findings.problem(problem.remedy("write one name an entry, like  [GET, POST]"));
        }
        good.then_some(Self(written))
    }

    fn to_yaml(&self) -> Yaml {
        self.0.as_str().into()
    }
}
