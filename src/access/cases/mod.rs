//! The policy cases, as one table.

#[cfg(test)]
mod tests;
