//! `verified.json`, from the reports of verifications that know nothing of each other.

use std::fs;

use fdroid_bb::fdroid::AppId;
use fdroid_bb::verified;
use serde_json::{Value, json};

fn report(app: &str, code: u64, time: f64, verified: bool) -> Value {
    json!({
        "local": { "packageName": app, "versionCode": code, "timestamp": time },
        "verified": verified,
    })
}

#[test]
fn reports_of_one_version_are_added_once_and_none_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let app = AppId::new("org.example.app").unwrap();
    let write = |code: u64, reports: &Value| {
        let path = folder.path().join(format!("{app}_{code}.apk.json"));
        fs::write(path, reports.to_string()).unwrap();
        verified::add(folder.path(), &app, code).map_err(|error| error.kind())
    };
    let versions = || {
        let text = fs::read_to_string(folder.path().join("verified.json")).unwrap();
        let all: Value = serde_json::from_str(&text).unwrap();
        let reports = all["packages"][app.as_str()].as_array().unwrap().clone();
        reports.iter().map(|report| report["local"]["versionCode"].as_u64().unwrap()).collect()
    };

    let one = json!({ "1.5": report(app.as_str(), 1, 1.5, true) });
    assert_eq!(write(1, &one), Ok(1));
    assert_eq!(write(1, &one), Ok(0));
    let two = json!({ "2.5": report(app.as_str(), 2, 2.5, true) });
    assert_eq!(write(2, &two), Ok(1));
    let found: Vec<u64> = versions();
    assert_eq!(found, [2, 1]);

    // What differs, and what is of another app or version.
    assert_eq!(write(3, &json!({ "3.5": report(app.as_str(), 3, 3.5, false) })), Ok(0));
    assert_eq!(write(3, &json!({ "3.5": report("org.example.other", 3, 3.5, true) })), Ok(0));
    assert_eq!(write(3, &json!({ "3.5": report(app.as_str(), 2, 3.5, true) })), Ok(0));
    let found: Vec<u64> = versions();
    assert_eq!(found, [2, 1]);

    // No report at all.
    assert!(write(4, &json!([1])).is_err());
    assert!(verified::add(folder.path(), &app, 5).is_err());
}
