//! How work on the configuration gives way to requests, where both want the same core.
//!
//! Linux lets a thread that runs finish its slice, some milliseconds, before one that wakes gets the core, however nice
//! the first is (`RUN_TO_PARITY`). Two things do help: to ask now and then whether somebody waits, and the policy
//! `SCHED_IDLE`, whose threads are interrupted by any other.

use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};

/// Lets a worker run that waits for this core. Costs a fraction of a microsecond if none does.
pub(crate) fn give_way() {
    std::thread::yield_now();
}

/// Has this thread run only while nobody else wants the core. Where the system refuses, everything is as it was.
pub(crate) fn stand_back() {
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy);
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stands_back_alone() {
        let policy = || thread_priority::thread_schedule_policy().expect("Linux tells it");
        let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        let before = policy();
        assert_ne!(before, idle);
        let own = std::thread::spawn(move || {
            stand_back();
            policy()
        });
        assert_eq!(own.join().expect("no panic"), idle);
        assert_eq!(policy(), before);
    }
}
