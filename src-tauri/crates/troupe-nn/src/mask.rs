//! Which queries of an attention see which keys, as rectangles instead of a dense matrix.

use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor, bail};

/// A run of queries that see the same keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttnSpan {
    /// The queries.
    pub queries: Range<usize>,
    /// Keys they see. With `causal` the last range is as long as `queries`, and query i sees of it
    /// the keys up to i; all other ranges are seen whole.
    pub keys: Vec<Range<usize>>,
    /// Whether the last range is lower-triangular.
    pub causal: bool,
}

impl AttnSpan {
    /// Keys of all ranges together.
    pub fn num_keys(&self) -> usize {
        self.keys.iter().map(Range::len).sum()
    }

    /// How many of the span's keys, in order, its query number `row` sees.
    pub fn num_visible(&self, row: usize) -> usize {
        let hidden = if self.causal { self.queries.len() - 1 - row } else { 0 };
        self.num_keys() - hidden
    }
}

/// The visibility of a whole attention call. Spans cover every query once, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttnMask {
    /// Queries.
    pub num_queries: usize,
    /// Keys.
    pub num_keys: usize,
    /// Runs of queries.
    pub spans: Vec<AttnSpan>,
}

impl AttnMask {
    /// Every query sees every key.
    pub fn full(num_queries: usize, num_keys: usize) -> Self {
        let keys = std::iter::once(0..num_keys).collect();
        Self {
            num_queries,
            num_keys,
            spans: vec![AttnSpan { queries: 0..num_queries, keys, causal: false }],
        }
    }

    /// `num_past` keys seen by all, then one key per query seen by it and the later ones.
    pub fn causal(num_queries: usize, num_past: usize) -> Self {
        let num_keys = num_past + num_queries;
        let keys = if num_past > 0 {
            vec![0..num_past, num_past..num_keys]
        } else {
            std::iter::once(0..num_keys).collect()
        };
        Self {
            num_queries,
            num_keys,
            spans: vec![AttnSpan { queries: 0..num_queries, keys, causal: true }],
        }
    }

    /// Checks the promises of the field docs.
    ///
    /// # Errors
    /// Naming the first broken one.
    pub fn validate(&self) -> Result<()> {
        let mut next = 0;
        for span in &self.spans {
            if span.queries.start != next || span.queries.is_empty() {
                bail!(
                    "attention spans must cover the queries in order, got {:?} at {next}",
                    span.queries
                )
            }
            next = span.queries.end;
            if span.keys.iter().any(|r| r.start > r.end || r.end > self.num_keys) {
                bail!("attention keys {:?} exceed {}", span.keys, self.num_keys)
            }
            if span.causal && span.keys.last().map(Range::len) != Some(span.queries.len()) {
                bail!("a causal span needs as many own keys as queries")
            }
            if span.num_visible(0) == 0 {
                bail!("query {} sees no key", span.queries.start)
            }
        }
        if next != self.num_queries {
            bail!("attention spans cover {next} of {} queries", self.num_queries)
        }
        Ok(())
    }

    /// The mask as an additive matrix (queries, keys) of 0 and −∞.
    ///
    /// # Errors
    /// When the device refuses the copy.
    pub fn dense(&self, dtype: DType, device: &Device) -> Result<Tensor> {
        let mut cells = vec![f32::NEG_INFINITY; self.num_queries * self.num_keys];
        for span in &self.spans {
            for (row, query) in span.queries.clone().enumerate() {
                let seen = span.keys.iter().flat_map(Clone::clone).take(span.num_visible(row));
                seen.for_each(|key| cells[query * self.num_keys + key] = 0.);
            }
        }
        Tensor::from_vec(cells, (self.num_queries, self.num_keys), device)?.to_dtype(dtype)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causal_is_aligned_to_the_end() -> Result<()> {
        let dense = AttnMask::causal(2, 1).dense(DType::F32, &Device::Cpu)?.to_vec2::<f32>()?;
        assert_eq!(dense, [[0., 0., f32::NEG_INFINITY], [0., 0., 0.]]);
        Ok(())
    }

    #[test]
    fn validation_finds_gaps_and_blind_queries() {
        let mut mask = AttnMask::full(3, 4);
        assert!(mask.validate().is_ok());
        mask.spans[0].queries = 1..3;
        assert!(mask.validate().is_err());
        let mut mask = AttnMask::full(3, 4);
        mask.spans[0].keys.clear();
        assert!(mask.validate().is_err());
    }
}
