//! Products of bf16 values: on the matrix unit that newer Intel server processors have (AMX), or with
//! the vector instructions that newer AMD processors have as well (AVX512-BF16).
//!
//! Both multiply values of 8 significant bits (bf16) and sum in f32. [`Products::Bf16`] rounds
//! both sides to that. [`Products::Split`] takes each f32 as the nearest bf16 and the bf16 nearest to
//! what is left, and sums `a b` as `a_hi b_hi + a_lo b_hi + a_hi b_lo`; what that leaves out, and the
//! rounding of the second parts, is below 2⁻¹⁶ of a term. Infinite values become NaN then. On AMD's
//! processors vectors are twice as fast as those of f32, so three products of bf16 are slower than one of
//! f32: there, only [`Products::Bf16`] is chosen. On Intel's, without the matrix unit, teaching was slower
//! with them than with f32: products stay exact there.
//!
//! Both sides are packed into tiles of 1 KiB first. A tile of the left side is 16 rows of 32 values;
//! one of the right side is 16 pairs of rows of 16 columns, the two values of a pair side by side. A
//! tile of second parts follows that of the first.
//! Every element is summed in the same order wherever it stands in the product, so a row's result
//! does not depend on the rows beside it.
//!
//! Source: Intel 64 and IA-32 Architectures Software Developer's Manual, vol. 1, ch. 18
//! (`TDPBF16PS`) and vol. 2 (`VDPBF16PS`); the three-term split as in Henry et al., arXiv:1904.06376.

#![expect(unsafe_code, reason = "instructions of one processor family, over raw memory")]

use std::{
    arch::{asm, x86_64::*},
    mem::{MaybeUninit, transmute},
    sync::{
        OnceLock,
        atomic::{AtomicU8, Ordering},
    },
};

use gemm::Parallelism;
use rayon::prelude::*;

use crate::{
    gemm::{MatMut, MatRef},
    precision::Products,
};

/// Rows, or columns, of a tile.
const SIDE: usize = 16;
/// Values that a tile sums over.
const DEPTH: usize = 32;
/// Values of a tile.
const TILE: usize = SIDE * DEPTH;
/// Rows and columns of the output that are computed at a time.
const BLOCK: usize = 2 * SIDE;
/// Blocks of columns whose tiles stay in the cache while rows go by.
const CACHED_BLOCKS: usize = 8;
/// Below this many multiplications packing costs more than the unit saves.
const MIN_WORK: usize = 32 * 32 * 32;

/// A part of 16 x 32 values, or of 32 x 16.
#[repr(C, align(64))]
struct Tile([u16; TILE]);

/// What `ldtilecfg` reads: eight tiles of 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static CONFIG: Config = Config {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// What multiplies bf16 values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// The matrix unit, of which the system lets this process make use.
    Tiles,
    /// Vector instructions.
    Vectors,
}

/// The fastest that the processor has.
pub(crate) fn unit() -> Option<Unit> {
    static FOUND: OnceLock<Option<Unit>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let has_vectors = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512bf16");
        // Leaf 7, edx: bit 22 says bf16 products, bit 24 tiles.
        let has_tiles = || {
            let bits = __cpuid_count(7, 0).edx;
            bits & (1 << 22) != 0 && bits & (1 << 24) != 0
        };
        let found = if has_tiles() && ask_for_tiles() { Unit::Tiles } else { Unit::Vectors };
        has_vectors.then_some(found)
    })
}

/// Whether rounding and vectors are faster than exact products, which they are not on Intel's processors.
fn vectors_gain() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let name = __cpuid(0);
        [name.ebx, name.edx, name.ecx].map(u32::to_le_bytes).concat() != b"GenuineIntel"
    })
}

/// Asks Linux to keep the tiles' registers for this process (`arch_prctl`, documented in the kernel's
/// `Documentation/arch/x86/xstate.rst`).
fn ask_for_tiles() -> bool {
    const ARCH_PRCTL: isize = 158;
    const REQUEST_PERMISSION: usize = 0x1023;
    const TILE_DATA: usize = 18;
    let answer: isize;
    // SAFETY: the call takes two numbers and touches no memory of ours; the kernel changes only the
    // registers that are named.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => answer,
            in("rdi") REQUEST_PERMISSION,
            in("rsi") TILE_DATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    answer == 0
}

/// How values become bf16 and are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// Rounded, on the matrix unit.
    Tiles,
    /// In two parts, on the matrix unit.
    SplitTiles,
    /// Rounded, with vectors.
    Vectors,
}

const KERNELS: [Kernel; 3] = [Kernel::Tiles, Kernel::SplitTiles, Kernel::Vectors];

impl Kernel {
    fn is_available(self) -> bool {
        match self {
            Self::Tiles | Self::SplitTiles => unit() == Some(Unit::Tiles),
            Self::Vectors => unit().is_some(),
        }
    }
}

/// Place of this process's kernel in [`KERNELS`]; beyond them where products are left to others.
static CHOSEN: AtomicU8 = AtomicU8::new(KERNELS.len() as u8);

/// Lets [`kernel`] answer accordingly from now on, where the processor gains by it.
pub(crate) fn choose(products: Products) {
    let wanted = match (products, unit()) {
        (Products::Bf16, Some(Unit::Tiles)) => Some(Kernel::Tiles),
        (Products::Split, Some(Unit::Tiles)) => Some(Kernel::SplitTiles),
        (Products::Bf16, Some(Unit::Vectors)) if vectors_gain() => Some(Kernel::Vectors),
        _ => None,
    };
    CHOSEN.store(wanted.map_or(KERNELS.len() as u8, |kernel| kernel as u8), Ordering::Relaxed);
}

/// What computes a product of (m, k) and (k, n); none when it is better done elsewhere.
pub(crate) fn kernel(m: usize, n: usize, k: usize) -> Option<Kernel> {
    let is_worth_packing = m >= SIDE && n >= SIDE && k >= SIDE && m * n * k >= MIN_WORK;
    KERNELS.get(usize::from(CHOSEN.load(Ordering::Relaxed))).filter(|_| is_worth_packing).copied()
}

/// `out = keep · out + scale · a b`.
pub(crate) fn product(
    kernel: Kernel,
    out: MatMut,
    keep: f32,
    scale: f32,
    a: MatRef,
    b: MatRef,
    threads: Parallelism,
) {
    assert!(kernel.is_available(), "the processor cannot multiply so");
    match kernel {
        Kernel::Tiles => run_packed::<1, true>(out, keep, scale, a, b, threads),
        Kernel::SplitTiles => run_packed::<2, true>(out, keep, scale, a, b, threads),
        Kernel::Vectors => run_packed::<1, false>(out, keep, scale, a, b, threads),
    }
}

fn run_packed<const PARTS: usize, const TILES: bool>(
    out: MatMut,
    keep: f32,
    scale: f32,
    a: MatRef,
    b: MatRef,
    threads: Parallelism,
) {
    let tiles = a.columns.div_ceil(DEPTH);
    let (bands, blocks) = (out.rows.div_ceil(BLOCK), out.columns.div_ceil(BLOCK));
    let strip = tiles * PARTS;
    let mut packed = Box::<[Tile]>::new_uninit_slice(2 * (bands + blocks) * strip);
    let (packed_a, packed_b) = packed.split_at_mut(2 * bands * strip);
    let b = b.t();
    let pack_a = |(index, into): (usize, &mut [MaybeUninit<Tile>])| {
        // SAFETY: the callers have made sure that the processor knows the instructions.
        unsafe { pack::<false, PARTS>(a, index * SIDE, into) }
    };
    let pack_b = |(index, into): (usize, &mut [MaybeUninit<Tile>])| {
        // SAFETY: as above.
        unsafe { pack::<true, PARTS>(b, index * SIDE, into) }
    };
    match threads {
        Parallelism::None => {
            packed_a.chunks_exact_mut(strip).enumerate().for_each(pack_a);
            packed_b.chunks_exact_mut(strip).enumerate().for_each(pack_b);
        }
        Parallelism::Rayon(_) => {
            packed_a.par_chunks_exact_mut(strip).enumerate().for_each(pack_a);
            packed_b.par_chunks_exact_mut(strip).enumerate().for_each(pack_b);
        }
    }
    let work = Work {
        out: out.data.as_mut_ptr(),
        size: (out.rows, out.columns),
        row_stride: out.row_stride,
        keep,
        scale,
        tiles,
        a: packed_a.as_ptr().cast(),
        b: packed_b.as_ptr().cast(),
    };
    let groups = blocks.div_ceil(CACHED_BLOCKS);
    let task = |index: usize| {
        let (group, band) = (index / bands, index % bands);
        let first = group * CACHED_BLOCKS;
        // SAFETY: every strip of `a` and `b` has been packed, and no two tasks share a block of the
        // output, whose view has checked that its last element lies within the slice.
        unsafe { work.run::<PARTS, TILES>(band, first..blocks.min(first + CACHED_BLOCKS)) }
    };
    match threads {
        Parallelism::None => (0..groups * bands).for_each(task),
        Parallelism::Rayon(_) => (0..groups * bands).into_par_iter().for_each(task),
    }
}

/// A product whose sides are packed.
struct Work {
    out: *mut f32,
    size: (usize, usize),
    row_stride: usize,
    keep: f32,
    scale: f32,
    /// Tiles of a strip's first parts.
    tiles: usize,
    a: *const Tile,
    b: *const Tile,
}

// SAFETY: tasks read the packed sides and write blocks of the output that no other task touches.
unsafe impl Sync for Work {}

impl Work {
    /// Computes `blocks` of the rows of `band`.
    ///
    /// # Safety
    /// The processor has the [`unit`], both sides are packed, and nobody else touches these blocks.
    unsafe fn run<const PARTS: usize, const TILES: bool>(
        &self,
        band: usize,
        blocks: std::ops::Range<usize>,
    ) {
        let (rows, columns) = self.size;
        let (top, tiles) = (band * BLOCK, self.tiles);
        let strip = tiles * PARTS;
        let mut sums = Sums([0.; BLOCK * BLOCK]);
        // SAFETY: strips `2 band` and `2 block`, and the ones after them, lie within what was packed;
        // `add` is given rows and columns that the output has.
        unsafe {
            if TILES {
                asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack, readonly));
            }
            for block in blocks {
                let left = block * BLOCK;
                let (a, b) = (self.a.add(2 * band * strip), self.b.add(2 * block * strip));
                if TILES {
                    multiply::<PARTS>(a, b, tiles, &mut sums);
                } else {
                    multiply_with_vectors(a, b, tiles, &mut sums);
                }
                let size = (BLOCK.min(rows - top), BLOCK.min(columns - left));
                self.add(self.out.add(top * self.row_stride + left), size, &sums);
            }
            if TILES {
                asm!("tilerelease", options(nostack, nomem));
            }
        }
    }

    /// Adds finished sums to a block of the output.
    ///
    /// # Safety
    /// `out` begins a block of `size` that nobody else touches.
    #[target_feature(enable = "avx512f")]
    unsafe fn add(&self, out: *mut f32, (rows, columns): (usize, usize), sums: &Sums) {
        for (row, sums) in sums.0.chunks_exact(BLOCK).enumerate().take(rows) {
            // SAFETY: the caller's block has this row.
            let out =
                unsafe { std::slice::from_raw_parts_mut(out.add(row * self.row_stride), columns) };
            if self.keep == 0. {
                out.iter_mut().zip(sums).for_each(|(x, sum)| *x = self.scale * sum);
            } else {
                out.iter_mut()
                    .zip(sums)
                    .for_each(|(x, sum)| *x = self.keep * *x + self.scale * sum);
            }
        }
    }
}

/// Sums of a block of the output, by rows.
#[repr(C, align(64))]
struct Sums([f32; BLOCK * BLOCK]);

/// Rows whose sums stay in registers, for two strips of the right side.
const VECTOR_ROWS: usize = 8;

/// The sums of two strips of the left side with two of the right, of `tiles` tiles in one part.
///
/// # Safety
/// The processor has the instructions, and the strips are packed in one part.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn multiply_with_vectors(a: *const Tile, b: *const Tile, tiles: usize, sums: &mut Sums) {
    const PAIRS: usize = DEPTH / 2;
    // SAFETY: 64 bytes without invalid values.
    let pairs = |bits: __m512i| unsafe { transmute::<__m512i, __m512bh>(bits) };
    for (group, sums) in sums.0.chunks_exact_mut(VECTOR_ROWS * BLOCK).enumerate() {
        let (strip, row) = (group * VECTOR_ROWS / SIDE, group * VECTOR_ROWS % SIDE);
        let mut left = [_mm512_setzero_ps(); VECTOR_ROWS];
        let mut right = left;
        for tile in 0..tiles {
            // SAFETY: the caller's strips have `tiles` tiles, of 16 lines of 16 pairs each.
            unsafe {
                let a = a.add(strip * tiles + tile).cast::<i32>().add(row * PAIRS);
                let [b, b_next] = [tile, tiles + tile].map(|tile| b.add(tile).cast::<__m512i>());
                for pair in 0..PAIRS {
                    let b = pairs(b.add(pair).read());
                    let b_next = pairs(b_next.add(pair).read());
                    for row in 0..VECTOR_ROWS {
                        let a = pairs(_mm512_set1_epi32(a.add(row * PAIRS + pair).read()));
                        left[row] = _mm512_dpbf16_ps(left[row], a, b);
                        right[row] = _mm512_dpbf16_ps(right[row], a, b_next);
                    }
                }
            }
        }
        for (sums, (left, right)) in sums.chunks_exact_mut(BLOCK).zip(left.into_iter().zip(right)) {
            let (near, far) = sums.split_at_mut(SIDE);
            // SAFETY: each half has room for 16 values.
            unsafe {
                _mm512_storeu_ps(near.as_mut_ptr(), left);
                _mm512_storeu_ps(far.as_mut_ptr(), right);
            }
        }
    }
}

/// The sums of two strips of the left side with two of the right, of `tiles` tiles in `PARTS` parts.
///
/// # Safety
/// The unit is available and configured, and the strips are packed in as many parts.
unsafe fn multiply<const PARTS: usize>(
    a: *const Tile,
    b: *const Tile,
    tiles: usize,
    sums: &mut Sums,
) {
    let sums = sums.0.as_mut_ptr();
    // First parts with first parts, then what is given, for every tile.
    macro_rules! sum {
        ($($then:literal,)*) => {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloadd tmm4, [{a} + {row}]",
                "tileloadd tmm6, [{b} + {row}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{b_next} + {row}]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{a_next} + {row}]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                $($then,)*
                "add {a}, {bytes}",
                "add {a_next}, {bytes}",
                "add {b}, {bytes}",
                "add {b_next}, {bytes}",
                "dec {left}",
                "jnz 2b",
                "tilestored [{top} + {sums_row}], tmm0",
                "tilestored [{top} + {sums_row} + 64], tmm1",
                "tilestored [{bottom} + {sums_row}], tmm2",
                "tilestored [{bottom} + {sums_row} + 64], tmm3",
                a = inout(reg) a => _,
                a_next = inout(reg) a.add(PARTS * tiles) => _,
                b = inout(reg) b => _,
                b_next = inout(reg) b.add(PARTS * tiles) => _,
                left = inout(reg) tiles => _,
                bytes = const PARTS * size_of::<Tile>(),
                row = in(reg) 64usize,
                top = in(reg) sums,
                bottom = in(reg) sums.add(SIDE * BLOCK),
                sums_row = in(reg) 4 * BLOCK,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            )
        };
    }
    // SAFETY: the loop reads `PARTS · tiles` tiles from each of four strips and writes all of `sums`.
    unsafe {
        if PARTS == 1 {
            sum!();
        } else {
            sum!(
                // Second parts of the left side with first ones of the right.
                "tileloadd tmm4, [{a} + {row} + 1024]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{a_next} + {row} + 1024]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                // The other way round.
                "tileloadd tmm4, [{a} + {row}]",
                "tileloadd tmm6, [{b} + {row} + 1024]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{b_next} + {row} + 1024]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{a_next} + {row}]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
            );
        }
    }
}

/// Packs the strip of 16 rows of `side` from row `first` on; what lies beyond the matrix is 0. With
/// `PAIRS` the rows are columns of the right side and go into tiles of pairs.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn pack<const PAIRS: bool, const PARTS: usize>(
    side: MatRef,
    first: usize,
    tiles: &mut [MaybeUninit<Tile>],
) {
    // Of two lines one after the other: a value of the first, one of the second, and so on.
    let turns: [u16; DEPTH] = std::array::from_fn(|i| (i / 2 + i % 2 * SIDE) as u16);
    // SAFETY: 32 values of 16 bits.
    let turns = unsafe { _mm512_loadu_epi16(turns.as_ptr().cast()) };
    for (index, parts) in tiles.chunks_exact_mut(PARTS).enumerate() {
        let column = index * DEPTH;
        let [near, far] =
            [column, column + SIDE].map(|column| square::<PAIRS>(side, first, column));
        for line in 0..SIDE {
            let mut left_over = if PAIRS {
                let half = if line < SIDE / 2 { &near } else { &far };
                let pair = line % (SIDE / 2) * 2;
                (half[pair], half[pair + 1])
            } else {
                (near[line], far[line])
            };
            for part in parts.iter_mut() {
                let rounded;
                (rounded, left_over) = round(left_over);
                let rounded =
                    if PAIRS { _mm512_permutexvar_epi16(turns, rounded) } else { rounded };
                // SAFETY: a tile is 16 lines of 64 bytes and aligned to that.
                unsafe { part.as_mut_ptr().cast::<__m512i>().add(line).write(rounded) }
            }
        }
    }
}

/// The square of 16 x 16 values of `side` from (`row`, `column`) on, by rows, or with `COLUMNS` by
/// columns; 0 beyond the matrix.
#[inline]
#[target_feature(enable = "avx512f")]
fn square<const COLUMNS: bool>(side: MatRef, row: usize, column: usize) -> [__m512; SIDE] {
    let (rows, columns) = (side.rows.saturating_sub(row), side.columns.saturating_sub(column));
    let mut lines = [_mm512_setzero_ps(); SIDE];
    if rows == 0 || columns == 0 {
        return lines;
    }
    // Neighbouring values are those of a row, or those of a column.
    let by_rows = side.column_stride == 1;
    let (num, len, stride) = if by_rows {
        (rows, columns, side.row_stride)
    } else {
        (columns, rows, side.column_stride)
    };
    let mask = ((1u32 << len.min(SIDE)) - 1) as u16;
    let values = &side.data[row * side.row_stride + column * side.column_stride..];
    for (index, line) in lines.iter_mut().enumerate().take(num) {
        let values = &values[index * stride..];
        debug_assert!(values.len() >= len.min(SIDE));
        // SAFETY: the view's constructor has checked that its last element lies within the slice;
        // values that the mask leaves out are not read.
        *line = unsafe { _mm512_maskz_loadu_ps(mask, values.as_ptr()) };
    }
    if by_rows == COLUMNS {
        transpose(&mut lines);
    }
    lines
}

/// The nearest bf16 of two lines, one after the other, and what that leaves of the lines.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn round((near, far): (__m512, __m512)) -> (__m512i, (__m512, __m512)) {
    // SAFETY: both are 64 bytes without invalid values.
    let rounded = unsafe { transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(far, near)) };
    let whole = |half| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half)));
    let near = _mm512_sub_ps(near, whole(_mm512_castsi512_si256(rounded)));
    let far = _mm512_sub_ps(far, whole(_mm512_extracti64x4_epi64::<1>(rounded)));
    (rounded, (near, far))
}

/// Transposes 16 lines of 16 values: within quarters of lines, then the quarters.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(lines: &mut [__m512; SIDE]) {
    let pairs = |x, y| {
        let (x, y) = (_mm512_castps_pd(x), _mm512_castps_pd(y));
        let (low, high) = (_mm512_unpacklo_pd(x, y), _mm512_unpackhi_pd(x, y));
        (_mm512_castpd_ps(low), _mm512_castpd_ps(high))
    };
    let mut turned = *lines;
    for (out, lines) in turned.chunks_exact_mut(4).zip(lines.chunks_exact(4)) {
        let [a, b] = [0, 2].map(|i| _mm512_unpacklo_ps(lines[i], lines[i + 1]));
        let [c, d] = [0, 2].map(|i| _mm512_unpackhi_ps(lines[i], lines[i + 1]));
        (out[0], out[1]) = pairs(a, b);
        (out[2], out[3]) = pairs(c, d);
    }
    // Quarter q of turned[4 g + i] is column 4 q + i of rows 4 g to 4 g + 3.
    for i in 0..4 {
        let even = |x, y| _mm512_shuffle_f32x4::<0x88>(x, y);
        let odd = |x, y| _mm512_shuffle_f32x4::<0xdd>(x, y);
        let [a, b, c, d] = [0, 4, 8, 12].map(|group| turned[group + i]);
        let (top, bottom) = ((even(a, b), odd(a, b)), (even(c, d), odd(c, d)));
        lines[i] = even(top.0, bottom.0);
        lines[8 + i] = odd(top.0, bottom.0);
        lines[4 + i] = even(top.1, bottom.1);
        lines[12 + i] = odd(top.1, bottom.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values whose products need more than bf16's eight bits.
    fn values(num: usize, seed: usize) -> Vec<f32> {
        (0..num).map(|i| ((i * 7919 + seed) % 1009) as f32 / 1009. - 0.5).collect()
    }

    fn kernels() -> impl Iterator<Item = Kernel> {
        KERNELS.into_iter().filter(|kernel| kernel.is_available())
    }

    #[test]
    fn products_agree_with_double_precision() {
        for (m, n, k) in [(16, 16, 16), (64, 48, 96), (70, 300, 41), (33, 17, 65), (40, 600, 32)] {
            for (a_turned, b_turned) in [(false, false), (false, true), (true, false), (true, true)]
            {
                let (a, b) = (values(m * k, 1), values(k * n, 2));
                let view = |values, rows, columns, is_turned| {
                    if is_turned {
                        MatRef::rows(values, 0, columns, rows, rows).t()
                    } else {
                        MatRef::rows(values, 0, rows, columns, columns)
                    }
                };
                let (left, right) = (view(&a, m, k, a_turned), view(&b, k, n, b_turned));
                let both = [Parallelism::None, Parallelism::Rayon(0)];
                let ways = kernels().flat_map(|kernel| both.map(|threads| (kernel, threads)));
                for (kernel, threads) in ways {
                    let tolerance = if kernel == Kernel::SplitTiles { 2e-5 } else { 8e-3 };
                    let stride = n + 3;
                    let mut out = vec![1f32; m * stride];
                    let whole = MatMut::rows(&mut out, 0, m, n, stride);
                    product(kernel, whole, 0.5, 2., left, right, threads);
                    for row in 0..m {
                        for column in 0..stride {
                            let got = f64::from(out[row * stride + column]);
                            if column >= n {
                                assert_eq!(got, 1., "what lies between rows is left alone");
                                continue;
                            }
                            let term = |j: usize| {
                                let at = if a_turned { j * m + row } else { row * k + j };
                                let other = if b_turned { column * k + j } else { j * n + column };
                                f64::from(a[at]) * f64::from(b[other])
                            };
                            let want = 0.5 + 2. * (0..k).map(term).sum::<f64>();
                            let size = 2. * (0..k).map(|j| term(j).abs()).sum::<f64>();
                            assert!(
                                (got - want).abs() <= tolerance * size + 1e-6,
                                "({m}, {n}, {k}) at ({row}, {column}): {got}, not {want}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_row_does_not_depend_on_the_rows_beside_it() {
        let (m, n, k) = (80, 64, 50);
        let (a, b) = (values(m * k, 3), values(k * n, 4));
        let right = MatRef::rows(&b, 0, k, n, n);
        let run = |kernel, first: usize, rows: usize| {
            let mut out = vec![0f32; rows * n];
            let left = MatRef::rows(&a, first * k, rows, k, k);
            let out_view = MatMut::rows(&mut out, 0, rows, n, n);
            product(kernel, out_view, 0., 1., left, right, Parallelism::None);
            out
        };
        for kernel in kernels() {
            let whole = run(kernel, 0, m);
            assert_eq!(run(kernel, 37, 20), whole[37 * n..57 * n], "{kernel:?}");
        }
    }

    /// `cargo test --release -p troupe-nn --lib products_are_timed -- --ignored --nocapture`
    #[test]
    #[ignore = "prints speeds; wants a quiet machine"]
    fn products_are_timed() {
        const ROUNDS: usize = 60;
        for (m, k, n) in [(768, 576, 1536), (1024, 192, 768), (512, 576, 576)] {
            let (a, w, mut out) = (values(m * k, 1), values(n * k, 2), vec![0f32; m * n]);
            let right = MatRef::rows(&w, 0, n, k, k).t();
            let ways = std::iter::once(None).chain(kernels().map(Some));
            for way in ways {
                let mut run = || {
                    let left = MatRef::rows(&a, 0, m, k, k);
                    let out = MatMut::rows(&mut out, 0, m, n, n);
                    match way {
                        None => crate::gemm::par_gemm_by_rows(out, 0., 1., left, &w, (n, k)),
                        Some(kernel) => {
                            product(kernel, out, 0., 1., left, right, Parallelism::Rayon(0));
                        }
                    }
                };
                (0..5).for_each(|_| run());
                let started = std::time::Instant::now();
                (0..ROUNDS).for_each(|_| run());
                let speed = 2e-9 * (m * n * k * ROUNDS) as f64 / started.elapsed().as_secs_f64();
                println!("({m}, {k}) by ({k}, {n}), {way:?}: {speed:.0} GF/s");
            }
        }
    }
}
