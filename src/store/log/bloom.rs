//! A Bloom filter over the beginnings of keys, which are hashes already.

/// Bits for each thing.
const BITS: usize = 10;
/// Bits that each thing sets.
const PROBES: u64 = 6;

/// Says what is surely not there.
#[derive(Debug)]
pub(super) struct Bloom(Vec<u64>);

impl Bloom {
    /// A filter for some things.
    pub(super) fn of(things: &[u64]) -> Self {
        let mut bloom = Self(vec![0; (things.len() * BITS).div_ceil(64).max(1)]);
        for thing in things {
            for bit in bloom.bits(*thing) {
                bloom.0[bit / 64] |= 1 << (bit % 64);
            }
        }
        bloom
    }

    /// One that was written. An empty one says that everything may be there.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let words = bytes.chunks_exact(8).map(|word| {
            let word = word.try_into().unwrap_or_default();
            u64::from_le_bytes(word)
        });
        Self(words.collect())
    }

    /// As it is written.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Whether a thing may be there.
    pub(super) fn may_have(&self, thing: u64) -> bool {
        self.0.is_empty()
            || self
                .bits(thing)
                .all(|bit| self.0[bit / 64] & (1 << (bit % 64)) != 0)
    }

    fn bits(&self, thing: u64) -> impl Iterator<Item = usize> + use<> {
        // Keyed hashes need no more than to be spread over 64 bits.
        let mixed = thing.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (first, step) = (mixed >> 32, (mixed & 0xffff_ffff) | 1);
        let size = self.0.len() as u64 * 64;
        (0..PROBES).map(move |n| (first.wrapping_add(n.wrapping_mul(step)) % size) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_what_it_was_made_of_and_little_else() {
        let things: Vec<u64> = (0..10_000)
            .map(|n: u64| n.wrapping_mul(0x1234_5678_9abc_def1) >> 8)
            .collect();
        let bloom = Bloom::read(&Bloom::of(&things).bytes());
        assert!(things.iter().all(|thing| bloom.may_have(*thing)));
        let wrong = (0..10_000_u64)
            .map(|n| n.wrapping_mul(0x0fed_cba9_8765_4321) >> 8)
            .filter(|thing| bloom.may_have(*thing))
            .count();
        assert!(wrong < 400, "{wrong}");
    }
}
