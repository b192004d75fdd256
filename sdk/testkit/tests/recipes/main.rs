//! The recipes of this repository under the test kit: their scenarios, and that the runner notices what is wrong.

mod built;
mod scenarios;
