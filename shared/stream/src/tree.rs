//! The tree behind a large [`crate::Sorted`]: chunks at the leaves, counts above them. All leaves
//! are equally deep. Nothing is balanced after a removal but small neighbours, which are joined.

use std::mem;
use std::ops::Range;

use crate::sorted::{CHUNK_LEN_MAX, take};

/// Most nodes below one.
const NODES_MAX: usize = 64;

#[derive(Debug, Clone)]
pub(crate) enum Node<T> {
    Leaf(Vec<T>),
    Inner(Inner<T>),
}

#[derive(Debug, Clone)]
pub(crate) struct Inner<T> {
    /// Values below.
    len: usize,
    nodes: Vec<Node<T>>,
}

impl<T> Node<T> {
    const fn len(&self) -> usize {
        match self {
            Self::Leaf(values) => values.len(),
            Self::Inner(inner) => inner.len,
        }
    }

    fn last(&self) -> Option<&T> {
        match self {
            Self::Leaf(values) => values.last(),
            Self::Inner(inner) => inner.last(),
        }
    }

    /// Puts a value in. What it comes back with is the right half of a node that was full.
    pub(crate) fn insert(&mut self, index: usize, value: T) -> Option<Self> {
        let values = match self {
            Self::Inner(inner) => return inner.insert(index, value).map(Self::Inner),
            Self::Leaf(values) => values,
        };
        let index = index.min(values.len());
        if values.len() < CHUNK_LEN_MAX {
            values.insert(index, value);
            return None;
        }
        // In order of time the new one is the last: the full leaf stays full.
        if index == values.len() {
            return Some(Self::Leaf(vec![value]));
        }
        let mut right = values.split_off(CHUNK_LEN_MAX / 2);
        match index.checked_sub(values.len()) {
            Some(behind) if behind > 0 => right.insert(behind, value),
            Some(_) | None => values.insert(index, value),
        }
        Some(Self::Leaf(right))
    }
}

impl<T> Inner<T> {
    /// Over nodes of equal depth.
    pub(crate) fn over(nodes: Vec<Node<T>>) -> Self {
        Self {
            len: nodes.iter().map(Node::len).sum(),
            nodes,
        }
    }

    /// Of values in their order.
    pub(crate) fn of(values: Vec<T>) -> Self {
        let mut values = values.into_iter();
        let mut nodes = Vec::new();
        loop {
            let leaf: Vec<T> = values.by_ref().take(CHUNK_LEN_MAX).collect();
            if leaf.is_empty() {
                break;
            }
            nodes.push(Node::Leaf(leaf));
        }
        while nodes.len() > NODES_MAX {
            let mut below = mem::take(&mut nodes).into_iter();
            loop {
                let group: Vec<Node<T>> = below.by_ref().take(NODES_MAX).collect();
                if group.is_empty() {
                    break;
                }
                nodes.push(Node::Inner(Self::over(group)));
            }
        }
        Self::over(nodes)
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn last(&self) -> Option<&T> {
        self.nodes.last().and_then(Node::last)
    }

    /// Which node holds the index, and where below that it is; the last one where none does.
    fn place(&self, mut index: usize) -> (usize, usize) {
        let last = self.nodes.len().saturating_sub(1);
        for (at, node) in self.nodes.iter().enumerate() {
            if index < node.len() || at == last {
                return (at, index);
            }
            index -= node.len();
        }
        (0, index)
    }

    pub(crate) fn chunk(&self, index: usize) -> (&[T], usize) {
        let (at, index) = self.place(index);
        match self.nodes.get(at) {
            Some(Node::Leaf(values)) => (values, index),
            Some(Node::Inner(inner)) => inner.chunk(index),
            None => (&[], index),
        }
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        let (at, index) = self.place(index);
        match self.nodes.get_mut(at)? {
            Node::Leaf(values) => values.get_mut(index),
            Node::Inner(inner) => inner.get_mut(index),
        }
    }

    pub(crate) fn partition_point(&self, before: &impl Fn(&T) -> bool) -> usize {
        let ends_before = |node: &Node<T>| node.last().is_some_and(before);
        let at = self.nodes.partition_point(ends_before);
        let passed: usize = self.nodes.iter().take(at).map(Node::len).sum();
        passed
            + match self.nodes.get(at) {
                Some(Node::Leaf(values)) => values.partition_point(before),
                Some(Node::Inner(inner)) => inner.partition_point(before),
                None => 0,
            }
    }

    /// Puts a value in. What it comes back with is the right half of a node that was full.
    pub(crate) fn insert(&mut self, index: usize, value: T) -> Option<Self> {
        let (at, below) = self.place(index);
        self.len += 1;
        let right = match self.nodes.get_mut(at) {
            Some(node) => node.insert(below, value)?,
            None => Node::Leaf(vec![value]),
        };
        let appended = at + 1 >= self.nodes.len();
        self.nodes.insert((at + 1).min(self.nodes.len()), right);
        if self.nodes.len() <= NODES_MAX {
            return None;
        }
        let kept = if appended { NODES_MAX } else { NODES_MAX / 2 };
        let right = Self::over(self.nodes.split_off(kept));
        self.len -= right.len;
        Some(right)
    }

    /// Takes a range out, each value through `gone`.
    pub(crate) fn remove(&mut self, range: Range<usize>, gone: &mut impl FnMut(T)) {
        let mut start = 0;
        for node in &mut self.nodes {
            let len = node.len();
            let from = range.start.saturating_sub(start);
            let to = range.end.saturating_sub(start).min(len);
            if from < to {
                match node {
                    Node::Leaf(values) => take(values, from..to, gone),
                    Node::Inner(inner) => inner.remove(from..to, gone),
                }
            }
            start += len;
        }
        self.join();
    }

    /// Forgets empty nodes and joins small neighbours.
    fn join(&mut self) {
        let mut joined: Vec<Node<T>> = Vec::with_capacity(self.nodes.len());
        for node in self.nodes.drain(..).filter(|node| node.len() > 0) {
            match (joined.last_mut(), node) {
                (Some(Node::Leaf(left)), Node::Leaf(mut right))
                    if left.len() + right.len() <= CHUNK_LEN_MAX / 2 =>
                {
                    left.append(&mut right);
                }
                (Some(Node::Inner(left)), Node::Inner(mut right))
                    if left.nodes.len() + right.nodes.len() <= NODES_MAX / 2 =>
                {
                    left.len += right.len;
                    left.nodes.append(&mut right.nodes);
                }
                (_, node) => joined.push(node),
            }
        }
        *self = Self::over(joined);
    }

    #[cfg(test)]
    pub(crate) fn check(&self) -> usize {
        assert!(self.nodes.len() <= NODES_MAX);
        assert_eq!(self.len, self.nodes.iter().map(Node::len).sum::<usize>());
        let depth = |node: &Node<T>| match node {
            Node::Leaf(values) => {
                assert!((1..=CHUNK_LEN_MAX).contains(&values.len()));
                1
            }
            Node::Inner(inner) => 1 + inner.check(),
        };
        let depths: Vec<usize> = self.nodes.iter().map(depth).collect();
        assert!(depths.windows(2).all(|pair| pair[0] == pair[1]));
        depths.first().copied().unwrap_or(0)
    }
}
