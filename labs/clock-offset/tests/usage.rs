//! `clock-offset` as a user types it: examples, mistakes, files, exit codes; real chronyd servers.
#![expect(clippy::print_stdout, reason = "a skipped test says why; --show-output shows it")]

use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use wirelab_tests::lab::{Lab, Output, new_folder};

pub(crate) fn lab() -> Lab {
    Lab::new("clock-offset")
}

pub(crate) fn json(out: &Output) -> Value {
    serde_json::from_str(&out.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}{}", out.stdout, out.stderr))
}

/// `clock-offset serve` in a process of its own.
pub(crate) struct Server {
    lab: Lab,
    child: Child,
    out: BufReader<ChildStdout>,
    address: String,
}

impl Server {
    pub(crate) fn start(flags: &str) -> Self {
        let lab = lab();
        let mut serve = lab.command(&format!("serve --json --seed 1 {flags}"));
        let mut child = serve.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let listening: Value = serde_json::from_str(&line).unwrap();
        let address = listening["address"].as_str().unwrap().to_owned();
        Self { lab, child, out, address }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.rsplit(':').next().unwrap().parse().unwrap()
    }

    pub(crate) fn ask(&self, flags: &str) -> Output {
        self.lab.run(&format!("{} --interval 20ms {flags}", self.address))
    }

    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// SIGTERM; what it counted.
    pub(crate) fn stop(self) -> Value {
        self.end_by("TERM")
    }

    /// The same with another signal.
    pub(crate) fn end_by(mut self, signal: &str) -> Value {
        self.signal(signal);
        let mut text = String::new();
        self.out.read_to_string(&mut text).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{text}");
        serde_json::from_str(&text).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn the_demonstration_holds_its_truth_on_real_packets() {
    let lab = lab();
    for flags in
        ["", "--delay-out 60ms --delay-back 1ms", "--loss 30%", "--drift=-90ppm --offset=-7s"]
    {
        let out = lab.run(&format!("--demo --seed 7 --json {flags}"));
        assert_eq!(out.code, 0, "{flags}: {}{}", out.stdout, out.stderr);
        let found = json(&out);
        let checked = &found["checked"];
        assert_eq!(checked["inside"], true, "{flags}: {checked}");
        assert_eq!(checked["samples_inside"], checked["samples"], "{flags}: {checked}");
        assert!(checked["samples"].as_u64().unwrap() >= 1, "{flags}: {checked}");
        let wide = found["together"]["interval"]["high_ns"].as_i64().unwrap()
            - found["together"]["interval"]["low_ns"].as_i64().unwrap();
        assert!(
            wide > 15_000_000,
            "{flags}: the delays are at least 20 ms, the interval {wide} ns"
        );
    }
}

#[test]
fn steps_and_lies_are_told_and_end_with_3() {
    let lab = lab();
    for flags in ["--requests 20 --step 500ms@1s", "--lie 500ms:40%"] {
        let out = lab.run(&format!("--demo --seed 5 {flags}"));
        assert_eq!(out.code, 3, "{flags}: {}", out.stdout);
        assert!(out.stdout.starts_with("the samples contradict"), "{flags}: {}", out.stdout);
        assert!(out.stdout.contains("jumped by"), "{flags}: {}", out.stdout);
    }
    let out = lab.run("--demo --leap unsynchronized --requests 2");
    assert_eq!(out.code, 5, "{}", out.stdout);
    assert!(out.stdout.contains("unsynchronized (RFC 5905 §8, test 6)"), "{}", out.stdout);
    let wide = lab.run("--sim --seed 1 --within 1ms");
    assert_eq!(wide.code, 3, "{}", wide.stdout);
    assert!(wide.stdout.contains("wider than ± 1.00 ms"), "{}", wide.stdout);
}

#[test]
fn virtual_time_is_bit_identical_and_samples_replay() {
    let lab = lab();
    let args = "--sim --seed 9 --requests 40 --json --samples samples.ndjson";
    let (first, again) = (lab.run(args), lab.run(args));
    assert_eq!((first.code, &first.stdout), (0, &again.stdout));
    let lines = std::fs::read_to_string(lab.folder.join("samples.ndjson")).unwrap();
    assert_eq!(lines.lines().count(), 40);
    let replayed = json(&lab.run("--from samples.ndjson --json"));
    let first = json(&first);
    assert_eq!(replayed["together"], first["together"]);
    assert_eq!(replayed["servers"][0]["estimates"], first["servers"][0]["estimates"]);
    let last = json(&lab.run("--from samples.ndjson --json --estimator last"));
    assert_eq!(last["servers"][0]["estimate"]["estimator"], "last");
    // A line that was edited is judged again.
    let spoiled = lines.replacen("\"stratum\":10", "\"stratum\":16", 1);
    std::fs::write(lab.folder.join("spoiled.ndjson"), spoiled).unwrap();
    let judged = json(&lab.run("--from spoiled.ndjson --json"));
    assert_eq!(judged["servers"][0]["counts"]["refused"]["stratum"], 1);
}

#[test]
fn the_json_matches_its_schema() {
    let lab = lab();
    let schema = serde_json::from_str(clock_offset::report::text::schema()).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    for args in [
        "--sim --seed 1",
        "--sim --seed 2 --requests 64 --estimator weighted --within 1ms",
        "--sim --seed 3 --step 80ms@9s --leap insert",
        "--sim --seed 4 --lie 500ms:30%",
        "--sim --seed 5 --loss 100%",
        "--demo --seed 6 --leap unsynchronized --requests 2",
        "--demo --seed 7 --interleaved --interval 5ms",
    ] {
        let value = json(&lab.run(&format!("{args} --json")));
        let faults: Vec<String> =
            schema.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert_eq!(faults, Vec::<String>::new(), "{args}");
        let mut more = value;
        more["servers"][0]["mood"] = "good".into();
        assert!(!schema.is_valid(&more), "{args}: an unknown field must not pass");
    }
}

#[test]
fn wall_clocks_contradict_causes_and_lamport_clocks_do_not() {
    let lab = lab();
    let schema = serde_json::from_str(clock_offset::report::order::schema()).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let played = lab.run("order --seed 1 --json --loss 5%");
    assert_eq!(
        (played.code, &played.stdout),
        (0, &lab.run("order --seed 1 --json --loss 5%").stdout)
    );
    let value = json(&played);
    let faults: Vec<String> =
        schema.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert_eq!(faults, Vec::<String>::new());
    // B is 8 ms ahead: what A sends takes longer still, what B sends seldom does.
    assert_eq!(value["directions"][0]["contradicted"]["hits"], 0);
    assert!(value["directions"][1]["contradicted"]["hits"].as_u64() > Some(400), "{value:#}");
    let text = lab.run("order --offset 0ms --seed 1").stdout;
    assert!(text.starts_with("0 of 1,000 messages were received before they were sent"), "{text}");
}

/// A client that always has 64 requests in flight, beside one that has one; each signal ends it.
#[test]
fn a_greedy_client_takes_no_reply_from_another() {
    let socket = |server: &Server| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(&server.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        socket
    };
    for signal in ["INT", "TERM"] {
        let server = Server::start("--listen 127.0.0.1:0");
        let (greedy, honest) = (socket(&server), socket(&server));
        let got = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&got);
        let ended = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&ended);
        // A reply that the server no longer sends must not be waited for.
        greedy.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let taking = std::thread::spawn(move || {
            let ask = || greedy.send(&[0x23; 48]).is_ok();
            let mut buffer = [0; 64];
            let begun = (0..64).all(|_| ask());
            while begun && !stop.load(Relaxed) {
                count.fetch_add(u64::from(greedy.recv(&mut buffer).is_ok()), Relaxed);
                ask();
            }
        });
        let mut buffer = [0; 64];
        // Until both had 200 replies: a scheduler may start the other one late.
        let mut asked = 0;
        while asked < 200 || (got.load(Relaxed) <= 200 && !taking.is_finished()) {
            asked += 1;
            honest.send(&[0x23; 48]).unwrap();
            assert_eq!(honest.recv(&mut buffer).unwrap(), 48);
        }
        server.end_by(signal);
        ended.store(true, Relaxed);
        taking.join().unwrap();
        assert!(got.load(Relaxed) > 200, "it was no load");
    }
}

#[test]
fn serve_is_a_server_for_any_client() {
    let server = Server::start("--listen 127.0.0.1:0 --offset 2s");
    let found = json(&server.ask("--json"));
    let interval = &found["together"]["interval"];
    let (low, high) = (interval["low_ns"].as_i64().unwrap(), interval["high_ns"].as_i64().unwrap());
    assert!(low <= 2_000_000_000 && 2_000_000_000 <= high, "{interval}");
    assert_eq!(found["servers"][0]["samples"][0]["t4_by"], "kernel");
    // It answers with no more bytes than it was sent, and does not answer what is not a request.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(&server.address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    for bad in [&[0x23; 47][..], &[0x24; 48], &[0x3b; 48]] {
        socket.send(bad).unwrap();
    }
    let request: Vec<u8> = [&[0x23; 48][..], &[0; 20]].concat();
    socket.send(&request).unwrap();
    let mut buffer = [0; 2048];
    assert_eq!(socket.recv(&mut buffer).unwrap(), 48);
    let stopped = server.stop();
    assert_eq!(stopped["counts"]["replies"], 9, "{stopped}");
    assert_eq!(stopped["counts"]["ignored"]["format"], 1, "{stopped}");
    assert_eq!(stopped["counts"]["ignored"]["mode"], 1, "{stopped}");
    assert_eq!(stopped["counts"]["ignored"]["version"], 1, "{stopped}");
}

#[test]
fn two_that_disagree_are_not_averaged_and_three_name_the_liar() {
    let (right, wrong) =
        (Server::start("--listen 127.0.0.1:0"), Server::start("--listen 127.0.0.1:0 --offset 1s"));
    let two = right.ask(&wrong.address);
    assert_eq!(two.code, 3, "{}", two.stdout);
    assert!(two.stdout.starts_with("cannot tell which server is right"), "{}", two.stdout);
    let third = Server::start("--listen 127.0.0.1:0");
    let three = right.ask(&format!("{} {}", wrong.address, third.address));
    assert_eq!(three.code, 0, "{}", three.stdout);
    let named = format!("{} is outside what most servers agree on", wrong.address);
    assert!(three.stdout.contains(&named), "{}", three.stdout);
    assert!(three.stdout.starts_with("this clock may be right"), "{}", three.stdout);
}

#[test]
fn mistakes_say_what_was_expected() {
    let lab = lab();
    for (args, code, part) in [
        ("", 2, "none is asked by default"),
        ("192.0.2.1 --interval 1s", 2, "every 2 s for a short while"),
        ("192.0.2.1 --interval 2s --requests 100", 2, "more than 8 times so soon"),
        ("192.0.2.1 --interval 2s --watch", 2, "more than 8 times so soon"),
        ("--demo 192.0.2.1", 2, "cannot be used with"),
        ("--demo --offset 20", 2, "did you mean 20ms?"),
        ("--demo --drift 50", 2, "50ppm"),
        ("--demo --step 80ms", 2, "80ms@5s"),
        ("--demo --lie 80ms", 2, "40ms:25%"),
        ("--demo --delay-out 11s", 2, "at most 10s"),
        ("--demo --leap second", 2, "none, insert, delete"),
        ("--sim --estimator best", 2, "expected one of likelihood, hull"),
        ("--demo --interval 1us", 2, "at least 1ms"),
        ("--sim --watch", 2, "cannot be used with"),
        ("--sim --kernel", 2, "--demo"),
        ("--demo --kernel --nts", 2, "cannot be used with"),
        ("--from x --interleaved", 2, "cannot be used with"),
        ("--sim --host-sleep 1h", 2, "1h@5s"),
        ("--from nowhere.ndjson", 2, "nowhere.ndjson"),
        ("no.such.host.invalid", 5, "not a server that can be asked"),
        ("127.0.0.1:99999", 2, "invalid port value"),
        ("serve --listen here", 2, "expected HOST:PORT"),
        ("fe80::1%nosuch0", 2, "no interface of this host"),
        ("[fe80::1%nosuch0]:123", 2, "no interface of this host"),
        ("--demo --ntp-version 5", 2, "expected 3 or 4"),
        ("serve --listen 0.0.0.0:0", 2, "--beyond-loopback"),
        ("--demo --requests -1", 2, "from 1 up to"),
        ("--demo --requests 4k --seed abc", 2, "did you mean 4000?"),
        ("--demo --seed abc", 2, "expected a whole number"),
        ("--demo --interval 2", 2, "did you mean 2s?"),
        ("--demo --interval -2s", 2, "it cannot be negative"),
        ("--demo --delay-out 15", 2, "did you mean 15ms?"),
        ("--demo --loss 0.02", 2, "did you mean 2% or 0.02%?"),
        ("--demo --loss -1%", 2, "it cannot be negative"),
        ("--demo --jitter 5ms", 2, "use --jitter-out TIME"),
        ("--demo --latency 5ms", 2, "use --delay-out TIME"),
        ("--demo --bandwidth 20Mbit", 2, "lossy-path --rate 20Mbit"),
        ("serve --events x", 2, "unexpected argument '--events'"),
        ("order --messages 0", 2, "from 1 up to"),
        ("--generate poem", 2, "completions:SHELL"),
    ] {
        let out = lab.run(args);
        assert_eq!(out.code, code, "{args}: {}", out.stderr);
        assert!(out.stderr.contains(part), "{args}: expected {part:?} in\n{}", out.stderr);
        assert_eq!(out.stdout, "", "{args}");
    }
    std::fs::write(lab.folder.join("bad.ndjson"), "\n{\"server\": 1}\n").unwrap();
    let out = lab.run("--from bad.ndjson");
    assert!(out.code == 2 && out.stderr.contains("line 2"), "{}", out.stderr);
    // A closed port: reported by ICMP, known after two requests.
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let out = lab.run(&format!("{gone} --interval 20ms"));
    assert_eq!(out.code, 5, "{}", out.stdout);
    assert!(out.stdout.starts_with("no reply that could be believed"), "{}", out.stdout);
}

/// Each `-v` says more on stderr, and changes nothing on stdout.
#[test]
fn verbosity_says_what_is_done() {
    let lab = lab();
    let [plain, once, twice] = ["", "-v", "-vv"]
        .map(|v| lab.run(&format!("--sim --requests 3 --seed 1 --no-report --json {v}")));
    for said in [&once, &twice] {
        // Only the command that was typed differs.
        let stdout = said.stdout.replace(" -vv", "").replace(" -v", "");
        assert_eq!(said.code, plain.code, "{}", said.stderr);
        assert!(stdout == plain.stdout, "{}", said.stderr);
        assert!(said.stderr.contains("virtual time replied: offset"), "{}", said.stderr);
    }
    let lines = |out: &Output| out.stderr.lines().count();
    assert!(lines(&plain) < lines(&once) && lines(&once) < lines(&twice), "{}", twice.stderr);
}

#[test]
fn a_shortage_of_the_machine_is_no_bug() {
    let lab = lab();
    for (before, after, part) in [
        ("", "> /dev/full", "cannot write to standard output"),
        ("ulimit -n 8;", "", "ulimit -n 4096"),
    ] {
        let out = lab.shell("--demo --requests 2 --no-report --seed 1", before, after);
        assert_eq!(out.code, 4, "{before}{after}: {}{}", out.stdout, out.stderr);
        assert!(out.stderr.contains(part), "{before}{after}: {}", out.stderr);
    }
}

#[test]
fn help_leads_with_examples_that_run() {
    let lab = lab();
    let help = lab.run("--help").stdout;
    assert!(help.starts_with("Examples:"), "{help}");
    assert_eq!(lab.run("--sim --seed 1 --samples samples.ndjson").code, 0);
    let server = Server::start("--listen 127.0.0.1:0");
    let mut ran = 0;
    for line in help.lines().skip(1).take_while(|line| !line.trim().is_empty()) {
        let command = line.split("   ").find(|part| part.contains("clock-offset")).unwrap();
        let args = command.trim().trim_start_matches("clock-offset ");
        ran += 1;
        if let Some(flags) = args.strip_prefix("serve") {
            Server::start(&format!("{flags} --listen 127.0.0.1:0")).stop();
            continue;
        }
        // The usual port may be taken; a server of this host may be hurried.
        let args = args.replace("127.0.0.1:11123", &format!("{} --interval 20ms", server.address));
        let out = lab.run(&args);
        let expected = if args.contains("--step") { 3 } else { 0 };
        assert_eq!(out.code, expected, "{args}: {}{}", out.stdout, out.stderr);
    }
    assert!(ran >= 8, "only {ran} examples in\n{help}");
    for command in ["", "serve ", "order ", "show ", "runs "] {
        let page = lab.run(&format!("{command}--help")).stdout;
        assert!(page.lines().count() <= 60, "{command}: {page}");
    }
    let topic = lab.run("help path").stdout;
    assert!(topic.contains("--delay-out") && lab.run("help exit-codes").stdout.contains("  3  "));
    for (what, part) in [("man", ".TH clock"), ("completions:bash", "complete -F _clock")] {
        let made = lab.run(&format!("--generate {what}"));
        assert!(made.stdout.contains(part), "{what}: {}", made.stdout);
    }
}

#[test]
fn watching_tells_every_reply_and_ends_when_told() {
    let server = Server::start("--listen 127.0.0.1:0 --offset 50ms");
    let args = format!("{} --interval 20ms --watch", server.address);
    let mut command = server.lab.command(&args);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    for number in 1..=10 {
        line.clear();
        out.read_line(&mut line).unwrap();
        assert!(line.contains(&format!("request {number}: ")), "{line}");
    }
    let kill = format!("kill -INT {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{rest}");
    assert!(rest.contains(" slow: best estimate +"), "{rest}");
}

#[test]
fn watching_ends_where_nobody_reads_any_more() {
    let server = Server::start("--listen 127.0.0.1:0");
    let args = format!("{} --interval 5ms --watch --no-report", server.address);
    let mut command = server.lab.command(&args);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    for _ in 0..3 {
        line.clear();
        out.read_line(&mut line).unwrap();
    }
    assert!(line.contains("request 3: ") && line.contains("; so far "), "{line}");
    drop(out);
    // It would not end.
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_mistake_leaves_no_files() {
    let lab = lab();
    std::fs::write(lab.folder.join("empty.ndjson"), "").unwrap();
    for args in ["", "no.such.host.invalid", "192.0.2.1 --interval 1s", "--from empty.ndjson"] {
        let out = lab.run(&format!("{args} --events events.ndjson --samples samples.ndjson"));
        assert!([2, 5].contains(&out.code), "{args}: {}", out.stderr);
        let left = std::fs::read_dir(&lab.folder).unwrap().count();
        assert_eq!(left, 1, "{args}: {:?}", std::fs::read_dir(&lab.folder).unwrap());
    }
    // And what cannot be kept is said before anybody is asked.
    let out = lab.run("--demo --samples nowhere/samples.ndjson");
    assert!(out.code == 2 && out.stderr.contains("samples cannot go to"), "{}", out.stderr);
    assert!(!out.stderr.contains("asking"), "{}", out.stderr);
}

/// chronyd as a server of its own: local stratum, a high port, nothing of the system.
pub(crate) struct Chronyd {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl Chronyd {
    /// `None` where there is none, which is said; with `faked` its clock is that of libfaketime.
    ///
    /// The library is loaded without its command, which would stand between us and the process.
    pub(crate) fn start(faked: Option<(&Path, &str)>) -> Option<Self> {
        let program =
            ["/usr/sbin/chronyd", "/usr/bin/chronyd"].into_iter().find(|p| Path::new(p).exists());
        let Some(program) = program else {
            println!(
                "skipped: chronyd is not installed, the clock was held against ourselves alone"
            );
            return None;
        };
        let folder = new_folder("chronyd");
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let shown = folder.display();
        let config = format!(
            "port {port}\nbindaddress 127.0.0.1\nbindaddress ::1\nallow\nlocal stratum 5\n\
             cmdport 0\nbindcmdaddress /\npidfile {shown}/pid\n"
        );
        let file = folder.join("chrony.conf");
        std::fs::write(&file, config).unwrap();
        let user =
            String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
        let user = user.trim();
        let mut command = Command::new(program);
        if let Some((library, time)) = faked {
            command.env("LD_PRELOAD", library).env("FAKETIME", time);
        }
        let child = command
            .args(["-x", "-d", "-U", "-u", user, "-f"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("log")).unwrap())
            .spawn()
            .unwrap();
        Some(Self { child, folder, port })
    }

    /// Asked until it answers: it takes a moment to start.
    pub(crate) fn ask(&mut self, lab: &Lab, host: &str, flags: &str) -> Value {
        // Each attempt waits for an answer, or for two refusals.
        const ATTEMPTS: usize = 100;
        for _ in 0..ATTEMPTS {
            if let Some(status) = self.child.try_wait().unwrap() {
                let log = std::fs::read_to_string(self.folder.join("log")).unwrap();
                panic!("chronyd ended, {status}: {log}");
            }
            let out = lab.run(&format!("{host}:{} --interval 50ms --json {flags}", self.port));
            if out.code != 5 {
                return json(&out);
            }
        }
        panic!("chronyd on port {} never answered", self.port);
    }
}

impl Drop for Chronyd {
    /// By SIGTERM: killed, libfaketime would leave its shared memory behind.
    fn drop(&mut self) {
        let kill = format!("kill -TERM {}", self.child.id());
        if !Command::new("sh").args(["-c", &kill]).status().is_ok_and(|status| status.success()) {
            self.child.kill().ok();
        }
        self.child.wait().ok();
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// The interval; asserts that the finding is usable.
pub(crate) fn interval(found: &Value) -> (i64, i64) {
    assert_eq!(found["verdict"], "usable", "{found:#}");
    let interval = &found["together"]["interval"];
    (interval["low_ns"].as_i64().unwrap(), interval["high_ns"].as_i64().unwrap())
}

#[test]
fn a_real_chronyd_agrees_with_its_own_clock() {
    let lab = lab();
    let Some(mut chronyd) = Chronyd::start(None) else { return };
    for host in ["127.0.0.1", "[::1]"] {
        if host == "[::1]" && UdpSocket::bind("[::1]:0").is_err() {
            println!("skipped: this machine has no IPv6 on loopback");
            continue;
        }
        // It shares this host's clock, so the truth is zero.
        let found = chronyd.ask(&lab, host, "");
        let (low, high) = interval(&found);
        assert!(low <= 0 && 0 <= high, "{host}: {low} to {high}");
        let server = &found["servers"][0];
        // The first may have come before chronyd listened.
        let counts = &server["counts"];
        let (samples, lost) = (counts["samples"].as_u64(), counts["lost"].as_u64());
        assert!(samples > Some(0), "{counts}");
        assert_eq!(samples.zip(lost).map(|(a, b)| a + b), counts["sent"].as_u64(), "{counts}");
        assert_eq!(server["samples"][0]["claims"]["stratum"], 5);
        assert_eq!(server["counts"]["refused"], serde_json::json!({}));
    }
}

#[test]
fn a_chronyd_whose_time_is_faked_is_found_out() {
    let lab = lab();
    let folders = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let library = |folder: PathBuf| folder.join("faketime/libfaketime.so.1");
    let Some(library) = folders.map(library).find(|library| library.exists()) else {
        println!("skipped: libfaketime is not installed, no real server was wrong");
        return;
    };
    // Beyond 1 s chronyd takes no kernel stamp, so both of its timestamps are faked.
    let Some(mut chronyd) = Chronyd::start(Some((&library, "+10s"))) else { return };
    for host in ["127.0.0.1", "[::1]"] {
        if host == "[::1]" && UdpSocket::bind("[::1]:0").is_err() {
            println!("skipped: this machine has no IPv6 on loopback");
            continue;
        }
        let (low, high) = interval(&chronyd.ask(&lab, host, ""));
        assert!(low <= 10_000_000_000 && 10_000_000_000 <= high, "{host}: {low} to {high}");
    }
    drop(chronyd);
    let Some(mut chronyd) = Chronyd::start(Some((&library, "+10s x1.00005"))) else {
        return;
    };
    let found = chronyd.ask(&lab, "127.0.0.1", "--requests 40");
    let (low, high) = interval(&found);
    // It drifts from its start on, which was less than 10 min ago: by 50 ppm of that at most.
    assert!(low <= 10_030_000_000 && 10_000_000_000 <= high, "{low} to {high}");
    let line = &found["servers"][0]["bound"]["constant_drift"];
    let end = |name: &str| line[name].as_i64().unwrap_or_else(|| panic!("no line: {found:#}"));
    let (slow, fast) = (end("drift_low_ppt"), end("drift_high_ppt"));
    assert!(slow <= 50_000_000 && 50_000_000 <= fast, "{slow} to {fast} ppt");
}

#[test]
fn now_is_an_interval_by_the_last_run() {
    let lab = lab();
    let server = Server::start("--listen 127.0.0.1:0 --offset 2s");
    let asked = lab.run(&format!("127.0.0.1:{} --interval 20ms", server.port()));
    assert_eq!(asked.code, 0, "{}{}", asked.stdout, asked.stderr);
    let seconds = || Duration::from_nanos(wirelab::sys::clock::realtime_ns()).as_secs_f64();
    let before = seconds();
    let out = lab.run("now");
    let after = seconds();
    assert_eq!(out.code, 0, "{}", out.stderr);
    let ends: Vec<f64> = out.stdout.split_whitespace().map(|end| end.parse().unwrap()).collect();
    assert_eq!(ends.len(), 2, "{}", out.stdout);
    // The server's clock is the truth here: 2 s ahead.
    // Doubles tell half a microsecond of today.
    assert!(ends[0] <= after + 2.000_001 && before + 1.999_999 <= ends[1], "{ends:?}");
    // A demonstration says nothing of this clock.
    lab.run("--sim --seed 1");
    assert_eq!(lab.run("now").code, 3);
    server.stop();
}

#[test]
fn predictions_are_kept_beside_what_was_seen() {
    let lab = lab();
    let mut run = lab.command("--sim --seed 7 --requests 64 --estimator hull --predict --out run");
    let mut child = run.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"5\n\n20 ms\n").unwrap();
    let out = child.wait_with_output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains("prediction") && text.contains("5.00  right"), "{text}");
    let kept = std::fs::read_to_string(lab.folder.join("run/result.json")).unwrap();
    let kept: Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(kept["predictions"][1]["guess"], Value::Null);
    assert_eq!(kept["predictions"][2]["guess"], 20.0);
    let schema = serde_json::from_str(clock_offset::report::text::schema()).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    assert!(schema.is_valid(&kept), "{:?}", schema.iter_errors(&kept).next());
}
