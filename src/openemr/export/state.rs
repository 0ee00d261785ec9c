//! The state of one resource type in an export, and the causes of a failure.

use serde::{Deserialize, Serialize};

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
    /// The gateway was restarted while OpenEMR worked on the kick-off.
    #[error("The gateway was restarted while OpenEMR was at work. It was not tried again; ask for this type anew.")]
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
}

fn status_sentence(status: u16) -> String {
    match status {
        400 | 404 | 501 => "OpenEMR does not export this type.".to_owned(),
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

/// A resource type in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TypePlan {
    /// The resource type.
    #[serde(rename = "type")]
    pub(crate) name: String,
    /// Whether the client named the type.
    pub(crate) named: bool,
    /// The state.
    pub(crate) state: State,
}

impl TypePlan {
    /// Whether the export of the type failed.
    #[must_use]
    pub(crate) fn is_failed(&self) -> bool {
        matches!(self.state, State::Failed { .. })
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
