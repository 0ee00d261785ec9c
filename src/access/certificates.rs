//! What a client certificate says of its owner, and whether that is what a rule demands.
//!
//! Decision: `docs/decisions/40-client-certificates.md`.

use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

#[cfg(test)]
use crate::access::clients::CertificateRule;
use crate::keys::sha256;

/// What a certificate says of its owner. It says nothing of whether the certificate is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CertificateFacts {
    /// The common name of the subject; `None` where there is none, or several.
    pub(crate) subject_cn: Option<String>,
    /// The DNS names among the subject's alternative names.
    pub(crate) san_dns: Vec<String>,
    /// The URIs among them.
    pub(crate) san_uri: Vec<String>,
    /// The SHA-256 of the certificate in DER.
    pub(crate) fingerprint: [u8; 32],
    /// The first and the last second of its validity, since 1970.
    pub(crate) validity: (i64, i64),
}

impl CertificateFacts {
    /// Reads a certificate in DER; `None` for one that is not X.509, has bytes behind its end, or extensions that cannot be read.
    #[must_use]
    pub(crate) fn read(der: &[u8]) -> Option<Self> {
        let (rest, certificate) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let mut names = certificate.subject().iter_common_name();
        let subject_cn = names.next().filter(|_| names.next().is_none()).and_then(|name| name.as_str().ok());
        let alternatives = certificate.subject_alternative_name().ok()?.map_or(&[][..], |names| &names.value.general_names);
        let (mut san_dns, mut san_uri) = (Vec::new(), Vec::new());
        for name in alternatives {
            match name {
                GeneralName::DNSName(name) => san_dns.push((*name).to_owned()),
                GeneralName::URI(uri) => san_uri.push((*uri).to_owned()),
                _ => {}
            }
        }
        let fingerprint = sha256(der);
        let validity = (certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp());
        Some(Self { subject_cn: subject_cn.map(str::to_owned), san_dns, san_uri, fingerprint, validity })
    }

    /// Whether a rule is met. Names are compared as a whole: a `*` in a certificate stands for itself.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn meets(&self, rule: &CertificateRule) -> bool {
        match rule {
            CertificateRule::SubjectCn(name) => self.subject_cn.as_ref() == Some(name),
            CertificateRule::SanDns(name) => self.san_dns.iter().any(|own| own.eq_ignore_ascii_case(name)),
            CertificateRule::SanUri(uri) => self.san_uri.contains(uri),
            CertificateRule::Fingerprint(fingerprint) => self.fingerprint == *fingerprint,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn certificate(names: &[&str], alternatives: &[SanType]) -> Vec<u8> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        for name in names {
            // Only one name of a kind can be put in by its type.
            let kind = if *name == names[0] { DnType::CommonName } else { DnType::CustomDnType(vec![2, 5, 4, 3]) };
            parameters.distinguished_name.push(kind, *name);
        }
        parameters.subject_alt_names = alternatives.to_vec();
        parameters.not_before = rcgen::date_time_ymd(2026, 1, 1);
        parameters.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn each_kind_of_name_meets_the_rule_for_it_and_no_other() {
        let alternatives =
            [SanType::DnsName("lab.example.org".try_into().unwrap()), SanType::URI("urn:x:lab".try_into().unwrap())];
        let der = certificate(&["feed"], &alternatives);
        let facts = CertificateFacts::read(&der).unwrap();
        let cn = |name: &str| CertificateRule::SubjectCn(name.to_owned());
        let dns = |name: &str| CertificateRule::SanDns(name.to_owned());
        let uri = |uri: &str| CertificateRule::SanUri(uri.to_owned());
        for (rule, met) in [
            (cn("feed"), true),
            (cn("Feed"), false),
            (cn("lab.example.org"), false),
            (dns("lab.example.org"), true),
            (dns("LAB.example.org"), true),
            (dns("feed"), false),
            (dns("b.example.org"), false),
            (dns("lab.example.org.evil.example"), false),
            (uri("urn:x:lab"), true),
            (uri("urn:x:LAB"), false),
            (uri("lab.example.org"), false),
            (CertificateRule::Fingerprint(facts.fingerprint), true),
            (CertificateRule::Fingerprint([0; 32]), false),
        ] {
            assert_eq!(facts.meets(&rule), met, "{rule:?}");
        }
        assert_eq!(facts.validity.0, 1_767_225_600);
    }

    #[test]
    fn several_common_names_are_none_and_a_star_is_a_star() {
        let facts = CertificateFacts::read(&certificate(&["a", "b"], &[])).unwrap();
        assert_eq!(facts.subject_cn, None);
        let star = [SanType::DnsName("*.example.org".try_into().unwrap())];
        let facts = CertificateFacts::read(&certificate(&["a"], &star)).unwrap();
        assert!(!facts.meets(&CertificateRule::SanDns("lab.example.org".to_owned())));
    }

    #[test]
    fn what_is_no_certificate_has_no_facts() {
        let mut der = certificate(&["a"], &[]);
        assert!(CertificateFacts::read(&der).is_some());
        der.push(0);
        assert!(CertificateFacts::read(&der).is_none(), "a byte behind the end");
        assert!(CertificateFacts::read(b"no certificate").is_none());
        for cut in [1, 20, 100] {
            assert!(CertificateFacts::read(&der[..cut]).is_none(), "{cut}");
        }
    }
}
