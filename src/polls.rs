//! When repositories are asked, and how often: what the runtime's `placement.py` and
//! `repository.py` do, worked out beforehand.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::fdroid::AppId;
use crate::resolve::apps::{Poller, Watch};

/// What `placement.py` puts before an id.
const SALT: &[u8] = b"fdroid-bb-589 ";

/// Apps that share a repository and what is watched of it, and so share the call.
#[derive(Debug)]
pub struct Repository<'a> {
    /// The host that is asked.
    pub host: &'a str,
    /// The seconds between two calls: the least of its apps'.
    pub interval: i64,
    /// The app whose place in the interval it has.
    pub first: &'a AppId,
    /// Its apps, in order.
    pub apps: Vec<&'a AppId>,
}

/// The second within `interval` at which an app has its turn (`placement.place`).
#[must_use]
pub fn place(id: &AppId, interval: i64) -> i64 {
    let digest = Sha256::new().chain_update(SALT).chain_update(id.as_str()).finalize();
    let number = digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
    i64::try_from(number % interval.max(1).unsigned_abs()).unwrap_or_default()
}

/// The first moment after `now` at which an app has its turn, both in Unix time
/// (`placement.next_turn`).
#[must_use]
pub fn next_turn(id: &AppId, interval: i64, now: i64) -> i64 {
    let offset = place(id, interval);
    ((now - offset).div_euclid(interval) + 1) * interval + offset
}

/// The repositories that `pollers`, in order of their ids, ask.
#[must_use]
pub fn repositories<'a>(pollers: &[(&'a AppId, &'a Poller)]) -> Vec<Repository<'a>> {
    // The patterns of tags are applied to one and the same answer.
    let watched = |watch: &Watch| match watch {
        Watch::GitTags { .. } => "tags".to_owned(),
        Watch::GitTagsAndHead => "tags and HEAD".to_owned(),
        Watch::GitBranch { branch } => format!("branch {branch:?}"),
        Watch::Hg { branch } => format!("hg {branch:?}"),
        Watch::Svn => "svn".to_owned(),
    };
    let mut found: BTreeMap<(&str, String), Vec<(&AppId, &Poller)>> = BTreeMap::new();
    for &(id, poller) in pollers {
        let key = (poller.url.as_str(), watched(&poller.watch));
        found.entry(key).or_default().push((id, poller));
    }
    let first = |all: &[(&AppId, &Poller)]| {
        all.iter().enumerate().min_by_key(|(_, (id, p))| (p.interval, id.as_str())).map(|(i, _)| i)
    };
    found
        .into_values()
        .filter_map(|all| {
            let (first, poller) = *all.get(first(&all)?)?;
            let (host, interval) = (poller.url.host(), poller.interval);
            Some(Repository {
                host,
                interval,
                first,
                apps: all.iter().map(|(id, _)| *id).collect(),
            })
        })
        .collect()
}

/// Calls a minute of one that comes each `interval` seconds.
#[must_use]
pub(crate) fn per_minute(interval: i64) -> f64 {
    u32::try_from(interval).map_or(0.0, |interval| 60.0 / f64::from(interval.max(1)))
}

/// Calls a minute, for each host and in all.
#[derive(Debug, Default)]
pub struct CallRates {
    /// By host.
    pub hosts: BTreeMap<String, f64>,
    /// In all.
    pub all: f64,
}

impl CallRates {
    /// The calls to repositories.
    #[must_use]
    pub fn of(repositories: &[Repository<'_>]) -> Self {
        let mut rates = Self::default();
        for repository in repositories {
            let calls = per_minute(repository.interval);
            *rates.hosts.entry(repository.host.to_owned()).or_default() += calls;
            rates.all += calls;
        }
        rates
    }

    /// The hosts, those that are asked most often first.
    #[must_use]
    pub fn busiest(&self) -> Vec<(&str, f64)> {
        let mut hosts: Vec<_> =
            self.hosts.iter().map(|(host, calls)| (host.as_str(), *calls)).collect();
        hosts.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
        hosts
    }
}

#[cfg(test)]
mod tests {
    use super::{next_turn, place};
    use crate::fdroid::AppId;

    #[test]
    fn places_are_those_of_the_runtime() {
        // The value that tests/python/test_placement.py holds `placement.py` to.
        let id = AppId::new("org.fdroid.fdroid").unwrap();
        assert_eq!(place(&id, 6 * 3600), 15_044);
        let turn = next_turn(&id, 3600, 1_000_000);
        assert_eq!(turn.rem_euclid(3600), place(&id, 3600));
        assert!(turn > 1_000_000 && turn <= 1_003_600);
    }
}
