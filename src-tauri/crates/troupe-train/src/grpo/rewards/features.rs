//! What pictures are compared by: vectors of length one.
//!
//! The base's scorer gives them where its folder holds one, else CLIP where its files are present.
//! Otherwise they are counted from pixels, which is coarse but cannot be learned to be fooled through a network. Two kinds of pixel features
//! exist so that what is rewarded by one can be judged by the other.

use std::rc::Rc;

use image::RgbImage;
use troupe_model::{image_ops::fit_square, scorer::Embedder};

use crate::error::TrainResult;

/// Turns pictures into vectors of length one.
pub trait Features {
    /// What they are, for plans and curves.
    fn label(&self) -> &'static str;

    /// One vector a picture.
    ///
    /// # Errors
    /// When a network fails.
    fn vectors(&self, pictures: &[RgbImage]) -> TrainResult<Vec<Vec<f64>>>;
}

/// Side of the thumbnails.
const SIDE: usize = 16;
/// Steps of a colour channel in the histogram.
const COLOURS: usize = 4;
/// Directions of edges.
const DIRECTIONS: usize = 8;
/// Cells of the edge grid along a side.
const CELLS: usize = 4;

/// Scales to length one; a vector of zeros stays.
fn unit(mut values: Vec<f64>) -> Vec<f64> {
    let norm = values.iter().map(|x| x * x).sum::<f64>().sqrt();
    if norm > 1e-12 {
        values.iter_mut().for_each(|x| *x /= norm);
    }
    values
}

/// Product of two unit vectors.
pub fn cosine(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// A thumbnail without its mean colour, beside a colour histogram.
#[derive(Debug, Clone, Copy, Default)]
pub struct Colours;

impl Features for Colours {
    fn label(&self) -> &'static str {
        "colours and layout"
    }

    fn vectors(&self, pictures: &[RgbImage]) -> TrainResult<Vec<Vec<f64>>> {
        Ok(pictures.iter().map(colours).collect())
    }
}

fn colours(picture: &RgbImage) -> Vec<f64> {
    let small = fit_square(picture, SIDE);
    let mut layout: Vec<f64> = small.as_raw().iter().map(|x| f64::from(*x) / 255.).collect();
    for channel in 0..3 {
        let of = |i: &usize| i % 3 == channel;
        let places: Vec<usize> = (0..layout.len()).filter(of).collect();
        let mean = places.iter().map(|i| layout[*i]).sum::<f64>() / places.len() as f64;
        places.iter().for_each(|i| layout[*i] -= mean);
    }
    let mut histogram = vec![0.; COLOURS.pow(3)];
    for pixel in small.pixels() {
        let step = |x: u8| usize::from(x) * COLOURS / 256;
        let [r, g, b] = pixel.0.map(step);
        histogram[(r * COLOURS + g) * COLOURS + b] += 1.;
    }
    // Roots of shares have length one (Hellinger).
    histogram.iter_mut().for_each(|x| *x = f64::sqrt(*x));
    let mut both = unit(layout);
    both.extend(unit(histogram));
    unit(both)
}

/// Directions of edges by place, blind to colour.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shapes;

impl Features for Shapes {
    fn label(&self) -> &'static str {
        "shapes"
    }

    fn vectors(&self, pictures: &[RgbImage]) -> TrainResult<Vec<Vec<f64>>> {
        Ok(pictures.iter().map(shapes).collect())
    }
}

fn shapes(picture: &RgbImage) -> Vec<f64> {
    /// Side at which edges are looked at.
    const EDGE_SIDE: usize = 64;
    let small = fit_square(picture, EDGE_SIDE);
    let grey = |x: usize, y: usize| {
        let [r, g, b] = small.get_pixel(x as u32, y as u32).0.map(f64::from);
        (0.299 * r + 0.587 * g + 0.114 * b) / 255.
    };
    let mut cells = vec![0.; CELLS * CELLS * DIRECTIONS];
    for y in 1..EDGE_SIDE - 1 {
        for x in 1..EDGE_SIDE - 1 {
            let (dx, dy) = (grey(x + 1, y) - grey(x - 1, y), grey(x, y + 1) - grey(x, y - 1));
            let turn = dy.atan2(dx).rem_euclid(std::f64::consts::PI) / std::f64::consts::PI;
            let direction = ((turn * DIRECTIONS as f64) as usize).min(DIRECTIONS - 1);
            let cell = (y * CELLS / EDGE_SIDE) * CELLS + x * CELLS / EDGE_SIDE;
            cells[cell * DIRECTIONS + direction] += dx.hypot(dy);
        }
    }
    let mean = cells.iter().sum::<f64>() / cells.len() as f64;
    unit(cells.into_iter().map(|x| x - mean).collect())
}

/// The picture side of CLIP or of the base's scorer.
pub struct Encoder {
    /// The network.
    pub network: Rc<dyn Embedder>,
    /// What it is called.
    pub label: &'static str,
}

impl Features for Encoder {
    fn label(&self) -> &'static str {
        self.label
    }

    fn vectors(&self, pictures: &[RgbImage]) -> TrainResult<Vec<Vec<f64>>> {
        if pictures.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.network.embed_pictures(pictures)?.to_vec2::<f32>()?;
        Ok(rows.into_iter().map(|row| row.into_iter().map(f64::from).collect()).collect())
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    fn square(colour: [u8; 3], at: u32) -> RgbImage {
        RgbImage::from_fn(64, 64, |x, y| {
            let inside = (at..at + 24).contains(&x) && (at..at + 24).contains(&y);
            Rgb(if inside { colour } else { [240, 240, 240] })
        })
    }

    #[test]
    fn equal_pictures_agree_and_each_kind_sees_its_own() -> TrainResult<()> {
        let pictures =
            [square([200, 30, 30], 8), square([200, 30, 30], 32), square([30, 30, 200], 8)];
        for kind in [&Colours as &dyn Features, &Shapes] {
            let v = kind.vectors(&pictures)?;
            assert!((cosine(&v[0], &v[0]) - 1.).abs() < 1e-9);
            assert!(cosine(&v[0], &v[1]) < 0.9, "{} sees the place", kind.label());
        }
        let (c, s) = (Colours.vectors(&pictures)?, Shapes.vectors(&pictures)?);
        assert!(cosine(&s[0], &s[2]) > cosine(&c[0], &c[2]), "shapes are blind to colour");
        Ok(())
    }
}
