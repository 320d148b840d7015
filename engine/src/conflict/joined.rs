//! Which things hang together.

/// Groups of things that are numbered from 0.
pub(super) struct Joined(Vec<usize>);

impl Joined {
    /// So many things, each by itself.
    pub(super) fn new(count: usize) -> Self {
        Self((0..count).collect())
    }

    /// The thing that stands for the group of another.
    pub(super) fn root(&mut self, mut index: usize) -> usize {
        while let Some(next) = self.0.get(index).copied().filter(|next| *next != index) {
            // Shorter ways for those that come after.
            let beyond = self.0.get(next).copied().unwrap_or(next);
            if let Some(place) = self.0.get_mut(index) {
                *place = beyond;
            }
            index = next;
        }
        index
    }

    /// Makes one group of two.
    pub(super) fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        if let Some(place) = self.0.get_mut(one.max(other)) {
            *place = one.min(other);
        }
    }
}
