//! The troupe command line.

fn main() {}
