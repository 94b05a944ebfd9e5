//! A character's samples as token ids, latents and features, computed once.

use std::{collections::HashMap, path::PathBuf};

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use troupe_character::samples::{
    SampleBlock, SampleGroup, SampleKind, TextRole as SampleRole, TrainingSample,
};
use troupe_model::{image_ops::load_picture, runtime::Model, tokens::TextRole};
use troupe_nn::noise::{Noise, Stream};

use crate::{
    error::TrainResult,
    rehearsal::Rehearsal,
    sequence::{SequenceBlock, VisionInput},
};

/// A sample with a text loss.
#[derive(Debug, Clone)]
pub struct TextSample {
    /// Id of the sample it came from.
    pub id: String,
    /// What it teaches.
    pub kind: SampleKind,
    /// Its blocks.
    pub blocks: Vec<SequenceBlock>,
    /// Tokens, vision tokens included.
    pub num_tokens: usize,
    /// Text of the prompt, for samples made while training.
    pub prompt: String,
}

/// A sample with a flow loss.
#[derive(Debug, Clone)]
pub struct PictureSample {
    /// Id of the sample it came from.
    pub id: String,
    /// What it teaches.
    pub kind: SampleKind,
    /// The caption's text.
    pub caption: String,
    /// The caption's text block.
    pub ids: Vec<u32>,
    /// Clean latents, (rows · columns, D).
    pub latents: Tensor,
    /// Rows of latents.
    pub rows: usize,
    /// Columns of latents.
    pub columns: usize,
}

/// Everything a run reads.
#[derive(Debug, Default)]
pub struct TrainingData {
    /// Text samples learned from.
    pub text: Vec<TextSample>,
    /// Text samples kept back.
    pub held_text: Vec<TextSample>,
    /// Picture samples learned from.
    pub pictures: Vec<PictureSample>,
    /// Picture samples kept back.
    pub held_pictures: Vec<PictureSample>,
    /// Pictures of the base, by which it keeps in practice.
    pub rehearsal: Vec<PictureSample>,
}

pub(crate) fn role(role: SampleRole) -> TextRole {
    match role {
        SampleRole::Prompt => TextRole::Prompt,
        SampleRole::Reply => TextRole::Reply,
        SampleRole::System => TextRole::System,
        SampleRole::Caption => TextRole::Caption,
    }
}

/// Latents and vision features by picture file.
#[derive(Default)]
struct Pictures {
    latents: HashMap<PathBuf, (Tensor, usize, usize)>,
    features: HashMap<PathBuf, VisionInput>,
}

impl Pictures {
    fn latents(
        &mut self,
        model: &Model,
        path: &PathBuf,
        seed: u64,
    ) -> TrainResult<(Tensor, usize, usize)> {
        if let Some(found) = self.latents.get(path) {
            return Ok(found.clone());
        }
        let step = self.latents.len() as u64;
        let made = model.picture_latents(&load_picture(path)?, seed, step)?;
        self.latents.insert(path.clone(), made.clone());
        Ok(made)
    }

    fn features(&mut self, model: &Model, path: &PathBuf) -> TrainResult<VisionInput> {
        if let Some(found) = self.features.get(path) {
            return Ok(found.clone());
        }
        let pixels = model.picture_for_vision(&load_picture(path)?)?;
        let patch = model.config().vit_config.patch_size;
        let (_, height, width) = pixels.dims3()?;
        let features = model.network().vision_features(&pixels)?.detach();
        let made = VisionInput::Features { features, rows: height / patch, columns: width / patch };
        self.features.insert(path.clone(), made.clone());
        Ok(made)
    }
}

impl TrainingData {
    /// Tokenises texts and encodes pictures. `seed` chooses the codec's noise.
    ///
    /// # Errors
    /// When a picture cannot be read or the codec fails.
    pub fn prepare(model: &Model, samples: &[TrainingSample], seed: u64) -> TrainResult<Self> {
        let mut data = Self::default();
        let mut pictures = Pictures::default();
        for sample in samples {
            match sample.group {
                SampleGroup::Text => {
                    let made = text_sample(model, sample, &mut pictures)?;
                    if sample.held_out { data.held_text.push(made) } else { data.text.push(made) }
                }
                SampleGroup::Picture => {
                    let Some(made) = picture_sample(model, sample, &mut pictures, seed)? else {
                        continue;
                    };
                    if sample.held_out {
                        data.held_pictures.push(made)
                    } else {
                        data.pictures.push(made)
                    }
                }
            }
        }
        Ok(data)
    }

    /// Adds the pictures by which the base keeps in practice.
    ///
    /// # Errors
    /// When the tokenizer or the codec fails.
    pub fn rehearse(&mut self, model: &Model, rehearsal: &Rehearsal, seed: u64) -> TrainResult<()> {
        for (index, (caption, picture)) in rehearsal.pictures.iter().enumerate() {
            let (ids, _) = model.tokenizer().text_block(TextRole::Caption, caption)?;
            let (latents, rows, columns) = model.picture_latents(picture, seed, index as u64)?;
            self.rehearsal.push(PictureSample {
                id: format!("rehearsal-{index}"),
                kind: SampleKind::PicturePlain,
                caption: caption.clone(),
                ids,
                latents,
                rows,
                columns,
            });
        }
        Ok(())
    }

    /// A picture by its number: those of the character, then those of the base.
    pub fn picture(&self, index: usize) -> &PictureSample {
        match index.checked_sub(self.pictures.len()) {
            Some(index) => &self.rehearsal[index],
            None => &self.pictures[index],
        }
    }
}

fn text_sample(
    model: &Model,
    sample: &TrainingSample,
    pictures: &mut Pictures,
) -> TrainResult<TextSample> {
    let (mut blocks, mut num_tokens, mut prompt) = (Vec::new(), 0, String::new());
    for block in &sample.blocks {
        match block {
            SampleBlock::Text { role: who, text, loss, .. } => {
                let (ids, from) = model.tokenizer().text_block(role(*who), text)?;
                num_tokens += ids.len();
                if *who == SampleRole::Prompt {
                    prompt.clone_from(text);
                }
                blocks.push(SequenceBlock::Text { ids, loss_from: loss.then_some(from) });
            }
            SampleBlock::Vit { picture } | SampleBlock::Vae { picture, .. } => {
                let input = pictures.features(model, picture)?;
                if let VisionInput::Features { rows, columns, .. } = &input {
                    num_tokens += rows * columns + 2;
                }
                blocks.push(SequenceBlock::Vision(input));
            }
        }
    }
    Ok(TextSample { id: sample.id.clone(), kind: sample.kind, blocks, num_tokens, prompt })
}

fn picture_sample(
    model: &Model,
    sample: &TrainingSample,
    pictures: &mut Pictures,
    seed: u64,
) -> TrainResult<Option<PictureSample>> {
    let (mut caption, mut target) = (None, None);
    for block in &sample.blocks {
        match block {
            SampleBlock::Text { role: who, text, .. } => caption = Some((role(*who), text)),
            SampleBlock::Vae { picture, loss: true } => target = Some(picture),
            SampleBlock::Vae { .. } | SampleBlock::Vit { .. } => {}
        }
    }
    let (Some((who, text)), Some(picture)) = (caption, target) else {
        return Ok(None);
    };
    let (ids, _) = model.tokenizer().text_block(who, text)?;
    let (latents, rows, columns) = pictures.latents(model, picture, seed)?;
    Ok(Some(PictureSample {
        id: sample.id.clone(),
        kind: sample.kind,
        caption: text.clone(),
        ids,
        latents,
        rows,
        columns,
    }))
}

/// An endless shuffled pass over `0..len`, the same for the same seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deck {
    seed: u64,
    state: DeckState,
    order: Vec<usize>,
}

/// Where a deck stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeckState {
    /// Passes finished.
    pub epoch: u64,
    /// Items drawn of the present pass.
    pub drawn: usize,
}

/// Passes of one deck that can be told apart in the seed's step number.
const MAX_EPOCHS: u64 = 1 << 24;

impl Deck {
    /// A deck of `len` items; `salt` keeps decks of one run apart.
    pub fn new(seed: u64, salt: u64, len: usize, state: DeckState) -> Self {
        let mut deck = Self { seed: seed ^ salt.rotate_left(32), state, order: Vec::new() };
        deck.order = deck.shuffled(len);
        deck
    }

    fn shuffled(&self, len: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..len).collect();
        Noise::new(self.seed, Stream::Sampling, self.state.epoch % MAX_EPOCHS).shuffle(&mut order);
        order
    }

    /// Items of a pass.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// True when it holds none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The next item; none when the deck is empty.
    pub fn draw(&mut self) -> Option<usize> {
        let item = self.peek();
        self.state.drawn += usize::from(item.is_some());
        item
    }

    /// The item that [`Self::draw`] would take.
    pub fn peek(&mut self) -> Option<usize> {
        // More were drawn than there are when the material has shrunk since.
        if self.state.drawn >= self.order.len() {
            self.state = DeckState { epoch: self.state.epoch + 1, drawn: 0 };
            self.order = self.shuffled(self.order.len());
        }
        self.order.get(self.state.drawn).copied()
    }

    /// Where it stands, for a checkpoint.
    pub fn state(&self) -> DeckState {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_draws_every_item_once() {
        let mut deck = Deck::new(1, 2, 5, DeckState::default());
        let mut first: Vec<_> = (0..5).filter_map(|_| deck.draw()).collect();
        assert_eq!((deck.peek(), deck.peek()), (deck.clone().draw(), deck.clone().draw()));
        let second: Vec<_> = (0..5).filter_map(|_| deck.draw()).collect();
        assert_ne!(first, second);
        first.sort_unstable();
        assert_eq!(first, [0, 1, 2, 3, 4]);
        assert_eq!(Deck::new(1, 2, 0, DeckState::default()).draw(), None);
    }

    #[test]
    fn a_restored_deck_goes_on_where_it_stood() {
        let mut deck = Deck::new(3, 0, 7, DeckState::default());
        (0..9).for_each(|_| assert!(deck.draw().is_some()));
        let mut restored = Deck::new(3, 0, 7, deck.state());
        let rest = |deck: &mut Deck| (0..9).map(|_| deck.draw()).collect::<Vec<_>>();
        assert_eq!(rest(&mut deck), rest(&mut restored));
        let mut smaller = Deck::new(3, 0, 1, DeckState { epoch: 0, drawn: 5 });
        assert_eq!((smaller.draw(), smaller.draw()), (Some(0), Some(0)));
    }
}
