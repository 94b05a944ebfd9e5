//! Contexts: what the model has read so far, and the operations that extend them.
//!
//! Source: BAGEL, `inferencer.py` and `modeling/bagel/bagel.py` (`forward_cache_update_*`,
//! `generate_text`, `_forward_flow`).

use candle_core::{Result, Tensor, bail};

use crate::{
    config::SpecialTokenIds,
    layout::{Block, BlockMode, Layout, PastKeys},
    llm::{Hidden, Kv, KvCache},
    unified::{LatentInput, Network},
    vit::Sight,
};

/// Cached keys and values, and the rotary position of the next block.
#[derive(Debug, Default)]
pub struct Context {
    cache: KvCache,
    rope: u32,
    len: usize,
    len_und: usize,
    /// Whether a picture was read through the vision tower.
    has_seen: bool,
}

impl Context {
    /// A context that has read nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// An independent copy.
    ///
    /// # Errors
    /// When memory runs out on the device.
    pub fn fork(&self) -> Result<Self> {
        Ok(Self { cache: self.cache.fork()?, ..*self })
    }

    /// Tokens read so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when nothing was read.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Rotary position of the next block.
    pub fn rope(&self) -> u32 {
        self.rope
    }

    /// Frees what flow queries of a network without latent markers never read: the layers without
    /// a generation expert. The context can then no longer be extended.
    ///
    /// # Errors
    /// When memory cannot be arranged.
    pub fn keep_for_drawing(&mut self, network: &Network) -> Result<()> {
        let config = network.config();
        if config.latent_markers {
            return Ok(());
        }
        self.cache.retain_layers(|index| config.llm_config.has_gen_expert(index))
    }

    /// Forgets what was read after the first `len` tokens of a context that holds text alone.
    pub(crate) fn truncate_text(&mut self, len: usize) {
        self.cache.truncate(len);
        (self.len, self.len_und, self.rope) = (len, len, len as u32);
        self.has_seen = false;
    }

    /// The cached keys and values.
    pub fn cache(&self) -> &KvCache {
        &self.cache
    }

    fn past(&self) -> PastKeys {
        PastKeys { all: 0..self.len, und: 0..self.len_und }
    }
}

/// A question to the flow head: noised latents in front of a context.
#[derive(Debug, Clone)]
pub struct FlowQuery<'a> {
    /// The noised latents.
    pub latents: LatentInput<'a>,
    /// What they are conditioned on.
    pub context: &'a Context,
}

/// The network together with the ids of its special tokens.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    /// The network.
    pub network: &'a Network,
    /// Ids of the special tokens.
    pub special: SpecialTokenIds,
}

impl Reader<'_> {
    /// Reads a text block, whose `ids` include its start and end tokens.
    ///
    /// # Errors
    /// When an id is not in the vocabulary.
    pub fn read_text(&self, context: &mut Context, ids: &[u32]) -> Result<()> {
        let block = self.text_block(context, ids.len());
        let layout = Layout::new(vec![block], &[context.past()]);
        let hidden = self.text(context, ids)?;
        self.network.lm().read(hidden, &layout, &mut context.cache)?;
        self.advance(context, ids.len(), 0, ids.len() as u32);
        Ok(())
    }

    /// Reads texts, whose `ids` include start and end tokens, each into a context of its own. All
    /// share one pass, which costs little more than one long text.
    ///
    /// # Errors
    /// When a text is empty or an id is not in the vocabulary.
    pub fn read_texts(&self, texts: &[Vec<u32>]) -> Result<Vec<Context>> {
        if texts.iter().any(Vec::is_empty) {
            bail!("no tokens to read")
        }
        let mut contexts: Vec<Context> = texts.iter().map(|_| Context::new()).collect();
        if texts.is_empty() {
            return Ok(contexts);
        }
        let block = |(sample, ids): (usize, &Vec<u32>)| Block {
            sample,
            ..self.text_block(&contexts[sample], ids.len())
        };
        let layout = Layout::new(texts.iter().enumerate().map(block).collect(), &[]);
        let hidden =
            Hidden { und: Some(self.network.embed_text(&texts.concat())?), ..Hidden::default() };
        let mut caches: Vec<KvCache> = texts.iter().map(|_| KvCache::default()).collect();
        self.network.lm().read_many(hidden, &layout, &mut caches)?;
        for ((context, cache), ids) in contexts.iter_mut().zip(caches).zip(texts) {
            context.cache = cache;
            self.advance(context, ids.len(), 0, ids.len() as u32);
        }
        Ok(contexts)
    }

    /// Reads a text block and returns the logits (t, v) after each of its tokens.
    ///
    /// # Errors
    /// When an id is not in the vocabulary.
    pub fn read_text_with_logits(&self, context: &mut Context, ids: &[u32]) -> Result<Tensor> {
        let hidden = self.run_text(context, ids)?;
        self.network.lm().logits(&hidden)
    }

    /// Reads text tokens and returns the logits (v) after the last one, in f32.
    ///
    /// # Errors
    /// When `ids` is empty or holds an id outside the vocabulary.
    pub fn next_logits(&self, context: &mut Context, ids: &[u32]) -> Result<Tensor> {
        if ids.is_empty() {
            bail!("no tokens to read")
        }
        let hidden = self.run_text(context, ids)?;
        let last = hidden.narrow(0, ids.len() - 1, 1)?;
        self.network.lm().logits(&last)?.squeeze(0)?.to_dtype(candle_core::DType::F32)
    }

    /// Logits (n, v) after the last token of each of n texts, in f32, each read behind `context` alone.
    /// All share one pass, and the context stays as it is.
    ///
    /// # Errors
    /// When there is no text, one is empty or an id is not in the vocabulary.
    pub fn next_logits_each(&self, context: &Context, texts: &[Vec<u32>]) -> Result<Tensor> {
        if texts.is_empty() || texts.iter().any(Vec::is_empty) {
            bail!("no tokens to read")
        }
        let block = |(sample, ids): (usize, &Vec<u32>)| Block {
            sample,
            ..self.text_block(context, ids.len())
        };
        let past = vec![context.past(); texts.len()];
        let layout = Layout::new(texts.iter().enumerate().map(block).collect(), &past);
        let hidden = self.text(context, &texts.concat())?;
        let read = self.network.forward(hidden, &layout, Kv::Read(&[&context.cache]))?;
        let Some(read) = read.und else { bail!("text blocks without tokens") };
        let ends = texts.iter().scan(0, |end, ids| {
            *end += ids.len() as u32;
            Some(*end - 1)
        });
        let last =
            read.index_select(&Tensor::new(ends.collect::<Vec<u32>>(), read.device())?, 0)?;
        self.network.lm().logits(&last)?.to_dtype(candle_core::DType::F32)
    }

    fn run_text(&self, context: &mut Context, ids: &[u32]) -> Result<Tensor> {
        let layout = Layout::new(vec![self.text_block(context, ids.len())], &[context.past()]);
        let hidden = self.text(context, ids)?;
        let out = self.network.forward(hidden, &layout, Kv::Append(&mut context.cache))?;
        self.advance(context, ids.len(), 0, ids.len() as u32);
        match out.und {
            Some(hidden) => Ok(hidden),
            None => bail!("a text block without tokens"),
        }
    }

    /// Rows of text tokens that are read in `context`.
    fn text(&self, context: &Context, ids: &[u32]) -> Result<Hidden> {
        let (und, sight) = (Some(self.network.embed_text(ids)?), self.sight_in(context));
        Ok(Hidden { und, sight, ..Hidden::default() })
    }

    /// What acts on understanding tokens that are read in `context`.
    fn sight_in(&self, context: &Context) -> Option<Sight> {
        if context.has_seen { self.network.sight(None) } else { None }
    }

    fn text_block(&self, context: &Context, num_und: usize) -> Block {
        Block {
            sample: 0,
            mode: BlockMode::Causal,
            num_und,
            num_gen: 0,
            position: context.rope,
            prefix: None,
        }
    }

    /// Reads a normalised picture (3, H, W) through the vision tower.
    ///
    /// # Errors
    /// When the model cannot see or the picture does not fit its grid.
    pub fn read_picture(&self, context: &mut Context, picture: &Tensor) -> Result<()> {
        let markers = self.markers()?;
        let seen = self.network.embed_picture(picture)?;
        let (und, deep) = seen.between(&markers.0, &markers.1)?;
        let num_und = und.dim(0)?;
        let block = Block {
            sample: 0,
            mode: BlockMode::Full,
            num_und,
            num_gen: 0,
            position: context.rope,
            prefix: None,
        };
        let layout = Layout::new(vec![block], &[context.past()]);
        let sight = self.network.sight(None);
        let hidden = Hidden { und: Some(und), deep, sight, ..Hidden::default() };
        self.network.lm().read(hidden, &layout, &mut context.cache)?;
        self.advance(context, num_und, 0, 1);
        context.has_seen = true;
        Ok(())
    }

    /// Reads clean latents as a condition.
    ///
    /// # Errors
    /// When the model cannot draw or the picture does not fit its grid.
    pub fn read_latents(&self, context: &mut Context, latents: &LatentInput) -> Result<()> {
        let num_gen = latents.tokens.dim(0)?;
        let (und, num_und) = self.latent_markers(1)?;
        let block = Block {
            sample: 0,
            mode: BlockMode::Full,
            num_und,
            num_gen,
            position: context.rope,
            prefix: None,
        };
        let layout = Layout::new(vec![block], &[context.past()]);
        let latent = Some(self.network.embed_latents(std::slice::from_ref(latents))?);
        let sight = self.sight_in(context);
        let hidden = Hidden { und, latent, sight, ..Hidden::default() };
        self.network.lm().read(hidden, &layout, &mut context.cache)?;
        self.advance(context, num_und, num_gen, 1);
        Ok(())
    }

    /// Velocities (rows · columns, D) of every query, in f32. All queries share one pass.
    ///
    /// # Errors
    /// When the model cannot draw or a picture does not fit its grid.
    pub fn velocities(&self, queries: &[FlowQuery]) -> Result<Vec<Tensor>> {
        let (mut all, mut und) = (0, 0);
        let (mut past, mut blocks) = (Vec::new(), Vec::new());
        let (markers, num_und) = self.latent_markers(queries.len())?;
        for (sample, query) in queries.iter().enumerate() {
            let context = query.context;
            past.push(PastKeys { all: all..all + context.len, und: und..und + context.len_und });
            all += context.len;
            und += context.len_und;
            blocks.push(Block {
                sample,
                mode: BlockMode::Noise,
                num_und,
                num_gen: query.latents.tokens.dim(0)?,
                position: context.rope,
                prefix: None,
            });
        }
        let inputs: Vec<LatentInput> = queries.iter().map(|q| q.latents.clone()).collect();
        let caches: Vec<&KvCache> = queries.iter().map(|q| &q.context.cache).collect();
        let layout = Layout::new(blocks, &past);
        let latent = Some(self.network.embed_latents(&inputs)?);
        let sees = queries.iter().flat_map(|q| std::iter::repeat_n(q.context.has_seen, num_und));
        let sight = self.network.sight_where(&sees.collect::<Vec<bool>>())?;
        let hidden = Hidden { und: markers, latent, sight, ..Hidden::default() };
        let hidden = self.network.forward(hidden, &layout, Kv::Read(&caches))?;
        let Some(latent) = hidden.latent else { bail!("a flow query without latents") };
        let velocities = self.network.velocities(&latent, &inputs)?;
        let mut start = 0;
        inputs
            .iter()
            .map(|input| {
                let num = input.rows * input.columns;
                start += num;
                velocities.narrow(0, start - num, num)
            })
            .collect()
    }

    /// Embedded image markers, each (1, h).
    fn markers(&self) -> Result<(Tensor, Tensor)> {
        let both =
            self.network.embed_text(&[self.special.vision_start, self.special.vision_end])?;
        Ok((both.narrow(0, 0, 1)?, both.narrow(0, 1, 1)?))
    }

    /// Markers around `blocks` latent blocks, and how many each block has.
    fn latent_markers(&self, blocks: usize) -> Result<(Option<Tensor>, usize)> {
        if !self.network.config().latent_markers {
            return Ok((None, 0));
        }
        let pair = [self.special.vision_start, self.special.vision_end];
        Ok((Some(self.network.embed_text(&pair.repeat(blocks))?), pair.len()))
    }

    fn advance(&self, context: &mut Context, num_und: usize, num_gen: usize, positions: u32) {
        context.len += num_und + num_gen;
        context.len_und += num_und;
        context.rope += positions;
    }
}
