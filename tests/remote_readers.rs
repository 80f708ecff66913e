//! The policy for source URLs, held against other readers of them and against the corpus.
#![allow(clippy::expect_used, reason = "helpers of tests may panic like the tests")]

mod skip;

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;

use fdroid_bb::remote::{HostRule, RemotePolicy};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// The host of `text`, if the default policy lets it pass.
fn host(text: &str) -> Option<String> {
    RemotePolicy::default().check(text).ok().map(|url| url.host().to_owned())
}

/// What the default policy has against `text`.
fn refusal(text: &str) -> Option<String> {
    RemotePolicy::default().check(text).err().map(|refusal| refusal.to_string())
}

/// Texts that are nearly URLs.
fn nearly() -> impl Strategy<Value = String> {
    let scheme = select(vec![
        "https://", "https://", "https://", "https://", "https:/", "https:", "https::", "http://",
        "HTTPS://", "file://", "ext::", "ssh://", "//", "-", "",
    ]);
    let host = prop_oneof![
        3 => select(vec![
            "github.com", "example.org", "GitHub.com", "localhost", "a.local", "a", "xn--bcher-kva.de",
            "[::1]", "[2606:4700::1]", "[::ffff:1.1.1.1]", "0x7f.1", "0177.1", "1.1.1.1", "10.0.0.1",
            "169.254.169.254", "0", "", ".", "a..b", "0xacab.org", "1.2.3", "example.org.",
        ]).prop_map(str::to_owned),
        1 => any::<u32>().prop_map(|n| n.to_string()),
        1 => any::<u32>().prop_map(|n| format!("{n:#x}")),
        1 => any::<u32>().prop_map(|n| format!("0{n:o}")),
        2 => any::<[u8; 4]>().prop_map(|[a, b, c, d]| format!("{a}.{b}.{c}.{d}")),
        1 => any::<[u8; 4]>().prop_map(|[a, b, c, d]| format!("{a:#x}.{b}.0{c:o}.{d}")),
        2 => any::<u128>().prop_map(|n| format!("[{}]", std::net::Ipv6Addr::from(n >> 2 | 0x2 << 124))),
        1 => any::<u128>().prop_map(|n| format!("[{}]", std::net::Ipv6Addr::from(n))),
        1 => "[a-z0-9.-]{1,12}",
        1 => "[ -~]{0,8}",
    ];
    let rest = prop_oneof![
        2 => Just(String::new()),
        2 => Just("/a/b.git".to_owned()),
        1 => "(:[0-9]{0,6})?(/[a-z~+._-]{0,5}){0,3}",
        1 => "[/:@?#%\\\\a-z.0-9\\[\\]]{0,12}",
        1 => any::<String>(),
    ];
    (scheme, host, rest, any::<prop::sample::Index>(), prop::option::weighted(0.2, any::<char>()))
        .prop_map(|(scheme, host, rest, index, extra)| {
            let mut text = format!("{scheme}{host}{rest}");
            if let Some(extra) = extra {
                let places: Vec<usize> =
                    text.char_indices().map(|(i, _)| i).chain([text.len()]).collect();
                text.insert(places[index.index(places.len())], extra);
            }
            text
        })
}

/// The host that a reader finds who splits at the first `://`, `/` and last `:`, knowing no rules.
fn naive_host(text: &str) -> &str {
    let rest = text.split_once("://").expect("a scheme").1;
    let authority = rest.split('/').next().expect("an authority");
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        _ => authority,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ = refusal(&text);
        let _ = refusal(&format!("https://{text}"));
        let _ = text.parse::<HostRule>();
    }

    #[test]
    fn what_passes_is_read_alike_by_a_strict_and_a_naive_reader(text in nearly()) {
        if let Ok(found) = RemotePolicy::default().check(&text) {
            let url = url::Url::parse(&text).expect("a URL");
            prop_assert_eq!(url.scheme(), "https");
            prop_assert!(text.starts_with("https://"));
            prop_assert_eq!(url.host_str(), Some(found.host()));
            prop_assert_eq!(naive_host(&text).to_ascii_lowercase(), found.host());
            prop_assert_eq!((url.username(), url.password(), url.query(), url.fragment()), ("", None, None, None));
            prop_assert_eq!(found.as_str(), &text);
            match found.host().trim_matches(['[', ']']).parse::<IpAddr>() {
                Ok(IpAddr::V4(ip)) => prop_assert!(
                    !ip.is_private() && !ip.is_loopback() && !ip.is_link_local() && !ip.is_multicast()
                        && !ip.is_broadcast() && !ip.is_documentation() && !ip.is_unspecified()
                ),
                Ok(IpAddr::V6(ip)) => prop_assert!(ip.to_ipv4().is_none() && ip.segments()[0] >> 13 == 1),
                Err(_) => prop_assert!(found.host().contains('.')),
            }
        }
    }
}

/// Python's `urlsplit`, the C library's `inet_aton` and Python's own table of public addresses: three
/// readers that share no code with the policy.
#[test]
fn what_passes_is_public_to_python_and_to_the_c_library() {
    const SCRIPT: &str = r#"
import ipaddress, json, socket, sys, urllib.parse
for line in open(sys.argv[1], encoding="ascii"):
    text, host = json.loads(line)
    url = urllib.parse.urlsplit(text)
    assert url.scheme == "https" and url.username is None, text
    assert not url.query and not url.fragment, text
    assert url.hostname == host.strip("[]"), (text, host)
    if ":" in url.hostname:
        assert ipaddress.ip_address(url.hostname).is_global, text
        continue
    try:
        address = socket.inet_aton(url.hostname)
    except OSError:
        assert "." in url.hostname, text
    else:
        assert ipaddress.ip_address(address).is_global, text
        assert socket.inet_ntoa(address) == url.hostname, text
"#;
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        TestRng::deterministic_rng(RngAlgorithm::ChaCha),
    );
    let (texts, mut accepted) = (nearly(), BTreeSet::new());
    for _ in 0..30_000 {
        let text = texts.new_tree(&mut runner).expect("a text").current();
        if host(&text).is_some() {
            accepted.insert(text);
        }
    }
    assert!(accepted.len() > 1_000, "{} are too few to mean anything", accepted.len());
    let lines: String = accepted
        .iter()
        .map(|text| serde_json::json!([text, host(text).expect("accepted")]).to_string() + "\n")
        .collect();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("accepted");
    fs::write(&file, lines).expect("the texts");
    let output = Command::new("python3")
        .args(["-I", "-S", "-c", SCRIPT])
        .arg(&file)
        .output()
        .expect("python3 is needed for this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_https_remote_of_the_corpus_passes() {
    let bundle = std::env::var_os("FDROID_BB_CORPUS")
        .map_or_else(|| "../shared/corpus".into(), PathBuf::from)
        .join("fdroiddata.bundle");
    if !bundle.exists() {
        skip::skipped(&format!("the corpus's remotes: no {}", bundle.display()));
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let git = |args: &[&str]| {
        let output =
            Command::new("git").args(args).current_dir(folder.path()).output().expect("git");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let bundle = bundle.canonicalize().expect("the bundle");
    git(&["clone", "-q", "--bare", "-b", "dev", bundle.to_str().expect("UTF-8"), "."]);
    let lines = git(&["grep", "-h", "^Repo: https:", "dev", "--", "metadata", "srclibs"]);
    let mut refused = Vec::new();
    for line in lines.lines() {
        let repo = line.trim_start_matches("Repo: ").split(';').next().expect("a URL");
        if let Some(message) = refusal(repo) {
            refused.push(format!("{repo}: {message}"));
        }
    }
    assert!(lines.lines().count() > 6_000);
    // An app that is no longer active.
    assert_eq!(refused, ["https://opensource.srlabs.de:/git/gsmmap-android.git: `:` is no port"]);
}
