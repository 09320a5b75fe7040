//! NTP's packet: the 48-byte header, extension fields, and what may stand at its end.

use super::timestamp::{NtpTimestamp, ShortDuration};
use serde::{Deserialize, Serialize};
use std::fmt;
use wirelab::wire::{DecodeError, EncodeError, Fault, Reader, Writer};

const LAYER: &str = "NTP packet";
/// Bytes of the header (RFC 5905 §7.3, Figure 8).
pub const HEADER_LEN: usize = 48;
/// Where the transmit timestamp begins, the last of the header.
pub const TRANSMIT_AT: usize = HEADER_LEN - 8;
/// The version spoken here.
pub const VERSION: u8 = 4;
/// The version before it (RFC 1305), whose packets have the same header; domain controllers and
/// some public servers reply in it.
pub const VERSION_3: u8 = 3;
/// Bytes of the shortest extension field (RFC 7822 §3).
const FIELD_MIN: usize = 16;
/// Bytes of the longest legacy MAC: a key number and 20 bytes of SHA-1 (RFC 7822 §7.5.1.1).
const MAC_MAX: usize = 24;
/// Extension fields of a packet, at most: a datagram of 65507 bytes holds no more of 16.
pub const FIELDS_MAX: usize = (65_507 - HEADER_LEN) / FIELD_MIN;

/// The leap indicator (RFC 5905 Figure 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leap {
    /// No leap second is near.
    None,
    /// The last minute of the day has 61 seconds.
    Insert,
    /// The last minute of the day has 59 seconds.
    Delete,
    /// The clock is not synchronized.
    Unsynchronized,
}

/// The mode (RFC 5905 Figure 10): every value of its three bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// 0.
    Reserved,
    /// 1.
    SymmetricActive,
    /// 2.
    SymmetricPassive,
    /// 3: a request.
    Client,
    /// 4: a reply.
    Server,
    /// 5.
    Broadcast,
    /// 6.
    Control,
    /// 7.
    Private,
}

const MODES: [Mode; 8] = [
    Mode::Reserved,
    Mode::SymmetricActive,
    Mode::SymmetricPassive,
    Mode::Client,
    Mode::Server,
    Mode::Broadcast,
    Mode::Control,
    Mode::Private,
];

/// The reference identifier: four characters at stratum 0 and 1, else a number of the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReferenceId(pub [u8; 4]);

impl ReferenceId {
    /// The characters, where all are printable ASCII and none follows a zero.
    #[must_use]
    pub fn characters(self) -> Option<String> {
        let end = self.0.iter().position(|b| *b == 0).unwrap_or(4);
        let (text, padding) = self.0.split_at(end);
        let plain = !text.is_empty() && text.iter().all(|b| b.is_ascii_graphic() || *b == b' ');
        let padded = padding.iter().all(|b| *b == 0);
        (plain && padded).then(|| String::from_utf8_lossy(text).into_owned())
    }
}

/// The characters, or the bytes as an address.
impl fmt::Display for ReferenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.characters() {
            Some(text) => f.write_str(&text),
            None => write!(f, "{}", std::net::Ipv4Addr::from(self.0)),
        }
    }
}

/// The header. Every value of every field can be on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Warning of a leap second.
    pub leap: Leap,
    /// 0 to 7; higher bits are cut.
    pub version: u8,
    /// The kind of packet.
    pub mode: Mode,
    /// Hops from a reference clock; 0 for a kiss-o'-death, 16 and more for unsynchronized.
    pub stratum: u8,
    /// Longest interval between requests, log2 seconds.
    pub poll: i8,
    /// Resolution of the sender's clock, log2 seconds.
    pub precision: i8,
    /// Round trip to the reference clock.
    pub root_delay: ShortDuration,
    /// The sender's claimed error relative to the reference clock.
    pub root_dispersion: ShortDuration,
    /// The sender's reference.
    pub reference_id: ReferenceId,
    /// When the sender's clock was last set.
    pub reference: NtpTimestamp,
    /// The transmit timestamp of the request.
    pub origin: NtpTimestamp,
    /// When the request arrived (T2).
    pub receive: NtpTimestamp,
    /// When this packet left (T3).
    pub transmit: NtpTimestamp,
}

impl Header {
    /// A request that says nothing about this host but `transmit`, which should be random.
    ///
    /// //= draft-ietf-ntp-data-minimization-04 §4: zero everything but version, mode, transmit.
    #[must_use]
    pub fn request(transmit: NtpTimestamp) -> Self {
        Self {
            leap: Leap::None,
            version: VERSION,
            mode: Mode::Client,
            stratum: 0,
            poll: 0,
            precision: 0,
            root_delay: ShortDuration::default(),
            root_dispersion: ShortDuration::default(),
            reference_id: ReferenceId::default(),
            reference: NtpTimestamp::NONE,
            origin: NtpTimestamp::NONE,
            receive: NtpTimestamp::NONE,
            transmit,
        }
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        // The array has the length of what is written.
        let _fits = self.write(&mut Writer::new(LAYER, &mut bytes));
        bytes
    }

    fn write(&self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        let leap = match self.leap {
            Leap::None => 0,
            Leap::Insert => 1,
            Leap::Delete => 2,
            Leap::Unsynchronized => 3,
        };
        out.u8(leap << 6 | (self.version & 7) << 3 | self.mode as u8)?;
        out.u8(self.stratum)?;
        out.u8(self.poll.cast_unsigned())?;
        out.u8(self.precision.cast_unsigned())?;
        out.u32_be(self.root_delay.bits())?;
        out.u32_be(self.root_dispersion.bits())?;
        out.bytes(&self.reference_id.0)?;
        for time in [self.reference, self.origin, self.receive, self.transmit] {
            out.u64_be(time.bits())?;
        }
        Ok(())
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let first = reader.u8("leap, version and mode")?;
        let leap = match first >> 6 {
            0 => Leap::None,
            1 => Leap::Insert,
            2 => Leap::Delete,
            _ => Leap::Unsynchronized,
        };
        let mode = MODES[usize::from(first & 7)];
        let (stratum, poll) = (reader.u8("stratum")?, reader.u8("poll")?.cast_signed());
        let precision = reader.u8("precision")?.cast_signed();
        let root_delay = ShortDuration::from_bits(reader.u32_be("root delay")?);
        let root_dispersion = ShortDuration::from_bits(reader.u32_be("root dispersion")?);
        let reference_id = ReferenceId(reader.array("reference id")?);
        let mut time = |field| reader.u64_be(field).map(NtpTimestamp::from_bits);
        Ok(Self {
            leap,
            version: first >> 3 & 7,
            mode,
            stratum,
            poll,
            precision,
            root_delay,
            root_dispersion,
            reference_id,
            reference: time("reference timestamp")?,
            origin: time("origin timestamp")?,
            receive: time("receive timestamp")?,
            transmit: time("transmit timestamp")?,
        })
    }
}

/// An extension field (RFC 7822 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its type; what is not known is skipped.
    pub kind: u16,
    /// Its content, padding included.
    pub value: &'a [u8],
}

/// A datagram as header and the rest of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The header.
    pub header: Header,
    bytes: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads the header and looks at nothing else, so that identity can be judged before format.
    ///
    /// # Errors
    /// Fails if there are fewer bytes than a header has.
    pub fn open(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let header = Header::read(&mut Reader::new(LAYER, bytes))?;
        Ok(Self { header, bytes })
    }

    /// The extension fields; whatever follows them must be a MAC or nothing.
    ///
    /// //= RFC 7822 §3: lengths are multiples of 4, at least 16, the last at least 28 without MAC.
    ///
    /// # Errors
    /// Fails if they do not add up.
    pub fn fields(&self) -> Result<Vec<Field<'a>>, DecodeError> {
        let mut reader = Reader::new(LAYER, self.bytes);
        reader.take(HEADER_LEN, "header")?;
        let mut fields = Vec::new();
        while reader.remaining() > MAC_MAX {
            if fields.len() == FIELDS_MAX {
                let limit = FIELDS_MAX;
                let claimed = limit + 1;
                return Err(reader.fault(Fault::Long { claimed, limit, claimed_by: "fields" }));
            }
            fields.push(field(&mut reader)?);
        }
        // A key number and a digest of 16 or 20 bytes. A key number alone is a crypto-NAK, which
        // answers a request that was signed (RFC 5905 §9.2): none is here.
        let last = reader.remaining();
        if [0, 20, MAC_MAX].contains(&last) {
            return Ok(fields);
        }
        Err(reader.fault(Fault::Trailing { extra: last, claimed_by: "header and fields" }))
    }
}

fn field<'a>(reader: &mut Reader<'a>) -> Result<Field<'a>, DecodeError> {
    let at = *reader;
    let kind = reader.u16_be("field type")?;
    let length = usize::from(reader.u16_be("field length")?);
    // What is left is longer than a MAC, so a last field is of 28 bytes at least by itself.
    if length < FIELD_MIN || !length.is_multiple_of(4) {
        let expected = "a field length that is a multiple of 4 and at least 16";
        let got = length as u64;
        return Err(at.fault(Fault::Value { expected, got }));
    }
    Ok(Field { kind, value: reader.take(length - 4, "field length")? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use wirelab::wire::hex;

    /// A reply of chronyd, stratum 2, precision 2^-25, taken on loopback.
    const REPLY: &str = "24 02 06 e7 00000000 00000000 7f7f0101 ecf9d07f00000000 0123456789abcdef
                         ecf9d080 80000000 ecf9d080 80010000";

    #[test]
    fn a_reply_reads_field_by_field() {
        let bytes = hex::parse(REPLY).unwrap();
        let packet = Packet::open(&bytes).unwrap();
        let header = packet.header;
        assert_eq!((header.leap, header.version, header.mode), (Leap::None, 4, Mode::Server));
        assert_eq!((header.stratum, header.poll, header.precision), (2, 6, -25));
        assert_eq!(header.reference_id.to_string(), "127.127.1.1");
        assert_eq!(header.origin.bits(), 0x0123_4567_89ab_cdef);
        assert_eq!(header.transmit.to_string(), "ecf9d080.80010000");
        assert_eq!(packet.fields(), Ok(vec![]));
        assert_eq!(header.encode().as_slice(), bytes);
        let error = Packet::open(&bytes[..47]).unwrap_err();
        assert!(error.to_string().contains("transmit timestamp needs 8 bytes, 7 are left"));
    }

    #[test]
    fn what_follows_the_header_adds_up_or_is_refused() {
        let with = |tail: &[u8]| {
            let mut bytes = hex::parse(REPLY).unwrap();
            bytes.extend_from_slice(tail);
            Packet::open(&bytes).unwrap().fields().map(|fields| fields.len())
        };
        let field = |claimed: u16, length: usize| {
            let mut field = vec![0; length];
            field[..2].copy_from_slice(&0x0104_u16.to_be_bytes());
            field[2..4].copy_from_slice(&claimed.to_be_bytes());
            field
        };
        assert_eq!(with(&field(28, 28)), Ok(1));
        assert_eq!(with(&[field(16, 16), field(28, 28)].concat()), Ok(2));
        assert_eq!(with(&[field(16, 16), vec![1; 20]].concat()), Ok(1));
        assert_eq!(with(&[7; 20]), Ok(0), "a MAC");
        for (claimed, length) in [(0, 28), (65_532, 28), (1_352, 28), (30, 32), (12, 28), (32, 28)]
        {
            assert!(with(&field(claimed, length)).is_err(), "{claimed} of {length}");
        }
        for length in [1, 3, 4, 7, 8, 16, 19, 23] {
            assert!(with(&vec![1; length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_code_is_text_only_where_all_of_it_is() {
        assert_eq!(ReferenceId(*b"RATE").characters().as_deref(), Some("RATE"));
        assert_eq!(ReferenceId(*b"GPS\0").characters().as_deref(), Some("GPS"));
        assert_eq!(ReferenceId(*b"G\0PS").characters(), None);
        assert_eq!(ReferenceId([0; 4]).characters(), None);
    }

    proptest! {
        #[test]
        fn any_header_is_its_bytes(bytes: [u8; HEADER_LEN]) {
            prop_assert_eq!(Packet::open(&bytes).unwrap().header.encode(), bytes);
        }

        #[test]
        fn any_tail_is_fields_or_an_error(bytes in prop::collection::vec(any::<u8>(), 48..400)) {
            let packet = Packet::open(&bytes).unwrap();
            if let Ok(fields) = packet.fields() {
                let sum: usize = fields.iter().map(|f| f.value.len() + 4).sum();
                prop_assert!([0, 20, 24].contains(&(bytes.len() - HEADER_LEN - sum)));
            }
        }
    }
}
