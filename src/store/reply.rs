//! What a script answers.

use redis::Value;

use crate::store::store_error::StoreError;

/// An answer of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Nothing.
    Nil,
    /// A whole number.
    Int(i64),
    /// A text or other bytes.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Reply>),
}

impl Reply {
    /// The number, if it is one.
    #[must_use]
    pub(crate) fn int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Nil | Self::Bytes(_) | Self::List(_) => None,
        }
    }
}

impl TryFrom<Value> for Reply {
    type Error = StoreError;

    fn try_from(value: Value) -> Result<Self, StoreError> {
        match value {
            Value::Nil => Ok(Self::Nil),
            Value::Int(number) => Ok(Self::Int(number)),
            Value::BulkString(bytes) => Ok(Self::Bytes(bytes)),
            Value::SimpleString(text) => Ok(Self::Bytes(text.into_bytes())),
            Value::Okay => Ok(Self::Bytes(b"OK".to_vec())),
            Value::Array(values) => values.into_iter().map(Self::try_from).collect::<Result<_, _>>().map(Self::List),
            Value::ServerError(error) => Err(StoreError::answered(error.code())),
            // A store that is spoken to in the protocol's second version answers with nothing else.
            _ => Err(StoreError::Unexpected),
        }
    }
}
