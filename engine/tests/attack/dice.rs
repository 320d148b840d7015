//! A source of numbers that gives the same ones in every run, so that a failure is its seed.

/// `SplitMix64`: neighbouring seeds have nothing in common.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to but not including `sides`, which is not 0.
    pub const fn roll(&mut self, sides: usize) -> usize {
        (self.number() % sides as u64) as usize
    }

    /// True once in so many times.
    pub const fn once_in(&mut self, times: usize) -> bool {
        self.roll(times) == 0
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        if items.is_empty() { None } else { items.get(self.roll(items.len())) }
    }

    /// One of some that there are.
    pub fn one<T: Copy, const N: usize>(&mut self, items: [T; N]) -> T {
        items[self.roll(N)]
    }
}
