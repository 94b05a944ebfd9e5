//! The studio window.

fn main() {}
