//! The used proofs that one replica remembers, in bounded memory.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};

use tokenry_core::Timestamp;

use super::ProofId;
use crate::Rejection;

/// The most proofs remembered, unless the operator says otherwise: 6 MiB at most. A client with a good clock is
/// remembered for a minute, so that this is enough for 1,600 requests a second.
pub(super) const DEFAULT_PROOFS: usize = 100_000;

/// Used proofs, each until it is refused for its age.
///
/// When there are more than fit, those that end first are forgotten, and whatever ends no later than them is refused from
/// then on. So a proof is never good twice: under load, it is good for a shorter time.
pub(super) struct Memory {
    most: usize,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    proofs: HashSet<ProofId>,
    /// The same by the second in which they end.
    by_end: BTreeMap<u64, Vec<ProofId>>,
    /// The last second of which something was forgotten. Also keeps a clock that is set back from making old proofs
    /// good again.
    forgotten: u64,
    /// Whether the operator knows that the memory is too small.
    told: bool,
}

impl Memory {
    pub(super) fn new(most: usize) -> Self {
        Self { most, seen: Mutex::default() }
    }

    pub(super) fn use_up(
        &self,
        proof: ProofId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        let end = until.as_secs();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        while seen.by_end.first_key_value().is_some_and(|(end, _)| *end <= now.as_secs()) {
            seen.forget_first();
        }
        if seen.proofs.contains(&proof) {
            return Err(Rejection::ProofReused);
        }
        if seen.proofs.len() >= self.most {
            seen.tell(self.most);
            // Forgetting what ends later would not help this one: it would be refused along with it.
            if seen.by_end.first_key_value().is_some_and(|(first, _)| *first < end) {
                seen.forget_first();
            } else {
                return Err(Rejection::ProofForgotten);
            }
        }
        if end <= seen.forgotten {
            return Err(Rejection::ProofForgotten);
        }
        seen.proofs.insert(proof);
        seen.by_end.entry(end).or_default().push(proof);
        Ok(())
    }
}

impl Seen {
    fn forget_first(&mut self) {
        let Some((end, proofs)) = self.by_end.pop_first() else { return };
        self.forgotten = self.forgotten.max(end);
        for proof in &proofs {
            self.proofs.remove(proof);
        }
    }

    fn tell(&mut self, most: usize) {
        if !self.told {
            self.told = true;
            tracing::warn!(
                most,
                "more DPoP proofs than are remembered: older ones are refused from now on, raise dpop_memory"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000);
    const FORGOTTEN: Result<(), Rejection> = Err(Rejection::ProofForgotten);
    const REUSED: Result<(), Rejection> = Err(Rejection::ProofReused);

    fn id(n: usize) -> ProofId {
        (n as u128).to_be_bytes()
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn held(memory: &Memory) -> (usize, usize) {
        let seen = memory.seen.lock().unwrap();
        (seen.proofs.len(), seen.by_end.values().map(Vec::len).sum())
    }

    #[test]
    fn row_207_a_proof_is_good_once_whatever_it_says_about_its_end() {
        let memory = Memory::new(10);
        assert_eq!(memory.use_up(id(1), at(1_061), NOW), Ok(()));
        assert_eq!(memory.use_up(id(1), at(1_061), NOW), REUSED);
        assert_eq!(memory.use_up(id(1), at(1_062), at(1_001)), REUSED);
        assert_eq!(memory.use_up(id(2), at(1_061), NOW), Ok(()));
    }

    #[test]
    fn what_has_ended_makes_room_and_stays_refused_when_the_clock_is_set_back() {
        let memory = Memory::new(10);
        assert_eq!(memory.use_up(id(1), at(1_061), NOW), Ok(()));
        assert_eq!(memory.use_up(id(2), at(1_121), at(1_061)), Ok(()));
        assert_eq!(held(&memory), (1, 1));
        assert_eq!(memory.use_up(id(1), at(1_061), NOW), FORGOTTEN);
    }

    #[test]
    fn row_207_too_many_proofs_shorten_the_window_and_none_is_good_twice() {
        let memory = Memory::new(1_000);
        let mut accepted = Vec::new();
        for n in 0..10_000 {
            // 100 a second, so that 10 seconds of them fit.
            let now = at(1_000 + n as u64 / 100);
            let end = at(now.as_secs() + 61 - (n % 3) as u64);
            if memory.use_up(id(n), end, now) == Ok(()) {
                accepted.push((id(n), end));
            }
            assert!(held(&memory).0 <= 1_000 && held(&memory).0 == held(&memory).1);
        }
        assert_eq!(accepted.len(), 10_000, "those with a good clock are let in");
        for (proof, end) in accepted {
            assert!(memory.use_up(proof, end, at(1_099)).is_err(), "{proof:?}");
        }
        assert_eq!(memory.use_up(id(10_001), at(1_099 + 30), at(1_099)), FORGOTTEN);
    }

    #[test]
    fn a_memory_full_of_one_second_refuses_what_is_of_that_second() {
        let memory = Memory::new(2);
        for n in 0..2 {
            assert_eq!(memory.use_up(id(n), at(1_061), NOW), Ok(()));
        }
        assert_eq!(memory.use_up(id(2), at(1_061), NOW), FORGOTTEN);
        assert_eq!(memory.use_up(id(2), at(1_060), NOW), FORGOTTEN);
        assert_eq!(memory.use_up(id(0), at(1_061), NOW), REUSED);
        assert_eq!(memory.use_up(id(3), at(1_062), at(1_001)), Ok(()));
        assert_eq!(memory.use_up(id(0), at(1_061), at(1_001)), FORGOTTEN);
    }
}
