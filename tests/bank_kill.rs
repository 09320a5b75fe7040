//! Both banks killed with SIGKILL under load and started again over the same log, while clients
//! lose and duplicate datagrams: each client checks its own account after every reply.
#![expect(clippy::print_stdout, reason = "a skipped test says why; --show-output shows it")]

use bytes::BytesMut;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;
use wirelab::bank::codec::{
    Answer, Body, Hello, Message, encode_hello, encode_request, reply_room,
};
use wirelab::bank::frame::{Header, Kind, MAX_DATAGRAM};
use wirelab::bank::message::{AccountId, Amount, Cents, Operation, Reply};
use wirelab::measure::draw::keyed;
use wirelab_tests::bank::{Bank, HUNG};
use wirelab_tests::lab::{Lab, new_folder};

const CLIENTS: u64 = 4;
/// Replies between two kills.
const REPLIES_PER_LIFE: u64 = 60;
/// An address of its own, so that no other test takes the port between two lives.
const HOST: &str = "127.19.4.7";
/// From a request to the next attempt.
const PATIENCE: Duration = Duration::from_millis(30);
/// Attempts of one request: a server is back after a few.
const ATTEMPTS_MAX: u32 = 20_000;

/// Way to a bank.
enum Carrier {
    Datagrams(UdpSocket),
    Stream(String, Option<TcpStream>),
}

/// A client with an account of its own and one request at a time.
struct Client {
    carrier: Carrier,
    account: u64,
    lease: u64,
    seed: u64,
    draws: u64,
}

impl Client {
    fn new(name: &str, address: &str, account: u64, seed: u64) -> Self {
        let carrier = if name == "bank-udp" {
            let socket = UdpSocket::bind(format!("{HOST}:0")).unwrap();
            socket.connect(address).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            Carrier::Datagrams(socket)
        } else {
            Carrier::Stream(address.to_owned(), None)
        };
        Self { carrier, account, lease: 0, seed: keyed(seed, account), draws: 0 }
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.draws += 1;
        keyed(self.seed, self.draws) % 100 < percent
    }

    fn hello(&self) -> BytesMut {
        let mut out = BytesMut::new();
        let max_frame = u32::try_from(MAX_DATAGRAM).unwrap();
        let nonce = self.account + 100;
        let hello = Hello { min_version: 1, max_version: 1, max_frame, nonce, features: 0 };
        encode_hello(&mut out, self.lease, &hello);
        out
    }

    /// One attempt: the reply, if one comes.
    fn attempt(&mut self, frame: &[u8]) -> Option<Message> {
        let (lost, twice) = (self.chance(5), self.chance(10));
        let (reply_lost, hello) = (self.chance(5), self.hello());
        match &mut self.carrier {
            Carrier::Datagrams(socket) => {
                for _ in 0..if lost { 0 } else { 1 + u32::from(twice) } {
                    // Refused while no server listens.
                    let _ = socket.send(frame);
                }
                let mut buffer = [0; 2048];
                let length = socket.recv(&mut buffer).ok()?;
                (!reply_lost).then(|| Message::decode(&buffer[..length]).unwrap())
            }
            Carrier::Stream(address, stream) => {
                let reply = over_stream(address, stream, &hello, frame);
                if reply.is_none() || reply_lost {
                    *stream = None;
                }
                reply.filter(|_| !reply_lost)
            }
        }
    }

    /// The body of the reply with this sequence number, after as many attempts as it takes.
    fn exchange(&mut self, seq: u64, frame: &[u8]) -> Body {
        for _ in 0..ATTEMPTS_MAX {
            match self.attempt(frame) {
                Some(message) if message.header.seq == seq => {
                    if seq == 0 {
                        self.lease = message.header.client;
                    }
                    return message.body;
                }
                _ => std::thread::yield_now(),
            }
        }
        panic!("no reply to {seq} of account {}", self.account);
    }

    /// Deposits and reads until told to stop; returns the balance. Every reply must show each
    /// deposit exactly once.
    fn work(mut self, stop: &AtomicBool, replies: &Sender<()>) -> i64 {
        let hello = self.hello();
        self.exchange(0, &hello);
        assert_ne!(self.lease, 0);
        let (mut balance, account) = (0, AccountId(self.account));
        for seq in 1.. {
            let deposits = !self.chance(25);
            let cents = 1 + keyed(self.seed, seq) % 500;
            let op = if deposits { Operation::Deposit } else { Operation::Balance };
            let request = op.request(account, account, Amount::new(cents).unwrap());
            let header = Header {
                op: op as u8,
                client: self.lease,
                seq,
                ack_upto: seq - 1,
                attempt: 1,
                ..Header::of(Kind::Request)
            };
            let mut frame = BytesMut::new();
            encode_request(&mut frame, &header, &request, reply_room(&request));
            balance += if deposits { cents.cast_signed() } else { 0 };
            let shown = match self.exchange(seq, &frame) {
                Body::Response(Answer::Done(Reply::Deposited { balance, .. })) => balance,
                Body::Response(Answer::Done(Reply::Balance { balance, .. })) => balance,
                other => panic!("{account:?}, operation {seq}: {other:?}"),
            };
            assert_eq!(shown, Cents(balance), "{account:?}, operation {seq}");
            if replies.send(()).is_err() || stop.load(Ordering::Relaxed) {
                break;
            }
        }
        balance
    }
}

/// Sends a frame on a stream, new if there is none, and reads the reply.
fn over_stream(
    address: &str,
    stream: &mut Option<TcpStream>,
    hello: &[u8],
    frame: &[u8],
) -> Option<Message> {
    if stream.is_none() {
        let mut fresh = TcpStream::connect(address).ok()?;
        fresh.set_read_timeout(Some(HUNG)).unwrap();
        fresh.write_all(hello).ok()?;
        let welcome = read_frame(&mut fresh)?;
        *stream = Some(fresh);
        if frame == hello {
            return Some(welcome);
        }
    }
    let stream = stream.as_mut()?;
    stream.write_all(frame).ok()?;
    read_frame(stream)
}

fn read_frame(stream: &mut TcpStream) -> Option<Message> {
    let mut frame = vec![0; 4];
    stream.read_exact(&mut frame).ok()?;
    let length = u32::from_le_bytes([frame[0], frame[1], frame[2], frame[3]]);
    frame.resize(4 + length as usize, 0);
    stream.read_exact(&mut frame[4..]).ok()?;
    Some(Message::decode(&frame).unwrap())
}

fn serve(name: &str, address: &str, directory: &str) -> Bank {
    let lab = Lab::new(name);
    let args = format!(
        "serve --listen {address} --json --accounts {CLIENTS} --opening 0 --store file:{directory}"
    );
    let command = lab.command(&args);
    Bank::from(lab, command)
}

fn kill_under_load(name: &str, kills: u64, seed: u64) {
    let folder = new_folder("kill");
    let directory = folder.join("bank").display().to_string();
    let mut bank = serve(name, &format!("{HOST}:0"), &directory);
    let address = bank.address.clone();
    let stop = Arc::new(AtomicBool::new(false));
    let (told, replies) = channel();
    let clients: Vec<_> = (1..=CLIENTS)
        .map(|account| {
            let client = Client::new(name, &address, account, seed);
            let (stop, told) = (Arc::clone(&stop), told.clone());
            std::thread::spawn(move || client.work(&stop, &told))
        })
        .collect();
    drop(told);
    for kill in 1..=kills {
        let before_the_next = REPLIES_PER_LIFE + keyed(seed, kill) % REPLIES_PER_LIFE;
        let came = (0..before_the_next).all(|_| replies.recv_timeout(HUNG).is_ok());
        if !came {
            break;
        }
        bank.child.kill().unwrap();
        bank.child.wait().unwrap();
        bank = serve(name, &address, &directory);
    }
    stop.store(true, Ordering::Relaxed);
    let results: Vec<_> = clients.into_iter().map(std::thread::JoinHandle::join).collect();
    let balances: Vec<i64> = results
        .into_iter()
        .map(|result| result.unwrap_or_else(|_| panic!("{name}, seed {seed}: see above")))
        .collect();
    let report = bank.stop();
    assert_eq!(report["books"]["keys_applied_twice"], 0, "{name}, seed {seed}");
    assert_eq!(report["books"]["sum_cents"], balances.iter().sum::<i64>(), "{name}, seed {seed}");
    std::fs::remove_dir_all(folder).ok();
}

#[test]
fn killed_servers_lose_and_double_nothing() {
    let kills = if std::env::var_os("WIRELAB_FULL").is_some() { 500 } else { 5 };
    std::thread::scope(|scope| {
        for name in ["bank-tcp", "bank-udp"] {
            scope.spawn(move || kill_under_load(name, kills, 7));
        }
    });
}

/// Serves from a small file system until it is full, then starts again; `$0` is the lab.
const FULL_DISK: &str = r#"
mkdir m && mount -t tmpfs -o size=64k none m || exit 77
serve() { "$0" serve --store file:m/bank --listen 127.0.0.1:0 --json > "$1" 2> "$1.err" & }
address() { until [ -s "$1" ]; do sleep 0.01; done; sed 's/.*"address":"\([^"]*\)".*/\1/' "$1"; }
serve first
"$0" load --server "$(address first)" --json --only deposit --clients 4 --ops 20000 > load
wait $!
echo $? > code
serve second
address second
kill -TERM $!
wait $!
"#;

/// The server stops with the reason, and what it acknowledged is there when it starts again.
#[test]
fn a_full_disk_stops_the_server_and_loses_nothing_acknowledged() {
    let lab = Lab::new("bank-tcp");
    let mut shell = std::process::Command::new("unshare");
    shell.args(["-rm", "sh", "-c", FULL_DISK]).arg(&lab.binary).current_dir(&lab.folder);
    // No namespaces, or no tmpfs in them.
    let Some(0) = shell.output().ok().and_then(|output| output.status.code()) else {
        println!("skipped: unshare -rm cannot mount a tmpfs here");
        return;
    };
    let file = |name: &str| std::fs::read_to_string(lab.folder.join(name)).unwrap();
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let (code, error) = (file("code"), file("first.err"));
    assert_eq!(code.trim(), "5", "{error}");
    assert!(error.contains("stopped serving: the store failed to write its log"), "{error}");
    let (load, second) = (json(&file("load")), file("second"));
    let report = json(second.lines().nth(1).unwrap());
    let number = |value: &Value| value.as_u64().unwrap();
    let (done, unknown) = (number(&load["done"]), number(&load["unknown"]));
    let entries = number(&report["books"]["entries"]);
    assert!(done <= entries && entries <= done + unknown, "{entries} entries, {load}");
    assert_eq!(report["books"]["balanced"], true);
}

#[test]
fn a_log_has_one_server_and_a_corrupt_one_none() {
    let folder = new_folder("corrupt");
    let directory = folder.join("bank");
    let shown = directory.display().to_string();
    let bank = serve("bank-tcp", "127.0.0.1:0", &shown);
    bank.ask("deposit 1 5");
    let second = bank.lab.run(&format!("serve --listen 127.0.0.1:0 --store file:{shown}"));
    assert_eq!(second.code, 2, "{}", second.stderr);
    assert!(second.stderr.contains("another server has it open"), "{}", second.stderr);
    bank.ask("deposit 1 5");
    bank.stop();
    let log = directory.join("bank.log");
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[70] ^= 1;
    std::fs::write(&log, &bytes).unwrap();
    let lab = Lab::new("bank-tcp");
    let refused = lab.run(&format!("serve --listen 127.0.0.1:0 --store file:{shown}"));
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("corrupt at byte 40"), "{}", refused.stderr);
    assert_eq!(std::fs::read(&log).unwrap(), bytes, "a refused log was changed");
    std::fs::remove_dir_all(folder).ok();
}
