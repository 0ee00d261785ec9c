//! The steps of one site, in their order: each node, then a token, then what OpenEMR is, then its resources.

use crate::diagnosis::counts::Searches;
use crate::diagnosis::discovered::{self, Announced};
use crate::diagnosis::outcome::{Finding, Step, Verdict};
use crate::diagnosis::reach::reach;
use crate::diagnosis::subject::Subject;
use crate::diagnosis::walk::Walk;
use crate::diagnosis::{local, shields, statement, token};
use crate::nodes::client::Client;
use crate::nodes::node::Node;
use crate::smart::token::AccessToken;

/// Checks a site.
pub(crate) async fn check(walk: &mut Walk<'_>, client: &Client, subject: &Subject) {
    walk.enter(&subject.name);
    if let Some(site) = &subject.site {
        local::check_site(walk, site);
    }
    let way = Way::find(walk, client, subject).await;
    let token = way.token(walk, client, subject).await;
    let capabilities = match way.node {
        Some(node) => statement::read(walk, client, subject, node).await,
        None => {
            walk.skip(Step::Metadata, "read the CapabilityStatement", way.obstacle());
            None
        }
    };
    match (&token, &capabilities, way.node) {
        (Ok(token), Some(capabilities), Some(node)) => {
            if let Some(site) = &subject.site {
                let asked = &site.token.scopes;
                Searches { client, subject, node, token, asked, capabilities }.count_all(walk).await;
            }
        }
        (Ok(_), _, _) => walk.skip(Step::Count, COUNT, Step::Metadata),
        (Err(because), _, _) => walk.skip(Step::Count, COUNT, *because),
    }
    match &capabilities {
        Some(capabilities) => {
            if let Some(running) = statement::version(walk, capabilities, subject.release) {
                shields::check(walk, running);
            }
        }
        None => {
            walk.skip(Step::Version, "tell the version", Step::Metadata);
            walk.skip(Step::Vulnerability, "compare with the published vulnerabilities", Step::Version);
        }
    }
}

/// Looks at the way to a site's OpenEMR alone: whether each node is reached, its certificate, its SMART configuration and its clock.
/// Returns OpenEMR's own name for its token endpoint, where assertions would be addressed to another one.
pub(crate) async fn look(walk: &mut Walk<'_>, client: &Client, subject: &Subject) -> Option<String> {
    walk.enter(&subject.name);
    Way::find(walk, client, subject).await.announced.other_audience
}

const COUNT: &str = "count resources";

/// The way to a site's OpenEMR.
struct Way<'s> {
    /// The first node that was reached.
    node: Option<&'s Node>,
    /// The first step that failed at a node.
    failed: Option<Step>,
    announced: Announced,
}

impl<'s> Way<'s> {
    async fn find(walk: &mut Walk<'_>, client: &Client, subject: &'s Subject) -> Self {
        let mut way = Self { node: None, failed: None, announced: Announced::default() };
        for node in subject.nodes.by_health(0) {
            match reach(walk, client, &node.fhir).await {
                Ok(()) => {
                    let announced = discovered::look(walk, client, subject, node).await;
                    if way.node.is_none() {
                        way.node = Some(node);
                        way.announced = announced;
                    }
                }
                Err(step) => {
                    way.failed.get_or_insert(step);
                    walk.skip(Step::Discovery, "read the SMART configuration", step);
                    walk.skip(Step::Clock, discovered::COMPARE, step);
                }
            }
            if let Some(tokens) = node.tokens.known()
                && !tokens.origin.url().has_origin_of(node.fhir.url())
                && let Err(step) = reach(walk, client, &tokens.origin).await
            {
                way.failed.get_or_insert(step);
            }
        }
        way
    }

    /// Why nothing can be asked.
    fn obstacle(&self) -> Step {
        self.failed.unwrap_or(Step::Discovery)
    }

    async fn token(&self, walk: &mut Walk<'_>, client: &Client, subject: &Subject) -> Result<AccessToken, Step> {
        let because = match (&subject.site, self.node) {
            (None, _) => {
                let asking = walk.begin(Step::Token, token::ASK);
                let finding = Finding { verdict: Verdict::Skipped, ..Finding::ok("there is no client without a configuration") };
                walk.end(asking, finding.remedy("register one, and check with --config".to_owned()));
                walk.skip(Step::Scopes, token::COMPARE, Step::Token);
                return Err(Step::Token);
            }
            (Some(_), None) => self.obstacle(),
            (Some(_), Some(_)) if self.announced.is_unknown => Step::Discovery,
            (Some(site), Some(_)) => {
                let other = self.announced.other_audience.as_deref();
                return token::exchange(walk, client, subject, site, other).await.ok_or(Step::Token);
            }
        };
        walk.skip(Step::Token, token::ASK, because);
        walk.skip(Step::Scopes, token::COMPARE, because);
        Err(because)
    }
}
