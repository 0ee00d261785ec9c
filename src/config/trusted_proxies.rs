//! The proxies in front of the gateway.

use ipnet::IpNet;
use serde_yaml::Value as Yaml;

use super::declaration::{section, section_shape, words};
use super::node::{Node, Value};
use super::problem::{Findings, Place, shown};
use super::setting::Setting;
use super::shape::Shape;
use crate::http::forwarded::trusted_proxy::{Family, TrustedProxy};

words! {
    /// The fields in which a proxy reports its clients.
    enum Fields {
        /// `X-Forwarded-For` and `-Proto`; with `host` also `-Host`, `-Port` and `-Prefix`.
        XForwarded = "x_forwarded",
        /// `Forwarded` (RFC 7239), `for=` and `proto=`; with `host` also `host=`.
        Forwarded = "forwarded",
    }
}

section! {
    /// A trusted proxy as it is written.
    struct ProxyFile {
        /// The network of the proxies, or the address of one. No client of theirs may be in it.
        from: Option<IpNet> = None, required("10.0.0.7");
        /// The family of fields that the proxies write: it alone is believed, the other one is ignored. A request without a legible
        /// address in it is a stranger's, whom `access.allow_from` never lets in.
        fields: Option<Fields> = None, required("x_forwarded");
        /// Whether the proxies also say which host, port and prefix the client called, in place of what the client wrote there.
        host: bool = false;
    }
}

impl Setting for TrustedProxy {
    fn shape() -> Shape {
        section_shape::<ProxyFile>()
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        if let Value::Text(network) | Value::Substituted(network) = &node.value {
            let network = shown(network);
            let problem = place.problem(format!("`{network}` stands alone: which fields does the proxy write?"));
            findings.problem(problem.remedy(format!(
                "write  - {{ from: \"{network}\", fields: x_forwarded }}  or, if it writes Forwarded,  - {{ from: \"{network}\", fields: forwarded }}"
            )));
            return None;
        }
        let ProxyFile { from, fields, host } = ProxyFile::read(node, place, findings)?;
        let family = match fields? {
            Fields::XForwarded => Family::XForwarded,
            Fields::Forwarded => Family::Forwarded,
        };
        Some(Self { from: from?, family, host })
    }

    fn to_yaml(&self) -> Yaml {
        let fields = match self.family {
            Family::XForwarded => Fields::XForwarded,
            Family::Forwarded => Fields::Forwarded,
        };
        ProxyFile { from: Some(self.from), fields: Some(fields), host: self.host }.to_yaml()
    }
}

/// Reports proxies that an earlier entry covers, since the first entry counts, and recommends a `public_url` of the proxies' own.
pub(super) fn check(proxies: &[TrustedProxy], has_public_url: bool, place_of: impl Fn(&str) -> Place, findings: &mut Findings) {
    let place = place_of("trusted_proxies");
    for (index, proxy) in proxies.iter().enumerate() {
        let covers = |earlier: &TrustedProxy| earlier.from.contains(&proxy.from) && earlier != proxy;
        if let Some(first) = proxies.iter().take(index).position(covers) {
            let problem =
                place.element(index).problem(format!("`{}` lies within trusted_proxies[{first}], which counts", proxy.from));
            findings.problem(problem.remedy("write it before that one, or leave it out"));
        }
    }
    if !proxies.is_empty() && !has_public_url {
        let problem = place_of("public_url")
            .problem("is missing, and there are trusted_proxies: links in answers lead to where each client says that it called");
        findings.warning(problem.remedy("write  public_url: https://gateway.example.org  with the address of the proxies"));
    }
}
