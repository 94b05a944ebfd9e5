//! Packed training sequences and their losses.
//!
//! A batch is a list of samples, a sample a list of blocks. All samples run in one pass; masks keep
//! them apart.
//!
//! Sources: BAGEL, `data/dataset_base.py` (expansion) and `modeling/bagel/bagel.py` (losses).
//! Shapes: h = model width, D = numbers in a latent token, c = tokens with a text loss,
//! g = latents with a flow loss.

use candle_core::{DType, Result, Tensor, bail};
use troupe_model::{
    config::SpecialTokenIds,
    context::{Context, Reader},
    layout::{Block, BlockMode, Layout},
    llm::{Hidden, Kv},
    unified::{LatentInput, Network},
    vit::DeepRows,
};
use troupe_nn::fused;

/// A picture for the vision tower.
#[derive(Debug, Clone)]
pub enum VisionInput {
    /// A normalised picture (3, H, W), run through the tower.
    Pixels(Tensor),
    /// Features (n, vision width) of a tower that is not trained, computed once.
    Features {
        /// The tower's output.
        features: Tensor,
        /// Rows of patches.
        rows: usize,
        /// Columns of patches.
        columns: usize,
    },
}

/// What a noised picture is trained towards.
#[derive(Debug, Clone)]
pub struct FlowTarget {
    /// Noise ε, shaped like the latents.
    pub noise: Tensor,
    /// Flow time in (0, 1]; 1 is pure noise.
    pub time: f64,
}

/// One block of a training sample.
#[derive(Debug, Clone)]
pub enum SequenceBlock {
    /// A text block with its start and end tokens.
    Text {
        /// Token ids.
        ids: Vec<u32>,
        /// First position that predicts its successor under a loss; none when absent.
        loss_from: Option<usize>,
    },
    /// A picture seen through the vision tower.
    Vision(VisionInput),
    /// A picture as latents: a condition, or a target when `target` is given.
    Latents {
        /// Clean latents x₀, (rows · columns, D).
        tokens: Tensor,
        /// Rows of latents.
        rows: usize,
        /// Columns of latents.
        columns: usize,
        /// Present for a picture to be learnt.
        target: Option<FlowTarget>,
    },
    /// A condition removed for guidance: an image block still advances positions, text does not.
    Dropped {
        /// Whether it was an image block.
        is_image: bool,
    },
}

/// Weights of the two losses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossWeights {
    /// Weight of the text loss; 0.25 in UniCharacter.
    pub ce: f64,
    /// Weight of the flow loss.
    pub mse: f64,
    /// Whether a text token counts 1/√(tokens of its block) instead of 1.
    pub ce_reweighting: bool,
}

impl Default for LossWeights {
    fn default() -> Self {
        Self { ce: 0.25, mse: 1., ce_reweighting: false }
    }
}

/// Losses of a batch and where in the packed sequence they arose.
#[derive(Debug)]
pub struct SequenceLoss {
    /// Rotary position of every packed token.
    pub position_ids: Vec<u32>,
    /// Packed positions with a text loss.
    pub ce_indexes: Vec<usize>,
    /// Their labels.
    pub ce_labels: Vec<u32>,
    /// Weight of each, 1/√c of its block.
    pub ce_weights: Vec<f32>,
    /// Packed positions with a flow loss.
    pub mse_indexes: Vec<usize>,
    /// Negative log-likelihoods (c); absent when c = 0.
    pub ce: Option<Tensor>,
    /// Squared errors, mean over D, (g); absent when g = 0.
    pub mse: Option<Tensor>,
}

/// Means of the losses and their weighted sum.
#[derive(Debug)]
pub struct TotalLoss {
    /// Mean negative log-likelihood.
    pub ce: Option<Tensor>,
    /// Mean squared velocity error.
    pub mse: Option<Tensor>,
    /// The weighted sum that is minimised.
    pub loss: Tensor,
}

impl SequenceLoss {
    /// Combines the token losses.
    ///
    /// # Errors
    /// When there is no loss at all.
    pub fn total(&self, weights: &LossWeights) -> Result<TotalLoss> {
        let ce = match &self.ce {
            Some(ce) if weights.ce_reweighting => {
                let total: f64 = self.ce_weights.iter().map(|w| f64::from(*w)).sum();
                let w = Tensor::new(self.ce_weights.as_slice(), ce.device())?;
                Some(((ce * w)?.sum_all()? / total)?)
            }
            Some(ce) => Some(ce.mean_all()?),
            None => None,
        };
        let mse = self.mse.as_ref().map(Tensor::mean_all).transpose()?;
        let loss = match (&ce, &mse) {
            (Some(ce), Some(mse)) => ((ce * weights.ce)? + (mse * weights.mse)?)?,
            (Some(ce), None) => (ce * weights.ce)?,
            (None, Some(mse)) => (mse * weights.mse)?,
            (None, None) => bail!("a batch without any loss"),
        };
        Ok(TotalLoss { ce, mse, loss })
    }
}

/// What is collected while samples are laid out.
#[derive(Default)]
struct Packed {
    blocks: Vec<Block>,
    und: Vec<Tensor>,
    /// What joins them before later layers, with the first row of each.
    deep: Vec<(usize, DeepRows)>,
    num_und: usize,
    /// Blocks that are pictures for the vision tower.
    pictures: Vec<usize>,
    latents: Vec<LatentRow>,
    num_gen: usize,
    position_ids: Vec<u32>,
    ce_indexes: Vec<usize>,
    ce_rows: Vec<u32>,
    ce_labels: Vec<u32>,
    ce_weights: Vec<f32>,
    mse_indexes: Vec<usize>,
    mse_rows: Vec<u32>,
}

struct LatentRow {
    noised: Tensor,
    time: f64,
    rows: usize,
    columns: usize,
    velocity: Option<Tensor>,
}

/// Runs a batch and returns its token losses.
///
/// # Errors
/// When a block does not fit the network.
pub fn sequence_loss(
    network: &Network,
    special: SpecialTokenIds,
    samples: &[Vec<SequenceBlock>],
) -> Result<SequenceLoss> {
    let mut packed = Packed::default();
    for (sample, blocks) in samples.iter().enumerate() {
        packed.add_sample(network, special, sample, blocks, 0, None)?;
    }
    packed.run(network)
}

/// Shortest common start worth running apart, in tokens.
const MIN_SHARED_TOKENS: usize = 16;

/// As [`sequence_loss`], but a start that the first texts of several samples have in common is run
/// once. Losses are the same; positions and indexes are those of the shortened sequence.
///
/// # Errors
/// As [`sequence_loss`].
pub fn sequence_loss_sharing_starts(
    network: &Network,
    special: SpecialTokenIds,
    samples: &[Vec<SequenceBlock>],
) -> Result<SequenceLoss> {
    let mut packed = Packed::default();
    let mut next_sample = 0;
    let texts: Vec<&[u32]> = samples.iter().map(|s| first_text(s).unwrap_or_default()).collect();
    for (shared, members) in shared_starts(&texts) {
        let prefix = match shared {
            0 => None,
            shared => {
                let ids = &texts[members[0]][..shared];
                packed.position_ids.extend(0..shared as u32);
                let embedded = network.embed_text(ids)?;
                packed.push(next_sample, BlockMode::Causal, embedded, 0)?;
                next_sample += 1;
                Some(packed.blocks.len() - 1)
            }
        };
        for member in members {
            packed.add_sample(network, special, next_sample, &samples[member], shared, prefix)?;
            next_sample += 1;
        }
    }
    packed.run(network)
}

/// Tokens of texts without a common start that are read in one pass.
const TOKENS_PER_PASS: usize = 1024;

/// Reads texts, which include start and end tokens, each into a context of its own; a start that
/// several have in common is read once, and those without share passes. `each` gets index and context in no certain order.
///
/// # Errors
/// When an id is not in the vocabulary, or `each` fails.
pub fn read_sharing_starts(
    reader: Reader,
    texts: &[&[u32]],
    mut each: impl FnMut(usize, Context) -> Result<()>,
) -> Result<()> {
    let (alone, together): (Vec<_>, Vec<_>) =
        shared_starts(texts).into_iter().partition(|(shared, _)| *shared == 0);
    let mut waiting: Vec<usize> = Vec::new();
    let mut tokens = 0;
    let mut read = |waiting: &mut Vec<usize>| -> Result<()> {
        let batch: Vec<Vec<u32>> = waiting.iter().map(|index| texts[*index].to_vec()).collect();
        let contexts = reader.read_texts(&batch)?;
        waiting.drain(..).zip(contexts).try_for_each(|(index, context)| each(index, context))
    };
    for index in alone.into_iter().flat_map(|(_, members)| members) {
        if tokens + texts[index].len() > TOKENS_PER_PASS && !waiting.is_empty() {
            read(&mut waiting)?;
            tokens = 0;
        }
        tokens += texts[index].len();
        waiting.push(index);
    }
    read(&mut waiting)?;
    for (shared, members) in together {
        let mut start = Context::new();
        reader.read_text(&mut start, &texts[members[0]][..shared])?;
        for index in members {
            let mut context = start.fork()?;
            reader.read_text(&mut context, &texts[index][shared..])?;
            each(index, context)?;
        }
    }
    Ok(())
}

/// The ids of a sample's first block, if that is a text without loss.
fn first_text(sample: &[SequenceBlock]) -> Option<&[u32]> {
    match sample.first() {
        Some(SequenceBlock::Text { ids, loss_from: None }) => Some(ids),
        _ => None,
    }
}

/// A picture with exchanges about it, each of which sees the picture and none of the others.
#[derive(Debug, Clone)]
pub struct PictureQuestions {
    /// The picture.
    pub picture: VisionInput,
    /// Blocks of every exchange, after the picture.
    pub exchanges: Vec<Vec<SequenceBlock>>,
}

/// Predictions of the texts with a loss, in the order of the exchanges.
#[derive(Debug)]
pub struct Answers {
    logits: Tensor, // (c, v)
    labels: Vec<u32>,
    lengths: Vec<usize>,
}

impl Answers {
    /// Negative log-likelihood of every token, (c).
    ///
    /// # Errors
    /// When memory runs out.
    pub fn losses(&self) -> Result<Tensor> {
        fused::cross_entropy(&self.logits, &self.labels)
    }

    /// Mean over answers of the mean over their tokens: a long answer counts as much as "Yes.".
    ///
    /// # Errors
    /// When memory runs out.
    pub fn loss(&self) -> Result<Tensor> {
        let answers = self.lengths.iter().filter(|n| **n > 0);
        let share = 1. / answers.clone().count().max(1) as f32;
        let weights: Vec<f32> =
            answers.flat_map(|n| std::iter::repeat_n(share / *n as f32, *n)).collect();
        let losses = self.losses()?;
        (&losses * Tensor::new(weights, losses.device())?)?.sum_all()
    }

    /// Tokens with a loss (c).
    pub fn num_tokens(&self) -> usize {
        self.labels.len()
    }

    /// Per answer: the likeliest token after each right one, and the right ones. They are equal
    /// exactly when greedy decoding gives the right answer.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn greedy(&self) -> Result<Vec<(Vec<u32>, Vec<u32>)>> {
        let said = self.logits.argmax(1)?.to_vec1::<u32>()?;
        let mut start = 0;
        let answer = |n: &usize| {
            start += n;
            (said[start - n..start].to_vec(), self.labels[start - n..start].to_vec())
        };
        Ok(self.lengths.iter().map(answer).collect())
    }
}

/// Runs pictures with exchanges about them; a picture runs once for all of its own. `None` when no
/// text has a loss. Every exchange has one text with a loss.
///
/// # Errors
/// When a block does not fit the network.
pub fn picture_questions_answers(
    network: &Network,
    special: SpecialTokenIds,
    items: &[PictureQuestions],
) -> Result<Option<Answers>> {
    let mut packed = Packed::default();
    let (mut sample, mut lengths) = (0, Vec::new());
    for item in items {
        let picture = SequenceBlock::Vision(item.picture.clone());
        let rope = packed.add(network, special, sample, 0, &picture)?;
        let prefix = packed.blocks.len() - 1;
        for exchange in &item.exchanges {
            sample += 1;
            let (first, before) = (packed.blocks.len(), packed.ce_labels.len());
            let mut rope = rope;
            for block in exchange {
                rope += packed.add(network, special, sample, rope, block)?;
            }
            if let Some(block) = packed.blocks.get_mut(first) {
                block.prefix = Some(prefix);
            }
            lengths.push(packed.ce_labels.len() - before);
        }
        sample += 1;
    }
    if packed.ce_rows.is_empty() {
        return Ok(None);
    }
    let hidden = Hidden {
        und: Some(Tensor::cat(&packed.und, 0)?),
        deep: packed.deep_rows()?,
        sight: network.sight_where(&packed.seeing())?,
        ..Hidden::default()
    };
    let layout = Layout::new(packed.blocks, &[]);
    let hidden = network.forward(hidden, &layout, Kv::None)?;
    let Some(und) = hidden.und else { bail!("questions without tokens") };
    let rows = Tensor::new(packed.ce_rows, und.device())?;
    let logits = network.lm().logits(&und.index_select(&rows, 0)?.contiguous()?)?;
    Ok(Some(Answers { logits, labels: packed.ce_labels, lengths }))
}

/// Groups texts by their start: (tokens in common, members).
fn shared_starts(texts: &[&[u32]]) -> Vec<(usize, Vec<usize>)> {
    let mut groups: Vec<(usize, Vec<usize>)> = Vec::new();
    for (index, ids) in texts.iter().enumerate() {
        let group = groups.iter_mut().find_map(|(shared, members)| {
            let other = texts[members[0]];
            let common = other.iter().zip(*ids).take_while(|(a, b)| a == b).count();
            // The last token stays with the text, so that its block is never empty.
            let common = common.min(*shared).min(ids.len().saturating_sub(1));
            (common >= MIN_SHARED_TOKENS).then_some((common, shared, members))
        });
        match group {
            Some((common, shared, members)) => {
                *shared = common;
                members.push(index);
            }
            None => groups.push((ids.len().saturating_sub(1), vec![index])),
        }
    }
    for (shared, members) in &mut groups {
        if members.len() < 2 {
            *shared = 0;
        }
    }
    groups
}

impl Packed {
    /// Adds a sample whose first text lacks its `shared` first tokens, which block `prefix` holds.
    fn add_sample(
        &mut self,
        network: &Network,
        special: SpecialTokenIds,
        sample: usize,
        blocks: &[SequenceBlock],
        shared: usize,
        prefix: Option<usize>,
    ) -> Result<()> {
        let (first, mut rope) = (self.blocks.len(), shared as u32);
        for (index, block) in blocks.iter().enumerate() {
            match block {
                SequenceBlock::Text { ids, loss_from } if index == 0 && shared > 0 => {
                    let rest =
                        SequenceBlock::Text { ids: ids[shared..].to_vec(), loss_from: *loss_from };
                    rope += self.add(network, special, sample, rope, &rest)?;
                }
                block => rope += self.add(network, special, sample, rope, block)?,
            }
        }
        if let Some(block) = self.blocks.get_mut(first) {
            block.prefix = prefix;
        }
        Ok(())
    }

    /// Adds a block at rotary position `rope`; returns how far the position moves.
    fn add(
        &mut self,
        network: &Network,
        special: SpecialTokenIds,
        sample: usize,
        rope: u32,
        block: &SequenceBlock,
    ) -> Result<u32> {
        match block {
            SequenceBlock::Dropped { is_image } => Ok(u32::from(*is_image)),
            SequenceBlock::Text { ids, loss_from } => {
                self.add_text_loss(ids, *loss_from);
                self.position_ids.extend(rope..rope + ids.len() as u32);
                self.push(sample, BlockMode::Causal, network.embed_text(ids)?, rope)?;
                Ok(ids.len() as u32)
            }
            SequenceBlock::Vision(input) => {
                let seen = match input {
                    VisionInput::Pixels(picture) => network.embed_picture(picture)?,
                    VisionInput::Features { features, rows, columns } => {
                        network.vision_tokens(features, *rows, *columns)?
                    }
                };
                let markers = network.embed_text(&[special.vision_start, special.vision_end])?;
                let (start, end) = (markers.narrow(0, 0, 1)?, markers.narrow(0, 1, 1)?);
                let (und, deep) = seen.between(&start, &end)?;
                self.position_ids.extend(std::iter::repeat_n(rope, und.dim(0)?));
                self.deep.push((self.num_und, deep));
                self.pictures.push(self.blocks.len());
                self.push(sample, BlockMode::Full, und, rope)?;
                Ok(1)
            }
            SequenceBlock::Latents { tokens, rows, columns, target } => {
                self.add_latents(
                    network,
                    special,
                    sample,
                    rope,
                    tokens,
                    target.as_ref(),
                    *rows,
                    *columns,
                )?;
                Ok(u32::from(target.is_none()))
            }
        }
    }

    /// What joins the understanding tokens of all blocks, (u, h) a layer; 0 for text.
    fn deep_rows(&self) -> Result<DeepRows> {
        let Some((_, first)) = self.deep.first() else { return Ok(DeepRows::new()) };
        let layer = |(index, (layer, like)): (usize, &(usize, Tensor))| {
            let gap = |rows| Tensor::zeros((rows, like.dim(1)?), like.dtype(), like.device());
            let (mut parts, mut end) = (Vec::new(), 0);
            for (start, deep) in &self.deep {
                parts.push(gap(start - end)?);
                parts.push(deep[index].1.clone());
                end = start + deep[index].1.dim(0)?;
            }
            parts.push(gap(self.num_und - end)?);
            parts.retain(|part| part.elem_count() > 0);
            Ok((*layer, Tensor::cat(&parts, 0)?))
        };
        first.iter().enumerate().map(layer).collect()
    }

    /// For every understanding token, whether it is of a picture or behind one in its sample.
    fn seeing(&self) -> Vec<bool> {
        let (mut blocks, mut rows) = (Vec::<bool>::new(), Vec::new());
        for (index, block) in self.blocks.iter().enumerate() {
            let before = index.checked_sub(1).filter(|at| self.blocks[*at].sample == block.sample);
            let sees = self.pictures.contains(&index)
                || before.or(block.prefix).is_some_and(|at| blocks[at]);
            blocks.push(sees);
            rows.extend(std::iter::repeat_n(sees, block.num_und));
        }
        rows
    }

    fn add_text_loss(&mut self, ids: &[u32], loss_from: Option<usize>) {
        let Some(from) = loss_from else { return };
        let last = ids.len().saturating_sub(1);
        let weight = 1. / (last.saturating_sub(from).max(1) as f32).sqrt();
        let packed = self.position_ids.len();
        for i in from..last {
            self.ce_indexes.push(packed + i);
            self.ce_rows.push((self.num_und + i) as u32);
            self.ce_labels.push(ids[i + 1]);
            self.ce_weights.push(weight);
        }
    }

    fn push(&mut self, sample: usize, mode: BlockMode, und: Tensor, position: u32) -> Result<()> {
        let num_und = und.dim(0)?;
        self.blocks.push(Block { sample, mode, num_und, num_gen: 0, position, prefix: None });
        self.und.push(und);
        self.num_und += num_und;
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one block, taken apart")]
    fn add_latents(
        &mut self,
        network: &Network,
        special: SpecialTokenIds,
        sample: usize,
        rope: u32,
        tokens: &Tensor,
        target: Option<&FlowTarget>,
        rows: usize,
        columns: usize,
    ) -> Result<()> {
        let num_gen = tokens.dim(0)?;
        let num_und = if network.config().latent_markers { 2 } else { 0 };
        if num_und > 0 {
            self.und.push(network.embed_text(&[special.vision_start, special.vision_end])?);
        }
        let first = self.position_ids.len() + num_und / 2;
        self.position_ids.extend(std::iter::repeat_n(rope, num_und + num_gen));
        let mode = if target.is_some() { BlockMode::Noise } else { BlockMode::Full };
        self.blocks.push(Block { sample, mode, num_und, num_gen, position: rope, prefix: None });
        let latent = match target {
            None => LatentRow { noised: tokens.clone(), time: 0., rows, columns, velocity: None },
            Some(FlowTarget { noise, time }) => {
                self.mse_indexes.extend(first..first + num_gen);
                self.mse_rows.extend((self.num_gen..self.num_gen + num_gen).map(|r| r as u32));
                let noised = (tokens.affine(1. - time, 0.)? + noise.affine(*time, 0.)?)?;
                let velocity = Some((noise - tokens)?);
                LatentRow { noised, time: *time, rows, columns, velocity }
            }
        };
        self.latents.push(latent);
        self.num_und += num_und;
        self.num_gen += num_gen;
        Ok(())
    }

    fn run(self, network: &Network) -> Result<SequenceLoss> {
        let cat = |rows: &[Tensor]| match rows {
            [] => Ok(None),
            rows => Tensor::cat(rows, 0).map(Some),
        };
        let inputs: Vec<LatentInput> = self
            .latents
            .iter()
            .map(|l| LatentInput {
                tokens: &l.noised,
                time: l.time,
                rows: l.rows,
                columns: l.columns,
            })
            .collect();
        let latent = if inputs.is_empty() { None } else { Some(network.embed_latents(&inputs)?) };
        let sight = network.sight_where(&self.seeing())?;
        let hidden = Hidden { und: cat(&self.und)?, latent, deep: self.deep_rows()?, sight };
        let layout = Layout::new(self.blocks, &[]);
        let hidden = network.forward(hidden, &layout, Kv::None)?;
        let ce = match hidden.und {
            Some(und) if !self.ce_rows.is_empty() => {
                let rows = Tensor::new(self.ce_rows.as_slice(), und.device())?;
                let und = und.index_select(&rows, 0)?.contiguous()?;
                Some(network.lm().token_losses(&und, &self.ce_labels)?)
            }
            _ => None,
        };
        let mse = match hidden.latent {
            Some(latent) if !self.mse_rows.is_empty() => {
                let rows = Tensor::new(self.mse_rows.as_slice(), latent.device())?;
                let predicted = network.velocities(&latent, &inputs)?.index_select(&rows, 0)?;
                let wanted: Vec<&Tensor> =
                    self.latents.iter().filter_map(|l| l.velocity.as_ref()).collect();
                let wanted = Tensor::cat(&wanted, 0)?.to_dtype(DType::F32)?;
                Some((predicted - wanted)?.sqr()?.mean(1)?)
            }
            _ => None,
        };
        Ok(SequenceLoss {
            position_ids: self.position_ids,
            ce_indexes: self.ce_indexes,
            ce_labels: self.ce_labels,
            ce_weights: self.ce_weights,
            mse_indexes: self.mse_indexes,
            ce,
            mse,
        })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn a_long_answer_counts_as_much_as_a_short_one() -> Result<()> {
        let logits = Tensor::new(&[[0f32, 2.], [0., 1.], [1., 0.], [0., 3.]], &Device::Cpu)?;
        let answers = Answers { logits, labels: vec![1, 1, 1, 1], lengths: vec![1, 0, 3] };
        let cost = |lead: f32| (1. + (-lead).exp()).ln();
        let want = (cost(2.) + (cost(1.) + cost(-1.) + cost(3.)) / 3.) / 2.;
        let got = answers.loss()?.to_scalar::<f32>()?;
        assert!((got - want).abs() < 1e-6, "{got} {want}");
        Ok(())
    }
}
