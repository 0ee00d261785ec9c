//! SMART App Launch "Backend Services": client assertions, the token exchange, the life of a token.

pub mod scope;
