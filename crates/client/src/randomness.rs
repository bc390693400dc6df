//! Where what must never come twice is drawn: the edge to the operating system.

use crate::Error;

/// 128 random bits, for a `jti`.
pub(crate) fn unique() -> Result<[u8; 16], Error> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::Unsigned)?;
    Ok(bytes)
}

/// A number in `[0, 1)`, for jitter.
pub(crate) fn share() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness an instance is as good as the middle of all.
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / (f64::from(u32::MAX) + 1.0),
        Err(_) => 0.5,
    }
}
