//! From what was written to a [`Config`]: every value read, every rule checked, every problem noted.

use std::sync::Arc;

use ipnet::IpNet;

use super::file::{File, FileAccess, FileRoute, FileSite};
use super::problem::{Findings, Written, did_you_mean, shown};
use super::{
    Access, BaseUrl, Config, Log, LogFormat, ReadyRule, Routes, TokenExposure, defaults, listening, server_conf, site, value,
};

/// The most sites that one gateway serves.
const MAX_SITES: usize = 256;

/// Builds the configuration; what is wrong stands in `findings`, and there is a result only when nothing is.
pub(super) fn validate(file: &File, findings: &mut Findings) -> Option<Config> {
    let listen = listening::read(file.listen.as_deref(), &file.place, findings);
    let routes = routes(file, findings);
    let access = access(file, &listen, findings);
    let token_exposure = choice(
        file.token_exposure.as_ref(),
        &[("loopback", TokenExposure::Loopback), ("never", TokenExposure::Never), ("always", TokenExposure::Always)],
        TokenExposure::Loopback,
        findings,
    );
    let ready = choice(file.ready.as_ref(), &[("all", ReadyRule::All), ("any", ReadyRule::Any)], defaults::READY_RULE, findings);
    let level = match &file.log_level {
        None => log::LevelFilter::Info,
        Some(written) => value::level(&written.value).unwrap_or_else(|| {
            let problem = written.place.problem(format!("`{}` is no log level", shown(&written.value)));
            findings.problem(problem.remedy("write off, error, warn, info, debug or trace"));
            log::LevelFilter::Info
        }),
    };
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let format = choice(file.log_format.as_ref(), &formats, LogFormat::Text, findings);
    let server = server_conf::read(&file.server, &file.place.member("server"), findings);
    if file.sites.is_empty() && findings.problems.is_empty() {
        let problem = file.place.member("sites").problem("names no OpenEMR site");
        findings.problem(
            problem
                .remedy("write  sites: { default: { openemr: https://…, client_id: …, private_key: …, jwks: …, scopes: […] } }"),
        );
    }
    if file.sites.len() > MAX_SITES {
        findings.problem(
            file.place.member("sites").problem(format!("names {} sites; at most {MAX_SITES} are served", file.sites.len())),
        );
    }
    // The first site is served at the routes themselves; a stable sort keeps the others in the file's order.
    let mut ordered: Vec<&FileSite> = file.sites.iter().take(MAX_SITES).collect();
    ordered.sort_by_key(|site| site.name != "default");
    let sites = ordered
        .into_iter()
        .enumerate()
        .filter_map(|(index, written)| site::read(written, index == 0, &routes, findings).map(Arc::new))
        .collect();
    let config = Config {
        listen,
        routes,
        sites,
        public_url: file.public_url.as_ref().and_then(|written| public_url(written, findings)),
        trusted_proxies: file.trusted_proxies.iter().filter_map(|written| network(written, findings)).collect(),
        access,
        token_exposure,
        ready,
        watch: file.watch,
        drain_delay: file.drain_delay,
        limits: file.limits,
        compression: file.compression,
        log: Log { level, format },
        server,
    };
    findings.problems.is_empty().then_some(config)
}

pub(super) fn choice<T: Copy>(written: Option<&Written<String>>, words: &[(&str, T)], default: T, findings: &mut Findings) -> T {
    let Some(written) = written else {
        return default;
    };
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == written.value) {
        return *value;
    }
    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let problem = written.place.problem(format!("`{}` is not one of {}", shown(&written.value), names.join(", ")));
    findings.problem(match did_you_mean(&written.value, names.iter().copied()) {
        Some(near) => problem.remedy(format!("did you mean `{near}`?")),
        None => problem.remedy(format!("write {}", names.join(" or "))),
    });
    default
}

fn routes(file: &File, findings: &mut Findings) -> Routes {
    let place = file.place.member("routes");
    let mut one = |written: &FileRoute, default: &str| match written {
        FileRoute::Absent => Some(default.to_owned()),
        FileRoute::Off => None,
        FileRoute::At(written) => {
            if !is_route(&written.value) {
                let problem = written.place.problem(format!("`{}` is no path for a route", shown(&written.value)));
                findings.problem(problem.remedy(
                    "begin it with / and end it with none; letters, digits and . _ ~ - only; null switches the route off",
                ));
            }
            Some(written.value.clone())
        }
    };
    let routes = Routes {
        health: one(&file.routes.health, defaults::HEALTH),
        ready: one(&file.routes.ready, defaults::READY),
        jwks: one(&file.routes.jwks, defaults::JWKS),
        token: one(&file.routes.token, defaults::TOKEN),
        fhir: one(&file.routes.fhir, defaults::FHIR),
    };
    let named = [
        ("fhir", &routes.fhir),
        ("health", &routes.health),
        ("ready", &routes.ready),
        ("jwks", &routes.jwks),
        ("token", &routes.token),
    ];
    for (index, (name, path)) in named.iter().enumerate() {
        for (other_name, other) in named.iter().take(index) {
            let (Some(path), Some(other)) = (path, other) else {
                continue;
            };
            let below = *other_name == "fhir" && path.strip_prefix(other.as_str()).is_some_and(|rest| rest.starts_with('/'));
            if path == other || below {
                let problem = place.member(name).problem(format!(
                    "`{}` is already taken by {other_name} (`{}`)",
                    shown(path),
                    shown(other)
                ));
                findings.problem(problem.remedy("give each route a path of its own"));
            }
        }
    }
    routes
}

fn is_route(text: &str) -> bool {
    text.len() <= 256
        && text.strip_prefix('/').is_some_and(|rest| {
            rest.split('/').all(|segment| {
                !matches!(segment, "" | "." | "..") && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~-".contains(&b))
            })
        })
}

fn access(file: &File, listen: &[super::Listener], findings: &mut Findings) -> Access {
    let loopback = || Access::AllowFrom(defaults::ALLOW_FROM.iter().filter_map(|net| net.parse().ok()).collect());
    match &file.access {
        Some(FileAccess::Open) => Access::Open,
        Some(FileAccess::AllowFrom(written, place)) => {
            if written.is_empty() {
                let problem = place.problem("names no network, so that nobody could call");
                findings.problem(problem.remedy("write  allow_from: [127.0.0.0/8, \"::1/128\"]"));
            }
            Access::AllowFrom(written.iter().filter_map(|net| network(net, findings)).collect())
        }
        None => {
            let open = listen.iter().find(|listener| !listening::is_loopback(listener.address.ip()));
            // With another problem in `access` that one is to be mended first.
            let reported = findings.problems.iter().any(|problem| problem.place.key.starts_with("access"));
            if let (Some(listener), false) = (open, reported) {
                let problem = file.place.member("access").problem(format!(
                    "is missing, and {} can be reached from other machines: whoever calls reads patient data",
                    listener.address
                ));
                findings.problem(problem.remedy(
                    "write  access: { allow_from: [10.0.0.0/8] }  with your callers' networks or, if that is meant,  access: open",
                ));
            }
            loopback()
        }
    }
}

/// Never contacted, so that http is as good as https.
fn public_url(written: &Written<String>, findings: &mut Findings) -> Option<BaseUrl> {
    BaseUrl::parse(&written.value)
        .map_err(|error| {
            let problem = written.place.problem(format!("`{}` {error}", shown(&written.value)));
            findings.problem(problem.remedy("write it like  https://gateway.example.org"));
        })
        .ok()
}

fn network(written: &Written<String>, findings: &mut Findings) -> Option<IpNet> {
    let network =
        written.value.parse::<IpNet>().or_else(|_| written.value.parse().map(|address: std::net::IpAddr| address.into()));
    if network.is_err() {
        let problem = written.place.problem(format!("`{}` is no network", shown(&written.value)));
        findings.problem(problem.remedy("write  10.0.0.0/8  or  \"fd00::/8\"  or one address"));
    }
    network.ok().map(|network| network.trunc())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::problem::{Place, Source};
    use crate::config::yaml;

    /// Any tree of the keys and values that the file knows, in places where they belong or not.
    fn tree() -> impl Strategy<Value = String> {
        let key = "listen|address|tls|routes|fhir|sites|default|openemr|scopes|access|allow_from|limits|timeouts|read|log|level|server|threads|x";
        let value =
            "null|true|-1|1e9|5s|64KiB|open|'/fhir'|'https://a'|'127[.]0[.]0[.]1:8000'|'::1/128'|system/Patient[.]read|''";
        value.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(|list| format!("[{}]", list.join(", "))),
                prop::collection::vec((key, inner), 0..5).prop_map(|entries| {
                    let entries: Vec<String> = entries.iter().map(|(key, value)| format!("{key}: {value}")).collect();
                    format!("{{{}}}", entries.join(", "))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_tree_panics_and_none_passes_without_keys(text in tree()) {
            let mut findings = Findings::default();
            let root = yaml::parse(&text);
            prop_assert!(root.is_ok(), "{text}: {root:?}");
            let place = Place::whole(Source::Environment);
            let file = File::read(&root.unwrap(), place, &mut findings);
            prop_assert!(validate(&file, &mut findings).is_none());
            prop_assert!(!findings.problems.is_empty());
        }
    }
}
