//! The service that serves requests: Pingora's proxy behind the configured listeners.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use async_trait::async_trait;
use pingora::apps::HttpServerOptions;
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::proxy::http_proxy;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::listening::Service;
use pingora::services::{ServiceReadyNotifier, ServiceWithDependents};

use crate::gateway::Gateway;
use crate::gateway::backlog::AnswerMemory;
use crate::server::before_tls::BeforeTls;
use crate::server::drain::Draining;
use crate::server::ending;
use crate::server::listeners::{Listeners, Stage};
use crate::server::process::Process;

/// Serves requests on every listener.
#[must_use]
pub(super) fn service(process: &Process) -> Box<dyn ServiceWithDependents> {
    let Process { config, runtime, lifecycle, exports, connections, .. } = process;
    let memory = Arc::new(AnswerMemory::new(config.limits.unread_answers));
    let gateway = Gateway {
        runtime: Arc::clone(runtime),
        lifecycle: Arc::clone(lifecycle),
        exports: Arc::clone(exports),
        memory: Arc::clone(&memory),
    };
    let mut http = http_proxy(&process.pingora, gateway);
    let mut options = HttpServerOptions::default();
    options.keepalive_request_limit = Some(config.limits.keepalive_requests);
    http.server_options = Some(options);
    let draining =
        Draining::new(http, &config.listen, Arc::clone(runtime), Arc::clone(lifecycle), memory, Arc::clone(connections));
    let mut service = Service::new("gateway".to_owned(), draining);
    for listener in &config.listen {
        let endpoint = ListenerConfig::tcp(listener.address.to_string()).l4_buffer(buffers());
        service.add_listener(match process.certificates.tls_settings(listener, &process.pingora) {
            None => endpoint,
            Some(settings) => endpoint.tls(settings),
        });
    }
    service.endpoints().set_pre_tls_callback(Arc::new(BeforeTls::new(Arc::clone(runtime), Arc::clone(connections))));
    Box::new(Proxy { service, listeners: Arc::clone(&process.listeners) })
}

/// The proxy's service, which says when it accepts connections, and ends the process when it does so no longer.
struct Proxy {
    service: Service<Draining>,
    listeners: Arc<Listeners>,
}

#[async_trait]
impl ServiceWithDependents for Proxy {
    async fn start_service(
        &mut self,
        sockets: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
        ready: ServiceReadyNotifier,
    ) {
        ready.notify_ready();
        let ending = shutdown.clone();
        let mut serving = pingora::services::Service::start_service(&mut self.service, sockets, shutdown, listeners_per_fd);
        // Its first poll starts the tasks that accept connections: the sockets are open, and nothing has to be waited for.
        if poll_fn(|context| Poll::Ready(serving.as_mut().poll(context))).await.is_pending() {
            self.listeners.reached(Stage::Accepting);
            serving.await;
        }
        if !*ending.borrow() {
            ending::fail("no connections are accepted any more");
        }
    }

    fn name(&self) -> &str {
        pingora::services::Service::name(&self.service)
    }
}

/// Pingora's buffers of a client's connection: none. A connection keeps them while it is idle; the guard reads, and the client's stream
/// gathers what is written.
fn buffers() -> L4BufferSettings {
    L4BufferSettings::unbuffered()
}
