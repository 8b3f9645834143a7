//! Random numbers for tests that can be run again.

/// Random numbers that a seed repeats (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    /// `TREEFORT_SEED`, or else the clock; printed, so that a failure can be run again.
    pub(crate) fn new() -> Self {
        let seed = std::env::var("TREEFORT_SEED").map_or_else(
            |_| u64::from(std::process::id()) ^ treefort::coordinator::now(),
            |seed| seed.parse().unwrap(),
        );
        eprintln!("TREEFORT_SEED={seed}");
        Self(seed)
    }

    /// A number below this one.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }
}
