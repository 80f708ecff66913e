//! What each type of property may hold, and where it may be put in: one table, which the runtime's
//! `check_properties.py` reads too.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Deserializer};

use super::{PropertyType, Scalar};

/// The most decimal digits that are read as a number.
const DIGITS: usize = 19;

/// The table, shipped with the runtime.
const TABLE: &str = include_str!("../../templates/fdroid_bb/steps/property_types.json");

static RULES: LazyLock<BTreeMap<String, PropertyRule>> =
    LazyLock::new(|| serde_json::from_str(TABLE).unwrap_or_default());

/// What a type would hold that has no line in the table; a test has all types.
static NOTHING: PropertyRule = PropertyRule {
    means: String::new(),
    range: None,
    pattern: None,
    refused: None,
    longest: 0,
    uses: Vec::new(),
};

/// Where a property is put in. What a shell would parse is none of them: see `resolve/shell.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PropertyUse {
    /// A word of a command, or a part of one.
    Argument,
    /// A file or folder, on a worker or below the master's output directory.
    Path,
    /// A variable of the environment.
    Environment,
    /// The address of a repository.
    Url,
    /// A branch that is checked out.
    Branch,
}

/// What a type of property may hold, and where it may be put in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PropertyRule {
    /// In words that fit behind «write».
    pub means: String,
    /// The lowest and the highest number, of types that hold numbers.
    range: Option<(i64, i64)>,
    /// What a text is as a whole, in what RE2 and the crate `regex` have in common.
    #[serde(default, deserialize_with = "whole")]
    pattern: Option<Regex>,
    /// What no part of a text is.
    #[serde(default, deserialize_with = "part")]
    refused: Option<Regex>,
    /// The most characters of a text.
    #[serde(default)]
    longest: usize,
    uses: Vec<PropertyUse>,
}

fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Regex>, D::Error> {
    let text = String::deserialize(from)?;
    Regex::new(&format!(r"\A(?:{text})\z")).map(Some).map_err(serde::de::Error::custom)
}

fn part<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Regex>, D::Error> {
    let text = String::deserialize(from)?;
    Regex::new(&text).map(Some).map_err(serde::de::Error::custom)
}

impl PropertyRule {
    /// Whether `value` may be one; a number may be written as text, as forms send it.
    #[must_use]
    pub fn accepts(&self, value: &Scalar) -> bool {
        match (self.range, value) {
            (Some((low, high)), Scalar::Int(number)) => (low..=high).contains(number),
            (Some((low, high)), Scalar::Text(text)) => {
                let is_number = text.len() <= DIGITS && text.bytes().all(|b| b.is_ascii_digit());
                let number = text.parse().ok().filter(|_| is_number);
                number.is_some_and(|number| (low..=high).contains(&number))
            }
            (None, Scalar::Text(text)) => {
                text.chars().count() <= self.longest
                    && self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(text))
                    && !self.refused.as_ref().is_some_and(|refused| refused.is_match(text))
            }
            (_, Scalar::Bool(_)) | (None, Scalar::Int(_)) => false,
        }
    }

    /// Whether it holds a number.
    #[must_use]
    pub fn is_number(&self) -> bool {
        self.range.is_some()
    }

    /// Whether it may be put in there.
    #[must_use]
    pub fn fits(&self, place: PropertyUse) -> bool {
        self.uses.contains(&place)
    }
}

impl PropertyType {
    /// What a property of this type may hold, and where it may be put in.
    #[must_use]
    pub fn rule(self) -> &'static PropertyRule {
        RULES.get(self.as_str()).unwrap_or(&NOTHING)
    }
}
