//! Whose signature a file has, by the word of apksigner, and whose it has to be.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::apk::{content, content_of_one};
use super::{Failed, PublishError, Publisher};
use crate::fdroid::scalar::Value;
use crate::fdroid::yaml::{self, Data};
use crate::process;

/// What `fdroid publish` writes for all apps: the certificates of their keys, signed with the
/// repository's, and the same as plain text.
pub(super) const SIGNERS: [&str; 2] = ["signer-index.jar", "signer-index.json"];

/// With these apksigner takes a JAR that is no APK, and the signatures of old indexes.
const OF_A_JAR: [&str; 4] = ["--min-sdk-version", "19", "--max-sdk-version", "23"];

/// The largest list of certificates that is read, in bytes. Ten thousand apps have 1.2 MB.
const MOST_SIGNERS: u64 = 8 << 20;

/// The largest `config.yml` that is read, in bytes.
const MOST_CONFIG: u64 = 1 << 20;

/// What the repository's `config.yml` says about keys.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// The SHA-256 of `repo_pubkey`, the certificate of the key that signs the index, in hexadecimal.
    repository: Option<String>,
    /// Whether files are signed with GPG too: there is a `gpgkey` or a `gpghome`.
    pub gpg: bool,
}

/// A line of `signer-index.json`.
#[derive(Deserialize)]
struct Signer {
    signer: String,
}

impl Keys {
    /// Those of a repository.
    ///
    /// # Errors
    /// When its `config.yml` cannot be read.
    pub fn read(repository: &Path) -> Result<Self, Failed> {
        let path = repository.join("config.yml");
        let text = match read(&path, MOST_CONFIG) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            read => read.map_err(|source| PublishError::Io { path: path.clone(), source })?,
        };
        let root = yaml::read(&text).map_err(|problem| PublishError::Io {
            path,
            source: io::Error::other(problem.message),
        })?;
        let mut keys = Self::default();
        let Some(Data::Map(entries)) = root.map(|root| root.data) else { return Ok(keys) };
        for (key, value) in entries {
            match as_text(&key.value) {
                Some("gpgkey" | "gpghome") => keys.gpg |= value.truthy(),
                Some("repo_pubkey") => {
                    let Data::Scalar(scalar) = &value.data else { continue };
                    let text = scalar.written.as_deref().or_else(|| as_text(&scalar.value));
                    keys.repository = text.and_then(bytes).map(|bytes| hex(&Sha256::digest(bytes)));
                }
                _ => {}
            }
        }
        Ok(keys)
    }

    /// The SHA-256 of the certificate that signs the index.
    ///
    /// # Errors
    /// When `config.yml` does not have it.
    pub fn repository(&self) -> Result<&str, Failed> {
        self.repository.as_deref().ok_or(PublishError::NoKey)
    }
}

impl Publisher<'_> {
    /// The SHA-256 sums of the certificates of an APK whose signature is good. Within: that it is not.
    ///
    /// # Errors
    /// When there is no apksigner.
    pub(super) fn signers(&self, apk: &Path) -> Result<Result<Vec<String>, String>, Failed> {
        self.ask_apksigner(apk, &[])
    }

    /// Whether a JAR holds the one file, and is signed with the repository's key. Within: why not.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn check_jar(
        &self,
        jar: &Path,
        expected: &str,
    ) -> Result<Result<(), String>, Failed> {
        let keys = Keys::read(&self.places.repository)?;
        let key = keys.repository()?;
        match content(self.reader, jar).map_err(|e| self.places.failed(jar, e))? {
            Err(why) => return Ok(Err(why)),
            Ok(found) if found != expected => {
                return Ok(Err("it has another content than what was sent".to_owned()));
            }
            Ok(_) => {}
        }
        Ok(match self.ask_apksigner(jar, &OF_A_JAR)? {
            Ok(signers) if signers == [key] => Ok(()),
            Ok(_) => Err("its signer is not `repo_pubkey` of config.yml".to_owned()),
            Err(why) => Err(why),
        })
    }

    /// The SHA-256 sums of the certificates of all apps' keys, by application id, as the machine that
    /// has them says in `folder`, with the repository's key. Within: why it does not.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn keys_of_apps(
        &self,
        folder: &Path,
    ) -> Result<Result<BTreeMap<String, String>, String>, Failed> {
        let [jar, list] = SIGNERS.map(|name| folder.join(name));
        let at = |e| self.places.failed(&list, e);
        for file in [&jar, &list] {
            if !file.is_file() {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                return Ok(Err(format!("there is no {name}")));
            }
        }
        let expected = content_of_one(SIGNERS[1], &list).map_err(at)?;
        if let Err(why) = self.check_jar(&jar, &expected)? {
            return Ok(Err(format!("{}: {why}", SIGNERS[0])));
        }
        let text = read(&list, MOST_SIGNERS).map_err(at)?;
        Ok(match serde_json::from_str::<BTreeMap<String, Signer>>(&text) {
            Ok(apps) => Ok(apps.into_iter().map(|(app, found)| (app, found.signer)).collect()),
            Err(error) => Err(format!("{}: {error}", SIGNERS[1])),
        })
    }

    fn ask_apksigner(
        &self,
        file: &Path,
        options: &[&str],
    ) -> Result<Result<Vec<String>, String>, Failed> {
        let mut command = Command::new("apksigner");
        command.args(["verify", "--print-certs"]).args(options).arg(file);
        let (is_good, said) = match process::run(&mut command, self.patience) {
            Ok(ended) => ended,
            Err(error) if error.kind() == ErrorKind::TimedOut => (false, String::new()),
            Err(error) => return Err(self.places.failed(Path::new("apksigner"), error)),
        };
        let sums = said.lines().filter_map(|line| line.split_once("certificate SHA-256 digest: "));
        let sums: Vec<String> = sums.map(|(_, sum)| sum.to_owned()).collect();
        let is_signed = is_good && !sums.is_empty();
        Ok(if is_signed { Ok(sums) } else { Err("its signature is not good".to_owned()) })
    }
}

/// The text of a file that is not larger than `most` bytes.
pub(super) fn read(path: &Path, most: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(most + 1).read_to_string(&mut text)?;
    if text.len() as u64 > most {
        return Err(io::Error::other(format!("it has more than {most} bytes")));
    }
    Ok(text)
}

fn as_text<'a>(value: &'a Value<'_>) -> Option<&'a str> {
    match value {
        Value::Str(text) => Some(text),
        _ => None,
    }
}

/// The bytes that hexadecimal digits are.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let is_hex = text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex { pairs.map(byte).collect() } else { None }
}

/// The hexadecimal digits of bytes.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}
