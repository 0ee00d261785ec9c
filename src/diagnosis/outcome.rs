//! What a step found.

use crate::diagnosis::certificate::Certificate;

/// A step of the check, in the order in which they are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The configuration file and what it names.
    Configuration,
    /// Files and folders: who may read, and whether the gateway may write.
    Files,
    /// The private key, the JWK Set and the `kid`.
    Keys,
    /// The name of a server.
    Dns,
    /// A connection to a server.
    Tcp,
    /// The certificate of a server.
    Tls,
    /// The SMART configuration of OpenEMR.
    Discovery,
    /// The clocks.
    Clock,
    /// The token exchange.
    Token,
    /// The scopes that were granted.
    Scopes,
    /// The CapabilityStatement of OpenEMR.
    Metadata,
    /// One search of one resource type.
    Count,
    /// The version of OpenEMR, and what is particular to it.
    Version,
    /// A published vulnerability of OpenEMR.
    Vulnerability,
}

/// Whose matter a failure is. The exit code of `check` tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Area {
    /// Of this machine: the configuration, files, keys.
    Here,
    /// Of the way to OpenEMR: names, connections, certificates, addresses.
    Network,
    /// Of OpenEMR, which answers and refuses, or fails.
    OpenEmr,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Good.
    Ok,
    /// The gateway runs, and somebody should look at it.
    Warning,
    /// The gateway cannot do its work.
    Failed,
    /// Not done, because of another step.
    Skipped,
}

impl Step {
    /// The name in the output.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Files => "files",
            Self::Keys => "keys",
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Discovery => "discovery",
            Self::Clock => "clock",
            Self::Token => "token",
            Self::Scopes => "scopes",
            Self::Metadata => "metadata",
            Self::Count => "count",
            Self::Version => "version",
            Self::Vulnerability => "vulnerability",
        }
    }

    /// Whose matter a failure of this step is, where nothing else is known.
    fn area(self) -> Area {
        match self {
            Self::Configuration | Self::Files | Self::Keys => Area::Here,
            Self::Dns | Self::Tcp | Self::Tls | Self::Discovery | Self::Metadata => Area::Network,
            Self::Clock | Self::Token | Self::Scopes | Self::Count | Self::Version | Self::Vulnerability => Area::OpenEmr,
        }
    }
}

impl Verdict {
    /// The name in the output.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// What came back from a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// How it ended.
    pub(crate) verdict: Verdict,
    /// What came back.
    pub(crate) found: String,
    /// Why it is not good.
    pub(crate) cause: Option<String>,
    /// What mends it.
    pub(crate) remedy: Option<String>,
    /// The step because of which this one was not done.
    pub(crate) because: Option<Step>,
    /// More that is worth knowing, a line each.
    pub(crate) details: Vec<String>,
    /// The certificate that would have to be trusted.
    pub(crate) to_trust: Option<Certificate>,
    /// Whose matter it is, where the step does not say it.
    pub(crate) area: Option<Area>,
}

impl Finding {
    fn of(verdict: Verdict, found: impl Into<String>) -> Self {
        Self {
            verdict,
            found: found.into(),
            cause: None,
            remedy: None,
            because: None,
            details: Vec::new(),
            to_trust: None,
            area: None,
        }
    }

    /// All is well.
    #[must_use]
    pub(crate) fn ok(found: impl Into<String>) -> Self {
        Self::of(Verdict::Ok, found)
    }

    /// Somebody should look at it.
    #[must_use]
    pub(crate) fn warning(found: impl Into<String>) -> Self {
        Self::of(Verdict::Warning, found)
    }

    /// It is broken.
    #[must_use]
    pub(crate) fn failed(found: impl Into<String>) -> Self {
        Self::of(Verdict::Failed, found)
    }

    /// It was not done because of that step.
    #[must_use]
    pub(crate) fn skipped(because: Step) -> Self {
        Self { because: Some(because), ..Self::of(Verdict::Skipped, format!("because of {}", because.name())) }
    }

    /// The same with its cause.
    #[must_use]
    pub(crate) fn cause(self, cause: impl Into<String>) -> Self {
        Self { cause: Some(cause.into()), ..self }
    }

    /// The same with what mends it, if that is known.
    #[must_use]
    pub(crate) fn remedy(self, remedy: impl Into<Option<String>>) -> Self {
        Self { remedy: remedy.into(), ..self }
    }

    /// The same with what mends it or, where nobody knows, with where to look.
    #[must_use]
    pub(crate) fn remedy_or_log(self, remedy: Option<String>) -> Self {
        let log = || "see OpenEMR's own log at this time, and that of whatever stands in front of it".to_owned();
        self.remedy(remedy.unwrap_or_else(log))
    }

    /// The same as a matter of this area.
    #[must_use]
    pub(crate) fn in_area(self, area: Area) -> Self {
        Self { area: Some(area), ..self }
    }
}

/// A step that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Which.
    pub(crate) step: Step,
    /// For which site; `None` for the gateway as a whole.
    pub(crate) site: Option<String>,
    /// What was done.
    pub(crate) did: String,
    /// What came of it.
    pub(crate) finding: Finding,
}

impl Outcome {
    /// Whose matter it is.
    #[must_use]
    pub(crate) fn area(&self) -> Area {
        self.finding.area.unwrap_or_else(|| self.step.area())
    }
}

/// The first failure's area; `None` where nothing failed.
#[must_use]
pub(crate) fn first_failure(outcomes: &[Outcome]) -> Option<Area> {
    outcomes.iter().find(|outcome| outcome.finding.verdict == Verdict::Failed).map(Outcome::area)
}
