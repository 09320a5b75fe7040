//! `clock-offset serve` against chronyd: replies per second of processor time.
//!
//! Both get the same load from the same sockets, in turn; each is charged with its own process's
//! time.

use super::clock_peers::{Served, free_port};
use super::path::{OTHERS_MAX, Spread, TRIES, Usage, said, say_how_quiet_it_was_but, spread};
use clock_offset::packet::{HEADER_LEN, Header};
use clock_offset::timestamp::NtpTimestamp;
use std::net::UdpSocket;
use std::thread::scope;
use std::time::Duration;
use wirelab::runtime::clock::Clock;
use wirelab::sys::host::pin_to_cpu;
use wirelab::sys::sockets::{receive_batch, send_batch};

const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_secs(1);
/// Clients, one socket each.
const CLIENTS: usize = 48;
/// Requests in flight per client. In total fewer than the 277 that a receive buffer of 212,992
/// bytes, which every kernel grants, holds, so that none is lost.
const DEPTH: usize = 4;
/// Timeout of a reply.
const PATIENCE: Duration = Duration::from_millis(100);
/// One processor for the load, one for the server.
const LOAD_CPU: usize = 0;
const SERVER_CPU: usize = 1;

/// The result of one round.
#[derive(Clone, Copy)]
struct Round {
    replies: u64,
    lost: u64,
    elapsed: Duration,
    cpu: Duration,
}

impl Round {
    fn per_second(&self) -> f64 {
        self.replies as f64 / self.elapsed.as_secs_f64() / 1e3
    }

    fn per_core(&self) -> f64 {
        self.replies as f64 / self.cpu.as_secs_f64() / 1e3
    }
}

/// Runs the benchmark; whether its target was met.
pub(crate) fn run() -> bool {
    let servers = scope(|scope| {
        let start = || {
            // Child processes inherit the affinity.
            pin_to_cpu(SERVER_CPU).ok()?;
            Some((Served::ours(""), Served::chronyd("127.0.0.1", free_port())?))
        };
        scope.spawn(start).join().unwrap()
    });
    let Some((ours, theirs)) = servers else {
        println!("clock-serve: skipped, there is no chronyd here, or only one processor");
        return true;
    };
    let (before, both) = (Usage::now(), [&ours, &theirs]);
    println!(
        "\nrequests answered, {CLIENTS} clients with {DEPTH} requests each in flight, {ROUNDS} \
         rounds of {ROUND:?} in turn, median (min-max)\n\n{:<22}{:>28}{:>34}{:>8}",
        "", "thousands per second", "thousands per second of processor", "lost"
    );
    // Until each answers; start-up is not measured.
    for server in both {
        while load(server, Duration::from_millis(200)).replies == 0 {}
    }
    let rounds: Vec<[Round; 2]> = (0..ROUNDS).map(|_| undisturbed(both)).collect();
    for (index, server) in both.iter().enumerate() {
        let of = |figure: fn(&Round) -> f64| {
            spread(rounds.iter().map(|round| figure(&round[index])).collect()).show()
        };
        let lost: u64 = rounds.iter().map(|round| round[index].lost).sum();
        let (rate, core) = (of(Round::per_second), of(Round::per_core));
        println!("{:<22}{rate:>28}{core:>34}{lost:>8}", server.name);
    }
    let ratios = rounds.iter().map(|[ours, theirs]| ours.per_core() / theirs.per_core());
    let Spread { low, middle, high } = spread(ratios.collect());
    let met = middle >= 1.0;
    println!(
        "\nclock-offset serve / chronyd, per processor: {middle:.2} ({low:.2}-{high:.2}) >= 1.00: \
         {}",
        said(met)
    );
    say_how_quiet_it_was_but(before, ours.cpu() + theirs.cpu());
    met
}

/// A round of both, retried while other programs disturb it.
fn undisturbed(servers: [&Served; 2]) -> [Round; 2] {
    let mut tries = 0;
    loop {
        let before = Usage::now();
        let rounds = servers.map(|server| load(server, ROUND));
        tries += 1;
        let (others, _) = before.others_but(rounds.iter().map(|round| round.cpu).sum());
        if others <= OTHERS_MAX || tries == TRIES {
            return rounds;
        }
    }
}

/// Loads a server for a while: every client sends one request per reply.
fn load(server: &Served, time: Duration) -> Round {
    let asking = || {
        pin_to_cpu(LOAD_CPU).unwrap();
        let clients: Vec<UdpSocket> = (0..CLIENTS).map(|_| client(server.port)).collect();
        let request = Header::request(NtpTimestamp::from_bits(0x5a5a_5a5a_5a5a_5a5a)).encode();
        let batch = [&request[..]; DEPTH];
        let mut waiting = [0_usize; CLIENTS];
        let (mut buffers, mut lengths) = ([[0; 2048]; DEPTH], [0; DEPTH]);
        let (clock, cpu) = (Clock::start(), server.cpu());
        let (mut replies, mut lost) = (0_u64, 0_u64);
        let (began, mut came_last) = (clock.now(), clock.now());
        loop {
            let now = clock.now();
            if now.since(began) >= time {
                break Round { replies, lost, elapsed: time, cpu: server.cpu() - cpu };
            }
            if now.since(came_last) >= PATIENCE {
                lost += waiting.iter().sum::<usize>() as u64;
                (waiting, came_last) = ([0; CLIENTS], now);
            }
            for (client, waiting) in clients.iter().zip(&mut waiting) {
                if let Ok(came) = receive_batch(client, &mut buffers, &mut lengths) {
                    assert!(lengths[..came].iter().all(|length| *length == HEADER_LEN));
                    replies += came as u64;
                    *waiting = waiting.saturating_sub(came);
                    came_last = now;
                }
                // Refused while the server starts.
                *waiting += send_batch(client, &batch[*waiting..]).unwrap_or(0);
            }
        }
    };
    scope(|scope| scope.spawn(asking).join().unwrap())
}

fn client(port: u16) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", port)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}
