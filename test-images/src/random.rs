//! Random bytes that a seed decides: the incompressible content of every made file.

use std::io::{self, Read};

/// An endless stream of random bytes.
pub struct RandomBytes(fastrand::Rng);

impl RandomBytes {
    /// A stream of its own for each path of numbers below `seed`, for example `[platform, layer, file]`.
    pub fn new(seed: u64, path: &[u64]) -> Self {
        // The multiplier spreads neighbouring numbers over the whole range (2^64 divided by the golden ratio).
        let mixed = path.iter().fold(seed, |mixed, number| {
            fastrand::Rng::with_seed(mixed ^ number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
                .u64(..)
        });
        Self(fastrand::Rng::with_seed(mixed))
    }
}

impl Read for RandomBytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.fill(buffer);
        Ok(buffer.len())
    }
}
