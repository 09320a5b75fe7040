//! The bank's log on a disk that crashes, in virtual time: lost, torn and reordered sectors, failed
//! writes and syncs, killed processes. A failure prints its seed.

use bytes::{Bytes, BytesMut};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use wirelab::bank::audit::audit;
use wirelab::bank::client::Key;
use wirelab::bank::codec::{
    Answer, Hello, decode_answer, encode_hello, encode_request, reply_room,
};
use wirelab::bank::frame::{Frame, Header, Kind, MAX_DATAGRAM};
use wirelab::bank::held::Held;
use wirelab::bank::message::{AccountId, Amount, Cents, Refusal, Reply, Request};
use wirelab::bank::server::{Server, ServerConfig};
use wirelab::bank::storage::{CommitIndex, Storage, Transaction};
use wirelab::bank::store::disk::Disk;
use wirelab::bank::store::file::{FileStore, Writer};
use wirelab::bank::store::log::{Batch, LOG, Log, OpenError};
use wirelab::bank::store::record::{
    FILE_HEADER_LEN, RECORD_HEADER_LEN, begin_record, get_record, get_transaction, put_transaction,
    seal_record,
};
use wirelab::measure::Instant;
use wirelab::measure::draw::keyed;

const SECTOR: usize = 512;
const ACCOUNTS: u64 = 3;
const OPENING: Cents = Cents(1_000);
const CLIENTS: usize = 3;
const CRASHES_PER_RUN: u32 = 10;

/// Defects that the crashes must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    ReplyBeforeSync,
    KeyWithoutEffect,
    EffectWithoutKey,
    SyncErrorIgnored,
    SyncRetried,
    TornTailAccepted,
    NameNotSynced,
}

/// A file: what programs see, what the platters hold, and what is between.
#[derive(Default)]
struct Inode {
    cached: Vec<u8>,
    stored: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Cut(usize),
}

impl Change {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Write(offset, bytes) => {
                file.resize(file.len().max(offset + bytes.len()), 0);
                file[*offset..offset + bytes.len()].copy_from_slice(bytes);
            }
            Self::Cut(length) => file.resize(*length, 0),
        }
    }
}

/// A disk below its file system.
struct Medium {
    seed: u64,
    draws: u64,
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    stored_names: BTreeMap<String, usize>,
    /// Operations until the process or the power ends.
    fuse: Option<usize>,
}

impl Medium {
    fn draw(&mut self, below: usize) -> usize {
        self.draws += 1;
        usize::try_from(keyed(self.seed, self.draws) % below as u64).expect("below a usize")
    }

    /// Whether an operation still happens.
    fn spend(&mut self) -> io::Result<()> {
        match &mut self.fuse {
            Some(0) => Err(io::Error::other("the machine is off")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn inode(&mut self, name: &str) -> usize {
        if let Some(index) = self.names.get(name) {
            return *index;
        }
        self.inodes.push(Inode::default());
        self.names.insert(name.to_owned(), self.inodes.len() - 1);
        self.inodes.len() - 1
    }

    fn change(&mut self, name: &str, change: Change) {
        let index = self.inode(name);
        let inode = &mut self.inodes[index];
        change.apply(&mut inode.cached);
        inode.pending.push(change);
    }

    /// The power fails: of what was not synced, any sectors survive, some of them in part.
    fn lose_power(&mut self) {
        let survival = self.draw(3);
        for index in 0..self.inodes.len() {
            let pending = std::mem::take(&mut self.inodes[index].pending);
            let mut kept = Vec::new();
            for change in pending {
                match change {
                    Change::Cut(length) if self.draw(2) == 0 => kept.push(Change::Cut(length)),
                    Change::Cut(_) => {}
                    Change::Write(offset, bytes) => self.tear(survival, offset, &bytes, &mut kept),
                }
            }
            let inode = &mut self.inodes[index];
            kept.iter().for_each(|change| change.apply(&mut inode.stored));
            inode.cached = inode.stored.clone();
        }
        if self.draw(2) == 0 {
            self.stored_names = self.names.clone();
        }
        self.names = self.stored_names.clone();
    }

    fn tear(&mut self, survival: usize, offset: usize, bytes: &[u8], kept: &mut Vec<Change>) {
        let mut from = 0;
        while from < bytes.len() {
            let to = bytes.len().min(((offset + from) / SECTOR + 1) * SECTOR - offset);
            let survives = match survival {
                0 => false,
                1 => self.draw(2) == 0,
                _ => self.draw(8) != 0,
            };
            if survives {
                let torn = self.draw(8) == 0;
                let end = if torn { from + self.draw(to - from) } else { to };
                kept.push(Change::Write(offset + from, bytes[from..end].to_vec()));
            }
            from = to;
        }
    }
}

/// A handle on the medium, with the defects that concern the disk.
#[derive(Clone)]
struct Handle {
    medium: Rc<RefCell<Medium>>,
    bug: Option<Bug>,
}

impl Handle {
    fn sync_once(&self, name: &str) -> io::Result<()> {
        let mut medium = self.medium.borrow_mut();
        medium.spend()?;
        let fails = medium.draw(40) == 0;
        let index = medium.inode(name);
        let inode = &mut medium.inodes[index];
        let pending = std::mem::take(&mut inode.pending);
        if fails {
            // The kernel counts the pages as clean from now on.
            return Err(io::Error::other("sync failed"));
        }
        pending.iter().for_each(|change| change.apply(&mut inode.stored));
        Ok(())
    }
}

impl Disk for Handle {
    fn read(&mut self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let medium = self.medium.borrow();
        let index = medium.names.get(name).copied();
        let mut bytes = index.map(|index| medium.inodes[index].cached.clone());
        if self.bug == Some(Bug::TornTailAccepted)
            && let Some(bytes) = &mut bytes
        {
            accept_torn_tail(bytes);
        }
        Ok(bytes)
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut medium = self.medium.borrow_mut();
        medium.spend()?;
        let offset = usize::try_from(offset).unwrap();
        if medium.draw(60) == 0 {
            let written = medium.draw(bytes.len());
            medium.change(name, Change::Write(offset, bytes[..written].to_vec()));
            return Err(io::Error::from_raw_os_error(28));
        }
        medium.change(name, Change::Write(offset, bytes.to_vec()));
        Ok(())
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        let mut medium = self.medium.borrow_mut();
        medium.spend()?;
        medium.change(name, Change::Cut(usize::try_from(length).unwrap()));
        Ok(())
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let first = self.sync_once(name);
        match self.bug {
            Some(Bug::SyncErrorIgnored) => Ok(()),
            Some(Bug::SyncRetried) => first.or_else(|_| self.sync_once(name)),
            _ => first,
        }
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut medium = self.medium.borrow_mut();
        medium.spend()?;
        let index = medium.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        medium.names.insert(to.to_owned(), index);
        Ok(())
    }

    fn sync_names(&mut self) -> io::Result<()> {
        if self.bug == Some(Bug::NameNotSynced) {
            return Ok(());
        }
        let mut medium = self.medium.borrow_mut();
        medium.spend()?;
        medium.stored_names = medium.names.clone();
        Ok(())
    }
}

/// Gives the bad record at the end of a log the checksum of its bytes, whatever they are.
fn accept_torn_tail(bytes: &mut Vec<u8>) {
    let mut end = FILE_HEADER_LEN;
    while let Some(record) = bytes.get(end..).and_then(get_record) {
        end += record.len;
    }
    let Some(header) = bytes.get(end..end + RECORD_HEADER_LEN) else { return };
    let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
    let (body, chain) = (word(4) as usize, word(16));
    let after = CommitIndex(u64::from_le_bytes(header[8..16].try_into().unwrap()));
    let mut record = bytes.split_off(end);
    record.resize(RECORD_HEADER_LEN + body.min(1 << 20), 0);
    seal_record(&mut record, after, chain);
    bytes.append(&mut record);
}

/// Writes batches when the disk has its turn.
struct SlowWriter {
    log: Log<Handle>,
    medium: Rc<RefCell<Medium>>,
    bug: Option<Bug>,
    batch: Option<Batch>,
    /// With a planted bug: transactions written, which are two for each.
    written: u64,
}

impl SlowWriter {
    fn write(&mut self, mut batch: Batch) -> io::Result<Batch> {
        let halves: [fn(&Transaction) -> Transaction; 2] = match self.bug {
            Some(Bug::KeyWithoutEffect) => [without_entry, only_entry],
            Some(Bug::EffectWithoutKey) => [only_entry, without_entry],
            _ => return self.log.append(&mut batch).map(|()| batch),
        };
        for half in halves {
            let (mut body, mut record) = (&batch.record[RECORD_HEADER_LEN..], begin_record());
            let after = CommitIndex(self.written);
            while let Some(transaction) = get_transaction(&mut body) {
                put_transaction(&mut record, &half(&transaction));
                self.written += 1;
            }
            let upto = CommitIndex(self.written);
            self.log.append(&mut Batch { record, after, upto })?;
        }
        Ok(batch)
    }
}

fn without_entry(transaction: &Transaction) -> Transaction {
    Transaction { entry: None, ..*transaction }
}

fn only_entry(transaction: &Transaction) -> Transaction {
    Transaction { entry: transaction.entry, ..Transaction::default() }
}

impl Writer for SlowWriter {
    fn submit(&mut self, batch: Batch) {
        self.batch = Some(batch);
    }

    fn poll(&mut self) -> Option<io::Result<Batch>> {
        if self.medium.borrow_mut().draw(3) == 0 {
            return None;
        }
        let batch = self.batch.take()?;
        Some(self.write(batch))
    }
}

type Bank = Server<FileStore<SlowWriter>>;

/// A client that repeats what was not answered.
#[derive(Default)]
struct Caller {
    lease: Option<u64>,
    last: u64,
    open: BTreeMap<u64, Request>,
}

/// A bank, its clients, and what they were told.
struct World {
    medium: Rc<RefCell<Medium>>,
    bug: Option<Bug>,
    /// The running bank.
    bank: Option<Bank>,
    /// Replies with their clients and the commit index that they saw.
    held: Held<(usize, CommitIndex, Bytes)>,
    callers: Vec<Caller>,
    told: BTreeMap<Key, (Request, Result<Reply, Refusal>)>,
    /// The largest commit index that a delivered reply saw.
    seen: CommitIndex,
}

fn open(medium: &Rc<RefCell<Medium>>, bug: Option<Bug>) -> Result<Bank, String> {
    for _ in 0..1_000 {
        let handle = Handle { medium: Rc::clone(medium), bug };
        match Log::open(handle, ACCOUNTS, OPENING) {
            Ok(opened) => {
                let (log, medium) = (opened.log, Rc::clone(medium));
                let written = opened.store.commit_index().0;
                let writer = SlowWriter { log, medium, bug, batch: None, written };
                let store = FileStore::new(opened.store, writer);
                return Ok(Server::new(ServerConfig::default(), store, 5));
            }
            // The disk failed: start again.
            Err(OpenError::Io { .. }) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Err("the log never opens".to_owned())
}

impl World {
    fn new(seed: u64, bug: Option<Bug>) -> Result<Self, String> {
        let medium = Rc::new(RefCell::new(Medium { seed, ..Medium::blank() }));
        let bank = Some(open(&medium, bug)?);
        let callers = (0..CLIENTS).map(|_| Caller::default()).collect();
        let (held, told) = (Held::default(), BTreeMap::new());
        Ok(Self { medium, bug, bank, held, callers, told, seen: CommitIndex(0) })
    }

    fn draw(&self, below: usize) -> usize {
        self.medium.borrow_mut().draw(below)
    }

    /// One client asks, the disk has its turn, and replies that may leave are delivered or lost.
    fn step(&mut self, new_work: bool) -> Result<(), String> {
        let who = self.draw(CLIENTS);
        let frame = self.next_frame(who, new_work);
        if let Some(frame) = frame
            && let Some(bank) = &mut self.bank
            && let Some(reply) = bank.handle_datagram(Instant::ZERO, &frame)
        {
            let store = bank.storage();
            let reply = (who, store.commit_index(), reply);
            if self.bug != Some(Bug::ReplyBeforeSync) && self.held.must_wait(store) {
                self.held.push(store, reply);
            } else {
                self.deliver(reply)?;
            }
        }
        let flush = |bank: &mut Bank| bank.storage_mut().flush().is_err();
        if self.draw(2) == 0 && self.bank.as_mut().is_some_and(flush) {
            return self.restart(false);
        }
        while let Some(bank) = &self.bank
            && let Some(reply) = self.held.pop(bank.storage())
        {
            if self.draw(5) != 0 {
                self.deliver(reply)?;
            }
        }
        Ok(())
    }

    fn next_frame(&mut self, who: usize, new_work: bool) -> Option<Bytes> {
        let (fresh, kind) = (self.draw(3) != 0, self.draw(10));
        let (from, cents) = (1 + self.draw(3) as u64, 1 + self.draw(900));
        let (account, to) = (AccountId(from), AccountId(from % ACCOUNTS + 1));
        let amount = Amount::new(cents as u64)?;
        let caller = &mut self.callers[who];
        let Some(client) = caller.lease else { return Some(hello(who as u64 + 1)) };
        if new_work && caller.open.len() < 8 && (fresh || caller.open.is_empty()) {
            caller.last += 1;
            let request = match kind {
                0..5 => Request::Deposit { account, amount },
                5..8 => Request::Transfer { from: account, to, amount },
                _ => Request::Balance { account },
            };
            caller.open.insert(caller.last, request);
        }
        let keys: Vec<u64> = caller.open.keys().copied().collect();
        let newest = new_work && fresh;
        let pick = if newest { keys.len().checked_sub(1)? } else { cents };
        let seq = *keys.get(pick % keys.len().max(1))?;
        Some(request(client, seq, keys[0] - 1, &caller.open[&seq]))
    }

    fn deliver(&mut self, reply: (usize, CommitIndex, Bytes)) -> Result<(), String> {
        let (who, saw, bytes) = reply;
        self.seen = self.seen.max(saw);
        let frame = Frame::parse(&bytes).map_err(|error| format!("{error:?}"))?;
        let &Header { client, seq, kind, .. } = frame.header();
        if kind == Kind::Welcome {
            let known = self.callers.iter_mut().find(|caller| caller.lease == Some(client));
            if known.is_none() && self.callers[who].lease.is_none() {
                self.callers[who].lease = Some(client);
            }
            return Ok(());
        }
        let answer = decode_answer(&frame).map_err(|error| format!("{error:?}"))?;
        let outcome = match answer {
            Answer::Done(reply) => Ok(reply),
            Answer::Refused(refusal @ Refusal::InsufficientFunds) => Err(refusal),
            // A failing disk: ask again.
            Answer::Indefinite { .. } => return Ok(()),
            other => return Err(format!("{client:x}/{seq} got {other:?}")),
        };
        let Some(caller) = self.callers.iter_mut().find(|caller| caller.lease == Some(client))
        else {
            return Ok(());
        };
        let key = Key { client, seq };
        match (caller.open.remove(&seq), self.told.get(&key)) {
            (Some(request), None) => {
                self.told.insert(key, (request, outcome));
            }
            // A read may change between two attempts.
            (_, Some((request, first)))
                if *first != outcome && request.operation().changes_the_ledger() =>
            {
                return Err(format!("{key:?} got {first:?}, then {outcome:?}"));
            }
            _ => {}
        }
        Ok(())
    }

    /// The process dies, in the middle of a write or not; perhaps the power fails as well.
    fn restart(&mut self, power_fails: bool) -> Result<(), String> {
        self.held.clear();
        let fuse = self.draw(4);
        self.medium.borrow_mut().fuse = Some(fuse);
        // What the writer was doing, up to the moment of death.
        let bank = self.bank.take().expect("a bank runs");
        let mut writer = bank.into_storage().into_writer();
        if let Some(batch) = writer.batch.take() {
            let _died = writer.write(batch);
        }
        self.medium.borrow_mut().fuse = None;
        if power_fails {
            self.medium.borrow_mut().lose_power();
        }
        let bank = open(&self.medium, self.bug)?;
        let found = bank.storage().commit_index();
        self.bank = Some(bank);
        if found < self.seen {
            return Err(format!("a reply saw {:?}, and {found:?} is left", self.seen));
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let store = self.bank.as_ref().expect("a bank runs").storage();
        let failed = |error: &dyn std::fmt::Debug| format!("{error:?}");
        let report = audit(store, &[], &[]).map_err(|error| failed(&error))?;
        if !report.balanced || report.keys_applied_twice > 0 {
            return Err(format!("{report:?}"));
        }
        let entries: Vec<_> =
            (1..=store.last_entry()).filter_map(|n| store.entry(n).ok().flatten()).collect();
        for (key, (request, outcome)) in &self.told {
            let found = entries.iter().find(|entry| entry.key == *key);
            let right = match (request, outcome) {
                (Request::Balance { .. }, _) | (_, Err(_)) => found.is_none(),
                (_, Ok(Reply::Deposited { balance, entry })) => found
                    .is_some_and(|found| (found.number, found.first.balance) == (*entry, *balance)),
                (_, Ok(Reply::Transferred { balance, entry })) => found
                    .is_some_and(|found| (found.number, found.first.balance) == (*entry, *balance)),
                _ => false,
            };
            if !right {
                return Err(format!("{key:?}: told {outcome:?} for {request:?}, found {found:?}"));
            }
        }
        Ok(())
    }
}

impl Medium {
    /// A medium without files; its seed fails no operation of a new log.
    fn blank() -> Self {
        let (names, stored_names) = (BTreeMap::new(), BTreeMap::new());
        Self { seed: 1, draws: 0, inodes: Vec::new(), names, stored_names, fuse: None }
    }
}

fn hello(nonce: u64) -> Bytes {
    let mut out = BytesMut::new();
    let max_frame = u32::try_from(MAX_DATAGRAM).unwrap();
    let hello = Hello { min_version: 1, max_version: 1, max_frame, nonce, features: 0 };
    encode_hello(&mut out, 0, &hello);
    out.freeze()
}

fn request(client: u64, seq: u64, ack_upto: u64, request: &Request) -> Bytes {
    let op = request.operation() as u8;
    let header = Header { op, client, seq, ack_upto, attempt: 1, ..Header::of(Kind::Request) };
    let mut out = BytesMut::new();
    encode_request(&mut out, &header, request, reply_room(request));
    out.freeze()
}

/// A run of crashes; says what went wrong.
fn run(seed: u64, bug: Option<Bug>) -> Result<(), String> {
    let mut world = World::new(seed, bug)?;
    for _ in 0..CRASHES_PER_RUN {
        for _ in 0..world.draw(60) {
            world.step(true)?;
        }
        let power_fails = world.draw(3) != 0;
        world.restart(power_fails)?;
    }
    for _ in 0..100_000 {
        if world.callers.iter().all(|caller| caller.open.is_empty()) {
            return world.check();
        }
        world.step(false)?;
    }
    Err("some requests are never answered".to_owned())
}

#[test]
fn nothing_acknowledged_is_lost_doubled_or_taken_back() {
    let runs = if std::env::var_os("WIRELAB_FULL").is_some() { 10_000 } else { 100 };
    for seed in 0..runs {
        if let Err(fault) = run(seed, None) {
            panic!("seed {seed} of bank_crash: {fault}");
        }
    }
}

#[test]
fn planted_bugs_are_found_within_a_thousand_crashes() {
    use Bug::*;
    for bug in [
        ReplyBeforeSync,
        KeyWithoutEffect,
        EffectWithoutKey,
        SyncErrorIgnored,
        SyncRetried,
        TornTailAccepted,
        NameNotSynced,
    ] {
        let found = (0..100).find(|seed| run(*seed, Some(bug)).is_err());
        assert!(found.is_some(), "{bug:?} was not found in 1,000 crashes");
    }
}

/// Every bit of a log before its last record: refused with the offset, and nothing is changed.
#[test]
fn a_flipped_bit_before_the_last_record_is_corruption() {
    let medium = Rc::new(RefCell::new(Medium::blank()));
    let handle = Handle { medium: Rc::clone(&medium), bug: None };
    let mut log = Log::open(handle, ACCOUNTS, OPENING).unwrap().log;
    for client in 1..=3 {
        let mut record = begin_record();
        let expire = Transaction { expire: Some(client), ..Transaction::default() };
        put_transaction(&mut record, &expire);
        let (after, upto) = (CommitIndex(client - 1), CommitIndex(client));
        log.append(&mut Batch { record, after, upto }).unwrap();
    }
    let whole = medium.borrow().inodes[medium.borrow().names[LOG]].cached.clone();
    let record = RECORD_HEADER_LEN + 16;
    let last = whole.len() - record;
    assert_eq!(last, FILE_HEADER_LEN + 2 * record);
    for bit in 0..last * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let medium = Rc::new(RefCell::new(Medium::blank()));
        medium.borrow_mut().change(LOG, Change::Write(0, bytes.clone()));
        let handle = Handle { medium: Rc::clone(&medium), bug: None };
        let byte = bit / 8;
        match Log::open(handle, ACCOUNTS, OPENING) {
            // Reserved bytes of the header, behind its checksum.
            Ok(_) => assert!((36..FILE_HEADER_LEN).contains(&byte), "bit {bit}"),
            Err(OpenError::Corrupt { offset, .. }) => {
                let begins = byte
                    .checked_sub(FILE_HEADER_LEN)
                    .map_or(0, |at| FILE_HEADER_LEN + at / record * record);
                assert_eq!(offset, begins as u64, "bit {bit}");
                assert_eq!(medium.borrow().inodes[0].cached, bytes, "bit {bit}");
            }
            Err(other) => panic!("bit {bit}: {other}"),
        }
    }
}
