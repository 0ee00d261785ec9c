use super::*;
use std::future::Future;

use crate::exports::folder::Folder;
use crate::openemr::export::plan::Step;
use crate::openemr::export::plan::tests::{ended, filtered, plan};

fn done(mut plan: Plan, files: &[&str]) -> Plan {
    while let Step::KickOff(index) = plan.step() {
        plan.kicked_off(index, 1_000);
        plan.accepted(index, "j".to_owned(), 1_000);
        plan.done(index, ended(files, &[], &[]), 2_000);
    }
    plan
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// What a client gets of a Binary at this time, by its id alone.
fn told(folder: &Folder, known: &Mutex<KnownFiles>, id: &str, now: i64) -> &'static str {
    name(&wait(of_any_job(&Store::Folder(folder.clone()), known, id, now)).unwrap())
}

/// The same by the address that names its export.
fn told_of(folder: &Folder, known: &Mutex<KnownFiles>, job: u128, id: &str) -> &'static str {
    name(&wait(of_job(&Store::Folder(folder.clone()), known, Uuid::from_u128(job), id, 3_000)).unwrap())
}

fn name(file: &ExportFile) -> &'static str {
    match file {
        ExportFile::Whole => "whole",
        ExportFile::Filtered(test) => {
            assert_eq!(test.resource_type, "Encounter");
            "filtered"
        }
        ExportFile::Withheld => "withheld",
        ExportFile::Unknown => "unknown",
    }
}

#[test]
fn a_file_is_known_by_its_plan_and_what_is_not_known_is_withheld_where_filters_are_about() {
    let folder = tempfile::tempdir().unwrap();
    let store = Folder::at(folder.path());
    let known = Mutex::default();
    assert_eq!(told(&store, &known, "1", 0), "whole");
    let mut plain = done(plan(&[("Encounter", true)]), &["1"]);
    plain.job = Uuid::from_u128(1);
    store.save(&plain).unwrap();
    assert_eq!((told(&store, &known, "1", 0), told(&store, &known, "9", 0)), ("whole", "whole"));
    // Its files may be there before its plan knows them.
    let mut begun = filtered(&[("Encounter", true)]);
    begun.job = Uuid::from_u128(2);
    store.save(&begun).unwrap();
    assert_eq!((told(&store, &known, "1", 0), told(&store, &known, "9", 0)), ("whole", "withheld"));
    let ended = done(begun, &["2"]);
    store.save(&ended).unwrap();
    let an_hour = 2_000 + 60 * 60 * 1000;
    for (id, now, expected) in [
        ("1", 3_000, "whole"),
        ("2", 3_000, "filtered"),
        ("9", 3_000, "withheld"),
        ("02", 3_000, "withheld"),
        ("2", an_hour, "filtered"),
        ("9", an_hour, "whole"),
    ] {
        assert_eq!(told(&store, &known, id, now), expected, "{id} {now}");
    }
    assert_eq!(known.lock().len(), 2, "the ended ones are read once");
    for (job, id, expected) in
        [(2, "2", "filtered"), (1, "1", "whole"), (1, "2", "unknown"), (2, "1", "unknown"), (3, "2", "unknown")]
    {
        assert_eq!(told_of(&store, &known, job, id), expected, "{job} {id}");
    }
    // Deleted for its client: OpenEMR may have the file all the same.
    store.mark_deleted(ended.job).unwrap();
    assert_eq!(told(&store, &known, "2", 3_000), "filtered");
    assert_eq!(told_of(&store, &known, 2, "2"), "unknown");
    store.remove(ended.job).unwrap();
    assert_eq!((told(&store, &known, "9", 3_000), known.lock().len()), ("whole", 1));
}

#[test]
fn a_plan_that_cannot_be_read_may_have_a_filter() {
    for set_aside in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let store = Folder::at(folder.path());
        std::fs::write(folder.path().join(format!("{}.json", Uuid::from_u128(1))), r#"{"version":99}"#).unwrap();
        if set_aside {
            store.set_aside(Uuid::from_u128(1)).unwrap();
        }
        assert_eq!(told(&store, &Mutex::default(), "9", 0), "withheld", "{set_aside}");
    }
}

#[test]
fn an_id_that_openemr_gave_twice_is_not_served_where_one_of_them_has_a_filter() {
    let folder = tempfile::tempdir().unwrap();
    let store = Folder::at(folder.path());
    let known = Mutex::default();
    let add = |number, mut plan: Plan| {
        plan.job = Uuid::from_u128(number);
        store.save(&done(plan, &["1"])).unwrap();
    };
    add(1, plan(&[("Encounter", true)]));
    add(2, plan(&[("Encounter", true)]));
    let of = |known, job| told_of(&store, known, job, "1");
    assert_eq!((told(&store, &known, "1", 3_000), of(&known, 1)), ("whole", "whole"));
    add(3, filtered(&[("Encounter", true)]));
    assert_eq!((told(&store, &known, "1", 3_000), of(&known, 1), of(&known, 3)), ("withheld", "withheld", "filtered"));
}
