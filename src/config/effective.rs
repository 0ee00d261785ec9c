//! The configuration as it takes effect: every default filled in, no secret in it, readable again as a configuration.

use ipnet::IpNet;
use serde_yaml::{Mapping, Value};

use super::value::{duration_text, size_text};
use super::{
    Access, Balance, BaseUrl, Config, Cors, Listener, LogFormat, Node, Origins, Paging, ReadyRule, Repairs, Routes, Site,
    TokenExposure, server_conf,
};

/// Writes a configuration as YAML. Private keys appear as the names of their files, nothing more.
#[must_use]
pub fn effective_yaml(config: &Config) -> String {
    let limits = &config.limits;
    let root = mapping([
        ("listen", config.listen.iter().map(listener).collect::<Vec<_>>().into()),
        ("routes", routes(&config.routes)),
        ("sites", Value::Mapping(config.sites.iter().map(|one| (one.name.as_str().into(), site(one))).collect())),
        ("public_url", config.public_url.as_ref().map_or(Value::Null, |url| url.to_string().into())),
        ("trusted_proxies", networks(&config.trusted_proxies)),
        ("access", access(&config.access)),
        (
            "token_exposure",
            match config.token_exposure {
                TokenExposure::Loopback => "loopback",
                TokenExposure::Never => "never",
                TokenExposure::Always => "always",
            }
            .into(),
        ),
        (
            "ready",
            match config.ready {
                ReadyRule::All => "all",
                ReadyRule::Any => "any",
            }
            .into(),
        ),
        ("watch", config.watch.into()),
        ("drain_delay", duration_text(config.drain_delay).into()),
        (
            "limits",
            mapping([
                ("request_head", size_text(limits.request_head).into()),
                ("request_target", size_text(limits.request_target).into()),
                ("header_fields", limits.header_fields.into()),
                ("request_body", size_text(limits.request_body).into()),
                ("response_head", size_text(limits.response_head).into()),
                ("http2_streams", limits.http2_streams.into()),
                ("read_timeout", duration_text(limits.read_timeout).into()),
                ("write_timeout", duration_text(limits.write_timeout).into()),
                ("keepalive_timeout", duration_text(limits.keepalive_timeout).into()),
                ("keepalive_requests", limits.keepalive_requests.into()),
            ]),
        ),
        (
            "compression",
            mapping([
                ("enabled", config.compression.enabled.into()),
                ("least", size_text(config.compression.least).into()),
                ("level", config.compression.level.into()),
            ]),
        ),
        (
            "log",
            mapping([
                ("level", config.log.level.as_str().to_ascii_lowercase().into()),
                (
                    "format",
                    match config.log.format {
                        LogFormat::Text => "text",
                        LogFormat::Json => "json",
                    }
                    .into(),
                ),
            ]),
        ),
        ("server", Value::Mapping(server_conf::to_yaml(&config.server))),
    ]);
    // A tree of strings, numbers and lists always serialises. What begins with ${ was escaped, and is again.
    serde_yaml::to_string(&escaped(root)).unwrap_or_default()
}

fn mapping<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Mapping(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

fn listener(listener: &Listener) -> Value {
    let mut entries = Mapping::from_iter([("address".into(), listener.address.to_string().into())]);
    if let Some(tls) = &listener.tls {
        let tls = mapping([
            ("certificate", tls.certificate.display().to_string().into()),
            ("private_key", tls.private_key.display().to_string().into()),
        ]);
        entries.insert("tls".into(), tls);
    }
    entries.insert("http2".into(), listener.http2.into());
    entries.insert("h2c".into(), listener.h2c.into());
    Value::Mapping(entries)
}

fn routes(routes: &Routes) -> Value {
    let path = |path: &Option<String>| path.as_deref().map_or(Value::Null, Value::from);
    mapping([
        ("health", path(&routes.health)),
        ("ready", path(&routes.ready)),
        ("jwks", path(&routes.jwks)),
        ("token", path(&routes.token)),
        ("fhir", path(&routes.fhir)),
    ])
}

fn access(access: &Access) -> Value {
    match access {
        Access::Open => "open".into(),
        Access::AllowFrom(allowed) => mapping([("allow_from", networks(allowed))]),
    }
}

fn networks(networks: &[IpNet]) -> Value {
    networks.iter().map(|network| network.to_string().into()).collect::<Vec<Value>>().into()
}

fn site(site: &Site) -> Value {
    let timeouts = &site.timeouts;
    mapping([
        ("fhir_base", urls(&site.nodes, |node| &node.fhir_base)),
        ("token_url", token_urls(&site.nodes)),
        ("token_audience", site.token_audience.clone().map_or(Value::Null, Value::from)),
        ("client_id", site.client_id.clone().into()),
        ("private_key", site.private_key_file.display().to_string().into()),
        ("jwks", site.jwks_file.display().to_string().into()),
        ("kid", site.keys.kid.clone().into()),
        ("scopes", site.scopes.iter().map(|scope| scope.as_str().into()).collect::<Vec<Value>>().into()),
        ("ca_file", site.ca_file.as_ref().map_or(Value::Null, |file| file.path.display().to_string().into())),
        (
            "timeouts",
            mapping([
                ("connect", duration_text(timeouts.connect).into()),
                ("total_connect", duration_text(timeouts.total_connect).into()),
                ("read", duration_text(timeouts.read).into()),
                ("export", duration_text(timeouts.export).into()),
                ("write", duration_text(timeouts.write).into()),
                ("token", duration_text(timeouts.token).into()),
            ]),
        ),
        (
            "connections",
            mapping([
                ("idle_timeout", duration_text(site.connections.idle_timeout).into()),
                ("resolve_every", duration_text(site.connections.resolve_every).into()),
                ("http2", site.connections.http2.into()),
            ]),
        ),
        (
            "balance",
            match site.balance {
                Balance::RoundRobin => "round_robin",
                Balance::LeastLatency => "least_latency",
            }
            .into(),
        ),
        (
            "health_check",
            mapping([
                ("interval", duration_text(site.health_check.interval).into()),
                ("timeout", duration_text(site.health_check.timeout).into()),
            ]),
        ),
        (
            "in_flight",
            mapping([
                ("most", site.in_flight.most.into()),
                ("queue", site.in_flight.queue.into()),
                ("queue_timeout", duration_text(site.in_flight.queue_timeout).into()),
            ]),
        ),
        (
            "forced_refreshes",
            mapping([
                ("every", duration_text(site.forced_refreshes.every).into()),
                ("burst", site.forced_refreshes.burst.into()),
            ]),
        ),
        ("repairs", repairs(site.repairs)),
        (
            "paging",
            match site.paging {
                Paging::Slice => "slice",
                Paging::Native => "native",
                Paging::Off => "off",
            }
            .into(),
        ),
        ("also_known_as", site.also_known_as.iter().map(|url| url.to_string().into()).collect::<Vec<Value>>().into()),
        ("documents", mapping([("max_age", duration_text(site.documents_max_age).into())])),
        ("cors", site.cors.as_ref().map_or(Value::Null, cors)),
        (
            "bulk_data",
            mapping([
                ("folder", site.bulk_data.folder.display().to_string().into()),
                ("keep", duration_text(site.bulk_data.keep).into()),
            ]),
        ),
    ])
}

fn repairs(mut repairs: Repairs) -> Value {
    Value::Mapping(repairs.switches().into_iter().map(|(name, on)| (name.into(), (*on).into())).collect())
}

fn cors(cors: &Cors) -> Value {
    let list = |names: &[String]| Value::from(names.iter().map(|name| name.as_str().into()).collect::<Vec<Value>>());
    mapping([
        (
            "origins",
            match &cors.origins {
                Origins::Any => "*".into(),
                Origins::These(origins) => list(origins),
            },
        ),
        ("methods", list(&cors.methods)),
        ("headers", list(&cors.headers)),
        ("exposed", list(&cors.exposed)),
        ("credentials", cors.credentials.into()),
        ("max_age", duration_text(cors.max_age).into()),
    ])
}

/// One URL, or a list where there are several nodes.
fn urls(nodes: &[Node], of: impl Fn(&Node) -> &BaseUrl) -> Value {
    match nodes {
        [one] => of(one).to_string().into(),
        several => several.iter().map(|node| of(node).to_string().into()).collect::<Vec<Value>>().into(),
    }
}

/// All of them are configured, or none.
fn token_urls(nodes: &[Node]) -> Value {
    let urls: Vec<Value> = nodes.iter().filter_map(|node| Some(node.token_url.as_ref()?.to_string().into())).collect();
    match <[Value; 1]>::try_from(urls) {
        Ok([one]) => one,
        Err(none) if none.is_empty() => Value::Null,
        Err(several) => several.into(),
    }
}

fn escaped(value: Value) -> Value {
    match value {
        Value::String(text) => text.replace("${", "$${").into(),
        Value::Sequence(values) => values.into_iter().map(escaped).collect::<Vec<_>>().into(),
        Value::Mapping(entries) => Value::Mapping(entries.into_iter().map(|(key, value)| (key, escaped(value))).collect()),
        other => other,
    }
}
