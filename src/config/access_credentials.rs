//! The credentials of a client: API keys, client certificates, JWTs of an identity provider, keys for the token endpoint.

use std::path::PathBuf;
use std::sync::Arc;

use serde_yaml::Value as Yaml;

use super::access_files;
use super::base_url::BaseUrl;
use super::certificates::CaFile;
use super::declaration::{section, section_shape};
use super::node::{Node, Value};
use super::problem::{Findings, Place, Written, shown};
use super::section::{Section, text};
use super::setting::Setting;
use super::shape::Shape;
use crate::access::clients::{CertificateRule, KeyDigest, SmartKeys, Subject};
use crate::access::remote_keys::RemoteKeys;

/// What makes an API key.
const NEW_KEY: &str = "make one:  openemr-gateway access new-key NAME";
/// The most bytes of a name in a certificate or in a JWT.
const LONGEST_NAME: usize = 1024;

section! {
    /// An API key as a mapping.
    struct ApiKeyFile {
        /// The SHA-256 of the key's secret, in 64 hexadecimal digits.
        sha256: Option<Sha256> = None, required("<64 hexadecimal digits>");
        /// The day, or the time, from which on the key is refused, in UTC.
        expires: Option<Expiry> = None, example("2027-01-31");
    }
}

/// A SHA-256 in hexadecimal digits, with `sha256:` in front or without, and as `openssl x509 -fingerprint` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sha256([u8; 32]);

impl Sha256 {
    fn parse(written: &str) -> Option<Self> {
        let digits = written.strip_prefix("sha256:").unwrap_or(written);
        let digits = if digits.contains(':') { digits.replace(':', "") } else { digits.to_owned() };
        let mut bytes = [0; 32];
        if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    fn hex(self) -> String {
        hex::encode(self.0)
    }
}

impl Setting for Sha256 {
    fn shape() -> Shape {
        Shape::Text("SHA-256")
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        // Digits alone are a number for YAML.
        let written = node.scalar().filter(|_| !matches!(node.value, Value::Bool(_)));
        let read = written.as_deref().and_then(Self::parse);
        if read.is_none() && node.value != Value::Broken {
            let is_secret = written.is_some_and(|written| written.starts_with("oegw_"));
            let message = if is_secret {
                "holds the key itself, which nobody may read here"
            } else {
                "is no SHA-256: 64 hexadecimal digits"
            };
            findings.problem(place.problem(message).remedy(if is_secret {
                "write the line that was printed with the key, and take the key out of use:  openemr-gateway access new-key NAME"
            } else {
                NEW_KEY
            }));
        }
        read
    }

    fn to_yaml(&self) -> Yaml {
        format!("sha256:{}", self.hex()).into()
    }
}

/// When a key ends: the first second at which it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expiry(pub(crate) i64);

impl Expiry {
    /// Reads a day or a time of RFC 3339.
    #[must_use]
    pub(crate) fn parse(written: &str) -> Option<Self> {
        let day = || {
            let day: jiff::civil::Date = written.parse().ok()?;
            day.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|start| start.timestamp())
        };
        let at = if written.len() == 10 { day()? } else { written.parse().ok()? };
        Some(Self(at.as_second()))
    }
}

impl std::fmt::Display for Expiry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let form = if self.0.rem_euclid(24 * 60 * 60) == 0 { "%F" } else { "%FT%TZ" };
        let at = jiff::Timestamp::from_second(self.0).unwrap_or_default();
        write!(f, "{}", at.strftime(form))
    }
}

impl Setting for Expiry {
    fn shape() -> Shape {
        Shape::Text("date, or date and time")
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        let written = text(node, place.clone(), findings)?.value;
        let expiry = Self::parse(&written);
        if expiry.is_none() {
            findings.problem(place.problem(format!("`{}` is no date", shown(&written))));
        }
        expiry
    }

    fn to_yaml(&self) -> Yaml {
        self.to_string().into()
    }
}

impl Setting for KeyDigest {
    fn shape() -> Shape {
        Shape::Either(Box::new(Shape::Text("`sha256:` and 64 hexadecimal digits")), Box::new(section_shape::<ApiKeyFile>()))
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        if !matches!(node.value, Value::Map(_)) {
            let Sha256(sha256) = Sha256::read(node, place, findings)?;
            return Some(Self { sha256, expires: None });
        }
        let ApiKeyFile { sha256, expires } = ApiKeyFile::read(node, place, findings)?;
        let key = Self { sha256: sha256?.0, expires: expires.map(|expiry| expiry.0) };
        if let Some(expiry) = expires.filter(|expiry| expiry.0 <= jiff::Timestamp::now().as_second()) {
            findings
                .warning(place.problem(format!("expired on {expiry}, and is refused")).remedy("take it out, or make a new key"));
        }
        Some(key)
    }

    fn to_yaml(&self) -> Yaml {
        let sha256 = Sha256(self.sha256);
        match self.expires {
            None => sha256.to_yaml(),
            Some(expires) => ApiKeyFile { sha256: Some(sha256), expires: Some(Expiry(expires)) }.to_yaml(),
        }
    }
}

section! {
    /// A rule for client certificates as it is written: one of these keys.
    struct CertificateFile {
        /// The common name of the certificate's subject.
        subject_cn: Option<String> = None, example("lab.example.org");
        /// A DNS name among its alternative names.
        san_dns: Option<String> = None, example("lab.example.org");
        /// A URI among its alternative names.
        san_uri: Option<String> = None, example("spiffe://example.org/lab");
        /// The SHA-256 of the certificate, as `openssl x509 -noout -fingerprint -sha256` shows it.
        fingerprint: Option<Sha256> = None;
    }
}

impl Setting for CertificateRule {
    fn shape() -> Shape {
        section_shape::<CertificateFile>()
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        let before = findings.problems.len();
        let CertificateFile { subject_cn, san_dns, san_uri, fingerprint } = CertificateFile::read(node, place, findings)?;
        let rules = [
            subject_cn.map(Self::SubjectCn),
            san_dns.map(|name| Self::SanDns(name.to_ascii_lowercase())),
            san_uri.map(Self::SanUri),
            fingerprint.map(|sha256| Self::Fingerprint(sha256.0)),
        ];
        let mut rules = rules.into_iter().flatten();
        let (rule, further) = (rules.next(), rules.next());
        if findings.problems.len() > before {
            return None;
        }
        let bad = match &rule {
            Some(Self::SubjectCn(name) | Self::SanDns(name) | Self::SanUri(name)) => name.is_empty() || name.len() > LONGEST_NAME,
            Some(Self::Fingerprint(_)) => false,
            None => true,
        };
        if bad || further.is_some() {
            let what = if further.is_some() { "names several facts of a certificate" } else { "names no fact of a certificate" };
            findings.problem(
                place
                    .problem(what)
                    .remedy("write one an entry:  { subject_cn: … }, { san_dns: … }, { san_uri: … } or { fingerprint: … }"),
            );
            return None;
        }
        rule
    }

    fn to_yaml(&self) -> Yaml {
        let (key, value) = match self {
            Self::SubjectCn(name) => ("subject_cn", name.to_yaml()),
            Self::SanDns(name) => ("san_dns", name.to_yaml()),
            Self::SanUri(uri) => ("san_uri", uri.to_yaml()),
            Self::Fingerprint(sha256) => ("fingerprint", Sha256(*sha256).to_yaml()),
        };
        Yaml::Mapping([(key.into(), value)].into_iter().collect())
    }
}

section! {
    /// The subject of JWTs as it is written.
    struct SubjectFile {
        /// The name of an identity provider under `access.issuers`.
        issuer: Option<Written<String>> = None, required("<a name under access.issuers>");
        /// What the claim that names the client says, such as the id of the client at the identity provider.
        subject: Option<String> = None, required("<what client_claim says>");
    }
}

/// The subject of JWTs, and where its issuer is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WrittenSubject {
    pub(super) subject: Subject,
    pub(super) issuer_place: Place,
}

impl Setting for WrittenSubject {
    fn shape() -> Shape {
        section_shape::<SubjectFile>()
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        let SubjectFile { issuer, subject } = SubjectFile::read(node, place, findings)?;
        let (issuer, subject) = (issuer?, subject?);
        if subject.is_empty() || subject.len() > LONGEST_NAME {
            findings.problem(place.member("subject").problem("is empty, or too long").remedy("write what client_claim says"));
            return None;
        }
        Some(Self { subject: Subject { issuer: issuer.value, subject }, issuer_place: issuer.place })
    }

    fn to_yaml(&self) -> Yaml {
        let issuer = Some(Written { value: self.subject.issuer.clone(), place: self.issuer_place.clone() });
        SubjectFile { issuer, subject: Some(self.subject.subject.clone()) }.to_yaml()
    }
}

section! {
    /// The keys of a SMART Backend Services client as they are written: one of the two.
    struct SmartFile {
        /// The file of a JWK Set with the client's public keys.
        jwks: Option<Written<String>> = None, example("clients/lab.jwks.json");
        /// The URL of one; https, unless it is on this machine.
        jwks_uri: Option<JwksUri> = None, example("https://lab.example.org/jwks.json");
        /// A PEM file with a private CA that signed the certificate of the server at `jwks_uri`; it is trusted besides the
        /// system's.
        ca_file: Option<CaFile> = None;
    }
    check SmartFile::check
}

impl SmartFile {
    fn check(self, section: &Section<'_>, findings: &mut Findings) -> Option<Self> {
        let (file, uri) = (section.is_unset("jwks"), section.is_unset("jwks_uri"));
        if file == uri {
            let what = if file { "names no JWK Set" } else { "names two JWK Sets" };
            let problem = section.place.problem(what);
            findings.problem(problem.remedy("write either  jwks: FILE  or  jwks_uri: https://…"));
        }
        if uri && !section.is_unset("ca_file") {
            findings.problem(section.place_of("ca_file").problem("has no effect without `jwks_uri`").remedy("leave it out"));
        }
        Some(self)
    }
}

/// The keys of a SMART Backend Services client, and the file from which they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WrittenSmartKeys {
    pub(super) keys: SmartKeys,
    pub(super) file: Option<PathBuf>,
}

impl Setting for WrittenSmartKeys {
    fn shape() -> Shape {
        section_shape::<SmartFile>()
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        match SmartFile::read(node, place, findings)? {
            SmartFile { jwks: Some(file), .. } => {
                let set = access_files::public_keys(&file, findings)?;
                Some(Self { keys: SmartKeys::Set(set), file: Some(file.value.into()) })
            }
            SmartFile { jwks: None, jwks_uri, ca_file } => {
                Some(Self { keys: SmartKeys::Remote(jwks_uri?.remote(ca_file)), file: None })
            }
        }
    }

    fn to_yaml(&self) -> Yaml {
        let members = match (&self.file, &self.keys) {
            (Some(file), _) => vec![("jwks", file.to_yaml())],
            (None, SmartKeys::Set(_)) => vec![("jwks", Yaml::Null)],
            (None, SmartKeys::Remote(RemoteKeys { url, authorities })) => {
                let ca_file = authorities.as_ref().map(|authorities| ("ca_file", authorities.file.to_yaml()));
                [("jwks_uri", url.to_yaml())].into_iter().chain(ca_file).collect()
            }
        };
        Yaml::Mapping(members.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }
}

/// The URL of a JWK Set, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JwksUri(pub(super) String);

impl JwksUri {
    /// The JWK Set there, from a server of the system's CAs or of one in this file.
    pub(super) fn remote(self, ca_file: Option<CaFile>) -> RemoteKeys {
        RemoteKeys { url: self.0, authorities: ca_file.map(|file| Arc::new(file.into())) }
    }
}

impl Setting for JwksUri {
    fn shape() -> Shape {
        Shape::Text("URL")
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        let written = text(node, place.clone(), findings)?.value;
        // Some identity providers tell their tenants apart by a query.
        let (base, query) = written.split_once('?').unwrap_or((&written, ""));
        let is_query = query.bytes().all(|byte| byte.is_ascii_graphic() && !b"#<>\"\\^`{|}".contains(&byte));
        let problem = match BaseUrl::parse(base) {
            Ok(url) if !url.https && !url.is_loopback() => {
                "is not https: whoever is on the way could put in keys of his own".to_owned()
            }
            Ok(_) if is_query => return Some(Self(written)),
            Ok(_) => "has a query with a character that does not belong there".to_owned(),
            Err(error) => error.to_string(),
        };
        // A URL that cannot be read may hold a password.
        findings.problem(place.problem(problem).remedy("write the URL of a JWK Set, like  https://id.example.org/jwks.json"));
        None
    }

    fn to_yaml(&self) -> Yaml {
        self.0.as_str().into()
    }
}
