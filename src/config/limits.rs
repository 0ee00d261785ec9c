//! What a client's connection may use, the compression of answers, and the log.

use std::time::Duration;

use super::declaration::{section, words};
use super::problem::Findings;
use super::section::Section;

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
        Some(self)
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

section! {
    /// The log, which goes to standard error.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Log {
        /// The least important messages that are written.
        level: log::LevelFilter = log::LevelFilter::Info, variable("LOG_LEVEL");
        /// How a message is written.
        format: LogFormat = LogFormat::Text, restart();
    }
}

words! {
    /// How a log line is written.
    pub(crate) enum LogFormat {
        /// One readable line.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}
