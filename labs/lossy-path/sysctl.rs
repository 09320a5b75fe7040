//! Kernel settings of the hosts' network (`--sysctl`), and those that a plan needs.

use crate::audit;
use crate::plan::Plan;
use crate::run::End;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use wirelab::measure::saturated;
use wirelab::path::{LinkPlan, Rate};
use wirelab::sys::error::during;
use wirelab::sys::netns::{self, Netns};

/// Largest send and receive buffer of a TCP socket by Linux's defaults, bytes (tcp(7), `tcp_wmem`
/// and `tcp_rmem`).
const BUFFER_DEFAULT_MAX: u64 = 4 << 20;
/// Bytes of a buffer per byte in flight: the kernel counts its own memory for a segment too.
const BUFFER_PER_BYTE: u64 = 4;
/// Largest buffer that a plan gets by itself.
const BUFFER_MAX: u64 = 1 << 30;

/// One setting: `net.ipv4.tcp_sack=0` for both hosts, `b:net.ipv4.tcp_sack=0` for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sysctl {
    /// The host; both without.
    pub host: Option<End>,
    /// Its name, from `net.` on, with dots.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl FromStr for Sysctl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("expected [a:|b:]NAME=VALUE such as net.ipv4.tcp_sack=0, got {text:?}");
        let (name, value) = text.split_once('=').ok_or_else(wrong)?;
        let (host, name) = match name.trim().split_once(':') {
            None => (None, name.trim()),
            Some(("a", name)) => (Some(End::A), name),
            Some(("b", name)) => (Some(End::B), name),
            Some(_) => return Err(wrong()),
        };
        let letter = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let (name, value) = (name.replace('/', "."), value.trim().to_owned());
        let known = name.starts_with("net.") && name.chars().all(letter) && !name.contains("..");
        if known && !value.is_empty() { Ok(Self { host, name, value }) } else { Err(wrong()) }
    }
}

impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(host) = self.host {
            write!(f, "{host}:")?;
        }
        write!(f, "{}={}", self.name, self.value)
    }
}

impl Sysctl {
    /// A setting of both hosts.
    #[must_use]
    pub fn both(name: &str, value: impl Into<String>) -> Self {
        Self { host: None, name: name.to_owned(), value: value.into() }
    }

    fn file(&self) -> PathBuf {
        Path::new("/proc/sys").join(self.name.replace('.', "/"))
    }

    /// Sets it on its hosts, `[a, b]`.
    ///
    /// # Errors
    /// The setting, and the kernel's error: `EPERM` for one that only the machine's root may set.
    pub fn apply(&self, hosts: [&Netns; 2]) -> io::Result<()> {
        for (host, end) in hosts.into_iter().zip([End::A, End::B]) {
            if self.host.is_none_or(|wanted| wanted == end) {
                let set = host.run(|| netns::set(&self.file(), &self.value))?;
                set.map_err(during(format!("set {self}")))?;
            }
        }
        Ok(())
    }
}

/// Buffers of TCP that the plan's bandwidth-delay product needs; none where the defaults hold it.
#[must_use]
pub fn buffers(plan: &Plan) -> Vec<Sysctl> {
    let delays = plan.links.iter().map(|link| audit::delay(link).as_nanos()).sum::<u128>();
    let rate = plan.links.iter().filter_map(bits_per_second).max().unwrap_or(0);
    let in_flight = u128::from(rate) * delays / 8 / 1_000_000_000;
    let wanted = saturated(in_flight).saturating_mul(BUFFER_PER_BYTE);
    if wanted <= BUFFER_DEFAULT_MAX {
        return Vec::new();
    }
    let most = wanted.min(BUFFER_MAX);
    ["rmem 4096 131072", "wmem 4096 16384"]
        .map(|kind| {
            let (name, smaller) = kind.split_once(' ').expect("invariant: a name and two sizes");
            Sysctl::both(&format!("net.ipv4.tcp_{name}"), format!("{smaller} {most}"))
        })
        .to_vec()
}

const fn bits_per_second(link: &LinkPlan) -> Option<u64> {
    match &link.rate {
        Some(bottleneck) => match bottleneck.rate {
            Rate::Constant(bits) => Some(bits),
            Rate::Trace(_) => None,
        },
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_names_its_host_and_stays_within_the_network() {
        for text in ["net.ipv4.tcp_sack=0", "b:net.ipv4.tcp_rmem=4096 131072 67108864"] {
            assert_eq!(text.parse::<Sysctl>().unwrap().to_string(), text);
        }
        let slashes: Sysctl = "a:net/ipv4/tcp_ecn = 1".parse().unwrap();
        assert_eq!(slashes.to_string(), "a:net.ipv4.tcp_ecn=1");
        for text in ["kernel.sysrq=1", "net.ipv4.tcp_sack", "c:net.x=1", "net...x=1", "net.x="] {
            let wrong = text.parse::<Sysctl>().unwrap_err();
            assert!(wrong.starts_with("expected [a:|b:]NAME=VALUE"), "{text}: {wrong}");
        }
    }

    #[test]
    fn buffers_grow_with_the_bandwidth_delay_product() {
        let link = |rate: &str| {
            let mut link = LinkPlan::default();
            let pairs = [("rate", rate), ("delay", "50ms")];
            link.set_all(&pairs, &mut |_| Err("no files".to_owned())).unwrap();
            link
        };
        let plan = |rate| Plan { links: [link(rate), link(rate)], ..Plan::default() };
        assert_eq!(buffers(&plan("50Mbit")), []);
        // 1 Gbit/s × 100 ms is 12.5 MB.
        let set: Vec<_> = buffers(&plan("1Gbit")).iter().map(Sysctl::to_string).collect();
        let wanted =
            ["net.ipv4.tcp_rmem=4096 131072 50000000", "net.ipv4.tcp_wmem=4096 16384 50000000"];
        assert_eq!(set, wanted);
    }
}
