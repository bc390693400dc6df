//! What an authorization server for machines decides, without its input and output.
pub mod jose;
