//! The part of rtnetlink(7) that a path needs: veth pairs, addresses, neighbours, routes.
//!
//! By hand: every lab would compile `netlink-packet-route`, and the requests would be as long.

use super::error::{during, fits};
use super::sockets::set_option;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Largest answer read; a route with its metrics takes about 200 bytes.
const ANSWER_MAX: usize = 16_384;
/// The kernel answers at once; a longer silence is a broken socket.
const PATIENCE: Duration = Duration::from_secs(5);

// linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/veth.h, linux/neighbour.h.
const NLMSG_ERROR: u16 = 2;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLM_F_CAPPED: u16 = 0x100;
const NLMSGERR_ATTR_MSG: u16 = 1;
const NESTED: u16 = 0x8000;
const VETH_INFO_PEER: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const ADDR_GEN_NONE: u8 = 1;
const RTAX_LOCK: u16 = 1;
const RTAX_RTO_MIN: u16 = 13;
// linux/fib_rules.h.
const FRA_DST: u16 = 1;
const FRA_IIFNAME: u16 = 3;
const FRA_PRIORITY: u16 = 6;
const FR_ACT_TO_TBL: u8 = 1;
const HEADER: usize = 16;

/// A request under construction: header, family-specific header, attributes.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: i32, family_header: &[u8]) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(fits::<_, u16>(libc::NLM_F_REQUEST | flags).to_ne_bytes());
        // Sequence number and port are zero: requests are sent one at a time.
        bytes.extend([0; 8]);
        bytes.extend(family_header);
        Self(bytes)
    }

    /// Adds an attribute: length, kind, value, padded to four bytes.
    fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.nest(kind, |message| message.0.extend(value))
    }

    /// Adds an attribute whose value `fill` writes.
    fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.0.len();
        self.0.extend([0; 2]);
        self.0.extend(kind.to_ne_bytes());
        fill(self);
        let length = fits::<_, u16>(self.0.len() - start);
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn finish(&mut self) -> &[u8] {
        let length = fits::<_, u32>(self.0.len());
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        &self.0
    }
}

/// An end of a veth pair.
#[derive(Clone, Copy, Debug)]
pub struct VethEnd<'a> {
    /// Interface name.
    pub name: &'a str,
    /// Hardware address.
    pub mac: [u8; 6],
}

/// A rule of policy routing for IPv4 (ip-rule(8)): which packets are looked up in which table.
#[derive(Clone, Copy, Debug)]
pub struct Rule<'a> {
    /// The lowest comes first.
    pub priority: u32,
    /// Interface that the packet came from, `lo` for this host's own; any without.
    pub from_interface: Option<&'a str>,
    /// Destination network and its prefix length; any without.
    pub to: Option<(Ipv4Addr, u8)>,
    /// The table.
    pub table: u8,
}

/// A netlink socket in the namespace of the thread that opened it.
#[derive(Debug)]
pub struct Netlink(Socket);

impl Netlink {
    /// Opens a connection.
    ///
    /// # Errors
    /// The error of `socket`.
    pub fn open() -> io::Result<Self> {
        let protocol = Protocol::from(libc::NETLINK_ROUTE);
        let socket = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(protocol))?;
        // For error messages as text. Kernels before 4.12 have none.
        let _ = set_option(&socket, libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, 1_i32);
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(socket))
    }

    /// Sends a request; returns the answer's payload, empty for a bare acknowledgement.
    fn ask(&self, what: &str, mut message: Message) -> io::Result<Vec<u8>> {
        self.exchange(message.finish()).map_err(during(what))
    }

    fn exchange(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        self.0.send(request)?;
        let mut answer = vec![0; ANSWER_MAX];
        let length = (&self.0).read(&mut answer)?;
        answer.truncate(length);
        let field = |at: usize| answer.get(at..at + 2).map(|b| u16::from_ne_bytes([b[0], b[1]]));
        match (field(4), field(6)) {
            (Some(NLMSG_ERROR), Some(flags)) => outcome(&answer, flags).map(|()| Vec::new()),
            (Some(_), Some(_)) => Ok(answer.split_off(HEADER.min(answer.len()))),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "short netlink answer")),
        }
    }

    /// Creates a veth pair: `here` in the calling namespace, `there` in `namespace`.
    ///
    /// # Errors
    /// The operation, the interface and the kernel's message.
    pub fn add_veth(
        &self,
        here: VethEnd<'_>,
        there: VethEnd<'_>,
        namespace: i32,
        mtu: u32,
    ) -> io::Result<()> {
        let create = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let mut message = Message::new(libc::RTM_NEWLINK, create, &link_header(0));
        let end = |message: &mut Message, end: VethEnd<'_>| {
            message
                .attribute(libc::IFLA_IFNAME, end.name.as_bytes())
                .attribute(libc::IFLA_ADDRESS, &end.mac)
                .attribute(libc::IFLA_MTU, &mtu.to_ne_bytes())
                // With one queue the kernel need not inspect each frame to choose one.
                .attribute(libc::IFLA_NUM_TX_QUEUES, &1_u32.to_ne_bytes())
                .attribute(libc::IFLA_NUM_RX_QUEUES, &1_u32.to_ne_bytes());
        };
        end(&mut message, here);
        message.nest(libc::IFLA_LINKINFO | NESTED, |message| {
            message.attribute(libc::IFLA_INFO_KIND, b"veth").nest(
                libc::IFLA_INFO_DATA | NESTED,
                |message| {
                    message.nest(VETH_INFO_PEER | NESTED, |message| {
                        message.0.extend(link_header(0));
                        end(message, there);
                        message.attribute(libc::IFLA_NET_NS_FD, &namespace.to_ne_bytes());
                    });
                },
            );
        });
        self.ask(&format!("add veth {} to {}", here.name, there.name), message).map(|_| ())
    }

    /// Disables an interface's automatic IPv6 address, which would send frames of its own.
    ///
    /// # Errors
    /// As [`Netlink::add_veth`].
    pub fn no_ipv6_address(&self, interface: &str) -> io::Result<()> {
        let mut message = change_link(interface, 0);
        message.nest(libc::IFLA_AF_SPEC | NESTED, |message| {
            message.nest(fits::<_, u16>(libc::AF_INET6) | NESTED, |message| {
                message.attribute(IFLA_INET6_ADDR_GEN_MODE, &[ADDR_GEN_NONE]);
            });
        });
        self.ask(&format!("set no IPv6 address on {interface}"), message).map(|_| ())
    }

    /// Limits the bytes and segments of super-frames; the kernel segments larger ones before.
    ///
    /// # Errors
    /// As [`Netlink::add_veth`].
    pub fn limit_super_frames(&self, interface: &str, bytes: u32, segments: u32) -> io::Result<()> {
        let mut message = change_link(interface, 0);
        message
            .attribute(libc::IFLA_GSO_MAX_SEGS, &segments.to_ne_bytes())
            .attribute(libc::IFLA_GSO_MAX_SIZE, &bytes.to_ne_bytes());
        self.ask(&format!("limit super-frames of {interface}"), message).map(|_| ())
    }

    /// Sets an interface up.
    ///
    /// # Errors
    /// As [`Netlink::add_veth`].
    pub fn set_up(&self, interface: &str) -> io::Result<()> {
        self.ask(&format!("set up {interface}"), change_link(interface, libc::IFF_UP)).map(|_| ())
    }

    /// Sets an interface up without ARP, neighbour discovery or multicast reports (`IFF_NOARP`):
    /// all its neighbours are static.
    ///
    /// # Errors
    /// As [`Netlink::add_veth`].
    pub fn set_up_silent(&self, interface: &str) -> io::Result<()> {
        let message = change_link(interface, libc::IFF_UP | libc::IFF_NOARP);
        self.ask(&format!("set up {interface}"), message).map(|_| ())
    }

    /// Adds the address `own` to an interface (by index), as /32 or /128.
    ///
    /// An IPv6 address is usable at once: no duplicate address detection (RFC 4862 §5.4).
    ///
    /// # Errors
    /// As [`Netlink::add_veth`].
    pub fn add_address(&self, interface: u32, own: impl Into<IpAddr>) -> io::Result<()> {
        let own = own.into();
        let bytes = octets(own);
        // struct ifaddrmsg: family, prefix length, flags, scope, index.
        let flags = if own.is_ipv6() { fits(libc::IFA_F_NODAD) } else { 0 };
        let mut header = vec![family(own), bits(own), flags, 0];
        header.extend(interface.to_ne_bytes());
        let create = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let mut message = Message::new(libc::RTM_NEWADDR, create, &header);
        message.attribute(libc::IFA_LOCAL, &bytes).attribute(libc::IFA_ADDRESS, &bytes);
        self.ask(&format!("add address {own}"), message).map(|_| ())
    }

    /// Adds a permanent neighbour entry for `peer` on an interface (by index).
    ///
    /// # Errors
    /// As [`Netlink::add_veth`].
    pub fn add_neighbour(
        &self,
        interface: u32,
        peer: impl Into<IpAddr>,
        mac: [u8; 6],
    ) -> io::Result<()> {
        let peer = peer.into();
        // struct ndmsg: family, padding, index, state, flags, type.
        let mut header = vec![family(peer), 0, 0, 0];
        header.extend(interface.to_ne_bytes());
        header.extend(libc::NUD_PERMANENT.to_ne_bytes());
        header.extend([0; 2]);
        let create = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
        let mut message = Message::new(libc::RTM_NEWNEIGH, create, &header);
        message.attribute(libc::NDA_DST, &octets(peer)).attribute(libc::NDA_LLADDR, &mac);
        self.ask(&format!("add neighbour {peer}"), message).map(|_| ())
    }

    /// Routes `peer` over an interface (by index), with a minimum for TCP's retransmission timeout.
    ///
    /// The minimum is whole milliseconds; without its lock bit the kernel ignores it.
    ///
    /// # Errors
    /// As [`Netlink::add_veth`].
    pub fn add_route(
        &self,
        interface: u32,
        peer: impl Into<IpAddr>,
        rto_min: Option<Duration>,
    ) -> io::Result<()> {
        let peer = peer.into();
        let create = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let mut message = Message::new(libc::RTM_NEWROUTE, create, &route_header(peer));
        message
            .attribute(libc::RTA_DST, &octets(peer))
            .attribute(libc::RTA_OIF, &interface.to_ne_bytes());
        if let Some(floor) = rto_min {
            let ms = u32::try_from(floor.as_millis())
                .map_err(|_| io::Error::other("a retransmission timeout above 49 days"))?;
            message.nest(libc::RTA_METRICS | NESTED, |message| {
                message
                    .attribute(RTAX_LOCK, &(1_u32 << RTAX_RTO_MIN).to_ne_bytes())
                    .attribute(RTAX_RTO_MIN, &ms.to_ne_bytes());
            });
        }
        self.ask(&format!("add route to {peer}"), message).map(|_| ())
    }

    /// Routes an IPv4 network over an interface (by index) in a table other than the main one, with
    /// the source address `source` for sockets that have none.
    ///
    /// # Errors
    /// As [`Netlink::add_veth`].
    pub fn add_route_in(
        &self,
        table: u8,
        (network, prefix): (Ipv4Addr, u8),
        interface: u32,
        source: Ipv4Addr,
    ) -> io::Result<()> {
        let create = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let mut header = route_header(network.into());
        (header[1], header[4]) = (prefix, table);
        let mut message = Message::new(libc::RTM_NEWROUTE, create, &header);
        message
            .attribute(libc::RTA_DST, &network.octets())
            .attribute(libc::RTA_OIF, &interface.to_ne_bytes())
            .attribute(libc::RTA_PREFSRC, &source.octets());
        self.ask(&format!("add route to {network}/{prefix} in table {table}"), message).map(|_| ())
    }

    /// Adds a rule.
    ///
    /// # Errors
    /// As [`Netlink::add_veth`].
    pub fn add_rule(&self, rule: Rule<'_>) -> io::Result<()> {
        let create = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        self.ask(&format!("add {rule:?}"), rule_message(libc::RTM_NEWRULE, create, rule)).map(drop)
    }

    /// Removes a rule.
    ///
    /// # Errors
    /// As [`Netlink::add_veth`].
    pub fn remove_rule(&self, rule: Rule<'_>) -> io::Result<()> {
        let message = rule_message(libc::RTM_DELRULE, libc::NLM_F_ACK, rule);
        self.ask(&format!("remove {rule:?}"), message).map(drop)
    }

    /// The minimum retransmission timeout of the route to `peer`, read back.
    ///
    /// # Errors
    /// As [`Netlink::add_veth`].
    pub fn route_rto_min(&self, peer: impl Into<IpAddr>) -> io::Result<Option<Duration>> {
        let peer = peer.into();
        let header = look_up_header(peer);
        let mut message = Message::new(libc::RTM_GETROUTE, 0, &header);
        message.attribute(libc::RTA_DST, &octets(peer));
        let route = self.ask(&format!("look up route to {peer}"), message)?;
        let attributes = route.get(header.len()..).unwrap_or_default();
        let metrics = find(attributes, libc::RTA_METRICS).unwrap_or_default();
        let ms = find(metrics, RTAX_RTO_MIN).and_then(|value| value.first_chunk::<4>());
        Ok(ms.map(|ms| Duration::from_millis(u32::from_ne_bytes(*ms).into())))
    }
}

fn family(address: IpAddr) -> u8 {
    fits(if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 })
}

/// Bits of an address of this family.
const fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// `struct ifinfomsg`: family, type, index, flags to set, mask of flags to change.
fn link_header(flags: i32) -> [u8; 16] {
    let mut header = [0; 16];
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..].copy_from_slice(&flags.to_ne_bytes());
    header
}

/// A request to set flags, and attributes to come, of an interface.
fn change_link(interface: &str, flags: i32) -> Message {
    let mut message = Message::new(libc::RTM_NEWLINK, libc::NLM_F_ACK, &link_header(flags));
    message.attribute(libc::IFLA_IFNAME, interface.as_bytes());
    message
}

/// `struct rtmsg` of a unicast route to one host in the main table.
fn route_header(peer: IpAddr) -> [u8; 12] {
    let (table, protocol) = (libc::RT_TABLE_MAIN, libc::RTPROT_STATIC);
    let (scope, kind) = (libc::RT_SCOPE_LINK, libc::RTN_UNICAST);
    [family(peer), bits(peer), 0, 0, table, protocol, scope, kind, 0, 0, 0, 0]
}

fn rule_message(kind: u16, flags: i32, rule: Rule<'_>) -> Message {
    let prefix = rule.to.map_or(0, |(_, prefix)| prefix);
    // struct fib_rule_hdr: family, lengths of both prefixes, TOS, table, padding, action, flags.
    let family = fits(libc::AF_INET);
    let header = [family, prefix, 0, 0, rule.table, 0, 0, FR_ACT_TO_TBL, 0, 0, 0, 0];
    let mut message = Message::new(kind, flags, &header);
    message.attribute(FRA_PRIORITY, &rule.priority.to_ne_bytes());
    if let Some((network, _)) = rule.to {
        message.attribute(FRA_DST, &network.octets());
    }
    if let Some(interface) = rule.from_interface {
        message.attribute(FRA_IIFNAME, &[interface.as_bytes(), b"\0"].concat());
    }
    message
}

/// The same for a look-up, which has no table, protocol, scope or type.
fn look_up_header(peer: IpAddr) -> [u8; 12] {
    [family(peer), bits(peer), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// The value of the first attribute of this kind.
fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    // Each iteration consumes at least an attribute's four-byte header.
    while let Some(&[l0, l1, k0, k1]) = attributes.first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = attributes.get(4..length)?;
        if u16::from_ne_bytes([k0, k1]) & !NESTED == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

/// The result in an `NLMSG_ERROR`: errno 0 is success.
fn outcome(answer: &[u8], flags: u16) -> io::Result<()> {
    let errno = answer.get(HEADER..HEADER + 4).and_then(|bytes| bytes.first_chunk::<4>());
    let Some(errno) = errno.map(|bytes| -i32::from_ne_bytes(*bytes)) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "short netlink error"));
    };
    if errno == 0 {
        return Ok(());
    }
    let error = io::Error::from_raw_os_error(errno);
    if flags & NLM_F_ACK_TLVS == 0 {
        return Err(error);
    }
    // The request comes back first: its header alone if capped, else all of it.
    let echoed = answer.get(HEADER + 4..HEADER + 8).and_then(|bytes| bytes.first_chunk::<4>());
    let whole: usize = echoed.map_or(HEADER, |length| fits(u32::from_ne_bytes(*length)));
    let skip = if flags & NLM_F_CAPPED == 0 { whole.next_multiple_of(4) } else { HEADER };
    let words = answer.get(HEADER + 4 + skip..).and_then(|rest| find(rest, NLMSGERR_ATTR_MSG));
    Err(match words {
        Some(words) => {
            let words = String::from_utf8_lossy(words);
            io::Error::new(error.kind(), format!("{error}: {}", words.trim_end_matches('\0')))
        }
        None => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_attributes_are_found() {
        let mut message = Message::new(0, 0, &[]);
        message.attribute(1, b"odd").nest(2 | NESTED, |inner| {
            inner.attribute(13, &7_u32.to_ne_bytes());
        });
        let bytes = message.finish()[HEADER..].to_vec();
        assert_eq!(find(&bytes, 1), Some(&b"odd"[..]));
        let nested = find(&bytes, 2).unwrap();
        assert_eq!(find(nested, 13), Some(&7_u32.to_ne_bytes()[..]));
        assert_eq!(find(&bytes, 3), None);
        assert_eq!(
            find(&[1, 0, 1, 0, 9], 1),
            None,
            "a length below its own header ends the search"
        );
    }
}
