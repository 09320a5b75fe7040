//! Many walks with one memory: the same answers as walks that know nothing of each other, no
//! question asked twice or too much at a time, and no line of a list lost.

use dns_walk::batch::{BatchConfig, BatchResolver, QueryId, Stats};
use dns_walk::cache::Cache;
use dns_walk::demo::{Authority, Variant};
use dns_walk::event::{Event, Summary};
use dns_walk::input::{Lines, Shard};
use dns_walk::text::Question;
use dns_walk::walk::WalkConfig;
use dns_walk::{Name, RecordType};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;
use wirelab::measure::Instant;
use wirelab::measure::draw::keyed;
use wirelab_tests::lab::Lab;

const PORT: u16 = 5300;
/// Round trip in virtual time.
const RTT: Duration = Duration::from_millis(2);

fn question(text: &str) -> Question {
    let (asked, kind) = text.split_once(' ').unwrap_or((text, "A"));
    Question::new(Name::from_ascii(asked).unwrap(), kind.parse().unwrap())
}

/// Names of the demonstration, good and not.
const NAMES: [&str; 12] = [
    "www.igbank.com",
    "WWW.igbank.com",
    "igbank.com MX",
    "login.igbank.com AAAA",
    "shop.igbank.com",
    "lisbon.branch.igbank.com",
    "a.b.branch.igbank.com",
    "www.old.igbank.com",
    "www.igbank.com AAAA",
    "lobby.deep.igbank.com",
    "nowhere.igbank.com",
    "www.nowhere.example",
];

/// Results of a batch: the summary of every question by its tag.
struct Ended {
    summaries: BTreeMap<u64, Summary>,
    stats: Stats,
    /// The most queries that one server had at a time.
    at_once: u32,
}

/// Runs a fleet in virtual time; of a hundred queries `lost` are lost.
fn run(config: BatchConfig, asked: &[Question], lost: u64, seed: u64) -> Ended {
    let authority = Authority::demo(Variant::Sound).unwrap();
    let mut fleet = BatchResolver::new(config, authority.hints(PORT), seed, Cache::default());
    let mut now = Instant::ZERO;
    let mut waiting: VecDeque<_> = asked.iter().cloned().zip(0_u64..).collect();
    let mut arriving: VecDeque<(Instant, QueryId, SocketAddr, Vec<u8>)> = VecDeque::new();
    let mut open: BTreeMap<QueryId, SocketAddr> = BTreeMap::new();
    let mut summaries = BTreeMap::new();
    let (mut sent, mut at_once) = (0_u64, 0);
    loop {
        while fleet.has_room()
            && let Some((question, tag)) = waiting.pop_front()
        {
            fleet.ask(now, question, tag);
        }
        while let Some(query) = fleet.poll_release() {
            open.remove(&query);
        }
        while let Some(query) = fleet.poll_transmit() {
            sent += 1;
            open.insert(query.query, query.to);
            let there = open.values().filter(|to| **to == query.to).count();
            at_once = at_once.max(u32::try_from(there).unwrap());
            if keyed(seed, sent) % 100 >= lost
                && let Some(reply) = authority.reply(query.to.ip(), query.transport, &query.bytes)
            {
                arriving.push_back((now + RTT, query.query, query.to, reply));
            }
        }
        while let Some((tag, record)) = fleet.poll_event() {
            if let Event::Summary(summary) = record.event {
                assert!(summaries.insert(tag, *summary).is_none(), "{tag} ended twice");
            }
        }
        if fleet.is_idle() && waiting.is_empty() {
            assert!(open.is_empty(), "seed {seed}: queries were left open");
            return Ended { summaries, stats: fleet.stats(), at_once };
        }
        let next = fleet.poll_timeout().expect("a walk in flight has a time");
        match arriving.front() {
            Some((at, ..)) if *at <= next => {
                let (at, query, from, bytes) = arriving.pop_front().unwrap();
                now = now.max(at);
                fleet.handle_reply(now, query, from, &bytes);
            }
            _ => {
                now = now.max(next);
                fleet.handle_timeout(now);
            }
        }
    }
}

fn config(in_flight: u32, per_server: u32) -> BatchConfig {
    let usual = BatchConfig::default();
    let walk = WalkConfig { public_only: false, ..usual.walk };
    BatchConfig { walk, in_flight, per_server }
}

/// The answer part of a result.
fn essence(summary: &Summary) -> String {
    let mut answers: Vec<_> = summary.answers.iter().map(|a| (&a.name, &a.kind, &a.data)).collect();
    answers.sort();
    let aliases: Vec<_> = summary.aliases.iter().map(|a| (&a.name, &a.data)).collect();
    format!("{:?} {answers:?} {aliases:?}", summary.outcome)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_memory_gives_the_answers_of_many(
        picks in prop::collection::vec(0..NAMES.len(), 1..60),
        in_flight in 1_u32..40,
        per_server in 1_u32..8,
        lost in 0_u64..10,
        seed: u64,
    ) {
        let asked: Vec<Question> = picks.iter().map(|at| question(NAMES[*at])).collect();
        let together = run(config(in_flight, per_server), &asked, lost, seed);
        prop_assert_eq!(together.summaries.len(), asked.len(), "a question was lost");
        let mut alone = BTreeMap::new();
        for (pick, question) in picks.iter().zip(&asked) {
            alone.entry(*pick).or_insert_with(|| {
                run(config(1, 100), std::slice::from_ref(question), 0, seed)
            });
        }
        for ((tag, pick), question) in (0_u64..).zip(&picks).zip(&asked) {
            let (got, wanted) = (&together.summaries[&tag], &alone[pick].summaries[&0]);
            prop_assert_eq!(essence(got), essence(wanted), "{}", question.name);
        }
    }

    #[test]
    fn every_name_is_in_one_part(
        names in prop::collection::vec("[a-z0-9]{1,12}(\\.[a-z]{1,8}){0,3}", 1..50),
        of in 1_u64..20,
    ) {
        for name in names {
            let [small, large] = [name.clone(), name.to_uppercase()]
                .map(|text| Name::from_ascii(text).unwrap());
            let holds = |name: &Name, part: u64| {
                format!("{part}/{of}").parse::<Shard>().unwrap().holds(name)
            };
            let in_parts = (1..=of).filter(|part| holds(&small, *part)).count();
            prop_assert_eq!(in_parts, 1, "{}", name);
            for part in 1..=of {
                prop_assert_eq!(holds(&small, part), holds(&large, part), "{}", name);
            }
        }
    }
}

#[test]
fn nobody_is_asked_twice_or_too_much() {
    let asked: Vec<Question> = (0..500).map(|n| question(&format!("n{n}.igbank.com"))).collect();
    let ended = run(config(500, 10), &asked, 0, 7);
    assert_eq!(ended.stats.absences, 500);
    // The root and com once, igbank.com for every name, and the root once for its own servers.
    assert_eq!(ended.stats.queries, 503, "{:?}", ended.stats);
    assert_eq!(ended.at_once, 10, "{:?}", ended.stats);
    let same = vec![question("www.igbank.com"); 100];
    let ended = run(config(500, 10), &same, 0, 7);
    assert_eq!((ended.stats.queries, ended.stats.twins), (4, 99));
}

#[test]
fn walks_that_wait_for_each_other_end() {
    let asked: Vec<Question> = (0..300).map(|n| question(&format!("n{n}.igbank.com"))).collect();
    for seed in 0..10 {
        let ended = run(config(300, 2), &asked, 20, seed);
        assert_eq!(ended.summaries.len(), 300, "seed {seed}");
        let lost = ended.stats.inconclusive();
        assert_eq!(lost, 0, "seed {seed}: {:?}", ended.stats);
    }
}

/// A walk whose lost query to the root held the only place there, for which its next query waited.
#[test]
fn a_walk_never_waits_for_the_place_of_its_own_lost_query() {
    let seed = 6_037_611_089_074_931_172;
    for case in 0..200 {
        let draw = |n: u64| usize::try_from(keyed(case, n) % 60).unwrap();
        let asked: Vec<Question> =
            (0..=draw(0)).map(|n| question(NAMES[draw(n as u64 + 1) % NAMES.len()])).collect();
        let ended = run(config(40, 1), &asked, 6, seed);
        assert_eq!(ended.summaries.len(), asked.len(), "case {case}");
        let inconclusive = ended.stats.inconclusive();
        assert_eq!(inconclusive, 0, "case {case}: {:?}", ended.stats);
    }
}

fn lines(text: &[u8], piece: usize) -> Vec<String> {
    let read = |name: &str, _: Option<&str>| {
        Ok(Question::new(Name::from_ascii(name).unwrap(), RecordType::A))
    };
    let mut lines = Lines::new(Box::new(read), Shard::ALL);
    let mut out = Vec::new();
    text.chunks(piece).for_each(|piece| lines.feed(piece, &mut out));
    lines.end(&mut out);
    let show = |line: &dns_walk::input::Line| match line {
        Ok((line, question)) => format!("{line} {}", question.name),
        Err(bad) => bad.to_string(),
    };
    out.iter().map(show).collect()
}

#[test]
fn lines_come_in_pieces_of_any_size() {
    let long = "x".repeat(1_201);
    let text =
        format!("a.example A\r\n\n# remark\n b.example # c\n{long}\nd.e A A\nz").into_bytes();
    let whole = lines(&text, text.len());
    assert_eq!(whole.len(), 5, "{whole:?}");
    assert_eq!(whole[..2], ["1 a.example.", "4 b.example."]);
    assert!(whole[2].starts_with("line 5, column 1201: expected at most 1200 bytes"), "{whole:?}");
    assert_eq!(whole[3], "line 6, column 7: expected NAME [TYPE], got \"A\" too");
    assert_eq!(whole[4], "7 z.");
    for piece in 1..20 {
        assert_eq!(lines(&text, piece), whole, "pieces of {piece}");
    }
    let bad = lines(b"ok\nb\xff\n", 3);
    assert!(bad[1].starts_with("line 2, column 2: expected UTF-8"), "{bad:?}");
}

/// Whether every line is as the schema says, and the schema says enough to find what is not.
fn assert_told_as_the_schema_says(out: &[Value]) {
    let schema = dns_walk::report::list_schema().unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    for line in out {
        let wrong: Vec<String> =
            schema.iter_errors(line).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert_eq!(wrong, Vec::<String>::new(), "{line}");
        for (name, value) in [("line", Value::Null), ("surprise", 1.into())] {
            let mut other = line.clone();
            other[name] = value;
            assert!(!schema.is_valid(&other), "must not pass: {other}");
        }
        let mut none = line.clone();
        none.as_object_mut().unwrap().remove("line");
        assert!(!schema.is_valid(&none), "must not pass: {none}");
    }
}

/// Runs the lab with a list; its exit code, the lines of stdout, and stderr.
fn list(lab: &Lab, args: &str, list: &str) -> (i32, Vec<Value>, String) {
    std::fs::write(lab.folder.join("list"), list).unwrap();
    let input = std::fs::File::open(lab.folder.join("list")).unwrap();
    let mut command = lab.command(args);
    let out = command.stdin(Stdio::from(input)).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (out.status.code().unwrap(), lines, String::from_utf8(out.stderr).unwrap())
}

#[test]
fn every_line_has_a_result_through_loss() {
    let lab = Lab::new("dns-walk");
    let mut text = String::from("www.igbank.com\nbad..name\nwww.igbank.com BOGUS\n");
    (0..200).for_each(|n| text += &format!("n{n}.igbank.com\n"));
    let (code, out, err) = list(&lab, "- --demo broken --loss 5% --seed 7", &text);
    assert_eq!(code, 2, "{err}");
    assert_told_as_the_schema_says(&out);
    let mut seen: Vec<u64> = out.iter().map(|line| line["line"].as_u64().unwrap()).collect();
    seen.sort_unstable();
    assert_eq!(seen, (1..=203).collect::<Vec<_>>(), "{err}");
    for line in &out {
        let (number, kind) = (line["line"].as_u64().unwrap(), line["type"].as_str().unwrap());
        let outcome = line["outcome"].as_str();
        match number {
            1 => assert_eq!(line["answers"][0]["data"], "203.0.113.99", "{line}"),
            2 | 3 => assert_eq!(kind, "error", "{line}"),
            _ => assert_eq!(outcome, Some("nx_domain"), "{line}"),
        }
    }
    assert!(err.contains("line 2, column 1: expected a domain name"), "{err}");
    assert!(err.contains("line 3, column 16: expected a record type"), "{err}");
    assert!(err.contains("2 lines could not be read"), "{err}");
}

#[test]
fn shards_of_a_list_are_the_list() {
    let lab = Lab::new("dns-walk");
    let text: String = (0..60).map(|n| format!("n{n}.igbank.com\n")).collect();
    let mut all = Vec::new();
    for part in 1..=3 {
        let (code, out, err) = list(&lab, &format!("- --demo --seed 1 --shard {part}/3"), &text);
        assert_eq!(code, 0, "{err}");
        all.extend(out.iter().map(|line| line["line"].as_u64().unwrap()));
    }
    all.sort_unstable();
    assert_eq!(all, (1..=60).collect::<Vec<_>>());
    let steps = list(&lab, "- --demo --seed 1 --events -", "www.igbank.com\n").1;
    let kinds: Vec<_> = steps.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["start", "exchange", "exchange", "exchange", "exchange", "summary"]);
    assert_told_as_the_schema_says(&steps);
}
