//! The types that recipes share, of the WIT interface `quorate:recipe/types`: generated from it. They know no recipe.

#![allow(missing_docs, reason = "their documentation is WIT's")]

quorate_client_macro::__host_types!();
