//! Records as a zone file has them: drawn at random, printed, read by BIND's tools, and compared
//! with the same bytes in the form of RFC 3597.

use dns_walk::message::{kind_named, plain_text};
use dns_walk::text::record_text;
use hickory_proto::op::Message;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use wirelab::measure::draw::keyed;
use wirelab_tests::lab::Lab;
use wirelab_tests::page::tool;

/// Types of which every record that is drawn is right, so that BIND reads it.
const KINDS: [&str; 38] = [
    "A",
    "AAAA",
    "PTR",
    "HINFO",
    "MX",
    "TXT",
    "RP",
    "AFSDB",
    "SRV",
    "NAPTR",
    "DNAME",
    "CNAME",
    "SSHFP",
    "RRSIG",
    "NSEC",
    "TLSA",
    "SMIMEA",
    "OPENPGPKEY",
    "CSYNC",
    "SPF",
    "URI",
    "CAA",
    "LOC",
    "EUI48",
    "EUI64",
    "APL",
    "CERT",
    "KX",
    "DHCID",
    "L32",
    "LP",
    "SVCB",
    "HTTPS",
    "DS",
    "CDS",
    "CDNSKEY",
    "KEY",
    "TYPE65280",
];

/// Numbers from a seed.
struct Draw(u64, u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.1 += 1;
        keyed(self.0, self.1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.byte()).collect()
    }

    fn some(&mut self, from: u64, to: u64) -> Vec<u8> {
        let length = from + self.below(to - from + 1);
        self.bytes(usize::try_from(length).unwrap())
    }

    /// A length in one byte and as many bytes.
    fn text(&mut self) -> Vec<u8> {
        let text = self.some(0, 20);
        [vec![u8::try_from(text.len()).unwrap()], text].concat()
    }

    /// Labels of any bytes but capitals, whose case a canonical form would change.
    fn name(&mut self) -> Vec<u8> {
        let mut name = Vec::new();
        for _ in 0..self.below(4) {
            let label = self.some(1, 8).to_ascii_lowercase();
            name.push(u8::try_from(label.len()).unwrap());
            name.extend(label);
        }
        name.push(0);
        name
    }

    /// Types of records in a bitmap of one or two windows.
    fn bitmap(&mut self) -> Vec<u8> {
        let mut map = vec![0, 1, 0x40];
        if self.below(2) == 0 {
            map.extend([1, 1, 0x40 | self.byte() & 0x80]);
        }
        map
    }

    fn service(&mut self) -> Vec<u8> {
        let mut data = [self.bytes(2), self.name()].concat();
        let mut key = 1;
        while key < 20 {
            let value = match key {
                1 => {
                    let items = (0..=self.below(3)).map(|_| {
                        let item = self.some(1, 9);
                        [vec![u8::try_from(item.len()).unwrap()], item].concat()
                    });
                    items.collect::<Vec<_>>().concat()
                }
                2 => Vec::new(),
                3 => self.bytes(2),
                4 => self.bytes(8),
                5 => self.some(1, 30),
                6 => self.bytes(32),
                7 => b"/dns-query{?dns}".to_vec(),
                _ => self.some(0, 12),
            };
            data.extend(u16::try_from(key).unwrap().to_be_bytes());
            data.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
            data.extend(value);
            // The second of these needs the first.
            key += if key == 1 { 1 } else { 1 + self.below(5) };
        }
        data
    }

    fn place(&mut self) -> Vec<u8> {
        let mut data = vec![0];
        for _ in 0..3 {
            let (factor, power) = (1 + self.below(9), self.below(10));
            data.push(u8::try_from(factor << 4 | power).unwrap());
        }
        for degrees in [90, 180] {
            let most = degrees * 3_600_000;
            let away = self.below(2 * most + 1);
            data.extend(u32::try_from((1 << 31) - most + away).unwrap().to_be_bytes());
        }
        [data, self.bytes(4)].concat()
    }

    fn prefixes(&mut self) -> Vec<u8> {
        let mut data = Vec::new();
        for _ in 0..=self.below(3) {
            let (family, most) = [(1, 4), (2, 16)][usize::try_from(self.below(2)).unwrap()];
            let mut part = self.some(0, most);
            let prefix = u8::try_from(part.len() * 8).unwrap();
            while part.last() == Some(&0) {
                part.pop();
            }
            let not = self.byte() & 0x80;
            data.extend([0, family, prefix, not | u8::try_from(part.len()).unwrap()]);
            data.extend(part);
        }
        data
    }

    fn data(&mut self, kind: &str) -> Vec<u8> {
        let digest = |draw: &mut Self| [draw.bytes(2), vec![13, 2], draw.bytes(32)].concat();
        match kind {
            "A" | "AAAA" => self.bytes(if kind == "A" { 4 } else { 16 }),
            "PTR" | "DNAME" | "CNAME" => self.name(),
            "HINFO" => [self.text(), self.text()].concat(),
            "MX" | "AFSDB" | "KX" | "LP" => [self.bytes(2), self.name()].concat(),
            "TXT" | "SPF" => (0..=self.below(4)).flat_map(|_| self.text()).collect(),
            "RP" => [self.name(), self.name()].concat(),
            "SRV" => [self.bytes(6), self.name()].concat(),
            // BIND reads the expression: none.
            "NAPTR" => [self.bytes(4), b"\x01u\x00\x00".to_vec(), self.name()].concat(),
            "SSHFP" => [vec![4, 2], self.bytes(32)].concat(),
            "RRSIG" => {
                let head = [vec![0, 1, 13, 3], self.bytes(14)].concat();
                [head, self.name(), self.bytes(64)].concat()
            }
            "NSEC" => [self.name(), self.bitmap()].concat(),
            "TLSA" | "SMIMEA" => [self.bytes(3), self.some(1, 40)].concat(),
            "OPENPGPKEY" | "DHCID" => self.some(3, 60),
            "CSYNC" => [self.bytes(6), self.bitmap()].concat(),
            "URI" => [self.bytes(4), self.some(1, 40)].concat(),
            "CAA" => [self.bytes(1), b"\x05issue".to_vec(), self.some(0, 20)].concat(),
            "LOC" => self.place(),
            "EUI48" | "EUI64" => self.bytes(if kind == "EUI48" { 6 } else { 8 }),
            "APL" => self.prefixes(),
            "CERT" => [self.bytes(5), self.some(1, 40)].concat(),
            "L32" => self.bytes(6),
            "SVCB" | "HTTPS" => self.service(),
            "DS" | "CDS" => digest(self),
            "CDNSKEY" | "KEY" => [vec![1, 1, 3, 13], self.bytes(64)].concat(),
            _ => self.some(0, 30),
        }
    }
}

/// The record as hickory reads it from a message, and this project prints it.
fn as_record(kind: u16, data: &[u8]) -> Option<String> {
    let mut wire = vec![0, 1, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, b'r', 0];
    wire.extend(kind.to_be_bytes());
    wire.extend([0, 1, 0, 0, 0, 60]);
    wire.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    wire.extend(data);
    let message = Message::from_vec(&wire).ok()?;
    Some(record_text(message.answers.first()?).data)
}

/// The zone as BIND prints it.
fn compiled(program: &Path, lab: &Lab, file: &str, records: &str) -> String {
    let soa = "$ORIGIN example.\n@ 60 IN SOA a. b. 1 2 3 4 5\n@ 60 IN NS a.\n";
    std::fs::write(lab.folder.join(file), format!("{soa}{records}")).unwrap();
    let out = Command::new(program)
        .current_dir(&lab.folder)
        .args("-i none -k ignore -m ignore -M ignore -n ignore -r ignore -S ignore".split(' '))
        .args(["-T", "ignore", "-W", "ignore", "-s", "full", "-o", "-", "example", file])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    let why = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{file} in {}: {why}", lab.folder.display());
    said
}

#[test]
fn a_record_as_it_is_printed_is_the_same_record_in_a_zone_file() {
    let what = "records printed, then read by BIND";
    let Some(program) = tool(&["named-compilezone"], what) else { return };
    let rounds = if std::env::var_os("WIRELAB_FULL").is_some() { 400 } else { 40 };
    let lab = Lab::new("dns-walk");
    let (mut printed, mut shown, mut generic) = (String::new(), String::new(), String::new());
    for seed in 0..rounds {
        for kind in KINDS {
            let number = kind_named(kind).unwrap();
            let data = Draw(seed, u64::from(number) << 16).data(kind);
            let text = plain_text(number, &data);
            let own_form = !text.starts_with("\\#") || kind == "TYPE65280";
            assert!(own_form, "{kind} of seed {seed}: {text}, of {data:02x?}");
            let owner = format!("{kind}-{seed} 60 IN {kind}").to_lowercase();
            let _ = writeln!(printed, "{owner} {text}");
            // What hickory cannot read is shown by its bytes alone.
            let record = as_record(number, &data).unwrap_or(text);
            let _ = writeln!(shown, "{owner} {record}");
            let hex: String = data.iter().map(|byte| format!("{byte:02x}")).collect();
            let _ = writeln!(generic, "{owner} \\# {} {hex}", data.len());
        }
    }
    let expected = compiled(&program, &lab, "generic", &generic);
    for (file, records) in [("printed", printed), ("shown", shown)] {
        let got = compiled(&program, &lab, file, &records);
        for (got, expected) in got.lines().zip(expected.lines()) {
            assert_eq!(got, expected, "{file}");
        }
        assert_eq!(got.lines().count(), expected.lines().count(), "{file}");
    }
}

#[test]
fn what_would_not_be_the_same_bytes_again_is_printed_as_bytes() {
    for (kind, data) in [
        // A version, a precision of nothing with a power, an angle beyond the pole.
        ("LOC", "01121316800000008000000000989680"),
        ("LOC", "00051316800000008000000000989680"),
        ("LOC", "00121316ffffffff8000000000989680"),
        // A zero at the end, a family, a prefix.
        ("APL", "000108020a00"),
        ("APL", "000308010a"),
        ("APL", "000121010a"),
        // Keys out of order, a port of three bytes, an item of no bytes.
        ("SVCB", "00010000030002005000010003026832"),
        ("SVCB", "0001000003000301bb00"),
        ("HTTPS", "00010000010002006832"),
        ("EUI48", "0011223344"),
        ("NSEC", "00000240000000"),
    ] {
        let bytes: Vec<u8> = (0..data.len() / 2)
            .map(|at| u8::from_str_radix(&data[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        let text = plain_text(kind_named(kind).unwrap(), &bytes);
        assert_eq!(text, format!("\\# {} {}", bytes.len(), data.to_uppercase()), "{kind}");
    }
    let shown = |kind, data: &[u8]| plain_text(kind_named(kind).unwrap(), data);
    let place = b"\x00\x12\x16\x13\x89\x17\x2d\xd0\x70\xbe\x15\xf0\x00\x98\x8d\x20";
    assert_eq!(shown("LOC", place), "42 21 54.000 N 71 6 18.000 W -24.00m 1.00m 10000.00m 10.00m");
    let https = b"\x00\x01\x00\x00\x01\x00\x06\x02h2\x02h3\x00\x03\x00\x02\x01\xbb\
        \x00\x04\x00\x04\xcb\x00\x71\x07";
    assert_eq!(shown("HTTPS", https), "1 . alpn=h2,h3 port=443 ipv4hint=203.0.113.7");
}
