//! Banana, the encoding of Twisted's Perspective Broker: whole numbers, byte strings, and lists of
//! them. Of its two dialects this is the plain one, `none`.
//! Source: `twisted/spread/banana.py`.

use std::io::{self, Read, Write};

/// The longest byte string and the most elements of a list that are taken.
const LONGEST: usize = 64 * 1024;

/// The most bytes that one expression may have in all.
const MOST: usize = 1024 * 1024;

/// The deepest nesting that is taken.
const DEEPEST: usize = 32;

const LIST: u8 = 0x80;
const INT: u8 = 0x81;
const STRING: u8 = 0x82;
const NEGATIVE: u8 = 0x83;
const FLOAT: u8 = 0x84;
const LONG_INT: u8 = 0x85;
const LONG_NEGATIVE: u8 = 0x86;

/// What Banana can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A whole number.
    Int(i64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Several items.
    List(Vec<Item>),
}

impl From<&str> for Item {
    fn from(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }
}

impl From<i64> for Item {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl Item {
    /// A list.
    pub fn list(items: impl IntoIterator<Item = Item>) -> Self {
        Self::List(items.into_iter().collect())
    }

    /// Writes it.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Int(number) => {
                let size = number.unsigned_abs();
                let small = size < 1 << 31;
                let kind = match (*number < 0, small) {
                    (false, true) => INT,
                    (true, true) => NEGATIVE,
                    (false, false) => LONG_INT,
                    (true, false) => LONG_NEGATIVE,
                };
                head(out, size, kind)
            }
            Self::Bytes(bytes) => {
                head(out, bytes.len() as u64, STRING)?;
                out.write_all(bytes)
            }
            Self::List(items) => {
                head(out, items.len() as u64, LIST)?;
                items.iter().try_for_each(|item| item.write(out))
            }
        }
    }

    /// Reads one whole expression, of bounded size.
    ///
    /// # Errors
    /// Those of `input`; `InvalidData` for what is no Banana, or too much of it.
    pub fn read(input: &mut impl Read) -> io::Result<Self> {
        let mut budget = MOST;
        read(input, &mut budget, 0)
    }
}

fn head(out: &mut impl Write, mut number: u64, kind: u8) -> io::Result<()> {
    let mut digits = Vec::new();
    loop {
        digits.push((number & 0x7f) as u8);
        number >>= 7;
        if number == 0 {
            break;
        }
    }
    digits.push(kind);
    out.write_all(&digits)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn byte(input: &mut impl Read, budget: &mut usize) -> io::Result<u8> {
    *budget = budget.checked_sub(1).ok_or_else(|| invalid("the answer is too long"))?;
    let mut one = [0];
    input.read_exact(&mut one)?;
    Ok(one[0])
}

fn read(input: &mut impl Read, budget: &mut usize, depth: usize) -> io::Result<Item> {
    let mut number: u64 = 0;
    let mut digits: u32 = 0;
    let kind = loop {
        match byte(input, budget)? {
            kind @ 0x80.. => break kind,
            digit => {
                let shift = digits * 7;
                let shifted = u64::from(digit).checked_shl(shift);
                // Bits that would fall off make it too large as well.
                let shifted = shifted.filter(|shifted| shifted >> shift == u64::from(digit));
                number |= shifted.ok_or_else(|| invalid("the answer has too large a number"))?;
                digits += 1;
            }
        }
    };
    let signed = || i64::try_from(number).map_err(|_| invalid("the answer has too large a number"));
    let length = || {
        let length = usize::try_from(number).ok().filter(|length| *length <= LONGEST);
        length.ok_or_else(|| invalid("the answer has too long a part"))
    };
    match kind {
        INT | LONG_INT => Ok(Item::Int(signed()?)),
        NEGATIVE | LONG_NEGATIVE => Ok(Item::Int(-signed()?)),
        STRING => bytes(input, budget, length()?).map(Item::Bytes),
        // Nothing that is asked for here is one; kept as its bytes, which nothing expects.
        FLOAT => bytes(input, budget, 8).map(Item::Bytes),
        LIST if depth == DEEPEST => Err(invalid("the answer is nested too deeply")),
        LIST => (0..length()?)
            .map(|_| read(input, budget, depth + 1))
            .collect::<Result<_, _>>()
            .map(Item::List),
        _ => Err(invalid("the answer is not in the protocol of `buildbot sendchange`")),
    }
}

fn bytes(input: &mut impl Read, budget: &mut usize, length: usize) -> io::Result<Vec<u8>> {
    *budget = budget.checked_sub(length).ok_or_else(|| invalid("the answer is too long"))?;
    let mut bytes = vec![0; length];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Item;

    fn written(item: &Item) -> Vec<u8> {
        let mut out = Vec::new();
        item.write(&mut out).unwrap();
        out
    }

    fn refused(bytes: &[u8]) -> String {
        Item::read(&mut &*bytes).unwrap_err().to_string()
    }

    #[test]
    fn it_is_written_as_twisted_writes_it() {
        // From `twisted.spread.banana.encode`.
        let item =
            Item::list(["pb".into(), 0.into(), 300.into(), Item::from(-5), (1 << 40).into()]);
        let bytes = b"\x05\x80\x02\x82pb\x00\x81\x2c\x02\x81\x05\x83\x00\x00\x00\x00\x00\x20\x85";
        assert_eq!(written(&item), bytes);
    }

    #[test]
    fn what_is_too_much_is_refused_before_it_is_kept() {
        assert!(refused(b"\x7f\x7f\x7f\x7f\x82").contains("too long a part"));
        assert!(refused(b"\x7f\x7f\x7f\x7f\x80").contains("too long a part"));
        assert!(refused(&[0; 100]).contains("too large a number"));
        assert!(refused(b"\0\0\0\0\0\0\0\0\0\x02\x81").contains("too large a number"));
        assert!(refused(&b"\x01\x80".repeat(100)).contains("nested too deeply"));
        assert!(refused(b"\x01\x87").contains("protocol"));
        assert!(refused(&b"\x00\x00\x04\x80\x00\x00\x04\x82".repeat(2)).contains("fill whole"));
        let many = [
            &b"\x00\x00\x04\x80"[..],
            &[&b"\x00\x00\x04\x82"[..], "x".repeat(65536).as_bytes()].concat().repeat(20),
        ]
        .concat();
        assert!(refused(&many).contains("the answer is too long"));
    }

    fn items() -> impl Strategy<Value = Item> {
        let leaf = prop_oneof![
            (i64::MIN + 1..).prop_map(Item::Int),
            proptest::collection::vec(any::<u8>(), 0..300).prop_map(Item::Bytes),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            proptest::collection::vec(inner, 0..8).prop_map(Item::List)
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(item in items()) {
            prop_assert_eq!(Item::read(&mut &*written(&item)).unwrap(), item);
        }

        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            let _ = Item::read(&mut &*bytes);
        }
    }
}
