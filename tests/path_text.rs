//! The link model's text: plans and recordings, parsed and written.
//! The manual's examples are typed here by hand: parser and writer could share an error.

use proptest::prelude::*;
use std::num::NonZeroU32;
use std::time::Duration;
use wirelab::measure::{Instant, Ppm};
use wirelab::path::{
    Bottleneck, Bytes, Change, Corruption, Delay, Direction, Discipline, DrawKey, Fate, Frame,
    FromFile, Link, LinkPlan, LossModel, MtuLimit, Overhead, PlanError, Police, Queue, QueueLimit,
    Rate, Recording, Release, Reorder, Setting, fold_fate,
};

/// The files named by plans of these tests.
fn files(name: &str) -> Result<String, String> {
    let text = match name {
        "losses" => "# lost on Monday\n3\n\n8\n13\n",
        "delays" => "12ms\n9.5ms\n40ms\n",
        "trips" => "20ms\n10ms\n",
        "ping" => {
            "PING 10.0.0.2 (10.0.0.2) 56(84) bytes of data.\n\
             64 bytes from 10.0.0.2: icmp_seq=1 ttl=64 time=20.5 ms\n\
             64 bytes from 10.0.0.2: icmp_seq=2 ttl=64 time=10 ms\n\
             \n\
             --- 10.0.0.2 ping statistics ---\n\
             2 packets transmitted, 2 received, 0% packet loss, time 1001ms\n"
        }
        "trace" => "1\n1\n4\n10\n",
        "empty" => "# nothing\n",
        "words" => "1\ntwo\n",
        "descending" => "5\n4\n",
        "still" => "0\n0\n",
        _ => return Err("no such file".to_owned()),
    };
    Ok(text.to_owned())
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Sets one word of an empty plan, with rate and delay set so that it is complete.
fn set(word: &str, text: &str) -> Result<LinkPlan, PlanError> {
    let mut plan = LinkPlan::default();
    let rest = [("rate", "20Mbit"), ("delay", "uniform:40ms,5ms")];
    let mut pairs: Vec<_> = rest.into_iter().filter(|(other, _)| *other != word).collect();
    pairs.push((word, text));
    plan.set_all(&pairs, &mut files)?;
    Ok(plan)
}

#[test]
fn every_form_is_read_and_written_back() {
    for (word, text, written) in [
        ("key", "order", None),
        ("key", "time:1ms", None),
        ("key", "content", None),
        ("loss", "2%", None),
        ("loss", "500ppm", Some("0.05%")),
        ("loss", "gilbert:1%,30%", None),
        ("loss", "gemodel:1%,30%,100%,0%", Some("gilbert:1%,30%")),
        ("loss", "gemodel:1%,30%,90%,0.1%", None),
        ("loss", "4state:1%,20%,15%,30%,2%", None),
        ("loss", "list:losses", None),
        ("max-burst", "3", None),
        ("corrupt", "1%", None),
        ("corrupt", "1%,repair", None),
        ("corrupt", "1%,repair,bits=3", Some("1%,bits=3,repair")),
        ("duplicate", "1%", None),
        ("mark", "1%", None),
        ("mtu", "1400", None),
        ("mtu", "1400,blackhole", None),
        ("overhead", "24B", None),
        ("overhead", "24B,atm,mpu=84B", Some("24B,mpu=84B,atm")),
        ("overhead", "-4B,atm", None),
        ("overhead", "0B,mpu=64B", None),
        ("police", "10Mbit,burst=32kB", None),
        ("police", "0.5Mbit/s, burst=1514B", Some("500kbit,burst=1514B")),
        ("rate", "20Mbit", None),
        ("rate", "0.5 Mbit/s", Some("500kbit")),
        ("rate", "1Gbit", None),
        ("rate", "trace:trace", None),
        ("queue", "64kB", None),
        ("queue", "droptail:50p", Some("50p")),
        ("queue", "drophead:64kB", None),
        ("queue", "codel:1000p", None),
        ("queue", "codel,target=5ms,interval=100ms,ecn:100p", Some("codel,ecn:100p")),
        ("queue", "codel,target=1ms,interval=20ms:100p", None),
        ("delay", "40ms", None),
        ("delay", "1.5s", Some("1500ms")),
        ("delay", "uniform:40ms,5ms", None),
        ("delay", "normal:40ms,5ms", None),
        ("delay", "pareto:40ms,5ms", None),
        ("delay", "table:delays", None),
        ("delay", "rtt-table:trips", None),
        ("delay", "rtt-table:ping", None),
        ("reorder", "jitter", None),
        ("reorder", "25%", None),
        ("reorder", "25%,gap=5", None),
        ("at", "2s down for 3s", None),
        ("at", "at 5s loss 20%", Some("5s loss 20%")),
        ("at", "7s delay 100ms for 2s", None),
        ("at", "9s rate 1Mbit/s", Some("9s rate 1Mbit")),
        ("at", "9s loss list:losses for 1s", None),
        ("at", "1ms corrupt 1%,repair", None),
        ("at", "0 duplicate 2%", None),
    ] {
        let plan = set(word, text).unwrap_or_else(|error| panic!("{word} {text}: {error}"));
        let settings = plan.settings();
        let got = settings.iter().find(|(other, _)| *other == word).map(|(_, text)| text.as_str());
        // A plan omits its defaults.
        let plain = text == "order" || (word, text) == ("queue", "droptail:100p");
        assert_eq!(got, (!plain).then_some(written.unwrap_or(text)), "{word} {text}");
    }
}

#[test]
fn files_are_sorted_and_halved() {
    let Delay::Table(delays) = set("delay", "table:delays").unwrap().delay else { panic!() };
    assert_eq!(delays.values[..], [Duration::from_micros(9_500), ms(12), ms(40)]);
    for (text, longest) in [("rtt-table:trips", 10_000), ("rtt-table:ping", 10_250)] {
        let Delay::RttTable(trips) = set("delay", text).unwrap().delay else { panic!() };
        assert_eq!(trips.values[..], [ms(5), Duration::from_micros(longest)], "{text}");
    }
}

/// Each value of a word is refused with a message that contains these parts; without parts it is
/// accepted.
fn refused(mistakes: &[(&str, &str, &[&str])]) {
    for (word, text, parts) in mistakes {
        let got = set(word, text).map(|_| String::new()).unwrap_or_else(|error| error.to_string());
        let said = parts.iter().all(|part| got.contains(part));
        assert!(said && (parts.is_empty() == got.is_empty()), "{word} {text}: {got:?}");
    }
}

#[test]
fn a_rate_error_names_expected_and_found() {
    refused(&[
        ("overhead", "24", &["-14B to 300B", "\"24\""]),
        ("overhead", "-15B", &["expected -14B to 300B", "-15B"]),
        ("overhead", "1kB", &["expected -14B to 300B"]),
        ("overhead", "24B,mpu=2kB", &["at most 1514B"]),
        ("overhead", "24B,adsl", &["perhaps mpu=BYTES", "\"24B,adsl\""]),
        ("police", "10Mbit", &["police: expected", "10Mbit,burst=32kB", "\"10Mbit\""]),
        ("police", "0Mbit,burst=32kB", &["a rate and a burst"]),
        ("police", "10Mbit,burst=1kB", &["1514B, the longest frame", "1kB"]),
        ("police", "10Mbit,burst=2GB", &["to 1GB"]),
        ("police", "9999Gbit,burst=2kB", &["1bit to 1000Gbit", "9999Gbit"]),
        ("rate", "0Mbit", &["rate: expected", "20Mbit", "\"0Mbit\""]),
        ("rate", "20", &["20Mbit", "\"20\""]),
        ("rate", "20MB", &["20Mbit", "\"20MB\""]),
        ("rate", "9999Gbit", &["at most 1000Gbit", "9999Gbit"]),
        ("rate", "99999999999999999999bit", &["20Mbit"]),
        ("rate", "trace:still", &["still: the last line is 0"]),
        ("rate", "trace:descending", &["descending, line 2", "not before the one above"]),
    ]);
}

#[test]
fn errors_name_expected_and_found() {
    refused(&[
        ("loss", "2", &["loss: expected", "a share such as 2%", "\"2\""]),
        ("loss", "101%", &["at most 100%", "\"101%\""]),
        ("loss", "-1%", &["\"-1%\""]),
        ("loss", "NaN%", &["\"NaN%\""]),
        ("loss", "gilbert:1%", &["gilbert:p,r", "\"gilbert:1%\""]),
        ("loss", "gilbert:1%,2%,3%", &["gilbert:p,r"]),
        ("loss", "4state:60%,1%,1%,1%,60%", &["p13 + p14", "above 100%"]),
        ("loss", "list:absent", &["absent: no such file"]),
        ("loss", "list:words", &["words, line 2", "number of a frame", "\"a\""]),
        ("loss", "list:descending", &["descending, line 2", "above the one before", "\"0\""]),
        ("loss", "list:empty", &["empty, line 1", "at least one value"]),
        ("max-burst", "0", &["1 or more", "\"0\""]),
        ("corrupt", "1%,bits=0", &["1 to 255", "\"1%,bits=0\""]),
        ("corrupt", "1%,bits=256", &["1 to 255"]),
        ("corrupt", "1%,mend", &["repair", "\"1%,mend\""]),
        ("duplicate", "1e9%", &["duplicate", "a share"]),
        ("mtu", "500", &["576 to 65535", "\"500\""]),
        ("mtu", "70000", &["576 to 65535"]),
        ("queue", "100", &["64kB or 100p", "\"100\""]),
        ("queue", "0p", &["at least one frame", "0p"]),
        ("queue", "100B", &["at least 1514B", "100B"]),
        ("queue", "9999999p", &["at most 1048576p"]),
        ("queue", "ecn:100p", &["droptail:", "\"ecn:100p\""]),
        ("queue", "drophead,ecn:100p", &["codel"]),
        ("queue", "codel,target=200ms:100p", &["below the interval", "200ms and 100ms"]),
        ("delay", "40", &["a duration such as 40ms", "\"40\""]),
        ("delay", "-40ms", &["\"-40ms\""]),
        ("delay", "2min", &[]),
        ("delay", "61min", &["at most an hour", "3660s"]),
        ("delay", "99999999999s", &["a duration such as 40ms"]),
        ("delay", "uniform:5ms,40ms", &["half the width", "40ms at a mean of 5ms"]),
        ("delay", "normal:5ms,40ms", &["the deviation"]),
        ("delay", "pareto:5ms,9ms", &["root of 3"]),
        ("delay", "pareto:5ms,8.6ms", &[]),
        ("delay", "normal:5ms", &["normal:40ms,5ms", "\"5ms\""]),
        ("delay", "gamma:5ms,1ms", &["normal:40ms,5ms", "\"gamma:5ms,1ms\""]),
        ("delay", "rtt-table:words", &["words, line 1", "a round trip"]),
        ("reorder", "gap=0", &["gap=N (1 or more)", "\"gap=0\""]),
        ("reorder", "25%,gap=0", &["gap=N (1 or more)"]),
        ("reorder", "sometimes", &["never, jitter"]),
        ("key", "time:0", &["a slot above 0"]),
        ("key", "weather", &["order, time:1ms or content", "\"weather\""]),
        ("at", "2s", &["down, loss, delay", "\"2s\""]),
        ("at", "2s down 3s", &["down, loss, delay"]),
        ("at", "2s down for always", &["a duration", "\"always\""]),
        ("at", "soon down", &["a duration", "\"soon\""]),
        ("at", "2s down for 0", &["a time above 0"]),
        ("at", "2s loss 200%", &["loss: expected", "\"200%\""]),
        ("weather", "fine", &["expected one of key, loss", "\"weather\""]),
    ]);
}

#[test]
fn conflicting_words_are_refused() {
    for (pairs, part) in [
        (&[("queue", "100p")][..], "a queue needs a rate"),
        (&[("loss", "1%"), ("loss", "2%")], "loss is set twice"),
        (&[("key", "content"), ("loss", "gilbert:1%,30%")], "needs an order of frames"),
        (&[("key", "content"), ("at", "1s loss gilbert:1%,30%")], "needs an order of frames"),
        (&[("key", "time:1ms"), ("loss", "list:losses")], "needs key order"),
        (&[("at", "1s rate 1Mbit")], "no rate that could change"),
        (&[("reorder", "jitter"), ("delay", "40ms")], "a delay that varies"),
        (&[("overhead", "24B")], "an overhead counts at a rate"),
        (&[("reorder", "25%")], "reorder needs a delay"),
    ] {
        let mut plan = LinkPlan::default();
        let error = plan.set_all(pairs, &mut files).unwrap_err().to_string();
        // "bursts need" and the like: one sentence each.
        let said = error.contains(part) || error.contains(&part.replace("needs", "need"));
        assert!(said, "{pairs:?}: {error}");
        assert_eq!(plan, LinkPlan::default(), "{pairs:?} changed the plan");
    }
}

// ---- any plan ---------------------------------------------------------------------------------

fn ppm() -> impl Strategy<Value = Ppm> {
    prop_oneof![Just(0), Just(1_000_000), 0..=1_000_000_u32].prop_map(|p| Ppm::new(p).unwrap())
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (1..3_600_u64).prop_map(Duration::from_secs),
        (1..10_000_000_000_u64).prop_map(Duration::from_nanos)
    ]
}

fn file<T: std::fmt::Debug + Clone>(name: &'static str, values: Vec<T>) -> FromFile<T> {
    FromFile::new(name, values)
}

fn loss() -> impl Strategy<Value = LossModel> {
    let half = || (0..=500_000_u32).prop_map(|p| Ppm::new(p).unwrap());
    let ge = (ppm(), ppm(), ppm(), ppm()).prop_map(|(p, r, loss_bad, loss_good)| {
        LossModel::GilbertElliott { p, r, loss_bad, loss_good }
    });
    let four = (half(), half(), half(), half(), half())
        .prop_map(|(p13, p31, p32, p23, p14)| LossModel::FourState { p13, p31, p32, p23, p14 });
    let list = file("losses", vec![3, 8, 13]);
    let iid = ppm().prop_map(LossModel::Iid);
    prop_oneof![Just(LossModel::None), iid, ge, four, Just(LossModel::Recorded(list))]
}

fn delay() -> impl Strategy<Value = Delay> {
    let two = || (duration(), 0..=100_u32).prop_map(|(mean, share)| (mean, mean * share / 100));
    let table = file("delays", vec![Duration::from_micros(9_500), ms(12), ms(40)]);
    let trips = file("trips", vec![ms(5), ms(10)]);
    prop_oneof![
        duration().prop_map(Delay::Constant),
        two().prop_map(|(mean, half_width)| Delay::Uniform { mean, half_width }),
        two().prop_map(|(mean, deviation)| Delay::Normal { mean, deviation }),
        two().prop_map(|(mean, deviation)| Delay::Pareto { mean, deviation }),
        Just(Delay::Table(table)),
        Just(Delay::RttTable(trips)),
    ]
}

fn rate() -> impl Strategy<Value = Rate> {
    let trace = file("trace", vec![1, 1, 4, 10]);
    prop_oneof![(1..=1_000_000_000_000_u64).prop_map(Rate::Constant), Just(Rate::Trace(trace))]
}

fn bottleneck() -> impl Strategy<Value = Bottleneck> {
    let limit = prop_oneof![
        (1..=1_048_576_u32).prop_map(QueueLimit::Packets),
        (1514..10_000_000_000_u64).prop_map(QueueLimit::Bytes),
    ];
    let codel = (duration(), duration(), any::<bool>()).prop_map(|(target, more, ecn)| {
        (Discipline::CoDel { target, interval: target + more }, ecn)
    });
    let plain = [Discipline::DropTail, Discipline::DropHead].map(|discipline| (discipline, false));
    let discipline = prop_oneof![Just(plain[0]), Just(plain[1]), codel];
    (rate(), limit, discipline).prop_map(|(rate, limit, (discipline, ecn))| Bottleneck {
        rate,
        queue: Queue { limit, discipline, ecn },
    })
}

fn corruption() -> impl Strategy<Value = Corruption> {
    (ppm(), 1..=255_u8, any::<bool>()).prop_map(|(share, bits, repair)| Corruption {
        share,
        bits,
        repair,
    })
}

fn change() -> impl Strategy<Value = Change> {
    let what = prop_oneof![
        Just(Setting::Down),
        loss().prop_map(Setting::Loss),
        delay().prop_map(Setting::Delay),
        rate().prop_map(Setting::Rate),
        corruption().prop_map(Setting::Corrupt),
        ppm().prop_map(Setting::Duplicate),
    ];
    (duration(), prop::option::of(duration()), what).prop_map(|(at, lasting, what)| Change {
        at,
        lasting,
        what,
    })
}

fn plan() -> impl Strategy<Value = LinkPlan> {
    let key = prop_oneof![
        Just(DrawKey::Order),
        Just(DrawKey::Content),
        duration().prop_map(|slot| DrawKey::Time { slot }),
    ];
    let mtu = (576..=u16::MAX, any::<bool>())
        .prop_map(|(bytes, black_hole)| MtuLimit { bytes, black_hole });
    let overhead = (-14..=300_i16, 0..=1514_u16, any::<bool>())
        .prop_map(|(bytes, mpu, atm)| Overhead { bytes, mpu, atm });
    let police = (1..=1_000_000_000_000_u64, 1514..=1_000_000_000_u64)
        .prop_map(|(rate, burst)| Police { rate, burst });
    let reorder = prop_oneof![
        Just(Reorder::Never),
        Just(Reorder::ByJitter),
        (1..1_000_u64).prop_map(|n| Reorder::NeverInSlots { slot: Duration::from_millis(n) }),
        (ppm(), 1..100_u32)
            .prop_map(|(share, gap)| Reorder::Share { share, gap: NonZeroU32::new(gap).unwrap() }),
    ];
    let burst = prop::option::of((1..100_u32).prop_map(|n| NonZeroU32::new(n).unwrap()));
    let first = (key, loss(), burst, corruption(), ppm(), ppm());
    let rest = (
        prop::option::of(mtu),
        overhead,
        prop::option::of(police),
        prop::option::of(bottleneck()),
        delay(),
        reorder,
        prop::collection::vec(change(), 0..4),
    );
    (first, rest).prop_map(|((key, loss, max_burst, corrupt, duplicate, mark), rest)| {
        let (mtu, overhead, police, rate, delay, reorder, timetable) = rest;
        LinkPlan {
            key,
            loss,
            max_burst,
            corrupt,
            duplicate,
            mark,
            mtu,
            overhead,
            police,
            rate,
            delay,
            reorder,
            timetable,
        }
    })
}

/// The same, restricted to valid plans.
fn sound_plan() -> impl Strategy<Value = LinkPlan> {
    plan().prop_filter("parts that cannot stand together", |plan| plan.check().is_ok())
}

proptest! {
    #[test]
    fn every_plan_reads_back_as_it_was_written(plan in sound_plan()) {
        let settings = plan.settings();
        let mut pairs: Vec<_> =
            settings.iter().map(|(word, text)| (*word, text.as_str())).collect();
        pairs.reverse();
        // The order of words does not matter, that of changes does.
        pairs.sort_by_key(|(word, _)| *word != "at");
        let changes = pairs.iter().filter(|(word, _)| *word == "at").count();
        pairs[..changes].reverse();
        let mut read = LinkPlan::default();
        read.set_all(&pairs, &mut files).unwrap();
        prop_assert_eq!(read, plan);
    }

    #[test]
    fn a_replayed_run_is_the_run(
        plan in sound_plan(), seed in any::<u64>(),
        gaps in prop::collection::vec((0..3_000_000_u64, 60..1515_u32), 0..100),
    ) {
        let direction = Direction::BToA;
        let mut recording = Recording::new([None, plan.mtu]);
        let mut link = Link::new(plan, seed, direction).starting_at(Instant::ZERO);
        let first = run(&mut link, &gaps, Some(&mut recording));
        let text = recording.to_string();
        let read = Recording::parse("run", &text).unwrap();
        prop_assert_eq!(read.to_string(), text);
        let mut again = Link::replaying(&read, direction);
        let second = run(&mut again, &gaps, None);
        prop_assert_eq!(first, second);
        prop_assert_eq!(again.beyond(), 0);
    }

    #[test]
    fn a_recording_is_read_or_refused(text in any_recording()) {
        if let Ok(recording) = Recording::parse("run", &text) {
            let mut link = Link::replaying(&recording, Direction::AToB);
            for _ in 0..20 {
                let frame = Frame { bytes: Bytes::Payload(&[]), length: 60 };
                link.handle_frame(Instant::ZERO, frame, 0);
            }
            while link.poll_release(Instant::ZERO).is_some() {}
        }
    }
}

/// Texts similar to a recording.
fn any_recording() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("a"),
        Just("b"),
        Just("frames=9"),
        Just("hold=5ms"),
        Just("mtu=1400"),
        Just("3"),
        Just("drop=loss"),
        Just("draw=7"),
        Just("copies=2"),
        Just("queued=2"),
        Just("end=9ms"),
        Just("end=co_del"),
        Just("flip=1f,3"),
        Just("mark"),
        Just("overtakes"),
        Just("\n"),
        Just("99999999999999999999"),
        Just("hold=-1"),
        Just("#"),
    ];
    prop::collection::vec(word, 0..40)
        .prop_map(|words| format!("wirelab-recording 1\na frames=9\n{}", words.join(" ")))
}

/// Values compared between runs: the digest of fates, and the releases.
fn run(
    link: &mut Link,
    gaps: &[(u64, u32)],
    mut recording: Option<&mut Recording>,
) -> (u64, Vec<Fate>, Vec<Release>) {
    let (mut digest, mut fates, mut releases) = (0, Vec::new(), Vec::new());
    let mut now = Instant::ZERO;
    for (token, (gap, length)) in (0..).zip(gaps) {
        now += Duration::from_nanos(*gap);
        let bytes = [7; 20];
        let frame = Frame { bytes: Bytes::Payload(&bytes), length: *length };
        let mut fate = link.handle_frame(now, frame, token);
        if let Some(recording) = &mut recording {
            recording.note(Direction::BToA, now, &fate);
        }
        digest = fold_fate(digest, &fate);
        // Draws that lost nothing are not recorded.
        if !matches!(fate.verdict, wirelab::path::Verdict::Dropped(_)) {
            fate.loss_draw_ppm = 0;
        }
        fates.push(fate);
    }
    while let Some(next) = link.poll_timeout() {
        while let Some(release) = link.poll_release(next) {
            if let Some(recording) = &mut recording {
                recording.note_release(Direction::BToA, &release);
            }
            releases.push(release);
        }
    }
    // A replay knows at once what a queue finds out later.
    releases.sort_by_key(|release| release.index);
    (digest, fates, releases)
}

#[test]
fn frames_beyond_the_recording_are_delivered_and_counted() {
    let text = "wirelab-recording 1\na frames=2 hold=40ms\na 0 drop=burst draw=12\n";
    let recording = Recording::parse("run", text).unwrap();
    assert_eq!(recording.frames(Direction::AToB), 2);
    let mut link = Link::replaying(&recording, Direction::AToB);
    let verdicts: Vec<String> = (0..4)
        .map(|_| {
            let frame = Frame { bytes: Bytes::Payload(&[]), length: 60 };
            format!("{:?}", link.handle_frame(Instant::ZERO, frame, 0).verdict)
        })
        .collect();
    assert_eq!(verdicts[0], "Dropped(Burst)");
    assert!(verdicts[1..].iter().all(|verdict| *verdict == verdicts[1]));
    assert!(verdicts[1].contains("40000000"), "{}", verdicts[1]);
    assert_eq!(link.beyond(), 2);
}

#[test]
fn a_wrong_line_of_a_recording_is_named() {
    for (text, parts) in [
        ("", &["run, line 1", "wirelab-recording 1"][..]),
        ("wirelab-recording 2\n", &["line 1", "\"a-a 0\""]),
        ("wirelab-recording 1\nc 1\n", &["line 2", "a or b", "\"a 0\""]),
        ("wirelab-recording 1\na 3 drop=loss\n", &["line 2", "frames=NUMBER"]),
        ("wirelab-recording 1\na frames=2\n\na 2 drop=loss\n", &["line 4", "below frames="]),
        ("wirelab-recording 1\na frames=2\na 1 drop=fate\n", &["line 3", "loss, burst"]),
        ("wirelab-recording 1\na frames=2\na 1 hold=5\n", &["a duration"]),
        ("wirelab-recording 1\na frames=2\na 1 queued=3\n", &["1 or 2 copies"]),
        (
            "wirelab-recording 1\na frames=2\na 1 queued=1 end=5ms end=6ms\n",
            &["no more ends than copies"],
        ),
        ("wirelab-recording 1\na frames=2\na 1 hold=5ms why\n", &["mark or overtakes"]),
    ] {
        let error = Recording::parse("run", text).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{text:?}: {error}");
    }
}
