//! The pool of threads that all kernels share.

use std::sync::Once;

/// Makes the calling thread one of the pool's: the one that runs the network.
///
/// A thread outside of the pool sleeps while the pool works, and waking it costs more than the small
/// products of decoding. To be called once, by the thread that will compute, before anything does;
/// later calls change nothing. `RAYON_NUM_THREADS` sets the number of threads.
pub fn compute_here() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(num_threads()).use_current_thread();
        // Fails when the pool exists already; it then works as it is, only slower.
        let _ = pool.build_global();
    });
}

/// How many threads a network uses: `RAYON_NUM_THREADS`, or one a core. One beside the caller at least:
/// others may use the pool while the caller waits.
pub fn num_threads() -> usize {
    let chosen = std::env::var("RAYON_NUM_THREADS").ok().and_then(|n| n.parse().ok());
    let present = || std::thread::available_parallelism().map_or(1, usize::from);
    chosen.filter(|n| *n > 0).unwrap_or_else(present).max(2)
}
