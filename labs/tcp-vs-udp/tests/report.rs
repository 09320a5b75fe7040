//! The reports: text, HTML, JSON, events and captures.
//!
//! `UPDATE=1` rewrites the text snapshots; `PAGE_TO=FILE` keeps the page for viewing.

use crate::fixture::{self, arm};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use tcp_vs_udp::plan::Plan;
use tcp_vs_udp::report::events::{self, Event, LaneId, Outcome};
use tcp_vs_udp::report::html::render as html_of;
use tcp_vs_udp::report::ladder::{FrameSeen, SlowRequest};
use tcp_vs_udp::report::text::render;
use tcp_vs_udp::result::*;
use wirelab::measure::{Instant, Ppm};
use wirelab::path::Direction;
use wirelab::report::ndjson::Lines;
use wirelab::report::pcapng;
use wirelab::report::style::Style;
use wirelab_tests::page::{self, Scratch, assert_offline, browse, drawn, tool};

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// Compares with a file, or writes it if `UPDATE` is set.
fn snapshot(name: &str, got: &str) {
    let path = data(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, got).unwrap();
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(got == want, "{name} differs; UPDATE=1 rewrites it. Got:\n{got}");
}

#[test]
fn text_matches_snapshots_at_100_and_80_columns() {
    let result = fixture::result();
    for width in [100, 80] {
        let text = render(&result, Style { color: false, width });
        snapshot(&format!("report-{width}.txt"), &text);
        assert!(text.lines().count() <= 39, "a screen at {width}, with the page's line");
        for line in text.lines() {
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
    }
}

/// Unusual results that a report must handle, each with a description.
fn odd_results() -> Vec<(&'static str, RunResult)> {
    let mut empty = fixture::result();
    empty.stages.clear();
    empty.verdicts = tcp_vs_udp::verdict::verdicts(&empty.plan, &[], &empty.timing);
    empty.verdict = empty.verdicts[0].sentence.clone();
    empty.claims.clear();
    empty.cannot_tell.clear();
    let mut silent = fixture::result();
    for lane in silent.stages.iter_mut().flat_map(|s| &mut s.lanes) {
        lane.latency = Latency::default();
        lane.handshake = Some(Latency::default());
        lane.requests = Requests { started: 10, unknown: 10, ..Requests::default() };
        lane.traffic = Traffic { frames_per_request: 0.0, ..Traffic::default() };
        lane.path = [LinkAudit::default(), LinkAudit::default()];
        lane.loss_cost = LossCost::default();
    }
    silent.verdicts = tcp_vs_udp::verdict::verdicts(&silent.plan, &silent.stages, &silent.timing);
    silent.verdict = silent.verdicts[0].sentence.clone();
    let one = fixture::result_of(&Plan {
        arms: vec![arm("udp-once")],
        depths: vec![1],
        loss_ppm: vec![Ppm::ZERO],
        ops: 1,
        ..fixture::plan()
    });
    let mut sim = fixture::result();
    sim.mode = Mode::Sim;
    sim.host = Host::default();
    sim.left_out = vec![LeftOut { arm: arm("tcp"), reason: "TCP <needs> a kernel".to_owned() }];
    sim.stages.iter_mut().for_each(|s| s.lanes.retain(|l| !l.arm.name().starts_with("tcp")));
    let mut stopped = fixture::result();
    stopped.ended = Ended::Interrupted;
    stopped.stages.truncate(1);
    stopped.stages[0].lanes.truncate(3);
    stopped.timing.verdict = TimingVerdict::Suspect;
    let mut wrong = fixture::result();
    wrong.timing.verdict = TimingVerdict::Invalid;
    wrong.stages[2].lanes[0].ledger.balanced = false;
    wrong.stages[2].lanes[0].path[0].kernel_dropped = 3;
    wrong.claims[0].holds = Holds::No;
    wrong.claims[0].seen = "</script><b>3 & more</b>".to_owned();
    let all = fixture::result();
    vec![
        ("whole", all),
        ("empty", empty),
        ("silent", silent),
        ("one", one),
        ("sim", sim),
        ("stopped", stopped),
        ("wrong", wrong),
    ]
}

#[test]
fn text_marks_unusual_results() {
    for (name, result) in odd_results() {
        let plain = render(&result, Style { color: false, width: 100 });
        assert!(!plain.contains("NaN") && !plain.contains("inf "), "{name}\n{plain}");
        let inked = render(&result, Style { color: true, width: 100 });
        assert!(!plain.contains('\x1b') && inked.contains('\x1b'), "{name}");
        let mut bare = inked;
        while let Some(start) = bare.find('\x1b') {
            let end = start + bare[start..].find('m').unwrap();
            bare.replace_range(start..=end, "");
        }
        assert_eq!(bare, plain, "{name}: colour must not change the text");
        let says = match name {
            "empty" => "Nothing was measured",
            "silent" => "answered no request",
            "sim" => "tcp was not run: TCP <needs> a kernel",
            "stopped" => "stopped early",
            "wrong" => "✗ fails",
            _ => "repeat",
        };
        assert!(plain.contains(says), "{name} must say {says:?}:\n{plain}");
    }
}

#[test]
fn the_page_is_whole_offline_and_valid() {
    for (name, result) in odd_results() {
        let html = html_of(&result, &slow());
        if let Some(file) = std::env::var_os("PAGE_TO").filter(|_| name == "whole") {
            std::fs::write(file, &html).unwrap();
        }
        assert_offline(&html, name);
        let drawn = drawn(&html);
        for svg in drawn.split("<svg").skip(1) {
            let svg = svg.split("</svg>").next().unwrap();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{name}: {svg}");
        }
        assert_eq!(drawn.matches("<svg").count(), drawn.matches("</svg>").count(), "{name}");
        let data = page::data(&html);
        // Reading may round the last digit of a share, so only the numbers are compared.
        let (mut here, mut there) = (BTreeSet::new(), BTreeSet::new());
        numbers(&data["result"], &mut here);
        numbers(&serde_json::to_value(&result).unwrap(), &mut there);
        assert_eq!(here.len(), there.len(), "{name}");
    }
}

/// Every number of a JSON value, as written.
fn numbers(value: &serde_json::Value, found: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Number(number) => {
            found.insert(number.to_string());
        }
        serde_json::Value::Array(items) => items.iter().for_each(|v| numbers(v, found)),
        serde_json::Value::Object(fields) => fields.values().for_each(|v| numbers(v, found)),
        _ => {}
    }
}

#[test]
fn every_figure_of_the_tables_is_in_the_json() {
    let result = fixture::result();
    let html = html_of(&result, &[]);
    let mut known = BTreeSet::new();
    numbers(&serde_json::to_value(&result).unwrap(), &mut known);
    let shown: Vec<&str> =
        html.split("<data value=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(shown.len() > 1_000, "only {} figures", shown.len());
    for figure in shown {
        assert!(known.contains(figure), "{figure} is not in the JSON");
    }
}

#[test]
fn the_result_and_the_events_match_their_schemas() {
    let schema = serde_json::from_str(tcp_vs_udp::report::schema()).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    for (name, result) in odd_results() {
        let value = serde_json::to_value(&result).unwrap();
        let faults: Vec<String> =
            schema.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(faults.is_empty(), "{name}: {faults:#?}");
        let mut more = value.clone();
        more["surprise"] = 1.into();
        assert!(!schema.is_valid(&more), "{name}: an unknown field must not pass");
        let back: RunResult = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(serde_json::to_value(back).unwrap(), value, "{name}");
    }
    let schema = serde_json::from_str(tcp_vs_udp::report::events_schema()).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    for line in events().lines() {
        let value = serde_json::from_str(line).unwrap();
        assert!(schema.is_valid(&value), "{line}");
        let record: events::Record<'_> = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_string(&record).unwrap(), line);
    }
}

/// A run saved before verdicts and repetitions existed can still be shown.
#[test]
fn older_results_are_read() {
    fn without(value: &mut serde_json::Value, names: &[&str]) {
        match value {
            serde_json::Value::Array(items) => items.iter_mut().for_each(|v| without(v, names)),
            serde_json::Value::Object(fields) => {
                fields.retain(|name, _| !names.contains(&name.as_str()));
                fields.values_mut().for_each(|v| without(v, names));
            }
            _ => {}
        }
    }
    let mut value = serde_json::to_value(fixture::result()).unwrap();
    let added = ["verdicts", "loss_cost", "blocking", "mechanism", "repetitions"];
    without(&mut value, &added);
    without(&mut value["claims"], &["trials"]);
    without(&mut value, &["seeds", "in_flight_unknown"]);
    let result: RunResult = serde_json::from_value(value).unwrap();
    let text = render(&result, Style { color: false, width: 100 });
    assert!(text.starts_with(&result.verdict[..40]), "{text}");
    assert!(html_of(&result, &[]).contains("What a lost packet costs"));
}

/// One line of every kind.
fn events() -> String {
    let loss_ppm = fixture::ppm(20_000);
    let lane = LaneId { arm: arm("udp-once"), depth: 8, loss_ppm };
    let all = [
        Event::StageBegin { loss_ppm, repetition: 0 },
        Event::RequestFinished {
            lane,
            seq: 1_842,
            operation: "deposit",
            outcome: Outcome::Unknown,
            attempts: 3,
            latency_ns: 200_000_000,
        },
        Event::FrameLost {
            lane,
            direction: Direction::BToA,
            index: 9,
            len: 98,
            draw_ppm: 3_100,
            threshold_ppm: loss_ppm,
            seed: 42,
        },
        Event::StageEnd { loss_ppm, repetition: 0, elapsed_ns: 9_000 },
        Event::Summary { ended: Ended::Finished, requests: 1, frames_lost: 1 },
    ];
    let mut writer = Lines::new(Vec::new());
    for (event, at) in all.into_iter().zip(1..) {
        writer.write(&events::Record::new(Instant::from_nanos(at), event)).unwrap();
    }
    String::from_utf8(writer.finish().unwrap()).unwrap()
}

#[test]
fn events_are_one_line_each_as_documented() {
    let text = events();
    assert_eq!(text.lines().count(), 5);
    assert_eq!(
        text.lines().nth(2).unwrap(),
        r#"{"v":1,"t_ns":3,"type":"frame.lost","lane":{"arm":"udp-once","depth":8,"loss_ppm":20000},"direction":"b_to_a","index":9,"len":98,"draw_ppm":3100,"threshold_ppm":20000,"seed":42}"#
    );
}

const COMMENT: &str = "lost: draw 3100 ppm < 20000 ppm, seed 42, frame 9";

/// Two interfaces, one frame seen on both, then a lost one.
fn capture() -> Vec<u8> {
    let frame: Vec<u8> = (0..61).collect();
    let mut writer = pcapng::Writer::new(Vec::new(), "wirelab 0.1.0").unwrap();
    let left = writer.add_interface("client", "host A").unwrap();
    let right = writer.add_interface("server", "host B").unwrap();
    let time_ns = 1_795_348_800_123_456_789;
    for (interface, outbound, comment, packet_id) in
        [(left, true, None, 7), (right, false, None, 7), (left, true, Some(COMMENT), 8)]
    {
        let packet = pcapng::Packet {
            interface,
            time_ns,
            data: &frame,
            original_len: 61,
            comment,
            packet_id,
            outbound,
        };
        writer.packet(packet).unwrap();
    }
    let wrong = pcapng::Packet {
        interface: 2,
        time_ns,
        data: &frame,
        original_len: 61,
        comment: None,
        packet_id: 9,
        outbound: true,
    };
    assert!(writer.packet(wrong).is_err());
    writer.finish().unwrap()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Options from `at`: code and value.
fn options(block: &[u8], mut at: usize) -> Vec<(u16, Vec<u8>)> {
    let mut found = Vec::new();
    loop {
        let code = u16::from_le_bytes(block[at..at + 2].try_into().unwrap());
        let length = usize::from(u16::from_le_bytes(block[at + 2..at + 4].try_into().unwrap()));
        if code == 0 {
            assert_eq!(at + 4, block.len() - 4, "the end of options ends the block");
            return found;
        }
        found.push((code, block[at + 4..at + 4 + length].to_vec()));
        at += 4 + length.next_multiple_of(4);
    }
}

#[test]
fn captures_have_the_structure_of_the_draft() {
    let bytes = capture();
    let mut blocks = Vec::new();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let length = u32_at(rest, 4) as usize;
        assert_eq!(length % 4, 0);
        assert_eq!(u32_at(rest, length - 4) as usize, length, "both lengths agree");
        blocks.push(&rest[..length]);
        rest = &rest[length..];
    }
    let kinds: Vec<u32> = blocks.iter().map(|b| u32_at(b, 0)).collect();
    assert_eq!(kinds, [0x0A0D_0D0A, 1, 1, 6, 6, 6]);
    assert_eq!(u32_at(blocks[0], 8), 0x1A2B_3C4D);
    assert!(options(blocks[0], 24).contains(&(4, b"wirelab 0.1.0".to_vec())));
    let interface = options(blocks[1], 16);
    assert_eq!(interface, [(2, b"client".to_vec()), (3, b"host A".to_vec()), (9, vec![9])]);
    let packet = blocks[5];
    let time = u64::from(u32_at(packet, 12)) << 32 | u64::from(u32_at(packet, 16));
    assert_eq!(time, 1_795_348_800_123_456_789);
    assert_eq!((u32_at(packet, 20), u32_at(packet, 24)), (61, 61));
    assert_eq!(options(packet, 28 + 64)[0], (1, COMMENT.as_bytes().to_vec()));
    assert_eq!(options(packet, 28 + 64)[1], (2, vec![2, 0, 0, 0]));
    assert_eq!(options(packet, 28 + 64)[2].1, 8_u64.to_le_bytes());
}

#[test]
fn tshark_reads_the_capture() {
    let Some(tshark) = tool(&["tshark"], "captures read by Wireshark") else { return };
    let scratch = Scratch::new("capture");
    let file = scratch.file("capture.pcapng");
    std::fs::write(&file, capture()).unwrap();
    let fields = ["frame.interface_name", "frame.time_epoch", "frame.packet_id", "frame.comment"];
    let mut command = Command::new(tshark);
    command.arg("-r").arg(&file).args(["-T", "fields"]);
    let output = command.args(fields.iter().flat_map(|f| ["-e", f])).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    let last: Vec<&str> = lines[2].split('\t').collect();
    assert_eq!((last[0], last[2], last[3]), ("client", "8", COMMENT), "{text}");
    assert!(last[1].contains("123456789"), "nanoseconds are kept: {text}");
}

#[test]
fn a_real_browser_shows_the_page_and_runs_no_script() {
    let html = html_of(&fixture::result(), &slow());
    let Some(dom) = browse(&html, "the page in a real browser") else { return };
    assert_eq!(dom.matches("<figure>").count(), 2 + 2 + 10 + 4 + 1, "every drawing is there");
    assert!(dom.contains("What this run cannot tell"));
}

/// A lost reply, then a lost request, then an answer.
fn slow() -> Vec<SlowRequest> {
    let ms = 1_000_000;
    let frame = |t, direction, what: &str, lost| FrameSeen {
        t_ns: t * ms,
        delay_ns: 10 * ms,
        direction,
        what: what.to_owned(),
        lost,
    };
    let frames = vec![
        frame(0, Direction::AToB, "request", false),
        frame(10, Direction::BToA, "reply", true),
        frame(60, Direction::AToB, "request again", true),
        frame(180, Direction::AToB, "request again", false),
        frame(190, Direction::BToA, "reply from store", false),
    ];
    let arm = arm("udp-once");
    let operation = "deposit".to_owned();
    let loss_ppm = fixture::ppm(20_000);
    vec![SlowRequest {
        arm,
        depth: 1,
        loss_ppm,
        seq: 1_842,
        operation,
        latency_ns: 200 * ms,
        attempts: 3,
        frames,
    }]
}
