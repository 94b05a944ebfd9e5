//! How surprised a model is by a text, with the prompts of training.

use candle_core::{D, DType, Tensor};
use image::RgbImage;
use troupe_model::{context::Context, runtime::Model, tokens::TextRole};

use crate::error::{EvalError, EvalResult};

/// A prompt that was read once and can be answered many times.
#[derive(Debug)]
pub struct Asked<'a> {
    model: &'a Model,
    context: Context,
}

/// Summed negative log-likelihood of a text and the tokens it covers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Surprise {
    /// Nats over all tokens.
    pub nats: f64,
    /// Number of tokens.
    pub num_tokens: usize,
}

impl Surprise {
    /// Nats a token.
    pub fn per_token(&self) -> f64 {
        self.nats / self.num_tokens.max(1) as f64
    }
}

impl<'a> Asked<'a> {
    /// Reads a picture, if there is one, and a prompt.
    ///
    /// # Errors
    /// When the prompt is longer than the model can read, or the network fails.
    pub fn read(model: &'a Model, picture: Option<&RgbImage>, prompt: &str) -> EvalResult<Self> {
        let (ids, _) = model.tokenizer().text_block(TextRole::Prompt, prompt)?;
        let limit = model.info().context_tokens;
        if ids.len() > limit {
            return Err(EvalError::Model(troupe_model::error::ModelError::PromptTooLong {
                num_tokens: ids.len(),
                limit,
            }));
        }
        let reader = model.reader();
        let mut context = Context::new();
        if let Some(picture) = picture {
            reader.read_picture(&mut context, &model.picture_for_vision(picture)?)?;
        }
        reader.read_text(&mut context, &ids)?;
        Ok(Self { model, context })
    }

    /// Logits of the first token of a reply, in f32.
    ///
    /// # Errors
    /// When the network fails.
    pub fn first_logits(&self) -> EvalResult<Vec<f32>> {
        let prefix = self.model.tokenizer().block_start(TextRole::Reply)?;
        let mut context = self.context.fork()?;
        Ok(self.model.reader().next_logits(&mut context, &prefix)?.to_vec1()?)
    }

    /// How surprising `reply` is. With `with_end` its end counts too, as in training.
    ///
    /// # Errors
    /// When the network fails.
    pub fn surprise(&self, reply: &str, with_end: bool) -> EvalResult<Surprise> {
        let (ids, from) = self.model.tokenizer().text_block(TextRole::Reply, reply)?;
        let end = if with_end { ids.len() } else { ids.len() - 1 };
        let mut context = self.context.fork()?;
        // The last token predicts nothing, so it need not be read.
        let read = &ids[..ids.len() - 1];
        let logits = self.model.reader().read_text_with_logits(&mut context, read)?; // (t, v)
        let num_tokens = end - from - 1;
        if num_tokens == 0 {
            return Ok(Surprise { nats: 0., num_tokens: 0 });
        }
        let logits = logits.narrow(0, from, num_tokens)?.to_dtype(DType::F32)?; // (n, v)
        let labels = Tensor::new(&ids[from + 1..end], logits.device())?.unsqueeze(1)?; // (n, 1)
        let chosen = logits.gather(&labels, 1)?.squeeze(1)?; // (n)
        let peak = logits.max_keepdim(D::Minus1)?; // (n, 1)
        let sum = logits.broadcast_sub(&peak)?.exp()?.sum(D::Minus1)?; // (n)
        let normaliser = (sum.log()? + peak.squeeze(1)?)?; // (n)
        let nats: Vec<f32> = (normaliser - chosen)?.to_vec1()?;
        Ok(Surprise { nats: nats.into_iter().map(f64::from).sum(), num_tokens })
    }
}

#[cfg(test)]
mod tests {
    use troupe_model::runtime::LoadOptions;

    use super::*;

    #[test]
    fn surprises_add_up_token_by_token() {
        let dir = tempfile::tempdir().unwrap();
        troupe_testkit::write_tiny_model(dir.path());
        let model = Model::load(dir.path(), &LoadOptions::default()).unwrap();
        let asked = Asked::read(&model, None, "Who?").unwrap();
        let whole = asked.surprise("ab", true).unwrap();
        assert_eq!(whole.num_tokens, 3, "two bytes and the end");
        // By hand: the first byte from the first logits, then decode on.
        let logsoftmax = |logits: &[f32], id: usize| -> f64 {
            let sum: f64 = logits.iter().map(|x| f64::from(*x).exp()).sum();
            sum.ln() - f64::from(logits[id])
        };
        let tokenizer = model.tokenizer();
        let ids = tokenizer.encode("ab").unwrap();
        let first = logsoftmax(&asked.first_logits().unwrap(), ids[0] as usize);
        let mut context = asked.context.fork().unwrap();
        let mut next = tokenizer.block_start(TextRole::Reply).unwrap();
        let mut total = 0.;
        for id in [ids[0], ids[1], tokenizer.special().im_end] {
            let logits = model.reader().next_logits(&mut context, &next).unwrap();
            total += logsoftmax(&logits.to_vec1::<f32>().unwrap(), id as usize);
            next = vec![id];
        }
        assert!((whole.nats - total).abs() < 1e-3, "{} {total}", whole.nats);
        let without = asked.surprise("ab", false).unwrap();
        assert_eq!(without.num_tokens, 2);
        assert!(without.nats < whole.nats && first > 0.);
    }
}
