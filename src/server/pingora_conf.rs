//! Pingora's settings for this process.

use std::env;

use pingora::server::configuration::ServerConf;

use crate::config::Config;
use crate::server::shutdown_times::ShutdownTimes;

/// How much longer than the gateway Pingora waits, in seconds.
const BEYOND_THE_GATEWAY: u64 = 60;

/// The `server` section of the configuration, with the settings that the gateway decides itself.
#[must_use]
pub(super) fn pingora_conf(config: &Config, times: &ShutdownTimes) -> ServerConf {
    let conf = copy(&config.server);
    ServerConf {
        // The gateway ends the process after its last request (see `ending`). Pingora's own wait, which is as long without
        // requests as with them, is for the case that this never happens.
        grace_period_seconds: Some(times.longest().as_secs().saturating_add(BEYOND_THE_GATEWAY)),
        // A daemon would change to /, and a reload or a rotation of keys would look for relative paths there.
        working_directory: conf.working_directory.clone().or_else(|| env::current_dir().ok()),
        ..conf
    }
}

/// Pingora's settings have no `Clone`, and a reload compares what the process was started with.
fn copy(conf: &ServerConf) -> ServerConf {
    let value = serde_json::to_value(conf).expect("a struct of numbers, texts and lists can be written as JSON");
    serde_json::from_value(value).expect("what was just written can be read")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_copy_is_equal() {
        let conf = Config::default().server;
        assert_eq!(copy(&conf), conf);
        let conf = ServerConf { threads: 3, pid_file: "/run/x".to_owned(), grace_period_seconds: None, ..conf };
        assert_eq!(copy(&conf), conf);
    }
}
