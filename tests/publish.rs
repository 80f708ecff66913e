//! Publishing with an `fdroid` that does what a test wants; `tests/python/test_publish.py` has the
//! real one.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests may panic like the tests"
)]

mod common;

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fdroid_bb::publish::{self, Outcome, Places, Publisher};
use rawzip::{CompressionMethod, ZipArchiveWriter};
use tempfile::TempDir;

/// The program, which reads APKs.
const PROGRAM: &str = env!("CARGO_BIN_EXE_fdroid-bb");

/// Signs as fdroidserver does, seen from outside: into `repo`, and out of `unsigned`.
const SIGNS: &str = r#"
[ "$1 $2" = "publish --error-on-failed" ] || exit 2
echo "publish ${3:-nothing}"
[ -z "$3" ] && exit 0
stem=$(echo "$3" | tr : _)
[ -s "metadata/${3%:*}.yml" ] || exit 3
mv unsigned/$stem.* unsigned/${stem}_src.tar.gz repo/ 2>/dev/null
echo keys > repo/signer-index.jar
"#;

/// A manifest as aapt writes it, with these attributes: their name, resource, type and value.
fn manifest(attributes: &[(&str, u32, u8, Result<u32, &str>)]) -> Vec<u8> {
    fn chunk(kind: u16, head: &[u8], body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(kind.to_le_bytes());
        bytes.extend((8 + head.len() as u16).to_le_bytes());
        bytes.extend((8 + head.len() as u32 + body.len() as u32).to_le_bytes());
        bytes.extend([head, body].concat());
        bytes
    }
    let words =
        |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    let mut texts: Vec<&str> = attributes.iter().map(|(name, ..)| *name).collect();
    texts.extend(attributes.iter().filter_map(|(.., value)| value.err()));
    texts.push("manifest");
    let (mut offsets, mut data) = (Vec::new(), Vec::new());
    for text in &texts {
        offsets.push(data.len() as u32);
        data.extend([text.len() as u8, text.len() as u8]);
        data.extend(text.as_bytes());
        data.push(0);
    }
    data.resize(data.len().next_multiple_of(4), 0);
    let count = texts.len() as u32;
    let head = words(&[count, 0, 0x100, 28 + 4 * count, 0]);
    let pool = chunk(1, &head, &[words(&offsets), data].concat());
    let resources: Vec<u32> = attributes.iter().map(|(_, resource, ..)| *resource).collect();
    let map = chunk(0x180, &[], &words(&resources));
    let mut rows = Vec::new();
    for (i, (_, _, kind, value)) in attributes.iter().enumerate() {
        let at = |text: &str| texts.iter().position(|it| *it == text).unwrap() as u32;
        let (raw, value) = value.map_or_else(|text| (at(text), at(text)), |it| (u32::MAX, it));
        rows.extend(words(&[u32::MAX, i as u32, raw, u32::from(*kind) << 24 | 8, value]));
    }
    let name = words(&[u32::MAX, count - 1, 0x0014_0014, attributes.len() as u32, 0]);
    let element = chunk(0x102, &words(&[1, u32::MAX]), &[name, rows].concat());
    chunk(3, &[], &[pool, map, element].concat())
}

fn usual(package: &str, code: u32) -> Vec<u8> {
    manifest(&[("versionCode", 0x0101_021b, 0x10, Ok(code)), ("package", 0, 3, Err(package))])
}

/// A ZIP archive of these files, each stored or deflated.
fn zip(files: &[(&str, &[u8], bool)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut archive = ZipArchiveWriter::new(&mut bytes);
    for (name, data, is_packed) in files {
        let method = if *is_packed { CompressionMethod::DEFLATE } else { CompressionMethod::STORE };
        let (mut entry, config) =
            archive.new_file(name).compression_method(method).start().unwrap();
        let sum = if *is_packed {
            let encoder =
                flate2::write::DeflateEncoder::new(&mut entry, flate2::Compression::fast());
            let mut writer = config.wrap(encoder);
            writer.write_all(data).unwrap();
            let (encoder, sum) = writer.finish().unwrap();
            encoder.finish().unwrap();
            sum
        } else {
            let mut writer = config.wrap(&mut entry);
            writer.write_all(data).unwrap();
            writer.finish().unwrap().1
        };
        entry.finish(sum).unwrap();
    }
    archive.finish().unwrap();
    bytes
}

fn apk(package: &str, code: u32) -> Vec<u8> {
    zip(&[("classes.dex", b"code", true), ("AndroidManifest.xml", &usual(package, code), true)])
}

/// A repository, and a folder of sets beside it.
struct Yard(TempDir);

impl Yard {
    fn new(apps: &[&str]) -> Self {
        let yard = Self(tempfile::tempdir().unwrap());
        for app in apps {
            let text = "Builds:\n  - versionName: '1'\n    versionCode: 1\n    commit: v1\n";
            yard.put(&format!("repository/metadata/{app}.yml"), text);
        }
        fs::create_dir_all(yard.path("built")).unwrap();
        yard
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn put(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// What a build of version 1 gave.
    fn built(&self, app: &str) {
        let stem = format!("{app}_1");
        self.put(&format!("built/{stem}/unsigned/{stem}.apk"), apk(app, 1));
        self.put(&format!("built/{stem}/unsigned/{stem}_src.tar.gz"), "source");
        self.put(&format!("built/{stem}/repo/{stem}.log.gz"), "log");
    }

    /// How the sets end with an `fdroid` that is this script.
    fn publish(&self, script: &str, seconds: u64) -> Vec<(String, Outcome)> {
        let fdroid = self.path("fdroid");
        fs::write(&fdroid, format!("#!/bin/sh\n{script}")).unwrap();
        fs::set_permissions(&fdroid, Permissions::from_mode(0o755)).unwrap();
        let mut ends = Vec::new();
        let places = Places::new(&self.path("repository"), &self.path("built")).unwrap();
        let mut tell =
            |name: &str, end: &Outcome, _: &str| ends.push((name.to_owned(), end.clone()));
        let patience = Duration::from_secs(seconds);
        let reader = Path::new(PROGRAM);
        Publisher { places: &places, fdroid: &fdroid, reader, patience, tell: &mut tell }
            .run()
            .unwrap();
        ends
    }

    fn list(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn reason(end: &Outcome) -> &str {
    match end {
        Outcome::Refused(why) => why,
        end => panic!("{end:?}"),
    }
}

#[test]
fn a_set_is_published_whole_and_once() {
    let yard = Yard::new(&["org.example.a"]);
    yard.built("org.example.a");
    let ends = yard.publish(SIGNS, 60);
    assert_eq!(ends, [("org.example.a_1".to_owned(), Outcome::Published)]);
    let files = [
        "org.example.a_1.apk",
        "org.example.a_1.log.gz",
        "org.example.a_1_src.tar.gz",
        "signer-index.jar",
    ];
    assert_eq!(yard.list("repository/repo"), files);
    assert_eq!(yard.list("repository"), ["metadata", "repo"]);
    assert!(yard.list("built").is_empty());
    assert_eq!(yard.list("publishing"), ["lock", "ready", "taken"]);
    yard.built("org.example.a");
    let [(_, Outcome::Dropped(_))] = yard.publish(SIGNS, 60)[..] else { panic!() };
    assert!(yard.list("built").is_empty());
    // What was archived was published too.
    fs::create_dir(yard.path("repository/archive")).unwrap();
    let apk = "org.example.a_1.apk";
    let (repo, archive) = (yard.path("repository/repo"), yard.path("repository/archive"));
    fs::rename(repo.join(apk), archive.join(apk)).unwrap();
    yard.built("org.example.a");
    let [(_, Outcome::Dropped(_))] = yard.publish(SIGNS, 60)[..] else { panic!() };
    // With nothing to publish nothing is run.
    assert_eq!(yard.publish("exit 1", 60), []);
}

#[test]
fn one_that_fails_or_hangs_is_put_away_and_holds_up_no_other() {
    let yard = Yard::new(&["a.bad", "b.slow", "c.forgotten", "d.good"]);
    for app in ["a.bad", "b.slow", "c.forgotten", "d.good"] {
        yard.built(app);
    }
    let script = format!(
        r#"case "$3" in a.bad:1) echo broken; exit 1;; b.slow:1) echo slow; sleep 3600;;
        c.forgotten:1) exit 0;; esac{SIGNS}"#
    );
    let ends = yard.publish(&script, 5);
    let why: Vec<&str> = ends.iter().take(3).map(|(_, end)| reason(end)).collect();
    assert_eq!(
        why,
        [
            "`fdroid publish` failed",
            "`fdroid publish` did not end in time",
            "`fdroid publish` made no c.forgotten_1.apk"
        ]
    );
    assert_eq!(ends[3].1, Outcome::Published);
    assert_eq!(yard.list("refused"), ["a.bad_1", "b.slow_1", "c.forgotten_1"]);
    let text = fs::read_to_string(yard.path("refused/a.bad_1/reason")).unwrap();
    assert_eq!(text, "`fdroid publish` failed\nbroken");
    assert!(yard.list("built").is_empty());
    // Moved back, it is tried again; refused again, it takes the place of the old one.
    fs::rename(yard.path("refused/a.bad_1"), yard.path("built/a.bad_1")).unwrap();
    assert_eq!(yard.publish(SIGNS, 60)[0].1, Outcome::Published);
}

#[test]
fn hostile_sets_are_refused_before_fdroidserver_sees_them() {
    let apps = ["a.link", "b.other", "c.many", "d.ending", "e.two", "f.more", "g.empty", "h.none"];
    let yard = Yard::new(&apps);
    for app in apps {
        yard.built(app);
    }
    let file = |app: &str| yard.path(&format!("built/{app}_1/unsigned/{app}_1.apk"));
    let secret = yard.path("secret");
    fs::write(&secret, apk("a.link", 1)).unwrap();
    fs::remove_file(file("a.link")).unwrap();
    symlink(&secret, file("a.link")).unwrap();
    yard.put("built/b.other_1/unsigned/b.other_1.apk", apk("org.bank", 1));
    for i in 0..100 {
        yard.put(&format!("built/c.many_1/unsigned/{i}.apk"), "x");
    }
    fs::rename(file("d.ending"), file("d.ending").with_extension("aab")).unwrap();
    yard.put("built/e.two_1/unsigned/e.two_1.zip", "x");
    yard.put("built/f.more_1/config.yml", "x");
    yard.put("built/g.empty_1/unsigned/g.empty_1.apk", "");
    fs::remove_file(yard.path("repository/metadata/h.none.yml")).unwrap();
    // An upload that goes on is left alone.
    let part = yard.path("built/.fdroid-bb-part/unsigned");
    fs::create_dir_all(&part).unwrap();
    for name in ["--help_1", "i.zero_01", "j", "k_99999999999"] {
        fs::create_dir(yard.path("built").join(name)).unwrap();
    }
    symlink("/etc", yard.path("built/l.link_1")).unwrap();
    yard.put("built/m_1", "a file");
    let ends = yard.publish(SIGNS, 60);
    let ends: Vec<(&str, &str)> = ends.iter().map(|(name, end)| (&**name, reason(end))).collect();
    assert_eq!(
        ends,
        [
            ("--help_1", "its name is not APPID_VERSIONCODE"),
            ("a.link_1", "`a.link_1.apk` is no ordinary file"),
            ("b.other_1", "b.other_1.apk says it is `org.bank` 1"),
            ("c.many_1", "`unsigned` has more than 8 files"),
            ("d.ending_1", "`fdroid publish` knows no output `.aab`, only .apk and .zip"),
            ("e.two_1", "it has several outputs"),
            ("f.more_1", "it has a file `config.yml`, which is none of a build"),
            ("g.empty_1", "`g.empty_1.apk` is empty"),
            ("h.none_1", "the metadata of `h.none` has no version 1"),
            ("i.zero_01", "its name is not APPID_VERSIONCODE"),
            ("j", "its name is not APPID_VERSIONCODE"),
            ("k_99999999999", "its name is not APPID_VERSIONCODE"),
            ("l.link_1", "`l.link_1` is no folder"),
            ("m_1", "`m_1` is no folder"),
        ]
    );
    assert_eq!(yard.list("built"), [".fdroid-bb-part"]);
    assert!(part.is_dir());
    assert!(!Path::new("/etc/reason").exists());
    assert_eq!(fs::read_link(yard.path("refused/l.link_1/l.link_1")).unwrap(), Path::new("/etc"));
    assert!(yard.list("repository/repo").is_empty());
}

#[test]
fn what_is_ready_is_published_whatever_a_killed_run_left() {
    // Nothing moved yet; half of it moved; the set is gone already.
    for stage in 0..3 {
        let yard = Yard::new(&["org.example.a"]);
        yard.built("org.example.a");
        yard.put("publishing/ready/org.example.a_1/org.example.a_1.apk", "signed");
        let source = "org.example.a_1_src.tar.gz";
        let moved = if stage == 0 { "publishing/ready/org.example.a_1" } else { "repository/repo" };
        yard.put(&format!("{moved}/{source}"), "source");
        fs::rename(yard.path("built"), yard.path("publishing/taken")).unwrap();
        if stage == 2 {
            fs::remove_dir_all(yard.path("publishing/taken/org.example.a_1")).unwrap();
        }
        yard.put("publishing/view-killed/unsigned/org.example.a_1.apk", "half");
        let ends = yard.publish(SIGNS, 60);
        assert_eq!(ends, [("org.example.a_1".to_owned(), Outcome::Published)]);
        assert_eq!(yard.list("repository/repo"), ["org.example.a_1.apk", source]);
        assert!(yard.list("built").is_empty());
        assert_eq!(yard.list("publishing"), ["lock", "ready", "taken"]);
        assert!(yard.list("publishing/ready").is_empty());
    }
}

/// What the reader says of these bytes.
fn read(bytes: &[u8]) -> Result<publish::Identity, String> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    publish::read_file(file)
}

#[test]
fn an_apk_that_may_be_read_in_two_ways_is_refused() {
    let good = usual("org.example.a", 7);
    let found = read(&apk("org.example.a", 7)).unwrap();
    assert_eq!((found.package.as_str(), found.version_code), ("org.example.a", 7));
    let code = |value| ("versionCode", 0x0101_021b, 0x10, Ok(value));
    let package = ("package", 0, 3, Err("a.b"));
    let major = manifest(&[code(1), ("versionCodeMajor", 0x0101_0576, 0x10, Ok(2)), package]);
    let packed = |manifest: &[u8]| zip(&[("AndroidManifest.xml", manifest, true)]);
    assert_eq!(read(&packed(&major)).unwrap().version_code_major, 2);
    let bomb = [&good[..], &vec![0; 64 << 20][..]].concat();
    let prefixed = [b"dex\n".as_slice(), &apk("a.b", 1)].concat();
    let trailed = [apk("a.b", 1), vec![0; 100]].concat();
    let twice = zip(&[("AndroidManifest.xml", &good, true), ("AndroidManifest.xml", &good, false)]);
    let cases = [
        (b"no zip".to_vec(), "no sound ZIP"),
        (twice, "two files `AndroidManifest.xml`"),
        (zip(&[("classes.dex", b"x", false)]), "no AndroidManifest.xml"),
        (packed(&bomb), "far too large"),
        (prefixed, ""),
        (trailed, "several ZIP"),
        (packed(&manifest(&[package])), "no versionCode"),
        (packed(&manifest(&[code(1)])), "no package"),
        (packed(&manifest(&[code(1), code(2), package])), "twice"),
        // Android reads 2 here, fdroidserver 1.
        (packed(&manifest(&[code(1), ("x", 0x0101_021b, 0x10, Ok(2)), package])), "resource"),
        (packed(&manifest(&[("versionCode", 0, 0x10, Ok(1)), package])), "resource"),
        (packed(&manifest(&[code(1), ("package", 7, 3, Err("a.b"))])), "resource"),
        (packed(&manifest(&[("versionCode", 0x0101_021b, 1, Ok(1)), package])), "no number"),
        (packed(b"<manifest package='a.b'/>"), "AndroidManifest.xml: "),
    ];
    for (bytes, why) in cases {
        let said = read(&bytes).unwrap_err();
        assert!(said.contains(why), "{said:?} is not {why:?}");
    }
}

#[test]
fn overlapping_files_are_refused() {
    // The second record of the directory leads to the first file, under a longer name.
    let good = usual("a.b", 1);
    let bytes = zip(&[("AndroidManifest.xml", &good, false), ("b", &good, false)]);
    let at = bytes.windows(4).rposition(|it| it == b"PK\x01\x02").unwrap();
    let mut bad = bytes;
    bad[at + 42..at + 46].fill(0);
    assert_eq!(read(&bad).unwrap_err(), "its files overlap");
}

#[test]
fn no_damage_makes_the_reader_panic() {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % below as u64).unwrap()
    };
    let plain = usual("org.example.a", 7);
    let mut read_well = 0;
    for i in 0..20_000 {
        // The manifest, or the archive around it.
        let mut manifest = plain.clone();
        let inner = i % 2 == 0;
        let mut bytes =
            if inner { manifest.clone() } else { zip(&[("AndroidManifest.xml", &plain, true)]) };
        for _ in 0..=next(4) {
            let at = next(bytes.len());
            match next(4) {
                0 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][next(5)],
                1 => bytes[at] ^= 1 << next(8),
                2 => bytes.truncate(at.max(1)),
                _ => drop(bytes.remove(at)),
            }
            if bytes.len() < 2 {
                break;
            }
        }
        if inner {
            manifest = bytes;
            bytes = zip(&[("AndroidManifest.xml", &manifest, false)]);
        }
        read_well += usize::from(read(&bytes).is_ok());
    }
    assert!(read_well > 100, "{read_well} were read");
}

#[test]
fn the_process_that_reads_has_limits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.apk");
    fs::write(&path, apk("a.b", 3)).unwrap();
    let said = publish::ask(Path::new(PROGRAM), &path).unwrap().unwrap();
    assert_eq!(said.version_code, 3);
    // A directory of gigabytes is not read into memory, nor in all the time of the world.
    let large = File::create(&path).unwrap();
    large.set_len(1 << 36).unwrap();
    assert!(publish::ask(Path::new(PROGRAM), &path).unwrap().is_err());
    let run = common::Run::new(folder.path(), &["apk", "none.apk"]).ends(1);
    assert!(run.stderr.starts_with("error: it cannot be opened"), "{}", run.stderr);
}
