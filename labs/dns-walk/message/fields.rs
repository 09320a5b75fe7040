//! Fields of data that a zone file writes in words of their own: places, prefixes of addresses,
//! parameters of services. Each gives nothing where its text would not be the same bytes again.

use super::rdata::{base64, quoted};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Thousandths of a second of arc in a degree, and the middle of both axes (RFC 1876 §2).
const DEGREE: u32 = 3_600_000;
const MIDDLE: u32 = 1 << 31;
/// Altitudes count centimetres from 100 km below sea level (RFC 1876 §2).
const DEPTH_CM: i64 = 10_000_000;

/// A place on earth (RFC 1876 §3).
pub(super) fn place(data: &[u8]) -> Option<String> {
    let [0, precisions @ ..] = <[u8; 16]>::try_from(data).ok()? else { return None };
    let word = |at: usize| u32::from_be_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]]);
    let latitude = angle(word(4), 90, ["N", "S"])?;
    let longitude = angle(word(8), 180, ["E", "W"])?;
    let altitude_cm = i64::from(word(12)) - DEPTH_CM;
    let sign = if altitude_cm < 0 { "-" } else { "" };
    let altitude = metres(altitude_cm.unsigned_abs());
    let [size, horizontal, vertical, ..] = precisions.map(precision);
    let (size, horizontal, vertical) = (size?, horizontal?, vertical?);
    Some(format!("{latitude} {longitude} {sign}{altitude} {size} {horizontal} {vertical}"))
}

fn angle(value: u32, most: u32, [above, below]: [&str; 2]) -> Option<String> {
    let away = value.abs_diff(MIDDLE);
    let side = if value < MIDDLE { below } else { above };
    let (degrees, rest) = (away / DEGREE, away % DEGREE);
    let (minutes, thousandths) = (rest / 60_000, rest % 60_000);
    let text =
        format!("{degrees} {minutes} {}.{:03} {side}", thousandths / 1000, thousandths % 1000);
    (away <= most * DEGREE).then_some(text)
}

fn metres(cm: u64) -> String {
    format!("{}.{:02}m", cm / 100, cm % 100)
}

/// A power of ten in four bits, its factor in four (RFC 1876 §2).
fn precision(byte: u8) -> Option<String> {
    let (factor, power) = (byte >> 4, byte & 15);
    let same_again = factor > 0 || power == 0;
    (factor <= 9 && power <= 9 && same_again)
        .then(|| metres(u64::from(factor) * 10_u64.pow(power.into())))
}

/// Prefixes of addresses (RFC 3123 §5).
pub(super) fn prefixes(mut data: &[u8]) -> Option<String> {
    let mut texts = Vec::new();
    while let Some((head, rest)) = data.split_first_chunk::<4>() {
        let [high, low, prefix, length] = *head;
        let (part, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
        if part.last() == Some(&0) {
            return None;
        }
        let not = if length & 0x80 == 0 { "" } else { "!" };
        let family = u16::from_be_bytes([high, low]);
        let (address, most) = match family {
            1 => (Ipv4Addr::from(filled::<4>(part)?).to_string(), 32),
            2 => (Ipv6Addr::from(filled::<16>(part)?).to_string(), 128),
            _ => return None,
        };
        if prefix > most {
            return None;
        }
        texts.push(format!("{not}{family}:{address}/{prefix}"));
        data = rest;
    }
    data.is_empty().then(|| texts.join(" "))
}

/// Bytes with zeros after them.
fn filled<const N: usize>(part: &[u8]) -> Option<[u8; N]> {
    let mut whole = [0; N];
    whole.get_mut(..part.len())?.copy_from_slice(part);
    Some(whole)
}

/// Names of parameters by their numbers (RFC 9460 §14.3.2, RFC 9461 §5).
const KEYS: [&str; 8] =
    ["mandatory", "alpn", "no-default-alpn", "port", "ipv4hint", "ech", "ipv6hint", "dohpath"];

fn key_text(key: u16) -> String {
    let known = KEYS.get(usize::from(key));
    known.map_or_else(|| format!("key{key}"), |known| (*known).to_owned())
}

/// Parameters of a service (RFC 9460 §2.1), in the order that they must have.
pub(super) fn parameters(mut data: &[u8]) -> Option<String> {
    let (mut text, mut before) = (String::new(), None);
    while let Some((head, rest)) = data.split_first_chunk::<4>() {
        let key = u16::from_be_bytes([head[0], head[1]]);
        let length = u16::from_be_bytes([head[2], head[3]]);
        let (value, rest) = rest.split_at_checked(usize::from(length))?;
        if before.replace(key).is_some_and(|before| before >= key) {
            return None;
        }
        let space = if text.is_empty() { "" } else { " " };
        let _ = write!(text, "{space}{}", key_text(key));
        if let Some(value) = parameter(key, value)? {
            let _ = write!(text, "={value}");
        }
        data = rest;
    }
    data.is_empty().then_some(text)
}

/// The value of a parameter, if it has one (RFC 9460 §7, §8); nothing where it is broken.
fn parameter(key: u16, value: &[u8]) -> Option<Option<String>> {
    let whole = !value.is_empty();
    Some(match key {
        0 if whole => {
            let keys = list::<2>(value, |pair| key_text(u16::from_be_bytes(pair)))?;
            Some(keys)
        }
        1 => Some(protocols(value)?),
        2 if !whole => None,
        3 => Some(u16::from_be_bytes(value.try_into().ok()?).to_string()),
        4 if whole => Some(list::<4>(value, |octets| Ipv4Addr::from(octets).to_string())?),
        5 if whole => Some(base64(value)),
        6 if whole => Some(list::<16>(value, |octets| Ipv6Addr::from(octets).to_string())?),
        7 if whole && std::str::from_utf8(value).is_ok() => Some(quoted(value)),
        0 | 2 | 4..=7 => return None,
        _ => whole.then(|| quoted(value)),
    })
}

/// A text, in quotes where it is more than a word.
fn word(text: &[u8]) -> String {
    let bare = |byte: &u8| byte.is_ascii_alphanumeric() || b"-,./".contains(byte);
    if text.iter().all(bare) { String::from_utf8_lossy(text).into_owned() } else { quoted(text) }
}

/// Items of `N` bytes each, with commas between them.
fn list<const N: usize>(value: &[u8], show: impl Fn([u8; N]) -> String) -> Option<String> {
    let (items, []) = value.as_chunks::<N>() else { return None };
    Some(items.iter().map(|item| show(*item)).collect::<Vec<_>>().join(","))
}

/// Names of protocols: commas and backslashes within one are escaped for the list, and then again
/// as in any text (RFC 9460 §7.1.1, appendix A.1).
fn protocols(mut value: &[u8]) -> Option<String> {
    let mut items: Vec<Vec<u8>> = Vec::new();
    while let Some((length, rest)) = value.split_first() {
        let (item, rest) = rest.split_at_checked(usize::from(*length)).filter(|_| *length > 0)?;
        let escaped = item.iter().flat_map(|byte| {
            let escape: &[u8] = if matches!(byte, b',' | b'\\') { b"\\" } else { b"" };
            escape.iter().chain(std::iter::once(byte)).copied()
        });
        items.push(escaped.collect());
        value = rest;
    }
    (!items.is_empty()).then(|| word(&items.join(&b',')))
}
