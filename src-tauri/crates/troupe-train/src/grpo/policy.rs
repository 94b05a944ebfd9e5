//! The network as a policy, and stage 1 as where it starts.
//!
//! Only the generation expert learns: every weight whose name holds `moe_gen`, or low-rank updates on
//! its linear layers. What stage 1 taught everything else stays attached and frozen. Stage 1 as a
//! policy is the same network with the first values of what learns put back.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use candle_core::{D, DType, Device, Result, Tensor, Var};
use troupe_model::{
    adapter::{self, Adapter, AdapterConfig},
    config::RenormType,
    context::{Context, FlowQuery},
    flow::Guidance,
    runtime::Model,
    tokens::TextRole,
    unified::LatentInput,
};
use troupe_nn::{
    linear::Lora,
    noise::{Noise, Stream},
};

use super::{
    profile::{OptimConfig, SamplerConfig},
    sampler::Policy,
};
use crate::{
    error::{TrainError, TrainResult},
    sft::load_trainable,
};

/// Whether stage 2 may change a weight.
pub fn is_trained(name: &str) -> bool {
    name.contains("_moe_gen")
}

/// A base with a stage-1 adapter, whose generation expert learns.
#[derive(Debug)]
pub struct Student {
    /// The model.
    pub model: Model,
    /// What learns, by name.
    pub vars: BTreeMap<String, Var>,
    /// Its values at stage 1.
    pub first: HashMap<String, Tensor>,
    /// What stage 1 taught.
    stage1: Adapter,
    /// Scale of the low-rank updates, if those learn.
    lora_scale: Option<f64>,
}

impl Student {
    /// Loads base and adapter.
    ///
    /// # Errors
    /// When one cannot be read, or the adapter was made for another base.
    pub fn load(
        model_dir: &Path,
        adapter_dir: &Path,
        optim: &OptimConfig,
        seed: u64,
    ) -> TrainResult<Self> {
        let in_full = optim.lora_rank == 0;
        let (mut model, vars) = load_trainable(model_dir, move |n| in_full && is_trained(n))?;
        let mut stage1 = Adapter::load(adapter_dir, &Device::Cpu)?;
        let made_for = &stage1.config.base_hash;
        if !made_for.is_empty() && made_for != model.base_hash() {
            return Err(TrainError::Malformed {
                what: "the stage-1 adapter",
                reason:
                    "it was taught on another base model; teach the character on this one first"
                        .into(),
                path: adapter_dir.to_path_buf(),
            });
        }
        stage1.add_base(model.network_mut())?;
        let mut rest = stage1.clone();
        let mut own = Self { vars, first: HashMap::new(), stage1, lora_scale: None, model };
        if in_full {
            own.take_over(&mut rest)?;
        }
        model = own.model;
        if !rest.loras.is_empty() || !rest.weights.is_empty() {
            let base = model.base_hash().to_owned();
            adapter::attach(model.network_mut(), &rest, &base)?;
        }
        own.model = model;
        if !in_full {
            own.attach_loras(optim, seed)?;
        }
        own.first = own
            .vars
            .iter()
            .map(|(name, var)| Ok((name.clone(), var.as_tensor().copy()?)))
            .collect::<Result<_>>()?;
        Ok(own)
    }

    /// Puts what the adapter says about learning weights into them and takes it out of `rest`.
    fn take_over(&self, rest: &mut Adapter) -> TrainResult<()> {
        for (name, var) in &self.vars {
            if let Some(weight) = rest.weights.remove(name) {
                var.set(&weight)?;
            }
            let lora = name.strip_suffix(".weight").and_then(|module| rest.loras.remove(module));
            if let Some(lora) = lora {
                var.set(&(var.as_tensor() + lora.delta()?)?.detach())?;
            }
        }
        Ok(())
    }

    /// Low-rank updates whose up projections start at 0, so that the policy starts as stage 1.
    fn attach_loras(&mut self, optim: &OptimConfig, seed: u64) -> TrainResult<()> {
        let (rank, scale) = (optim.lora_rank, optim.lora_alpha / optim.lora_rank as f64);
        let (vars, mut index) = (&mut self.vars, 0);
        self.model.network_mut().visit_linears(&mut |module, linear| {
            if !module.contains(".layers.") || !is_trained(module) {
                return Ok(());
            }
            // What stage 1 taught this layer becomes part of its weight, which cannot stay quantised.
            if linear.is_quantised() && linear.lora().is_some() {
                let (weight, bias) = (linear.dense_weight()?, linear.bias().cloned());
                linear.set_weight(weight, bias)?;
            }
            linear.merge()?;
            let (o, i) = linear.shape()?;
            let a = Noise::new(seed, Stream::Weights, index)
                .normal_tensor((rank, i), &Device::Cpu)?
                .affine(1. / rank as f64, 0.)?;
            index += 1;
            let (a, b) = (Var::from_tensor(&a)?, Var::zeros((o, rank), DType::F32, &Device::Cpu)?);
            linear.attach(Lora { a: a.as_tensor().clone(), b: b.as_tensor().clone(), scale })?;
            vars.insert(format!("{module}.lora_A"), a);
            vars.insert(format!("{module}.lora_B"), b);
            Ok(())
        })?;
        self.lora_scale = Some(scale);
        Ok(())
    }

    /// Sets what learns to `values` where given and returns what it held.
    ///
    /// # Errors
    /// When a value has another shape.
    pub fn swap(&self, values: &HashMap<String, Tensor>) -> Result<HashMap<String, Tensor>> {
        let mut before = HashMap::new();
        for (name, var) in &self.vars {
            before.insert(name.clone(), var.as_tensor().copy()?);
            if let Some(value) = values.get(name) {
                var.set(value)?;
            }
        }
        Ok(before)
    }

    /// What `run` finds with stage 1's values in place of what was learned since.
    ///
    /// # Errors
    /// Those of `run`.
    pub fn as_stage1<T>(&self, run: impl FnOnce() -> TrainResult<T>) -> TrainResult<T> {
        let present = self.swap(&self.first)?;
        let found = run();
        self.swap(&present)?;
        found
    }

    /// Reads prompts, to be drawn from.
    ///
    /// # Errors
    /// When the network fails.
    pub fn contexts<'t>(&self, texts: impl Iterator<Item = &'t str>) -> TrainResult<Vec<Context>> {
        texts
            .map(|text| {
                let (ids, _) = self.model.tokenizer().text_block(TextRole::Caption, text)?;
                let mut context = Context::new();
                self.model.reader().read_text(&mut context, &ids)?;
                context.keep_for_drawing(self.model.network())?;
                Ok(context)
            })
            .collect()
    }

    /// Rows and columns of a picture's latents.
    pub fn grid(&self) -> (usize, usize) {
        let config = self.model.config();
        let side = config.picture_size / config.pixels_per_token();
        (side, side)
    }

    /// Writes an adapter of stage 2: all of stage 1 with the generation expert as it is now.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save(&self, dir: &Path, config: AdapterConfig) -> TrainResult<()> {
        let (mut loras, mut weights) = (self.stage1.loras.clone(), self.stage1.weights.clone());
        let mut config = AdapterConfig {
            r: self.stage1.config.r,
            lora_alpha: self.stage1.config.lora_alpha,
            use_rslora: self.stage1.config.use_rslora,
            alpha_pattern: self.stage1.config.alpha_pattern.clone(),
            base_hash: self.model.base_hash().to_owned(),
            ..config
        };
        match self.lora_scale {
            None => {
                for (name, var) in &self.vars {
                    if let Some(module) = name.strip_suffix(".weight") {
                        loras.remove(module);
                    }
                    weights.insert(name.clone(), var.as_tensor().clone());
                }
            }
            Some(scale) => {
                for (name, a) in &self.vars {
                    let Some(module) = name.strip_suffix(".lora_A") else { continue };
                    let Some(b) = self.vars.get(&format!("{module}.lora_B")) else { continue };
                    let b = b.as_tensor().affine(scale, 0.)?;
                    let sum = joined(loras.remove(module), a.as_tensor().clone(), b)?;
                    // The scale is within the factors: alpha over rank is 1.
                    let rank = sum.a.dim(0)? as f64;
                    let alpha = if config.use_rslora { rank.sqrt() } else { rank };
                    config.alpha_pattern.put_first(module.to_owned(), alpha);
                    loras.insert(module.to_owned(), sum);
                }
            }
        }
        config.target_modules = loras.keys().cloned().collect();
        Ok(Adapter::save(dir, &config, &loras, &weights, DType::F32)?)
    }
}

/// The sum of two low-rank updates as one, of scale 1.
fn joined(before: Option<Lora>, a: Tensor, b: Tensor) -> Result<Lora> {
    let Some(before) = before else { return Ok(Lora { a, b, scale: 1. }) };
    Ok(Lora {
        a: Tensor::cat(&[&before.a, &a], 0)?,
        b: Tensor::cat(&[&before.b.affine(before.scale, 0.)?, &b], 1)?,
        scale: 1.,
    })
}

/// The network drawing for prompts that were read.
#[derive(Debug, Clone, Copy)]
pub struct NetworkPolicy<'a> {
    /// The model.
    pub model: &'a Model,
    /// One context a prompt.
    pub contexts: &'a [Context],
    /// A context that has read nothing.
    pub empty: &'a Context,
    /// Rows and columns of a picture's latents.
    pub grid: (usize, usize),
    /// Guidance.
    pub sampler: &'a SamplerConfig,
}

impl NetworkPolicy<'_> {
    fn guidance(&self, t: f64) -> Guidance {
        let [low, high] = self.sampler.cfg_interval;
        Guidance {
            text_scale: if low < t && t <= high { self.sampler.cfg_scale } else { 1. },
            img_scale: 1.,
            renorm_type: RenormType::Global,
            renorm_min: self.sampler.cfg_renorm_min,
        }
    }
}

impl Policy for NetworkPolicy<'_> {
    fn shape(&self) -> (usize, usize) {
        (self.grid.0 * self.grid.1, self.model.config().latent_token_dim())
    }

    fn num_branches(&self, t: f64) -> usize {
        if self.guidance(t).is_active() { 2 } else { 1 }
    }

    fn branch(&self, prompt: usize, xs: &Tensor, t: f64, branch: usize) -> Result<Tensor> {
        let context = if branch == 0 { &self.contexts[prompt] } else { self.empty };
        velocities(self.model, context, self.grid, xs, t)
    }

    fn combine(&self, t: f64, branches: &[Tensor]) -> Result<Tensor> {
        let [conditional, without] = branches else { return Ok(branches[0].clone()) };
        let guidance = self.guidance(t);
        let combine = |c: &Tensor, u: &Tensor| -> Result<Tensor> {
            if !self.sampler.cfg_detach {
                return guidance.combine(c, u, None);
            }
            // The same value; gradients reach the conditional branch alone, not by the scaling.
            let (plain, u) = (c.detach(), u.detach());
            let norm = |xs: &Tensor| xs.sqr()?.sum_keepdim(D::Minus1)?.sqrt();
            let value = guidance.combine(&plain, &u, None)?;
            let unscaled = (&u + ((&plain - &u)? * guidance.text_scale)?)?;
            let scale = (norm(&value)? / (norm(&unscaled)? + 1e-12)?)?.detach();
            let slope = (c - &plain)?.broadcast_mul(&(scale * guidance.text_scale)?)?;
            value + slope
        };
        let k = conditional.dim(0)?;
        let each: Vec<Tensor> = (0..k)
            .map(|i| combine(&conditional.get(i)?, &without.get(i)?))
            .collect::<Result<_>>()?;
        Tensor::stack(&each, 0)
    }
}

/// Velocities (k, g, D) of several pictures in front of one context.
///
/// # Errors
/// When the network fails.
pub fn velocities(
    model: &Model,
    context: &Context,
    (rows, columns): (usize, usize),
    xs: &Tensor,
    time: f64,
) -> Result<Tensor> {
    let tokens: Vec<Tensor> = (0..xs.dim(0)?).map(|i| xs.get(i)).collect::<Result<_>>()?;
    let query =
        |tokens| FlowQuery { latents: LatentInput { tokens, time, rows, columns }, context };
    let queries: Vec<FlowQuery> = tokens.iter().map(query).collect();
    Tensor::stack(&model.reader().velocities(&queries)?, 0)
}
