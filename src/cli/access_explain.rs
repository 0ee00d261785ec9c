//! `access explain`: the decision on a request, and the lines of the configuration that it rests on.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method};

use super::outcome::{Failure, Outcome, load, print};
use crate::access::caller::{Caller, Credential};
use crate::access::decision::{Verdict, decide};
use crate::access::patients::Patients;
use crate::access::question::{Asked, Question, Unreadable};
use crate::access::refusal::Refusal;
use crate::config::problem::shown;
use crate::config::{CONFIG_FILE, Config, Site};
use crate::fhir::if_none_exist::IF_NONE_EXIST;
use crate::fhir::interaction::{Interaction, Kind};
use crate::http::request_target::Target;
use crate::limits::client_limits::ClientLimits;

/// The arguments of `access explain`.
#[derive(Debug, clap::Args)]
pub(super) struct Explain {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = CONFIG_FILE)]
    config: PathBuf,
    /// A file of KEY=VALUE lines; the process environment wins over it
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// The client
    #[arg(long, value_name = "NAME", required_unless_present = "anonymous")]
    client: Option<String>,
    /// A caller without credentials
    #[arg(long, conflicts_with = "client")]
    anonymous: bool,
    /// The method and the path with its query
    #[arg(long, value_name = "REQUEST")]
    request: String,
    /// The form in the body of a search by POST
    #[arg(long, value_name = "FORM", default_value = "")]
    form: String,
    /// The value of If-None-Exist
    #[arg(long, value_name = "QUERY")]
    if_none_exist: Option<String>,
    /// A patient of the client, where these stand in a Group or in a JWT; may be given several times
    #[arg(long, value_name = "ID")]
    patient: Vec<String>,
}

impl Explain {
    /// Runs the command.
    ///
    /// # Errors
    /// An invalid configuration, a client that is not in it, a request that is none.
    pub(super) fn run(self) -> Outcome {
        let config = load(&self.config, self.env_file.as_deref())?;
        let mut text = String::new();
        let answer = self.answer(&config, &mut text)?;
        print(&(text + &answer))
    }

    /// The answer. Who calls, and what cannot be known here, is written to `text`.
    fn answer(&self, config: &Config, text: &mut String) -> Result<String, Vec<Failure>> {
        let (method, target) = self.parts()?;
        if matches!(method, Method::CONNECT | Method::TRACE) {
            return Ok(before(405, &"the gateway does not take this method"));
        }
        let target = match Target::parse(target.as_bytes()) {
            Ok(target) => target,
            Err(error) => return Ok(before(400, &error)),
        };
        if let Err(error) = target.check() {
            return Ok(before(400, &error));
        }
        let Some((site, below)) = site(config, target.path) else {
            return Err(vec![Failure::new(
                "this path is none of the FHIR API: policies are about no other",
                format!("name one below  {}", bases(config).map(|(_, base)| base).collect::<Vec<_>>().join("  or  ")),
            )]);
        };
        let interaction = Interaction::of(&method, below);
        if let Kind::Capabilities | Kind::SmartConfiguration = interaction.kind {
            return Ok("allowed     every caller may read it\n".to_owned());
        }
        let caller = match self.caller(config, text)? {
            Some(caller) => caller,
            None => return Ok("refused     401: without a credential\nby          access.anonymous: none\n".to_owned()),
        };
        let mut fields = HeaderMap::new();
        if let Some(condition) = &self.if_none_exist {
            match HeaderValue::from_str(condition) {
                Ok(condition) => fields.insert(&IF_NONE_EXIST, condition),
                Err(_) => return Ok(before(400, &Unreadable::Condition)),
            };
        }
        let asked = Asked {
            site: site.name.as_str(),
            method: &method,
            path: below,
            query: target.query,
            form: self.form.as_bytes(),
            fields: &fields,
            bases: &addresses(config, site),
            plans_searches: site.answers.repairs.search,
        };
        let question = match Question::read(&asked) {
            Ok(question) => question,
            Err(error) => return Ok(before(400, &error)),
        };
        let asks_for_credentials = caller.client.is_none() && !config.access.clients.is_empty();
        Ok(told(&caller, &question, asks_for_credentials))
    }

    /// The method and the target of the request.
    fn parts(&self) -> Result<(Method, &str), Vec<Failure>> {
        let remedy = "write method and path, like  'GET /fhir/Patient?name=a'";
        let failed = |what: &str| vec![Failure::new(format!("`{}` {what}", shown(&self.request)), remedy)];
        let (method, target) = self.request.trim().split_once(' ').ok_or_else(|| failed("is no request"))?;
        let method = method.parse().map_err(|_| failed("begins with no method"))?;
        let target = target.trim();
        let target = target.split_once(" HTTP/").map_or(target, |(target, _)| target);
        Ok((method, target))
    }

    /// Who calls; `None` for a caller without credentials where these are due.
    fn caller(&self, config: &Config, text: &mut String) -> Result<Option<Caller>, Vec<Failure>> {
        let clients = &config.access.clients;
        let caller = match &self.client {
            None => match &clients.anonymous {
                None => return Ok(None),
                Some(policy) => Caller::anonymous(Arc::clone(policy)),
            },
            Some(name) => {
                let client = clients.named(name).ok_or_else(|| {
                    let remedy = "name one of access.clients, or write --anonymous";
                    vec![Failure::new(format!("there is no client `{}`", shown(name)), remedy)]
                })?;
                // The credential plays no part: none widens a policy.
                Caller {
                    client: Some(Arc::clone(&client.name)),
                    policy: Arc::clone(&client.policy),
                    found: None,
                    credential: Credential::ApiKey,
                }
            }
        };
        let name = self.client.as_deref().unwrap_or("without credentials");
        let _ = writeln!(text, "caller      {name}, policy {}", caller.policy.name);
        if caller.policy.limits != ClientLimits::default() {
            let _ = writeln!(text, "limits      {}", caller.policy.limits);
        }
        let found = (!self.patient.is_empty()).then(|| Arc::new(self.patient.iter().cloned().collect()));
        match &caller.policy.patients {
            Patients::All | Patients::Listed(_) => {}
            Patients::Group(_) | Patients::Claim(_) if found.is_some() => {}
            Patients::Group(id) => {
                let _ =
                    writeln!(text, "patients    the members of Group/{id} are known to OpenEMR alone: name some with --patient");
            }
            Patients::Claim(claim) => {
                let _ = writeln!(text, "patients    the claim {} stands in the JWT: name some with --patient", shown(claim));
            }
        }
        Ok(Some(Caller { found, ..caller }))
    }
}

/// A refusal before the policy is asked.
fn before(status: u16, error: &dyn std::fmt::Display) -> String {
    format!("refused     {status}, whatever the policy: {error}\n")
}

/// The decision in words. `asks_for_credentials`: the caller has shown none, and another policy could permit it.
fn told(caller: &Caller, question: &Question<'_>, asks_for_credentials: bool) -> String {
    if caller.policy.is_everything {
        return format!("allowed     everything is\nby          {}\n", caller.policy.line);
    }
    let decision = decide(caller, question);
    let mut text = match decision.verdict {
        Verdict::Allow => "allowed     as it is\n".to_owned(),
        Verdict::Check(_) => match question.interaction.kind {
            Kind::Create => "checked     the resource in the body must be one that the policy permits\n".to_owned(),
            Kind::Update => {
                "checked     the resource in the body, and the one that is there, must be ones that the policy permits\n"
                    .to_owned()
            }
            Kind::Delete => "checked     the resource that is there must be one that the policy permits\n".to_owned(),
            Kind::Read => "checked     a resource that the policy does not permit is answered as an unknown id\n".to_owned(),
            _ => "checked     what the policy does not permit is left out of the answer\n".to_owned(),
        },
        Verdict::Narrow(parameters, _) => {
            let parameters: Vec<_> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("narrowed    to {}; what the policy does not permit is left out of the answer\n", parameters.join("&"))
        }
        Verdict::Refuse(refusal) => {
            let status = match refusal {
                Refusal::Scope(_) | Refusal::Forbidden(_) if asks_for_credentials => 401,
                Refusal::Scope(_) | Refusal::Forbidden(_) => 403,
                Refusal::Unclear(_) => 400,
                Refusal::NotFound => 404,
            };
            format!("refused     {status}: {refusal}\n")
        }
    };
    for line in &decision.by {
        let _ = writeln!(text, "by          {line}");
    }
    text
}

/// The addresses of a site's FHIR API that are known without a request, with which references may begin.
fn addresses(config: &Config, site: &Site) -> Vec<String> {
    let openemrs = site.fhir_bases().map(|base| base.to_string().trim_end_matches('/').to_owned());
    let path = bases(config).find(|(known, _)| known.name == site.name).map(|(_, path)| path);
    let own = config.public_url.as_ref().zip(path).map(|(url, path)| format!("{}{path}", url.to_string().trim_end_matches('/')));
    openemrs.chain(own).collect()
}

/// The paths of the FHIR APIs: the first site is served at the route itself, each further one below `/<site>`.
fn bases(config: &Config) -> impl Iterator<Item = (&Site, String)> {
    let route = config.routes.fhir.as_deref();
    config.sites.iter().enumerate().filter_map(move |(index, site)| {
        let prefix = if index == 0 { String::new() } else { format!("/{}", site.name.as_str()) };
        Some((&**site, format!("{prefix}{}", route?)))
    })
}

/// The site of a path, and what follows its FHIR base.
fn site<'c, 'p>(config: &'c Config, path: &'p [u8]) -> Option<(&'c Site, &'p [u8])> {
    bases(config).find_map(|(site, base)| {
        let below = path.strip_prefix(base.as_bytes())?;
        (below.is_empty() || below.starts_with(b"/")).then_some((site, below))
    })
}
