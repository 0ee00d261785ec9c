//! Traces by OpenTelemetry's protocol: where they go, and which requests have spans.

use std::path::PathBuf;
use std::time::Duration;

use super::base_url::BaseUrl;
use super::certificates::CaFile;
use super::declaration::section;
use super::problem::Findings;
use super::section::Section;
use super::value::Share;

/// The path of traces below an OTLP base (OTLP 1.x, OTLP/HTTP request).
const TRACES: &str = "/v1/traces";
/// The port of OTLP over gRPC.
const GRPC: u16 = 4317;

section! {
    /// OpenTelemetry traces. tracing.md explains them.
    #[derive(Debug, Clone, PartialEq)]
    pub(crate) struct Tracing {
        /// The OTLP/HTTP base of a collector. Spans are posted to `/v1/traces` below it, in protobuf. `null` records none.
        endpoint: Option<BaseUrl> = None, example("http://127.0.0.1:4318");
        /// A PEM file with a private CA, which is trusted besides the system's.
        ca_file: Option<CaFile> = None;
        /// A file with further header fields for the collector, one `Name: value` a line, such as `Authorization: Bearer …`. It is
        /// read before each request.
        headers_file: Option<PathBuf> = None;
        /// The longest time for one request to the collector.
        timeout: Duration = Duration::from_secs(10);
        /// The share of requests without a trace of their own that have spans.
        sample: Share = Share::ALL, example("0.1");
        /// The share of those whose client already records a trace (`traceparent` with the flag `sampled`). Where the flag is not
        /// set there are no spans.
        sample_continued: Option<Share> = None, example("0.1"), derived("that of `sample`");
        /// The name of the service in traces (`service.name`).
        service_name: String = "openemr-gateway".into();
    }
    check Tracing::check
}

impl Tracing {
    /// The share of requests in a trace that is recorded before the gateway.
    #[must_use]
    pub(crate) fn sample_continued(&self) -> Share {
        self.sample_continued.unwrap_or(self.sample)
    }

    fn check(self, section: &Section<'_>, findings: &mut Findings) -> Option<Self> {
        if self.service_name.is_empty() || self.service_name.len() > 255 {
            let problem = section.place_of("service_name").problem("is not 1 to 255 bytes long");
            findings.problem(problem.remedy("write  service_name: openemr-gateway"));
        }
        let Some(url) = &self.endpoint else { return Some(self) };
        let place = section.place_of("endpoint");
        if !cfg!(feature = "otlp") {
            let problem = place.problem("is written, and this program was built without OpenTelemetry");
            findings.problem(problem.remedy("build it with the Cargo feature  otlp,  or leave the key out"));
        }
        if url.path.ends_with(TRACES) {
            let problem = place.problem(format!("ends in {TRACES}, which is appended to it"));
            findings.problem(problem.remedy(format!("leave {TRACES} out")));
        }
        if url.port == GRPC {
            let problem = place.problem(format!("has port {GRPC}, on which collectors speak gRPC, and the gateway does not"));
            findings.warning(problem.remedy("write the port of OTLP/HTTP, which is 4318 as a rule"));
        }
        if self.headers_file.is_some() && !url.https && !url.is_loopback() {
            let problem = place.problem("is not https, and what headers_file holds goes there in the clear");
            findings.warning(problem.remedy("write it with https://"));
        }
        Some(self)
    }
}
