//! The text of a first configuration: what was answered, with a comment for each part, and nothing that has a default.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::import::quoted;
use crate::scopes::scope::Scopes;

/// What stands in the place of a `client_id` until there is one.
const NO_CLIENT: &str = "<client_id>";

/// A first configuration.
#[derive(Debug)]
pub(crate) struct Initial {
    /// OpenEMR's address.
    pub openemr: String,
    /// OpenEMR's site id.
    pub site: String,
    /// The client's id, if it is registered.
    pub client_id: Option<String>,
    /// OpenEMR's own idea of its token endpoint, where that is another than its address says.
    pub token_audience: Option<String>,
    /// A file of certificates that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// The file of the private key.
    pub private_key: PathBuf,
    /// The file of the JWK Set.
    pub jwks: PathBuf,
    /// What tokens are asked for.
    pub scopes: Scopes,
    /// Where the gateway listens.
    pub listen: SocketAddr,
    /// The listener's certificate and its key.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The networks that may call, where not this machine alone.
    pub allow_from: Vec<String>,
    /// Further names by which the gateway is called.
    pub hosts: Vec<String>,
    /// The first client's name, and the SHA-256 of its key in hexadecimal digits.
    pub client: Option<(String, String)>,
}

impl Initial {
    /// The YAML. What is a path must be UTF-8.
    #[must_use]
    pub(crate) fn to_yaml(&self) -> String {
        let mut yaml =
            "# Made by `openemr-gateway init`. docs/configuration.md describes every key; what is not written has its default.\n\
                        # Relative paths are read from the working directory.\n\n"
                .to_owned();
        self.write_listen(&mut yaml);
        self.write_access(&mut yaml);
        self.write_site(&mut yaml);
        yaml
    }

    fn write_listen(&self, yaml: &mut String) {
        let address = quoted(&self.listen.to_string());
        let _ = writeln!(yaml, "# Where programs call the gateway.\nlisten:\n  - address: {address}");
        if let Some((certificate, key)) = &self.tls {
            let (certificate, key) = (path(certificate), path(key));
            let _ = writeln!(yaml, "    tls: {{ certificate: {certificate}, private_key: {key} }}");
        }
    }

    fn write_access(&self, yaml: &mut String) {
        if self.client.is_none() && self.allow_from.is_empty() && self.hosts.is_empty() {
            yaml.push_str("\n# Without `access` the programs on this machine may call, without credentials (docs/access.md).\n");
            return;
        }
        let local = ["127.0.0.0/8".to_owned(), "::1/128".to_owned()];
        let networks = local.iter().chain(self.allow_from.iter().filter(|network| !local.contains(network)));
        let _ = writeln!(yaml, "\n# Who may call (docs/access.md).\naccess:\n  allow_from: {}", list(networks));
        if !self.hosts.is_empty() {
            let _ = writeln!(yaml, "  # The names by which they call it, besides its addresses.\n  hosts: {}", list(&self.hosts));
        }
        if let Some((name, sha256)) = &self.client {
            let (name, key) = (quoted(name), quoted(&format!("sha256:{sha256}")));
            let _ = writeln!(
                yaml,
                "  clients:\n    # It may do all that the scopes below permit; a policy of its own says less.\n    \
                 {name}:\n      policy: everything\n      # Another key:  openemr-gateway access new-key NAME\n      \
                 api_keys: [{key}]"
            );
        }
    }

    fn write_site(&self, yaml: &mut String) {
        let _ = writeln!(
            yaml,
            "\nsites:\n  # OpenEMR's site id.\n  {}:\n    openemr: {}\n    # What OpenEMR answered at the registration.\n    client_id: {}",
            quoted(&self.site),
            quoted(&self.openemr),
            quoted(self.client_id.as_deref().unwrap_or(NO_CLIENT)),
        );
        if let Some(audience) = &self.token_audience {
            let comment = "OpenEMR's own name for its token endpoint, by its Site Address Override.";
            let _ = writeln!(yaml, "    # {comment}\n    token_audience: {}", quoted(audience));
        }
        if let Some(file) = &self.ca_file {
            let comment = "The certificate that is trusted besides the system's.";
            let _ = writeln!(yaml, "    # {comment}\n    ca_file: {}", path(file));
        }
        let (key, jwks) = (path(&self.private_key), path(&self.jwks));
        let comment = "The key that signs, and the set with its public half, which OpenEMR has.";
        let _ = writeln!(yaml, "    # {comment}\n    private_key: {key}\n    jwks: {jwks}");
        yaml.push_str("    # What tokens are asked for: what the client is registered for, and no more.\n    scopes:\n");
        for scope in self.scopes.iter() {
            let _ = writeln!(yaml, "      - {}", quoted(scope.as_str()));
        }
    }
}

fn path(path: &std::path::Path) -> String {
    quoted(&path.to_string_lossy())
}

fn list<'t>(texts: impl IntoIterator<Item = &'t String>) -> String {
    let texts: Vec<String> = texts.into_iter().map(|text| quoted(text)).collect();
    format!("[{}]", texts.join(", "))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::answers_text::scopes_of;
    use crate::config::client_id_text::with_client_id;
    use crate::config::yaml;

    #[test]
    fn every_answer_is_in_the_text_and_the_id_can_be_written() {
        let initial = Initial {
            openemr: "https://emr.example.org".to_owned(),
            site: "north".to_owned(),
            client_id: None,
            token_audience: Some("https://b/token".to_owned()),
            ca_file: Some("conf/openemr.pem".into()),
            private_key: "a key.pem".into(),
            jwks: "${x}.json".into(),
            scopes: scopes_of("Patient", "").unwrap(),
            listen: "[::1]:8000".parse().unwrap(),
            tls: Some(("c".into(), "k".into())),
            allow_from: vec!["10.0.0.0/8".to_owned(), "::1/128".to_owned()],
            hosts: vec!["*.example.org".to_owned()],
            client: Some(("lab".to_owned(), "00ff".to_owned())),
        };
        let text = initial.to_yaml();
        let written = with_client_id(&text, "north", "id-1").unwrap();
        let tree = serde_yaml::to_value(yaml::parse(&written).unwrap().to_yaml()).unwrap();
        let expected = serde_yaml::from_str::<serde_yaml::Value>(
            "{listen: [{address: '[::1]:8000', tls: {certificate: c, private_key: k}}],
              access: {allow_from: [127.0.0.0/8, '::1/128', 10.0.0.0/8], hosts: ['*.example.org'],
                       clients: {lab: {policy: everything, api_keys: ['sha256:00ff']}}},
              sites: {north: {openemr: 'https://emr.example.org', client_id: id-1, token_audience: 'https://b/token',
                      ca_file: conf/openemr.pem, private_key: a key.pem, jwks: '$${x}.json', scopes: [system/Patient.read]}}}",
        );
        assert_eq!(tree, expected.unwrap());
        assert!(text.contains("client_id: \"<client_id>\""), "{text}");
    }
}
