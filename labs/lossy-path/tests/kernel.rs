//! Runs unmodified programs through lossy-path, as root and as an ordinary user.
//!
//! Programs that are not installed are reported as skipped. Latencies are compared with the plan's
//! minimum, never with a clock.
#![expect(clippy::print_stdout, reason = "a skipped test says so")]

mod exhibits;
mod localhost;
mod page;
mod settings;
mod sweeps;

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use wirelab::measure::draw::keyed;
use wirelab::measure::interval::clopper_pearson;
use wirelab_tests::lab::{Lab, Output, new_folder};
use wirelab_tests::namespaces::{
    EXIT_PRIVILEGE, NOBODY, alone, am_root, live_namespaces, namespaces_of,
};
use wirelab_tests::page::violations;

/// Chance that a correct build fails one of these tests by its seeds; they are fixed, so the result
/// never changes.
const FALSE_ALARM: f64 = 1e-6;

/// One user in a folder of their own.
struct User {
    binary: PathBuf,
    folder: PathBuf,
    unprivileged: bool,
}

impl User {
    fn new(unprivileged: bool) -> Self {
        let folder = new_folder("lossy");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        let binary = folder.join("lossy-path");
        fs::copy(env!("CARGO_BIN_EXE_lossy-path"), &binary).unwrap();
        Self { binary, folder, unprivileged }
    }

    /// Root and an unprivileged user if the tests run as root, else the current user.
    fn all() -> Vec<Self> {
        if am_root() { vec![Self::new(false), Self::new(true)] } else { vec![Self::new(false)] }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(args).current_dir(&self.folder).stdin(Stdio::null());
        command.env("HOME", &self.folder).env_remove("RUST_LOG");
        // Folders that every user may read.
        command.env("PATH", FOLDERS);
        if self.unprivileged {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        Output::of(&mut self.command(args))
    }

    /// Runs it quietly with `--json=result.json`; `None` if the machine forbids namespaces.
    fn result(&self, args: &[&str]) -> Option<(Output, Value)> {
        let mut all = vec!["--json=result.json", "--no-report"];
        all.extend(args);
        let out = self.run(&all);
        if forbidden(&out) {
            return None;
        }
        let file = self.folder.join("result.json");
        let text = fs::read_to_string(&file)
            .unwrap_or_else(|e| panic!("{all:?}: {e}\n{}\n{}", out.stdout, out.stderr));
        fs::remove_file(&file).unwrap();
        Some((out, serde_json::from_str(&text).unwrap()))
    }
}

impl Drop for User {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).ok();
    }
}

fn forbidden(out: &Output) -> bool {
    let forbidden = out.code == EXIT_PRIVILEGE;
    if forbidden {
        println!("skipped: this machine forbids namespaces: {}", out.stderr);
    }
    forbidden
}

/// The search path for programs.
const FOLDERS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Whether all programs are installed; reports a missing one.
fn have(test: &str, programs: &[&str]) -> bool {
    let there = |name: &str| FOLDERS.split(':').any(|f| Path::new(f).join(name).exists());
    let missing: Vec<_> = programs.iter().filter(|name| !there(name)).collect();
    if !missing.is_empty() {
        println!("skipped: {test}: not installed: {missing:?}");
    }
    missing.is_empty()
}

/// Checks what must be true of every run on any machine.
fn sound(result: &Value, context: &str) {
    for way in ["a_to_b", "b_to_a"] {
        for count in ["oversize", "bad_checksum_status", "send_failed", "not_carried"] {
            assert_eq!(result[way][count], 0, "{context}: {way} {count}");
        }
    }
}

fn share_agrees(rate: &Value, asked: f64, context: &str) {
    let read = |name: &str| rate["seen"][name].as_u64().unwrap();
    let (hits, trials) = (read("hits"), read("trials"));
    let (low, high) = clopper_pearson(hits, trials, FALSE_ALARM);
    assert!(low <= asked && asked <= high, "{context}: {hits} of {trials}, asked {asked}");
}

#[test]
fn ping_meets_the_delay_over_both_families() {
    if !have("ping", &["ping"]) {
        return;
    }
    let _alone = alone();
    for user in User::all() {
        for family in ["-4", "-6"] {
            let args = ["--delay", "40ms", "--", "ping", family, "-c", "3", "-i", "0.2", "b"];
            let Some((out, result)) = user.result(&args) else { return };
            assert_eq!(out.code, 0, "{}\n{}", out.stdout, out.stderr);
            let times: Vec<f64> = out
                .stdout
                .split("time=")
                .skip(1)
                .map(|rest| rest.split_whitespace().next().unwrap().parse().unwrap())
                .collect();
            assert_eq!(times.len(), 3, "{}", out.stdout);
            assert!(times.iter().all(|ms| *ms >= 80.0), "{family}: {times:?}");
            // No other traffic: no ARP, no discovery, no reports.
            for way in ["a_to_b", "b_to_a"] {
                assert_eq!(result[way]["offered"], 3, "{family} {way}");
            }
            sound(&result, family);
        }
    }
}

#[test]
fn a_program_that_talks_to_itself_is_not_called_trusted() {
    if !have("loopback", &["ping"]) {
        return;
    }
    let _alone = alone();
    for user in User::all() {
        let ping = ["ping", "-c", "3", "-i", "0.2", "127.0.0.1"];
        let args = [&["--loss", "50%", "--delay", "100ms", "--strict", "--"][..], &ping].concat();
        let Some((out, result)) = user.result(&args) else { return };
        assert_eq!(out.code, 3, "{}", out.stderr);
        assert_eq!(result["verdict"], "no_frames");
        // Requests and replies.
        assert_eq!(result["loopback_packets"], serde_json::json!([6, 0]));
        assert!(!out.stderr.contains("trusted"), "{}", out.stderr);
        let says = "no frame crossed the path; 6 packets stayed on a's loopback, which is not";
        assert!(out.stderr.contains(says), "{}", out.stderr);
    }
}

#[test]
fn true_fates_pass_whatever_the_machine_does_to_the_timing() {
    let _alone = alone();
    let user = User::new(am_root());
    if !have("strict", &["ping"]) {
        return;
    }
    for (host, code, fates) in [("b", 0, "trusted"), ("127.0.0.1", 3, "no_frames")] {
        let args = ["--strict=fates", "--", "ping", "-c", "3", "-i", "0.2", host];
        let Some((out, result)) = user.result(&args) else { return };
        assert_eq!((out.code, result["fates"].as_str()), (code, Some(fates)), "{}", out.stderr);
        assert_eq!(out.stderr.contains("fates true:"), result["timing"] == "suspect");
    }
}

#[test]
fn a_timetable_counts_from_the_start_of_the_program() {
    let _alone = alone();
    let user = User::new(am_root());
    if !have("timetable", &["ping"]) {
        return;
    }
    let script = "sleep 1.2; ping -c 1 -W 1 b";
    let Some((out, result)) = user.result(&["--at", "1s down", "--", "sh", "-c", script]) else {
        return;
    };
    assert_eq!(out.code, 1, "{}\n{}", out.stdout, out.stderr);
    let down = serde_json::json!([{ "reason": "down", "frames": 1 }]);
    assert_eq!(result["a_to_b"]["dropped"], down, "{}", out.stderr);
}

#[test]
fn a_program_sees_its_own_namespaces() {
    let _alone = alone();
    for user in User::all() {
        let script =
            "cat; pwd; id -u; echo $GREETING $WIRELAB_HOST $WIRELAB_B; echo oops >&2; exit 7";
        let mut command = user.command(&["-q", "--no-report", "--", "sh", "-c", script]);
        command.env("GREETING", "hello").stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"from stdin\n").unwrap();
        let out = child.wait_with_output().unwrap();
        if out.status.code() == Some(EXIT_PRIVILEGE) {
            println!("skipped: this machine forbids namespaces");
            return;
        }
        assert_eq!(out.status.code(), Some(7));
        let folder = fs::canonicalize(&user.folder).unwrap();
        let own = Command::new("id").arg("-u").output().unwrap().stdout;
        let own = String::from_utf8(own).unwrap().trim().to_owned();
        let uid = if user.unprivileged { NOBODY.to_string() } else { own };
        let expected = format!("from stdin\n{}\n{uid}\nhello a 10.0.0.2\n", folder.display());
        assert_eq!(String::from_utf8(out.stdout).unwrap(), expected);
        assert_eq!(String::from_utf8(out.stderr).unwrap(), "oops\n");
        // Outside the namespace the file is unchanged, and the names do not resolve.
        let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
        assert!(!hosts.contains("10.0.0.2 b"));
    }
}

#[test]
fn a_policer_and_link_layer_overhead_act_on_real_frames() {
    let _alone = alone();
    let user = User::new(am_root());
    if !have("policer", &["bash"]) {
        return;
    }
    // Frames of 1,042 bytes. A bucket of three of them, which fills by a byte in eight seconds.
    let script = "for n in {1..20}; do printf %1000s > /dev/udp/10.0.0.2/9; done";
    for (settings, passed) in [
        (&["--a-to-b", "police=1bit,burst=3126B"][..], 3),
        (&["--a-to-b", "police=1bit,burst=3126B", "--a-to-b", "overhead=24B"], 2),
        (&["--a-to-b", "police=1bit,burst=3126B", "--a-to-b", "overhead=-14B,atm"], 2),
        (&["--b-to-a", "police=1bit,burst=3126B"], 20),
    ] {
        let args = [settings, &["--", "bash", "-c", script]].concat();
        let Some((out, result)) = user.result(&args) else { return };
        let context = format!("{args:?}\n{}\n{result:#}", out.stderr);
        assert_eq!(out.code, 0, "{context}");
        sound(&result, &context);
        let way = &result["a_to_b"];
        assert_eq!((&way["offered"], &way["delivered"]), (&20.into(), &passed.into()), "{context}");
        let lost = if passed == 20 { "" } else { " lost to the policer" };
        assert!(out.stderr.contains(lost), "{context}");
        let expected = serde_json::json!([{ "reason": "policed", "frames": 20 - passed }]);
        assert!(passed == 20 || way["dropped"] == expected, "{context}");
    }
}

#[test]
fn the_exit_status_is_the_programs() {
    let _alone = alone();
    let user = User::new(am_root());
    fs::write(user.folder.join("text"), "not a program").unwrap();
    for (program, code, says) in [
        (&["true"][..], 0, ""),
        (&["false"], 1, ""),
        (&["sh", "-c", "kill -9 $$"], 137, ""),
        (&["sh", "-c", "kill -TERM $$"], 143, ""),
        (&["no-such-program"], 127, "no such program"),
        (&["./text"], 126, "Permission denied"),
    ] {
        let mut args = vec!["-q", "--no-report", "--"];
        args.extend(program);
        let out = user.run(&args);
        if forbidden(&out) {
            return;
        }
        assert_eq!(out.code, code, "{program:?}: {}", out.stderr);
        assert!(out.stderr.contains(says), "{program:?}: {}", out.stderr);
        assert!(!says.is_empty() || out.stderr.is_empty(), "{program:?}: {}", out.stderr);
    }
    for (b, says) in [("echo alas; exit 3", "it said: alas"), ("no-such-server", "not found")] {
        let out = user.run(&["-q", "--no-report", "--b", b, "--", "true"]);
        assert_eq!(out.code, 5, "{b}: {}", out.stderr);
        assert!(out.stderr.contains(says), "{b}: {}", out.stderr);
    }
}

/// Waits until a condition holds; the harness bounds how long a test may take.
#[expect(clippy::disallowed_methods, reason = "it waits for real processes")]
fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// The process, below `/proc`, of a shell with this text in its command line.
fn shell_of(text: &str) -> Option<PathBuf> {
    let is_it = |process: &PathBuf| {
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        line.starts_with(b"sh\0") && line.windows(text.len()).any(|part| part == text.as_bytes())
    };
    fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path()).find(is_it)
}

/// Whether a process has ended, reaped or not.
fn has_ended(process: &Path) -> bool {
    let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
    // The state follows the name: proc_pid_stat(5).
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

#[test]
fn a_server_that_ends_together_with_the_program_keeps_its_exit_status() {
    let _alone = alone();
    let user = User::new(false);
    let folder = user.folder.display();
    let (pid, go) = (user.folder.join("pid"), user.folder.join("go"));
    // The server ends after the program was reaped, and before lossy-path reads of either.
    let server =
        format!("cd {folder}; until [ -s pid ] && ! kill -0 $(cat pid); do :; done; exit 3");
    let program = "echo $$ > pid.new; mv pid.new pid; until [ -e go ]; do sleep 0.01; done";
    let args = ["-q", "--no-report", "--json=result.json", "--b-ready=started", "--b", &server];
    let mut lab = user.command(&args).args(["--", "sh", "-c", program]).spawn().unwrap();
    until(|| pid.exists() || lab.try_wait().unwrap().is_some());
    if let Some(status) = lab.try_wait().unwrap() {
        assert_eq!(status.code(), Some(EXIT_PRIVILEGE));
        println!("skipped: this machine forbids namespaces");
        return;
    }
    let signal = |name: &str| {
        let id = lab.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    };
    let server = shell_of(&user.folder.display().to_string()).expect("the server runs");
    signal("-STOP");
    fs::write(go, "").unwrap();
    until(|| has_ended(&server));
    signal("-CONT");
    assert_eq!(lab.wait().unwrap().code(), Some(0));
    let result = fs::read_to_string(user.folder.join("result.json")).unwrap();
    let result: Value = serde_json::from_str(&result).unwrap();
    assert_eq!(result["server_ended"], serde_json::json!({ "exited": 3 }));
}

#[test]
fn signals_reach_the_program() {
    let _alone = alone();
    let user = User::new(am_root());
    let script = "trap 'echo asked; exit 9' TERM INT; echo up; while :; do sleep 0.05; done";
    for signal in ["TERM", "INT"] {
        let mut command = user.command(&["-q", "--no-report", "--", "sh", "-c", script]);
        command.stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap();
        let mut lines =
            std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
        let Some(Ok(first)) = lines.next() else {
            assert_eq!(child.wait().unwrap().code(), Some(EXIT_PRIVILEGE));
            println!("skipped: this machine forbids namespaces");
            return;
        };
        assert_eq!(first, "up");
        let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
        assert!(sent.unwrap().success());
        assert_eq!(lines.next().unwrap().unwrap(), "asked", "{signal}");
        assert_eq!(child.wait().unwrap().code(), Some(9), "{signal}");
    }
}

#[test]
fn iperf3_meets_the_rate() {
    if !have("iperf3", &["iperf3"]) {
        return;
    }
    let _alone = alone();
    for user in User::all() {
        let path = "--rate 20Mbit --queue 64kB --delay 5ms";
        let Some((report, result)) = iperf3(&user, path, "-t 2") else { return };
        let rate = report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap();
        assert!(rate < 20e6, "iperf3 saw {rate} bit/s through 20 Mbit/s");
        let path = result["a_to_b"]["delivered_bit_per_s"].as_u64().unwrap();
        // One frame above the rate, because the first one's transmission is not counted.
        assert!(path <= 20_100_000, "the path carried {path} bit/s");
        assert!(rate > 10e6, "iperf3 saw {rate} bit/s: the bottleneck is somewhere else");
        let queued = result["a_to_b"]["queue_peak_bytes"].as_u64().unwrap();
        let full = (30_000..=64_000).contains(&queued);
        assert!(full, "the queue never filled, or held more than its limit: {queued} bytes");
    }
}

#[test]
fn iperf3_meets_the_loss() {
    if !have("iperf3", &["iperf3"]) {
        return;
    }
    let _alone = alone();
    for user in User::all() {
        // Small packets and a large buffer: iperf3's losses are the path's, not its own.
        let flags = "-u -b 2M -l 200 -w 1M -t 2";
        let Some((report, result)) = iperf3(&user, "--seed 11 --loss 3%", flags) else { return };
        share_agrees(&result["a_to_b"]["loss"], 0.03, "udp, path");
        let sum = &report["end"]["sum"];
        let (lost, all) = (sum["lost_packets"].as_u64().unwrap(), sum["packets"].as_u64().unwrap());
        assert!(all > 2_000, "only {all} packets");
        let (low, high) = clopper_pearson(lost, all, FALSE_ALARM);
        assert!(low <= 0.03 && 0.03 <= high, "iperf3 lost {lost} of {all}");
    }
}

/// iperf3 from a to b through a path: its own report, and the path's result.
fn iperf3(user: &User, path: &str, flags: &str) -> Option<(Value, Value)> {
    let mut args: Vec<&str> = path.split(' ').collect();
    args.extend(["--b", "iperf3 -s -1", "--", "iperf3", "-c", "b", "-J"]);
    args.extend(flags.split(' '));
    let (out, result) = user.result(&args)?;
    assert_eq!(out.code, 0, "{}\n{}", out.stdout, out.stderr);
    sound(&result, path);
    Some((serde_json::from_str(&out.stdout).unwrap(), result))
}

#[test]
fn curl_fetches_from_nginx_through_loss() {
    if !have("curl and nginx", &["curl", "nginx"]) {
        return;
    }
    let _alone = alone();
    for user in User::all() {
        let page: Vec<u8> = (0..40_000).flat_map(|i| keyed(3, i).to_le_bytes()).collect();
        fs::write(user.folder.join("page"), &page).unwrap();
        let folder = user.folder.display();
        // Port 80 for any user, both families, as in the package's configuration.
        let own = if am_root() && !user.unprivileged { "user root;" } else { "" };
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary = temporary.map(|name| format!("{name}_temp_path {folder}/t;")).concat();
        let text = format!(
            "daemon off; {own} pid {folder}/pid; error_log stderr; events {{}} http {{ access_log \
             off; {temporary} server {{ listen 80; listen [::]:80; root {folder}; }} }}"
        );
        fs::write(user.folder.join("nginx.conf"), text).unwrap();
        let server = format!("nginx -c {folder}/nginx.conf -e stderr");
        for family in ["-4", "-6"] {
            let args = [
                "--seed",
                "5",
                "--loss",
                "1%",
                "--delay",
                "5ms",
                "--b",
                &server,
                "--",
                "curl",
                "-sS",
                family,
                "-o",
                "got",
                "http://b/page",
            ];
            let Some((out, result)) = user.result(&args) else { return };
            assert_eq!(out.code, 0, "{family}: {}", out.stderr);
            assert!(fs::read(user.folder.join("got")).unwrap() == page, "{family}: another page");
            sound(&result, family);
            fs::remove_file(user.folder.join("got")).unwrap();
        }
    }
}

#[test]
fn redis_benchmark_and_dig_run_through_the_path() {
    let _alone = alone();
    for user in User::all() {
        let folder = user.folder.display();
        if have("redis-benchmark and redis-server", &["redis-benchmark", "redis-server"]) {
            let server = "redis-server --save '' --protected-mode no --daemonize no";
            let args = [
                "--delay",
                "2ms",
                "--b",
                server,
                "--b-ready",
                "6379",
                "--",
                "redis-benchmark",
                "-h",
                "b",
                "-n",
                "400",
                "-c",
                "8",
                "-t",
                "get",
                "--csv",
            ];
            let Some((out, result)) = user.result(&args) else { return };
            assert_eq!(out.code, 0, "{}\n{}", out.stdout, out.stderr);
            assert!(out.stdout.contains("\"GET\""), "{}", out.stdout);
            sound(&result, "redis");
        }
        if have("dig and nsd", &["dig", "nsd"]) {
            let zone = "@ SOA ns.test. admin.test. 1 60 60 60 60\n@ NS ns.test.\nns A 10.0.0.2\n\
                        www A 192.0.2.7\n";
            fs::write(user.folder.join("zone"), format!("$ORIGIN test.\n$TTL 60\n{zone}")).unwrap();
            let config = format!(
                "server:\n  username: \"\"\n  database: \"\"\n  pidfile: \"{folder}/nsd.pid\"\n  \
                 xfrdfile: \"{folder}/xfrd\"\n  zonelistfile: \"{folder}/list\"\n  \
                 xfrdir: \"{folder}\"\n  zonesdir: \"{folder}\"\nremote-control:\n  \
                 control-enable: no\nzone:\n  name: test\n  zonefile: zone\n"
            );
            fs::write(user.folder.join("nsd.conf"), config).unwrap();
            let server = format!("nsd -d -c {folder}/nsd.conf");
            let args = [
                "--delay",
                "5ms",
                "--b",
                &server,
                "--b-ready",
                "53",
                "--",
                "dig",
                "@b",
                "+short",
                "www.test",
            ];
            let Some((out, result)) = user.result(&args) else { return };
            assert_eq!((out.code, out.stdout.trim()), (0, "192.0.2.7"), "{}", out.stderr);
            sound(&result, "dig");
        }
    }
}

#[test]
fn captures_hold_every_frame_and_the_cause_of_each_loss() {
    if !have("captures", &["ping", "tshark"]) {
        return;
    }
    let _alone = alone();
    let user = User::new(false);
    let args = [
        "--seed",
        "3",
        "--loss",
        "20%",
        "--duplicate",
        "20%",
        "--delay",
        "2ms",
        "--capture",
        "cap",
        "--",
        "ping",
        "-4",
        "-q",
        "-c",
        "60",
        "-i",
        "0.01",
        "b",
    ];
    let Some((_, result)) = user.result(&args) else { return };
    let read = |name: &str| {
        let out = Command::new("tshark")
            .args(["-r", &format!("cap/{name}.pcapng"), "-T", "fields", "-E", "separator=|"])
            .args(["-e", "frame.packet_id", "-e", "frame.comment", "-e", "icmp.seq"])
            .args(["-e", "frame.time_epoch"])
            .current_dir(&user.folder)
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let count = |way: &str, field: &str| result[way][field].as_u64().unwrap();
    let lost = |way: &str| result[way]["loss"]["seen"]["hits"].as_u64().unwrap();
    let all_lost = lost("a_to_b") + lost("b_to_a");
    assert!(all_lost > 5, "only {all_lost} lost");
    for (name, out_way, in_way) in [("a", "a_to_b", "b_to_a"), ("b", "b_to_a", "a_to_b")] {
        let lines = read(name);
        let expected = count(out_way, "offered") + count(in_way, "delivered") + lost(in_way);
        assert_eq!(lines.len() as u64, expected, "{name}");
        let said: Vec<_> = lines.iter().filter(|l| l.contains("LOST by the path")).collect();
        assert_eq!(said.len() as u64, all_lost, "{name}");
        assert!(said.iter().all(|l| l.contains("ppm, seed 3")), "{said:?}");
        let twice = lines.iter().filter(|l| l.contains("copy 2")).count() as u64;
        assert_eq!(twice, result[in_way]["duplicated"]["seen"]["hits"].as_u64().unwrap());
    }
    // The same packet has the same id on both sides.
    let ids = |name: &str| -> BTreeSet<String> {
        read(name).iter().map(|l| l.split('|').next().unwrap().to_owned()).collect()
    };
    assert_eq!(ids("a"), ids("b"));
}

#[test]
fn artifacts_match_their_schemas() {
    let _alone = alone();
    let user = User::new(am_root());
    let args = [
        "--seed",
        "3",
        "--loss",
        "30%",
        "--corrupt",
        "10%",
        "--duplicate",
        "10%",
        "--at",
        "at 0s delay 1ms",
        "--out",
        "run",
        "--json",
        "--",
        "ping",
        "-c",
        "30",
        "-i",
        "0.01",
        "b",
    ];
    let out = user.run(&args);
    if forbidden(&out) || !have("schemas", &["ping"]) {
        return;
    }
    let read = |name: &str| fs::read_to_string(user.folder.join("run").join(name)).unwrap();
    let result: Value = serde_json::from_str(&read("result.json")).unwrap();
    let printed = &out.stdout[out.stdout.find("{\n").unwrap()..];
    assert_eq!(serde_json::from_str::<Value>(printed).unwrap(), result);
    let wrong = violations(lossy_path::report::schema(), &result);
    assert_eq!(wrong, Vec::<String>::new());
    let mut lost = 0;
    for line in read("events.ndjson").lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let wrong = violations(lossy_path::report::events_schema(), &event);
        assert_eq!(wrong, Vec::<String>::new(), "{line}");
        lost += u64::from(event["type"] == "frame.lost");
    }
    let hits = |way: &str| result[way]["loss"]["seen"]["hits"].as_u64().unwrap();
    assert_eq!(lost, hits("a_to_b") + hits("b_to_a"));
    assert!(read("manifest.json").contains("\"seed\": 3"));
    let shown = user.run(&["show", "run"]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    assert!(shown.stdout.contains("lost") && out.stderr.contains(shown.stdout.trim()));
    for figure in lossy_path::report::explain::figures() {
        assert_eq!(user.run(&["explain", "run", figure]).code, 0, "{figure}");
    }
    assert_eq!(user.run(&["explain", "run", "weather"]).code, 2);
}

/// Digests of the fates in both directions; pings that are never late send the same frames each
/// time.
fn digests(result: &Value) -> [String; 2] {
    ["a_to_b", "b_to_a"].map(|way| result[way]["fates_digest"].as_str().unwrap().to_owned())
}

#[test]
fn a_run_is_repeated_by_seed_and_by_recording() {
    if !have("repetition", &["ping"]) {
        return;
    }
    let _alone = alone();
    let user = User::new(am_root());
    let ping = ["--", "ping", "-q", "-c", "40", "-i", "0.01", "-W", "0.2", "b"];
    let run = |flags: &[&str]| user.result(&[flags, &ping[..]].concat());
    let lossy = ["--loss", "15%", "--duplicate", "5%", "--record", "fates.txt"];
    let Some((_, first)) = run(&[&lossy[..], &["--seed", "9"]].concat()) else { return };
    let Some((_, again)) = run(&["--loss", "15%", "--duplicate", "5%", "--seed", "9"]) else {
        return;
    };
    assert_eq!(digests(&first), digests(&again));
    let Some((_, other)) = run(&["--loss", "15%", "--duplicate", "5%", "--seed", "10"]) else {
        return;
    };
    assert_ne!(digests(&first), digests(&other));
    let Some((_, replayed)) = run(&["--fates", "fates.txt"]) else { return };
    assert_eq!(digests(&first), digests(&replayed));
    assert_ne!(replayed["verdict"], "invalid", "{}", replayed["reasons"]);
    // A run longer than the recording does not count as its repetition.
    let longer =
        ["--fates", "fates.txt", "--strict", "--", "ping", "-q", "-c", "50", "-i", "0.01", "b"];
    let Some((out, result)) = user.result(&longer) else { return };
    assert_eq!((out.code, result["verdict"].as_str()), (3, Some("invalid")), "{}", out.stderr);
    assert!(out.stderr.contains("after the end of the recording"), "{}", out.stderr);
}

/// Processes with this text in their environment.
fn marked(mark: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let own = |entry: &fs::DirEntry| {
        let text = fs::read(entry.path().join("environ")).unwrap_or_default();
        text.windows(mark.len()).any(|part| part == mark.as_bytes())
    };
    let named = entries.filter(own).map(|e| e.file_name().to_string_lossy().into_owned());
    named.filter(|name| name.bytes().all(|b| b.is_ascii_digit())).collect()
}

/// Polls all processes until none has the mark, at most this often.
const LOOKS_MAX: u32 = 2_000;

fn gone(mark: &str) -> bool {
    (0..LOOKS_MAX).any(|_| {
        std::thread::yield_now();
        marked(mark).is_empty()
    })
}

#[test]
fn daemons_end_with_the_run() {
    let _alone = alone();
    let user = User::new(am_root());
    let mark = format!("WIRELAB_TEST_MARK=daemon-{}", std::process::id());
    let (name, value) = mark.split_once('=').unwrap();
    let script = "setsid sh -c 'trap \"\" TERM; sleep 1000' & setsid sleep 1000 & exit 7";
    let args = ["-q", "--no-report", "--b", "sleep 1000", "--b-ready", "started", "--", "sh", "-c"];
    let out = Output::of(user.command(&args).arg(script).env(name, value));
    if forbidden(&out) {
        return;
    }
    assert_eq!(out.code, 7, "{}", out.stderr);
    assert!(gone(&mark), "still there: {:?}", marked(&mark));
}

#[test]
fn nothing_is_left_after_a_hundred_kills() {
    let _alone = alone();
    let user = User::new(am_root());
    let seed = 20_261_123;
    let mark = format!("WIRELAB_TEST_MARK=kill-{}", std::process::id());
    let (name, value) = mark.split_once('=').unwrap();
    let own = fs::read_link("/proc/self/ns/net").unwrap().to_string_lossy().into_owned();
    let mounts = || fs::read_to_string("/proc/self/mounts").unwrap();
    let before = mounts();
    let mut seen = 0;
    for round in 0..100_u64 {
        let mut command = user.command(&["-q", "--no-report", "--b-ready", "started", "--b"]);
        command.args(["setsid sleep 1000 & sleep 1000", "--", "sh", "-c"]);
        command.args(["setsid sleep 1000 & sleep 1000"]).env(name, value).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        // Yields the processor as often as drawn: from before the first namespace to long after the
        // programs run.
        let mut made = BTreeSet::new();
        for _ in 0..keyed(seed, round) % 120 {
            made.extend(namespaces_of(child.id()));
            for process in marked(&mark) {
                made.extend(namespaces_of(process.parse().unwrap()));
            }
        }
        made.remove(&own);
        seen += made.len();
        child.kill().unwrap();
        if child.wait().unwrap().code() == Some(EXIT_PRIVILEGE) {
            println!("skipped: this machine forbids namespaces");
            return;
        }
        assert!(gone(&mark), "seed {seed} round {round}: left {:?}", marked(&mark));
        let left: Vec<_> = live_namespaces().intersection(&made).cloned().collect();
        assert!(left.is_empty(), "seed {seed} round {round}: {left:?} still live");
    }
    assert!(seen >= 100, "seed {seed}: only {seen} namespaces were ever seen");
    assert_eq!(mounts(), before, "seed {seed}");
    let temporary = fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    let left: Vec<_> = temporary
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("lossy-path-"))
        .collect();
    assert!(left.is_empty(), "seed {seed}: {left:?}");
}

#[test]
fn a_shell_on_either_end_has_a_terminal_and_jobs() {
    if !have("shell", &["script", "bash"]) {
        return;
    }
    let _alone = alone();
    let user = User::new(am_root());
    for (end, address) in [("a", "10.0.0.1"), ("b", "10.0.0.2")] {
        let lab = format!("exec ./lossy-path shell {end} --no-report --seed 1");
        let mut command = Command::new("script");
        command.args(["-qec", &lab, "/dev/null"]).current_dir(&user.folder);
        command.env("SHELL", "/bin/bash").env("TERM", "dumb").env("HOME", &user.folder);
        if user.unprivileged {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let words = format!("sleep 1000 &\njobs\necho at=$WIRELAB_HOST {address}\nexit 6\n");
        child.stdin.take().unwrap().write_all(words.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        if out.status.code() == Some(EXIT_PRIVILEGE) {
            println!("skipped: this machine forbids namespaces");
            return;
        }
        assert_eq!(out.status.code(), Some(6), "{said}");
        assert!(said.contains(&format!("at={end}")), "{said}");
        assert!(!said.contains("no job control"), "{said}");
        assert!(said.contains("Running"), "{said}");
        assert!(said.contains("exited with 6"), "the audit follows: {said}");
    }
}

#[test]
fn control_c_reaches_the_program_and_the_audit_follows() {
    if !have("Ctrl-C", &["script", "ping"]) {
        return;
    }
    let _alone = alone();
    let user = User::new(am_root());
    // A shell waiting for the lab would receive the key too, and exit with 130 itself.
    let lab = "exec ./lossy-path --no-report --seed 1 -- ping -i 0.05 b";
    let mut command = Command::new("script");
    command.args(["-qec", lab, "/dev/null"]).current_dir(&user.folder);
    if user.unprivileged {
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut keys = child.stdin.take().unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let mut said = Vec::new();
    for line in lines.map_while(Result::ok) {
        if line.contains("icmp_seq=3 ") {
            keys.write_all(b"\x03").unwrap();
        }
        said.push(line);
    }
    let code = child.wait().unwrap().code();
    let said = said.join("\n");
    if code == Some(EXIT_PRIVILEGE) {
        println!("skipped: this machine forbids namespaces");
        return;
    }
    assert_eq!(code, Some(0), "{said}");
    let (statistics, audit) = (said.find("ping statistics"), said.find("ping on a exited with 0"));
    assert!(statistics.is_some() && statistics < audit, "{said}");
}

#[test]
fn programs_leave_the_router_its_own_processor() {
    if !have("processors", &["nproc", "taskset"]) {
        return;
    }
    let _alone = alone();
    let all = std::thread::available_parallelism().unwrap().get();
    let user = User::new(am_root());
    let out = user.run(&["-q", "--no-report", "--own-cpu", "--", "nproc"]);
    if forbidden(&out) {
        return;
    }
    if all == 1 {
        assert_eq!(out.code, 2, "{}", out.stderr);
        assert!(out.stderr.contains("--own-cpu"), "{}", out.stderr);
    } else {
        assert_eq!((out.code, out.stdout.trim()), (0, (all - 1).to_string().as_str()));
    }
    let mut one = Command::new("taskset");
    one.args(["-c", "0", "./lossy-path", "--own-cpu", "--no-report", "--", "true"]);
    let out = Output::of(one.current_dir(&user.folder));
    assert_eq!(out.code, 2, "{}", out.stderr);
    assert!(out.stderr.contains("--own-cpu): programs may run on 1 alone"), "{}", out.stderr);
}

#[test]
fn doctor_tries_every_step() {
    let _alone = alone();
    for user in User::all() {
        let out = user.run(&["doctor", "--json"]);
        let found: Value = serde_json::from_str(&out.stdout).unwrap();
        let rungs = found["rungs"].as_array().unwrap();
        assert_eq!(rungs.len(), 13);
        let failed: Vec<_> = rungs.iter().filter(|rung| rung["state"] == "failed").collect();
        let not_tried = rungs.iter().filter(|rung| rung["state"] == "not_tried").count();
        match out.code {
            0 => assert!(failed.is_empty() && not_tried == 0, "{}", out.stdout),
            EXIT_PRIVILEGE => {
                assert_eq!(failed.len(), 1, "{}", out.stdout);
                assert!(!failed[0]["remedies"].as_array().unwrap().is_empty());
            }
            other => panic!("exit {other}: {}\n{}", out.stdout, out.stderr),
        }
    }
}

#[test]
fn examples_of_the_help_run() {
    if !have("examples", &["ping", "iperf3"]) {
        return;
    }
    let _alone = alone();
    let lab = Lab::new("lossy-path");
    let help = lab.run("--help").stdout;
    assert!(help.starts_with("Examples:"), "{help}");
    let path = format!("{}:/usr/sbin:/usr/bin:/bin", lab_folder());
    let commands = help
        .lines()
        .skip(1)
        .take_while(|line| !line.trim().is_empty())
        .filter_map(|line| line.split("  ").find(|part| part.contains("lossy-path")));
    // Parsed as by a shell, for a shorter time, all at once: each waits for its packets.
    let run = |command: &str| {
        let quick = command.trim().replace("iperf3 -c b", "iperf3 -c b -t 1");
        let mut shell = Command::new("sh");
        let out =
            Output::of(shell.args(["-c", &quick]).env("PATH", &path).current_dir(&lab.folder));
        (quick, out)
    };
    let outs: Vec<(String, Output)> = std::thread::scope(|scope| {
        let started: Vec<_> = commands.map(|command| scope.spawn(move || run(command))).collect();
        started.into_iter().map(|run| run.join().unwrap()).collect()
    });
    if outs.iter().any(|(_, out)| forbidden(out)) {
        return;
    }
    for (quick, out) in &outs {
        // ping exits with 1 if an answer was lost.
        let fine = out.code == 0 || (out.code == 1 && quick.contains("ping"));
        assert!(fine, "{quick}: exit {}\n{}\n{}", out.code, out.stdout, out.stderr);
    }
    assert!(outs.len() >= 7, "only {} examples in\n{help}", outs.len());
}

fn lab_folder() -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_lossy-path"));
    binary.parent().unwrap().display().to_string()
}

#[test]
fn a_replay_starts_only_programs_that_the_user_has_seen() {
    for user in User::all() {
        let _alone = alone();
        let args = ["--b", "sleep 9", "--b-ready", "started", "--", "sh", "-c", "echo ran >> ran"];
        let first = user.run(&args);
        if forbidden(&first) {
            return;
        }
        let ran = || fs::read_to_string(user.folder.join("ran")).unwrap().lines().count();
        assert_eq!((first.code, ran()), (0, 1), "{}", first.stderr);
        let asked = user.run(&["replay"]);
        assert_eq!((asked.code, ran()), (2, 1), "{}", asked.stderr);
        for shown in ["on host a: sh -c 'echo ran >> ran'", "on host b: sh -c 'sleep 9'", "--yes"] {
            assert!(asked.stderr.contains(shown), "{shown}: {}", asked.stderr);
        }
        let again = user.run(&["replay", "--yes"]);
        assert_eq!((again.code, ran()), (0, 2), "{}", again.stderr);
    }
}

#[test]
fn command_lines_can_be_left_out_of_a_run() {
    let _alone = alone();
    let user = User::new(false);
    let server = ["--b", "true s3cret-of-b", "--b-ready", "started"];
    let program = ["--no-command", "--", "sh", "-c", "true s3cret-of-a"];
    let out = user.run(&[&server[..], &program].concat());
    if forbidden(&out) {
        return;
    }
    assert_eq!(out.code, 0, "{}", out.stderr);
    let run = user.folder.join("wirelab-runs/latest-lossy-path");
    for entry in fs::read_dir(&run).unwrap() {
        let file = entry.unwrap().path();
        let bytes = fs::read(&file).unwrap();
        let found = bytes.windows(6).any(|part| part == b"s3cret");
        assert!(!found, "{}", file.display());
    }
    let again = user.run(&["replay", "--yes"]);
    let why = again.stderr.contains("left out by --no-command");
    assert!(again.code == 2 && why, "{}", again.stderr);
}

#[test]
fn a_run_that_another_user_can_have_written_is_not_taken() {
    let _alone = alone();
    let mut user = User::new(am_root());
    fs::set_permissions(&user.folder, fs::Permissions::from_mode(0o1777)).unwrap();
    let first = user.run(&["--", "true"]);
    if forbidden(&first) {
        return;
    }
    let base = user.folder.join("wirelab-runs");
    let named = fs::read_link(base.join("latest-lossy-path")).unwrap();
    let (run, named) = (base.join(&named), Path::new("wirelab-runs").join(&named));
    let views = |user: &User, why: &str| {
        for view in ["show", "explain", "replay", "replay --yes"] {
            for run in [None, Some(named.to_str().unwrap())] {
                let args: Vec<&str> = view.split(' ').chain(run).collect();
                let out = user.run(&args);
                assert_eq!(out.code, 2, "{args:?}: {}", out.stderr);
                assert!(out.stderr.contains(why), "{args:?}: {}", out.stderr);
            }
        }
    };
    for (path, usual) in [(&base, 0o700), (&run, 0o700), (&run.join("result.json"), 0o600)] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, usual, "{path:?}");
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
        views(&user, "others may write to");
        fs::set_permissions(path, fs::Permissions::from_mode(usual)).unwrap();
    }
    assert_eq!(user.run(&["show"]).code, 0);
    if am_root() {
        user.unprivileged = false;
        views(&user, "belongs to another user (65534)");
    }
}

/// A program's report of its environment and rights, by line.
const LOOK: &str = "ls /sys/class/net; id -u; grep -E '^(NoNewPrivs|CapBnd)' /proc/self/status; \
                    hostname other 2>/dev/null && hostname; \
                    umount /proc 2>/dev/null; umount -l /proc 2>/dev/null; \
                    ls -d /proc/[0-9]* | wc -l; \
                    echo x 2>/dev/null > /proc/sys/kernel/hostname && echo set; \
                    cat /proc/sys/net/ipv4/tcp_keepalive_time > /dev/null && echo net; \
                    touch /proc/sysrq-trigger 2>/dev/null && echo sysrq; \
                    readlink /proc/self/ns/uts";

#[test]
fn a_program_sees_its_own_links_and_reaches_nothing_of_the_machine() {
    let _alone = alone();
    let before = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    for user in User::all() {
        let out = user.run(&["--no-report", "--quiet", "--", "sh", "-c", LOOK]);
        if forbidden(&out) {
            return;
        }
        let lines: Vec<&str> = out.stdout.lines().collect();
        let [eth0, lo, id, bounding, nnp, processes, net, uts] = lines[..] else {
            panic!("{}{}", out.stdout, out.stderr)
        };
        assert_eq!((eth0, lo, net), ("eth0", "lo", "net"), "{}", out.stdout);
        assert_eq!(id, if user.unprivileged || !am_root() { id } else { "0" });
        let bounding = bounding.rsplit('\t').next().unwrap();
        let bounding = u64::from_str_radix(bounding, 16).unwrap();
        // Modules, raw memory, mounts and names, reboot, clock: linux/capability.h.
        for capability in [16, 17, 21, 22, 25] {
            assert_eq!(bounding >> capability & 1, 0, "{capability}: {}", out.stdout);
        }
        assert_eq!(nnp, "NoNewPrivs:\t1");
        assert!(processes.parse::<u32>().unwrap() < 10, "processes of the machine: {processes}");
        assert_ne!(Path::new(uts), fs::read_link("/proc/self/ns/uts").unwrap());
    }
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), before);
}

#[test]
fn under_sudo_programs_and_files_are_the_users() {
    if !am_root() {
        println!("skipped: only root can act as sudo");
        return;
    }
    let _alone = alone();
    let user = User::new(false);
    for (flags, id) in [(&[][..], "65534"), (&["--root"], "0")] {
        let args = ["--b", "id -u > server", "--b-ready", "started"];
        let args = [flags, &args, &["--", "sh", "-c", "id -u; id -G; sleep 0.2"]].concat();
        let mut command = user.command(&args);
        let sudo = [("SUDO_UID", "65534"), ("SUDO_GID", "65534"), ("SUDO_USER", "nobody")];
        let out = Output::of(command.envs(sudo));
        if forbidden(&out) {
            return;
        }
        assert_eq!(out.stdout, format!("{id}\n{id}\n"), "{}", out.stderr);
        let server = fs::read_to_string(user.folder.join("server")).unwrap();
        assert_eq!(server, format!("{id}\n"));
        fs::remove_file(user.folder.join("server")).unwrap();
    }
    use std::os::unix::fs::MetadataExt;
    let run = user.folder.join("wirelab-runs/latest-lossy-path/result.json");
    assert_eq!(fs::metadata(run).unwrap().uid(), NOBODY);
}
