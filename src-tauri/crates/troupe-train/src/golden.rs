//! Runs folders of golden numerical cases against this implementation.
//!
//! A folder holds a tiny model in the released formats, `cases.json` with inputs and expected
//! outputs, and `tensors.safetensors` with all arrays. One line a case is printed:
//! `<id> <error> <tolerance> ok|FAIL`, of the entry with the largest error relative to its
//! tolerance, then `N passed, M failed`.

use std::{
    collections::{BTreeMap, HashMap},
    io::Write,
    ops::ControlFlow,
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, Result, anyhow, bail};
use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use serde_json::Value;
use troupe_model::{
    autoencoder::{AutoEncoder, patchify, unpatchify},
    config::{ModelConfig, RenormType, SpecialTokenIds},
    context::{Context, Reader},
    flow::{FlowContexts, FlowRun, FlowSampling, FlowStep, Guidance, StepRule},
    image_ops::{ImageTransform, normalise, to_rgb, to_rgb_image},
    text::TextSampling,
    unified::{LatentInput, Network, VisionTokens},
    weights::Weights,
};

use crate::sequence::{FlowTarget, LossWeights, SequenceBlock, VisionInput, sequence_loss};

/// What a case produced, by the name of its expected entry.
type Outputs = HashMap<String, Tensor>;

#[derive(Debug, Deserialize)]
struct Case {
    id: String,
    kind: String,
    params: Value,
    inputs: BTreeMap<String, String>,
    expected: BTreeMap<String, Expected>,
}

#[derive(Debug, Deserialize)]
struct Expected {
    tensor: String,
    tol: f64,
    compare: String,
}

/// A loaded folder.
struct Folder {
    config: ModelConfig,
    special: SpecialTokenIds,
    network: Network,
    vae: Result<AutoEncoder>,
    tensors: HashMap<String, Tensor>,
    dir: std::path::PathBuf,
}

/// Runs every case of `folder`, one line each into `out`; true when all passed.
///
/// # Errors
/// When the folder itself cannot be loaded or `out` cannot be written. A failing case is a line.
pub fn run(folder: &Path, out: &mut dyn Write) -> Result<bool> {
    let cases = folder.join("cases.json");
    let text =
        std::fs::read_to_string(&cases).with_context(|| format!("reading {}", cases.display()))?;
    let cases: Vec<Value> = serde_json::from_str(&text).context("reading cases.json")?;
    let folder = Folder::load(folder);
    if let Err(error) = &folder {
        tracing::error!("{error:#}");
    }
    let (mut passed, mut failed) = (0, 0);
    for case in cases {
        let id = case.get("id").and_then(Value::as_str).unwrap_or("?").to_owned();
        let result = match &folder {
            Ok(folder) => serde_json::from_value(case)
                .context("an unreadable case")
                .and_then(|case: Case| folder.check_unwinding(&case)),
            Err(_) => Err(anyhow!("the folder could not be loaded")),
        };
        let (error, tol, ok) = match result {
            Ok((error, tol)) => (error, tol, error <= tol),
            Err(error) => {
                tracing::error!("{id}: {error:#}");
                (f64::INFINITY, 0., false)
            }
        };
        if ok {
            passed += 1
        } else {
            failed += 1
        }
        writeln!(out, "{id} {error:e} {tol:e} {}", if ok { "ok" } else { "FAIL" })?;
    }
    writeln!(out, "{passed} passed, {failed} failed")?;
    Ok(failed == 0)
}

impl Folder {
    fn load(dir: &Path) -> Result<Self> {
        let dev = Device::Cpu;
        let mut config = ModelConfig::from_dir(dir)?;
        // Cases say nothing about biases: as in Qwen2 they are there, or as in Llama they are not.
        config.llm_config.attention_bias = has_attention_bias(dir)?;
        let special = config.special_tokens.context("config.json has no special_tokens")?;
        let network = network(&config, dir, &[])?.0;
        let vae = codec(&config, dir);
        let tensors = candle_core::safetensors::load(dir.join("tensors.safetensors"), &dev)?;
        Ok(Self { config, special, network, vae, tensors, dir: dir.to_path_buf() })
    }

    /// Runs a case; a panic inside counts as a failure of that case alone.
    fn check_unwinding(&self, case: &Case) -> Result<(f64, f64)> {
        let run = std::panic::AssertUnwindSafe(|| self.check(case));
        std::panic::catch_unwind(run).unwrap_or_else(|_| Err(anyhow!("panicked")))
    }

    /// Error and tolerance of the worst entry.
    fn check(&self, case: &Case) -> Result<(f64, f64)> {
        let outputs = Runner { folder: self, case }.run()?;
        let mut worst = (0., 0., -1.);
        for (name, expected) in &case.expected {
            let got = outputs.get(name).with_context(|| format!("no output {name}"))?;
            let error = self.error(got, expected).with_context(|| name.clone())?;
            let ratio = match (error, expected.tol) {
                (0., 0.) => 0.,
                (_, 0.) => f64::INFINITY,
                (error, tol) => error / tol,
            };
            tracing::debug!("{} {name} {error:e} of {:e}", case.id, expected.tol);
            if ratio > worst.2 {
                worst = (error, expected.tol, ratio);
            }
        }
        Ok((worst.0, worst.1))
    }

    fn error(&self, got: &Tensor, expected: &Expected) -> Result<f64> {
        let want = self.tensor(&expected.tensor)?;
        if got.dims() != want.dims() {
            bail!("shape {:?}, expected {:?}", got.dims(), want.dims())
        }
        let values = |t: &Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
        let (got, want) = (values(got)?, values(want)?);
        let errors = got.iter().zip(&want).map(|(a, b)| (a - b).abs());
        if got.iter().any(|x| !x.is_finite()) {
            bail!("a value is not finite")
        }
        Ok(match expected.compare.as_str() {
            "mean_abs" => errors.sum::<f64>() / want.len().max(1) as f64,
            _ => errors.fold(0., f64::max),
        })
    }

    fn tensor(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).with_context(|| format!("no tensor {name}"))
    }

    fn reader(&self) -> Reader<'_> {
        Reader { network: &self.network, special: self.special }
    }

    /// The picture codec; only the cases that need it fail where it cannot be loaded.
    fn vae(&self) -> Result<&AutoEncoder> {
        self.vae.as_ref().map_err(|error| anyhow!("the codec could not be loaded: {error:#}"))
    }
}

fn codec(config: &ModelConfig, dir: &Path) -> Result<AutoEncoder> {
    let weights = Arc::new(Weights::new().file(&dir.join("ae.safetensors"))?);
    let vae = AutoEncoder::load(&config.vae_config, &weights.builder(DType::F32, &Device::Cpu))?;
    let mismatch = weights.mismatch(|_| true);
    if !mismatch.is_empty() {
        bail!("ae.safetensors: {mismatch}")
    }
    Ok(vae)
}

fn has_attention_bias(dir: &Path) -> Result<bool> {
    let shapes = Weights::new().file(&dir.join("model.safetensors"))?.shapes();
    Ok(shapes
        .keys()
        .any(|name| name.ends_with("self_attn.q_proj.bias") && name.starts_with("language_model.")))
}

/// The network, with the named weights as variables.
fn network(
    config: &ModelConfig,
    dir: &Path,
    trainable: &[String],
) -> Result<(Network, Arc<Weights>)> {
    let chosen = trainable.to_vec();
    let weights = Weights::new()
        .file(&dir.join("model.safetensors"))?
        .trainable(move |name| chosen.iter().any(|c| c == name));
    let weights = Arc::new(weights);
    let network = Network::load(config, &weights.builder(DType::F32, &Device::Cpu))?;
    let mismatch = weights.mismatch(|_| true);
    if !mismatch.is_empty() {
        bail!("model.safetensors: {mismatch}")
    }
    Ok((network, weights))
}

/// One case being run.
struct Runner<'a> {
    folder: &'a Folder,
    case: &'a Case,
}

impl Runner<'_> {
    fn run(&self) -> Result<Outputs> {
        match self.case.kind.as_str() {
            "vit_encode" => self.vit_encode(),
            "vae_encode" => self.vae_encode(),
            "vae_decode" => self.vae_decode(),
            "latent_patchify" => {
                let tokens = patchify(self.input("latent")?, self.folder.config.latent_patch_size)?;
                Ok(outputs([("tokens", tokens)]))
            }
            "latent_unpatchify" => {
                let latent =
                    self.unpatchify(self.input("tokens")?, self.usize("h")?, self.usize("w")?)?;
                Ok(outputs([("latent", latent)]))
            }
            "text_logits" => self.text_logits(),
            "greedy_decode" => self.greedy_decode(),
            "kv_cache" => self.kv_cache(),
            "flow_velocity" => self.flow_velocity(),
            "generate_latent" => self.generate_latent(),
            "interleave" => self.interleave(),
            "sft_loss" => self.sft_loss(),
            "image_preprocess" => self.image_preprocess(),
            "flow_sde_step" => self.flow_sde_step(),
            "log_prob" => self.log_prob(),
            "grpo_rollout" => self.grpo_rollout(),
            "grpo_loss" => self.grpo_loss(),
            kind => bail!("unknown kind {kind}"),
        }
    }

    fn input(&self, role: &str) -> Result<&Tensor> {
        let name = self.case.inputs.get(role).with_context(|| format!("no input {role}"))?;
        self.folder.tensor(name)
    }

    fn param(&self, name: &str) -> Result<&Value> {
        self.case.params.get(name).with_context(|| format!("no parameter {name}"))
    }

    fn f64(&self, name: &str) -> Result<f64> {
        number(self.param(name)?)
    }

    fn usize(&self, name: &str) -> Result<usize> {
        Ok(self.f64(name)? as usize)
    }

    fn flag(&self, name: &str) -> bool {
        self.case.params.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    fn string(&self, name: &str) -> Result<&str> {
        self.param(name)?.as_str().with_context(|| format!("{name} is no text"))
    }

    fn unpatchify(&self, tokens: &Tensor, h: usize, w: usize) -> Result<Tensor> {
        Ok(unpatchify(tokens, h, w, self.folder.config.latent_patch_size)?)
    }

    fn named(&self, block: &Value, key: &str) -> Result<&Tensor> {
        let name = block.get(key).and_then(Value::as_str);
        self.folder.tensor(name.with_context(|| format!("a block without {key}"))?)
    }

    /// Latent tokens of a `vae` block, with rows and columns.
    fn block_latents(&self, block: &Value) -> Result<(Tensor, usize, usize)> {
        let latent = if block.get("latent").is_some() {
            self.named(block, "latent")?.clone()
        } else {
            self.folder.vae()?.encode(self.named(block, "image")?, self.named(block, "eps")?)?
        };
        let patch = self.folder.config.latent_patch_size;
        let (_, h, w) = latent.dims3()?;
        Ok((patchify(&latent, patch)?, h / patch, w / patch))
    }

    fn read(&self, context: &mut Context, block: &Value) -> Result<()> {
        let reader = self.folder.reader();
        match block_type(block)? {
            "text" => reader.read_text(context, &ids(block)?)?,
            "vit" => reader.read_picture(context, self.named(block, "image")?)?,
            "vae" => {
                let (tokens, rows, columns) = self.block_latents(block)?;
                reader.read_latents(
                    context,
                    &LatentInput { tokens: &tokens, time: 0., rows, columns },
                )?;
            }
            other => bail!("unknown block {other}"),
        }
        Ok(())
    }

    /// A context from a block list; empty when the parameter is missing.
    fn context(&self, name: &str) -> Result<Context> {
        let mut context = Context::new();
        for block in self.case.params.get(name).and_then(Value::as_array).into_iter().flatten() {
            self.read(&mut context, block)?;
        }
        Ok(context)
    }

    fn vit_encode(&self) -> Result<Outputs> {
        let picture = self.input("image")?;
        let patch = self.folder.config.vit_config.patch_size;
        let (_, h, w) = picture.dims3()?;
        let network = &self.folder.network;
        let features = network.vision_features(picture)?;
        let VisionTokens { connected: connector, tokens, .. } =
            network.vision_tokens(&features, h / patch, w / patch)?;
        Ok(outputs([("features", features), ("connector", connector), ("tokens", tokens)]))
    }

    fn vae_encode(&self) -> Result<Outputs> {
        let (vae, picture) = (self.folder.vae()?, self.input("image")?);
        let latent = vae.encode(picture, self.input("eps")?)?;
        Ok(outputs([("moments", vae.moments(picture)?), ("latent", latent)]))
    }

    fn vae_decode(&self) -> Result<Outputs> {
        let image = self.folder.vae()?.decode(self.input("latent")?)?;
        let image_u8 = to_u8(&image)?;
        Ok(outputs([("image", image), ("image_u8", image_u8)]))
    }

    fn text_logits(&self) -> Result<Outputs> {
        let reader = self.folder.reader();
        let (mut context, mut logits) = (Context::new(), Vec::new());
        for block in self.param("context")?.as_array().into_iter().flatten() {
            if block_type(block)? == "text" {
                logits.push(reader.read_text_with_logits(&mut context, &ids(block)?)?);
            } else {
                self.read(&mut context, block)?;
            }
        }
        Ok(outputs([("logits", Tensor::cat(&logits, 0)?)]))
    }

    fn greedy_decode(&self) -> Result<Outputs> {
        let context = self.context("context")?;
        let mut logits = Vec::new();
        let start = [self.folder.special.im_start];
        let decoded = self.folder.reader().decode(
            &context,
            &start,
            self.usize("max_length")?,
            &TextSampling::greedy(),
            &mut |_, row| {
                logits.push(row.clone());
                ControlFlow::Continue(())
            },
        )?;
        let tokens: Vec<i64> = decoded.tokens.iter().map(|t| i64::from(*t)).collect();
        Ok(outputs([("tokens", vector(tokens)?), ("logits", Tensor::stack(&logits, 0)?)]))
    }

    fn kv_cache(&self) -> Result<Outputs> {
        let context = self.context("context")?;
        let mut out = outputs([
            ("kv_len", vector(vec![context.len() as i64])?),
            ("rope", vector(vec![i64::from(context.rope())])?),
        ]);
        for layer in 0..self.folder.config.llm_config.num_hidden_layers {
            let (keys, values) = context.cache().layer(layer)?;
            out.insert(format!("k.{layer}"), keys);
            out.insert(format!("v.{layer}"), values);
        }
        Ok(out)
    }

    fn flow_velocity(&self) -> Result<Outputs> {
        let (rows, columns) = (self.usize("h")?, self.usize("w")?);
        let latents =
            LatentInput { tokens: self.input("x_t")?, time: self.f64("t")?, rows, columns };
        let guidance = match self.case.params.get("cfg") {
            Some(cfg) => Guidance {
                text_scale: number(&cfg["text_scale"])?,
                img_scale: number(&cfg["img_scale"])?,
                renorm_type: serde_json::from_value(cfg["renorm_type"].clone())?,
                renorm_min: number(&cfg["renorm_min"])?,
            },
            None => Guidance {
                text_scale: 1.,
                img_scale: 1.,
                renorm_type: RenormType::Global,
                renorm_min: 0.,
            },
        };
        let contexts = self.contexts()?;
        let velocity =
            self.folder.reader().guided_velocity(&latents, &contexts.borrow(), &guidance)?;
        Ok(outputs([("velocity", velocity)]))
    }

    fn contexts(&self) -> Result<Contexts> {
        Ok(Contexts {
            main: self.context("context")?,
            without_text: self.context("cfg_text_context")?,
            without_image: self.context("cfg_img_context")?,
        })
    }

    fn sampling(&self, params: &Value) -> Result<FlowSampling> {
        let interval = &params["cfg_interval"];
        Ok(FlowSampling {
            num_timesteps: number(&params["num_timesteps"])? as usize,
            timestep_shift: number(&params["timestep_shift"])?,
            cfg_text_scale: number(&params["cfg_text_scale"])?,
            cfg_img_scale: params.get("cfg_img_scale").map_or(Ok(1.), number)?,
            cfg_interval: [number(&interval[0])?, number(&interval[1])?],
            cfg_renorm_type: serde_json::from_value(params["cfg_renorm_type"].clone())?,
            cfg_renorm_min: number(&params["cfg_renorm_min"])?,
            size: None,
            seed: 0,
        })
    }

    fn generate_latent(&self) -> Result<Outputs> {
        let contexts = self.contexts()?;
        let sampling = self.sampling(&self.case.params)?;
        let run = FlowRun {
            contexts: contexts.borrow(),
            sampling: &sampling,
            rows: self.usize("h")?,
            columns: self.usize("w")?,
        };
        let mut trajectory = Vec::new();
        let (last, _) =
            self.folder.reader().sample_latents(&run, self.input("noise")?, &mut |p| {
                trajectory.push(p.latents.clone());
                ControlFlow::Continue(())
            })?;
        let times = sampling.times();
        let evaluated = &times[..times.len() - 1];
        let guided: Vec<i64> =
            evaluated.iter().map(|t| i64::from(sampling.guidance_at(*t).is_active())).collect();
        Ok(outputs([
            ("times", vector(evaluated.to_vec())?),
            ("guided", vector(guided)?),
            ("trajectory", Tensor::stack(&trajectory, 0)?),
            ("latent_tokens", last),
        ]))
    }

    /// The request loop of BAGEL's `inferencer.py`: contexts are derived from the inputs in order.
    fn interleave(&self) -> Result<Outputs> {
        let (think, understanding) = (self.flag("think"), self.flag("understanding"));
        let transform = |name: &str| -> Result<ImageTransform> {
            Ok(serde_json::from_value(self.param(name)?.clone())?)
        };
        let (vae_transform, vit_transform) =
            (transform("vae_transform")?, transform("vit_transform")?);
        let reader = self.folder.reader();
        let mut contexts = Contexts::default();
        let mut size =
            [number(&self.param("image_shape")?[0])?, number(&self.param("image_shape")?[1])?]
                .map(|side| side as usize);
        if think {
            let prompt = ids(self.param("think_prompt")?)?;
            reader.read_text(&mut contexts.main, &prompt)?;
            reader.read_text(&mut contexts.without_image, &prompt)?;
        }
        for input in self.param("inputs")?.as_array().into_iter().flatten() {
            if block_type(input)? == "text" {
                contexts.without_text = contexts.main.fork()?;
                reader.read_text(&mut contexts.main, &ids(input)?)?;
                reader.read_text(&mut contexts.without_image, &ids(input)?)?;
                continue;
            }
            let picture = rgb(self.named(input, "pixels")?)?;
            let picture = vae_transform.apply(&picture, 1);
            size = [picture.height() as usize, picture.width() as usize];
            if !understanding {
                let pixels = normalise(&picture, &Device::Cpu)?;
                let latent = self.folder.vae()?.encode(&pixels, self.named(input, "eps")?)?;
                let patch = self.folder.config.latent_patch_size;
                let tokens = patchify(&latent, patch)?;
                let (_, h, w) = latent.dims3()?;
                let latents =
                    LatentInput { tokens: &tokens, time: 0., rows: h / patch, columns: w / patch };
                reader.read_latents(&mut contexts.main, &latents)?;
            }
            let seen = normalise(&vit_transform.apply(&picture, 1), &Device::Cpu)?;
            reader.read_picture(&mut contexts.main, &seen)?;
            contexts.without_text = contexts.main.fork()?;
        }
        let mut out = Outputs::new();
        if understanding || think {
            let decoded = self.folder.reader().decode(
                &contexts.main,
                &[self.folder.special.im_start],
                self.usize("max_think_tokens")?,
                &TextSampling::greedy(),
                &mut |_, _| ControlFlow::Continue(()),
            )?;
            let text = between_starts(&decoded.tokens, self.folder.special);
            out.insert("text_ids".into(), vector(text.iter().map(|t| i64::from(*t)).collect())?);
            if understanding {
                return Ok(out);
            }
            let special = self.folder.special;
            let block = [&[special.im_start], text.as_slice(), &[special.im_end]].concat();
            reader.read_text(&mut contexts.main, &block)?;
        }
        let sampling = self.sampling(self.param("options")?)?;
        let pixels_per_token = self.folder.config.pixels_per_token();
        let [rows, columns] = size.map(|side| side / pixels_per_token);
        let run = FlowRun { contexts: contexts.borrow(), sampling: &sampling, rows, columns };
        let (latents, _) = reader
            .sample_latents(&run, self.input("noise")?, &mut |_| ControlFlow::Continue(()))?;
        let image = self.folder.vae()?.decode(&self.unpatchify(&latents, rows, columns)?)?;
        out.insert("image_u8".into(), to_u8(&image)?);
        out.insert("latent_tokens".into(), latents);
        Ok(out)
    }

    fn sft_block(&self, block: &Value) -> Result<SequenceBlock> {
        let kind = block_type(block)?;
        if block.get("dropped").and_then(Value::as_bool).unwrap_or(false) {
            return Ok(SequenceBlock::Dropped { is_image: kind != "text" });
        }
        let has_loss = block.get("loss").map_or(Ok(0.), number)? > 0.;
        Ok(match kind {
            "text" => SequenceBlock::Text { ids: ids(block)?, loss_from: has_loss.then_some(0) },
            "vit" => {
                SequenceBlock::Vision(VisionInput::Pixels(self.named(block, "image")?.clone()))
            }
            "vae" => {
                let (tokens, rows, columns) = self.block_latents(block)?;
                let target = if has_loss {
                    let u = 1. / (1. + (-number(&block["t_logit"])?).exp());
                    let s = self.f64("timestep_shift")?;
                    let time = s * u / (1. + (s - 1.) * u);
                    Some(FlowTarget { noise: self.named(block, "noise")?.clone(), time })
                } else {
                    None
                };
                SequenceBlock::Latents { tokens, rows, columns, target }
            }
            other => bail!("unknown block {other}"),
        })
    }

    fn grad_weights(&self) -> Result<Vec<String>> {
        Ok(serde_json::from_value(self.param("grad_weights")?.clone())?)
    }

    fn add_gradients(&self, out: &mut Outputs, loss: &Tensor, weights: &Weights) -> Result<()> {
        let grads = loss.backward()?;
        for (name, var) in weights.vars() {
            let grad = match grads.get(&var) {
                Some(grad) => grad.clone(),
                None => var.zeros_like()?,
            };
            out.insert(format!("grad:{name}"), grad);
        }
        Ok(())
    }

    fn sft_loss(&self) -> Result<Outputs> {
        let samples: Vec<Vec<SequenceBlock>> = self
            .param("samples")?
            .as_array()
            .into_iter()
            .flatten()
            .map(|sample| {
                sample.as_array().into_iter().flatten().map(|b| self.sft_block(b)).collect()
            })
            .collect::<Result<_>>()?;
        let folder = self.folder;
        let (network, weights) = network(&folder.config, &folder.dir, &self.grad_weights()?)?;
        let losses = sequence_loss(&network, folder.special, &samples)?;
        let total = losses.total(&LossWeights {
            ce: self.f64("ce_weight")?,
            mse: self.f64("mse_weight")?,
            ce_reweighting: self.flag("ce_loss_reweighting"),
        })?;
        let index = |values: &[usize]| vector(values.iter().map(|i| *i as i64).collect());
        let mut out = outputs([
            ("position_ids", vector(losses.position_ids.iter().map(|p| i64::from(*p)).collect())?),
            ("ce_indexes", index(&losses.ce_indexes)?),
            ("ce_labels", vector(losses.ce_labels.iter().map(|l| i64::from(*l)).collect())?),
            ("mse_indexes", index(&losses.mse_indexes)?),
            ("loss", total.loss.reshape(1)?),
        ]);
        let scalars = [("ce_mean", total.ce), ("mse_mean", total.mse)];
        for (name, value) in scalars.into_iter().filter_map(|(n, v)| Some((n, v?))) {
            out.insert(name.into(), value.reshape(1)?);
        }
        for (name, value) in [("ce", &losses.ce), ("mse", &losses.mse)] {
            if let Some(value) = value {
                out.insert(name.into(), value.clone());
            }
        }
        self.add_gradients(&mut out, &total.loss, &weights)?;
        Ok(out)
    }

    fn image_preprocess(&self) -> Result<Outputs> {
        let transforms: Vec<ImageTransform> =
            serde_json::from_value(self.param("transforms")?.clone())?;
        let num_pictures = self.usize("img_num")?;
        let mut picture = rgb(self.input("pixels")?)?;
        for transform in transforms {
            picture = transform.apply(&picture, num_pictures);
        }
        let size = vec![i64::from(picture.height()), i64::from(picture.width())];
        let tensor = normalise(&picture, &Device::Cpu)?;
        let mut out = outputs([("size", vector(size)?)]);
        if self.case.inputs.contains_key("sample_index") {
            let index = self.input("sample_index")?.to_dtype(DType::U32)?;
            out.insert("sample".into(), tensor.flatten_all()?.index_select(&index, 0)?);
            out.insert("mean".into(), tensor.flatten_from(1)?.mean(1)?);
        }
        out.insert("tensor".into(), tensor);
        Ok(out)
    }

    fn step(&self) -> Result<FlowStep> {
        Ok(FlowStep {
            t: self.f64("t")?,
            t_next: self.f64("t_next")?,
            t_1: self.f64("t_1")?,
            noise_level: self.f64("noise_level")?,
            rule: rule(self.string("rule")?)?,
        })
    }

    fn flow_sde_step(&self) -> Result<Outputs> {
        let step = self.step()?;
        let (x, v) = (self.input("x")?, self.input("velocity")?);
        let mean = step.mean(x, v)?;
        let next = step.next(x, v, Some(self.input("noise")?))?;
        let std = step.coefficients().std;
        let mut out = outputs([("std", vector(vec![std])?), ("next", next.clone())]);
        if std > 0. {
            out.insert("log_prob".into(), step.log_prob(&mean, &next)?.reshape(1)?);
        }
        out.insert("mean".into(), mean);
        Ok(out)
    }

    fn log_prob(&self) -> Result<Outputs> {
        let step = self.step()?;
        let (x, next) = (self.input("x")?, self.input("next")?);
        let old = step.mean(x, self.input("velocity_old")?)?;
        let new = step.mean(x, self.input("velocity_new")?)?;
        let log_ratio = step.log_ratio(&new, &old, next)?;
        Ok(outputs([
            ("log_prob_old", step.log_prob(&old, next)?.reshape(1)?),
            ("log_prob_new", step.log_prob(&new, next)?.reshape(1)?),
            ("log_ratio", log_ratio.reshape(1)?),
            ("ratio", log_ratio.exp()?.reshape(1)?),
        ]))
    }

    /// The steps of the case's time grid; those outside the window are deterministic.
    fn steps(&self) -> Result<Vec<FlowStep>> {
        let times = self.sampling(&self.case.params)?.times();
        let (start, size) = (self.usize("window_start")?, self.usize("window_size")?);
        let level = self.f64("noise_level")?;
        let rule = rule(self.string("rule")?)?;
        let step = |(i, pair): (usize, &[f64])| {
            let inside = (start..start + size).contains(&i);
            let noise_level = if inside { level } else { 0. };
            FlowStep { t: pair[0], t_next: pair[1], t_1: times[1], noise_level, rule }
        };
        Ok(times.windows(2).enumerate().map(step).collect())
    }

    fn grpo_rollout(&self) -> Result<Outputs> {
        let contexts = self.contexts()?;
        let sampling = self.sampling(&self.case.params)?;
        let (rows, columns) = (self.usize("h")?, self.usize("w")?);
        let (start, size) = (self.usize("window_start")?, self.usize("window_size")?);
        let noises = self.input("step_noise")?;
        let mut x = self.input("noise")?.clone();
        let (mut window, mut log_probs, mut times) = (Vec::new(), Vec::new(), Vec::new());
        for (i, step) in self.steps()?.iter().enumerate() {
            let latents = LatentInput { tokens: &x, time: step.t, rows, columns };
            let guidance = sampling.guidance_at(step.t);
            let velocity =
                self.folder.reader().guided_velocity(&latents, &contexts.borrow(), &guidance)?;
            if !(start..start + size).contains(&i) {
                x = step.next(&x, &velocity, None)?;
                continue;
            }
            if window.is_empty() {
                window.push(x.clone());
            }
            let mean = step.mean(&x, &velocity)?;
            x = step.next(&x, &velocity, Some(&noises.get(i - start)?))?;
            window.push(x.clone());
            log_probs.push(step.log_prob(&mean, &x)?);
            times.push(step.t);
        }
        Ok(outputs([
            ("window_latents", Tensor::stack(&window, 0)?),
            ("log_probs", Tensor::stack(&log_probs, 0)?),
            ("times", vector(times)?),
            ("latent_tokens", x),
        ]))
    }

    fn grpo_loss(&self) -> Result<Outputs> {
        let folder = self.folder;
        let contexts = self.contexts()?; // read with frozen weights: constants
        let (network, weights) = network(&folder.config, &folder.dir, &self.grad_weights()?)?;
        let reader = Reader { network: &network, special: folder.special };
        let sampling = self.sampling(&self.case.params)?;
        let (rows, columns) = (self.usize("h")?, self.usize("w")?);
        let start = self.usize("window_start")?;
        let window = self.input("window_latents")?;
        let log_probs_old = self.input("log_probs_old")?;
        let advantage = self.f64("advantage")?.clamp(-5., 5.);
        let (low, high) = (1. - self.f64("clip_low")?, 1. + self.f64("clip_high")?);
        let (mut log_probs, mut ratios, mut losses) = (Vec::new(), Vec::new(), Vec::new());
        for j in 0..self.usize("window_size")? {
            let step = self.steps()?[start + j];
            let (x, next) = (window.get(j)?, window.get(j + 1)?);
            let latents = LatentInput { tokens: &x, time: step.t, rows, columns };
            let guidance = sampling.guidance_at(step.t);
            let velocity = reader.guided_velocity(&latents, &contexts.borrow(), &guidance)?;
            let log_prob = step.log_prob(&step.mean(&x, &velocity)?, &next)?;
            let ratio = (&log_prob - log_probs_old.get(j)?)?.exp()?;
            let plain = (&ratio * -advantage)?;
            let clipped = (ratio.clamp(low, high)? * -advantage)?;
            losses.push(plain.maximum(&clipped)?);
            log_probs.push(log_prob);
            ratios.push(ratio);
        }
        let step_losses = Tensor::stack(&losses, 0)?;
        let loss = step_losses.mean_all()?;
        let mut out = outputs([
            ("log_probs_new", Tensor::stack(&log_probs, 0)?),
            ("ratio", Tensor::stack(&ratios, 0)?),
            ("step_losses", step_losses),
            ("loss", loss.reshape(1)?),
        ]);
        self.add_gradients(&mut out, &loss, &weights)?;
        Ok(out)
    }
}

/// Owned contexts of a picture.
#[derive(Default)]
struct Contexts {
    main: Context,
    without_text: Context,
    without_image: Context,
}

impl Contexts {
    fn borrow(&self) -> FlowContexts<'_> {
        FlowContexts {
            main: &self.main,
            without_text: &self.without_text,
            without_image: &self.without_image,
        }
    }
}

fn outputs<const N: usize>(entries: [(&str, Tensor); N]) -> Outputs {
    entries.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect()
}

fn vector<T: candle_core::WithDType>(values: Vec<T>) -> Result<Tensor> {
    let len = values.len();
    Ok(Tensor::from_vec(values, len, &Device::Cpu)?)
}

fn number(value: &Value) -> Result<f64> {
    value.as_f64().with_context(|| format!("{value} is no number"))
}

fn block_type(block: &Value) -> Result<&str> {
    block.get("type").and_then(Value::as_str).context("a block without type")
}

fn ids(block: &Value) -> Result<Vec<u32>> {
    Ok(serde_json::from_value(block.get("ids").context("a text block without ids")?.clone())?)
}

fn rule(name: &str) -> Result<StepRule> {
    Ok(serde_json::from_value(Value::from(name))?)
}

/// Raw pixels (H, W, 3 or 4) as RGB.
fn rgb(pixels: &Tensor) -> Result<image::RgbImage> {
    let (h, w, c) = pixels.dims3()?;
    let (h, w) = (h as u32, w as u32);
    let bytes = pixels.flatten_all()?.to_vec1::<u8>()?;
    let picture = match c {
        3 => image::RgbImage::from_raw(w, h, bytes).map(image::DynamicImage::ImageRgb8),
        4 => image::RgbaImage::from_raw(w, h, bytes).map(image::DynamicImage::ImageRgba8),
        _ => None,
    };
    Ok(to_rgb(&picture.context("pixels need 3 or 4 channels")?))
}

fn to_u8(image: &Tensor) -> Result<Tensor> {
    let picture = to_rgb_image(image)?;
    let shape = (picture.height() as usize, picture.width() as usize, 3);
    Ok(Tensor::from_vec(picture.into_raw(), shape, &Device::Cpu)?)
}

/// What a decoded run says: up to the first end, between the first and second start token.
fn between_starts(tokens: &[u32], special: SpecialTokenIds) -> Vec<u32> {
    let text = tokens.split(|t| *t == special.im_end).next().unwrap_or_default();
    text.split(|t| *t == special.im_start).nth(1).unwrap_or_default().to_vec()
}
