//! The reason of a rejection, as a short code: in the access line, and in the metrics.

/// Declares the reasons with their codes.
macro_rules! reasons {
    ($($(#[doc = $text:literal])+ $name:ident = $code:literal;)+) => {
        /// Why a request did not get the answer that it asked for. [docs/logs.md](../../docs/logs.md#reasons) lists the codes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(crate) enum Reason {
            $($(#[doc = $text])+ $name,)+
        }

        impl Reason {
            #[cfg(test)]
            /// All reasons, in the order of their declaration.
            pub(crate) const ALL: &[Self] = &[$(Self::$name),+];

            /// Their codes, in the same order.
            pub(crate) const CODES: &[&'static str] = &[$($code),+];

            /// The code, in lower case with underscores. A code never changes its meaning.
            #[must_use]
            pub(crate) const fn code(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)+
                }
            }
        }
    };
}

reasons! {
    /// The request is not well-formed HTTP, or could be read in two ways.
    Malformed = "malformed";
    /// The request target is one that servers could read differently.
    UnsafeTarget = "unsafe_target";
    /// The request's target or head is too large.
    HeadTooLarge = "head_too_large";
    /// The request's body is larger than the gateway takes.
    BodyTooLarge = "body_too_large";
    /// The request did not arrive in time.
    RequestTimeout = "request_timeout";
    /// The method, or the interaction, is none that is offered here.
    NotSupported = "not_supported";
    /// The gateway is not known by the host name of the request.
    UnknownHost = "unknown_host";
    /// Nothing is served at this path.
    NoRoute = "no_route";
    /// The media type of the request is none that OpenEMR takes.
    MediaType = "media_type";
    /// The client accepts nothing that OpenEMR sends.
    NotAcceptable = "not_acceptable";
    /// A parameter of the request is wrong, or none that can be honoured.
    Parameter = "parameter";
    /// The resource in the body is wrong, or would lose something.
    Resource = "resource";
    /// The request would take too long, or its answer be too large.
    TooCostly = "too_costly";
    /// A condition of the request is not met, or cannot be checked.
    Precondition = "precondition";
    /// There is no such resource, export or file.
    NotFound = "not_found";
    /// The client's address may not use the gateway, or not with this credential.
    Address = "address";
    /// A web page of another origin sent the request.
    ForeignPage = "foreign_page";
    /// The request shows no credential.
    NoCredential = "no_credential";
    /// The credential is not good, or has expired.
    BadCredential = "bad_credential";
    /// The client certificate is missing or not good any more.
    Certificate = "certificate";
    /// The policy of the client does not permit the request.
    Policy = "policy";
    /// OpenEMR did not grant the gateway a scope that the request needs.
    Scope = "scope";
    /// The address has asked for local routes as often as it may.
    RateLocal = "rate_local";
    /// The rate of the address is used up.
    RateAddress = "rate_address";
    /// The rate of the client is used up.
    RateClient = "rate_client";
    /// The rate of the site, of all its clients together, is used up.
    RateSite = "rate_site";
    /// As many requests of the address are under way as may be at once.
    AtOnceAddress = "at_once_address";
    /// As many requests of the client are under way as may be at once.
    AtOnceClient = "at_once_client";
    /// As many exports are kept as may be.
    ExportLimit = "export_limit";
    /// New tokens were asked for too often.
    RefreshLimit = "refresh_limit";
    /// There is no access token for OpenEMR.
    NoToken = "no_token";
    /// OpenEMR refused the access token, and the request could not be repeated with another one.
    TokenRefused = "token_refused";
    /// The wait queue, or the client's part of it, is full.
    QueueFull = "queue_full";
    /// The request was cut off in the wait queue: its client's part of it stands, or is the longest of a full queue.
    QueueCut = "queue_cut";
    /// The request waited for its turn too long.
    QueueTimeout = "queue_timeout";
    /// All nodes of the site are ejected, or none has an address.
    NoNode = "no_node";
    /// No connection to OpenEMR came about.
    Connect = "connect";
    /// The TLS handshake with OpenEMR failed.
    Tls = "tls";
    /// OpenEMR did not answer in time.
    UpstreamTimeout = "upstream_timeout";
    /// OpenEMR's answer could not be read.
    BadAnswer = "bad_answer";
    /// OpenEMR's answer ended too soon.
    CutShort = "cut_short";
    /// OpenEMR answered with something that is not FHIR, or not what was asked for.
    NotFhir = "not_fhir";
    /// OpenEMR did not answer a request of the gateway's own that this one needs.
    OwnRequest = "own_request";
    /// OpenEMR answered with an error of the client's (4xx).
    OpenEmrRefused = "openemr_refused";
    /// OpenEMR answered with an error of its own (5xx).
    OpenEmrFailed = "openemr_failed";
    /// OpenEMR's CapabilityStatement cannot be had.
    Capabilities = "capabilities";
    /// The keys with which a token is checked cannot be had.
    ClientKeys = "client_keys";
    /// The request cannot be recorded in the audit trail.
    Audit = "audit";
    /// The gateway cannot keep exports on its disk, or an export failed.
    Exports = "exports";
    /// The store that the gateways share for exports is away.
    ExportStore = "export_store";
    /// The gateway is not ready for requests.
    NotReady = "not_ready";
    /// The client left before the end of its answer.
    ClientLeft = "client_left";
    /// The gateway itself failed.
    Internal = "internal";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_one_word_of_its_own_and_documented() {
        let document = include_str!("../../docs/logs.md");
        let mut seen = std::collections::HashSet::new();
        for reason in Reason::ALL {
            let code = reason.code();
            assert!(code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{code}");
            assert!(seen.insert(code), "{code} is there twice");
            assert!(document.contains(&format!("| `{code}` |")), "docs/logs.md has no row for the reason {code}");
        }
    }
}
