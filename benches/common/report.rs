//! A line of figures.

use std::time::Duration;

/// Prints median, 90th percentile and minimum; returns the median in milliseconds.
pub(crate) fn report(name: &str, mut times: Vec<Duration>) -> f64 {
    times.sort();
    let ms = |at: usize| times[at.min(times.len() - 1)].as_secs_f64() * 1000.0;
    let p50 = ms(times.len() / 2);
    println!(
        "{name:<28} p50 {p50:7.1} ms   p90 {:7.1} ms   min {:7.1} ms   n {}",
        ms(times.len() * 9 / 10),
        ms(0),
        times.len()
    );
    p50
}
