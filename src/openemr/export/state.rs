//! The state of one resource type in an export, and the causes of a failure.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::openemr::export::level::PROVENANCE;

/// The cause for which a type has no files. The text is a sentence for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cause {
    /// OpenEMR answered the kick-off with this status.
    #[error("{}", status_sentence(*.0))]
    Status(u16),
    /// OpenEMR refused a token with the scope of this type.
    #[error("OpenEMR does not let the gateway's client export this type.")]
    Forbidden,
    /// OpenEMR did not answer the kick-off in time.
    #[error("OpenEMR did not come to an end in time. It was not tried again.")]
    TimedOut,
    /// The connection broke while OpenEMR worked on the kick-off.
    #[error("The connection broke while OpenEMR was at work. It was not tried again.")]
    Broken,
    /// OpenEMR could not be reached, or was busy, for minutes.
    #[error("OpenEMR could not be reached, or was busy, for minutes.")]
    Unreachable,
    /// The token endpoint gave no token for minutes.
    #[error("The gateway got no access token for minutes.")]
    NoToken,
    /// The gateway was restarted, or another one took its place, while OpenEMR worked on the kick-off.
    #[error("The gateway was restarted or replaced while OpenEMR was at work. It was not tried again; ask for this type anew.")]
    Interrupted,
    /// OpenEMR no longer knows the job.
    #[error("OpenEMR lost its job.")]
    Lost,
    /// OpenEMR's job did not end in time.
    #[error("OpenEMR's job did not come to an end.")]
    Endless,
    /// OpenEMR's job ended with an error only.
    #[error("OpenEMR reported an error and exported nothing.")]
    Reported,
    /// OpenEMR's answer could not be read.
    #[error("OpenEMR's answer was not understood.")]
    NotUnderstood,
    /// The type that Provenance is made from was not exported.
    #[error("The export of the type itself failed, so that OpenEMR was not asked for its Provenance.")]
    TypeFailed,
    /// OpenEMR may still be at work on the Provenance of another type.
    #[error("OpenEMR was not asked for it, because it may still be at work on the Provenance of another type.")]
    Withheld,
}

impl Cause {
    /// Whether OpenEMR may still be at work on the job that ended for this cause. Behind Apache, it works on for minutes after the
    /// 504.
    #[must_use]
    pub(crate) fn may_be_at_work(self) -> bool {
        match self {
            Self::Status(status) => matches!(status, 502 | 504) || status > 504,
            Self::TimedOut | Self::Broken | Self::Interrupted | Self::Endless => true,
            Self::Forbidden
            | Self::Unreachable
            | Self::NoToken
            | Self::Lost
            | Self::Reported
            | Self::NotUnderstood
            | Self::TypeFailed
            | Self::Withheld => false,
        }
    }
}

fn status_sentence(status: u16) -> String {
    match status {
        400 | 401 | 404 | 501 => "OpenEMR does not export this type.".to_owned(),
        _ => format!("OpenEMR failed with status {status}. It was not tried again."),
    }
}

/// The state of a type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum State {
    /// The type has not been kicked off.
    Waiting,
    /// OpenEMR is working on the kick-off. After a restart the export cannot go on from this state.
    KickedOff {
        /// The time of the kick-off.
        since: i64,
    },
    /// OpenEMR has accepted the kick-off.
    Working {
        /// The time of the kick-off.
        since: i64,
        /// The id of OpenEMR's job.
        job: String,
    },
    /// The type was exported.
    Done {
        /// The time of the kick-off.
        since: i64,
        /// The id of OpenEMR's job.
        job: String,
        /// The ids of the Binaries with resources.
        files: Vec<String>,
        /// The ids of the Binaries with OperationOutcomes.
        errors: Vec<String>,
        /// The ids of the Binaries with the resources that this Provenance was made from.
        #[serde(default)]
        made_from: Vec<String>,
        /// Whether OpenEMR reported an error that it wrote into no file.
        #[serde(default)]
        has_failed: bool,
    },
    /// The export of the type failed.
    Failed {
        /// The cause.
        cause: Cause,
        /// The id of OpenEMR's job, if there was one.
        job: Option<String>,
    },
    /// OpenEMR does not export this type, and the client did not name it.
    PassedOver,
}

/// A part of a plan: a resource type, or the Provenance of one type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TypePlan {
    /// The resource type.
    #[serde(rename = "type")]
    pub(crate) name: String,
    /// The type that Provenance is made from, which OpenEMR has to export in the same job.
    #[serde(default)]
    pub(crate) of: Option<String>,
    /// Whether the client named the type.
    pub(crate) named: bool,
    /// How long OpenEMR worked on the kick-off, in milliseconds.
    #[serde(default)]
    pub(crate) took: Option<i64>,
    /// The state.
    pub(crate) state: State,
}

impl TypePlan {
    /// A type that waits.
    #[must_use]
    pub(crate) fn waiting(name: &str, named: bool) -> Self {
        Self { name: name.to_owned(), of: None, named, took: None, state: State::Waiting }
    }

    /// The Provenance of a type, which waits.
    #[must_use]
    pub(crate) fn provenance_of(name: &str, named: bool) -> Self {
        Self { of: Some(name.to_owned()), ..Self::waiting(PROVENANCE, named) }
    }

    /// Returns the types that OpenEMR has to export in one job for this part.
    pub(crate) fn job_types(&self) -> impl Iterator<Item = &str> {
        self.of.as_deref().into_iter().chain([self.name.as_str()])
    }

    /// Whether the export of the type failed.
    #[must_use]
    pub(crate) fn is_failed(&self) -> bool {
        matches!(self.state, State::Failed { .. })
    }
}

impl fmt::Display for TypePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.of {
            Some(of) => write!(f, "{} of {of}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl State {
    /// Whether the state is final.
    #[must_use]
    pub(crate) fn is_ended(&self) -> bool {
        match self {
            Self::Done { .. } | Self::Failed { .. } | Self::PassedOver => true,
            Self::Waiting | Self::KickedOff { .. } | Self::Working { .. } => false,
        }
    }
}

/// A finished job, by OpenEMR's manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FinishedJob {
    /// The time at which it began, by OpenEMR's clock, in milliseconds since 1970.
    pub(crate) began: Option<i64>,
    /// The ids of the Binaries with resources.
    pub(crate) files: Vec<String>,
    /// The ids of the Binaries with OperationOutcomes.
    pub(crate) errors: Vec<String>,
    /// The ids of the Binaries with the resources that Provenance was made from.
    pub(crate) made_from: Vec<String>,
    /// Whether an error is reported without a file.
    pub(crate) has_failed: bool,
}
