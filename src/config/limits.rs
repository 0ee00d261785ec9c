//! What a client's connection may use, and the compression of answers.

use std::time::Duration;

use super::declaration::section;
use super::problem::Findings;
use super::section::Section;
use crate::limits::rate::{MOST_BURST, Period, Quota, Rate};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// The shortest limit of a request target that is accepted, in bytes.
const MIN_REQUEST_TARGET: usize = 256;

section! {
    /// What a client's connection may use.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Limits {
        /// The largest request head: request line and header fields together. Larger ones get 431.
        request_head: usize = 64 * KIB, between(KIB, MIB), example("64KiB");
        /// The longest request target: path and query. Longer ones get 414. At least 256 bytes, at most `request_head`. A link to the next page of a search for 1,000 ids has 38 KiB.
        request_target: usize = 56 * KIB;
        /// The most header fields of a request. More get 431.
        header_fields: u32 = 100, unit("fields");
        /// The largest request body. Larger ones get 413.
        request_body: usize = 64 * MIB;
        /// The largest head of an answer of OpenEMR's: status line and header fields. Larger ones become 502.
        response_head: usize = 64 * KIB, between(KIB, MIB), example("64KiB");
        /// The most connections of clients. More are closed; a sixteenth is for clients on this machine alone.
        connections: Option<u32> = None, derived("what the limit on open files leaves"), restart();
        /// The most connections from one address (IPv6: one /64 network), but for trusted proxies. More are closed.
        connections_per_address: Option<u32> = None, derived("three quarters of `connections`"), restart();
        /// How often one address (IPv6: one /64 network) may send requests, but for those to the gateway's own routes: behind trusted proxies the address that they report, elsewhere
        /// that of the connection. More get 429, whoever sends them.
        rate_per_address: Option<Rate> = None, example("20/s");
        /// How many requests an address may send at once after a pause.
        burst_per_address: Option<u32> = None, at_most(Some(MOST_BURST)), unit("requests"),
            derived("the requests of one second, but 10 at least unless `rate_per_address` names fewer");
        /// How many requests of an address may be at work at once. More get 429.
        requests_per_address: Option<u32> = None, unit("requests");
        /// The same as `rate_per_address`, for the gateway's own routes and for paths that there are not.
        local_rate_per_address: Rate = Rate::new(200, Period::Second);
        /// How many requests to these an address may send at once after a pause.
        local_burst_per_address: u32 = 1000, at_most(MOST_BURST), unit("requests");
        /// Whether the rates of addresses, clients and sites are counted in `store`, by all gateways together. That asks the store once for
        /// each rate that applies to a request. Without it, and while the store is away, each gateway counts by itself, with the part
        /// that `replicas` leaves it.
        shared: bool = false;
        /// The most requests at once on one HTTP/2 connection.
        http2_streams: u32 = 100, unit("requests");
        /// The longest that the head of an HTTP/1 request may take, from its first byte, or from the opening of the connection, to its end. Slower ones get 408.
        head_timeout: Duration = Duration::from_secs(10);
        /// The longest wait between two reads of a request's body.
        read_timeout: Duration = Duration::from_secs(60);
        /// The longest time in which a client reads nothing of an answer.
        write_timeout: Duration = Duration::from_secs(60);
        /// The memory for answers that clients have not read yet, over all connections; one connection gets a sixteenth. OpenEMR does
        /// not wait for a client whose answer fits.
        unread_answers: usize = 64 * MIB, restart();
        /// The memory for OpenEMR's answers of which further pages are cut (`share_pages`), over all sites; one client gets half, one answer a quarter.
        shared_pages: usize = 64 * MIB, restart();
        /// The least bytes a second at which a client must send its body, and read its answer, while OpenEMR is kept busy.
        least_rate: usize = 2 * KIB;
        /// The longest wait between two requests on a connection; a tenth of it while half of `connections` are open.
        keepalive_timeout: Duration = Duration::from_secs(60);
        /// The most requests on one connection before it is closed.
        keepalive_requests: u32 = 10_000, unit("requests"), restart();
    }
    check Limits::check
}

impl Limits {
    fn check(self, section: &Section<'_>, findings: &mut Findings) -> Option<Self> {
        if !(MIN_REQUEST_TARGET..=self.request_head).contains(&self.request_target) {
            let problem = section.place_of("request_target").problem("is outside 256 bytes to request_head");
            findings.problem(problem.remedy("lower it, or raise request_head"));
        }
        if self.burst_per_address.is_some() && self.rate_per_address.is_none() {
            let problem = section.place_of("burst_per_address").problem("is written, and `rate_per_address` is not");
            findings.problem(problem.remedy("write  rate_per_address: 20/s  or leave the burst out"));
        }
        Some(self)
    }

    /// How often an address may ask for anything but local routes.
    #[must_use]
    pub(crate) fn quota_per_address(&self) -> Option<Quota> {
        self.rate_per_address.map(|rate| rate.quota(self.burst_per_address))
    }

    /// How often an address may ask for local routes.
    #[must_use]
    pub(crate) fn local_quota(&self) -> Quota {
        self.local_rate_per_address.quota(Some(self.local_burst_per_address))
    }
}

section! {
    /// Compression of answers (zstd, br or gzip) for clients that accept it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Compression {
        /// Whether answers are compressed.
        enabled: bool = true;
        /// The shortest body that is compressed. Below the default, compressing costs more than it saves.
        least: usize = KIB;
        /// How hard each algorithm tries: 1 is fast, 9 is small. FHIR JSON shrinks to a tenth at any level.
        level: u32 = 3, at_most(9), example("3, from 1 (fast) to 9 (small)");
    }
}
