//! stub
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub(crate) struct NoCheckpointKey;
#[derive(Debug)]
pub(crate) struct CheckpointKey;
impl CheckpointKey {
    pub(crate) fn open(_p: &std::path::Path) -> Result<Self, NoCheckpointKey> {
        Ok(Self)
    }
}
