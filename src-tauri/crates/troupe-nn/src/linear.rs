//! A linear layer that may be plain, quantised, and may carry a low-rank adapter.
//!
//! Model files hold a [`Linear`] and do not know which kind it is.
//! Shapes: t = tokens, i = input width, o = output width, r = adapter rank.
//!
//! Source of the adapter: LoRA (arXiv:2106.09685, sec. 4.1), in the layout of the PEFT library.

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor, bail};

use crate::quant::{QLinear, QuantKind};

/// Low-rank update `scale · B A` of a frozen weight.
#[derive(Debug, Clone)]
pub struct Lora {
    /// Down projection, (r, i).
    pub a: Tensor,
    /// Up projection, (o, r).
    pub b: Tensor,
    /// `alpha / rank`.
    pub scale: f64,
}

impl Lora {
    /// The dense update `scale · B A`, (o, i).
    ///
    /// # Errors
    /// When the two factors do not share their rank.
    pub fn delta(&self) -> Result<Tensor> {
        self.b.matmul(&self.a)? * self.scale
    }
}

#[derive(Debug, Clone)]
enum Weight {
    Dense(Tensor), // (o, i)
    Quantised(QLinear),
}

/// `y = x Wᵀ + b`, plus the adapter's part when one is attached.
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Weight,
    bias: Option<Tensor>, // (o)
    lora: Option<Lora>,
    merged: Option<(Tensor, Lora)>, // the weight before, and what was added
}

impl Linear {
    /// A plain layer from its weight (o, i) and optional bias (o).
    ///
    /// # Errors
    /// When the weight is not a matrix or the bias has another length than its rows.
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Result<Self> {
        let (o, _) = weight.dims2()?;
        if let Some(bias) = &bias
            && bias.dims1()? != o
        {
            bail!("linear: bias has {} values for {o} outputs", bias.dims1()?)
        }
        Ok(Self { weight: Weight::Dense(weight), bias, lora: None, merged: None })
    }

    /// A layer over an already quantised weight.
    pub fn from_quantised(weight: QLinear, bias: Option<Tensor>) -> Self {
        Self { weight: Weight::Quantised(weight), bias, lora: None, merged: None }
    }

    /// Output and input width (o, i).
    ///
    /// # Errors
    /// Never for a layer built by this module's constructors.
    pub fn shape(&self) -> Result<(usize, usize)> {
        match &self.weight {
            Weight::Dense(w) => w.dims2(),
            Weight::Quantised(q) => Ok((q.out_features(), q.in_features())),
        }
    }

    /// The layer's bias, (o).
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// The weight as a dense tensor (o, i), without the adapter.
    ///
    /// # Errors
    /// When dequantisation fails.
    pub fn dense_weight(&self) -> Result<Tensor> {
        match &self.weight {
            Weight::Dense(w) => Ok(w.clone()),
            Weight::Quantised(q) => q.dequantize(),
        }
    }

    /// True when the weight is stored quantised.
    pub fn is_quantised(&self) -> bool {
        matches!(self.weight, Weight::Quantised(_))
    }

    /// Replaces the weight by a quantised one of the same shape.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn set_quantised(&mut self, weight: QLinear) -> Result<()> {
        let shape = (weight.out_features(), weight.in_features());
        if shape != self.shape()? {
            bail!("linear: a quantised weight of {shape:?} does not fit {:?}", self.shape()?)
        }
        self.weight = Weight::Quantised(weight);
        Ok(())
    }

    /// Replaces a dense weight by its quantised form; a quantised one stays as it is.
    ///
    /// # Errors
    /// When the input width does not fit the block size of `kind`.
    pub fn quantise(&mut self, kind: QuantKind) -> Result<()> {
        if let Weight::Dense(w) = &self.weight {
            self.weight = Weight::Quantised(QLinear::quantize(w, kind)?);
        }
        Ok(())
    }

    /// The attached adapter.
    pub fn lora(&self) -> Option<&Lora> {
        self.lora.as_ref()
    }

    /// Attaches an adapter, replacing an earlier one.
    ///
    /// # Errors
    /// When the adapter's factors do not fit the layer.
    pub fn attach(&mut self, lora: Lora) -> Result<()> {
        let (o, i) = self.shape()?;
        let (ra, ia) = lora.a.dims2()?;
        let (ob, rb) = lora.b.dims2()?;
        if ia != i || ob != o || ra != rb {
            bail!("adapter of shape ({ob}, {rb})·({ra}, {ia}) does not fit a layer of ({o}, {i})")
        }
        self.lora = Some(lora);
        Ok(())
    }

    /// Removes the adapter.
    pub fn detach(&mut self) -> Option<Lora> {
        self.lora.take()
    }

    /// Adds the adapter's update to a dense weight, so that a forward pass costs no more than
    /// without it. The weight before is kept for [`unmerge`](Self::unmerge).
    ///
    /// # Errors
    /// When the weight is quantised: merging would round it.
    pub fn merge(&mut self) -> Result<()> {
        let Some(lora) = self.lora.take() else {
            return Ok(());
        };
        match &self.weight {
            Weight::Dense(w) => {
                let sum = (w + lora.delta()?.to_dtype(w.dtype())?)?;
                self.merged = Some((w.clone(), lora));
                self.weight = Weight::Dense(sum);
                Ok(())
            }
            Weight::Quantised(_) => {
                self.lora = Some(lora);
                bail!("an adapter cannot be merged into a quantised weight; keep it attached")
            }
        }
    }

    /// Undoes [`merge`](Self::merge): the very weight from before, with the adapter attached.
    pub fn unmerge(&mut self) {
        if let Some((weight, lora)) = self.merged.take() {
            self.weight = Weight::Dense(weight);
            self.lora = Some(lora);
        }
    }

    /// Replaces the weight by another of the same shape.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn set_weight(&mut self, weight: Tensor, bias: Option<Tensor>) -> Result<()> {
        let (o, i) = self.shape()?;
        if weight.dims2()? != (o, i) {
            bail!("linear: weight {:?} does not fit ({o}, {i})", weight.dims())
        }
        self.weight = Weight::Dense(weight);
        self.bias = bias;
        self.merged = None;
        Ok(())
    }

    /// `xs Wᵀ`. A weight that is no variable gets no gradient, which saves half of the backward pass:
    /// candle would compute it and throw it away.
    fn product(xs: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let is_frozen = !weight.track_op();
        let on_cpu =
            xs.device().is_cpu() && xs.dtype() == DType::F32 && weight.dtype() == DType::F32;
        if is_frozen && on_cpu && xs.track_op() {
            xs.contiguous()?.apply_op1(FrozenProduct(weight.clone()))
        } else {
            xs.matmul(&weight.t()?)
        }
    }

    /// Applies the layer to `xs` (t, i), giving (t, o).
    ///
    /// # Errors
    /// When the width of `xs` is not i.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let mut ys = match &self.weight {
            Weight::Dense(w) => Self::product(xs, w)?,
            Weight::Quantised(q) => q.forward(xs)?,
        }; // (t, o)
        if let Some(bias) = &self.bias {
            ys = ys.broadcast_add(bias)?;
        }
        if let Some(lora) = &self.lora {
            let low = xs.matmul(&lora.a.t()?)?; // (t, r)
            let update = low.matmul(&lora.b.t()?)?; // (t, o)
            ys = (ys + (update * lora.scale)?)?;
        }
        Ok(ys)
    }
}

/// Product with a weight that is not trained.
struct FrozenProduct(Tensor);

impl CustomOp1 for FrozenProduct {
    fn name(&self) -> &'static str {
        "frozen_linear"
    }

    fn cpu_fwd(&self, xs: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let CpuStorage::F32(values) = xs else { bail!("a frozen linear takes f32 values") };
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("a frozen linear takes contiguous values")
        };
        let xs = Tensor::from_slice(&values[start..end], layout.shape(), self.0.device())?;
        let ys = xs.matmul(&self.0.t()?)?;
        let shape = ys.shape().clone();
        Ok((CpuStorage::F32(ys.flatten_all()?.to_vec1()?), shape))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(grad.contiguous()?.matmul(&self.0)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::check::{assert_same_gradients, var};
    use candle_core::Device;

    #[test]
    fn a_frozen_weight_passes_the_same_gradient_on() -> Result<()> {
        let (x, w) = (var(&[7, 5], 1)?, var(&[4, 5], 2)?);
        let frozen = Linear::new(w.as_tensor().copy()?.detach(), None)?;
        assert_same_gradients(&[&x], || frozen.forward(&x), || x.matmul(&w.t()?), 1e-6)
    }

    fn layer() -> Result<Linear> {
        let w = Tensor::new(&[[1f32, 2.], [3., 4.], [5., 6.]], &Device::Cpu)?;
        let b = Tensor::new(&[0.5f32, 0., -0.5], &Device::Cpu)?;
        Linear::new(w, Some(b))
    }

    fn lora() -> Result<Lora> {
        Ok(Lora {
            a: Tensor::new(&[[1f32, -1.]], &Device::Cpu)?,
            b: Tensor::new(&[[2f32], [0.], [1.]], &Device::Cpu)?,
            scale: 0.5,
        })
    }

    #[test]
    fn adds_the_adapter_to_the_plain_result() -> Result<()> {
        // x = (1, 3): plain = (7.5, 15, 22.5); A x = −2; B A x · 0.5 = (−2, 0, −1).
        let xs = Tensor::new(&[[1f32, 3.]], &Device::Cpu)?;
        let mut layer = layer()?;
        assert_eq!(layer.forward(&xs)?.to_vec2::<f32>()?, [[7.5, 15., 22.5]]);
        layer.attach(lora()?)?;
        assert_eq!(layer.forward(&xs)?.to_vec2::<f32>()?, [[5.5, 15., 21.5]]);
        layer.merge()?;
        assert!(layer.lora().is_none());
        assert_eq!(layer.forward(&xs)?.to_vec2::<f32>()?, [[5.5, 15., 21.5]]);
        layer.unmerge();
        assert_eq!(layer.forward(&xs)?.to_vec2::<f32>()?, [[5.5, 15., 21.5]]);
        layer.detach();
        assert_eq!(layer.forward(&xs)?.to_vec2::<f32>()?, [[7.5, 15., 22.5]]);
        Ok(())
    }

    #[test]
    fn refuses_an_adapter_of_another_shape() -> Result<()> {
        let mut bad = lora()?;
        bad.a = Tensor::zeros((1, 3), DType::F32, &Device::Cpu)?;
        assert!(layer()?.attach(bad).is_err());
        Ok(())
    }
}
