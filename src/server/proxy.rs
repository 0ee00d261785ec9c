//! The service that serves requests: Pingora's proxy behind the configured listeners.

use std::sync::Arc;

use pingora::apps::HttpServerOptions;
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
        let address = listener.address.to_string();
        match process.certificates.tls_settings(listener, &process.pingora) {
            None => service.add_tcp(&address),
            Some(settings) => service.add_tls_with_settings(&address, None, settings),
        }
    }
    Box::new(service)
}
