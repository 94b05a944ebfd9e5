//! Rotary position tables (arXiv:2104.09864), half-split convention.

use candle_core::{Device, Result, Tensor};

/// Cosines and sines for a list of positions, each (t, d / 2) in f32.
///
/// Positions may repeat: all tokens of an image block share one.
///
/// # Errors
/// When `head_dim` is odd or the device refuses the copy.
pub fn rope_tables(
    positions: &[u32],
    head_dim: usize,
    theta: f64,
    device: &Device,
) -> Result<(Tensor, Tensor)> {
    if !head_dim.is_multiple_of(2) {
        candle_core::bail!("rotary embedding needs an even head width, got {head_dim}")
    }
    let half = head_dim / 2;
    let freqs: Vec<f32> =
        (0..half).map(|j| theta.powf(-2. * j as f64 / head_dim as f64) as f32).collect();
    let angles = positions.iter().flat_map(|p| freqs.iter().map(move |f| *p as f32 * f));
    let (cos, sin): (Vec<f32>, Vec<f32>) = angles.map(|a| (a.cos(), a.sin())).unzip();
    let shape = (positions.len(), half);
    Ok((Tensor::from_vec(cos, shape, device)?, Tensor::from_vec(sin, shape, device)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_pair_turns_by_the_position() -> Result<()> {
        let (cos, sin) = rope_tables(&[0, 3], 4, 10_000., &Device::Cpu)?;
        assert_eq!(cos.dims(), [2, 2]);
        let (cos, sin) = (cos.to_vec2::<f32>()?, sin.to_vec2::<f32>()?);
        assert_eq!(cos[0], [1., 1.]);
        // Position 3: angles 3 and 3 / 100.
        assert!((cos[1][0] - 3f32.cos()).abs() < 1e-6 && (sin[1][1] - 0.03f32.sin()).abs() < 1e-6);
        Ok(())
    }
}
