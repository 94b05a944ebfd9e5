//! AdamW over named variables, gradient norm and moving average, in place and multi-threaded.
//!
//! Source: Decoupled Weight Decay Regularization (arXiv:1711.05101, algorithm 2).
//! Results do not depend on the number of threads.

use std::{cell::RefCell, collections::HashMap};

use candle_core::{
    CpuStorage, DType, Device, InplaceOp2, Layout, Result, Tensor, Var, backprop::GradStore, bail,
};
use rayon::prelude::*;

/// Hyper-parameters. The defaults are those of UniCharacter's Unified-SFT.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWConfig {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Share of a weight that a step of rate 1 removes.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.95, eps: 1e-15, weight_decay: 0. }
    }
}

/// A variable with its moments.
#[derive(Debug)]
struct Slot {
    name: String,
    var: Var,
    first: Vec<f32>,
    second: Vec<f32>,
    rate: f64,
    decay: f64,
}

/// The optimiser.
#[derive(Debug)]
pub struct AdamW {
    slots: Vec<Slot>,
    config: AdamWConfig,
    step: u64,
}

/// One parameter's step as an in-place operation on its variable.
struct Update<'a> {
    moments: RefCell<(&'a mut [f32], &'a mut [f32])>,
    config: AdamWConfig,
    grad_scale: f32,
    rate: f64,
    decay: f64,
    correction1: f64,
    correction2: f64,
}

/// Values updated by one task.
const CHUNK: usize = 1 << 14;

impl InplaceOp2 for Update<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(
        &self,
        weights: &mut CpuStorage,
        layout: &Layout,
        grad: &CpuStorage,
        grad_layout: &Layout,
    ) -> Result<()> {
        let (CpuStorage::F32(weights), CpuStorage::F32(grad)) = (weights, grad) else {
            bail!("AdamW takes f32 weights and gradients")
        };
        let (Some(at), Some(grad_at)) =
            (layout.contiguous_offsets(), grad_layout.contiguous_offsets())
        else {
            bail!("AdamW takes contiguous weights and gradients")
        };
        let (weights, grad) = (&mut weights[at.0..at.1], &grad[grad_at.0..grad_at.1]);
        let (b1, b2) = (self.config.beta1 as f32, self.config.beta2 as f32);
        let step = (self.rate / self.correction1) as f32;
        let root = (1. / self.correction2).sqrt() as f32;
        let (keep, eps) = ((1. - self.rate * self.decay) as f32, self.config.eps as f32);
        let scale = self.grad_scale;
        let mut moments = self.moments.borrow_mut();
        let (first, second) = &mut *moments;
        weights
            .par_chunks_mut(CHUNK)
            .zip(grad.par_chunks(CHUNK))
            .zip(first.par_chunks_mut(CHUNK).zip(second.par_chunks_mut(CHUNK)))
            .for_each(|((w, g), (m, v))| {
                for (((w, g), m), v) in w.iter_mut().zip(g).zip(m).zip(v) {
                    let g = g * scale;
                    *m = b1 * *m + (1. - b1) * g;
                    *v = b2 * *v + (1. - b2) * g * g;
                    *w = *w * keep - step * *m / (v.sqrt() * root + eps);
                }
            });
        Ok(())
    }
}

impl Update<'_> {
    /// Steps `var` along `grad`.
    ///
    /// Moments live in main memory. An f32 variable there is updated in place; one on a GPU, or of
    /// another type, is brought there and back (as ZeRO-Offload, arXiv:2101.06840, does), which frees
    /// the GPU of two values a parameter and costs little for adapters.
    fn apply(&self, var: &Var, grad: &Tensor) -> Result<()> {
        if var.device().is_cpu() && var.dtype() == DType::F32 {
            return var.as_tensor().inplace_op2(&grad.contiguous()?, self);
        }
        let here =
            |xs: &Tensor| xs.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.contiguous()?.copy();
        let weights = here(&var.as_tensor().detach())?;
        weights.inplace_op2(&here(grad)?, self)?;
        var.set(&weights.to_dtype(var.dtype())?.to_device(var.device())?)
    }
}

impl AdamW {
    /// An optimiser over `vars`, in the order given; `rate_of` multiplies the learning rate by name.
    pub fn new(
        vars: impl IntoIterator<Item = (String, Var)>,
        config: AdamWConfig,
        rate_of: impl Fn(&str) -> f64,
    ) -> Self {
        let slot = |(name, var): (String, Var)| {
            let n = var.elem_count();
            // Decay only matrices: norms and biases have a scale that matters.
            let decay = if var.rank() > 1 { config.weight_decay } else { 0. };
            let rate = rate_of(&name);
            Slot { first: vec![0.; n], second: vec![0.; n], rate, decay, name, var }
        };
        Self { slots: vars.into_iter().map(slot).collect(), config, step: 0 }
    }

    /// Variables, in order.
    pub fn vars(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.slots.iter().map(|slot| (slot.name.as_str(), &slot.var))
    }

    /// Steps done.
    pub fn num_steps(&self) -> u64 {
        self.step
    }

    /// Global L2 norm of the gradients of this optimiser's variables.
    ///
    /// # Errors
    /// When a gradient cannot be copied from its device.
    pub fn grad_norm(&self, grads: &GradStore) -> Result<f64> {
        let mut sum = 0.;
        for slot in &self.slots {
            if let Some(grad) = grads.get(&slot.var) {
                sum += f64::from(grad.to_dtype(DType::F32)?.sqr()?.sum_all()?.to_scalar::<f32>()?);
            }
        }
        Ok(sum.sqrt())
    }

    /// One step at `rate`. Gradients are multiplied by `grad_scale` first (clipping, averaging).
    /// A variable without gradient keeps its value and moments.
    ///
    /// # Errors
    /// When a gradient cannot be copied from its device.
    pub fn step(&mut self, grads: &GradStore, rate: f64, grad_scale: f64) -> Result<()> {
        self.step += 1;
        let (correction1, correction2) = (
            1. - self.config.beta1.powi(self.step.min(i32::MAX as u64) as i32),
            1. - self.config.beta2.powi(self.step.min(i32::MAX as u64) as i32),
        );
        for slot in &mut self.slots {
            let Some(grad) = grads.get(&slot.var) else {
                continue;
            };
            let update = Update {
                moments: RefCell::new((&mut slot.first, &mut slot.second)),
                config: self.config,
                grad_scale: grad_scale as f32,
                rate: rate * slot.rate,
                decay: slot.decay,
                correction1,
                correction2,
            };
            update.apply(&slot.var, grad)?;
        }
        Ok(())
    }

    /// Moments by name, to be saved with a checkpoint.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn state(&self) -> Result<HashMap<String, Tensor>> {
        let mut state = HashMap::new();
        for slot in &self.slots {
            for (part, values) in [("first", &slot.first), ("second", &slot.second)] {
                let tensor = Tensor::from_slice(values, values.len(), slot.var.device())?;
                state.insert(format!("{part}.{}", slot.name), tensor);
            }
        }
        Ok(state)
    }

    /// Takes moments and step count from a checkpoint.
    ///
    /// # Errors
    /// When a moment is missing or of another length.
    pub fn load_state(&mut self, state: &HashMap<String, Tensor>, step: u64) -> Result<()> {
        for slot in &mut self.slots {
            for (part, values) in [("first", &mut slot.first), ("second", &mut slot.second)] {
                let name = format!("{part}.{}", slot.name);
                match state.get(&name).map(|t| t.flatten_all()?.to_vec1::<f32>()).transpose()? {
                    Some(saved) if saved.len() == values.len() => *values = saved,
                    _ => bail!("the checkpoint's optimiser state does not fit: {name}"),
                }
            }
        }
        self.step = step;
        Ok(())
    }
}

/// Exponential moving average of variables.
#[derive(Debug)]
pub struct Ema {
    decay: f64,
    values: Vec<(String, Vec<f32>)>,
}

impl Ema {
    /// Starts at the variables' present values.
    ///
    /// # Errors
    /// When a variable cannot be read.
    pub fn new<'a>(vars: impl Iterator<Item = (&'a str, &'a Var)>, decay: f64) -> Result<Self> {
        let values = vars
            .map(|(name, var)| Ok((name.to_owned(), var.flatten_all()?.to_vec1()?)))
            .collect::<Result<_>>()?;
        Ok(Self { decay, values })
    }

    /// Moves the average towards the present values. Early steps use a smaller decay,
    /// `(1 + step) / (10 + step)`, so that the average forgets its start.
    ///
    /// # Errors
    /// When a variable cannot be read.
    pub fn update<'a>(
        &mut self,
        vars: impl Iterator<Item = (&'a str, &'a Var)>,
        step: u64,
    ) -> Result<()> {
        let decay = self.decay.min((1. + step as f64) / (10. + step as f64)) as f32;
        for ((_, average), (_, var)) in self.values.iter_mut().zip(vars) {
            let now = var.flatten_all()?.to_vec1::<f32>()?;
            average.par_chunks_mut(CHUNK).zip(now.par_chunks(CHUNK)).for_each(|(a, x)| {
                a.iter_mut().zip(x).for_each(|(a, x)| *a = decay * *a + (1. - decay) * x);
            });
        }
        Ok(())
    }

    /// The averages by name, shaped like `vars`.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn tensors<'a>(
        &self,
        vars: impl Iterator<Item = (&'a str, &'a Var)>,
    ) -> Result<HashMap<String, Tensor>> {
        self.values
            .iter()
            .zip(vars)
            .map(|((name, values), (_, var))| {
                Ok((name.clone(), Tensor::from_slice(values, var.shape(), var.device())?))
            })
            .collect()
    }

    /// Takes averages from a checkpoint; names it does not hold keep their values.
    ///
    /// # Errors
    /// When a tensor is of another length.
    pub fn load(&mut self, tensors: &HashMap<String, Tensor>) -> Result<()> {
        for (name, values) in &mut self.values {
            if let Some(saved) = tensors.get(name) {
                let saved = saved.flatten_all()?.to_vec1::<f32>()?;
                if saved.len() != values.len() {
                    bail!("the checkpoint's average does not fit: {name}")
                }
                *values = saved;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_is_no_f32_in_main_memory_is_stepped_too() -> Result<()> {
        // 1 − 0.1 and −2 + 0.1 as the nearest values of 8 significant bits.
        let var =
            Var::from_tensor(&Tensor::new(&[1f32, -2.], &Device::Cpu)?.to_dtype(DType::BF16)?)?;
        let config = AdamWConfig { eps: 0., ..Default::default() };
        let mut adamw = AdamW::new([("x".to_owned(), var.clone())], config, |_| 1.);
        adamw.step(&var.sqr()?.sum_all()?.backward()?, 0.1, 1.)?;
        assert_eq!(var.to_dtype(DType::F32)?.to_vec1::<f32>()?, [0.898_437_5, -1.898_437_5]);
        Ok(())
    }

    #[test]
    fn first_step_moves_by_the_rate_against_the_gradient() -> Result<()> {
        // With zero moments the first step is lr · g / |g|, whatever the size of g.
        let var = Var::new(&[1f32, -2.], &Device::Cpu)?;
        let config = AdamWConfig { eps: 0., ..Default::default() };
        let mut adamw = AdamW::new([("x".to_owned(), var.clone())], config, |_| 1.);
        let grads =
            (var.as_tensor() * &Tensor::new(&[3f32, -7.], &Device::Cpu)?)?.sum_all()?.backward()?;
        assert!((adamw.grad_norm(&grads)? - 58f64.sqrt()).abs() < 1e-6);
        adamw.step(&grads, 0.1, 1.)?;
        let got = var.to_vec1::<f32>()?;
        assert!((got[0] - 0.9).abs() < 1e-6 && (got[1] + 1.9).abs() < 1e-6, "{got:?}");
        Ok(())
    }

    #[test]
    fn agrees_with_the_library_optimiser() -> Result<()> {
        use candle_nn::Optimizer;
        let start = crate::fused::check::var(&[40, 5], 1)?;
        let (a, b) = (Var::from_tensor(start.as_tensor())?, Var::from_tensor(start.as_tensor())?);
        let config = AdamWConfig { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.1 };
        let mut ours = AdamW::new([("a".to_owned(), a.clone())], config, |_| 1.);
        let params = candle_nn::ParamsAdamW {
            lr: 0.01,
            beta1: 0.9,
            beta2: 0.99,
            eps: 1e-8,
            weight_decay: 0.1,
        };
        let mut theirs = candle_nn::AdamW::new(vec![b.clone()], params)?;
        for _ in 0..10 {
            ours.step(&a.sqr()?.sqr()?.sum_all()?.backward()?, 0.01, 1.)?;
            theirs.step(&b.sqr()?.sqr()?.sum_all()?.backward()?)?;
        }
        crate::fused::check::assert_close(&a, &b, 2e-6)
    }

    #[test]
    fn state_round_trips() -> Result<()> {
        let run = |split: bool| -> Result<Vec<f32>> {
            let var = Var::new(&[1f32, 2.], &Device::Cpu)?;
            let make =
                || AdamW::new([("x".to_owned(), var.clone())], AdamWConfig::default(), |_| 1.);
            let mut adamw = make();
            for i in 0..4 {
                if split && i == 2 {
                    let (state, step) = (adamw.state()?, adamw.num_steps());
                    adamw = make();
                    adamw.load_state(&state, step)?;
                }
                adamw.step(&var.sqr()?.sum_all()?.backward()?, 0.1, 1.)?;
            }
            var.to_vec1()
        };
        assert_eq!(run(false)?, run(true)?);
        Ok(())
    }
}
