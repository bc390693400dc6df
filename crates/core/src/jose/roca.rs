//! The fingerprint of RSA keys from a broken generator (ROCA, CVE-2017-15361).
//!
//! Primes of Infineon's library had the form `k·M + (65537^a mod M)` with `M` a product of the first primes, so
//! the modulus is a power of 65537 modulo each of them. A random modulus passes for all of [`PRIMES`] with a
//! probability of 2^-27.

/// The primes below 168 in whose multiplicative group 65537 does not generate everything.
const PRIMES: [u32; 17] =
    [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];

/// Whether a modulus (big-endian) has the mark of the broken generator.
pub(super) fn has_fingerprint(modulus: &[u8]) -> bool {
    PRIMES.into_iter().all(|prime| {
        let residue = modulus.iter().fold(0, |r, byte| (r * 256 + u32::from(*byte)) % prime);
        is_power_of_65537(residue, prime)
    })
}

fn is_power_of_65537(residue: u32, prime: u32) -> bool {
    let mut power = 1;
    for _ in 1..prime {
        if power == residue {
            return true;
        }
        power = power * (65537 % prime) % prime;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_prime_tells_some_numbers_apart() {
        for prime in PRIMES {
            assert!((1..prime).any(|n| !is_power_of_65537(n, prime)), "{prime}");
        }
    }

    #[test]
    fn powers_of_65537_have_the_mark_and_their_neighbours_do_not() {
        let power = 65537_u128.pow(5);
        assert!(has_fingerprint(&power.to_be_bytes()));
        assert!(!has_fingerprint(&(power + 2).to_be_bytes()));
    }
}
