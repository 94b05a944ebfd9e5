//! SwiGLU and the tanh GELU.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

use super::{exp::sigmoid, f32_slice, for_rows, is_fusable, with_slices};

/// Values handled as one row of work.
const CHUNK: usize = 1024;

struct SwiGlu;

impl CustomOp2 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (gate, up) = (f32_slice(gate, gate_layout)?, f32_slice(up, up_layout)?);
        let mut out = vec![0f32; gate.len()];
        for_rows(&mut out, CHUNK, |i, row| {
            let at = i * CHUNK;
            for ((y, g), u) in row.iter_mut().zip(&gate[at..]).zip(&up[at..]) {
                *y = g * sigmoid(*g) * u;
            }
        });
        Ok((CpuStorage::F32(out), gate_layout.shape().clone()))
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (d_gate, d_up) = with_slices([gate, up, grad], |[gate, up, grad]| {
            let mut d_gate = vec![0f32; gate.len()];
            for_rows(&mut d_gate, CHUNK, |i, row| {
                let at = i * CHUNK..i * CHUNK + row.len();
                let inputs = gate[at.clone()].iter().zip(&up[at.clone()]).zip(&grad[at]);
                for (d, ((g, up), grad)) in row.iter_mut().zip(inputs) {
                    let s = sigmoid(*g);
                    *d = grad * up * s * (1. + g * (1. - s));
                }
            });
            let mut d_up = vec![0f32; gate.len()];
            for_rows(&mut d_up, CHUNK, |i, row| {
                let at = i * CHUNK..i * CHUNK + row.len();
                for (d, (g, grad)) in row.iter_mut().zip(gate[at.clone()].iter().zip(&grad[at])) {
                    *d = grad * g * sigmoid(*g);
                }
            });
            Ok((d_gate, d_up))
        })?;
        let dev = gate.device();
        let tensor = |values| Tensor::from_vec(values, gate.shape(), dev);
        Ok((Some(tensor(d_gate)?), Some(tensor(d_up)?)))
    }
}

/// `silu(gate) · up`, element by element; both of one shape.
///
/// # Errors
/// When the shapes differ.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if gate.dims() != up.dims() {
        candle_core::bail!("swiglu: gate {:?} and up {:?} differ", gate.dims(), up.dims())
    }
    if !is_fusable(gate) {
        return gate.silu()? * up;
    }
    gate.contiguous()?.apply_op2(&up.contiguous()?, SwiGlu)
}

/// √(2/π).
const GELU_SCALE: f32 = 0.797_884_6;
const GELU_CUBE: f32 = 0.044_715;

struct GeluTanh;

impl CustomOp1 for GeluTanh {
    fn name(&self) -> &'static str {
        "gelu_tanh"
    }

    fn cpu_fwd(&self, xs: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let xs = f32_slice(xs, layout)?;
        let mut out = vec![0f32; xs.len()];
        for_rows(&mut out, CHUNK, |i, row| {
            for (y, x) in row.iter_mut().zip(&xs[i * CHUNK..]) {
                // 0.5·(1 + tanh u) = sigmoid(2u)
                *y = x * sigmoid(2. * GELU_SCALE * (x + GELU_CUBE * x * x * x));
            }
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, xs: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let out = with_slices([xs, grad], |[xs, grad]| {
            let mut out = vec![0f32; xs.len()];
            for_rows(&mut out, CHUNK, |i, row| {
                let at = i * CHUNK;
                for (j, d) in row.iter_mut().enumerate() {
                    let x = xs[at + j];
                    let s = sigmoid(2. * GELU_SCALE * (x + GELU_CUBE * x * x * x));
                    let slope = 2. * GELU_SCALE * (1. + 3. * GELU_CUBE * x * x);
                    *d = grad[at + j] * (s + x * s * (1. - s) * slope);
                }
            });
            Ok(out)
        })?;
        Ok(Some(Tensor::from_vec(out, xs.shape(), xs.device())?))
    }
}

/// The tanh approximation of GELU.
///
/// # Errors
/// When the device fails.
pub fn gelu_tanh(xs: &Tensor) -> Result<Tensor> {
    if !is_fusable(xs) {
        return xs.gelu();
    }
    xs.contiguous()?.apply_op1(GeluTanh)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::check::{assert_same_gradients, var};

    #[test]
    fn swiglu_equals_the_composed_form() -> Result<()> {
        let (a, b) = (var(&[70, 300], 1)?, var(&[70, 300], 2)?);
        assert_same_gradients(&[&a, &b], || swiglu(&a, &b), || a.silu()? * b.as_tensor(), 2e-6)
    }

    #[test]
    fn gelu_equals_the_composed_form() -> Result<()> {
        let x = var(&[70, 300], 3)?;
        assert_same_gradients(&[&x], || gelu_tanh(&x), || x.gelu(), 3e-6)
    }
}
