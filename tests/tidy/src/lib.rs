//! The house rules that a machine can check, one module per family of rules and one test per rule.
//! Knows files and their text only: it links none of our crates and builds nothing.
//!
//! A rule is a pure function from files to findings. Beside the test that runs it over the
//! repository stands a test that runs it over a bad example, so that a rule which has stopped to
//! find anything is noticed.
//!
//! Run them with `cargo test -p quorate-tidy`. Only files that git tracks are looked at: `git add`
//! a new file first.

#[cfg(test)]
mod repository;
#[cfg(test)]
mod rust_text;

#[cfg(test)]
mod crates;

#[cfg(test)]
mod arrows;
#[cfg(test)]
mod manifests;

#[cfg(test)]
mod file_length;
#[cfg(test)]
mod pure_core;
#[cfg(test)]
mod source;

#[cfg(test)]
mod decisions;
#[cfg(test)]
mod errors_page;
#[cfg(test)]
mod features_page;
#[cfg(test)]
mod markdown;

#[cfg(test)]
mod published_wit;
#[cfg(test)]
mod tracked;
