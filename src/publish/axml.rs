//! Android's binary XML: the attributes of the first element of an `AndroidManifest.xml`.
//!
//! What is read was written by strangers, and is read again by others: by fdroidserver, which goes
//! by the names of attributes, and by Android, which goes by the numbers of resources. So only
//! what all of them read alike is accepted; everything else is refused. The layout is that of
//! `ResourceTypes.h` of Android's frameworks/base.

use super::apk::Identity;
use crate::fdroid::AppId;
use crate::text::shown;

/// `ResChunk_header`s, by their type.
const STRINGS: u16 = 0x0001;
const FILE: u16 = 0x0003;
const NAMESPACE: u16 = 0x0100;
const ELEMENT: u16 = 0x0102;
const RESOURCES: u16 = 0x0180;

/// `Res_value`s, by their type.
const STRING: u8 = 0x03;
const DECIMAL: u8 = 0x10;
const HEXADECIMAL: u8 = 0x11;

/// The resources of attributes that Android looks for: `android.R.attr`.
const VERSION_CODE: u32 = 0x0101_021b;
const VERSION_CODE_MAJOR: u32 = 0x0101_0576;

/// The flag of a pool whose strings are UTF-8; else they are UTF-16.
const UTF8: u32 = 0x100;

/// The size of an attribute, and what stands between the head of an element and the first one.
const ATTRIBUTE: u16 = 20;

/// No string.
const NONE: u32 = u32::MAX;

/// The longest name of an attribute and the longest package that is read, in code units.
const LONGEST: usize = 256;

/// What the `<manifest>` of a binary `AndroidManifest.xml` says.
///
/// # Errors
/// Why it is not one that everybody reads alike.
pub fn read(bytes: &[u8]) -> Result<Identity, String> {
    let file = Bytes(bytes);
    let (kind, head, whole) = file.chunk(0)?;
    if kind != FILE || head != 8 || whole.0.len() != bytes.len() {
        return Err("it is no binary XML of one piece".to_owned());
    }
    let (mut strings, mut resources) = (None, None);
    let mut at = 8;
    loop {
        let (kind, head, chunk) = file.chunk(at)?;
        match kind {
            STRINGS if strings.is_none() => strings = Some(Strings { chunk, head }),
            RESOURCES if resources.is_none() && strings.is_some() => {
                resources = Some(Resources { chunk, head });
            }
            NAMESPACE if strings.is_some() => {}
            ELEMENT => {
                let strings = strings.ok_or("its first element comes before its strings")?;
                return manifest(&strings, resources.as_ref(), chunk, head);
            }
            _ => return Err(format!("a chunk of the type {kind:#x} comes before <manifest>")),
        }
        at += chunk.0.len();
    }
}

/// What the first element says.
fn manifest(
    strings: &Strings<'_>,
    resources: Option<&Resources<'_>>,
    chunk: Bytes<'_>,
    head: usize,
) -> Result<Identity, String> {
    // The namespace and the name of the element, then where its attributes are.
    let name = strings.get(chunk.u32(head + 4)?)?;
    if name != "manifest" {
        return Err("its first element is not <manifest>".to_owned());
    }
    if chunk.u16(head + 8)? != ATTRIBUTE || chunk.u16(head + 10)? != ATTRIBUTE {
        return Err("the attributes of <manifest> have an unusual place or size".to_owned());
    }
    let (mut package, mut code, mut major) = (None, None, None);
    for i in 0..usize::from(chunk.u16(head + 12)?) {
        let at = head + usize::from(ATTRIBUTE) * (i + 1);
        let index = chunk.u32(at + 4)?;
        let name = strings.get(index)?;
        let resource = resources.map_or(Ok(0), |resources| resources.get(index))?;
        let (kind, value) = (chunk.u8(at + 15)?, chunk.u32(at + 16)?);
        let number = || match kind {
            DECIMAL | HEXADECIMAL => Ok(value),
            _ => Err(format!("its {name} is no number")),
        };
        // Whoever goes by the name and whoever goes by the resource must find the same.
        match (name.as_str(), resource) {
            ("package", 0) => {
                if kind != STRING || chunk.u32(at)? != NONE || chunk.u32(at + 8)? != value {
                    return Err("its package is no plain text".to_owned());
                }
                once(&mut package, &name, strings.get(value)?)?;
            }
            ("versionCode", VERSION_CODE) => once(&mut code, &name, number()?)?,
            ("versionCodeMajor", VERSION_CODE_MAJOR) => once(&mut major, &name, number()?)?,
            ("package" | "versionCode" | "versionCodeMajor", _)
            | (_, VERSION_CODE | VERSION_CODE_MAJOR) => {
                return Err(format!("an attribute `{name}` is the resource {resource:#x}"));
            }
            _ => {}
        }
    }
    let package = package.ok_or("it says no package")?;
    // No other text is a package, and not all readers show other text alike.
    if AppId::new(&package).is_none() {
        return Err(format!("`{}` is no package", shown(&package)));
    }
    Ok(Identity {
        package,
        version_code: code.ok_or("it says no versionCode")?,
        version_code_major: major.unwrap_or(0),
    })
}

fn once<T>(slot: &mut Option<T>, name: &str, value: T) -> Result<(), String> {
    match slot.replace(value) {
        Some(_) => Err(format!("it says `{name}` twice")),
        None => Ok(()),
    }
}

/// The pool of strings, of which only those that are asked for are read.
struct Strings<'a> {
    chunk: Bytes<'a>,
    head: usize,
}

impl Strings<'_> {
    fn get(&self, index: u32) -> Result<String, String> {
        let (count, flags) = (self.chunk.u32(8)?, self.chunk.u32(16)?);
        if index >= count {
            return Err("it refers to a string that it does not have".to_owned());
        }
        let index = usize::try_from(index).map_err(|_| SHORT)?;
        let offset = self.chunk.u32(add(self.head, index.checked_mul(4).ok_or(SHORT)?)?)?;
        let at = add(self.chunk.size(20)?, usize::try_from(offset).map_err(|_| SHORT)?)?;
        let text = if flags & UTF8 == 0 { self.utf16(at) } else { self.utf8(at) }?;
        // A zero would end it for some who read it.
        if text.contains('\0') {
            return Err("a string of it has a zero inside".to_owned());
        }
        Ok(text)
    }

    fn utf16(&self, at: usize) -> Result<String, String> {
        let length = usize::from(self.chunk.u16(at)?);
        // A length of more than 32767 takes two units; nothing that is looked at is that long.
        if length > LONGEST {
            return Ok(String::new());
        }
        let units = (0..length).map(|i| self.chunk.u16(add(at, 2 + 2 * i)?));
        let units = units.collect::<Result<Vec<_>, _>>()?;
        String::from_utf16(&units).map_err(|_| "a string of it is no UTF-16".to_owned())
    }

    fn utf8(&self, at: usize) -> Result<String, String> {
        // The length in UTF-16, then that in bytes: of one byte each, or of two from 128 on.
        let width = |at| Ok::<_, String>(1 + usize::from(self.chunk.u8(at)? >> 7));
        let at = add(at, width(at)?)?;
        let (first, wide) = (self.chunk.u8(at)?, width(at)? == 2);
        let length = if wide {
            (usize::from(first & 0x7f) << 8) | usize::from(self.chunk.u8(at + 1)?)
        } else {
            usize::from(first)
        };
        if length > LONGEST {
            return Ok(String::new());
        }
        let start = add(at, if wide { 2 } else { 1 })?;
        let bytes = self.chunk.0.get(start..add(start, length)?).ok_or(SHORT)?;
        let text = std::str::from_utf8(bytes).map_err(|_| "a string of it is no UTF-8")?;
        Ok(text.to_owned())
    }
}

/// Which resource the first strings are the names of.
struct Resources<'a> {
    chunk: Bytes<'a>,
    head: usize,
}

impl Resources<'_> {
    /// 0 for a string that names none.
    fn get(&self, index: u32) -> Result<u32, String> {
        let index = usize::try_from(index).map_err(|_| SHORT)?;
        let at = add(self.head, index.checked_mul(4).ok_or(SHORT)?)?;
        if at >= self.chunk.0.len() { Ok(0) } else { Ok(self.chunk.u32(at)?) }
    }
}

const SHORT: &str = "it ends too early";

fn add(a: usize, b: usize) -> Result<usize, &'static str> {
    a.checked_add(b).ok_or(SHORT)
}

/// Bytes of which none are read that are not there. Numbers are little-endian.
#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn array<const N: usize>(self, at: usize) -> Result<[u8; N], &'static str> {
        let bytes = self.0.get(at..add(at, N)?).ok_or(SHORT)?;
        bytes.try_into().map_err(|_| SHORT)
    }

    fn u8(self, at: usize) -> Result<u8, &'static str> {
        self.0.get(at).copied().ok_or(SHORT)
    }

    fn u16(self, at: usize) -> Result<u16, &'static str> {
        self.array(at).map(u16::from_le_bytes)
    }

    fn u32(self, at: usize) -> Result<u32, &'static str> {
        self.array(at).map(u32::from_le_bytes)
    }

    fn size(self, at: usize) -> Result<usize, &'static str> {
        usize::try_from(self.u32(at)?).map_err(|_| SHORT)
    }

    /// The type of the chunk that begins there, the size of its head, and all of its bytes.
    fn chunk(self, at: usize) -> Result<(u16, usize, Bytes<'a>), &'static str> {
        let (head, size) = (usize::from(self.u16(at + 2)?), self.size(at + 4)?);
        let bytes = self.0.get(at..add(at, size)?).ok_or(SHORT)?;
        let is_odd = head < 8 || head > size || size % 4 != 0;
        if is_odd {
            Err("a chunk has an impossible size")
        } else {
            Ok((self.u16(at)?, head, Bytes(bytes)))
        }
    }
}
