//! Bounds-checked cursors over byte slices, little- and big-endian.

use super::{DecodeError, EncodeError, Fault};

/// Reads a slice from front to back; an error names the bytes it needed.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    layer: &'static str,
    bytes: &'a [u8],
    offset: usize,
}

macro_rules! read_int {
    ($($be:ident $int:ty),*) => {$(
        #[doc = concat!("The next `", stringify!($int), "`, big-endian (network order).")]
        /// Fails with [`Fault::Short`] if too few bytes are left.
        #[inline]
        pub fn $be(&mut self, field: &'static str) -> Result<$int, DecodeError> {
            Ok(<$int>::from_be_bytes(self.array(field)?))
        }
    )*};
}

impl<'a> Reader<'a> {
    /// A reader at offset 0 of `bytes`; `layer` names the format in errors.
    #[inline]
    pub const fn new(layer: &'static str, bytes: &'a [u8]) -> Self {
        Self { layer, bytes, offset: 0 }
    }

    /// Bytes read so far.
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// Bytes left.
    #[inline]
    pub const fn remaining(&self) -> usize {
        self.bytes.len() - self.offset
    }

    /// The bytes left; does not advance.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.offset..).unwrap_or_default()
    }

    /// The next `count` bytes; `claimed_by` names the field that gave `count`.
    /// Fails with [`Fault::Short`] if too few bytes are left.
    #[inline]
    pub fn take(
        &mut self,
        count: usize,
        claimed_by: &'static str,
    ) -> Result<&'a [u8], DecodeError> {
        let had = self.remaining();
        let end = self.offset.checked_add(count);
        let Some(taken) = end.and_then(|end| self.bytes.get(self.offset..end)) else {
            return Err(self.fault(Fault::Short { needed: count, had, claimed_by }));
        };
        self.offset += count;
        Ok(taken)
    }

    /// The next `N` bytes as an array.
    /// Fails with [`Fault::Short`] if too few bytes are left.
    #[inline]
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let had = self.remaining();
        let Some((array, _)) = self.rest().split_first_chunk::<N>() else {
            return Err(self.fault(Fault::Short { needed: N, had, claimed_by: field }));
        };
        self.offset += N;
        Ok(*array)
    }

    /// The next byte.
    /// Fails with [`Fault::Short`] at the end.
    #[inline]
    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        let [byte] = self.array(field)?;
        Ok(byte)
    }

    read_int!(u16_be u16, u32_be u32, u64_be u64);

    /// An error of this layer at the current offset.
    pub const fn fault(&self, fault: Fault) -> DecodeError {
        DecodeError { layer: self.layer, offset: self.offset, fault }
    }

    /// Checks that all bytes were read; `claimed_by` names the field that set the end.
    /// Fails with [`Fault::Trailing`] if bytes are left.
    pub fn finish(self, claimed_by: &'static str) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            extra => Err(self.fault(Fault::Trailing { extra, claimed_by })),
        }
    }
}

/// Writes a slice from front to back; a write that does not fit changes nothing.
#[derive(Debug)]
pub struct Writer<'a> {
    layer: &'static str,
    bytes: &'a mut [u8],
    offset: usize,
}

macro_rules! write_int {
    ($($be:ident $int:ty),*) => {$(
        #[doc = concat!("Writes a `", stringify!($int), "`, big-endian (network order).")]
        /// Fails if it does not fit.
        #[inline]
        pub fn $be(&mut self, value: $int) -> Result<(), EncodeError> {
            self.bytes(&value.to_be_bytes())
        }
    )*};
}

impl<'a> Writer<'a> {
    /// A writer at offset 0 of `bytes`; `layer` names the format in errors.
    pub const fn new(layer: &'static str, bytes: &'a mut [u8]) -> Self {
        Self { layer, bytes, offset: 0 }
    }

    /// Bytes written so far.
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// Writes bytes unchanged.
    /// Fails if they do not fit.
    #[inline]
    pub fn bytes(&mut self, value: &[u8]) -> Result<(), EncodeError> {
        let room = self.bytes.get_mut(self.offset..).unwrap_or_default();
        let (layer, offset, needed, had) = (self.layer, self.offset, value.len(), room.len());
        let target = room.get_mut(..needed).ok_or(EncodeError { layer, offset, needed, had })?;
        target.copy_from_slice(value);
        self.offset += needed;
        Ok(())
    }

    /// Writes one byte.
    /// Fails if it does not fit.
    pub fn u8(&mut self, value: u8) -> Result<(), EncodeError> {
        self.bytes(&[value])
    }

    write_int!(u16_be u16, u32_be u32, u64_be u64);

    /// The bytes written.
    pub fn finish(self) -> &'a [u8] {
        self.bytes.get(..self.offset).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_short_read_changes_nothing_and_names_the_bytes_needed() {
        let mut reader = Reader::new("test", &[1, 2, 3]);
        assert_eq!(reader.u16_be("a"), Ok(0x0102));
        let error = reader.u32_be("b").unwrap_err();
        assert_eq!(error.fault, Fault::Short { needed: 4, had: 1, claimed_by: "b" });
        assert_eq!((error.offset, reader.remaining()), (2, 1));
        assert_eq!(reader.take(usize::MAX, "c").unwrap_err().offset, 2);
        assert_eq!(reader.u8("d"), Ok(3));
        assert_eq!(reader.finish("the test"), Ok(()));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(a: u16, b: u32, c: u64, tail: Vec<u8>) {
            let mut buffer = vec![0; 14 + tail.len()];
            let mut writer = Writer::new("test", &mut buffer);
            writer.u16_be(a).unwrap();
            writer.u32_be(b).unwrap();
            writer.u64_be(c).unwrap();
            writer.bytes(&tail).unwrap();
            prop_assert!(writer.u8(0).is_err());
            let mut reader = Reader::new("test", writer.finish());
            prop_assert_eq!(reader.u16_be("").unwrap(), a);
            prop_assert_eq!(reader.u32_be("").unwrap(), b);
            prop_assert_eq!(reader.u64_be("").unwrap(), c);
            prop_assert_eq!(reader.take(tail.len(), "").unwrap(), tail.as_slice());
            prop_assert!(reader.finish("").is_ok());
        }
    }
}
