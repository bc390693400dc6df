//! Held against another implementation: tokens with every change that is known, one by one and several together.
//!
//! The fuzz target `token` goes on from here; this is what every run of the tests does.

use std::collections::BTreeMap;

use crate::whole::{self, Flaw};

/// An input: how a token is signed and damaged, and then what is changed in it (see `whole::forge`).
fn input(signed: [u8; 5], edits: &[u8]) -> Vec<u8> {
    [&[0; 4][..], &signed, edits].concat()
}

/// The token as its key signs it.
const WELL_SIGNED: [u8; 5] = [0; 5];

/// The choices by which an edit is one of a claim, and one of a member of the header.
const PLACES: [u8; 2] = [0, 5];
/// As many members as there are in either, or more: after the last comes the first.
const NAMES: u8 = 13;
/// The values that mean something to a member, and then those that any member may have.
const VALUES: [std::ops::Range<u8>; 2] = [0..25, 192..221];
/// The ways of changing a member: others than putting a value in its place.
const MANNERS: std::ops::Range<u8> = 4..9;

#[test]
fn each_change_of_a_member_is_judged_as_others_judge_it() {
    let mut tally = Tally::default();
    for place in PLACES {
        for name in 0..NAMES {
            for value in VALUES.into_iter().flatten() {
                tally.check(&input(WELL_SIGNED, &[place, name, 0, value]));
            }
            for manner in MANNERS {
                tally.check(&input(WELL_SIGNED, &[place, name, manner, 0]));
            }
        }
    }
    for around in 0..6 {
        tally.check(&input(WELL_SIGNED, &[11, 0, around]));
        tally.check(&input(WELL_SIGNED, &[11, 1, around]));
    }
    for length in 0..9 {
        tally.check(&input(WELL_SIGNED, &[11, 2, length]));
    }
    tally.has(&[
        "good",
        "a long kid",
        "a malformed audience",
        "a malformed scope",
        "a member twice",
        "a bad signature",
        "a date out of range",
        "a date that is no number",
        "a date that is no whole number",
        "an extension",
        "an unknown key",
        "another algorithm",
        "another audience",
        "another issuer",
        "another type",
        "bound",
        "expired",
        "no algorithm",
        "no audience",
        "no exp",
        "no issuer",
        "no type",
        "not JSON",
        "not a string",
        "not yet valid",
        "revoked",
        "too long",
    ]);
}

#[test]
fn who_signed_a_token_and_in_what_state_it_came_is_judged_as_others_judge_it() {
    let mut tally = Tally::default();
    for key in 0..16 {
        for signer in (8..20).chain(136..140) {
            tally.check(&input([key, signer, 0, 0, 0], &[]));
        }
    }
    for key in 0..3 {
        for kind in 0..20 {
            for at in [0, 1, 2, 100, 254, 255] {
                for with in [0, 1, 2] {
                    tally.check(&input([key, 0, kind, at, with], &[]));
                }
            }
        }
    }
    tally.has(&[
        "good",
        "a bad signature",
        "another algorithm",
        "not base64url",
        "not three parts",
        "stray bits",
    ]);
}

#[test]
fn changes_at_random_are_judged_as_others_judge_them() {
    let mut random = Random(1);
    let mut tally = Tally::default();
    for _ in 0..2000 {
        let edits = (0..random.below(4))
            .flat_map(|_| [PLACES[random.below(2)], random.byte(), random.byte(), random.byte()]);
        let edits: Vec<u8> = edits.collect();
        let mut input = input(WELL_SIGNED, &edits);
        // At another time, and besides one that differs in a character.
        input[..4].fill_with(|| random.byte());
        tally.check(&input);
    }
    tally.has(&["good"]);
}

/// How often each verdict was given: `good` by both, or what the oracle finds wrong.
#[derive(Default)]
struct Tally(BTreeMap<Flaw, usize>);

impl Tally {
    fn check(&mut self, input: &[u8]) {
        let verdict = whole::check(input).err().unwrap_or("good");
        *self.0.entry(verdict).or_default() += 1;
    }

    /// That nothing of this was missed: a rule that no token breaks is not tested.
    fn has(&self, verdicts: &[Flaw]) {
        for verdict in verdicts {
            assert!(self.0.contains_key(verdict), "no token was {verdict:?}: {:?}", self.0);
        }
    }
}

/// The same numbers every time (xorshift64).
struct Random(u64);

impl Random {
    fn byte(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 24) as u8
    }

    fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }
}
