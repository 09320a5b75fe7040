//! Ratios: each figure against a named peer or limit measured in the same run.
//!
//! `cargo bench` runs all, `cargo bench -- NAME` runs one. Figures of different runs are not
//! comparable: the machine's speed varies.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints its table")]

mod authority;
mod bulk;
mod clock_offset;
mod clock_peers;
mod clock_serve;
mod codec;
mod dns_names;
mod dns_serve;
mod dns_walk;
mod fairness;
mod link;
mod path;
mod router;

use std::process::ExitCode;

/// A benchmark prints its table and says whether its claim held.
type Bench = fn() -> bool;

/// Every benchmark by name. Those that need namespaces come first: they may have to enter a user
/// namespace, before there is any thread.
const BENCHES: [(&str, Bench); 11] = [
    ("path", path::run),
    ("router", router::run),
    ("bulk", bulk::run),
    ("clock-offset", clock_offset::run),
    ("dns-walk", dns_walk::run_all),
    ("dns-names", dns_names::run_all),
    ("dns-serve", dns_serve::run_all),
    ("codec", codec::run),
    ("link", link::run),
    ("clock-serve", clock_serve::run),
    ("fairness", fairness::run),
];

fn main() -> ExitCode {
    // cargo bench adds --bench.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let known = |name: &String| BENCHES.iter().any(|(bench, _)| bench == name);
    if let Some(name) = wanted.iter().find(|name| !known(name)) {
        let names: Vec<&str> = BENCHES.iter().map(|(name, _)| *name).collect();
        eprintln!("no benchmark {name:?}; there are: {}", names.join(", "));
        return ExitCode::from(2);
    }
    let run =
        BENCHES.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| w == name));
    let mut held = true;
    for (_, bench) in run {
        held &= bench();
    }
    ExitCode::from(u8::from(!held))
}
