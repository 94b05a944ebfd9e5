//! How the blocks of one forward pass lie in memory and which tokens see which.
//!
//! A sequence is a list of blocks. Inside the network the tokens of all blocks are kept in two
//! rows, one per expert: first every understanding token, then every latent. Neither expert then
//! needs a gather, and attention, which does not care about order, gets its masks from here.
//!
//! Source: BAGEL, `data/dataset_base.py` (splits and positions), `data/data_utils.py` (masks).

use std::ops::Range;

use troupe_nn::mask::{AttnMask, AttnSpan};

/// How the tokens of a block see each other and whether later blocks see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockMode {
    /// Text: each token sees those before it.
    Causal,
    /// A picture: all see all.
    Full,
    /// A noised target: as `Full`, and invisible to every later block.
    Noise,
}

/// One block of a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The sample it belongs to; nothing is visible across samples. Ascending from 0.
    pub sample: usize,
    /// Visibility.
    pub mode: BlockMode,
    /// Tokens for the understanding expert: text, vision tokens, image markers.
    pub num_und: usize,
    /// Tokens for the generation expert: latents.
    pub num_gen: usize,
    /// Rotary position of the first token; text counts up from it, pictures stay on it.
    pub position: u32,
    /// Index of an earlier text or picture block that every block of this sample sees besides its own: the
    /// common start of several samples, run once. Set on a sample's first block.
    pub prefix: Option<usize>,
}

impl Block {
    fn num_in(&self, view: View) -> usize {
        self.num_und + if view == View::All { self.num_gen } else { 0 }
    }
}

/// Cached keys that a sample sees before its first block, as ranges of all cached keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PastKeys {
    /// In layers with both experts.
    pub all: Range<usize>,
    /// In layers without a generation expert, whose caches hold no latents.
    pub und: Range<usize>,
}

/// Which tokens take part in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    All,
    Und,
}

/// The order, positions and masks of one forward pass.
#[derive(Debug, Clone)]
pub struct Layout {
    blocks: Vec<Block>,
    mask_all: AttnMask,
    mask_und: AttnMask,
}

impl Layout {
    /// Lays out `blocks`; `past` gives the cached keys of each sample and may be empty.
    pub fn new(blocks: Vec<Block>, past: &[PastKeys]) -> Self {
        let mask_all = build_mask(&blocks, past, View::All);
        let mask_und = build_mask(&blocks, past, View::Und);
        Self { blocks, mask_all, mask_und }
    }

    /// The blocks, in sequence order.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Understanding tokens of all blocks.
    pub fn num_und(&self) -> usize {
        self.blocks.iter().map(|b| b.num_und).sum()
    }

    /// Latents of all blocks.
    pub fn num_gen(&self) -> usize {
        self.blocks.iter().map(|b| b.num_gen).sum()
    }

    /// Mask of a layer with both experts: rows are understanding tokens, then latents.
    pub fn mask_all(&self) -> &AttnMask {
        &self.mask_all
    }

    /// Mask of a layer without a generation expert.
    pub fn mask_und(&self) -> &AttnMask {
        &self.mask_und
    }

    /// Rotary positions of the understanding tokens.
    pub fn und_positions(&self) -> Vec<u32> {
        let block = |b: &Block| -> Vec<u32> {
            match b.mode {
                BlockMode::Causal => (b.position..b.position + b.num_und as u32).collect(),
                BlockMode::Full | BlockMode::Noise => vec![b.position; b.num_und],
            }
        };
        self.blocks.iter().flat_map(block).collect()
    }

    /// Rotary positions of the latents.
    pub fn gen_positions(&self) -> Vec<u32> {
        self.blocks.iter().flat_map(|b| vec![b.position; b.num_gen]).collect()
    }
}

/// Rows of a block in the two-row order: understanding tokens, then latents.
fn rows(blocks: &[Block], view: View) -> Vec<[Range<usize>; 2]> {
    let num_und: usize = blocks.iter().map(|b| b.num_und).sum();
    let (mut und, mut latent) = (0, num_und);
    let mut rows = Vec::with_capacity(blocks.len());
    for block in blocks {
        let num_gen = if view == View::All { block.num_gen } else { 0 };
        rows.push([und..und + block.num_und, latent..latent + num_gen]);
        und += block.num_und;
        latent += num_gen;
    }
    rows
}

fn push_range(ranges: &mut Vec<Range<usize>>, next: Range<usize>) {
    match ranges.last_mut() {
        _ if next.is_empty() => {}
        Some(last) if last.end == next.start => last.end = next.end,
        _ => ranges.push(next),
    }
}

fn build_mask(blocks: &[Block], past: &[PastKeys], view: View) -> AttnMask {
    let past_range = |sample: usize| {
        past.get(sample)
            .map_or(0..0, |p| if view == View::All { p.all.clone() } else { p.und.clone() })
    };
    let offset = (0..past.len()).map(|s| past_range(s).end).max().unwrap_or(0);
    let num_new: usize = blocks.iter().map(|b| b.num_in(view)).sum();
    let block_rows = rows(blocks, view);
    let (mut und_spans, mut gen_spans) = (Vec::new(), Vec::new());
    let mut visible: Vec<Range<usize>> = Vec::new();
    let mut sample = None;
    for (block, [und, latent]) in blocks.iter().zip(block_rows.clone()) {
        if sample != Some(block.sample) {
            sample = Some(block.sample);
            visible.clear();
            push_range(&mut visible, past_range(block.sample));
            if let Some([und, _]) = block.prefix.and_then(|index| block_rows.get(index)) {
                push_range(&mut visible, und.start + offset..und.end + offset);
            }
        }
        let own = [&und, &latent].map(|r| r.start + offset..r.end + offset);
        let causal = block.mode == BlockMode::Causal;
        let mut keys = visible.clone();
        if causal {
            keys.push(own[0].clone());
        } else {
            own.iter().for_each(|r| push_range(&mut keys, r.clone()));
        }
        for (queries, spans) in [(und, &mut und_spans), (latent, &mut gen_spans)] {
            if !queries.is_empty() {
                spans.push(AttnSpan { queries, keys: keys.clone(), causal });
            }
        }
        if block.mode != BlockMode::Noise {
            own.into_iter().for_each(|r| push_range(&mut visible, r));
        }
    }
    und_spans.append(&mut gen_spans);
    AttnMask { num_queries: num_new, num_keys: offset + num_new, spans: und_spans }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    fn block(sample: usize, mode: BlockMode, num_und: usize, num_gen: usize) -> Block {
        Block { sample, mode, num_und, num_gen, position: 0, prefix: None }
    }

    fn grid(mask: &AttnMask) -> Vec<String> {
        let dense = mask.dense(DType::F32, &Device::Cpu).unwrap().to_vec2::<f32>().unwrap();
        let cell = |x: &f32| if *x == 0. { '1' } else { '.' };
        dense.iter().map(|row| row.iter().map(cell).collect()).collect()
    }

    #[test]
    fn noised_blocks_are_seen_by_nobody_else() {
        // Text (2), noised (1 latent, 2 markers), clean (1 latent, 2 markers), text (2); columns:
        // text 2, noise markers 2, clean markers 2, text 2, noise latent, clean latent.
        use BlockMode::{Causal, Full, Noise};
        let blocks = vec![
            block(0, Causal, 2, 0),
            block(0, Noise, 2, 1),
            block(0, Full, 2, 1),
            block(0, Causal, 2, 0),
        ];
        let layout = Layout::new(blocks, &[]);
        assert_eq!(
            grid(layout.mask_all()),
            [
                "1.........",
                "11........", // text
                "1111....1.",
                "1111....1.", // noise markers
                "11..11...1",
                "11..11...1", // clean markers
                "11..111..1",
                "11..1111.1", // text
                "1111....1.", // noised latent
                "11..11...1", // clean latent
            ]
        );
        assert_eq!(
            grid(layout.mask_und()),
            [
                "1.......", "11......", "1111....", "1111....", "11..11..", "11..11..", "11..111.",
                "11..1111"
            ]
        );
    }

    #[test]
    fn a_common_start_is_seen_by_every_sample_that_names_it() {
        let start = block(0, BlockMode::Causal, 2, 0);
        let rest = |sample| Block { prefix: Some(0), ..block(sample, BlockMode::Causal, 1, 0) };
        let layout = Layout::new(vec![start, rest(1), rest(2)], &[]);
        assert_eq!(grid(layout.mask_all()), ["1...", "11..", "111.", "11.1"]);
    }

    #[test]
    fn samples_see_only_their_own_past() {
        let past = [PastKeys { all: 0..2, und: 0..1 }, PastKeys { all: 2..3, und: 1..2 }];
        let blocks = vec![block(0, BlockMode::Noise, 0, 1), block(1, BlockMode::Noise, 0, 1)];
        let layout = Layout::new(blocks, &past);
        assert_eq!(grid(layout.mask_all()), ["11.1.", "..1.1"]);
        assert_eq!(layout.mask_und().num_queries, 0);
    }
}
