//! The walk: right answers through every fault and through loss, hostile servers within the
//! budget, everything in virtual time.

use std::net::IpAddr;
use std::time::Duration;
use wirelab::dns::cache::Cache;
use wirelab::dns::demo::{Authority, FAULTS, Variant};
use wirelab::dns::event::{Class, Event, Outcome, Qmin, Record, Summary, Transport};
use wirelab::dns::hints::Hints;
use wirelab::dns::question::Question;
use wirelab::dns::walk::{Walk, WalkConfig};
use wirelab::dns::{Name, RecordType};
use wirelab::measure::{Instant, Ppm};
use wirelab::path::{Delay, LinkPlan, LossModel};
use wirelab::sim::dns::{run, summary};

const PORT: u16 = 5300;

fn config() -> WalkConfig {
    WalkConfig { public_only: false, ..WalkConfig::default() }
}

fn question(text: &str) -> Question {
    let (name, kind) = text.split_once(' ').unwrap_or((text, "A"));
    Question::new(Name::from_ascii(name).unwrap(), kind.parse().unwrap())
}

fn link(one_way_ms: u64, loss: Ppm) -> LinkPlan {
    let delay = Delay::Constant(Duration::from_millis(one_way_ms));
    let loss = if loss == Ppm::ZERO { LossModel::None } else { LossModel::Iid(loss) };
    LinkPlan { delay, loss, ..LinkPlan::default() }
}

/// A walk in a demo hierarchy.
fn walk(
    variant: Variant,
    asked: &str,
    config: WalkConfig,
    loss: Ppm,
    seed: u64,
) -> (Vec<Record>, Summary) {
    let authority = Authority::demo(variant).unwrap();
    walk_at(&authority, asked, config, loss, seed)
}

fn walk_at(
    authority: &Authority,
    asked: &str,
    config: WalkConfig,
    loss: Ppm,
    seed: u64,
) -> (Vec<Record>, Summary) {
    let hints = authority.hints(PORT);
    let begun =
        Walk::new(config, hints, question(asked), seed, Cache::default(), Instant::ZERO);
    let mut reply = |to: std::net::SocketAddr, transport: Transport, query: &[u8]| {
        assert_eq!(to.port(), PORT);
        authority.reply(to.ip(), transport, query)
    };
    let one_way = Duration::from_millis(1);
    let (records, _) =
        run(begun, Instant::ZERO, &mut reply, &link(1, loss), one_way, seed);
    let end = summary(&records).expect("every walk ends with a summary").clone();
    (records, end)
}

fn data(summary: &Summary) -> Vec<&str> {
    summary.answers.iter().map(|record| record.data.as_str()).collect()
}

#[test]
fn scratch() {
    for fault in FAULTS {
        let config = WalkConfig { check: true, ..config() };
        let (records, end) = walk(Variant::Broken, fault.ask, config, Ppm::ZERO, 1);
        println!("== {} {:?} {:?} q={} {}ms", fault.name, end.outcome, data(&end), end.queries, end.elapsed_ns/1_000_000);
        for r in &records { if let Event::Exchange(x) = &r.event {
            println!("  {} <{:?} {:?} {} {} {} {} {:?} dropped {:?}", x.step, x.parent, x.purpose, x.zone, x.sent, x.server.name, x.transport, x.class, x.dropped);
        } }
        for f in &end.findings { println!("  ! {:?} {} {:?}", f.fault, f.zone, f.server); }
    }
}
