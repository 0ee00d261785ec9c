//! `check`: a set-up that is broken in one way is found at the step that it concerns, with what mends it.

mod address;
mod files;
mod resources;
mod shields;
mod token;
mod whole;

use crate::support::command::Folder;
use crate::support::gateway::config;
use crate::support::openemr::OpenEmr;
use serde_json::Value;

/// What `check --json` found.
struct Checked {
    code: i32,
    document: Value,
    /// All that was printed.
    said: String,
}

/// Checks this configuration.
fn check(config: &Value) -> Checked {
    check_with(config, &[])
}

/// The same with more options.
fn check_with(config: &Value, options: &[&str]) -> Checked {
    let folder = Folder::empty();
    folder.write("gateway.yaml", &config.to_string());
    check_in(&folder, &[&["--config", "gateway.yaml"], options].concat())
}

/// Runs `check --json` in a folder.
fn check_in(folder: &Folder, options: &[&str]) -> Checked {
    let ended = folder.run(&[&["check", "--json"], options].concat());
    let document = serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {}{}", ended.out, ended.err));
    let said = format!("{}{}", ended.out, ended.err);
    assert!(!said.contains("eyJ"), "a token or an assertion: {said}");
    Checked { code: ended.code, document, said }
}

impl Checked {
    /// The steps of this name.
    fn steps(&self, name: &str) -> Vec<&Value> {
        self.document["steps"].as_array().unwrap().iter().filter(|step| step["step"] == name).collect()
    }

    /// The step of this name that ended so.
    fn ended(&self, name: &str, verdict: &str) -> &Value {
        let steps = self.steps(name);
        steps.iter().find(|step| step["verdict"] == verdict).unwrap_or_else(|| panic!("no {name} is {verdict}: {}", self.said))
    }

    /// Checks that this step alone failed, with all these words in what was found, its cause or its remedy, and the exit code.
    fn fails(&self, name: &str, code: i32, words: &[&str]) -> &Value {
        let failed = |step: &&Value| step["verdict"] == "failed";
        let names: Vec<&Value> =
            self.document["steps"].as_array().unwrap().iter().filter(failed).map(|step| &step["step"]).collect();
        assert!(!names.is_empty() && names.iter().all(|failed| **failed == name), "{names:?} failed: {}", self.said);
        let step = self.ended(name, "failed");
        says(step, words);
        assert!(step["cause"].is_string() && step["remedy"].is_string(), "{step}");
        assert_eq!((self.code, self.document["exit_code"].as_i64()), (code, Some(i64::from(code))), "{}", self.said);
        assert_eq!(self.document["verdict"], "failed");
        step
    }

    /// Checks that nothing failed, and what the exit code is.
    fn passes(&self) {
        let failed = self.document["steps"].as_array().unwrap().iter().find(|step| step["verdict"] == "failed");
        assert!(failed.is_none() && self.code == 0, "{}", self.said);
    }
}

/// Checks that a step says all these words.
fn says(step: &Value, words: &[&str]) {
    let text: String = ["did", "found", "cause", "remedy"]
        .iter()
        .filter_map(|name| step[name].as_str())
        .map(|text| format!("{text}\n"))
        .collect();
    let text = format!("{text}{}", step["details"]);
    for word in words {
        assert!(text.contains(word), "no `{word}` in {step:#}");
    }
}

/// A configuration in front of `openemr` with these scopes.
fn with_scopes(openemr: &OpenEmr, scopes: &[&str]) -> Value {
    let mut config = config(openemr);
    config["sites"]["default"]["scopes"] = scopes.iter().copied().map(Value::from).collect();
    config
}
