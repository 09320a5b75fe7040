//! Captures that Wireshark opens (draft-ietf-opsawg-pcapng, little-endian): section header,
//! interfaces, packets with comments.

use super::escape::visible;
use std::io::{self, Write};

/// §4.1.
const SECTION_HEADER: u32 = 0x0A0D_0D0A;
/// §4.2.
const INTERFACE_DESCRIPTION: u32 = 1;
/// §4.3.
const ENHANCED_PACKET: u32 = 6;
/// §4.1: lets a reader find the byte order.
const BYTE_ORDER_MAGIC: u32 = 0x1A2B_3C4D;
/// <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcaplinktype-00.html>: Ethernet.
const LINKTYPE_ETHERNET: u16 = 1;
/// Bytes kept of a packet, at most: above every frame here.
pub const SNAP_LENGTH: u32 = 65_535;
/// Bytes of one option's text, at most: its length field has 16 bits.
pub const TEXT_MAX: usize = 4_096;

mod option {
    //! Option codes: §3.5, §4.1, §4.2, §4.3.
    pub(super) const END: u16 = 0;
    pub(super) const COMMENT: u16 = 1;
    pub(super) const SHB_HARDWARE: u16 = 2;
    pub(super) const SHB_OS: u16 = 3;
    pub(super) const SHB_USERAPPL: u16 = 4;
    pub(super) const IF_NAME: u16 = 2;
    pub(super) const IF_DESCRIPTION: u16 = 3;
    pub(super) const IF_TSRESOL: u16 = 9;
    pub(super) const EPB_FLAGS: u16 = 2;
    pub(super) const EPB_PACKETID: u16 = 5;
}

/// One packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Which interface, as [`Writer::add_interface`] said.
    pub interface: u32,
    /// When, nanoseconds since 1970-01-01 UTC.
    pub time_ns: u64,
    /// Its bytes from the Ethernet header on; more than [`SNAP_LENGTH`] are cut.
    pub data: &'a [u8],
    /// How long it was on the wire, bytes.
    pub original_len: u32,
    /// Its comment, if any: Wireshark's packet comment.
    pub comment: Option<&'a str>,
    /// Equal for the same packet on two interfaces.
    pub packet_id: u64,
    /// Whether it left the host whose interface this is (`false`: it arrived there).
    pub outbound: bool,
}

/// Writes one capture.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: W,
    interfaces: u32,
    block: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins a capture made by `application`.
    ///
    /// # Errors
    /// Errors of `out`.
    pub fn new(out: W, application: &str) -> io::Result<Self> {
        let mut writer = Self { out, interfaces: 0, block: Vec::with_capacity(2_048) };
        writer.begin(SECTION_HEADER);
        writer.u32(BYTE_ORDER_MAGIC);
        writer.u16(1); // Major version.
        writer.u16(0); // Minor version.
        writer.bytes(&u64::MAX.to_le_bytes()); // Section length: not stated.
        writer.text(option::SHB_HARDWARE, std::env::consts::ARCH);
        writer.text(option::SHB_OS, std::env::consts::OS);
        writer.text(option::SHB_USERAPPL, application);
        writer.end()?;
        Ok(writer)
    }

    /// Adds an interface; the answer is its number. All must be added before its packets.
    ///
    /// # Errors
    /// Errors of `out`.
    pub fn add_interface(&mut self, name: &str, description: &str) -> io::Result<u32> {
        self.begin(INTERFACE_DESCRIPTION);
        self.u16(LINKTYPE_ETHERNET);
        self.u16(0); // Reserved.
        self.u32(SNAP_LENGTH);
        self.text(option::IF_NAME, name);
        self.text(option::IF_DESCRIPTION, description);
        self.option(option::IF_TSRESOL, &[9]); // 10^-9 seconds.
        self.end()?;
        self.interfaces += 1;
        Ok(self.interfaces - 1)
    }

    /// Adds a packet.
    ///
    /// # Errors
    /// Errors of `out`; `InvalidInput` for an interface that was not added.
    pub fn packet(&mut self, packet: Packet<'_>) -> io::Result<()> {
        if packet.interface >= self.interfaces {
            let text = format!("no interface {} in this capture", packet.interface);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let kept = packet.data.len().min(SNAP_LENGTH as usize);
        self.begin(ENHANCED_PACKET);
        self.u32(packet.interface);
        // §4.3: the upper half of the time stands first.
        let [a, b, c, d, e, f, g, h] = packet.time_ns.to_le_bytes();
        self.bytes(&[e, f, g, h, a, b, c, d]);
        self.u32(u32::try_from(kept).expect("at most SNAP_LENGTH"));
        self.u32(packet.original_len);
        self.padded(&packet.data[..kept]);
        if let Some(comment) = packet.comment {
            self.text(option::COMMENT, comment);
        }
        // §4.3.1: bits 0 and 1 are 01 inbound, 10 outbound.
        let flags: u32 = if packet.outbound { 2 } else { 1 };
        self.option(option::EPB_FLAGS, &flags.to_le_bytes());
        self.option(option::EPB_PACKETID, &packet.packet_id.to_le_bytes());
        self.end()
    }

    /// Hands the underlying writer back, flushed.
    ///
    /// # Errors
    /// Errors of `out`.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }

    fn begin(&mut self, kind: u32) {
        self.block.clear();
        self.u32(kind);
        self.u32(0); // The length, once known.
    }

    fn end(&mut self) -> io::Result<()> {
        self.option(option::END, &[]);
        // §3.1: the total length counts itself, twice.
        let total = u32::try_from(self.block.len() + 4)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.block[4..8].copy_from_slice(&total.to_le_bytes());
        self.u32(total);
        self.out.write_all(&self.block)
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        self.u16(code);
        self.u16(u16::try_from(value.len()).expect("at most TEXT_MAX"));
        self.padded(value);
    }

    fn text(&mut self, code: u16, text: &str) {
        let text = visible(text);
        let mut ends = (0..=text.len().min(TEXT_MAX)).rev();
        let end = ends.find(|i| text.is_char_boundary(*i)).expect("0 is a boundary");
        self.option(code, &text.as_bytes()[..end]);
    }

    fn padded(&mut self, bytes: &[u8]) {
        self.bytes(bytes);
        self.block.resize(self.block.len().next_multiple_of(4), 0);
    }

    fn u16(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.block.extend_from_slice(bytes);
    }
}
