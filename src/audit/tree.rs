//! The Merkle tree over the lines of a file (RFC 6962 section 2.1, RFC 9162 section 2.1.1), grown leaf by leaf.

use aws_lc_rs::digest::{Context, SHA256, digest};

/// A SHA-256.
pub(crate) type Hash = [u8; 32];

/// A tree that knows its root, and not its leaves: it holds the roots of the complete subtrees that it consists of, the largest
/// first. Their sizes are the powers of two in its size.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    size: u64,
    subtrees: Vec<Hash>,
}

impl Clone for Tree {
    fn clone(&self) -> Self {
        Self { size: self.size, subtrees: self.subtrees.clone() }
    }

    fn clone_from(&mut self, other: &Self) {
        self.size = other.size;
        self.subtrees.clone_from(&other.subtrees);
    }
}

impl Tree {
    /// How many leaves it has.
    #[must_use]
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf, by its hash. On average one hash is computed.
    pub(crate) fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        // Each subtree that is as large as what has been added becomes its left half.
        for _ in 0..self.size.trailing_ones() {
            hash = self.subtrees.pop().map_or(hash, |left| node(&left, &hash));
        }
        self.subtrees.push(hash);
        self.size += 1;
    }

    /// The root hash; of a tree without leaves, the hash of nothing.
    #[must_use]
    pub(crate) fn root(&self) -> Hash {
        let mut subtrees = self.subtrees.iter().rev();
        match subtrees.next() {
            None => hash_of(digest(&SHA256, &[]).as_ref()),
            Some(last) => subtrees.fold(*last, |right, left| node(left, &right)),
        }
    }
}

/// The hash of a leaf: SHA-256(0x00 || leaf).
#[must_use]
pub(crate) fn leaf(content: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&[0]);
    context.update(content);
    hash_of(context.finish().as_ref())
}

/// The hash of an inner node: SHA-256(0x01 || left || right).
fn node(left: &Hash, right: &Hash) -> Hash {
    let mut content = [1; 65];
    let (_, hashes) = content.split_at_mut(1);
    let (first, second) = hashes.split_at_mut(32);
    first.copy_from_slice(left);
    second.copy_from_slice(right);
    hash_of(digest(&SHA256, &content).as_ref())
}

fn hash_of(digest: &[u8]) -> Hash {
    digest.try_into().expect("a SHA-256 has 32 bytes")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use tlog_tiles::tlog;

    /// The stored hashes of a tree, as the other program wants them.
    struct Stored(Vec<tlog::Hash>);

    impl tlog::HashReader for Stored {
        fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog::Hash>, tlog::Error> {
            Ok(indexes.iter().map(|index| self.0[usize::try_from(*index).unwrap()]).collect())
        }
    }

    #[test]
    fn every_root_is_the_one_that_another_program_computes() {
        let (mut tree, mut stored) = (Tree::default(), Stored(Vec::new()));
        for size in 0..200_u64 {
            assert_eq!(tree.size(), size);
            assert_eq!(tree.root(), tlog::tree_hash(size, &stored).unwrap().0, "{size}");
            let content = format!("leaf {size}");
            let more = tlog::stored_hashes(size, content.as_bytes(), &stored).unwrap();
            assert_eq!(leaf(content.as_bytes()), more[0].0);
            stored.0.extend(more);
            tree.push(leaf(content.as_bytes()));
        }
    }
}
