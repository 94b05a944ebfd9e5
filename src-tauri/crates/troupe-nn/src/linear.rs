//! A linear layer that may be plain, quantised, and may carry a low-rank adapter.
//!
//! Model files hold a [`Linear`] and do not know which kind it is.
//! Shapes: t = tokens, i = input width, o = output width, r = adapter rank.
//!
//! Source of the adapter: LoRA (arXiv:2106.09685, sec. 4.1), in the layout of the PEFT library.

use candle_core::{CpuStorage, CustomOp1, CustomOp3, DType, Layout, Result, Shape, Tensor, bail};

use crate::{
    fused::{f32_slice, with_slices},
    gemm::{MatMut, MatRef, par_gemm},
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

    /// Whether the layer learns through its adapter alone, in single precision on the CPU. Its weight
    /// then gets no gradient, which saves half of the backward pass: candle would compute it and throw
    /// it away.
    fn is_frozen(xs: &Tensor, weight: &Tensor) -> bool {
        !weight.track_op()
            && xs.rank() == 2
            && xs.device().is_cpu()
            && xs.dtype() == DType::F32
            && weight.dtype() == DType::F32
            && weight.is_contiguous()
    }

    /// Applies the layer to `xs` (t, i), giving (t, o).
    ///
    /// # Errors
    /// When the width of `xs` is not i.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        if let (Weight::Dense(w), Some(lora), None) = (&self.weight, &self.lora, &self.bias)
            && (xs.track_op() || lora.a.track_op())
            && Self::is_frozen(xs, w)
            && lora.a.dtype() == DType::F32
        {
            let product = AdaptedProduct { weight: w.clone(), scale: lora.scale as f32 };
            return product.apply(xs, lora);
        }
        let mut ys = match &self.weight {
            Weight::Dense(w) if xs.track_op() && Self::is_frozen(xs, w) => {
                xs.contiguous()?.apply_op1(FrozenProduct(w.clone()))?
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
}

/// A whole row-major matrix.
fn matrix(values: &[f32], rows: usize, columns: usize) -> MatRef<'_> {
    MatRef::rows(values, 0, rows, columns, columns)
}

/// `keep · out + scale · a b`, where `out` is a whole row-major matrix.
fn add_product(
    out: &mut [f32],
    (rows, columns): (usize, usize),
    keep: f32,
    scale: f32,
    a: MatRef,
    b: MatRef,
) {
    par_gemm(MatMut::rows(out, 0, rows, columns, columns), keep, scale, a, b);
}

/// Runs `f` on the values of a frozen weight.
fn with_weight<T>(weight: &Tensor, f: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let (storage, layout) = weight.storage_and_layout();
    match &*storage {
        candle_core::Storage::Cpu(values) => Ok(f(f32_slice(values, layout)?)),
        _ => bail!("a frozen linear takes a weight on the CPU"),
    }
}

/// Product with a weight that is not trained.
struct FrozenProduct(Tensor);

impl CustomOp1 for FrozenProduct {
    fn name(&self) -> &'static str {
        "frozen_linear"
    }

    fn cpu_fwd(&self, xs: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let ((t, i), (o, width)) = (layout.shape().dims2()?, self.0.dims2()?);
        if i != width {
            bail!("linear: input of width {i} for a weight of ({o}, {width})")
        }
        let xs = f32_slice(xs, layout)?;
        let mut ys = vec![0f32; t * o];
        with_weight(&self.0, |w| {
            add_product(&mut ys, (t, o), 0., 1., matrix(xs, t, i), matrix(w, o, i).t());
        })?;
        Ok((CpuStorage::F32(ys), Shape::from((t, o))))
    }

    fn bwd(&self, xs: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let ((t, i), o) = (xs.dims2()?, self.0.dim(0)?);
        let mut dx = vec![0f32; t * i];
        with_slices([grad], |[grad]| {
            with_weight(&self.0, |w| {
                add_product(&mut dx, (t, i), 0., 1., matrix(grad, t, o), matrix(w, o, i));
            })
        })?;
        Ok(Some(Tensor::from_vec(dx, (t, i), xs.device())?))
    }
}

/// Product with a weight that is not trained and an adapter that is, without intermediate results
/// of the output's size.
struct AdaptedProduct {
    weight: Tensor, // (o, i)
    scale: f32,
}

impl AdaptedProduct {
    fn apply(self, xs: &Tensor, lora: &Lora) -> Result<Tensor> {
        xs.contiguous()?.apply_op3(&lora.a.contiguous()?, &lora.b.contiguous()?, self)
    }
}

impl CustomOp3 for AdaptedProduct {
    fn name(&self) -> &'static str {
        "adapted_linear"
    }

    fn cpu_fwd(
        &self,
        xs: &CpuStorage,
        xs_layout: &Layout,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((t, i), (o, width)) = (xs_layout.shape().dims2()?, self.weight.dims2()?);
        let r = a_layout.shape().dims2()?.0;
        if i != width {
            bail!("linear: input of width {i} for a weight of ({o}, {width})")
        }
        let (xs, a, b) =
            (f32_slice(xs, xs_layout)?, f32_slice(a, a_layout)?, f32_slice(b, b_layout)?);
        let mut low = vec![0f32; t * r];
        add_product(&mut low, (t, r), 0., 1., matrix(xs, t, i), matrix(a, r, i).t());
        let mut ys = vec![0f32; t * o];
        with_weight(&self.weight, |w| {
            add_product(&mut ys, (t, o), 0., 1., matrix(xs, t, i), matrix(w, o, i).t());
        })?;
        add_product(&mut ys, (t, o), 1., self.scale, matrix(&low, t, r), matrix(b, o, r).t());
        Ok((CpuStorage::F32(ys), Shape::from((t, o))))
    }

    fn bwd(
        &self,
        xs: &Tensor,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let ((t, i), (o, r)) = (xs.dims2()?, b.dims2()?);
        let (mut dx, mut da, mut db) = (vec![0f32; t * i], vec![0f32; r * i], vec![0f32; o * r]);
        with_slices([xs, a, b, grad], |[x, a, b, g]| {
            let (x, a, b, g) = (matrix(x, t, i), matrix(a, r, i), matrix(b, o, r), matrix(g, t, o));
            let (mut low, mut back) = (vec![0f32; t * r], vec![0f32; t * r]);
            add_product(&mut low, (t, r), 0., 1., x, a.t());
            add_product(&mut back, (t, r), 0., self.scale, g, b);
            add_product(&mut db, (o, r), 0., self.scale, g.t(), matrix(&low, t, r));
            add_product(&mut da, (r, i), 0., 1., matrix(&back, t, r).t(), x);
            if xs.track_op() {
                with_weight(&self.weight, |w| {
                    add_product(&mut dx, (t, i), 0., 1., g, matrix(w, o, i));
                })?;
                add_product(&mut dx, (t, i), 1., 1., matrix(&back, t, r), a);
            }
            Ok(())
        })?;
        let dev = xs.device();
        let dx = if xs.track_op() { Some(Tensor::from_vec(dx, (t, i), dev)?) } else { None };
        Ok((dx, Some(Tensor::from_vec(da, (r, i), dev)?), Some(Tensor::from_vec(db, (o, r), dev)?)))
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
