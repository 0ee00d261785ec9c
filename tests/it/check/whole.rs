//! `check` as a whole: its order, its views and exit codes, and what it does without a configuration.

use super::{check, check_in, says};
use crate::support::command::Folder;
use crate::support::gateway::config;
use crate::support::openemr::OpenEmr;
use serde_json::Value;

#[test]
fn a_good_set_up_is_walked_in_order() {
    for options in [&[][..], &["--tls"], &["--openemr", "7.0.3"]] {
        let openemr = OpenEmr::with(options);
        let checked = check(&config(&openemr));
        checked.passes();
        let mut steps: Vec<&str> =
            checked.document["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect();
        steps.dedup();
        let order =
            ["configuration", "files", "keys", "dns", "tcp", "tls", "discovery", "clock", "token", "scopes", "metadata", "count"];
        assert_eq!(steps[..12], order);
        assert_eq!(steps[12..], ["version", "vulnerability"]);
        let audience = format!("aud {}/oauth2/default/token", openemr.base);
        says(checked.ended("token", "ok"), &["a token for 300 s", "kid ", &audience]);
        says(checked.ended("scopes", "ok"), &["all 3 are granted"]);
    }
}

#[test]
fn the_text_has_the_same_steps_and_no_colours_in_a_file() {
    let openemr = OpenEmr::start();
    let folder = Folder::empty();
    folder.write("gateway.yaml", &config(&openemr).to_string());
    let ended = folder.run(&["check", "--config", "gateway.yaml"]);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    assert!(!ended.out.contains('\u{1b}') && !ended.out.contains("eyJ"), "{}", ended.out);
    assert!(ended.out.contains("\nsite default\n") && ended.out.contains("ok       token "), "{}", ended.out);
    let last = ended.out.lines().last().unwrap();
    assert!(last.contains(" ok") && !last.contains("failed"), "{last}");

    openemr.order(&serde_json::json!({"token": {"refuse": "unknown_client"}}));
    let ended = folder.run(&["check", "--config", "gateway.yaml"]);
    assert_eq!(ended.code, 4);
    for line in ["failed   token ", "         cause ", "         remedy ", "skipped  scopes "] {
        assert!(ended.out.lines().any(|found| found.starts_with(line)), "{line}: {}", ended.out);
    }
}

/// Runs a command on a terminal, as `script` of util-linux makes one; `None` where that is not there.
fn on_a_terminal(folder: &Folder, command: &str, variables: &[(&str, &str)]) -> Option<String> {
    let script = ["/usr/bin/script", "/bin/script"].into_iter().find(|path| std::path::Path::new(path).exists())?;
    let variables = [&[("PATH", "/usr/bin:/bin"), ("TERM", "xterm")], variables].concat();
    Some(folder.run_program(std::path::Path::new(script), &["-qec", command, "/dev/null"], &variables).out)
}

#[test]
fn a_terminal_has_colours_and_shows_what_takes_long() {
    let openemr = OpenEmr::start();
    openemr.order(&serde_json::json!({"fhir": {"target": "/metadata", "delay_ms": 2500}}));
    let folder = Folder::empty();
    folder.write("gateway.yaml", &config(&openemr).to_string());
    let command = format!("{} check --config gateway.yaml", env!("CARGO_BIN_EXE_openemr-gateway"));
    let Some(shown) = on_a_terminal(&folder, &command, &[]) else { return };
    assert!(shown.contains("\u{1b}[32mok"), "{shown:?}");
    assert!(shown.contains("/metadata (1 s)") && shown.contains("\u{1b}[2K"), "{shown:?}");
    let plain = on_a_terminal(&folder, &command, &[("NO_COLOR", "1")]).unwrap();
    assert!(!plain.contains("\u{1b}[32m") && plain.contains("token"), "{plain:?}");
}

#[test]
fn without_a_configuration_it_says_what_is_there() {
    let openemr = OpenEmr::with(&["--tls"]);
    let folder = Folder::empty();
    let ca_file = openemr.certificate.to_str().unwrap();
    let checked = check_in(&folder, &["--openemr", &openemr.base, "--ca-file", ca_file]);
    checked.passes();
    let token = format!("the token endpoint is {}/oauth2/default/token", openemr.base);
    says(checked.ended("discovery", "ok"), &[&token]);
    says(checked.ended("version", "ok"), &["7.0.4 or later"]);
    says(checked.ended("token", "skipped"), &["without a configuration", "register"]);
    assert!(checked.steps("keys").is_empty() && !checked.steps("vulnerability").is_empty());
    check_in(&folder, &["--openemr", &openemr.base]).fails("tls", 3, &["ca_file"]);

    let other = check_in(&folder, &["--openemr", &openemr.base, "--ca-file", ca_file, "--site", "nowhere"]);
    says(other.ended("metadata", "failed"), &["400", "log"]);
    assert_eq!(other.code, 4);
}

#[test]
fn addresses_that_are_none_are_refused_with_the_right_ones() {
    let folder = Folder::empty();
    for (url, words) in [
        ("https://emr.example.org/apis/default/fhir", "write  openemr: https://emr.example.org"),
        ("http://emr.example.org", "https"),
        ("emr.example.org", "https://"),
    ] {
        let ended = folder.run(&["check", "--openemr", url]);
        assert!(ended.code == 1 && ended.out.contains("--openemr") && ended.out.contains(words), "{}", ended.out);
        let checked = check_in(&folder, &["--openemr", url]);
        checked.fails("configuration", 1, &["--openemr", words]);
        assert_eq!(checked.ended("dns", "skipped")["because"], "configuration");
    }
    let checked = check_in(&folder, &["--openemr", "https://emr.example.org", "--ca-file", "nowhere.pem"]);
    checked.fails("configuration", 1, &["--ca-file", "nowhere.pem", "does not exist"]);
    for wrong in
        [&["check", "--openemr", "https://a", "--config", "b"][..], &["check", "--ca-file", "x"], &["check", "--release", "x"]]
    {
        assert_eq!(folder.run(wrong).code, 2, "{wrong:?}");
    }
}

#[test]
fn one_site_alone_can_be_checked() {
    let openemr = OpenEmr::with(&["--site", "default", "--site", "north"]);
    let folder = Folder::empty();
    let mut both = config(&openemr);
    both["sites"]["north"] = both["sites"]["default"].clone();
    folder.write("gateway.yaml", &both.to_string());
    let checked = check_in(&folder, &["--config", "gateway.yaml", "--site", "north"]);
    checked.passes();
    let sites: Vec<&Value> = checked.steps("token").iter().map(|step| &step["site"]).collect();
    assert_eq!(sites, ["north"]);
    check_in(&folder, &["--config", "gateway.yaml", "--site", "south"]).fails(
        "configuration",
        1,
        &["no site `south` is configured", "default, north"],
    );
}
