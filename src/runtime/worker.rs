//! A worker thread for calls that block: one job after another, a wake-up after each.

use std::io;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

/// Called on the worker's thread after each job.
type Wake = Box<dyn Fn() + Send + Sync>;

/// A thread that turns jobs into results, in order. Dropping it finishes the queued jobs.
pub struct Worker<J, R> {
    jobs: Option<Sender<J>>,
    results: Receiver<R>,
    thread: Option<JoinHandle<()>>,
    wake: Arc<OnceLock<Wake>>,
}

impl<J: Send + 'static, R: Send + 'static> Worker<J, R> {
    /// A thread of this name that does `work` for each job.
    /// Fails if the kernel starts no thread.
    pub fn start(name: &str, mut work: impl FnMut(J) -> R + Send + 'static) -> io::Result<Self> {
        let (jobs, queue) = channel::<J>();
        let (done, results) = channel();
        let wake = Arc::new(OnceLock::<Wake>::new());
        let after = Arc::clone(&wake);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            for job in queue {
                if done.send(work(job)).is_err() {
                    return;
                }
                if let Some(wake) = after.get() {
                    wake();
                }
            }
        })?;
        Ok(Self { jobs: Some(jobs), results, thread: Some(thread), wake })
    }

    /// Queues a job; false if the thread has panicked.
    pub fn submit(&self, job: J) -> bool {
        self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok())
    }

    /// The next result, if there is one; never blocks.
    /// Fails if the thread has panicked.
    pub fn poll(&self) -> io::Result<Option<R>> {
        match self.results.try_recv() {
            Ok(result) => Ok(Some(result)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(io::Error::other("its thread has ended")),
        }
    }

    /// Sets what to call after each job; only the first call counts.
    pub fn wake_with(&self, wake: Wake) {
        let _first = self.wake.set(wake);
    }
}

impl<J, R> Drop for Worker<J, R> {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // Its panic was reported when it happened.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_each_wakes() {
        let worker = Worker::start("squares", |n: u64| n * n).unwrap();
        let (woken, wakes) = channel();
        worker.wake_with(Box::new(move || woken.send(()).unwrap()));
        for n in 1..=3 {
            assert!(worker.submit(n));
        }
        let results: Vec<u64> = (0..3)
            .map(|_| {
                wakes.recv().unwrap();
                worker.poll().unwrap().unwrap()
            })
            .collect();
        assert_eq!(results, [1, 4, 9]);
        assert_eq!(worker.poll().unwrap(), None);
    }
}
