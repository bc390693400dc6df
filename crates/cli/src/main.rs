//! The `tokenry` command.
fn main() {}
