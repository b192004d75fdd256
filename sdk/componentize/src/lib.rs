//! Core wasm modules, as compilers make them, into components, as the service runs them.
//! Knows the component encoding; does not know what a recipe may import, which is for admission to say.

use wit_component::ComponentEncoder;

/// Why a module did not become a component. Each message is for the recipe's author.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are no core wasm module, or carry no WIT: it was not built with a recipe SDK.
    #[error("not a core wasm module with the WIT of a recipe in it: {0}")]
    NotARecipeModule(String),
    /// The module's imports and exports do not fit the WIT that it carries.
    #[error("the module does not fit its WIT: {0}")]
    Mismatch(String),
}

/// The component made of one core module. The result is valid, and needs nothing but what the module's world imports.
///
/// # Errors
/// [`Error::NotARecipeModule`] when the module can not be read, [`Error::Mismatch`] when it does not keep its world's
/// promises.
///
/// ```
/// let refused = quorate_componentize::componentize(b"plain text");
/// assert!(matches!(refused, Err(quorate_componentize::Error::NotARecipeModule(_))));
/// ```
pub fn componentize(core_module: &[u8]) -> Result<Vec<u8>, Error> {
    ComponentEncoder::default()
        .validate(true)
        .module(core_module)
        .map_err(|error| Error::NotARecipeModule(format!("{error:#}")))?
        .encode()
        .map_err(|error| Error::Mismatch(format!("{error:#}")))
}
