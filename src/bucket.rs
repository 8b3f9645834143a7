//! Buckets of tokens that fill up again: how much of something may happen at once, and in a second after that.

use std::time::Instant;

/// A rate, with what may be saved up.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Tokens in a second.
    pub per_s: f64,
    /// Tokens at once.
    pub most: f64,
}

/// Tokens of one sender.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    left: f64,
    at: Instant,
}

impl Rate {
    /// A bucket with all that may be saved up.
    #[must_use]
    pub fn full(&self, at: Instant) -> Bucket {
        Bucket {
            left: self.most,
            at,
        }
    }

    /// How many tokens there are now.
    pub fn left(&self, bucket: &mut Bucket, now: Instant) -> f64 {
        let waited = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.left = waited.mul_add(self.per_s, bucket.left).min(self.most);
        bucket.at = bucket.at.max(now);
        bucket.left
    }

    /// Takes as many tokens as there are, up to a number.
    pub fn take(&self, bucket: &mut Bucket, wanted: usize, now: Instant) -> usize {
        let granted = wanted.min(self.left(bucket, now) as usize);
        bucket.left -= granted as f64;
        granted
    }
}

/// A rate with its one bucket.
#[derive(Debug)]
pub struct Limit {
    rate: Rate,
    bucket: Bucket,
}

impl Limit {
    /// All that may be saved up is there.
    #[must_use]
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self {
            rate,
            bucket: rate.full(now),
        }
    }

    /// How many tokens there are now.
    pub fn left(&mut self, now: Instant) -> f64 {
        self.rate.left(&mut self.bucket, now)
    }

    /// Takes so many tokens; false when there were not as many.
    pub fn takes(&mut self, tokens: usize, now: Instant) -> bool {
        self.rate.take(&mut self.bucket, tokens, now) == tokens
    }
}
