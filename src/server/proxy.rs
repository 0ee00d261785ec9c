//! The service that serves requests: Pingora's proxy behind the configured listeners.

use std::sync::Arc;

use pingora::apps::HttpServerOptions;
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::proxy::http_proxy;
use pingora::services::ServiceWithDependents;
use pingora::services::listening::Service;

use crate::gateway::Gateway;
use crate::server::drain::Draining;
use crate::server::process::Process;

/// Serves requests on every listener.
#[must_use]
pub(super) fn service(process: &Process) -> Box<dyn ServiceWithDependents> {
    let Process { config, runtime, lifecycle, exports, .. } = process;
    let gateway = Gateway { runtime: Arc::clone(runtime), lifecycle: Arc::clone(lifecycle), exports: Arc::clone(exports) };
    let mut http = http_proxy(&process.pingora, gateway);
    let mut options = HttpServerOptions::default();
    options.keepalive_request_limit = Some(config.limits.keepalive_requests);
    http.server_options = Some(options);
    let draining = Draining::new(http, &config.listen, Arc::clone(runtime), Arc::clone(lifecycle));
    let mut service = Service::new("gateway".to_owned(), draining);
    for listener in &config.listen {
        let endpoint = ListenerConfig::tcp(listener.address.to_string()).l4_buffer(buffers());
        service.add_listener(match process.certificates.tls_settings(listener, &process.pingora) {
            None => endpoint,
            Some(settings) => endpoint.tls(settings),
        });
    }
    Box::new(service)
}

/// The buffers of a client's connection. A connection keeps them while it is idle, and Pingora's own read buffer has 64 KiB.
/// The write buffer holds the head of an answer and a short body, so that both leave in one send.
fn buffers() -> L4BufferSettings {
    L4BufferSettings::new(4 * 1024, 16 * 1024)
}
