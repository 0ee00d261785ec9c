//! How far one type of an export is, and why it may have come to nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a type has no files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// OpenEMR answered the kick-off with this status.
    Status(u16),
    /// OpenEMR refused a token that was made for it.
    Forbidden,
    /// OpenEMR did not answer the kick-off in time.
    TimedOut,
    /// The connection broke while OpenEMR worked on the kick-off.
    Broken,
    /// OpenEMR could not be reached, or had no time, for minutes.
    Unreachable,
    /// The token endpoint gave no token, for minutes.
    NoToken,
    /// The gateway ended while OpenEMR worked on the kick-off.
    Interrupted,
    /// OpenEMR does not know its job any more.
    Lost,
    /// OpenEMR's job does not come to an end.
    Endless,
    /// OpenEMR's job came to its end, and all that it left is an error.
    Reported,
    /// OpenEMR said something that is none of this.
    NotUnderstood,
}

impl fmt::Display for Cause {
    /// A sentence for a human.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Status(400 | 404 | 501) => "OpenEMR does not export this type.",
            Self::Status(status) => return write!(f, "OpenEMR failed with status {status}. It was not tried again."),
            Self::Forbidden => "OpenEMR does not let the gateway's client export this type.",
            Self::TimedOut => "OpenEMR did not come to an end in time. It was not tried again.",
            Self::Broken => "The connection broke while OpenEMR was at work. It was not tried again.",
            Self::Unreachable => "OpenEMR could not be reached, or was busy, for minutes.",
            Self::NoToken => "The gateway got no access token for minutes.",
            Self::Interrupted => {
                "The gateway was restarted while OpenEMR was at work. It was not tried again; ask for this type anew."
            }
            Self::Lost => "OpenEMR lost its job.",
            Self::Endless => "OpenEMR's job did not come to an end.",
            Self::Reported => "OpenEMR reported an error and exported nothing.",
            Self::NotUnderstood => "OpenEMR's answer was not understood.",
        })
    }
}

/// How far a type is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum State {
    /// Its turn has not come.
    Waiting,
    /// OpenEMR works on the kick-off since then. From this state a restart cannot go on.
    KickedOff {
        /// When.
        since: i64,
    },
    /// OpenEMR has given it a job.
    Working {
        /// When it was kicked off.
        since: i64,
        /// OpenEMR's job.
        job: String,
    },
    /// Exported.
    Done {
        /// When it was kicked off.
        since: i64,
        /// OpenEMR's job.
        job: String,
        /// The ids of its Binaries.
        files: Vec<String>,
        /// The ids of Binaries with OperationOutcomes.
        errors: Vec<String>,
    },
    /// Not exported.
    Failed {
        /// Why.
        cause: Cause,
        /// OpenEMR's job, if it came that far.
        job: Option<String>,
    },
    /// OpenEMR does not export this type, and nobody has named it.
    PassedOver,
}

/// One type of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypePlan {
    /// The resource type.
    #[serde(rename = "type")]
    pub name: String,
    /// Whether the caller has named it.
    pub named: bool,
    /// How far it is.
    pub state: State,
}

impl TypePlan {
    /// Whether it has come to nothing.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        matches!(self.state, State::Failed { .. })
    }
}

impl State {
    /// Whether nothing more happens to it.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        match self {
            Self::Done { .. } | Self::Failed { .. } | Self::PassedOver => true,
            Self::Waiting | Self::KickedOff { .. } | Self::Working { .. } => false,
        }
    }
}
