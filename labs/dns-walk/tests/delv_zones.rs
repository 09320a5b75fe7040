//! The zones whose verdicts are compared: written here, signed by BIND's tools, served by NSD.

use crate::servers::{Running, endpoint, program};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Honest servers: one per level, and one with every zone for delv.
pub(crate) const ROOT: &str = "127.9.1.1";
pub(crate) const TLD: &str = "127.9.1.2";
pub(crate) const LEAF: &str = "127.9.1.3";
pub(crate) const SUB: &str = "127.9.1.5";
pub(crate) const ALL: &str = "127.9.1.4";
/// Lying proxies in front of them.
pub(crate) const LYING_TLD: &str = "127.9.2.2";
pub(crate) const LYING_LEAF: &str = "127.9.2.3";
pub(crate) const LYING_ALL: &str = "127.9.2.4";

/// How a zone is signed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sign {
    /// As dnssec-keygen names it; none: not at all.
    pub(crate) algorithm: Option<&'static str>,
    /// More words for dnssec-signzone: how absences are proved, from when until when.
    pub(crate) words: &'static [&'static str],
    /// DS records in the zone above.
    pub(crate) ds: Ds,
}

/// The DS records that the zone above has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ds {
    /// As dnssec-signzone writes them: SHA-256.
    Right,
    /// With a digest that dnssec-dsfromkey makes.
    Digest(&'static str),
    /// Two, of which one is of no key.
    OneWrong,
    /// Of another key.
    Other,
    /// Of an unassigned algorithm.
    UnknownAlgorithm,
    /// Of an unknown algorithm, and the right one.
    OneUnknown,
    /// With an unassigned digest.
    UnknownDigest,
    /// SHA-256 of another key beside the right one in SHA-1.
    Sha1Beside,
    /// Right in all but the number of the algorithm.
    WrongAlgorithm,
    /// Right in all but the key's number.
    WrongTag,
    /// None.
    Missing,
}

/// A zone as it was signed.
#[derive(Clone, Debug)]
pub(crate) struct Zone {
    pub(crate) origin: String,
    /// Its servers, besides the one with every zone.
    pub(crate) host: &'static str,
    /// The file that is loaded.
    pub(crate) file: PathBuf,
    /// DS records for the zone above, as lines.
    pub(crate) ds: Vec<String>,
    /// The files of its keys, without their ends: the one that signs keys, the one for records.
    pub(crate) keys: Vec<String>,
}

/// Runs a tool and gives what it printed.
pub(crate) fn run(folder: &Path, name: &str, words: &[&str]) -> String {
    let mut command = program(name);
    let done = command.args(words).current_dir(folder).stdin(Stdio::null()).output().unwrap();
    let complaint = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{name} {words:?}: {complaint}");
    String::from_utf8(done.stdout).unwrap()
}

/// A key that dnssec-keygen refuses to make: RSA with 512 bits, made by OpenSSL for this test.
const RSA512: &str = "\
Private-key-format: v1.3
Algorithm: 8 (RSASHA256)
Modulus: w3RAvUu8yuxxEPmNNqRffShb9p9mG9qF6piCyr163jdvg4G58EbWNuVoL8EwCX0MtctQOeJP4EkleccZ5UgqwQ==
PublicExponent: AQAB
PrivateExponent: UHtMNSY8pSpbHGxF05w3nafCxni4aPvAbOtD4AvJzjo5\
    Pnqf6hrSgjvncqW4gmxyivXmlWvH/m5bQZqYU5tq4Q==
Prime1: 4O1jr+1OgERc5zi6e0JxLokPzkuRAnsA9cS3erBeoVU=
Prime2: 3nSJZwdAPKCuPmJYIF7z1tGjy73Wr8lcNKP8plaq070=
Exponent1: JRHauRbiNi+OJClsSn4zyxiZu0Um/AKrsNWf659/qRU=
Exponent2: BLU8rzSFFINmDKXyLYU07efz6nzzDTdavzZ1Q2P0K5U=
Coefficient: x/J0oPqqX/pUfMvo6Jv6LSIEtr22Ff5goITwYYquJb4=
Created: 20240101000000
Publish: 20240101000000
Activate: 20240101000000
";
const RSA512_PUBLIC: &str =
    "AwEAAcN0QL1LvMrscRD5jTakX30oW/afZhvaheqYgsq9et43b4OBufBG1jblaC/BMAl9DLXLUDniT+BJJXnHGeVIKsE=";
/// Its numbers: as a key for records, and as one for keys.
const RSA512_TAGS: [(u16, u16); 2] = [(256, 51_853), (257, 51_854)];

/// Writes that key for a zone.
fn rsa512(folder: &Path, origin: &str, ksk: bool) -> String {
    let (flags, tag) = RSA512_TAGS[usize::from(ksk)];
    let name = format!("K{origin}+008+{tag}");
    let line = format!("{origin} 3600 IN DNSKEY {flags} 3 8 {RSA512_PUBLIC}\n");
    fs::write(folder.join(format!("{name}.key")), line).unwrap();
    fs::write(folder.join(format!("{name}.private")), RSA512).unwrap();
    name
}

/// A key of a zone: the name of its files.
fn keygen(folder: &Path, origin: &str, algorithm: &str, more: &[&str]) -> String {
    if algorithm == "RSA512" {
        return rsa512(folder, origin, more.contains(&"KSK"));
    }
    let mut words = vec!["-q", "-K", ".", "-a", algorithm];
    if algorithm.contains("RSA") {
        words.extend(["-b", "1024"]);
    }
    words.extend(more);
    words.push(origin);
    run(folder, "dnssec-keygen", &words).trim().to_owned()
}

/// Writes a zone and signs it.
pub(crate) fn make(
    folder: &Path,
    origin: &str,
    host: &'static str,
    lines: &[String],
    sign: Sign,
) -> Zone {
    let plain = format!("{}zone", if origin == "." { "root." } else { origin });
    fs::write(folder.join(&plain), lines.join("\n") + "\n").unwrap();
    let file = folder.join(&plain);
    let zone = Zone { origin: origin.to_owned(), host, file, ds: Vec::new(), keys: Vec::new() };
    let Some(algorithm) = sign.algorithm else {
        return Zone { ds: unsigned_ds(folder, origin, sign.ds), ..zone };
    };
    let keys = vec![
        keygen(folder, origin, algorithm, &["-f", "KSK"]),
        keygen(folder, origin, algorithm, &[]),
    ];
    let signed = format!("{plain}.signed");
    let mut words = vec!["-q", "-S", "-K", ".", "-d", ".", "-O", "full", "-o", origin];
    words.extend(["-f", &signed]);
    words.extend(sign.words);
    words.push(&plain);
    run(folder, "dnssec-signzone", &words);
    let ds = ds_lines(folder, origin, &keys[0], sign.ds);
    Zone { file: folder.join(signed), ds, keys, ..zone }
}

/// The zone has no signatures; the zone above may say that it has.
fn unsigned_ds(folder: &Path, origin: &str, ds: Ds) -> Vec<String> {
    if ds == Ds::Missing {
        return Vec::new();
    }
    let key = keygen(folder, origin, "ECDSAP256SHA256", &["-f", "KSK"]);
    ds_lines(folder, origin, &key, ds)
}

/// The DS records for a key.
fn ds_lines(folder: &Path, origin: &str, key: &str, ds: Ds) -> Vec<String> {
    let of = |key: &str, digest: &str| {
        let text = run(folder, "dnssec-dsfromkey", &["-a", digest, &format!("{key}.key")]);
        text.trim().to_owned()
    };
    let other = || keygen(folder, origin, "ECDSAP256SHA256", &["-f", "KSK"]);
    let changed = |word: usize, to: &dyn Fn(&str) -> String| {
        // ZONE IN DS TAG ALGORITHM TYPE DIGEST
        let right = of(key, "SHA-256");
        let words = right.split_whitespace().enumerate();
        let words = words.map(|(at, text)| if at == word { to(text) } else { text.to_owned() });
        words.collect::<Vec<_>>().join(" ")
    };
    match ds {
        Ds::Right => vec![of(key, "SHA-256")],
        Ds::Digest(digest) => vec![of(key, digest)],
        Ds::Other => vec![of(&other(), "SHA-256")],
        Ds::OneWrong => vec![of(&other(), "SHA-256"), of(key, "SHA-256")],
        Ds::UnknownAlgorithm => vec![changed(4, &|_| "200".to_owned())],
        Ds::OneUnknown => vec![changed(4, &|_| "200".to_owned()), of(key, "SHA-256")],
        Ds::UnknownDigest => vec![changed(5, &|_| "250".to_owned())],
        Ds::Sha1Beside => vec![of(&other(), "SHA-256"), of(key, "SHA-1")],
        Ds::WrongAlgorithm => vec![changed(4, &|_| "8".to_owned())],
        Ds::WrongTag => {
            let next = |tag: &str| (tag.parse::<u16>().unwrap() ^ 1).to_string();
            vec![changed(3, &next)]
        }
        Ds::Missing => Vec::new(),
    }
}

/// Common first records of every zone.
fn head(origin: &str, address: &str) -> Vec<String> {
    let below = if origin == "." { "" } else { origin };
    vec![
        format!("{origin} 3600 IN SOA ns.{below} hostmaster.{below} 1 1800 900 604800 300"),
        format!("{origin} 3600 IN NS ns.{below}"),
        format!("ns.{below} 3600 IN A {address}"),
    ]
}

/// A zone with one of everything that is answered in its own way.
pub(crate) fn leaf(origin: &str, address: &str) -> Vec<String> {
    let mut lines = head(origin, address);
    let more = [
        "@ 3600 IN MX 10 Mail.@",
        "www.@ 3600 IN A 192.0.2.1",
        "www.@ 3600 IN A 192.0.2.3",
        "www.@ 3600 IN A 192.0.2.2",
        "www.@ 3600 IN AAAA 2001:db8::1",
        "mail.@ 600 IN TXT \"one\" \"two\"",
        "mail.@ 600 IN TXT \"On\"",
        "_sip._udp.@ 600 IN SRV 1 2 5060 WWW.@",
        "*.wild.@ 3600 IN A 192.0.2.4",
        "*.star.@ 3600 IN CNAME www.@",
        "b.ent.@ 3600 IN A 192.0.2.5",
        "alias.@ 3600 IN CNAME www.@",
        "far.@ 3600 IN CNAME www.n15.test.",
        "loose.@ 3600 IN CNAME www.plain.test.",
        "gone.@ 3600 IN CNAME nowhere.@",
        "old.@ 3600 IN DNAME new.@",
        "x.new.@ 3600 IN A 192.0.2.6",
        "sub.@ 3600 IN NS ns.sub.@",
    ];
    lines.extend(more.map(|line| line.replace('@', origin)));
    lines.push(format!("ns.sub.{origin} 3600 IN A {SUB}"));
    lines
}

/// An unsigned zone below a leaf.
pub(crate) fn sub(origin: &str) -> Vec<String> {
    let mut lines = head(origin, SUB);
    lines.push(format!("www.{origin} 3600 IN A 192.0.2.9"));
    lines
}

/// A zone that only delegates: to zones at the addresses of their servers.
pub(crate) fn delegating(origin: &str, address: &str, below: &[(&Zone, &str)]) -> Vec<String> {
    let mut lines = head(origin, address);
    for (zone, address) in below {
        lines.push(format!("{} 3600 IN NS ns.{}", zone.origin, zone.origin));
        lines.push(format!("ns.{} 3600 IN A {address}", zone.origin));
        lines.extend(zone.ds.iter().map(|ds| ds.replacen(" IN ", " 3600 IN ", 1)));
    }
    lines
}

/// Starts NSD at an address for some of the zones.
pub(crate) fn serve(folder: &Path, address: &str, zones: &[&Zone]) -> Running {
    let at = folder.join(format!("nsd-{address}"));
    fs::create_dir_all(&at).unwrap();
    let home = at.display();
    let mut config = format!(
        "server:\n  ip-address: {address}\n  port: 53\n  username: \"\"\n  database: \"\"\n  \
         zonesdir: \"{home}\"\n  xfrdir: \"{home}\"\n  logfile: \"{home}/log\"\n  \
         pidfile: \"{home}/pid\"\n  xfrdfile: \"{home}/xfrd\"\n  zonelistfile: \"{home}/list\"\n  \
         server-count: 1\n  tcp-count: 100\n  rrl-ratelimit: 0\n\
         remote-control:\n  control-enable: no\n"
    );
    for zone in zones {
        let (origin, file) = (&zone.origin, zone.file.display());
        let _ = write!(config, "zone:\n  name: \"{origin}\"\n  zonefile: \"{file}\"\n");
    }
    fs::write(at.join("conf"), config).unwrap();
    let mut command = program("nsd");
    command.arg("-d").arg("-c").arg(at.join("conf"));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let running = Running::start(command);
    crate::servers::await_server(endpoint(address));
    running
}

/// Where a validating Unbound listens: a third opinion.
pub(crate) const UNBOUND: &str = "127.9.3.1";

/// Starts a validating Unbound.
pub(crate) fn unbound(folder: &Path, anchor: &Path) -> Running {
    let home = folder.join("unbound");
    fs::create_dir_all(&home).unwrap();
    fs::write(home.join("hints"), format!(". 3600 NS ns.\nns. 3600 A {ROOT}\n")).unwrap();
    let (at, anchor) = (home.display(), anchor.display());
    let config = format!(
        "server:\n  interface: {UNBOUND}\n  port: 53\n  username: \"\"\n  chroot: \"\"\n  \
         directory: \"{at}\"\n  pidfile: \"\"\n  use-syslog: no\n  logfile: \"{at}/log\"\n  \
         do-daemonize: no\n  num-threads: 1\n  root-hints: \"{at}/hints\"\n  \
         module-config: \"validator iterator\"\n  trust-anchor-file: \"{anchor}\"\n  \
         local-zone: \"test.\" nodefault\n  do-not-query-localhost: no\n  \
         access-control: 127.0.0.0/8 allow\n  aggressive-nsec: no\n  \
         harden-below-nxdomain: no\n  qname-minimisation: no\n  edns-buffer-size: 1232\n\
         remote-control:\n  control-enable: no\n"
    );
    fs::write(home.join("conf"), config).unwrap();
    let mut command = program("unbound");
    command.arg("-d").arg("-c").arg(home.join("conf"));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let running = Running::start(command);
    crate::servers::await_server(endpoint(UNBOUND));
    running
}

/// The root's trust anchor, as delv reads it and as dns-walk does.
pub(crate) fn anchors(folder: &Path, root: &Zone) -> (PathBuf, PathBuf) {
    let text = fs::read_to_string(folder.join(format!("{}.key", root.keys[0]))).unwrap();
    let line = text.lines().find(|line| line.contains("DNSKEY")).unwrap();
    let words: Vec<&str> = line.split_whitespace().skip_while(|word| *word != "DNSKEY").collect();
    let (fields, key) = (words[1..4].join(" "), words[4..].concat());
    let (ours, delvs) = (folder.join("anchor"), folder.join("anchor.delv"));
    fs::write(&ours, format!(". DNSKEY {fields} {key}\n")).unwrap();
    let text = format!("trust-anchors {{ \".\" static-key {fields} \"{key}\"; }};\n");
    fs::write(&delvs, text).unwrap();
    (ours, delvs)
}
