//! How much memory a base takes in chat and in training, planned from its configuration alone.
//!
//! The plan follows what the code does, on the CPU:
//!
//! | part | held as |
//! |---|---|
//! | linear layers of both experts, output head | the precision's type; Q8_0 9 bits, Q4_K 4.5 bits a weight |
//! | token embedding | the same; half floats beside quantised experts |
//! | norms, vision tower, connector, drawing heads, position tables | the same; f32 beside quantised experts and in training |
//! | picture codec | always f32 |
//! | training: low-rank updates | f32: value, gradient, two moments, and twelve bytes while a checkpoint is written |
//!
//! On the processor the tensor library keeps a second, reordered copy of the four-bit weights that
//! decoding has used: the understanding expert's.
//!
//! Beside the weights stands the largest of the working sets that never exist at once: keys and values
//! with one layer of a prompt; a guided flow step; the codec's decoder at full resolution; the graph of
//! a training batch. Vision tower and codec can be kept off a GPU (`offload_vision`, `offload_codec`):
//! [`MemoryPlan::bytes_offloaded`] is what then stays on it. Stage 1 trains on f32, bf16, Q8_0 and Q4_K weights.
//! Stage 2 unpacks the generation expert, whose weight stage 1's updates become part of.
//!
//! BAGEL-7B-MoT, a prompt of 4096 tokens, pictures of 1024 pixels, 512 text tokens and one picture in
//! a batch, rank 16, in GB (`cargo test -p troupe-model --test released_names -- --nocapture`):
//!
//! | | chat | chat, offloaded | SFT (LoRA) | GRPO (LoRA) |
//! |---|---|---|---|---|
//! | f32 | 64.1 | 58.7 | 67.4 | 115.8 |
//! | bf16, f16 | 34.9 | 30.2 | | |
//! | Q8_0 | 24.0 | 18.8 | 29.8 | 94.3 |
//! | Q4_K | 20.3 | 11.2 | 22.2 | 90.4 |
//!
//! So Q4_K chats within 12 GB with vision tower and codec in main memory, and learns stage 1 within
//! 24 GB; training runs on the processor alone. Stage 2 of that size is out of reach: the graph of a
//! picture of 4096 latents is kept whole.
//!
//! `tests/memory.rs` of the training crate holds the plan against what scaled-down models take.

use std::collections::BTreeMap;

use serde::Serialize;
use troupe_nn::quant::QuantKind;

use crate::{
    config::{CodecKind, ModelConfig},
    flow::LARGE_PICTURE,
    runtime::{Precision, is_language_linear},
};

/// What a base is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Purpose {
    /// Replies and pictures.
    Chat,
    /// Stage 1 through low-rank updates on both experts.
    Sft,
    /// Stage 2 through low-rank updates on the generation expert.
    Grpo,
}

impl Purpose {
    /// Name shown to people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Sft => "SFT (LoRA)",
            Self::Grpo => "GRPO (LoRA)",
        }
    }
}

/// What is asked of the model at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// Tokens of a prompt with its history.
    pub context_tokens: usize,
    /// Side of a picture in pixels.
    pub picture_size: usize,
    /// Text tokens of a training batch.
    pub text_tokens: usize,
    /// Pictures of a training batch.
    pub pictures: usize,
    /// Rank of the low-rank updates.
    pub rank: usize,
    /// Whether layers of stage 1 run again for their gradients.
    pub recompute: bool,
}

impl Workload {
    /// A long prompt, the model's own picture size, and the batch of the preset `bagel-7b-24gb`.
    pub fn usual(config: &ModelConfig) -> Self {
        Self {
            context_tokens: 4096.min(config.llm_config.max_position_embeddings),
            picture_size: config.picture_size,
            text_tokens: 512,
            pictures: 1,
            rank: 16,
            recompute: true,
        }
    }
}

/// Bytes of weights by what they belong to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WeightBytes {
    /// Linear layers of the understanding expert, and the output head.
    pub understanding: usize,
    /// Linear layers of the generation expert.
    pub generation: usize,
    /// Token embedding, norms, drawing heads, latent position table.
    pub others: usize,
    /// Vision tower, connector, vision position table.
    pub vision: usize,
    /// Picture codec.
    pub codec: usize,
}

impl WeightBytes {
    /// All weights.
    pub fn total(&self) -> usize {
        self.understanding + self.generation + self.others + self.vision + self.codec
    }
}

/// What a use would take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryPlan {
    /// The use.
    pub purpose: Purpose,
    /// How weights are held.
    pub precision: Precision,
    /// The weights.
    pub weights: WeightBytes,
    /// The processor's second copy of four-bit weights, in the order in which decoding reads them.
    pub reordered: usize,
    /// What is trained, with gradients and moments.
    pub training: usize,
    /// Working set of the language model.
    pub working: usize,
    /// Working set of the codec, which is idle while the language model works.
    pub codec_working: usize,
}

impl MemoryPlan {
    /// Everything in one memory, on the processor.
    pub fn bytes(&self) -> usize {
        self.weights.total()
            + self.reordered
            + self.training
            + self.working.max(self.codec_working)
            + PACKING
    }

    /// What is on a GPU when vision tower and codec are kept in main memory.
    pub fn bytes_offloaded(&self) -> usize {
        let elsewhere = self.weights.vision + self.weights.codec;
        self.weights.total() - elsewhere + self.training + self.working
    }
}

const F32: usize = 4;
/// Buffers in which matrix products pack their operands.
const PACKING: usize = 8 << 20;

/// Bytes of an activation.
fn value_bytes(precision: Precision) -> usize {
    match precision {
        Precision::Bf16 | Precision::F16 => 2,
        Precision::F32 | Precision::Q8_0 | Precision::Q4K => F32,
    }
}

/// Bytes of a quantisable matrix (o, i).
fn linear_bytes(o: usize, i: usize, precision: Precision) -> usize {
    let kind = match precision {
        Precision::Q8_0 => QuantKind::Q8_0.fitting(i),
        Precision::Q4K => QuantKind::Q4K.fitting(i),
        Precision::F32 | Precision::Bf16 | Precision::F16 => None,
    };
    match kind {
        Some(QuantKind::Q8_0) => o * i * 9 / 8, // 32 values and an f32 scale
        Some(QuantKind::Q4K) => o * i * 9 / 16, // 144 bytes for 256 values
        None => o * i * value_bytes(precision),
    }
}

/// The planner of one base.
#[derive(Debug, Clone)]
pub struct Planner<'a> {
    config: &'a ModelConfig,
    shapes: &'a BTreeMap<String, Vec<usize>>,
}

/// Working copies of a channel's pixels in the decoder's widest block: input, centred, normalised,
/// scaled and shifted.
const CODEC_COPIES: usize = 5;
/// Scores, their scaled and masked copies, and the softmax's.
const SCORE_COPIES: usize = 3;
/// Rows that a layer holds at once while it only computes, in model and in MLP widths.
const PASSING: (usize, usize) = (6, 3);
/// Rows of one layer's graph over dense weights, and over quantised ones, whose low-rank updates are
/// composed of several operations: in model, key/value and MLP widths.
const GRAPH_DENSE: (usize, usize, usize) = (14, 14, 3);
const GRAPH_QUANTISED: (usize, usize, usize) = (22, 14, 9);
/// Gradients that exist while a layer's graph is walked back, in MLP widths.
const WALKING_BACK: usize = 4;
/// Value, gradient, two moments; moments and value again while a checkpoint is written.
const BYTES_PER_TRAINED: usize = 28;

impl<'a> Planner<'a> {
    /// For a configuration and the names and shapes of its tensors
    /// ([`required_tensors`](crate::inspect::required_tensors)).
    pub fn new(config: &'a ModelConfig, shapes: &'a BTreeMap<String, Vec<usize>>) -> Self {
        Self { config, shapes }
    }

    /// Bytes of all weights, as loading holds them.
    pub fn weights(&self, precision: Precision) -> WeightBytes {
        self.weights_beside(precision, value_bytes(precision))
    }

    /// The same with `value` bytes for a number that is neither in a linear layer of the language model
    /// nor in the token embedding.
    fn weights_beside(&self, precision: Precision, value: usize) -> WeightBytes {
        let mut bytes = WeightBytes::default();
        // The embedding is then held apart from the head that it is tied to.
        let is_apart = value_bytes(precision) != value
            || matches!(precision, Precision::Q8_0 | Precision::Q4K);
        for (name, shape) in self.shapes {
            let count: usize = shape.iter().product();
            let (o, i) = (shape.first().copied().unwrap_or(1), shape.get(1).copied().unwrap_or(1));
            if name.starts_with("encoder.") || name.starts_with("decoder.") {
                bytes.codec += count * F32;
            } else if is_vision(name) {
                bytes.vision += count * value;
            } else if is_language_linear(name) && shape.len() == 2 {
                let part = linear_bytes(o, i, precision);
                let is_gen = name.contains("_moe_gen");
                *if is_gen { &mut bytes.generation } else { &mut bytes.understanding } += part;
            } else if name.ends_with("embed_tokens.weight") {
                bytes.others += count * if is_apart { 2 } else { value };
                if self.config.llm_config.tie_word_embeddings && is_apart {
                    bytes.understanding += linear_bytes(o, i, precision); // the head's own copy
                }
            } else {
                bytes.others += count * value;
            }
        }
        bytes
    }

    /// The plan of one use. `None` where the code has no such mode: training is in f32, over weights in
    /// f32, quantised, or, in stage 1, in bf16.
    pub fn plan(
        &self,
        purpose: Purpose,
        precision: Precision,
        load: &Workload,
    ) -> Option<MemoryPlan> {
        let mut weights = self.weights(precision);
        let (training, working) = match purpose {
            Purpose::Chat => (0, self.replying(precision, load).max(self.drawing(precision, load))),
            Purpose::Sft if precision == Precision::Bf16 => {
                weights = self.weights_beside(precision, F32);
                (self.updates(load, |_| true), self.sft_batch(Precision::F32, load))
            }
            _ if matches!(precision, Precision::Bf16 | Precision::F16) => return None,
            Purpose::Sft => (self.updates(load, |_| true), self.sft_batch(precision, load)),
            Purpose::Grpo => {
                weights.generation = self.weights(Precision::F32).generation;
                let updates = self.updates(load, |name| name.contains("_moe_gen"));
                (updates, self.grpo_batch(load))
            }
        };
        // Decoding only: batches are multiplied with unpacked weights.
        let is_reordered = purpose == Purpose::Chat && precision == Precision::Q4K;
        Some(MemoryPlan {
            purpose,
            precision,
            reordered: if is_reordered { weights.understanding } else { 0 },
            weights,
            training,
            working,
            codec_working: self.codec_working(load),
        })
    }

    /// Latents of a picture.
    fn latents(&self, load: &Workload) -> usize {
        (load.picture_size / self.config.pixels_per_token().max(1)).pow(2)
    }

    /// Keys and values of a token in all layers.
    fn kv_values(&self) -> usize {
        let llm = &self.config.llm_config;
        2 * llm.num_hidden_layers * llm.num_key_value_heads * llm.head_dim()
    }

    /// The largest weight once more: unpacked or reordered for a product with many rows.
    fn unpacked(&self, precision: Precision) -> usize {
        let llm = &self.config.llm_config;
        let largest = llm.hidden_size * llm.intermediate_size * F32;
        match precision {
            Precision::F32 => largest,
            Precision::Bf16 | Precision::F16 => 0,
            Precision::Q8_0 | Precision::Q4K => 2 * largest,
        }
    }

    /// One layer over `rows` tokens.
    fn passing(&self, rows: usize, precision: Precision) -> usize {
        let llm = &self.config.llm_config;
        let widths = PASSING.0 * llm.hidden_size + PASSING.1 * llm.intermediate_size;
        rows * widths * value_bytes(precision) + self.unpacked(precision)
    }

    /// Softmax weights of `queries` over `keys`: one head at a time for each of two threads, or, in
    /// half precision, as many heads as fit the limit of the composed form.
    fn scores(&self, queries: usize, keys: usize, precision: Precision) -> usize {
        match precision {
            Precision::Bf16 | Precision::F16 => {
                let heads = self.config.llm_config.num_attention_heads;
                let all = heads * queries * keys;
                2 * SCORE_COPIES * F32 * all.min(troupe_nn::fused::MAX_SCORES.max(heads * keys))
            }
            Precision::F32 | Precision::Q8_0 | Precision::Q4K => 2 * queries * keys * F32,
        }
    }

    /// A prompt is read at once; its context is copied, with a quarter to spare, for the reply.
    fn replying(&self, precision: Precision, load: &Workload) -> usize {
        let tokens = load.context_tokens;
        let kv = self.kv_values() * value_bytes(precision) * tokens;
        let reading = self.passing(tokens, precision).max(self.scores(tokens, tokens, precision));
        let logits = 3 * self.config.llm_config.vocab_size * F32;
        kv + reading.max(kv * 5 / 4 + logits)
    }

    /// A guided flow step: two branches, of small pictures in one pass.
    fn drawing(&self, precision: Precision, load: &Workload) -> usize {
        let latents = self.latents(load);
        let together = if latents > LARGE_PICTURE { 1 } else { 2 };
        let (rows, value) = (together * (latents + 2), value_bytes(precision));
        let kv = self.kv_values() * value * load.context_tokens;
        let layers = self.config.llm_config.num_hidden_layers.max(1);
        let joined = self.kv_values() / layers * value * (load.context_tokens + rows);
        let (queries, keys) = (latents + 2, load.context_tokens + latents + 2);
        kv + joined + self.passing(rows, precision).max(self.scores(queries, keys, precision))
    }

    /// The decoder at full resolution, or its attention at the lowest.
    fn codec_working(&self, load: &Workload) -> usize {
        if self.config.codec == CodecKind::Pixel {
            return 0;
        }
        let vae = &self.config.vae_config;
        let widest = vae.ch * vae.ch_mult.get(1).or(vae.ch_mult.first()).copied().unwrap_or(1);
        let full = CODEC_COPIES * widest * load.picture_size.pow(2) * F32;
        let positions = (load.picture_size / vae.downsample.max(1)).pow(2);
        full.max(SCORE_COPIES * positions.pow(2) * F32)
    }

    /// Low-rank updates on the chosen projections, with all that training keeps of them.
    fn updates(&self, load: &Workload, chosen: impl Fn(&str) -> bool) -> usize {
        let widths: usize = self
            .shapes
            .iter()
            .filter(|(name, shape)| {
                name.contains(".layers.")
                    && shape.len() == 2
                    && is_language_linear(name)
                    && chosen(name)
            })
            .map(|(_, shape)| shape.iter().sum::<usize>())
            .sum();
        load.rank * widths * BYTES_PER_TRAINED
    }

    /// Values of one layer's graph for a token.
    fn graph(&self, (of_model, of_kv, of_mlp): (usize, usize, usize)) -> usize {
        let llm = &self.config.llm_config;
        of_model * llm.hidden_size
            + of_kv * llm.num_key_value_heads * llm.head_dim()
            + of_mlp * llm.intermediate_size
    }

    /// Graph of a batch of texts and pictures in one pass, and what walking it back takes.
    fn sft_batch(&self, precision: Precision, load: &Workload) -> usize {
        let llm = &self.config.llm_config;
        let tokens = load.text_tokens + load.pictures * (self.latents(load) + 2);
        let per_layer = match precision {
            Precision::Q8_0 | Precision::Q4K => self.graph(GRAPH_QUANTISED),
            _ => self.graph(GRAPH_DENSE),
        };
        let graph = if load.recompute {
            llm.num_hidden_layers * llm.hidden_size + per_layer
        } else {
            llm.num_hidden_layers * per_layer
        };
        let back = WALKING_BACK * llm.intermediate_size;
        // Half of the text carries a loss: logits, their softmax and gradient.
        let logits = load.text_tokens / 2 * llm.vocab_size * 3;
        let attention = 3 * self.scores(tokens, tokens, precision);
        F32 * (tokens * (graph + back) + logits) + self.unpacked(precision).max(attention)
    }

    /// Graph of one picture's step behind its prompt, in the layers with a generation expert.
    fn grpo_batch(&self, load: &Workload) -> usize {
        let llm = &self.config.llm_config;
        let layers = (0..llm.num_hidden_layers).filter(|i| llm.has_gen_expert(*i)).count();
        let rows = self.latents(load) + 2;
        let keys = rows + load.context_tokens;
        let kv = self.kv_values() * load.context_tokens * F32;
        let joined = self.kv_values() * keys * F32; // each layer keeps past and new keys together
        let graph = layers * self.graph(GRAPH_DENSE) + WALKING_BACK * llm.intermediate_size;
        let scores = 3 * self.scores(rows, keys, Precision::F32);
        kv + joined + rows * graph * F32 + self.unpacked(Precision::F32).max(scores)
    }
}

/// Whether a tensor goes with the vision tower when that is kept elsewhere.
fn is_vision(name: &str) -> bool {
    ["vit_model.", "connector.", "vit_pos_embed."].iter().any(|prefix| name.starts_with(prefix))
}
