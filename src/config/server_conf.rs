//! `server:`: Pingora's own settings under Pingora's names, with the gateway's defaults.

use pingora::server::configuration::ServerConf;
use serde_yaml::{Mapping, Value};

use super::node;
use super::problem::{Findings, Place, did_you_mean, shown};

/// Pingora's settings as they are when nothing is written.
///
/// Work stealing costs a proxy more than it brings; what is repeated is decided request by request, and Pingora's own
/// ceiling on tries leaves room for every address of several nodes; the files in the temporary folder bear the gateway's name.
#[must_use]
pub fn defaults() -> ServerConf {
    ServerConf {
        threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        work_stealing: false,
        max_retries: 16,
        grace_period_seconds: Some(10),
        graceful_shutdown_timeout_seconds: Some(5),
        upstream_keepalive_pool_size: 512,
        pid_file: "/tmp/openemr-gateway.pid".to_owned(),
        upgrade_sock: "/tmp/openemr-gateway-upgrade.sock".to_owned(),
        ..ServerConf::default()
    }
}

/// Every setting, as YAML.
pub(super) fn to_yaml(conf: &ServerConf) -> Mapping {
    match serde_yaml::to_value(conf) {
        Ok(Value::Mapping(mapping)) => mapping,
        // A struct of numbers, strings and lists always serialises to a mapping.
        _ => Mapping::new(),
    }
}

/// The settings written, over the defaults.
pub(super) fn read(written: &[(String, node::Node, Place)], place: &Place, findings: &mut Findings) -> ServerConf {
    let mut settings = to_yaml(&defaults());
    let known: Vec<String> = settings.keys().filter_map(Value::as_str).map(str::to_owned).collect();
    for (key, node, place) in written {
        if !known.contains(key) {
            let problem = place.problem(format!("unknown key `{}`", shown(key)));
            let near = did_you_mean(key, known.iter().map(String::as_str));
            findings.problem(problem.remedy(match near {
                Some(name) => format!("did you mean `{name}`?"),
                None => "the keys here are the fields of Pingora's ServerConf; conf/gateway.yaml lists them".to_owned(),
            }));
            continue;
        }
        let value = node.to_yaml();
        let alone = Mapping::from_iter([(key.as_str().into(), value.clone())]);
        match serde_yaml::from_value::<ServerConf>(Value::Mapping(alone)) {
            Ok(_) if node.value == node::Value::Broken => {}
            Ok(_) => drop(settings.insert(key.as_str().into(), value)),
            Err(error) => findings.problem(place.problem(shown(&error.to_string()))),
        }
    }
    let read = serde_yaml::from_value::<ServerConf>(Value::Mapping(settings));
    let conf = match read.map(ServerConf::validate) {
        Ok(Ok(conf)) => conf,
        Ok(Err(error)) => {
            findings.problem(place.problem(format!("Pingora refuses these settings: {}", shown(&error.to_string()))));
            defaults()
        }
        Err(error) => {
            findings.problem(place.problem(shown(&error.to_string())));
            defaults()
        }
    };
    for (name, count) in [("threads", conf.threads), ("listener_tasks_per_fd", conf.listener_tasks_per_fd)] {
        if !(1..=1024).contains(&count) {
            findings.problem(place.member(name).problem(format!("`{count}` is outside 1 to 1024")));
        }
    }
    conf
}
