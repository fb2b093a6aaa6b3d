//! Sandbox of a child process that runs the code of a library (rule I5).
//!
//! The child calls [`Policy::apply`] before its first other thread and before it maps the library. The host reads the
//! variables that it passes to a child from [`Policy::variables`]. Deliberately absent: limits that only the host can
//! measure (resident memory, time of the processor), and a decision about a part that is missing: the [`Report`] names it.

#[cfg(target_os = "linux")]
mod calls;
#[cfg(target_os = "linux")]
mod files;
mod policy;
#[cfg(target_os = "linux")]
mod process;
mod report;

use self::report::Part;
pub(crate) use self::{policy::Policy, report::Report};

impl Policy {
    /// Restricts this process for good. Each part is tried, also after another could not be applied.
    #[cfg(target_os = "linux")]
    pub(crate) fn apply(&self) -> Report {
        let mut report = Report::default();
        report.add(Part::OneThread, process::has_one_thread());
        self.restrict_thread(files::TESTED, &mut report);
        report
    }

    /// Restricts this process for good: it cannot on this system.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn apply(&self) -> Report {
        let mut report = Report::default();
        for part in [Part::Files, Part::SystemCalls] {
            report.add(part, Err("the sandbox needs Linux"));
        }
        report
    }

    /// Restricts the calling thread, and the threads and processes that it starts, with Landlock of at most this version.
    #[cfg(target_os = "linux")]
    fn restrict_thread(&self, landlock: landlock::ABI, report: &mut Report) {
        report.add(Part::NoNewPrivileges, rustix::thread::set_no_new_privs(true));
        files::restrict(self, landlock, report);
        report.add(Part::Capabilities, process::drop_capabilities());
        report.add(Part::Limits, process::limit(self));
        // The last one: it refuses calls that the others make.
        let calls = calls::restrict(self);
        if self.processes {
            report.add(Part::Programs, calls.as_ref().copied());
        }
        report.add(Part::SystemCalls, calls);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
