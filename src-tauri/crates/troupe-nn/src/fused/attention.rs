//! Grouped-query attention over the rectangles of an [`AttnMask`].
//!
//! Shapes: t = queries, s = keys, n = query heads, m = key/value heads, d = head width,
//! r = queries of a span, c = keys of a span.
//!
//! Keys and values of a past that was read before are used where they lie and get no gradient.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp3, D, DType, Layout, Result, Shape, Storage, Tensor, bail};
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
    past: Vec<Past>,
    mask: AttnMask,
    scale: f32,
}

/// Keys and values that were read before, each (p, m, d).
#[derive(Debug, Clone)]
pub struct Past {
    /// The keys.
    pub keys: Tensor,
    /// The values.
    pub values: Tensor,
}

/// Keys, or values, of the pieces of a past and of the present, one after the other.
struct Rows<'a> {
    /// First key of a piece, and its (p, m, d) array; the last piece is the present.
    pieces: Vec<(usize, &'a [f32])>,
}

/// Neighbouring keys within one piece.
struct Part<'a> {
    piece: &'a [f32],
    rows: Range<usize>,
    is_present: bool,
}

impl<'a> Rows<'a> {
    /// `width` is that of a row, m · d.
    fn new(pieces: impl Iterator<Item = &'a [f32]>, width: usize) -> Self {
        let mut first = 0;
        let placed = |piece: &'a [f32]| {
            first += piece.len() / width;
            (first - piece.len() / width, piece)
        };
        Self { pieces: pieces.map(placed).collect() }
    }

    /// First key of the present.
    fn present(&self) -> usize {
        self.pieces.last().map_or(0, |(first, _)| *first)
    }

    /// The pieces of a range of keys, in order.
    fn parts<'b>(&'b self, range: &'b Range<usize>) -> impl Iterator<Item = Part<'a>> + 'b {
        let ends = self.pieces.iter().skip(1).map(|(first, _)| *first).chain([usize::MAX]);
        self.pieces.iter().zip(ends).filter_map(|((first, piece), end)| {
            let rows = range.start.max(*first)..range.end.min(end);
            (!rows.is_empty()).then(|| Part {
                piece,
                rows: rows.start - first..rows.end - first,
                is_present: end == usize::MAX,
            })
        })
    }
}

/// Calls `f` with the values of contiguous f32 tensors.
fn with_all_slices<T>(tensors: &[&Tensor], f: impl FnOnce(&[&[f32]]) -> Result<T>) -> Result<T> {
    let guards: Vec<_> = tensors.iter().map(|tensor| tensor.storage_and_layout()).collect();
    let mut slices = Vec::with_capacity(guards.len());
    for (storage, layout) in &guards {
        let Storage::Cpu(storage) = &**storage else { bail!("fused kernels run on the CPU") };
        slices.push(f32_slice(storage, layout)?);
    }
    f(&slices)
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

    /// This head's rows of some keys.
    fn keys<'b>(&self, part: &Part<'b>) -> MatRef<'b> {
        let Sizes { m, d, .. } = self.sizes;
        let Part { piece, rows, .. } = part;
        MatRef::rows(piece, (rows.start * m + self.kv_head()) * d, rows.len(), d, m * d)
    }

    /// All keys of the span: each part with the column of its first key among the span's.
    fn parts<'b>(&'b self, rows: &'b Rows<'b>) -> impl Iterator<Item = (usize, Part<'b>)> + 'b {
        let mut column = 0;
        self.span.keys.iter().flat_map(|range| rows.parts(range)).map(move |part| {
            column += part.rows.len();
            (column - part.rows.len(), part)
        })
    }

    /// Softmax weights (r, c); keys that a causal query does not see weigh 0.
    fn weights(&self, q: &[f32], k: &Rows) -> Vec<f32> {
        let (r, c) = (self.span.queries.len(), self.span.num_keys());
        let mut weights = vec![0f32; r * c];
        for (column, part) in self.parts(k) {
            let out = MatMut::rows(&mut weights, column, r, part.rows.len(), c);
            gemm(out, 0., self.scale, self.queries(q), self.keys(&part).t());
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
    fn forward(&self, q: &[f32], k: &Rows, v: &Rows) -> Vec<f32> {
        let (r, c, d) = (self.span.queries.len(), self.span.num_keys(), self.sizes.d);
        let weights = self.weights(q, k);
        let mut out = vec![0f32; r * d];
        for (column, part) in self.parts(v) {
            let seen = MatRef::rows(&weights, column, r, part.rows.len(), c);
            gemm(MatMut::rows(&mut out, 0, r, d, d), 1., 1., seen, self.keys(&part));
        }
        out
    }

    /// Gradients of this head: queries (r, d), and keys and values of the present that the span sees.
    fn backward(&self, q: &[f32], k: &Rows, v: &Rows, grad: &[f32]) -> [Vec<f32>; 3] {
        let (r, c, d) = (self.span.queries.len(), self.span.num_keys(), self.sizes.d);
        let weights = self.weights(q, k);
        let grad = self.queries(grad); // (r, d)
        let d_values = self.present_gradients(v, &weights, grad);
        let mut d_scores = vec![0f32; r * c];
        for (column, part) in self.parts(v) {
            let out = MatMut::rows(&mut d_scores, column, r, part.rows.len(), c);
            gemm(out, 0., 1., grad, self.keys(&part).t());
        }
        // dS = P ∘ (dP − rowsum(dP ∘ P))
        for (ds, p) in d_scores.chunks_mut(c).zip(weights.chunks(c)) {
            let mean: f32 = ds.iter().zip(p).map(|(a, b)| a * b).sum();
            ds.iter_mut().zip(p).for_each(|(a, b)| *a = b * (*a - mean) * self.scale);
        }
        let mut d_queries = vec![0f32; r * d];
        for (column, part) in self.parts(k) {
            let seen = MatRef::rows(&d_scores, column, r, part.rows.len(), c);
            gemm(MatMut::rows(&mut d_queries, 0, r, d, d), 1., 1., seen, self.keys(&part));
        }
        let d_keys = self.present_gradients(k, &d_scores, self.queries(q));
        [d_queries, d_keys, d_values]
    }

    /// `weightsᵀ by` for the keys of the present alone, in the span's order: weights (r, c), by (r, d).
    fn present_gradients(&self, rows: &Rows, weights: &[f32], by: MatRef) -> Vec<f32> {
        let (r, c, d) = (self.span.queries.len(), self.span.num_keys(), self.sizes.d);
        let mut grads = Vec::new();
        for (column, part) in self.parts(rows).filter(|(_, part)| part.is_present) {
            let (start, num) = (grads.len(), part.rows.len());
            grads.resize(start + num * d, 0.);
            let seen = MatRef::rows(weights, column, r, num, c).t();
            gemm(MatMut::rows(&mut grads, start, num, d, d), 0., 1., seen, by);
        }
        grads
    }

    /// Adds this head's (r, d) to its place in a (t, n, d) array.
    fn add_queries(&self, out: &mut [f32], part: &[f32]) {
        let Sizes { n, d, .. } = self.sizes;
        for (query, row) in self.span.queries.clone().zip(part.chunks(d)) {
            let at = (query * n + self.head) * d;
            out[at..at + d].iter_mut().zip(row).for_each(|(a, b)| *a += b);
        }
    }

    /// Adds gradients of the present's keys to their places in an (s, m, d) array of the present, which
    /// starts at key `present`.
    fn add_keys(&self, out: &mut [f32], part: &[f32], present: usize) {
        let Sizes { m, d, .. } = self.sizes;
        let keys = self.span.keys.iter().flat_map(Clone::clone).filter(|key| *key >= present);
        for (key, row) in keys.zip(part.chunks(d)) {
            let at = ((key - present) * m + self.kv_head()) * d;
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

impl Attention {
    /// Calls `f` with all keys and all values, of which `k` and `v` are the present's.
    fn with_rows<T>(
        &self,
        (k, v): (&[f32], &[f32]),
        width: usize,
        f: impl FnOnce(&Rows, &Rows) -> T,
    ) -> Result<T> {
        let tensors: Vec<&Tensor> =
            self.past.iter().flat_map(|past| [&past.keys, &past.values]).collect();
        with_all_slices(&tensors, |past| {
            let keys = past.iter().step_by(2).copied().chain([k]);
            let values = past.iter().skip(1).step_by(2).copied().chain([v]);
            Ok(f(&Rows::new(keys, width), &Rows::new(values, width)))
        })
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
        let parts =
            self.with_rows((k, v), sizes.m * d, |k, v| run(&tasks, |task| task.forward(q, k, v)))?;
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
            let (parts, present) = self.with_rows((k, v), sizes.m * d, |k, v| {
                (run(&tasks, |task| task.backward(q, k, v, grad)), k.present())
            })?;
            let [mut dq, mut dk, mut dv] =
                [vec![0f32; q.len()], vec![0f32; k.len()], vec![0f32; v.len()]];
            for (task, [queries, keys, values]) in tasks.iter().zip(&parts) {
                task.add_queries(&mut dq, queries);
                task.add_keys(&mut dk, keys, present);
                task.add_keys(&mut dv, values, present);
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
    attention_after(&[], q, k, v, mask, scale)
}

/// As [`attention`], with keys and values of a past before those of the present: the mask counts the
/// pieces of `past` first, in order. The past gets no gradient.
///
/// # Errors
/// When shapes or mask disagree.
pub fn attention_after(
    past: &[Past],
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
    let mut num_keys = s;
    for Past { keys, values } in past {
        let (p, ..) = keys.dims3()?;
        if keys.dims() != [p, m, d] || values.dims() != keys.dims() {
            bail!("attention: a past of {:?} and {:?}", keys.dims(), values.dims())
        }
        num_keys += p;
    }
    if (mask.num_queries, mask.num_keys) != (t, num_keys) {
        bail!("attention: mask {}×{} for {t}×{num_keys}", mask.num_queries, mask.num_keys)
    }
    mask.validate()?;
    if is_fusable(q) {
        let fixed = |xs: &Tensor| xs.detach().contiguous();
        let piece = |past: &Past| -> Result<Past> {
            Ok(Past { keys: fixed(&past.keys)?, values: fixed(&past.values)? })
        };
        let past = past.iter().map(piece).collect::<Result<_>>()?;
        let op = Attention { past, mask: mask.clone(), scale: scale as f32 };
        return q.contiguous()?.apply_op3(&k.contiguous()?, &v.contiguous()?, op);
    }
    let joined = |of: fn(&Past) -> &Tensor, present: &Tensor| {
        let parts: Vec<Tensor> =
            past.iter().map(|past| of(past).detach()).chain([present.clone()]).collect();
        Tensor::cat(&parts, 0)
    };
    if past.is_empty() {
        return composed(q, k, v, mask, scale);
    }
    let (k, v) = (joined(|past| &past.keys, k)?, joined(|past| &past.values, v)?);
    composed(q, &k, &v, mask, scale)
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
    use candle_core::Var;

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
    fn a_past_in_pieces_is_seen_and_gets_no_gradient() -> Result<()> {
        // Keys: past pieces 0..5 and 5..9, the present 9..90. One span sees across all borders.
        let spans = vec![
            AttnSpan { queries: 0..4, keys: vec![2..7, 9..13], causal: true },
            AttnSpan { queries: 4..20, keys: vec![5..9, 13..29], causal: false },
            AttnSpan { queries: 20..70, keys: vec![0..60, 70..90], causal: false },
        ];
        let mask = AttnMask { num_queries: 70, num_keys: 90, spans };
        let (n, m, d) = (6, 2, 8);
        let plain = |len, seed| -> Result<Tensor> { Ok(var(&[len, m, d], seed)?.detach()) };
        let past = [
            Past { keys: plain(5, 4)?, values: plain(5, 5)? },
            // A part of a larger storage, as a cache hands out.
            Past { keys: plain(9, 6)?.narrow(0, 2, 4)?, values: plain(7, 7)?.narrow(0, 0, 4)? },
        ];
        let q = var(&[70, n, d], 1)?;
        let (k, v) = (var(&[81, m, d], 2)?, var(&[81, m, d], 3)?);
        let whole = |of: fn(&Past) -> &Tensor, present: &Var| {
            Tensor::cat(&[of(&past[0]), of(&past[1]), present.as_tensor()], 0)
        };
        assert_same_gradients(
            &[&q, &k, &v],
            || attention_after(&past, &q, &k, &v, &mask, 0.35),
            || {
                let (k, v) = (whole(|past| &past.keys, &k)?, whole(|past| &past.values, &v)?);
                composed(&q, &k, &v, &mask, 0.35)
            },
            2e-5,
        )?;
        // A past that could learn does not, and no past is the plain form.
        let learning = var(&[5, m, d], 8)?;
        let first = Past { keys: learning.as_tensor().clone(), values: past[0].values.clone() };
        let out = attention_after(&[first, past[1].clone()], &q, &k, &v, &mask, 0.35)?;
        assert!(out.sum_all()?.backward()?.get(&learning).is_none());
        let short = AttnMask::full(70, 81);
        assert!(attention_after(&past, &q, &k, &v, &short, 0.35).is_err());
        attention_after(&[], &q, &k, &v, &short, 0.35)?;
        Ok(())
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
