//! The recipes of this repository under the test kit: their scenarios, and random histories against sequential models.

mod built;
mod history;
mod kit;
mod models;
mod scenarios;
