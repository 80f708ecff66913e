//! The fast path against the full parser, on damaged files: what the one takes, the other reads the
//! same. `FDROID_BB_MUTANTS` sets how many (100,000 unless told).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails loudly")]

mod metadata;

use std::io::Write as _;
use std::path::Path;
use std::{env, fs, io, thread};

use fdroid_bb::fdroid::AppId;
use fdroid_bb::parse;

/// What is put into files.
#[rustfmt::skip]
const PIECES: [&str; 64] = [
    "\t", " ", "  ", "    ", "\"", "'", ":", ": ", "#", " #", "- ", "-", "é", "\u{200b}", "\n", "\n\n",
    "|", ">", "|-", ">-", "|+", "|2", "[", "]", "{", "}", "{}", ",", "&a ", "*a", "!", "!!str ", "%", "@",
    "`", "?", "? ", "\\", "\\n", "0", "1", ".", "1e5", "_", "~", "null", "\r", "\r\n", "---\n", "...\n",
    "<<: ", "\u{85}", "\u{feff}", "\u{2028}", "=", "''", "\"\"", "\n  ", "\n    ", "\n# c\n", " \n", "a: b\n",
    "2020-01-01", "-1",
];

/// A small generator (xorshift64*), so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(high).unwrap() % limit.max(1)
    }

    fn piece(&mut self) -> &'static [u8] {
        PIECES[self.below(PIECES.len())].as_bytes()
    }
}

/// Damages `bytes` once.
fn damage(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    let lines = |bytes: &[u8]| -> Vec<Vec<u8>> {
        bytes.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect()
    };
    match random.below(14) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        1 if at < bytes.len() => bytes[at] = b" \t\n:#-'\"|>{}[]&*!0aA"[random.below(20)],
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..(at + 1 + random.below(6)).min(bytes.len()))),
        4..=6 => drop(bytes.splice(at..at, random.piece().iter().copied())),
        7 => {
            let from = random.below(other.len() + 1);
            let to = (from + random.below(80)).min(other.len());
            drop(bytes.splice(at..at, other[from..to].iter().copied()));
        }
        kind => {
            let mut all = lines(bytes);
            if all.is_empty() {
                return;
            }
            let (a, b) = (random.below(all.len()), random.below(all.len()));
            match kind {
                8 => all.insert(b, all[a].clone()),
                9 => drop(all.remove(a)),
                10 => all.swap(a, b),
                // At the indentation, at the value, or at the end of a line.
                11 => drop(all[a].splice(0..0, random.piece().iter().copied())),
                12 => {
                    let value = all[a].windows(2).position(|two| two == b": " || two == b"- ");
                    let at = value.map_or(0, |at| at + 2);
                    drop(all[a].splice(at..at, random.piece().iter().copied()));
                }
                _ => {
                    let at = all[a].len() - usize::from(all[a].ends_with(b"\n"));
                    drop(all[a].splice(at..at, random.piece().iter().copied()));
                }
            }
            *bytes = all.concat();
        }
    }
}

/// The fixtures, those of the fast path's shape many times, and small files of the corpus.
fn sources(id: &AppId) -> Vec<Vec<u8>> {
    let fixtures = metadata::files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/metadata"));
    let fixtures = fixtures.iter().map(|(_, path)| fs::read(path).unwrap());
    let mut sources: Vec<_> = fixtures
        .flat_map(|bytes| {
            let times = if parse::agree(id, &bytes) { 20 } else { 1 };
            vec![bytes; times]
        })
        .collect();
    if let Some(corpus) = metadata::corpus() {
        for folder in ["fdroiddata/metadata", "metadata"] {
            let files = metadata::files(&corpus.join(folder));
            let small = files.iter().step_by(3).map(|(_, path)| fs::read(path).unwrap());
            sources.extend(small.filter(|bytes| bytes.len() < 2_500));
        }
    }
    sources
}

#[test]
fn what_the_fast_path_takes_the_full_parser_reads_the_same() {
    let wanted = env::var("FDROID_BB_MUTANTS").map_or(100_000, |text| text.parse().unwrap());
    let id = &AppId::new("org.example").unwrap();
    let sources = &sources(id);
    let taken: usize = thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|worker: u64| {
                scope.spawn(move || {
                    let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ worker);
                    let mut taken = 0;
                    for _ in 0..wanted / 2 {
                        let mut bytes = sources[random.below(sources.len())].clone();
                        for _ in 0..=random.below(3) {
                            let other = &sources[random.below(sources.len())];
                            damage(&mut bytes, other, &mut random);
                        }
                        taken += usize::from(check(id, &bytes));
                    }
                    taken
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    let mut stderr = io::stderr();
    writeln!(stderr, "{taken} of {wanted} mutants taken by the fast path").unwrap();
    assert!(taken > wanted / 50, "only {taken} of {wanted} mutants were taken");
}

/// Whether the fast path takes `bytes`; shows them where it should not have.
fn check(id: &AppId, bytes: &[u8]) -> bool {
    std::panic::catch_unwind(|| parse::agree(id, bytes)).unwrap_or_else(|_| {
        panic!("the two differ on this file:\n{}", String::from_utf8_lossy(bytes))
    })
}
