//! The nodes that a request has given up.

/// Nodes of one site, by index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tried(u64);

impl Tried {
    /// Adds one. A site has 64 nodes at most.
    pub(crate) fn add(&mut self, node: usize) {
        self.0 |= 1_u64.checked_shl(u32::try_from(node).unwrap_or(u32::MAX)).unwrap_or(0);
    }

    /// Whether it is one of them.
    #[must_use]
    pub(crate) fn has(self, node: usize) -> bool {
        self.0.checked_shr(u32::try_from(node).unwrap_or(u32::MAX)).is_none_or(|bits| bits & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixty_four_nodes_are_told_apart() {
        let mut tried = Tried::default();
        tried.add(0);
        tried.add(63);
        assert!(tried.has(0) && tried.has(63) && !tried.has(1) && !tried.has(62));
    }
}
