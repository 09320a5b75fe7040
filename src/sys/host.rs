//! Host facts that say how far its timing can be trusted, and ways to steady it; unreadable facts
//! count as absent.
#![expect(unsafe_code, reason = "sched_setaffinity and sched_setscheduler have no wrapper in std")]

use super::error::{check, fits};
use crate::measure::nanos;
use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// The kernel's name and release, such as `Linux 6.12.1`; empty if `/proc` is unreadable.
#[must_use]
pub fn kernel_release() -> String {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/kernel/{name}"));
    match (read("ostype"), read("osrelease")) {
        (Ok(name), Ok(release)) => format!("{} {}", name.trim(), release.trim()),
        _ => String::new(),
    }
}

/// Processors available to this process; 1 if unknown.
#[must_use]
pub fn cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| fits(n.get()))
}

/// Processor time of the whole machine since it started, in clock ticks (1/100 s), from
/// `/proc/stat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTicks {
    /// Busy.
    pub busy: u64,
    /// Idle or waiting for disks.
    pub idle: u64,
    /// Stolen by the hypervisor.
    pub steal: u64,
}

/// Reads the machine's processor time; `None` without `/proc/stat`.
#[must_use]
pub fn cpu_ticks() -> Option<CpuTicks> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().find(|line| line.starts_with("cpu "))?;
    let field: Vec<u64> = line.split_whitespace().skip(1).map_while(|f| f.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal: proc_stat(5).
    let at = |index: usize| field.get(index).copied().unwrap_or(0);
    Some(CpuTicks {
        busy: at(0) + at(1) + at(2) + at(5) + at(6),
        idle: at(3) + at(4),
        steal: at(7),
    })
}

/// Pins the calling thread to one processor.
///
/// # Errors
/// The error of `sched_setaffinity`: `EINVAL` if there is no such processor.
pub fn pin_to_cpu(cpu: usize) -> io::Result<()> {
    pin_to_cpus(&[cpu])
}

/// Pins the calling thread, and threads it starts from now on, to some processors.
///
/// # Errors
/// The error of `sched_setaffinity`: `EINVAL` if this process may use none of them.
pub fn pin_to_cpus(cpus: &[usize]) -> io::Result<()> {
    // SAFETY: cpu_set_t is plain bits, for which all zero means the empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    for cpu in cpus {
        if *cpu >= 8 * size_of_val(&set) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        // SAFETY: `cpu` is within the set, as checked above.
        unsafe { libc::CPU_SET(*cpu, &mut set) };
    }
    // SAFETY: `set` is a valid set of the size passed; 0 is the calling thread.
    check(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) })
}

/// The processors that the calling thread may run on, in ascending order.
///
/// # Errors
/// The error of `sched_getaffinity`: `EINVAL` if the machine has more than 1,024.
pub fn allowed_cpus() -> io::Result<Vec<usize>> {
    // SAFETY: cpu_set_t is plain bits, for which all zero means the empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: `set` is live and of the size passed; 0 is the calling thread.
    check(unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) })?;
    let cpus = 0..8 * size_of_val(&set);
    // SAFETY: every number is within the set.
    Ok(cpus.filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect())
}

/// `struct sched_attr` in its first version (linux/sched/types.h).
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Sets the calling thread's time slice; the default is about 3 ms, the kernel grants 0.1 to 100
/// ms.
///
/// A shorter slice gives no more processor time, but lower wake-up latency: the shorter slice runs
/// first and preempts. Kernels before 6.12 accept the call and ignore it.
///
/// # Errors
/// The error of `sched_setattr`.
pub fn set_time_slice(slice: Duration) -> io::Result<()> {
    // SAFETY: getpriority takes two numbers and touches no memory; 0 is the calling thread.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    let attributes = SchedAttr {
        size: fits(size_of::<SchedAttr>()),
        policy: fits(libc::SCHED_OTHER),
        flags: 0,
        nice,
        priority: 0,
        runtime: nanos(slice),
        deadline: 0,
        period: 0,
    };
    // SAFETY: `attributes` is a live sched_attr that holds its own size; the kernel only reads it,
    // and 0 is the calling thread.
    check(fits(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) }))
}

/// Lets the calling thread run only on otherwise idle processors (`SCHED_IDLE`).
///
/// # Errors
/// The error of `sched_setscheduler`.
pub fn run_only_when_idle() -> io::Result<()> {
    let priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: `priority` is a valid parameter to read; 0 is the calling thread.
    check(unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const priority) })
}

/// One spinning thread of idle priority per processor, to keep processors from halting.
///
/// Waking a halted virtual processor takes about 50 µs. The threads use all idle processor time, so
/// this is off by default. Dropping it ends the threads.
#[derive(Debug)]
pub struct KeepAwake {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl KeepAwake {
    /// Starts the threads.
    ///
    /// # Errors
    /// Fails if a thread cannot be started.
    pub fn start() -> io::Result<Self> {
        let cpus = std::thread::available_parallelism()?.get();
        let mut awake =
            Self { stop: Arc::new(AtomicBool::new(false)), threads: Vec::with_capacity(cpus) };
        for cpu in 0..cpus {
            let stop = Arc::clone(&awake.stop);
            let thread = Builder::new().name(format!("awake{cpu}")).spawn(move || {
                // At normal priority it would compete with the work it is to help.
                if run_only_when_idle().is_ok() && pin_to_cpu(cpu).is_ok() {
                    while !stop.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                }
            })?;
            awake.threads.push(thread);
        }
        Ok(awake)
    }
}

impl Drop for KeepAwake {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // The thread has no result and cannot panic.
            let _ = thread.join();
        }
    }
}
