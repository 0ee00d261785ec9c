use std::fs;

use zeroize::Zeroizing;

use super::*;
use crate::keys::generate::{NewKey, generate};
use crate::keys::rotation::State;
use crate::keys::rotation_files::KeyFolder as _;
use crate::keys::{Jwk, JwkSet};
use crate::smart::key_keeper::now;
use crate::smart::key_rings::KeyRings;
use crate::smart::token_response::Refusal;

/// A site whose key `old` is being rotated to `new`, and its signer.
struct Setting {
    _folder: tempfile::TempDir,
    files: KeyFiles,
    state: State,
    signer: Arc<Signer>,
}

impl Setting {
    fn published() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let [old, new] = [(); 2].map(|()| generate(NewKey::P384).unwrap());
        fs::write(path("jwks.json"), JwkSet::of(&old.key, "old").to_json()).unwrap();
        let mut files = KeyFiles::new(&path("private_key.pem"), &path("jwks.json"));
        files.write(&KeyFile::PrivateKey, old.private_pem.as_bytes()).unwrap();
        files.write(&KeyFile::NewPrivateKey("new".into()), new.private_pem.as_bytes()).unwrap();
        let keys = (Jwk::of(&old.key, "old"), Jwk::of(&new.key, "new"));
        let hour = Duration::from_secs(3600);
        let state = State::default().begin(keys, now(), hour, hour).unwrap();
        files.write(&KeyFile::State, state.to_json().as_bytes()).unwrap();
        let config = serde_json::json!({"sites": {"default": {
            "openemr": "https://emr.example.org", "client_id": "abc", "scopes": ["system/Patient.read"],
            "private_key": path("private_key.pem"), "jwks": path("jwks.json"),
        }}});
        fs::write(path("gateway.yaml"), config.to_string()).unwrap();
        let config = config::load(&path("gateway.yaml"), None).unwrap().config;
        let signer = KeyRings::default().signer(config.sites.first().unwrap());
        Self { _folder: folder, files, state, signer }
    }

    fn after(mut self, event: &Event) -> Self {
        let in_an_hour = now() + Duration::from_secs(3600);
        self.state = self.state.after(in_an_hour, event);
        self.files.write(&KeyFile::State, self.state.to_json().as_bytes()).unwrap();
        self.signer.install(config::reread_keys(&self.signer.config.load()).unwrap());
        self
    }

    fn switched() -> Self {
        Self::published().after(&Event::Clock(vec![]))
    }

    /// An attempt at an OpenEMR that takes these keys: which keys were tried, and whether it succeeded.
    async fn attempt(&self, taken: &[&str], refusal: &TokenError) -> (Vec<String>, bool) {
        let taken = names(taken);
        let mut openemr = OpenEmr { signer: Arc::clone(&self.signer), taken, refusal: refusal.clone(), tried: Vec::new() };
        let outcome = self.signer.attempt(&mut openemr).await;
        (openemr.tried, outcome.is_ok())
    }

    fn signs(&self) -> String {
        self.signer.keys.load().kid().to_owned()
    }

    fn events(&self) -> Vec<Event> {
        std::mem::take(&mut *self.signer.ring.events.lock())
    }
}

/// Takes some keys, and keeps what was tried.
struct OpenEmr {
    signer: Arc<Signer>,
    taken: Vec<String>,
    refusal: TokenError,
    tried: Vec<String>,
}

impl Exchange for OpenEmr {
    async fn exchange(&mut self, keys: &Keys) -> Result<Exchanged, ExchangeError> {
        let kid = keys.kid().to_owned();
        let set = JwkSet::parse(&self.signer.publish().jwk_set).unwrap();
        assert_eq!(set.keys()[0].kid(), Some(kid.as_str()), "what signs is not published first");
        let is_taken = self.taken.contains(&kid);
        self.tried.push(kid);
        if is_taken { Ok(exchanged()) } else { Err(self.refusal.clone().into()) }
    }
}

/// Refuses the first assertion, and never answers the second.
struct Silent(bool);

impl Exchange for Silent {
    async fn exchange(&mut self, _: &Keys) -> Result<Exchanged, ExchangeError> {
        match std::mem::replace(&mut self.0, true) {
            false => Err(refused(400, "invalid_client").into()),
            true => std::future::pending().await,
        }
    }
}

fn exchanged() -> Exchanged {
    let access_token = Zeroizing::new("a.b.c".to_owned());
    let grant = Grant { access_token, expires_in: Duration::from_secs(300), scope: "system/Patient.read".to_owned() };
    Exchanged { grant, requested_at: Instant::now() }
}

fn refused(status: u16, error: &str) -> TokenError {
    let error = error.to_owned();
    TokenError::Refused(Box::new(Refusal { status, error, description: String::new(), hint: None, skew: None }))
}

fn names(kids: &[&str]) -> Vec<String> {
    kids.iter().map(|kid| (*kid).to_owned()).collect()
}

#[tokio::test]
async fn a_refused_new_key_is_followed_by_the_old_one_in_front() {
    let setting = Setting::switched();
    assert_eq!(setting.signs(), "new");
    let invalid = refused(400, "invalid_client");
    assert_eq!(setting.attempt(&["old"], &invalid).await, (names(&["new", "old"]), true));
    assert_eq!((setting.signs().as_str(), setting.events()), ("old", vec![Event::OldPreferred("default".into())]));
    // The next exchange of the same token life leaves the new one alone.
    let setting = setting.after(&Event::OldPreferred("default".into()));
    assert_eq!(setting.attempt(&["old"], &invalid).await, (names(&["old"]), true));
    // A life later it gets another chance, in vain and then with success.
    let wait_no_more = || setting.signer.patience.lock().try_new_after = Some(Instant::now());
    wait_no_more();
    assert_eq!(setting.attempt(&["old"], &invalid).await, (names(&["new", "old"]), true));
    assert_eq!((setting.signs().as_str(), setting.events()), ("old", vec![]));
    wait_no_more();
    assert_eq!(setting.attempt(&["old", "new"], &invalid).await, (names(&["new"]), true));
    assert_eq!((setting.signs().as_str(), setting.events()), ("new", vec![Event::NewAccepted("default".into())]));
}

#[tokio::test]
async fn acceptance_is_noted_once() {
    let setting = Setting::switched();
    for events in [vec![Event::NewAccepted("default".into())], vec![]] {
        assert_eq!(setting.attempt(&["new"], &refused(400, "invalid_client")).await, (names(&["new"]), true));
        assert_eq!(setting.events(), events);
    }
}

#[tokio::test]
async fn whoever_is_given_the_new_set_early_takes_the_new_key_early() {
    let setting = Setting::published();
    assert_eq!(setting.attempt(&["new"], &refused(401, "invalid_client")).await, (names(&["old", "new"]), true));
    assert_eq!((setting.signs().as_str(), setting.events()), ("new", vec![Event::NewAccepted("default".into())]));
}

#[tokio::test]
async fn nothing_changes_where_neither_is_taken_or_the_cause_is_another() {
    let setting = Setting::switched();
    assert_eq!(setting.attempt(&[], &refused(400, "invalid_client")).await, (names(&["new", "old"]), false));
    for failure in [refused(400, "invalid_scope"), refused(500, "server_error"), TokenError::NothingGranted] {
        assert_eq!(setting.attempt(&[], &failure).await, (names(&["new"]), false));
    }
    assert_eq!((setting.signs().as_str(), setting.events()), ("new", vec![]));
}

#[tokio::test]
async fn an_attempt_that_is_given_up_leaves_the_keys_as_they_were() {
    let setting = Setting::switched();
    let given_up = tokio::time::timeout(Duration::from_millis(50), setting.signer.attempt(&mut Silent(false))).await;
    assert!(given_up.is_err());
    assert_eq!(setting.signs(), "new");
    assert!(setting.signer.ring.gate.try_write().is_ok(), "the keys cannot be changed any more");
}
