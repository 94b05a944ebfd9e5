//! The golden numerical cases, against this crate and the model crate.

use std::path::Path;

#[test]
fn every_case_is_within_its_tolerance() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/golden/tiny-a");
    let mut lines = Vec::new();
    let passed = troupe_train::golden::run(&folder, &mut lines).expect("the folder loads");
    let lines = String::from_utf8(lines).expect("text");
    assert!(passed, "{lines}");
    assert!(lines.lines().count() > 80, "{lines}");
}
