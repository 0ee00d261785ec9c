//! Against a real store.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::config::{StoreSettings, StoreUrl};
use crate::openemr::export::plan::Step;
use crate::openemr::export::plan::tests::{ended, plan};
use crate::openemr::export::state::{Cause, State};
use crate::store::script::Use;
use crate::store::tests::redis_server::Redis;

/// The lease has run out.
static RUN_OUT: Script = Script::new(Use::Exports, "redis.call('HSET', KEYS[1], 'until', 1) return 1");
/// Another gateway asked for it long ago.
static ASKED: Script = Script::new(
    Use::Exports,
    "if redis.call('HEXISTS', KEYS[1], 'asked') == 1 then redis.call('HSET', KEYS[1], 'asked', 1) end return 1",
);
/// The store has lost everything.
static FORGET: Script = Script::new(Use::Exports, "return redis.call('DEL', unpack(KEYS))");
/// How many of the keys there are, and how many of these end.
static ENDING: Script = Script::new(
    Use::Exports,
    "local there, ending = 0, 0 for _, key in ipairs(KEYS) do local left = redis.call('PTTL', key) \
     if left ~= -2 then there = there + 1 end if left > 0 then ending = ending + 1 end end return {there, ending}",
);
/// What somebody else may have written.
static SPOIL: Script = Script::new(Use::Exports, "return redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])");

const JOB: Uuid = Uuid::from_u128(7);

fn settings(redis: &Redis) -> StoreSettings {
    let url = StoreUrl { tls: false, user: None, host: "127.0.0.1".to_owned(), port: redis.port, database: 0 };
    // A busy machine.
    let timeout = Duration::from_secs(60);
    StoreSettings { url, password_file: None, ca_file: None, timeout, prefix: "openemr-gateway:".to_owned() }
}

fn plans(redis: &Redis, site: &str) -> SharedPlans {
    SharedPlans::named(SharedStore::connect(&settings(redis)), site, 1, Duration::from_secs(60))
}

async fn order(plans: &SharedPlans, script: &'static Script) -> Reply {
    plans.run(script, &[]).await.unwrap()
}

async fn add(plans: &SharedPlans, plan: &Plan) {
    assert!(plans.add(plan, None, &plans.list().await.unwrap()).await.unwrap());
}

#[tokio::test]
async fn what_one_gateway_stores_another_finds_and_nothing_stays_for_ever() {
    let redis = Redis::start();
    let (here, there) = (plans(&redis, "default"), plans(&redis, "default"));
    assert_eq!((here.list().await.unwrap(), here.load(JOB).await.unwrap()), (Listing::default(), None));
    let plan = plan(&[("Patient", true)]);
    add(&here, &plan).await;
    assert_eq!(there.load(JOB).await.unwrap(), Some(plan.clone()));
    assert_eq!(there.list().await.unwrap().jobs, HashSet::from([JOB]));
    assert_eq!(plans(&redis, "clinic").list().await.unwrap(), Listing::default(), "another site's");
    there.mark_deleted(JOB).await.unwrap();
    assert!(here.is_marked(JOB).await.unwrap() && here.list().await.unwrap().marked == HashSet::from([JOB]));
    assert_eq!((here.load(JOB).await.unwrap(), here.load_any(JOB).await.unwrap()), (None, Some(plan)));
    let tenure = here.take().await.unwrap().unwrap();
    let Reply::List(counts) = order(&here, &ENDING).await else { panic!("no list") };
    assert_eq!(counts, [Reply::Int(4), Reply::Int(4)]);
    here.remove(&tenure, JOB).await.unwrap();
    let left = there.list().await.unwrap();
    assert!(left.jobs.is_empty() && left.marked.is_empty() && there.load_any(JOB).await.unwrap().is_none());
}

#[tokio::test]
async fn a_job_is_added_to_the_list_that_was_read_alone() {
    let redis = Redis::start();
    let plans = plans(&redis, "default");
    let seen = plans.list().await.unwrap();
    let first = plan(&[("Patient", true)]);
    assert!(plans.add(&first, None, &seen).await.unwrap());
    let mut second = first;
    second.job = Uuid::from_u128(8);
    assert!(!plans.add(&second, Some(JOB), &seen).await.unwrap());
    assert!(!plans.is_marked(JOB).await.unwrap(), "nothing was done");
    assert!(plans.add(&second, Some(JOB), &plans.list().await.unwrap()).await.unwrap());
    assert!(plans.is_marked(JOB).await.unwrap());
}

#[tokio::test]
async fn one_gateway_has_the_lease_and_the_late_write_of_an_earlier_one_is_refused() {
    let redis = Redis::start();
    let (here, there) = (plans(&redis, "default"), plans(&redis, "default"));
    let mut plan = plan(&[("Patient", true), ("Condition", true)]);
    add(&here, &plan).await;
    let first = here.take().await.unwrap().unwrap();
    assert!(there.take().await.unwrap().is_none());
    here.release(&first).await.unwrap();
    let second = there.take().await.unwrap().unwrap();
    assert!(second.fence() > first.fence());
    // It has run out, and its holder comes first.
    order(&there, &RUN_OUT).await;
    assert!(here.take().await.unwrap().is_none());
    there.renew(&second).await.unwrap();
    order(&there, &RUN_OUT).await;
    assert!(here.take().await.unwrap().is_none());
    order(&there, &ASKED).await;
    let third = here.take().await.unwrap().unwrap();
    assert!(third.fence() > second.fence());
    plan.kicked_off(0, 1);
    here.save(&third, &plan).await.unwrap();
    // The earlier holder is still at work.
    let mut late = plan.clone();
    late.failed(0, Cause::Broken, 2);
    assert!(matches!(there.save(&second, &late).await, Err(StoreError::LeaseLost)));
    assert!(matches!(there.renew(&second).await, Err(StoreError::LeaseLost)));
    assert!(matches!(there.remove(&second, JOB).await, Err(StoreError::LeaseLost)));
    there.release(&second).await.unwrap();
    assert_eq!(there.load(JOB).await.unwrap(), Some(plan.clone()), "it is as the latest holder wrote it");
    assert!(there.take().await.unwrap().is_none());
    // A store that has lost its data takes no write, and gives no fencing number again.
    order(&here, &FORGET).await;
    assert!(matches!(here.save(&third, &plan).await, Err(StoreError::LeaseLost)));
    assert!(there.take().await.unwrap().unwrap().fence() > third.fence());
    assert_eq!(there.load_any(JOB).await.unwrap(), None);
}

#[tokio::test]
async fn a_plan_that_cannot_be_read_is_set_aside_and_may_have_files() {
    let redis = Redis::start();
    let plans = plans(&redis, "default");
    add(&plans, &plan(&[("Patient", true)])).await;
    for (stored, is_of_the_plan) in [(&b"{\"version\":99}"[..], true), (b"", true)] {
        plans.run(&SPOIL, &[Argument::Job(JOB), Argument::Plan(stored)]).await.unwrap();
        assert_eq!(plans.load(JOB).await.unwrap_err().is_of_the_plan(), is_of_the_plan);
    }
    assert!(plans.may_have_files(JOB).await.unwrap());
    plans.set_aside(JOB).await.unwrap();
    let listing = plans.list().await.unwrap();
    assert!(listing.has_lost_plan && listing.jobs.is_empty());
}

#[tokio::test]
async fn a_write_that_was_given_up_and_comes_late_is_refused() {
    let redis = Redis::start();
    let plans = plans(&redis, "default");
    let mut plan = plan(&[("Patient", true)]);
    add(&plans, &plan).await;
    let tenure = plans.take().await.unwrap().unwrap();
    let first = tenure.next_write();
    let earlier = stored(&plan).unwrap();
    plan.kicked_off(0, 1);
    plans.save(&tenure, &plan).await.unwrap();
    let late = |write: u64| {
        let fence = Argument::Number(tenure.fence());
        let (of, bytes) = (Argument::Job(JOB), Argument::Plan(&earlier));
        [Argument::Time(Duration::from_secs(60)), fence, Argument::Time(LEASE), of, bytes, Argument::Number(write)]
    };
    assert_eq!(plans.run(&scripts::SAVE, &late(first)).await.unwrap(), Reply::Int(0));
    assert_eq!(plans.load(JOB).await.unwrap(), Some(plan.clone()));
    // A lease that was given back writes nothing.
    plans.release(&tenure).await.unwrap();
    assert_eq!(plans.run(&scripts::SAVE, &late(tenure.next_write())).await.unwrap(), Reply::Int(0));
    assert!(matches!(plans.renew(&tenure).await, Err(StoreError::LeaseLost)));
    // The next holder's numbers begin anew.
    let next = plans.take().await.unwrap().unwrap();
    plans.save(&next, &plan).await.unwrap();
    assert_eq!(plans.load(JOB).await.unwrap(), Some(plan));
}

#[tokio::test]
async fn another_client_of_openemr_has_exports_of_its_own() {
    let redis = Redis::start();
    let store = SharedStore::connect(&settings(&redis));
    let [one, other] = [1, 2].map(|whose| SharedPlans::named(store.clone(), "default", whose, Duration::from_secs(60)));
    add(&one, &plan(&[("Patient", true)])).await;
    assert_eq!(other.list().await.unwrap(), Listing::default());
    assert!(one.take().await.unwrap().is_some() && other.take().await.unwrap().is_some());
}

#[tokio::test]
async fn the_commands_that_the_document_permits_suffice() {
    let redis = Redis::start();
    let line = include_str!("../../../docs/security.md").lines().find(|line| line.starts_with("user gateway ")).unwrap();
    let command = line.replace("user ", "ACL SETUSER ").replace("#SHA256", ">secret");
    let mut connection = TcpStream::connect(("127.0.0.1", redis.port)).unwrap();
    connection.write_all(format!("{command}\r\n").as_bytes()).unwrap();
    let mut answer = [0; 5];
    connection.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+OK\r\n");
    let folder = tempfile::tempdir().unwrap();
    let password_file = folder.path().join("password");
    std::fs::write(&password_file, "secret\n").unwrap();
    std::fs::set_permissions(&password_file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut settings = settings(&redis);
    (settings.url.user, settings.password_file) = (Some("gateway".to_owned()), Some(password_file));
    let plans = SharedPlans::named(SharedStore::connect(&settings), "default", 1, Duration::from_secs(60));
    let plan = plan(&[("Patient", true)]);
    add(&plans, &plan).await;
    plans.mark_deleted(JOB).await.unwrap();
    assert!(plans.may_have_files(JOB).await.unwrap() && plans.is_marked(JOB).await.unwrap());
    let tenure = plans.take().await.unwrap().unwrap();
    assert!(plans.take().await.unwrap().is_none());
    plans.renew(&tenure).await.unwrap();
    plans.save(&tenure, &plan).await.unwrap();
    plans.set_aside(JOB).await.unwrap();
    assert!(plans.list().await.unwrap().has_lost_plan);
    plans.remove(&tenure, JOB).await.unwrap();
    plans.release(&tenure).await.unwrap();
    // What has grown old goes with the next lease.
    let old = SharedPlans { life: Duration::ZERO, ..plans.clone() };
    add(&plans, &plan).await;
    tokio::time::sleep(Duration::from_millis(2)).await;
    let _tenure = old.take().await.unwrap().unwrap();
    assert!(plans.list().await.unwrap().jobs.is_empty());
}

/// What a gateway is at.
enum At {
    Rest,
    /// It has the lease and the plan.
    Work(Tenure, Plan),
    /// The kick-off of this type is written down and not yet sent.
    Written(Tenure, Plan, usize),
    /// OpenEMR has answered, and the answer is not written down.
    Answered(Tenure, Plan),
}

/// One step of a gateway, as its worker does it. `sent`: how often each type was kicked off.
async fn step(plans: &SharedPlans, at: At, sent: &mut [usize]) -> At {
    match at {
        At::Rest => {
            let Some(tenure) = plans.take().await.unwrap() else { return At::Rest };
            let mut plan = plans.load_any(JOB).await.unwrap().unwrap();
            match plan.recover(1) {
                true if plans.save(&tenure, &plan).await.is_err() => At::Rest,
                _ => At::Work(tenure, plan),
            }
        }
        At::Work(tenure, mut plan) => {
            let Step::KickOff(index) = plan.step() else { return At::Work(tenure, plan) };
            plan.kicked_off(index, 1);
            match plans.save(&tenure, &plan).await {
                Ok(()) => At::Written(tenure, plan, index),
                Err(_) => At::Rest,
            }
        }
        At::Written(tenure, mut plan, index) => {
            sent[index] += 1;
            plan.accepted(index, "j".to_owned(), 2);
            plan.done(index, ended(&["1"], &[], &[]), 2);
            At::Answered(tenure, plan)
        }
        At::Answered(tenure, plan) => match plans.save(&tenure, &plan).await {
            Ok(()) => At::Work(tenure, plan),
            Err(_) => At::Rest,
        },
    }
}

/// Runs gateways in this order of events: which gateway, and what befalls it. Then one of them ends the export.
async fn run(plans: &SharedPlans, events: Vec<(usize, u8)>) -> (Plan, Vec<usize>) {
    let types = ["Patient", "Condition", "Encounter", "Observation"];
    let mut sent = vec![0; types.len()];
    add(plans, &plan(&types.map(|name| (name, true)))).await;
    let mut gateways = [At::Rest, At::Rest, At::Rest];
    for (which, event) in events {
        let at = std::mem::replace(&mut gateways[which], At::Rest);
        gateways[which] = match event {
            // Killed: nobody hears of it.
            0 => At::Rest,
            1 => {
                order(plans, &RUN_OUT).await;
                at
            }
            2 => {
                order(plans, &ASKED).await;
                at
            }
            _ => step(plans, at, &mut sent).await,
        };
    }
    // The others stand still; their late writes come at the end.
    let last = loop {
        order(plans, &RUN_OUT).await;
        order(plans, &ASKED).await;
        if let work @ At::Work(..) = step(plans, At::Rest, &mut sent).await {
            break work;
        }
    };
    let mut at = last;
    while !matches!(&at, At::Work(_, plan) if plan.step() == Step::Finished) {
        at = step(plans, at, &mut sent).await;
    }
    for late in gateways {
        let late = match late {
            // It has looked whether it may send before it stood still.
            At::Written(..) => step(plans, late, &mut sent).await,
            late => late,
        };
        step_late(plans, late).await;
    }
    (plans.load_any(JOB).await.unwrap().unwrap(), sent)
}

async fn step_late(plans: &SharedPlans, late: At) {
    if let At::Work(tenure, plan) | At::Answered(tenure, plan) = late {
        assert!(matches!(plans.save(&tenure, &plan).await, Err(StoreError::LeaseLost)));
    }
}

#[test]
fn whoever_is_killed_or_late_no_type_is_kicked_off_twice_and_none_is_forgotten() {
    let redis = Redis::start();
    let runtime = Runtime::new().unwrap();
    let number = std::cell::Cell::new(0);
    proptest!(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) }, |(
        events in proptest::collection::vec((0_usize..3, 0_u8..10), 0..80),
    )| {
        number.set(number.get() + 1);
        let (plan, sent) = runtime.block_on(async {
            let plans = plans(&redis, &format!("site-{}", number.get()));
            run(&plans, events).await
        });
        prop_assert!(plan.finished_at.is_some());
        for (one, sent) in plan.types.iter().zip(sent) {
            match one.state {
                State::Done { .. } => prop_assert_eq!(sent, 1),
                // It was written down, and its gateway was killed or late.
                State::Failed { cause: Cause::Interrupted, .. } => prop_assert!(sent <= 1),
                ref other => prop_assert!(false, "{other:?}"),
            }
        }
    });
}
