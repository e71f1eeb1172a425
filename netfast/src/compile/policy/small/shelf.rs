//! Things kept as they are written, each read when it is asked for: to look at one of ten thousand costs no more than to
//! look at one of ten.

use std::borrow::Cow;
use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

/// Things by number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shelf<'a, T> {
    /// Of each thing its number and where it ends, 4 bytes each, by number.
    #[serde(borrow, with = "serde_bytes")]
    index: Cow<'a, [u8]>,
    /// The things, one after the other.
    #[serde(borrow, with = "serde_bytes")]
    content: Cow<'a, [u8]>,
    #[serde(skip)]
    kind: PhantomData<T>,
}

impl<T> Default for Shelf<'_, T> {
    fn default() -> Self {
        Self { index: Cow::default(), content: Cow::default(), kind: PhantomData }
    }
}

impl<T: Serialize> Shelf<'static, T> {
    /// A shelf with these things, which come in the order of their numbers. `None`: they cannot be written.
    pub(super) fn of<'t>(things: impl Iterator<Item = (u32, &'t T)>) -> Option<Self>
    where
        T: 't,
    {
        let (mut index, mut content) = (Vec::new(), Vec::new());
        for (number, thing) in things {
            content = postcard::to_extend(thing, content).ok()?;
            index.extend(number.to_le_bytes());
            index.extend(u32::try_from(content.len()).ok()?.to_le_bytes());
        }
        Some(Self { index: index.into(), content: content.into(), kind: PhantomData })
    }
}

impl<T> Shelf<'_, T> {
    /// The thing with a number. `None`: there is none, or it cannot be read.
    pub(super) fn get<'s>(&'s self, number: u32) -> Option<T>
    where
        T: Deserialize<'s>,
    {
        #[cfg(test)]
        READ.set(READ.get() + 1);
        let (entries, _) = self.index.as_chunks();
        let place = entries.binary_search_by_key(&number, |entry| pair(*entry).0).ok()?;
        let end_of = |place: usize| entries.get(place).map(|entry| pair(*entry).1 as usize);
        let start = if place == 0 { 0 } else { end_of(place - 1)? };
        postcard::from_bytes(self.content.get(start..end_of(place)?)?).ok()
    }
}

#[cfg(test)]
thread_local! {
    static READ: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// How many things this thread has asked for.
#[cfg(test)]
pub(in crate::compile::policy) fn things_read() -> usize {
    READ.get()
}

/// The two numbers of an entry.
pub(super) fn pair(entry: [u8; 8]) -> (u32, u32) {
    let [first, second]: [[u8; 4]; 2] = bytemuck::cast(entry);
    (u32::from_le_bytes(first), u32::from_le_bytes(second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_found_by_their_numbers() {
        let things = [(3, "three".to_owned()), (7, String::new()), (90_000, "many".to_owned())];
        let shelf = Shelf::of(things.iter().map(|(number, thing)| (*number, thing))).unwrap();
        let bytes = postcard::to_stdvec(&shelf).unwrap();
        let read: Shelf<'_, String> = postcard::from_bytes(&bytes).unwrap();
        for (number, thing) in &things {
            assert_eq!(read.get(*number).as_ref(), Some(thing));
        }
        assert_eq!([0, 4, 8, 90_001].map(|number| read.get(number)), [None, None, None, None]);
        assert_eq!(Shelf::<String>::default().get(0), None);
    }

    #[test]
    fn what_is_torn_is_not_found() {
        let shelf = Shelf::of([(1, &"whole".to_owned())].into_iter()).unwrap();
        let bytes = postcard::to_stdvec(&shelf).unwrap();
        for length in 0..bytes.len() {
            let torn = postcard::from_bytes::<Shelf<'_, String>>(&bytes[..length]);
            assert!(torn.is_err(), "{length} of {} bytes", bytes.len());
        }
    }
}
