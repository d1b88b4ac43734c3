//! Chance that repeats: the same seed gives the same numbers on every machine.

/// Steele, Lea and Flood's SplitMix64.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// From a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which must be above 0.
    pub fn below(&mut self, end: u32) -> u32 {
        let wide = u64::from(end) * (self.bits() >> 32);
        // The product of two 32-bit numbers, shifted by 32, has 32 bits.
        u32::try_from(wide >> 32).unwrap_or(u32::MAX)
    }

    /// A number in [0, 1).
    pub fn unit(&mut self) -> f64 {
        f64::from(self.below(1 << 30)) / f64::from(1u32 << 30)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_published_numbers() {
        let mut chance = Chance::new(1_234_567);
        assert_eq!(chance.bits(), 6_457_827_717_110_365_317);
        assert_eq!(chance.bits(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn numbers_stay_below_their_end() {
        let mut chance = Chance::new(7);
        assert!((0..10_000).all(|_| chance.below(3) < 3));
        assert!((0..10_000).all(|_| (0.0..1.0).contains(&chance.unit())));
    }
}
