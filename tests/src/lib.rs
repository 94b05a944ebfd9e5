//! Tests that cross crates; see the folders beside this file.
