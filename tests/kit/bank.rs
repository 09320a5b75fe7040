//! Bank servers as processes, and pages whose commands are run against them.

use crate::lab::{Lab, Output};
use crate::namespaces::EXIT_PRIVILEGE;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpStream, UdpSocket};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// A read that takes longer has hung, even on a busy machine.
pub const HUNG: Duration = Duration::from_secs(60);

/// A server in its own process, on its own port.
pub struct Bank {
    /// Its lab, for clients.
    pub lab: Lab,
    /// The process.
    pub child: Child,
    out: BufReader<ChildStdout>,
    /// Where it listens.
    pub address: String,
}

impl Bank {
    /// A server with these flags.
    pub fn start(name: &str, flags: &str) -> Self {
        let lab = Lab::new(name);
        let serve = {
            let seed = if flags.contains("--seed") { "" } else { "--seed 1" };
            lab.command(&format!("serve --listen 127.0.0.1:0 --json {seed} {flags}"))
        };
        Self::from(lab, serve)
    }

    /// A server started by this command, which listens on port 0 and prints JSON.
    pub fn from(lab: Lab, mut serve: Command) -> Self {
        let mut child =
            serve.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("serve starts");
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let listening: Value = serde_json::from_str(&line).expect("the first line is JSON");
        assert_eq!(listening["type"], "listening");
        let address = listening["address"].as_str().unwrap().to_owned();
        Self { lab, child, out, address }
    }

    /// A call with these arguments.
    pub fn call(&self, what: &str) -> Output {
        self.lab.run(&format!("call --server {} {what}", self.address))
    }

    /// The answer to a call that must succeed.
    pub fn ask(&self, what: &str) -> Value {
        let out = self.call(&format!("--json {what}"));
        assert_eq!(out.code, 0, "{what}: {}{}", out.stdout, out.stderr);
        serde_json::from_str(&out.stdout).unwrap()
    }

    /// The balance of an account, in cents.
    pub fn balance(&self, account: u64) -> i64 {
        self.ask(&format!("balance {account}"))["reply"]["balance"].as_i64().unwrap()
    }

    /// Sends SIGTERM; returns the report after an exit with 0.
    pub fn stop(self) -> Value {
        self.stop_by("TERM")
    }

    /// The same with another signal.
    pub fn stop_by(mut self, name: &str) -> Value {
        signal(name, &self.child);
        let mut text = String::new();
        self.out.read_to_string(&mut text).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{text}");
        let report: Value = serde_json::from_str(&text).expect("the second line is JSON");
        assert_eq!(report["type"], "stopped");
        assert_eq!(report["books"]["balanced"], true, "{report}");
        report
    }

    /// A TCP connection to it.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(HUNG)).unwrap();
        stream
    }

    /// A UDP socket connected to it.
    pub fn datagrams(&self) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(&self.address).unwrap();
        socket.set_read_timeout(Some(HUNG)).unwrap();
        socket
    }
}

impl Drop for Bank {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Sends a signal, by name.
pub fn signal(name: &str, child: &Child) {
    let kill = format!("kill -{name} {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

/// The commands of a page, each run as printed against a bank of its own port.
pub struct Page {
    lab: Lab,
    server: Option<(Child, BufReader<ChildStdout>)>,
    address: String,
    silent: Option<UdpSocket>,
}

/// How commands of a page begin.
const COMMANDS: [&str; 6] = ["bank-", "kill ", "nc ", "lossy-path ", "seq ", "echo "];

/// Runs every command of a page and compares what it prints.
///
/// A `console` block has commands after `$` and their output below; times, seeds and ports may
/// differ. A folded answer has commands and figures in backquotes: each figure occurs in the output
/// of the command before it.
pub fn check_page(name: &str, text: &str) {
    let (page, answers) = text.split_once("<details>").expect("folded answers");
    let blocks = page.split("```console\n").skip(1);
    for block in blocks.map(|rest| rest.split("```").next().unwrap()) {
        let mut run = Page::new(name);
        for step in block.strip_prefix("$ ").expect("a command").split("\n$ ") {
            let (command, wanted) = step.split_once('\n').unwrap_or((step, ""));
            let Some(got) = run.run(command) else { continue };
            assert_eq!(plain(&got), plain(wanted), "{name}: {command}\n{got}");
        }
    }
    let answers: Vec<&str> = answers.split("<details>").collect();
    assert_eq!(answers.len(), 10, "{name}: questions");
    for answer in answers {
        let (question, answer) = answer.split_once("</summary>").expect("a summary");
        let mut run = Page::new(name);
        let (mut got, mut figures) = (String::new(), 0);
        for span in answer.split("</details>").next().unwrap().split('`').skip(1).step_by(2) {
            if COMMANDS.iter().any(|word| span.starts_with(word)) {
                let Some(said) = run.run(span) else { return };
                got = said;
            } else {
                figures += 1;
                assert!(plain(&got).contains(plain(span).trim_end()), "{question}: {span}\n{got}");
            }
        }
        assert!(figures > 0, "{question}: no figure");
    }
}

impl Page {
    fn new(name: &str) -> Self {
        let address = "no address".to_owned();
        Self { lab: Lab::new(name), server: None, address, silent: None }
    }

    /// What a command prints: to stdout, then to stderr. `None` where this machine forbids it.
    fn run(&mut self, command: &str) -> Option<String> {
        let (name, args) = command.split_once(' ').expect("a program and its arguments");
        match name {
            "nc" => self.silence(),
            "kill" => return Some(self.stop()),
            "bank-tcp" | "bank-udp" => return Some(self.bank(args)),
            _ => return self.shell(command),
        }
        Some(String::new())
    }

    /// Takes a port and answers nothing.
    fn silence(&mut self) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        self.address = socket.local_addr().unwrap().to_string();
        self.silent = Some(socket);
    }

    /// Runs a command that needs no server of ours, as typed in the lab's folder.
    #[expect(clippy::print_stdout, reason = "skipped parts are listed at the end of a run")]
    fn shell(&self, command: &str) -> Option<String> {
        let mut shell = Command::new("sh");
        let path = std::env::var("PATH").unwrap_or_default();
        let labs = self.lab.binary.parent().expect("invariant: it is in a folder").display();
        shell.args(["-c", command]).env("PATH", format!("{labs}:{path}"));
        let out = Output::of(shell.current_dir(&self.lab.folder));
        if out.code == EXIT_PRIVILEGE {
            println!("skipped: {command}: {}", out.stderr.lines().next().unwrap_or_default());
            return None;
        }
        Some(out.stdout + &out.stderr)
    }

    /// Runs a command of a bank, against the server of this page.
    fn bank(&mut self, args: &str) -> String {
        if let Some(flags) = args.strip_prefix("serve") {
            return self.serve(flags.trim_end_matches('&'));
        }
        if self.server.is_none() && self.silent.is_none() && !args.contains("--server") {
            self.serve("");
        }
        let (verb, rest) = args.split_once(' ').expect("call or load");
        let server =
            if args.contains("--server") { "" } else { &format!("--server {}", self.address) };
        let out = self.lab.run(&format!("{verb} {server} {rest}"));
        // As on the usual port, which the commands of a page leave out.
        let [at, on] = ["--server", "--listen"].map(|flag| format!(" {flag} {}", self.address));
        let said = (out.stdout + &out.stderr).replace(&at, "").replace(&on, "");
        said.replace(&self.address, "127.0.0.1:7411")
    }

    fn serve(&mut self, flags: &str) -> String {
        self.stop();
        let mut serve = self.lab.command(&format!("serve --listen 127.0.0.1:0 {flags}"));
        let child = serve.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = child.expect("serve starts");
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        // The announcement ends with how to stop.
        while !line.contains("Ctrl-C") {
            assert!(out.read_line(&mut line).unwrap() > 0, "{line}");
        }
        let address = line.split("listens on ").nth(1).expect("an address");
        self.address = address.split(' ').next().unwrap().to_owned();
        self.server = Some((child, out));
        String::new()
    }

    /// Stops the server; returns its report.
    fn stop(&mut self) -> String {
        let Some((mut child, mut out)) = self.server.take() else { return String::new() };
        signal("INT", &child);
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        child.wait().unwrap();
        text.trim_start().to_owned()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The text without what differs from run to run: times, seeds, keys, rates, intervals, progress.
fn plain(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with("requests to ")) {
        let line = line.split(" (95 %").next().unwrap().split(" (too few").next().unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let unit = |word: Option<&&str>| {
            word.is_some_and(|word| {
                ["ns", "µs", "ms", "s"].contains(&word.trim_end_matches([';', ',', '.', ')']))
            })
        };
        let varies = |index: usize| {
            let before = words[..index].iter().rev().find(|word| !word.is_empty());
            let number = words[index].starts_with(|c: char| c.is_ascii_digit());
            let named =
                before.is_some_and(|word| ["seed", "--seed", "rate", "retries"].contains(word));
            number && (named || unit(words.get(index + 1)))
        };
        let mut kept = String::new();
        for (index, word) in words.iter().enumerate() {
            let after_number = index > 0 && varies(index - 1) && unit(Some(word));
            let key = word.trim_start_matches('(').get(..16);
            kept += if varies(index) {
                "N"
            } else if key.is_some_and(|key| key.bytes().all(|b| b.is_ascii_hexdigit())) {
                "KEY"
            } else if after_number {
                "T"
            } else {
                word
            };
            kept.push(' ');
        }
        lines.push(kept.trim_end().to_owned());
    }
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines.join("\n")
}
