//! `server:`: Pingora's own settings under Pingora's names, with the gateway's defaults.

use pingora::server::configuration::ServerConf;
use serde_yaml::{Mapping, Value as Yaml};

use super::node::{Node, Value};
use super::problem::{Findings, Place, did_you_mean, shown};
use super::section::entries;
use super::setting::Setting;
use super::shape::{KeyDescription, Shape, Visibility};

/// Returns Pingora's settings as they are when nothing is written.
///
/// The gateway decides request by request what is repeated; Pingora's own limit of tries leaves room for every address of several
/// nodes. Files in the temporary folder bear the gateway's name.
#[must_use]
pub(super) fn defaults() -> ServerConf {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    ServerConf {
        threads,
        work_stealing: steals_work(threads),
        max_retries: 16,
        grace_period_seconds: Some(10),
        graceful_shutdown_timeout_seconds: Some(5),
        upstream_keepalive_pool_size: 512,
        pid_file: "/tmp/openemr-gateway.pid".to_owned(),
        // Where it is then depends on the environment and on the configuration file: `server::UpgradeSocket`.
        upgrade_sock: String::new(),
        ..ServerConf::default()
    }
}

/// Whether so many threads share their work where the configuration does not say. Without, the task that watches an idle connection
/// to OpenEMR wakes on another thread, and often too late: Pingora drops the connection and makes a new one
/// (`docs/decisions/24-start-and-stop.md`).
fn steals_work(threads: usize) -> bool {
    threads > 1
}

/// What a setting is by default where that depends on something else.
fn derived(name: &str) -> Option<&'static str> {
    match name {
        "threads" => Some("one for each processor core"),
        "work_stealing" => Some("`true` with several threads"),
        _ => None,
    }
}

impl Setting for ServerConf {
    fn shape() -> Shape {
        let described = |(name, default): (Yaml, Yaml)| {
            let name = name.as_str().unwrap_or_default().to_owned();
            let text = TEXTS.iter().find(|(key, _)| *key == name).map_or("", |(_, text)| text);
            KeyDescription {
                text: text.to_owned(),
                shape: if default.is_bool() { Shape::Flag } else { Shape::Pingoras },
                derived: derived(&name),
                default: if derived(&name).is_some() { Yaml::Null } else { default },
                name,
                bounds: (None, None),
                unit: None,
                required: None,
                variable: None,
                visibility: Visibility::Everywhere,
                restart: true,
            }
        };
        Shape::Section(to_mapping(&defaults()).into_iter().map(described).collect())
    }

    /// Reads the settings written, over the defaults.
    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        let mut settings = to_mapping(&defaults());
        let known: Vec<String> = settings.keys().filter_map(Yaml::as_str).map(str::to_owned).collect();
        let written = entries(node, place, findings)?;
        for entry in written {
            let (key, place) = (&entry.key, entry.place(place));
            if !known.contains(key) {
                let problem = place.problem(format!("unknown key `{}`", shown(key)));
                let near = did_you_mean(key, known.iter().map(String::as_str));
                findings.problem(problem.remedy(match near {
                    Some(name) => format!("did you mean `{name}`?"),
                    None => "the keys here are the fields of Pingora's ServerConf; conf/gateway.yaml lists them".to_owned(),
                }));
                continue;
            }
            let value = entry.node.to_yaml();
            let alone = Mapping::from_iter([(key.as_str().into(), value.clone())]);
            match serde_yaml::from_value::<Self>(Yaml::Mapping(alone)) {
                Ok(_) if entry.node.value == Value::Broken => {}
                Ok(_) => drop(settings.insert(key.as_str().into(), value)),
                Err(error) => findings.problem(place.problem(shown(&error.to_string()))),
            }
        }
        let mut conf = match serde_yaml::from_value::<Self>(Yaml::Mapping(settings)).map(Self::validate) {
            Ok(Ok(conf)) => conf,
            Ok(Err(error)) => {
                findings.problem(place.problem(format!("Pingora refuses these settings: {}", shown(&error.to_string()))));
                return None;
            }
            Err(error) => {
                findings.problem(place.problem(shown(&error.to_string())));
                return None;
            }
        };
        if !written.iter().any(|entry| entry.key == "work_stealing") {
            conf.work_stealing = steals_work(conf.threads);
        }
        for (name, count) in [("threads", conf.threads), ("listener_tasks_per_fd", conf.listener_tasks_per_fd)] {
            if !(1..=1024).contains(&count) {
                let entry = written.iter().find(|entry| entry.key == name);
                let place = entry.map_or_else(|| place.member(name), |entry| entry.place(place));
                findings.problem(place.problem(format!("`{count}` is outside 1 to 1024")));
            }
        }
        Some(conf)
    }

    fn to_yaml(&self) -> Yaml {
        Yaml::Mapping(to_mapping(self))
    }
}

/// Returns every setting. A struct of numbers, strings and lists always serialises to a mapping.
fn to_mapping(conf: &ServerConf) -> Mapping {
    match serde_yaml::to_value(conf) {
        Ok(Yaml::Mapping(mapping)) => mapping,
        _ => Mapping::new(),
    }
}

/// What each of Pingora's settings does.
const TEXTS: [(&str, &str); 35] = [
    ("version", "The version of Pingora's configuration format."),
    ("daemon", "Whether to run in the background."),
    ("error_log", "The file to which a daemon's standard error goes."),
    ("pid_file", "The file that holds a daemon's process id."),
    (
        "upgrade_sock",
        "The socket over which a new process takes the listeners from the old one; if empty, one in a private folder, named by the path of the configuration file. Its folder must belong to this user or to root, and nobody else may write there.",
    ),
    ("user", "The user that a daemon runs as."),
    ("group", "The group that a daemon runs as."),
    (
        "working_directory",
        "The folder that a daemon runs in; by default the one in which it was started. In another one, name the other files by absolute paths, or a reload does not find them.",
    ),
    ("threads", "The threads of each service."),
    ("listener_tasks_per_fd", "The tasks that accept connections on each listening socket."),
    (
        "work_stealing",
        "Whether idle threads take the work of busy ones. Without, some connections to OpenEMR are made for one request.",
    ),
    ("runtime_enable_alt_timer", "Whether the runtime uses Tokio's alternative timer."),
    (
        "ca_file",
        "A PEM file that replaces the system's CAs for everything upstream; a site's own `ca_file` adds to them instead.",
    ),
    ("grace_period_seconds", "How long requests may go on after a signal to stop, in seconds."),
    ("graceful_shutdown_timeout_seconds", "How long the last step of stopping may take, in seconds."),
    ("client_bind_to_ipv4", "The local IPv4 addresses from which OpenEMR is called."),
    ("client_bind_to_ipv6", "The local IPv6 addresses from which OpenEMR is called."),
    ("upstream_keepalive_pool_size", "The most idle connections to OpenEMR that are kept."),
    ("upstream_connect_offload_threadpools", "The thread pools to which connecting to OpenEMR is handed."),
    ("upstream_connect_offload_thread_per_pool", "The threads of each of these pools."),
    ("downstream_tls_offload_threadpools", "The thread pools to which TLS handshakes with clients are handed."),
    ("downstream_tls_offload_thread_per_pool", "The threads of each of these pools."),
    (
        "upstream_debug_ssl_keylog",
        "Whether TLS secrets are written to the file named by SSLKEYLOGFILE. Whoever reads that file reads patient data.",
    ),
    ("max_retries", "A ceiling on tries; which requests are repeated is decided one by one."),
    ("upgrade_sock_connect_accept_max_retries", "How often a new process tries to take the listeners."),
    ("max_blocking_threads", "The most threads for blocking work."),
    ("blocking_threads_ttl_seconds", "How long an idle thread for blocking work is kept, in seconds."),
    ("fast_timeout_to_tokio_threshold_seconds", "Timeouts longer than this use Tokio's timer, in seconds."),
    ("runtime_metrics_poll_time_histogram", "Whether Tokio measures how long tasks run."),
    ("runtime_metrics_poll_time_histogram_scale", "The scale of that histogram."),
    ("runtime_metrics_poll_time_histogram_resolution_micros", "The width of its first bucket, in microseconds."),
    ("runtime_metrics_poll_time_histogram_buckets", "The number of its buckets."),
    ("daemon_wait_for_ready", "Whether a daemon's parent waits until the child serves."),
    ("daemon_ready_timeout_seconds", "How long it waits, in seconds."),
    ("daemon_notify_timeout_seconds", "How long the child tries to tell its parent, in seconds."),
];
