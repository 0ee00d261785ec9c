//! The families of metrics: name, type, labels and help of each, declared once. The exposition and docs/metrics.md follow from it.

/// What a family counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A number that only grows.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// Durations, in seconds.
    Histogram,
}

/// A family of metrics.
#[derive(Debug)]
pub(crate) struct Description {
    /// The name. That of a counter is without `_total`, which the exposition adds.
    pub(crate) name: &'static str,
    /// What it counts.
    pub(crate) kind: Kind,
    /// The names of its labels.
    pub(crate) labels: &'static [&'static str],
    /// What it is, in one sentence without a full stop.
    pub(crate) help: &'static str,
}

macro_rules! families {
    ($($name:ident: $kind:ident $text:literal [$($label:literal),*] = $help:literal;)+) => {
        /// A family of metrics.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Family {
            $(#[doc = $help] $name,)+
        }

        impl Family {
            /// All families, in the order in which they are shown.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$name),+];

            /// What is declared of it.
            #[must_use]
            pub(crate) fn description(self) -> &'static Description {
                match self {
                    $(Self::$name => {
                        const { &Description { name: $text, kind: Kind::$kind, labels: &[$($label),*], help: $help } }
                    })+
                }
            }
        }
    };
}

families! {
    ServerDuration: Histogram "http_server_request_duration_seconds" ["http_route", "status_class"]
        = "Time from the head of a request to the end of its answer";
    ClientDuration: Histogram "http_client_request_duration_seconds" ["site"]
        = "Time that OpenEMR took for the head of its answer, or until the try failed";
    AddedDuration: Histogram "openemr_gateway_added_duration_seconds" ["site"]
        = "Time of a request that is not OpenEMR's: waiting for a token and in the queue, the gateway's work, and sending the body";
    QueueDuration: Histogram "openemr_gateway_queue_duration_seconds" ["site"]
        = "Time in the wait queue, of the requests that waited";
    TokenWait: Histogram "openemr_gateway_token_wait_duration_seconds" ["site"]
        = "Time until there was an access token, of the requests that waited for one";
    Requests: Counter "openemr_gateway_requests" ["site", "client", "interaction", "status_class"]
        = "Requests to the FHIR API";
    RequestsByType: Counter "openemr_gateway_requests_by_type" ["site", "resource_type", "status_class"]
        = "Requests to the FHIR API by resource type";
    Reasons: Counter "openemr_gateway_unserved_requests" ["site", "http_route", "reason"]
        = "Requests whose client did not get what it asked for, by the reason codes of docs/logs.md; each limit has a code of its own";
    RequestBytes: Counter "openemr_gateway_request_body_bytes" ["site"]
        = "Bytes received of the bodies of requests";
    ResponseBytes: Counter "openemr_gateway_response_body_bytes" ["site"]
        = "Bytes sent of the bodies of answers";
    Retries: Counter "openemr_gateway_retries" ["site"]
        = "Tries after the first one of a request";
    Connections: Counter "openemr_gateway_upstream_connections" ["site", "reused"]
        = "Connections to OpenEMR that requests got, from the pool or new";
    Shared: Counter "openemr_gateway_shared_answers" ["site"]
        = "Requests that got OpenEMR's answer to an identical one, or to an earlier page of the same search";
    KeptPages: Gauge "openemr_gateway_kept_pages_bytes" ["site"]
        = "Bytes of OpenEMR's answers that are kept for further pages of a search";
    LeftOut: Counter "openemr_gateway_left_out_resources" ["site"]
        = "Resources of OpenEMR's answers that a policy does not permit the client";
    ActiveRequests: Gauge "http_server_active_requests" []
        = "Requests that are being answered";
    ClientConnections: Gauge "openemr_gateway_client_connections" []
        = "Connections of clients that are open";
    ClientConnectionsLimit: Gauge "openemr_gateway_client_connections_limit" []
        = "How many there may be";
    RefusedConnections: Counter "openemr_gateway_refused_connections" []
        = "Connections of clients that were closed at once: as many were open as may be, of all or of their address";
    FailedHandshakes: Counter "openemr_gateway_failed_handshakes" []
        = "TLS handshakes with clients that failed, as far as the log tells of them: without those whose client left";
    InFlight: Gauge "openemr_gateway_in_flight_requests" ["site"]
        = "Requests that OpenEMR is working on";
    InFlightLimit: Gauge "openemr_gateway_in_flight_limit" ["site"]
        = "How many there may be, as far as is known by now";
    Queued: Gauge "openemr_gateway_queued_requests" ["site"]
        = "Requests that wait for their turn";
    TokenLeft: Gauge "openemr_gateway_token_left_seconds" ["site"]
        = "Time to the end of the access token, 0 without one";
    TokenExchanges: Counter "openemr_gateway_token_exchanges" ["site", "result"]
        = "Token exchanges that ended ok or failed";
    TokenFailures: Gauge "openemr_gateway_token_failures" ["site"]
        = "Token exchanges that have failed since one was ok";
    NodeHealth: Gauge "openemr_gateway_node_health" ["site", "node", "state"]
        = "1 for the state of a node: healthy, degraded or ejected";
    Repairs: Counter "openemr_gateway_repairs" ["site", "repair"]
        = "Repairs of resources that were made";
    CertificateLeft: Gauge "openemr_gateway_certificate_left_seconds" ["kind", "file"]
        = "Time to the end of a listener's certificate, or of what ends first in a file of CA certificates (ca, client_ca) or in a JWK Set whose keys say when they end (jwks)";
    Exports: Gauge "openemr_gateway_exports" ["site", "state"]
        = "Bulk exports that are kept: unfinished or finished";
    ExportParts: Counter "openemr_gateway_export_parts" ["site", "result"]
        = "Parts of bulk exports that ended ok or failed; a part is a resource type";
    ExportRefusedWrites: Counter "openemr_gateway_export_refused_writes" ["site"]
        = "Plans of bulk exports that the shared store did not take, because another gateway had the lease by then";
    AuditRecords: Counter "openemr_gateway_audit_records" []
        = "Records of the audit trail that were written";
    AuditLost: Counter "openemr_gateway_audit_lost_records" []
        = "Records of the audit trail that were lost";
    AuditReady: Gauge "openemr_gateway_audit_ready" []
        = "Whether the next record can be written, as far as is known";
    AuditPosted: Counter "openemr_gateway_audit_posted_events" []
        = "Events that the audit repository has taken";
    AuditRefused: Counter "openemr_gateway_audit_refused_events" []
        = "Events that the audit repository has refused for good";
    AuditDamaged: Counter "openemr_gateway_audit_damaged_records" []
        = "Records in the spool that cannot be read, and so are never posted";
    AuditPending: Gauge "openemr_gateway_audit_pending_bytes" []
        = "Bytes of records that wait in the spool for the audit repository";
    StoreUp: Gauge "openemr_gateway_store_up" []
        = "1 while the shared store answers, or was not asked yet; 0 while it does not";
    StoreErrors: Counter "openemr_gateway_store_errors" ["use"]
        = "Commands that the shared store did not carry out, by what they were for: check, exports, assertions or rates";
    LogLost: Counter "openemr_gateway_log_lost_lines" []
        = "Lines of the log that were lost because nobody read it";
    TracesLost: Counter "openemr_gateway_lost_traces" []
        = "Requests whose spans did not reach the collector of traces";
    Reloads: Counter "openemr_gateway_reloads" ["result"]
        = "Reloads of the configuration that ended ok or failed";
    LastReload: Gauge "openemr_gateway_last_reload_ok" []
        = "1 when the last reload was ok, or there was none; 0 while the running configuration is not the one in the file";
    Draining: Gauge "openemr_gateway_draining" []
        = "1 when the process is about to end";
    Build: Gauge "openemr_gateway_build_info" ["version", "commit", "target"]
        = "1, with what the program was built from";
    ProcessCpu: Counter "process_cpu_seconds" []
        = "CPU time of the process";
    ProcessMemory: Gauge "process_resident_memory_bytes" []
        = "Memory that the process has in use";
    ProcessVirtual: Gauge "process_virtual_memory_bytes" []
        = "Memory that the process has reserved";
    ProcessThreads: Gauge "process_threads" []
        = "Threads of the process";
    ProcessFiles: Gauge "process_open_fds" []
        = "Files that the process has open";
    ProcessMostFiles: Gauge "process_max_fds" []
        = "How many it may have open";
    ProcessStart: Gauge "process_start_time_seconds" []
        = "When the process started, in seconds since 1970";
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of docs/metrics.md.
    fn markdown_table() -> String {
        let mut table = "| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n".to_owned();
        for family in Family::ALL {
            let description = family.description();
            let labels: Vec<String> = description.labels.iter().map(|label| format!("`{label}`")).collect();
            let (kind, end) = match description.kind {
                Kind::Counter => ("counter", "_total"),
                Kind::Gauge => ("gauge", ""),
                Kind::Histogram => ("histogram", ""),
            };
            let (name, help) = (description.name, description.help);
            table += &format!("| `{name}{end}` | {kind} | {} | {help} |\n", labels.join(", "));
        }
        table
    }

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        let mut seen = std::collections::HashSet::new();
        for family in Family::ALL {
            let Description { name, kind, help, labels } = family.description();
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert!(!name.ends_with("_total") && seen.insert(name), "{name}");
            assert!(*kind != Kind::Histogram || name.ends_with("_seconds"), "{name}");
            assert!(!help.ends_with('.') && labels.iter().all(|label| !label.starts_with("__")), "{name}");
        }
    }

    #[test]
    fn the_document_is_current() {
        let document = include_str!("../../../docs/metrics.md");
        let table = markdown_table();
        assert!(document.contains(&table), "docs/metrics.md needs this table:\n{table}");
    }
}
