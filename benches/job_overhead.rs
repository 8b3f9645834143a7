//! Job overhead.

fn main() {}
