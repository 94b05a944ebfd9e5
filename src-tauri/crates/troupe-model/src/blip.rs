//! BLIP that answers questions about pictures, for whoever puts its files into a folder: a judge that
//! none of our networks is part of.
//!
//! The folder holds `config.json`, `model.safetensors` and `tokenizer.json` as Hugging Face keeps them
//! (`Salesforce/blip-vqa-base` is what the reference's stage 2 asks), and perhaps
//! `preprocessor_config.json`. Vision tower and answer decoder are candle-transformers'; the question
//! encoder, which it lacks, is here: BERT whose layers also attend to the picture.
//! Shapes: t = tokens, n = patches and class token, h = text width, v = vision width.
//!
//! Source: BLIP (arXiv:2201.12086); `modeling_blip.py` and `modeling_blip_text.py` of transformers. A
//! picture is resized to a square without keeping its shape (bicubic); the answer begins behind the
//! decoder's start token and ends with `[SEP]`.

#![expect(
    clippy::disallowed_types,
    reason = "a judge is asked and never taught: it needs no gradients"
)]

use std::{cell::RefCell, collections::HashMap, path::Path, sync::Arc};

use candle_core::{D, DType, Device, IndexOp, Module, Result, Tensor};
use candle_nn::{
    Activation, Embedding, LayerNorm, Linear, VarBuilder, embedding, layer_norm, linear,
    ops::softmax,
};
use candle_transformers::models::{
    blip::{BlipForConditionalGeneration, Config as Network, VisionConfig},
    blip_text,
};
use image::RgbImage;
use serde::Deserialize;
use tokenizers::Tokenizer;

use crate::{
    error::{ModelError, ModelResult},
    foreign::{Folder, Pixels, tokens},
    image_ops::resize_bicubic,
    weights::Weights,
};

/// What the folder is called in errors.
const WHAT: &str = "the BLIP folder";
/// The end of an answer.
const END: &str = "[SEP]";
/// Longest answer, in tokens, as the reference has it.
const MAX_ANSWER: usize = 50;
/// The decoder's output layer, which files leave out where it is the embedding itself.
const HEAD: &str = "text_decoder.cls.predictions.decoder.weight";
const DECODER_WORDS: &str = "text_decoder.bert.embeddings.word_embeddings.weight";

/// `config.json`, as far as it matters; what is missing there has the published default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Config {
    text_config: Text,
    vision_config: Vision,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
struct Text {
    vocab_size: usize,
    hidden_size: usize,
    encoder_hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    max_position_embeddings: usize,
    layer_norm_eps: f64,
    bos_token_id: u32,
}

impl Default for Text {
    fn default() -> Self {
        Self {
            vocab_size: 30524,
            hidden_size: 768,
            encoder_hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 512,
            layer_norm_eps: 1e-12,
            bos_token_id: 30522,
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
struct Vision {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    image_size: usize,
    patch_size: usize,
    layer_norm_eps: f64,
}

impl Default for Vision {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            image_size: 384,
            patch_size: 16,
            layer_norm_eps: 1e-5,
        }
    }
}

impl Config {
    /// The same in the network's terms. Both projections belong to another use of BLIP.
    fn network(&self) -> Network {
        let (text, vision) = (&self.text_config, &self.vision_config);
        Network {
            text_config: blip_text::Config {
                vocab_size: text.vocab_size,
                hidden_size: text.hidden_size,
                encoder_hidden_size: text.encoder_hidden_size,
                intermediate_size: text.intermediate_size,
                projection_dim: text.hidden_size,
                num_hidden_layers: text.num_hidden_layers,
                num_attention_heads: text.num_attention_heads,
                max_position_embeddings: text.max_position_embeddings,
                hidden_act: Activation::Gelu,
                layer_norm_eps: text.layer_norm_eps,
                is_decoder: true,
            },
            vision_config: VisionConfig {
                hidden_size: vision.hidden_size,
                intermediate_size: vision.intermediate_size,
                projection_dim: vision.hidden_size,
                num_hidden_layers: vision.num_hidden_layers,
                num_attention_heads: vision.num_attention_heads,
                image_size: vision.image_size,
                patch_size: vision.patch_size,
                hidden_act: Activation::Gelu,
                layer_norm_eps: vision.layer_norm_eps,
            },
            projection_dim: text.hidden_size,
            image_text_hidden_size: text.hidden_size,
        }
    }
}

/// Attention of tokens to themselves or to a picture, with the sum and the norm behind it.
#[derive(Debug)]
struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    norm: LayerNorm,
    heads: usize,
}

impl Attention {
    fn load(config: &Text, width: usize, vb: &VarBuilder) -> Result<Self> {
        let (h, own, out) = (config.hidden_size, vb.pp("self"), vb.pp("output"));
        Ok(Self {
            query: linear(h, h, own.pp("query"))?,
            key: linear(width, h, own.pp("key"))?,
            value: linear(width, h, own.pp("value"))?,
            output: linear(h, h, out.pp("dense"))?,
            norm: layer_norm(h, config.layer_norm_eps, out.pp("LayerNorm"))?,
            heads: config.num_attention_heads,
        })
    }

    /// `xs` (t, h) that attend to `seen` (t or n, width).
    fn forward(&self, xs: &Tensor, seen: &Tensor) -> Result<Tensor> {
        let split = |xs: Tensor| -> Result<Tensor> {
            let (n, h) = xs.dims2()?;
            xs.reshape((n, self.heads, h / self.heads))?.transpose(0, 1)?.contiguous()
        };
        let query = split(self.query.forward(xs)?)?; // (heads, t, h / heads)
        let (key, value) = (split(self.key.forward(seen)?)?, split(self.value.forward(seen)?)?);
        let scale = (query.dim(D::Minus1)? as f64).sqrt().recip();
        let weights = softmax(&(query.matmul(&key.t()?)? * scale)?, D::Minus1)?;
        let mixed = weights.matmul(&value)?.transpose(0, 1)?.flatten_from(1)?; // (t, h)
        self.norm.forward(&(self.output.forward(&mixed)? + xs)?)
    }
}

#[derive(Debug)]
struct Layer {
    attention: Attention,
    sight: Attention,
    intermediate: Linear,
    output: Linear,
    norm: LayerNorm,
}

/// Reads a question with a picture in sight.
#[derive(Debug)]
struct QuestionEncoder {
    words: Embedding,
    positions: Embedding,
    norm: LayerNorm,
    layers: Vec<Layer>,
}

impl QuestionEncoder {
    fn load(config: &Text, vb: &VarBuilder) -> Result<Self> {
        let (h, inner, eps) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
        let own = vb.pp("embeddings");
        let layer = |index: usize| {
            let vb = vb.pp("encoder").pp("layer").pp(index);
            let sight = vb.pp("crossattention");
            Ok(Layer {
                attention: Attention::load(config, h, &vb.pp("attention"))?,
                sight: Attention::load(config, config.encoder_hidden_size, &sight)?,
                intermediate: linear(h, inner, vb.pp("intermediate").pp("dense"))?,
                output: linear(inner, h, vb.pp("output").pp("dense"))?,
                norm: layer_norm(h, eps, vb.pp("output").pp("LayerNorm"))?,
            })
        };
        Ok(Self {
            words: embedding(config.vocab_size, h, own.pp("word_embeddings"))?,
            positions: embedding(config.max_position_embeddings, h, own.pp("position_embeddings"))?,
            norm: layer_norm(h, eps, own.pp("LayerNorm"))?,
            layers: (0..config.num_hidden_layers).map(layer).collect::<Result<_>>()?,
        })
    }

    /// States (t, h) of a question's tokens beside a picture's features (n, v).
    fn forward(&self, ids: &[u32], picture: &Tensor) -> Result<Tensor> {
        let places = Tensor::arange(0, ids.len() as u32, &Device::Cpu)?;
        let words = self.words.forward(&Tensor::new(ids, &Device::Cpu)?)?;
        let mut xs = self.norm.forward(&(words + self.positions.forward(&places)?)?)?;
        for layer in &self.layers {
            xs = layer.attention.forward(&xs, &xs)?;
            xs = layer.sight.forward(&xs, picture)?;
            let inner = layer.intermediate.forward(&xs)?.gelu_erf()?;
            xs = layer.norm.forward(&(layer.output.forward(&inner)? + xs)?)?;
        }
        Ok(xs)
    }
}

/// A network that answers questions about pictures, on the CPU.
#[derive(Debug)]
pub struct Blip {
    network: RefCell<BlipForConditionalGeneration>,
    question: QuestionEncoder,
    tokenizer: Tokenizer,
    pixels: Pixels,
    side: usize,
    max_tokens: usize,
    start: u32,
    end: u32,
    yes: u32,
    no: u32,
    hash: String,
}

impl Blip {
    /// Loads the network of a folder.
    ///
    /// # Errors
    /// When a file is missing or damaged, or the weights do not fit the configuration (those of a BLIP
    /// that only captions have no question encoder).
    pub fn load(dir: &Path) -> ModelResult<Self> {
        let folder = Folder { dir, what: WHAT };
        let config: Config = folder.json("config.json")?;
        let (text, vision) = (&config.text_config, &config.vision_config);
        folder.require_multiples(&[
            (text.hidden_size, text.num_attention_heads),
            (vision.hidden_size, vision.num_attention_heads),
            (vision.image_size, vision.patch_size),
        ])?;
        let tokenizer = folder.tokenizer()?;
        let weights = weights(&folder)?;
        let vb = weights.builder(DType::F32, &Device::Cpu);
        let network = BlipForConditionalGeneration::new(&config.network(), vb.clone());
        let question = QuestionEncoder::load(text, &vb.pp("text_encoder"));
        let mismatch = weights.mismatch(|_| false);
        if !mismatch.is_empty() {
            return Err(ModelError::Weights(mismatch));
        }
        Ok(Self {
            network: RefCell::new(network?),
            question: question?,
            pixels: folder.pixels()?,
            side: vision.image_size,
            max_tokens: text.max_position_embeddings,
            start: text.bos_token_id,
            end: folder.token(&tokenizer, END)?,
            yes: folder.token(&tokenizer, "yes")?,
            no: folder.token(&tokenizer, "no")?,
            tokenizer,
            hash: folder.hash()?,
        })
    }

    /// Hash of weights, configuration and tokenizer.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Features (n, v) of a picture, for as many questions as there are.
    ///
    /// # Errors
    /// When the network fails.
    pub fn look(&self, picture: &RgbImage) -> ModelResult<Tensor> {
        let square = resize_bicubic(picture, self.side, self.side);
        let pixels = self.pixels.of(&square)?.unsqueeze(0)?;
        Ok(self.network.borrow().vision_model().forward(&pixels)?.i(0)?)
    }

    /// Probabilities of “yes” and of “no” as the first word of the answer.
    ///
    /// # Errors
    /// When the network fails.
    pub fn yes_no(&self, picture: &Tensor, question: &str) -> ModelResult<(f64, f64)> {
        let states = self.read(picture, question)?;
        let likely = softmax(&self.next(&states, self.start, true)?, 0)?;
        let of =
            |id: u32| -> Result<f64> { Ok(f64::from(likely.i(id as usize)?.to_scalar::<f32>()?)) };
        Ok((of(self.yes)?, of(self.no)?))
    }

    /// The likeliest answer, word by word.
    ///
    /// # Errors
    /// When the network fails.
    pub fn answer(&self, picture: &Tensor, question: &str) -> ModelResult<String> {
        let states = self.read(picture, question)?;
        let (mut ids, mut last) = (Vec::new(), self.start);
        while ids.len() < MAX_ANSWER {
            last = self.next(&states, last, ids.is_empty())?.argmax(0)?.to_scalar::<u32>()?;
            if last == self.end {
                break;
            }
            ids.push(last);
        }
        let text = self.tokenizer.decode(&ids, true);
        text.map_err(|e| ModelError::Request(format!("the answer cannot be read: {e}")))
    }

    /// States (1, t, h) of a question with the picture in sight.
    fn read(&self, picture: &Tensor, question: &str) -> ModelResult<Tensor> {
        let ids = tokens(&self.tokenizer, question)?;
        let ids = &ids[..ids.len().min(self.max_tokens)];
        Ok(self.question.forward(ids, picture)?.unsqueeze(0)?)
    }

    /// Logits (vocabulary) behind a token of the answer.
    fn next(&self, states: &Tensor, token: u32, is_first: bool) -> Result<Tensor> {
        let mut network = self.network.borrow_mut();
        if is_first {
            network.reset_kv_cache();
        }
        let ids = Tensor::new(&[[token]], &Device::Cpu)?;
        network.text_decoder().forward(&ids, states)?.i((0, 0))
    }
}

/// The folder's tensors, and the decoder's output layer where the file leaves it out.
fn weights(folder: &Folder) -> ModelResult<Arc<Weights>> {
    let path = folder.file("model.safetensors");
    let weights = Weights::new().file(&path)?;
    let shapes = weights.shapes();
    let Some((shape, _)) = shapes.get(DECODER_WORDS).filter(|_| !shapes.contains_key(HEAD)) else {
        return Ok(Arc::new(weights));
    };
    let words = Arc::new(Weights::new().file(&path)?);
    let words = words.builder(DType::F32, &Device::Cpu).get(shape.as_slice(), DECODER_WORDS)?;
    Ok(Arc::new(weights.memory(HashMap::from([(HEAD.to_owned(), words)]))))
}
