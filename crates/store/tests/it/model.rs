//! Every store against a model of rotation, whatever happens in whatever order.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::Config;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use tokenry_core::Timestamp;
use tokenry_core::family::{Family, Rotated, Rotation};
use tokenry_store::{Memory, Store};
use tokio::runtime::Runtime;

use crate::fixture::{GRACE, InFile, at, family, make_realms, rotation};

/// How many families live at the same time.
const SLOTS: usize = 3;

/// A family as somebody would tell its story, rather than as a row: when each of its tokens was used.
#[derive(Clone, Debug, Default)]
struct Story {
    used_at: Vec<Timestamp>,
    revoked_at: Option<Timestamp>,
    /// When all of it may be forgotten; `None`: nothing is remembered.
    expires_at: Option<Timestamp>,
}

impl Story {
    fn current(&self) -> u32 {
        self.used_at.len() as u32
    }

    fn present(&mut self, presented: u32, now: Timestamp, expires_at: Timestamp) -> Rotated {
        if self.revoked_at.is_some() {
            return Rotated::Revoked;
        }
        let newest_use = self.used_at.last().copied();
        let repeats = newest_use.filter(|_| presented + 1 == self.current());
        if let Some(rotated_at) = repeats.filter(|at| now.since(*at) <= GRACE) {
            return Rotated::Successor { generation: self.current(), rotated_at };
        }
        self.remember_until(expires_at);
        if presented == self.current() {
            self.used_at.push(now);
            Rotated::Successor { generation: self.current(), rotated_at: now }
        } else {
            self.revoked_at = Some(now);
            // Its access tokens live 300 seconds, and another node may issue one within a second, rounded up.
            let settled = Timestamp::from_secs((now.as_millis() + 1000).div_ceil(1000));
            self.remember_until(settled + Duration::from_secs(300));
            Rotated::Reused
        }
    }

    fn revoke(&mut self, now: Timestamp, expires_at: Timestamp) -> bool {
        self.remember_until(expires_at);
        let was_alive = self.revoked_at.is_none();
        self.revoked_at.get_or_insert(now);
        was_alive
    }

    fn remember_until(&mut self, time: Timestamp) {
        self.expires_at = self.expires_at.max(Some(time));
    }

    fn is_told_by(&self, row: Option<Family>) -> bool {
        match (row, self.expires_at) {
            (None, None) => true,
            (Some(row), Some(expires_at)) => {
                // Of a family of which nothing was known the row can only say what was presented.
                let knows_uses = self.used_at.last() == Some(&row.rotated_at)
                    && row.generation == self.current();
                (row.revoked_at, row.expires_at) == (self.revoked_at, expires_at)
                    && (knows_uses || self.used_at.is_empty())
            }
            _ => false,
        }
    }
}

/// Which token of a family is presented.
#[derive(Clone, Copy, Debug)]
enum Which {
    Current,
    Before,
    Older(u32),
    NeverIssued(u32),
}

impl Which {
    fn generation(self, story: &Story) -> u32 {
        match self {
            Self::Current => story.current(),
            Self::Before => story.current().saturating_sub(1),
            Self::Older(by) => story.current().saturating_sub(2 + by),
            Self::NeverIssued(by) => story.current() + 1 + by,
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// One token, by so many requests at the same time.
    Present {
        slot: usize,
        which: Which,
        times: usize,
        lifetime: u64,
    },
    /// Different tokens of one family at the same time. Which comes first is open, so the family is left alone
    /// afterwards.
    Race {
        slot: usize,
        tokens: Vec<Which>,
    },
    Revoke {
        slot: usize,
        lifetime: u64,
    },
    Pass(Duration),
    CollectGarbage,
    Restart,
}

#[derive(Clone, Debug)]
struct Model {
    now: Timestamp,
    /// The number of each slot's family, and its story.
    families: [(u64, Story); SLOTS],
    unused: u64,
    /// What the last step presents, and must be answered in any order.
    presented: u32,
    answers: Vec<Rotated>,
    was_alive: bool,
    deleted: u64,
    /// The family that the last step races for, as it was before.
    before_race: (u64, Story),
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        let families = std::array::from_fn(|slot| (slot as u64, Story::default()));
        Just(Self {
            now: at(1_000_000),
            families,
            unused: SLOTS as u64,
            presented: 0,
            answers: Vec::new(),
            was_alive: false,
            deleted: 0,
            before_race: (0, Story::default()),
        })
        .boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Step> {
        let which = prop_oneof![
            6 => Just(Which::Current),
            3 => Just(Which::Before),
            1 => (0..3_u32).prop_map(Which::Older),
            1 => (0..2_u32).prop_map(Which::NeverIssued),
        ];
        let lifetime = prop_oneof![Just(1_u64), Just(60), Just(100_000)];
        let millisecond = Duration::from_millis(1);
        let pass = prop_oneof![
            Just(millisecond),
            Just(GRACE / 2),
            Just(GRACE),
            Just(GRACE + millisecond),
            Just(Duration::from_secs(60)),
            Just(Duration::from_secs(3600)),
        ];
        prop_oneof![
            8 => (0..SLOTS, which.clone(), prop_oneof![4 => Just(1_usize), 1 => Just(20)], lifetime.clone())
                .prop_map(|(slot, which, times, lifetime)| Step::Present { slot, which, times, lifetime }),
            2 => (0..SLOTS, prop::collection::vec(which, 2..=4))
                .prop_map(|(slot, tokens)| Step::Race { slot, tokens }),
            1 => (0..SLOTS, lifetime).prop_map(|(slot, lifetime)| Step::Revoke { slot, lifetime }),
            4 => pass.prop_map(Step::Pass),
            1 => Just(Step::CollectGarbage),
            1 => Just(Step::Restart),
        ]
        .boxed()
    }

    fn apply(mut state: Self, step: &Step) -> Self {
        let now = state.now;
        match *step {
            Step::Present { slot, which, times, lifetime } => {
                let story = &mut state.families[slot].1;
                let presented = which.generation(story);
                let expires_at = now + Duration::from_secs(lifetime);
                state.presented = presented;
                state.answers =
                    (0..times).map(|_| story.present(presented, now, expires_at)).collect();
            }
            Step::Race { slot, .. } => {
                let another = (state.unused, Story::default());
                state.unused += 1;
                state.before_race = std::mem::replace(&mut state.families[slot], another);
            }
            Step::Revoke { slot, lifetime } => {
                let expires_at = now + Duration::from_secs(lifetime);
                state.was_alive = state.families[slot].1.revoke(now, expires_at);
            }
            Step::Pass(duration) => state.now = now + duration,
            Step::CollectGarbage => {
                state.deleted = 0;
                for (_, story) in &mut state.families {
                    if story.expires_at.is_some_and(|at| at <= now) {
                        *story = Story::default();
                        state.deleted += 1;
                    }
                }
            }
            Step::Restart => {}
        }
        state
    }
}

/// A store, and how it is restarted.
trait Place {
    fn new() -> Self;
    fn open(&self) -> Arc<dyn Store>;
    const OUTLIVES_THE_PROCESS: bool;
}

struct InMemory;

impl Place for InMemory {
    const OUTLIVES_THE_PROCESS: bool = false;

    fn new() -> Self {
        Self
    }

    fn open(&self) -> Arc<dyn Store> {
        Arc::new(Memory::new())
    }
}

impl Place for InFile {
    const OUTLIVES_THE_PROCESS: bool = true;

    fn new() -> Self {
        Self::new()
    }

    fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.open())
    }
}

struct Running<P> {
    place: P,
    store: Option<Arc<dyn Store>>,
    runtime: Runtime,
    /// How many rows of families that were raced may be garbage besides those of the model.
    raced: u64,
}

impl<P> Running<P> {
    fn store(&self) -> &Arc<dyn Store> {
        self.store.as_ref().unwrap()
    }

    /// All of these at the same time.
    fn rotate(&self, rotations: Vec<Rotation>) -> Vec<Rotated> {
        self.runtime.block_on(async {
            let tasks = rotations.into_iter().map(|rotation| {
                let store = Arc::clone(self.store());
                tokio::spawn(async move { store.rotate(rotation).await.unwrap() })
            });
            let mut answers = Vec::new();
            for task in tasks.collect::<Vec<_>>() {
                answers.push(task.await.unwrap());
            }
            answers
        })
    }

    /// There must be an order of the requests that explains every answer and what is left behind.
    fn race(&self, model: &Model, tokens: &[Which]) {
        let (number, before) = &model.before_race;
        let presented: Vec<u32> = tokens.iter().map(|which| which.generation(before)).collect();
        let rotations =
            presented.iter().map(|p| rotation(family(*number), *p, model.now)).collect();
        let answers = self.rotate(rotations);
        let row = self.runtime.block_on(self.store().family("r", family(*number))).unwrap();
        let explained = orders(tokens.len()).into_iter().any(|order| {
            let mut story = before.clone();
            let expires_at = model.now + Duration::from_secs(1000);
            order.iter().all(|i| story.present(presented[*i], model.now, expires_at) == answers[*i])
                && story.is_told_by(row)
        });
        assert!(explained, "{before:?}, presented {presented:?}: {answers:?}, {row:?}");
    }
}

/// All orders of `0..len`.
fn orders(len: usize) -> Vec<Vec<usize>> {
    let Some(last) = len.checked_sub(1) else { return vec![vec![]] };
    let insert = |order: Vec<usize>| {
        (0..=last).map(move |place| {
            let mut order = order.clone();
            order.insert(place, last);
            order
        })
    };
    orders(last).into_iter().flat_map(insert).collect()
}

fn sorted(mut answers: Vec<Rotated>) -> Vec<Rotated> {
    answers.sort_by_key(|answer| format!("{answer:?}"));
    answers
}

impl<P: Place> StateMachineTest for Running<P> {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(_: &Model) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let place = P::new();
        let store = place.open();
        runtime.block_on(make_realms(&*store, &["r"]));
        Self { place, store: Some(store), runtime, raced: 0 }
    }

    fn apply(mut sut: Self, model: &Model, step: Step) -> Self {
        let now = model.now;
        match step {
            Step::Present { slot, times, lifetime, .. } => {
                let number = model.families[slot].0;
                let expires_at = now + Duration::from_secs(lifetime);
                let one = Rotation { expires_at, ..rotation(family(number), model.presented, now) };
                let answers = sut.rotate(vec![one; times]);
                assert_eq!(sorted(answers), sorted(model.answers.clone()));
            }
            Step::Race { tokens, .. } => {
                sut.race(model, &tokens);
                sut.raced += 1;
            }
            Step::Revoke { slot, lifetime } => {
                let id = family(model.families[slot].0);
                let expires_at = now + Duration::from_secs(lifetime);
                let revoking = sut.store().revoke_family("r", "c", id, now, expires_at);
                assert_eq!(sut.runtime.block_on(revoking).unwrap(), model.was_alive);
            }
            Step::Pass(_) => {}
            Step::CollectGarbage => {
                let deleted = sut.runtime.block_on(sut.store().collect_garbage(now)).unwrap();
                let possible = model.deleted..=model.deleted + sut.raced;
                assert!(possible.contains(&deleted), "{deleted}, {possible:?}");
            }
            Step::Restart if P::OUTLIVES_THE_PROCESS => {
                sut.store = None;
                sut.store = Some(sut.place.open());
            }
            Step::Restart => {}
        }
        sut
    }

    fn check_invariants(sut: &Self, model: &Model) {
        let snapshot = sut.runtime.block_on(sut.store().load()).unwrap();
        for (number, story) in &model.families {
            let id = family(*number);
            let row = sut.runtime.block_on(sut.store().family("r", id)).unwrap();
            assert!(story.is_told_by(row), "{story:?}, {row:?}");
            let listed = snapshot.revoked.iter().find(|(_, revoked, _)| *revoked == id);
            let expected = story.expires_at.filter(|_| story.revoked_at.is_some());
            assert_eq!(listed.map(|(_, _, until)| *until), expected);
        }
    }
}

fn cases(cases: u32) -> Config {
    Config { cases, failure_persistence: None, ..Config::default() }
}

prop_state_machine! {
    #![proptest_config(cases(400))]
    #[test]
    fn memory_agrees_with_the_model(sequential 1..40 => Running<InMemory>);
}

prop_state_machine! {
    #![proptest_config(cases(60))]
    #[test]
    fn sqlite_agrees_with_the_model(sequential 1..40 => Running<InFile>);
}
