//! `-v` and `-vv`: the records of a walk as lines on stderr, while it goes on.

use crate::event::{Event, Exchange, Record};
use tracing::{debug, info};
use wirelab::measure::human::latency;

/// One line for a record with `-v`; with `-vv` what a reply held, too.
pub(crate) fn record(record: &Record) {
    let at = latency(record.t_ns.as_nanos());
    match &record.event {
        Event::Start(start) => info!("{at}: walk for {}, seed {}", start.question, start.seed),
        Event::Exchange(exchange) => self::exchange(&at, exchange),
        Event::Cache(hit) => info!("{at}: {} from the cache: {:?}", hit.meant, hit.class),
        Event::Chain(link) => debug!("{at}: chain of trust: {link:?}"),
        Event::Local(local) => {
            info!("{at}: {} answered here, by {}", local.meant, local.document);
        }
        Event::Stray(stray) => {
            info!(
                "{at}: {} bytes from {} match no query: {:?}",
                stray.bytes, stray.from, stray.why
            );
        }
        Event::Summary(end) => info!("{at}: {} ended: {:?}", end.question, end.outcome),
        Event::Comparison(with) => debug!("{at}: compared: {with:?}"),
    }
}

fn exchange(at: &str, exchange: &Exchange) {
    let Exchange { sent, server, transport, attempt, class, .. } = exchange;
    let took = match exchange.rtt_ns {
        Some(rtt) => format!("after {}", latency(rtt)),
        None => format!("waited {}", latency(exchange.patience_ns)),
    };
    info!(
        "{at}: {sent} to {} at {} over {transport}, attempt {attempt}: {class:?} {took}",
        server.name, server.address
    );
    debug!(
        "{at}:   step {} in zone {}, {} bytes sent, {} received, flags {:?}, learned {:?}, \
         dropped {:?}",
        exchange.step,
        exchange.zone,
        exchange.bytes_sent,
        exchange.bytes_received.unwrap_or_default(),
        exchange.flags,
        exchange.learned,
        exchange.dropped,
    );
}
