//! Wakes the loop at a time that is finer than poll's milliseconds: without it, operations that
//! are due would be sent up to a millisecond late, and that would show as latency.

use mio::Registry;
use std::io;
use std::time::Duration;

pub use self::imp::Alarm;

#[cfg(target_os = "linux")]
mod imp {
    use super::{Duration, Registry, io};
    use mio::unix::SourceFd;
    use mio::{Interest, Token};
    use rustix::fd::{AsRawFd, OwnedFd};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };

    /// A timer that is a descriptor.
    pub struct Alarm(OwnedFd);

    impl Alarm {
        /// Rings as an event with `token`.
        pub fn new(registry: &Registry, token: Token) -> io::Result<Alarm> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
            Ok(Alarm(fd))
        }

        /// Rings after `wait`, and not at an earlier setting. Returns how long poll may wait.
        pub fn set(&mut self, wait: Duration) -> io::Result<Option<Duration>> {
            let none = Timespec { tv_sec: 0, tv_nsec: 0 };
            // Zero would switch it off.
            let wait = wait.max(Duration::from_nanos(1));
            let once = Timespec {
                tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: wait.subsec_nanos().into(),
            };
            let spec = Itimerspec { it_interval: none, it_value: once };
            // Setting it clears what it has rung: there is nothing to read.
            timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &spec)?;
            Ok(None)
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use super::{Duration, Registry, io};
    use mio::Token;

    /// Elsewhere poll itself is the alarm.
    pub struct Alarm;

    impl Alarm {
        /// Needs nothing.
        pub fn new(_: &Registry, _: Token) -> io::Result<Alarm> {
            Ok(Alarm)
        }

        /// Returns how long poll may wait.
        pub fn set(&mut self, wait: Duration) -> io::Result<Option<Duration>> {
            Ok(Some(wait))
        }
    }
}
