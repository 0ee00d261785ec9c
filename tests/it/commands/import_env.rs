//! `import-env`: the Python proxy's variables become a configuration that means the same.

use crate::support::command::Folder;

const VARIABLES: &str = "\
# the old proxy
OEMR_BASE=https://emr.example.org
CLIENT_ID='a${b}'
PRIVATE_KEY_PATH=keys/private_key.pem
JWKS_PATH=keys/jwks.json
SCOPE=\"system/Patient.read system/Observation.read\"
LOG_LEVEL=WARNING
REDIS_PASSWORD=geheim
VERIFY_TLS=false
";

fn effective(folder: &Folder, arguments: &[&str]) -> String {
    let ended = folder.run(&[&["config", "check"], arguments].concat());
    assert_eq!(ended.code, 0, "{}", ended.err);
    ended.out
}

#[test]
fn the_configuration_means_what_the_variables_do() {
    for site in ["", "SITE=second\n"] {
        let folder = Folder::good();
        folder.write(".env", &format!("{VARIABLES}{site}"));
        let ended = folder.run(&["import-env", ".env", "--out", "new.yaml"]);
        assert_eq!((ended.code, ended.out.as_str()), (0, "wrote new.yaml\n"), "{}", ended.err);
        for name in ["REDIS_PASSWORD", "VERIFY_TLS"] {
            assert!(ended.err.contains(&format!("{name}: no key of the gateway has this variable")), "{}", ended.err);
        }
        let yaml = folder.read("new.yaml");
        assert!(!yaml.contains("geheim") && !ended.err.contains("geheim"), "{yaml}");
        assert!(yaml.contains("openemr: \"https://emr.example.org\"   # OEMR_BASE"), "{yaml}");
        std::fs::remove_file(folder.path("conf/gateway.yaml")).unwrap();
        let (by_file, by_variables) =
            (effective(&folder, &["--config", "new.yaml"]), effective(&folder, &["--env-file", ".env"]));
        let named = |text: &str| text.replace("  second:\n", "  default:\n");
        assert_eq!(named(&by_file), named(&by_variables));

        let again = folder.run(&["import-env", ".env", "--out", "new.yaml"]);
        assert!(again.code == 1 && again.err.contains("already exists"), "{}", again.err);
        assert_eq!(folder.run(&["import-env", ".env", "--out", "new.yaml", "--force"]).code, 0);
        assert_eq!(folder.run(&["import-env", ".env"]).out, yaml);
    }
}

#[test]
fn a_dollar_sign_of_a_files_name_is_itself() {
    let folder = Folder::good();
    std::fs::rename(folder.path("keys/private_key.pem"), folder.path("keys/${x}.pem")).unwrap();
    folder.write(".env", &VARIABLES.replace("keys/private_key.pem", "'keys/${x}.pem'"));
    assert_eq!(folder.run(&["import-env", ".env", "--out", "new.yaml"]).code, 0);
    effective(&folder, &["--config", "new.yaml"]);
}

#[test]
fn what_the_gateway_would_refuse_is_not_written() {
    let folder = Folder::good();
    let key = "-----BEGIN PRIVATE KEY-----";
    for (from, to, message) in [
        ("keys/private_key.pem", "keys/none.pem", ".env:4:18: PRIVATE_KEY_PATH: keys/none.pem"),
        ("system/Observation.read", "system/*.read", ".env:6:7: SCOPE: "),
        ("keys/private_key.pem", key, ".env:4:18: PRIVATE_KEY_PATH: "),
        ("https://emr", "http://emr", ".env:2:11: OEMR_BASE: "),
        ("'a${b}'", "\"a\\nsites: {}\"", ".env:3:11: CLIENT_ID: "),
        ("LOG_LEVEL=WARNING", "LOG_LEVEL='x: [y'", ".env:7:11: LOG_LEVEL: "),
    ] {
        folder.write(".env", &VARIABLES.replace(from, to));
        let ended = folder.run(&["import-env", ".env", "--out", "new.yaml"]);
        assert!(ended.code == 1 && ended.err.contains(message), "not `{message}` but\n{}", ended.err);
        assert!(!folder.path("new.yaml").exists());
        assert!(!ended.err.contains("geheim"), "{}", ended.err);
    }
}

#[test]
fn a_missing_file_is_named_by_its_own_argument() {
    let ended = Folder::empty().run(&["import-env", "nowhere.env"]);
    assert!(ended.code == 1 && ended.err.contains("nowhere.env") && ended.err.contains("does not exist"), "{}", ended.err);
    assert!(!ended.err.contains("--env-file"), "{}", ended.err);
}
