//! A fixed piece of training's work, by whose duration a machine is known.

use std::hint::black_box;

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use crate::{
    gemm::{MatMut, MatRef, par_gemm, par_gemm_by_rows},
    threads::num_threads,
};

/// Rows, outputs and inputs of the products, as a step of a small base has them.
const SIZES: (usize, usize, usize) = (768, 1536, 576);

/// A linear layer's product forwards and its two products backwards.
///
/// It brings its own threads: the shared pool belongs to the thread that runs a network, and must not
/// come into being on another one.
#[derive(Debug)]
pub struct Trial {
    pool: ThreadPool,
    xs: Vec<f32>,      // (t, i)
    weight: Vec<f32>,  // (o, i)
    outputs: Vec<f32>, // (t, o)
    inputs: Vec<f32>,  // (t, i)
    grads: Vec<f32>,   // (o, i)
}

impl Trial {
    /// Operations of one [`run`](Self::run): two for each of three products' multiplications.
    pub const OPERATIONS: f64 = 6. * (SIZES.0 * SIZES.1 * SIZES.2) as f64;

    /// The work, with as many threads as a network would use.
    ///
    /// # Errors
    /// When the system refuses the threads.
    pub fn new() -> Result<Self, ThreadPoolBuildError> {
        let (t, o, i) = SIZES;
        let values = |n: usize| (0..n).map(|k| (k % 17) as f32 / 17. - 0.5).collect();
        Ok(Self {
            pool: ThreadPoolBuilder::new().num_threads(num_threads()).build()?,
            xs: values(t * i),
            weight: values(o * i),
            outputs: vec![0.; t * o],
            inputs: vec![0.; t * i],
            grads: vec![0.; o * i],
        })
    }

    /// Calls `f` on each of the threads that work.
    pub fn on_every_thread<T: Send>(&self, f: impl Fn() -> T + Sync) -> Vec<T> {
        self.pool.broadcast(|_| f())
    }

    /// Does the work once.
    pub fn run(&mut self) {
        let (t, o, i) = SIZES;
        let Self { pool, xs, weight, outputs, inputs, grads } = self;
        pool.install(|| {
            let x = MatRef::rows(xs, 0, t, i, i);
            par_gemm_by_rows(MatMut::rows(outputs, 0, t, o, o), 0., 1., x, weight, (o, i));
            let grad = MatRef::rows(outputs, 0, t, o, o);
            par_gemm(MatMut::rows(grads, 0, o, i, i), 0., 1., grad.t(), x);
            let w = MatRef::rows(weight, 0, o, i, i);
            par_gemm(MatMut::rows(inputs, 0, t, i, i), 0., 1., grad, w);
        });
        black_box((&self.inputs, &self.grads));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_products_are_done() -> Result<(), ThreadPoolBuildError> {
        let mut trial = Trial::new()?;
        trial.run();
        for made in [&trial.outputs, &trial.inputs, &trial.grads] {
            assert!(made.iter().any(|x| *x != 0.) && made.iter().all(|x| x.is_finite()));
        }
        assert_eq!(trial.on_every_thread(|| ()).len(), num_threads());
        // Forwards (t, o, i), for the weight (o, t, i), for the input (t, i, o).
        assert_eq!(Trial::OPERATIONS, 3. * 2. * 768. * 1536. * 576.);
        Ok(())
    }
}
