//! Whole tokens through the verifier, held against `jsonwebtoken` and the rules that it lacks.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/verifier/tests/it/whole/mod.rs"]
mod whole;

fuzz_target!(|data: &[u8]| {
    let _ = whole::check(data);
});
