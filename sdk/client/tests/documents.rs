//! What documents show of the client is what is compiled and run: the example.

const EXAMPLE: &str = include_str!("../examples/lock.rs");

/// Without its first line, which is for readers of the file.
fn shown() -> &'static str {
    EXAMPLE.split_once("\n\n").expect("a first line").1
}

#[test]
fn the_readme_shows_the_example() {
    let readme = include_str!("../../../README.md");
    assert!(readme.contains(&format!("```rust\n{}```", shown())), "README.md: {}", shown());
}
