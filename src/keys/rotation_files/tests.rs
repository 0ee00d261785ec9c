#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::keys::Jwk;
use crate::keys::rotation::{Event, Rotation, Which};
use crate::keys::signing_key::PublicKey;

/// A folder that loses power after a number of changes.
#[derive(Debug, Clone, Default)]
struct Simulated {
    files: BTreeMap<KeyFile, Vec<u8>>,
    changes_left: Option<usize>,
}

#[derive(Debug)]
enum Stop {
    Crash,
    Set(#[allow(dead_code)] JwkSetError),
}

impl From<JwkSetError> for Stop {
    fn from(error: JwkSetError) -> Self {
        Self::Set(error)
    }
}

impl Simulated {
    fn change(&mut self) -> Result<(), Stop> {
        match &mut self.changes_left {
            Some(0) => Err(Stop::Crash),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn state(&self) -> State {
        self.files.get(&KeyFile::State).map_or_else(State::default, |bytes| State::parse(bytes).unwrap())
    }

    fn set(&self, file: &KeyFile) -> JwkSet {
        JwkSet::parse(&self.files[file]).unwrap()
    }
}

impl KeyFolder for Simulated {
    type Error = Stop;

    fn read(&self, file: &KeyFile) -> Result<Option<Vec<u8>>, Stop> {
        Ok(self.files.get(file).cloned())
    }

    fn write(&mut self, file: &KeyFile, bytes: &[u8]) -> Result<(), Stop> {
        self.change()?;
        self.files.insert(file.clone(), bytes.to_vec());
        Ok(())
    }

    fn rename(&mut self, from: &KeyFile, to: &KeyFile) -> Result<(), Stop> {
        self.change()?;
        if let Some(bytes) = self.files.remove(from) {
            self.files.insert(to.clone(), bytes);
        }
        Ok(())
    }

    fn remove(&mut self, file: &KeyFile) -> Result<(), Stop> {
        self.change()?;
        self.files.remove(file);
        Ok(())
    }
}

/// A key in name only: its number stands for the private half, and is in the public one.
fn jwk(number: u64) -> Jwk {
    let n = format!("AQAB{number:04}");
    Jwk::from_value(&serde_json::json!({"kty": "RSA", "n": n, "e": "AQAB", "kid": format!("k{number}")})).unwrap()
}

fn number_of(jwk: &Jwk) -> u64 {
    let Some(PublicKey::Rsa { n, .. }) = jwk.public_key() else { panic!("not RSA: {jwk:?}") };
    n[4..].parse().unwrap()
}

fn first_of(set: &JwkSet) -> u64 {
    number_of(&set.keys()[0])
}

/// One gateway with two sites and one key: one client is registered with a jwks_uri, the other with a copy of the set.
struct World {
    folder: Simulated,
    now: Timestamp,
    made: u64,
    registered: u64,
}

const SITES: [&str; 2] = ["inline", "uri"];

impl World {
    fn new() -> Self {
        let mut folder = Simulated::default();
        folder.files.insert(KeyFile::PrivateKey, b"0".to_vec());
        folder.files.insert(KeyFile::Set, JwkSet::default().rearranged(&[&jwk(0)], None).to_json().into());
        Self { folder, now: Timestamp::UNIX_EPOCH, made: 0, registered: 0 }
    }

    fn private(&self, file: &KeyFile) -> Option<u64> {
        self.folder.files.get(file).map(|bytes| String::from_utf8_lossy(bytes).parse().unwrap())
    }

    /// `keys rotate`, up to where the power fails.
    fn rotate(&mut self, publish_for: u64, retire_after: u64) -> Result<(), Stop> {
        let state = reconcile_if_retiring(&mut self.folder, self.now)?;
        let old = self.private(&KeyFile::PrivateKey).unwrap();
        self.made += 1;
        let new = jwk(self.made);
        let kid = new.kid().unwrap().to_owned();
        let durations = (Duration::from_secs(publish_for), Duration::from_secs(retire_after));
        let Ok(state) = state.begin((jwk(old), new), self.now, durations.0, durations.1) else { return Ok(()) };
        self.folder.write(&KeyFile::NewPrivateKey(kid), self.made.to_string().as_bytes())?;
        self.folder.write(&KeyFile::State, state.to_json().as_bytes())?;
        reconcile(state, self.now, &mut self.folder).map(|_| ())
    }

    /// The running gateway, up to where the power fails.
    fn keep(&mut self, events: &[Event]) -> Result<(), Stop> {
        let before = self.folder.state();
        let clock = Event::Clock(SITES.map(str::to_owned).to_vec());
        let after = events.iter().chain([&clock]).fold(before.clone(), |state, event| state.after(self.now, event));
        if before != after {
            self.folder.write(&KeyFile::State, after.to_json().as_bytes())?;
        }
        reconcile(after, self.now, &mut self.folder).map(|_| ())
    }

    /// What a gateway reads at start: the keys that may sign, the site's own first, each with the set to publish.
    fn keys(&self, site: &str) -> Vec<(u64, JwkSet)> {
        let set = self.folder.set(&KeyFile::Set);
        let configured = self.private(&KeyFile::PrivateKey).unwrap();
        let Some(rotation) = self.folder.state().rotation else {
            assert_eq!(first_of(&set), configured, "the first key is not the one that signs");
            return vec![(configured, set)];
        };
        let number = |which| number_of(rotation.jwk(which));
        let new_file = KeyFile::NewPrivateKey(rotation.kid(Which::New).to_owned());
        if rotation.stage == Stage::Retiring {
            let new = self.private(&new_file).unwrap_or(configured);
            assert_eq!(new, number(Which::New));
            return vec![(new, rotation.set(&set, Which::New))];
        }
        assert_eq!((configured, self.private(&new_file)), (number(Which::Old), Some(number(Which::New))));
        let signs = rotation.signs(site);
        [signs, signs.other()].map(|which| (number(which), rotation.set(&set, which))).to_vec()
    }

    /// Makes an exchange, which must succeed at the second try at the latest, and returns what the gateway learns from it.
    fn exchange(&self, site: &str) -> Option<Event> {
        let keys = self.keys(site);
        let accepts = |(key, set): &(u64, JwkSet)| {
            assert_eq!(first_of(set), *key, "what signs is not what is first");
            if site == "inline" { self.registered == *key } else { first_of(set) == *key }
        };
        let taken = keys.iter().position(accepts).unwrap_or_else(|| panic!("no key is accepted for {site}: {keys:?}"));
        let rotation: Rotation = self.folder.state().rotation?;
        let is_new = keys[taken].0 == number_of(&rotation.new);
        match (taken, is_new) {
            (_, true) => Some(Event::NewAccepted(site.to_owned())),
            (0, false) => None,
            (_, false) => Some(Event::OldPreferred(site.to_owned())),
        }
    }
}

fn reconcile_if_retiring(folder: &mut Simulated, now: Timestamp) -> Result<State, Stop> {
    let state = folder.state();
    let is_retiring = state.rotation.as_ref().is_some_and(|rotation| rotation.stage == Stage::Retiring);
    if is_retiring { reconcile(state, now, folder) } else { Ok(state) }
}

#[derive(Debug, Clone)]
enum Step {
    Rotate(u64, u64),
    Pass(u64),
    Exchange(bool),
    /// The administrator gives OpenEMR the new set.
    Register,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..20_u64, 1..20_u64).prop_map(|(publish, retire)| Step::Rotate(publish, retire)),
        (1..15_u64).prop_map(Step::Pass),
        any::<bool>().prop_map(Step::Exchange),
        Just(Step::Register),
    ]
}

fn take(world: &mut World, step: &Step) -> Result<(), Stop> {
    match step {
        Step::Rotate(publish, retire) => world.rotate(*publish, *retire),
        Step::Pass(seconds) => {
            world.now += Duration::from_secs(*seconds);
            world.keep(&[])
        }
        Step::Exchange(uri) => {
            let event = world.exchange(SITES[usize::from(*uri)]);
            world.keep(event.as_slice())
        }
        Step::Register => {
            if let Some(rotation) = world.folder.state().rotation {
                // The administrator uses the file, unless a crash kept it from being written.
                if world.folder.files.contains_key(&KeyFile::NextSet) {
                    world.registered = first_of(&world.folder.set(&KeyFile::NextSet));
                    assert_eq!(world.registered, number_of(&rotation.new));
                }
            }
            Ok(())
        }
    }
}

proptest! {
    /// Whatever happens, and whenever the power fails, each site gets a token, at the second try at the latest; and with the
    /// new set registered, the rotation completes.
    #[test]
    fn no_crash_leaves_a_gap(steps in prop::collection::vec((step(), prop::option::of(0..6_usize)), 1..40)) {
        let mut world = World::new();
        for (step, crash) in steps {
            world.folder.changes_left = crash;
            let _ = take(&mut world, &step);
            world.folder.changes_left = None;
            for site in SITES {
                world.exchange(site);
            }
            // The gateway starts again and completes what the crash left undone.
            if crash.is_some() {
                world.keep(&[]).unwrap();
            }
            for site in SITES {
                world.exchange(site);
            }
        }
        for _ in 0..4 {
            for step in [Step::Register, Step::Exchange(false), Step::Exchange(true), Step::Pass(60)] {
                take(&mut world, &step).unwrap();
            }
        }
        let state = world.folder.state();
        prop_assert_eq!(&state.rotation, &None);
        let set = world.folder.set(&KeyFile::Set);
        prop_assert_eq!((set.keys().len(), Some(first_of(&set))), (1, world.private(&KeyFile::PrivateKey)));
        prop_assert!(!world.folder.files.contains_key(&KeyFile::NextSet));
    }

    #[test]
    fn the_switch_comes_when_it_is_due_and_not_before(publish_for in 1..1000_u64, passed in 0..2000_u64) {
        let mut world = World::new();
        world.rotate(publish_for, 1).unwrap();
        world.now += Duration::from_secs(passed);
        world.keep(&[]).unwrap();
        let signs = world.keys("uri")[0].0;
        prop_assert_eq!(signs, u64::from(passed >= publish_for));
    }
}

#[test]
fn an_unregistered_new_key_is_never_the_only_one() {
    let mut world = World::new();
    world.rotate(1, 1).unwrap();
    for _ in 0..100 {
        take(&mut world, &Step::Pass(1000)).unwrap();
        take(&mut world, &Step::Exchange(true)).unwrap();
        take(&mut world, &Step::Exchange(false)).unwrap();
    }
    let rotation = world.folder.state().rotation.unwrap();
    assert_eq!((rotation.signs("inline"), rotation.signs("uri")), (Which::Old, Which::New));
    assert_eq!(world.folder.set(&KeyFile::Set).keys().len(), 2);
}

#[test]
fn keys_that_have_no_part_in_it_stay() {
    let mut world = World::new();
    let more = JwkSet::default().rearranged(&[&jwk(0), &jwk(77)], None);
    world.folder.files.insert(KeyFile::Set, more.to_json().into());
    world.rotate(1, 1).unwrap();
    world.registered = 1;
    let order = |world: &World| world.folder.set(&KeyFile::Set).keys().iter().map(number_of).collect::<Vec<_>>();
    assert_eq!(order(&world), [0, 1, 77]);
    take(&mut world, &Step::Pass(2)).unwrap();
    assert_eq!(order(&world), [1, 0, 77]);
    for step in [Step::Exchange(true), Step::Exchange(false), Step::Pass(2)] {
        take(&mut world, &step).unwrap();
    }
    assert_eq!(order(&world), [1, 77]);
}
