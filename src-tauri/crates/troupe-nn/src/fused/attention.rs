//! Grouped-query attention over the rectangles of an [`AttnMask`].
//!
//! Shapes: t = queries, s = keys, n = query heads, m = key/value heads, d = head width,
//! r = queries of a span, c = keys of a span.

use candle_core::{CpuStorage, CustomOp3, D, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::{
    exp::{exp, max, sum},
    f32_slice, is_fusable, with_slices,
};
use crate::{
    gemm::{MatMut, MatRef, gemm},
    mask::{AttnMask, AttnSpan},
};

struct Attention {
    mask: AttnMask,
    scale: f32,
}

/// The sizes of a call.
#[derive(Clone, Copy)]
struct Sizes {
    n: usize,
    m: usize,
    d: usize,
}

/// One head of one span.
#[derive(Clone, Copy)]
struct Task<'a> {
    span: &'a AttnSpan,
    head: usize,
    sizes: Sizes,
    scale: f32,
}

impl<'a> Task<'a> {
    fn all(mask: &'a AttnMask, sizes: Sizes, scale: f32) -> Vec<Self> {
        let heads = |span| (0..sizes.n).map(move |head| Task { span, head, sizes, scale });
        mask.spans.iter().flat_map(heads).collect()
    }

    fn kv_head(&self) -> usize {
        self.head / (self.sizes.n / self.sizes.m)
    }

    /// This head's rows of a (t, n, d) array.
    fn queries<'b>(&self, q: &'b [f32]) -> MatRef<'b> {
        let Sizes { n, d, .. } = self.sizes;
        MatRef::rows(
            q,
            (self.span.queries.start * n + self.head) * d,
            self.span.queries.len(),
            d,
            n * d,
        )
    }

    /// This head's rows of a range of an (s, m, d) array.
    fn keys<'b>(&self, k: &'b [f32], range: &std::ops::Range<usize>) -> MatRef<'b> {
        let Sizes { m, d, .. } = self.sizes;
        MatRef::rows(k, (range.start * m + self.kv_head()) * d, range.len(), d, m * d)
    }

    /// Softmax weights (r, c); keys that a causal query does not see weigh 0.
    fn weights(&self, q: &[f32], k: &[f32]) -> Vec<f32> {
        let (r, c) = (self.span.queries.len(), self.span.num_keys());
        let mut weights = vec![0f32; r * c];
        let mut column = 0;
        for range in &self.span.keys {
            let out = MatMut::rows(&mut weights, column, r, range.len(), c);
            gemm(out, 0., self.scale, self.queries(q), self.keys(k, range).t());
            column += range.len();
        }
        for (row, scores) in weights.chunks_mut(c).enumerate() {
            let (seen, hidden) = scores.split_at_mut(self.span.num_visible(row));
            let max = max(seen);
            seen.iter_mut().for_each(|x| *x = exp(*x - max));
            let inverse = 1. / sum(seen);
            seen.iter_mut().for_each(|x| *x *= inverse);
            hidden.fill(0.);
        }
        weights
    }

    /// Output (r, d) of this head.
    fn forward(&self, q: &[f32], k: &[f32], v: &[f32]) -> Vec<f32> {
        let (r, c, d) = (self.span.queries.len(), self.span.num_keys(), self.sizes.d);
        let weights = self.weights(q, k);
        let mut out = vec![0f32; r * d];
        let mut column = 0;
        for range in &self.span.keys {
            let part = MatRef::rows(&weights, column, r, range.len(), c);
            gemm(MatMut::rows(&mut out, 0, r, d, d), 1., 1., part, self.keys(v, range));
            column += range.len();
        }
        out
    }

    /// Gradients of this head: queries (r, d), keys (c, d), values (c, d).
    fn backward(&self, q: &[f32], k: &[f32], v: &[f32], grad: &[f32]) -> [Vec<f32>; 3] {
        let (r, c, d) = (self.span.queries.len(), self.span.num_keys(), self.sizes.d);
        let weights = self.weights(q, k);
        let grad = self.queries(grad); // (r, d)
        let mut d_values = vec![0f32; c * d];
        let d_values_mut = MatMut::rows(&mut d_values, 0, c, d, d);
        gemm(d_values_mut, 0., 1., MatRef::rows(&weights, 0, r, c, c).t(), grad);
        let mut d_scores = vec![0f32; r * c];
        let mut column = 0;
        for range in &self.span.keys {
            let out = MatMut::rows(&mut d_scores, column, r, range.len(), c);
            gemm(out, 0., 1., grad, self.keys(v, range).t());
            column += range.len();
        }
        // dS = P ∘ (dP − rowsum(dP ∘ P))
        for (ds, p) in d_scores.chunks_mut(c).zip(weights.chunks(c)) {
            let mean: f32 = ds.iter().zip(p).map(|(a, b)| a * b).sum();
            ds.iter_mut().zip(p).for_each(|(a, b)| *a = b * (*a - mean) * self.scale);
        }
        let mut d_queries = vec![0f32; r * d];
        let mut column = 0;
        for range in &self.span.keys {
            let part = MatRef::rows(&d_scores, column, r, range.len(), c);
            gemm(MatMut::rows(&mut d_queries, 0, r, d, d), 1., 1., part, self.keys(k, range));
            column += range.len();
        }
        let mut d_keys = vec![0f32; c * d];
        let scores = MatRef::rows(&d_scores, 0, r, c, c).t();
        gemm(MatMut::rows(&mut d_keys, 0, c, d, d), 0., 1., scores, self.queries(q));
        [d_queries, d_keys, d_values]
    }

    /// Adds this head's (r, d) to its place in a (t, n, d) array.
    fn add_queries(&self, out: &mut [f32], part: &[f32]) {
        let Sizes { n, d, .. } = self.sizes;
        for (query, row) in self.span.queries.clone().zip(part.chunks(d)) {
            let at = (query * n + self.head) * d;
            out[at..at + d].iter_mut().zip(row).for_each(|(a, b)| *a += b);
        }
    }

    /// Adds this head's (c, d) to its place in an (s, m, d) array.
    fn add_keys(&self, out: &mut [f32], part: &[f32]) {
        let Sizes { m, d, .. } = self.sizes;
        let keys = self.span.keys.iter().flat_map(Clone::clone);
        for (key, row) in keys.zip(part.chunks(d)) {
            let at = (key * m + self.kv_head()) * d;
            out[at..at + d].iter_mut().zip(row).for_each(|(a, b)| *a += b);
        }
    }
}

/// Multiplications below which threads cost more than they bring.
const MIN_PARALLEL_WORK: usize = 1 << 17;

/// Runs `f` on all tasks, in parallel when it pays; results in task order.
fn run<T: Send>(tasks: &[Task], f: impl Fn(&Task) -> T + Sync + Send) -> Vec<T> {
    let work: usize =
        tasks.iter().map(|t| t.span.queries.len() * t.span.num_keys() * t.sizes.d).sum();
    if work < MIN_PARALLEL_WORK {
        tasks.iter().map(f).collect()
    } else {
        tasks.par_iter().map(f).collect()
    }
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, n, d) = q_layout.shape().dims3()?;
        let sizes = Sizes { n, m: k_layout.shape().dims3()?.1, d };
        let (q, k, v) = (f32_slice(q, q_layout)?, f32_slice(k, k_layout)?, f32_slice(v, v_layout)?);
        let tasks = Task::all(&self.mask, sizes, self.scale);
        let parts = run(&tasks, |task| task.forward(q, k, v));
        let mut out = vec![0f32; q.len()];
        tasks.iter().zip(&parts).for_each(|(task, part)| task.add_queries(&mut out, part));
        Ok((CpuStorage::F32(out), q_layout.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (_, n, d) = q.dims3()?;
        let sizes = Sizes { n, m: k.dims3()?.1, d };
        let tasks = Task::all(&self.mask, sizes, self.scale);
        let [dq, dk, dv] = with_slices([q, k, v, grad], |[q, k, v, grad]| {
            let parts = run(&tasks, |task| task.backward(q, k, v, grad));
            let [mut dq, mut dk, mut dv] =
                [vec![0f32; q.len()], vec![0f32; k.len()], vec![0f32; v.len()]];
            for (task, [queries, keys, values]) in tasks.iter().zip(&parts) {
                task.add_queries(&mut dq, queries);
                task.add_keys(&mut dk, keys);
                task.add_keys(&mut dv, values);
            }
            Ok([dq, dk, dv])
        })?;
        let tensor = |values, like: &Tensor| Tensor::from_vec(values, like.shape(), like.device());
        Ok((Some(tensor(dq, q)?), Some(tensor(dk, k)?), Some(tensor(dv, v)?)))
    }
}

/// Softmax attention of `q` (t, n, d) over `k` and `v` (s, m, d), giving (t, n, d).
///
/// Query head h uses key/value head h / (n / m). Softmax in f32.
///
/// # Errors
/// When shapes or mask disagree.
pub fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: &AttnMask,
    scale: f64,
) -> Result<Tensor> {
    let (t, n, d) = q.dims3()?;
    let (s, m, dk) = k.dims3()?;
    if k.dims() != v.dims() || d != dk || m == 0 || n % m != 0 {
        bail!("attention: q {:?}, k {:?}, v {:?} do not fit", q.dims(), k.dims(), v.dims())
    }
    if (mask.num_queries, mask.num_keys) != (t, s) {
        bail!("attention: mask {}×{} for {t}×{s}", mask.num_queries, mask.num_keys)
    }
    mask.validate()?;
    if is_fusable(q) {
        let op = Attention { mask: mask.clone(), scale: scale as f32 };
        return q.contiguous()?.apply_op3(&k.contiguous()?, &v.contiguous()?, op);
    }
    composed(q, k, v, mask, scale)
}

/// Scores that the dense form computes at once where no gradient is wanted: 256 MB in f32.
pub const MAX_SCORES: usize = 1 << 26;

/// The same with dense operations. Without gradient, queries take turns so that the scores of a large
/// picture never exist all at once.
fn composed(q: &Tensor, k: &Tensor, v: &Tensor, mask: &AttnMask, scale: f64) -> Result<Tensor> {
    composed_within(q, k, v, mask, scale, MAX_SCORES)
}

fn composed_within(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: &AttnMask,
    scale: f64,
    max_scores: usize,
) -> Result<Tensor> {
    let (t, n, _) = q.dims3()?;
    let (s, m, d) = k.dims3()?;
    let repeat = |xs: &Tensor| -> Result<Tensor> {
        xs.unsqueeze(2)?
            .broadcast_as((s, m, n / m, d))?
            .reshape((s, n, d))?
            .transpose(0, 1)?
            .contiguous() // (n, s, d)
    };
    let (keys, values) = (repeat(k)?.t()?, repeat(v)?);
    let mask = mask.dense(DType::F32, q.device())?; // (t, s)
    let is_learning = [q, k, v].iter().any(|xs| xs.track_op());
    let step = if is_learning { t } else { (max_scores / (n * s).max(1)).clamp(1, t.max(1)) };
    let part = |start: usize| -> Result<Tensor> {
        let rows = step.min(t - start);
        let q = q.narrow(0, start, rows)?.transpose(0, 1)?.contiguous()?; // (n, rows, d)
        let scores = q.matmul(&keys)?.to_dtype(DType::F32)?; // (n, rows, s)
        let scores = (scores * scale)?.broadcast_add(&mask.narrow(0, start, rows)?)?;
        let weights = candle_nn::ops::softmax(&scores, D::Minus1)?.to_dtype(q.dtype())?;
        weights.matmul(&values)?.transpose(0, 1)?.contiguous()
    };
    let parts: Vec<Tensor> = (0..t).step_by(step.max(1)).map(part).collect::<Result<_>>()?;
    Tensor::cat(&parts, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::check::{assert_same_gradients, var};

    fn check(mask: &AttnMask, n: usize, m: usize) -> Result<()> {
        let q = var(&[mask.num_queries, n, 8], 1)?;
        let (k, v) = (var(&[mask.num_keys, m, 8], 2)?, var(&[mask.num_keys, m, 8], 3)?);
        assert_same_gradients(
            &[&q, &k, &v],
            || attention(&q, &k, &v, mask, 0.35),
            || composed(&q, &k, &v, mask, 0.35),
            2e-5,
        )
    }

    #[test]
    fn equals_dense_attention() -> Result<()> {
        check(&AttnMask::full(5, 9), 4, 2)?;
        check(&AttnMask::causal(6, 3), 3, 3)?;
        check(&AttnMask::causal(1, 4), 3, 1)
    }

    #[test]
    fn equals_dense_attention_over_scattered_keys() -> Result<()> {
        let spans = vec![
            AttnSpan { queries: 0..3, keys: vec![0..2, 4..7], causal: true },
            AttnSpan { queries: 3..70, keys: vec![1..2, 3..4, 7..90], causal: false },
        ];
        check(&AttnMask { num_queries: 70, num_keys: 90, spans }, 6, 2)
    }

    #[test]
    fn queries_in_turns_see_the_same() -> Result<()> {
        let plain = |shape: &[usize], seed| -> Result<Tensor> { Ok(var(shape, seed)?.detach()) };
        let (q, k, v) = (plain(&[9, 4, 8], 1)?, plain(&[12, 2, 8], 2)?, plain(&[12, 2, 8], 3)?);
        let mask = AttnMask::causal(9, 3);
        let whole = composed(&q, &k, &v, &mask, 0.35)?;
        for most in [1, 4 * 12 * 2, 4 * 12 * 5] {
            let turns = composed_within(&q, &k, &v, &mask, 0.35, most)?;
            assert_eq!(turns.dims(), whole.dims());
            crate::fused::check::assert_close(&turns, &whole, 1e-6)?;
        }
        Ok(())
    }

    #[test]
    fn refuses_a_mask_of_another_size() -> Result<()> {
        let q = var(&[2, 1, 4], 1)?;
        assert!(attention(&q, &q, &q, &AttnMask::full(2, 3), 1.).is_err());
        Ok(())
    }
}
