//! The golden numerical cases, against this crate and the model crate.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/golden").join(name)
}

fn run(folder: &Path) -> (bool, String) {
    let mut lines = Vec::new();
    let passed = troupe_train::golden::run(folder, &mut lines).expect("the folder loads");
    (passed, String::from_utf8(lines).expect("text"))
}

fn assert_passes(name: &str, num_cases: usize) {
    let (passed, lines) = run(&folder(name));
    assert!(passed, "{name}:\n{lines}");
    assert_eq!(lines.lines().last(), Some(format!("{num_cases} passed, 0 failed").as_str()));
}

#[test]
fn tiny_a_with_normed_queries_and_biases() {
    assert_passes("tiny-a", 104);
}

#[test]
fn tiny_b_with_biases_and_tied_embeddings() {
    assert_passes("tiny-b", 45);
}

#[test]
fn tiny_c_with_one_key_head_and_tied_embeddings() {
    assert_passes("tiny-c", 38);
}

#[test]
fn tiny_d_without_norms_biases_and_grouped_heads() {
    assert_passes("tiny-d", 38);
}

#[test]
fn a_codec_that_does_not_load_fails_its_own_cases_only() {
    let scratch = tempfile::tempdir().expect("a folder");
    for name in ["config.json", "cases.json", "model.safetensors", "tensors.safetensors"] {
        fs::copy(folder("tiny-b").join(name), scratch.path().join(name)).expect("a copy");
    }
    let (passed, lines) = run(scratch.path());
    assert!(!passed);
    assert!(lines.contains("vae_decode_wide inf 0e0 FAIL"), "{lines}");
    assert!(lines.contains("interleave_see ") && !lines.contains("interleave_see inf"), "{lines}");
    assert!(lines.lines().any(|l| l.starts_with("text_logits_mixed") && l.ends_with(" ok")));
}
