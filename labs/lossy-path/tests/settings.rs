//! Kernel settings of the hosts, signals and `--predict`, with real programs.

use super::{User, forbidden, have};
use std::fs;
use std::process::{Command, Stdio};
use wirelab_tests::lab::Output;
use wirelab_tests::namespaces::{EXIT_PRIVILEGE, alone, am_root};

#[test]
fn settings_reach_the_hosts_of_an_ordinary_user() {
    let _alone = alone();
    for user in User::all() {
        let read = "cat /proc/sys/net/ipv4/tcp_sack /proc/sys/net/ipv4/tcp_ecn; \
            cut -f3 /proc/sys/net/ipv4/tcp_rmem";
        let plan = ["--sysctl", "a:net.ipv4.tcp_sack=0", "--ecn", "--congestion-control=reno"];
        let args = [&["--rate=1Gbit", "--delay=50ms"][..], &plan, &["--", "sh", "-c", read]];
        let Some((out, result)) = user.result(&args.concat()) else { return };
        assert_eq!(out.stdout, "0\n1\n50000000\n", "{}", out.stderr);
        assert_eq!(result["host"]["congestion_control"], "reno");
        let set = ["net.ipv4.tcp_ecn=1", "net.ipv4.tcp_congestion_control=reno"];
        let set = [&set[..], &["a:net.ipv4.tcp_sack=0"]].concat();
        assert_eq!(result["plan"]["sysctls"], serde_json::json!(set));
        let out = user.run(&["--no-report", "--sysctl=net.ipv4.no_such=1", "--", "true"]);
        assert_eq!(out.code, EXIT_PRIVILEGE, "{}", out.stderr);
        assert!(out.stderr.contains("set net.ipv4.no_such=1"), "{}", out.stderr);
    }
}

#[test]
fn marks_that_can_mark_nothing_are_reported() {
    if !have("marks", &["python3", "curl"]) {
        return;
    }
    let _alone = alone();
    let user = User::new(am_root());
    let server = "exec python3 -m http.server 80";
    let args = ["--mark=100%", "--b", server, "--", "curl", "-s", "-o", "out", "http://b/"];
    for (ecn, says) in [(&[][..], true), (&["--ecn"], false)] {
        let Some((out, result)) = user.result(&[ecn, &args].concat()) else { return };
        assert_eq!(out.code, 0, "{}", out.stderr);
        assert_eq!(out.stderr.contains("no frame was marked"), says, "{}", out.stderr);
        assert_eq!(result["b_to_a"]["marked"] == 0, says, "{}", out.stderr);
    }
}

#[test]
fn signals_that_mean_something_to_a_program_reach_it() {
    let _alone = alone();
    let user = User::new(am_root());
    let script = "trap 'echo USR1' USR1; trap 'echo USR2' USR2; trap 'echo WINCH' WINCH; \
        trap 'echo CONT' CONT; trap 'exit 9' TERM; echo up; while :; do sleep 0.02; done";
    let mut command = user.command(&["-q", "--no-report", "--", "sh", "-c", script]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let Some(Ok(_)) = lines.next() else {
        assert_eq!(child.wait().unwrap().code(), Some(EXIT_PRIVILEGE));
        return;
    };
    let send = |signal: &str| {
        let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    };
    for signal in ["USR1", "USR2", "WINCH", "CONT"] {
        send(signal);
        assert_eq!(lines.next().unwrap().unwrap(), signal);
    }
    send("TERM");
    assert_eq!(child.wait().unwrap().code(), Some(9));
}

#[test]
fn guesses_stand_beside_what_was_seen() {
    if !have("predict", &["ping"]) {
        return;
    }
    let _alone = alone();
    let user = User::new(am_root());
    let args = ["--predict", "--json=result.json", "--no-report", "--"];
    let mut command = user.command(&[&args[..], &["ping", "-q", "-c", "1", "b"]].concat());
    fs::write(user.folder.join("guesses"), "2\n0\n\n").unwrap();
    command.stdin(fs::File::open(user.folder.join("guesses")).unwrap());
    let out = Output::of(&mut command);
    if forbidden(&out) {
        return;
    }
    let says = ["1/3  frames that the program causes, from a to b and back? ", "right\n"];
    assert!(says.iter().all(|part| out.stderr.contains(part)), "{}", out.stderr);
    let result = fs::read_to_string(user.folder.join("result.json")).unwrap();
    let result: serde_json::Value = serde_json::from_str(&result).unwrap();
    for (n, figure) in [2.0, 0.0].into_iter().enumerate() {
        let guess = &result["predictions"][n];
        assert_eq!([&guess["guess"], &guess["seen"]], [figure, figure], "{result:#}");
    }
}

#[test]
fn doctor_names_the_congestion_controls_that_a_program_may_choose() {
    const CHOOSE: &str = r#"
import socket
for name in open("/proc/sys/net/ipv4/tcp_available_congestion_control").read().split():
    end = socket.socket()
    try:
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())
        print(name, end=", ")
    except PermissionError:
        print(name, "(forbidden)", end=", ")
"#;
    if !have("doctor", &["python3"]) {
        return;
    }
    let _alone = alone();
    for user in User::all() {
        let inside = user.run(&["-q", "--no-report", "--", "python3", "-c", CHOOSE]);
        if forbidden(&inside) {
            return;
        }
        let said = user.run(&["doctor"]).stdout;
        let wanted = format!("a program may choose {}\n", inside.stdout.trim_end_matches(", "));
        assert!(said.contains(&wanted), "{wanted}{said}");
    }
}

#[test]
fn a_shell_on_a_terminal_keeps_its_exit_status() {
    if !have("terminal", &["script", "dash", "bash"]) {
        return;
    }
    let _alone = alone();
    let user = User::new(am_root());
    for shell in ["/bin/dash", "/bin/bash"] {
        // The flags stand before the command, as for a program.
        let inside = "./lossy-path --loss 1% shell --no-report";
        let mut command = Command::new("script");
        command.args(["-qec", inside, "typescript"]).current_dir(&user.folder);
        fs::write(user.folder.join("keys"), "exit 7\n").unwrap();
        command.env("SHELL", shell).stdin(fs::File::open(user.folder.join("keys")).unwrap());
        let out = Output::of(&mut command);
        if forbidden(&out) {
            return;
        }
        assert_eq!(out.code, 7, "{shell}: {}\n{}", out.stdout, out.stderr);
    }
    for misplaced in [&["--loss=1%", "presets"][..], &["--loss=1%", "shell", "--loss=2%"]] {
        let out = user.run(misplaced);
        assert_eq!(out.code, 2, "{misplaced:?}: {}", out.stderr);
        assert!(out.stderr.contains("expected"), "{}", out.stderr);
    }
}

#[test]
fn a_folder_that_takes_no_files_costs_the_record_and_not_the_run() {
    use std::os::unix::fs::PermissionsExt;
    let _alone = alone();
    let user = User::new(am_root());
    fs::create_dir(user.folder.join("sealed")).unwrap();
    fs::set_permissions(user.folder.join("sealed"), fs::Permissions::from_mode(0o555)).unwrap();
    let mut command = user.command(&["--", "sh", "-c", "exit 7"]);
    command.current_dir(user.folder.join("sealed"));
    let out = Output::of(&mut command);
    if forbidden(&out) {
        return;
    }
    assert_eq!(out.code, 7, "{}", out.stderr);
    assert!(out.stderr.contains("the run leaves no record"), "{}", out.stderr);
}

#[test]
fn a_server_that_becomes_a_daemon_is_waited_for() {
    const DAEMON: &str = "python3 -c '
import os, socket, time
if os.fork(): os._exit(0)
time.sleep(0.3)
server = socket.create_server((\"\", 80))
while True: server.accept()[0].close()'";
    if !have("daemon", &["python3"]) {
        return;
    }
    let _alone = alone();
    let user = User::new(am_root());
    let client = "import socket; socket.create_connection(('b', 80))";
    let args = ["--b", DAEMON, "--", "python3", "-c", client];
    let Some((out, result)) = user.result(&args) else { return };
    assert_eq!(out.code, 0, "{}", out.stderr);
    assert_eq!(result["server_ended"], serde_json::Value::Null);
}

#[test]
fn a_plan_may_have_20_000_changes() {
    let _alone = alone();
    let user = User::new(am_root());
    let plan = |rate: &str| {
        let line = |n| format!("'at {n}ms loss {}%'", n % 7);
        let lines: Vec<_> = (1..20_000).map(line).collect();
        format!("[both]\nrate = '{rate}'\nat = [{}]\n", lines.join(", "))
    };
    fs::write(user.folder.join("plan.toml"), plan("10Mbit")).unwrap();
    let out = user.run(&["-q", "--no-report", "--plan=plan.toml", "--", "true"]);
    if forbidden(&out) {
        return;
    }
    assert_eq!(out.code, 0, "{}", out.stderr);
    let wrong = plan("10Mbit").replace("\nrate", "\nqueue = '64kB'\n#");
    fs::write(user.folder.join("plan.toml"), wrong).unwrap();
    let out = user.run(&["-q", "--no-report", "--plan=plan.toml", "--", "true"]);
    assert_eq!(out.code, 2, "{}", out.stderr);
    assert!(out.stderr.len() < 500, "{}", out.stderr);
}

#[test]
fn a_test_changes_the_path_under_its_program() {
    const TEST: &str = r#"
import json, socket, subprocess
def change(**request):
    with socket.socket(socket.AF_UNIX) as path:
        path.connect("ctl")
        path.sendall(json.dumps(request).encode() + b"\n")
        return json.loads(path.makefile().readline())
def ping(): return subprocess.run("ping -q -c 1 -W 0.2 b".split(), capture_output=True).returncode
assert ping() == 0
print(change(set={"loss": "100%"}, direction="a-to-b"), ping())
print(change(set={"loss": "0%"}), ping())
print(change(set={"loss": "7"})["ok"], change(sat={})["ok"], change(set={"rate": "1Mbit"})["ok"])
print(subprocess.run(["./lossy-path", "set", "ctl", "loss=100%"]).returncode, ping())
"#;
    if !have("control", &["python3", "ping"]) {
        return;
    }
    let _alone = alone();
    let user = User::new(am_root());
    let args = ["--control=ctl", "--loss=0%", "--", "python3", "-c", TEST];
    let Some((out, result)) = user.result(&args) else { return };
    let wanted = "{'ok': True} 1\n{'ok': True} 0\nFalse False False\n0 1\n";
    assert_eq!(out.stdout, wanted, "{}", out.stderr);
    assert!(out.stderr.contains("the path was changed 3 times while it ran"), "{}", out.stderr);
    // Requests 1 and 3 arrived; 2 and 4 met the changes.
    let way = &result["a_to_b"];
    assert_eq!((&way["offered"], &way["delivered"]), (&4.into(), &2.into()), "{}", out.stderr);
    assert_eq!(way["loss"]["asked_ppm"], serde_json::Value::Null);
    assert!(!user.folder.join("ctl").exists());
    let out = user.run(&["set", "ctl", "loss=1%"]);
    assert_eq!(out.code, 2, "{}", out.stderr);
}
