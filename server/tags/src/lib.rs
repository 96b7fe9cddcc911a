//! Role `tags`: what a reference means, for the registry in this process and for everybody else over HTTP.
//!
//! [`LocalTags`] answers the registry's questions from a metadata engine; [`TagsHandler`] answers the two that other processes ask,
//! in the form that Kraken's build-index gave them. The role knows neither the bytes of blobs nor who may do what.

mod convert;
pub mod handler;
pub mod local;

pub use handler::TagsHandler;
pub use local::LocalTags;
