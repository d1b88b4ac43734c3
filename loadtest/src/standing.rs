//! How the threads that keep the time stand with the system: woken precisely and before others,
//! as far as it lets them.

use std::num::NonZeroU64;
use std::time::Duration;

use rustix::process::setpriority_process;
use rustix::thread::{CpuSet, gettid, sched_setaffinity, set_current_timer_slack};
use rustix::time::{ClockId, clock_gettime};

/// Before what runs at 0. Granted to root and with `CAP_SYS_NICE`.
const NICE: i32 = -15;
/// Sleeps end so close to their time, nanoseconds; the system's default is 50,000.
const SLACK_NS: NonZeroU64 = NonZeroU64::MIN;

/// Puts this thread before others. False: the system does not let it; it goes on as it is.
pub fn raise() -> bool {
    // Only the waking gets less precise without it.
    let _slack = set_current_timer_slack(Some(SLACK_NS));
    setpriority_process(Some(gettid()), NICE).is_ok()
}

/// Whether [`raise`] would be granted: asked on a thread that ends.
#[must_use]
pub fn may_raise() -> bool {
    std::thread::spawn(raise).join().unwrap_or(false)
}

/// CPU time that this thread has taken so far.
#[must_use]
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Keeps this thread, and those it starts from now on, on one core, or off it. False: not granted.
#[must_use]
pub fn keep(core: usize, on_it: bool) -> bool {
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut set = CpuSet::new();
    for one in (0..count).filter(|one| (*one == core) == on_it) {
        set.set(one);
    }
    sched_setaffinity(None, &set).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_on_one_core_starts_threads_on_one_core() {
        let inside = || std::thread::available_parallelism().unwrap().get();
        let seen = std::thread::spawn(move || {
            assert!(keep(0, true));
            std::thread::spawn(inside).join().unwrap()
        });
        assert_eq!(seen.join().unwrap(), 1);
    }
}
