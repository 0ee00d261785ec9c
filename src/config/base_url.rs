//! The parts of a base URL that requests are made of.

use std::fmt;

use super::BaseUrl;

impl BaseUrl {
    /// The `Host` field's value: the port only where it is not the scheme's own (RFC 9110 section 7.2).
    #[must_use]
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let default_port = if self.https { 443 } else { 80 };
        if self.port == default_port { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schemes_own_port_is_left_out() {
        let url = |https, host: &str, port| BaseUrl { https, host: host.into(), port, path: "/apis/default/fhir".into() };
        assert_eq!(url(true, "emr.example.org", 443).to_string(), "https://emr.example.org/apis/default/fhir");
        assert_eq!(url(false, "::1", 80).authority(), "[::1]");
        assert_eq!(url(true, "::1", 8443).authority(), "[::1]:8443");
    }
}
