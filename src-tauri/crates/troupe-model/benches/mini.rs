//! Speed of the bundled base: reading a prompt, decoding, one guided flow step.
//!
//! `cargo bench -p troupe-model --bench mini`, on a quiet machine: the pool of threads waits for its
//! slowest. `tests/reference/speed.py` measures llama.cpp and PyTorch on the same shapes.
//!
//! | name | elements | what |
//! |---|---|---|
//! | read | 512 tokens | one text block into an empty context |
//! | decode | 64 tokens | one at a time, behind 128 tokens |
//! | flow step | 64 latents | velocity with text guidance: two contexts, 64 tokens of caption |

use std::{hint::black_box, ops::ControlFlow, path::PathBuf};

use anyhow::Result;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use troupe_model::{
    context::Context,
    flow::{FlowContexts, FlowRun, FlowSampling},
    runtime::{DeviceChoice, LoadOptions, Model, Precision},
};
use troupe_nn::noise::{Noise, Stream};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const READ_TOKENS: usize = 512;
const PROMPT_TOKENS: usize = 128;
const DECODED_TOKENS: usize = 64;
const CAPTION_TOKENS: usize = 64;
const SIDE: usize = 8;

fn load(precision: Precision) -> Result<Model> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../assets/models/mini");
    let options = LoadOptions { device: DeviceChoice::Cpu, precision, ..LoadOptions::default() };
    Ok(Model::load(&dir, &options)?)
}

/// Ordinary token ids; their meaning changes nothing about the time.
fn ids(num: usize) -> Vec<u32> {
    (0..num as u32).map(|i| 1000 + i * 37 % 20_000).collect()
}

fn context(model: &Model, num: usize) -> Result<Context> {
    let mut context = Context::new();
    model.reader().read_text(&mut context, &ids(num))?;
    Ok(context)
}

/// Given tokens, not chosen ones: an end token would cut the run short.
fn decode(model: &Model, behind: &Context) -> Result<()> {
    let mut context = behind.fork()?;
    for id in ids(DECODED_TOKENS) {
        let logits = model.reader().next_logits(&mut context, &[id])?;
        black_box(logits.to_vec1::<f32>()?);
    }
    Ok(())
}

fn flow_step(model: &Model, captions: &Context, without: &Context) -> Result<()> {
    // Two time points make one step.
    let sampling = FlowSampling {
        num_timesteps: 2,
        ..FlowSampling::from_defaults(&model.config().generation, 1)
    };
    let contexts = FlowContexts { main: captions, without_text: without, without_image: captions };
    let run = FlowRun { contexts, sampling: &sampling, rows: SIDE, columns: SIDE };
    let shape = (SIDE * SIDE, model.config().latent_token_dim());
    let noise =
        Noise::new(1, Stream::InitialNoise, 0).normal_tensor(shape, model.network().device())?;
    let drawn = model.reader().sample_latents(&run, &noise, &mut |_| ControlFlow::Continue(()))?;
    black_box(drawn.0);
    Ok(())
}

fn measure(criterion: &mut Criterion, precision: Precision) -> Result<()> {
    let model = load(precision)?;
    let label = precision.label();
    let mut group = criterion.benchmark_group("mini");
    group.sample_size(10);
    group.throughput(Throughput::Elements(READ_TOKENS as u64));
    group.bench_function(BenchmarkId::new("read", label), |bencher| {
        bencher.iter(|| context(&model, READ_TOKENS).expect("a prompt within the context"));
    });
    let behind = context(&model, PROMPT_TOKENS)?;
    group.throughput(Throughput::Elements(DECODED_TOKENS as u64));
    group.bench_function(BenchmarkId::new("decode", label), |bencher| {
        bencher.iter(|| decode(&model, &behind).expect("room for the tokens"));
    });
    let (captions, without) = (context(&model, CAPTION_TOKENS)?, Context::new());
    group.throughput(Throughput::Elements((SIDE * SIDE) as u64));
    group.bench_function(BenchmarkId::new("flow step", label), |bencher| {
        bencher.iter(|| flow_step(&model, &captions, &without).expect("a step"));
    });
    group.finish();
    Ok(())
}

fn mini(criterion: &mut Criterion) {
    for precision in [Precision::Q8_0, Precision::F32] {
        measure(criterion, precision).expect("the bundled base loads");
    }
}

criterion_group!(benches, mini);
criterion_main!(benches);
