//! A linear layer that may be plain, quantised, and may carry a low-rank adapter.
//!
//! Model files hold a [`Linear`] and do not know which kind it is.
//! Shapes: t = tokens, i = input width, o = output width, r = adapter rank.
//!
//! Source of the adapter: LoRA (arXiv:2106.09685, sec. 4.1), in the layout of the PEFT library.

use candle_core::{DType, Result, Tensor, bail};

use crate::{
    fused,
    product::{AdaptedProduct, FrozenProduct, TrainedProduct, to_columns},
    quant::{QLinear, QuantKind},
};

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
    Dense(Tensor), // (o, i), in the memory order of (i, o) after `order_by_columns`
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
                let before = w.clone();
                self.weight = Weight::Dense(self.ordered(sum)?);
                self.merged = Some((before, lora));
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
        self.weight = Weight::Dense(self.ordered(weight)?);
        self.bias = bias;
        self.merged = None;
        Ok(())
    }

    /// Replaces the bias, or adds one.
    ///
    /// # Errors
    /// When its length is not the number of outputs.
    pub fn set_bias(&mut self, bias: Tensor) -> Result<()> {
        let (o, _) = self.shape()?;
        if bias.dims() != [o] {
            bail!("linear: a bias of {:?} does not fit {o} outputs", bias.dims())
        }
        self.bias = Some(bias);
        Ok(())
    }

    /// Keeps a dense f32 weight on the CPU in the order in which products of a few dozen rows read it:
    /// they are twice as fast. For weights that are not trained; others stay as they are.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn order_by_columns(&mut self) -> Result<()> {
        if let Weight::Dense(w) = &self.weight
            && is_plain(w)
            && !w.track_op()
        {
            self.weight = Weight::Dense(to_columns(w)?);
        }
        Ok(())
    }

    /// Holds a dense f32 weight on the CPU that is not trained in bf16, in half the memory. Products
    /// unpack a part of it at a time and are f32's, gradients included; other weights stay as they are.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn hold_halved(&mut self) -> Result<()> {
        if let Weight::Dense(w) = &self.weight
            && is_plain(w)
            && !w.track_op()
        {
            self.weight = Weight::Dense(w.contiguous()?.to_dtype(DType::BF16)?);
        }
        Ok(())
    }

    /// `weight` in the memory order of the present one.
    fn ordered(&self, weight: Tensor) -> Result<Tensor> {
        match &self.weight {
            Weight::Dense(w) if is_by_columns(w) && !weight.track_op() => to_columns(&weight),
            _ => Ok(weight),
        }
    }

    /// Applies several layers to the same `xs` (t, i), giving (t, o) of each.
    ///
    /// # Errors
    /// When the width of `xs` is not i.
    pub fn forward_together<const N: usize>(
        layers: [&Self; N],
        xs: &Tensor,
    ) -> Result<[Tensor; N]> {
        let quantised = layers.map(|layer| match (&layer.weight, &layer.lora, &layer.bias) {
            (Weight::Quantised(q), None, None) => Some(q),
            _ => None,
        });
        if let Some(first) = quantised.first().copied().flatten()
            && quantised.iter().all(Option::is_some)
            && let Some(products) =
                QLinear::forward_together(quantised.map(|q| q.unwrap_or(first)), xs)?
        {
            return Ok(products);
        }
        let mut products = layers.map(|_| xs.clone());
        for (product, layer) in products.iter_mut().zip(layers) {
            *product = layer.forward(xs)?;
        }
        Ok(products)
    }

    /// Applies the layer to `xs` (t, i), giving (t, o).
    ///
    /// # Errors
    /// When the width of `xs` is not i.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let is_plain_row = xs.rank() == 2 && is_plain(xs);
        if let (Weight::Dense(w), Some(lora), None) = (&self.weight, &self.lora, &self.bias)
            && (xs.track_op() || lora.a.track_op())
            && !w.track_op()
            && is_plain_row
            && (is_plain(w) || is_halved(w))
            && lora.a.dtype() == DType::F32
        {
            return AdaptedProduct::new(w, lora.scale)?.apply(xs, &lora.a, &lora.b);
        }
        let mut ys = match &self.weight {
            Weight::Dense(w) if is_plain_row && is_plain(w) && !is_by_columns(w) => {
                // A frozen weight gets no gradient: candle would compute it and throw it away.
                if w.track_op() {
                    xs.contiguous()?.apply_op2(&w.contiguous()?, TrainedProduct)?
                } else {
                    xs.contiguous()?.apply_op1(FrozenProduct(w.contiguous()?))?
                }
            }
            Weight::Dense(w) if is_plain_row && is_halved(w) => {
                xs.contiguous()?.apply_op1(FrozenProduct(w.contiguous()?))?
            }
            Weight::Dense(w) => xs.matmul(&w.t()?)?,
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

    /// Negative log-likelihood (t) of `labels` (t) under the layer's output for `xs` (t, i). A plain layer
    /// that is not trained never holds all logits at once.
    ///
    /// # Errors
    /// When the width of `xs` is not i, the counts differ or a label is outside the vocabulary.
    pub fn cross_entropy(&self, xs: &Tensor, labels: &[u32]) -> Result<Tensor> {
        if let (Weight::Dense(w), None, None) = (&self.weight, &self.lora, &self.bias)
            && !w.track_op()
            && xs.rank() == 2
            && is_plain(xs)
            && ((is_plain(w) && !is_by_columns(w)) || is_halved(w))
        {
            return fused::head_cross_entropy(xs, w, labels);
        }
        fused::cross_entropy(&self.forward(xs)?, labels)
    }
}

/// Single precision on the CPU.
fn is_plain(xs: &Tensor) -> bool {
    xs.device().is_cpu() && xs.dtype() == DType::F32
}

/// Half precision on the CPU, of a weight that is not trained.
fn is_halved(w: &Tensor) -> bool {
    w.device().is_cpu() && matches!(w.dtype(), DType::BF16 | DType::F16) && !w.track_op()
}

/// Whether a matrix (o, i) lies in memory as (i, o).
fn is_by_columns(w: &Tensor) -> bool {
    !w.is_contiguous() && w.t().is_ok_and(|t| t.is_contiguous())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::check::{assert_close, assert_same_gradients, var};
    use candle_core::Device;

    #[test]
    fn a_frozen_weight_passes_the_same_gradient_on() -> Result<()> {
        let (x, w) = (var(&[7, 5], 1)?, var(&[4, 5], 2)?);
        let frozen = Linear::new(w.as_tensor().copy()?.detach(), None)?;
        assert_same_gradients(&[&x], || frozen.forward(&x), || x.matmul(&w.t()?), 1e-6)
    }

    #[test]
    fn an_adapted_frozen_weight_gives_the_composed_gradients() -> Result<()> {
        let (x, w) = (var(&[70, 33], 1)?, var(&[48, 33], 2)?);
        let (a, b) = (var(&[4, 33], 3)?, var(&[48, 4], 4)?);
        let mut frozen = Linear::new(w.as_tensor().copy()?.detach(), None)?;
        frozen.attach(Lora { a: a.as_tensor().clone(), b: b.as_tensor().clone(), scale: 0.5 })?;
        let composed = || {
            let low = x.matmul(&a.t()?)?;
            x.matmul(&w.t()?)? + (low.matmul(&b.t()?)? * 0.5)?
        };
        assert_same_gradients(&[&x, &a, &b], || frozen.forward(&x), composed, 2e-5)?;
        // An input that needs no gradient, as the first layer's.
        let plain = x.as_tensor().copy()?.detach();
        let composed = || {
            let low = plain.matmul(&a.t()?)?;
            plain.matmul(&w.t()?)? + (low.matmul(&b.t()?)? * 0.5)?
        };
        assert_same_gradients(&[&a, &b], || frozen.forward(&plain), composed, 2e-5)
    }

    #[test]
    fn a_halved_weight_multiplies_as_its_rounded_values() -> Result<()> {
        // 1100 rows: more than are unpacked at a time.
        for (rows, o, i) in [(1, 7, 5), (40, 1100, 12)] {
            let (x, w) = (var(&[rows, i], 1)?, var(&[o, i], 2)?);
            let (a, b) = (var(&[4, i], 3)?, var(&[o, 4], 4)?);
            let mut halved = Linear::new(w.as_tensor().copy()?.detach(), None)?;
            halved.hold_halved()?;
            assert_eq!(halved.dense_weight()?.dtype(), DType::BF16);
            let rounded = w.as_tensor().to_dtype(DType::BF16)?.to_dtype(DType::F32)?.detach();
            assert_same_gradients(&[&x], || halved.forward(&x), || x.matmul(&rounded.t()?), 5e-4)?;
            halved.attach(Lora {
                a: a.as_tensor().clone(),
                b: b.as_tensor().clone(),
                scale: 0.5,
            })?;
            let composed = || {
                let low = x.matmul(&a.t()?)?;
                x.matmul(&rounded.t()?)? + (low.matmul(&b.t()?)? * 0.5)?
            };
            assert_same_gradients(&[&x, &a, &b], || halved.forward(&x), composed, 5e-4)?;
        }
        let trained = var(&[3, 2], 5)?;
        let mut linear = Linear::new(trained.as_tensor().clone(), None)?;
        linear.hold_halved()?;
        assert_eq!(linear.dense_weight()?.dtype(), DType::F32, "it learns");
        Ok(())
    }

    #[test]
    fn a_trained_weight_and_its_input_get_the_composed_gradients() -> Result<()> {
        for rows in [3, 70] {
            let (x, w) = (var(&[rows, 33], 1)?, var(&[48, 33], 2)?);
            let linear = Linear::new(w.as_tensor().clone(), None)?;
            let composed = || x.matmul(&w.t()?);
            assert_same_gradients(&[&x, &w], || linear.forward(&x), composed, 2e-5)?;
            let plain = x.as_tensor().copy()?.detach();
            let composed = || plain.matmul(&w.t()?);
            assert_same_gradients(&[&w], || linear.forward(&plain), composed, 2e-5)?;
        }
        Ok(())
    }

    #[test]
    fn the_order_in_memory_changes_no_result() -> Result<()> {
        let (x, w) = (var(&[20, 33], 1)?, var(&[48, 33], 2)?);
        let plain = Linear::new(w.as_tensor().copy()?.detach(), None)?;
        let mut ordered = plain.clone();
        ordered.order_by_columns()?;
        let (a, b) = (var(&[4, 33], 3)?, var(&[48, 4], 4)?);
        let lora = Lora { a: a.as_tensor().detach(), b: b.as_tensor().detach(), scale: 0.5 };
        let same = |ordered: &Linear, plain: &Linear| {
            assert_close(&ordered.forward(&x)?, &plain.forward(&x)?, 1e-5)?;
            assert_close(&ordered.dense_weight()?, &plain.dense_weight()?, 0.)
        };
        same(&ordered, &plain)?;
        let mut adapted = [ordered.clone(), plain.clone()];
        for linear in &mut adapted {
            linear.attach(lora.clone())?;
        }
        same(&adapted[0], &adapted[1])?;
        for linear in &mut adapted {
            linear.merge()?;
        }
        same(&adapted[0], &adapted[1])?;
        adapted[0].unmerge();
        assert_close(&adapted[0].dense_weight()?, &plain.dense_weight()?, 0.)?;
        let other = (w.as_tensor() * 2.)?.detach();
        ordered.set_weight(other.clone(), None)?;
        assert!(is_by_columns(&ordered.dense_weight()?));
        same(&ordered, &Linear::new(other, None)?)
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
