//! Names the instance whose code runs when a fatal signal arrives: one line on standard error, before the process ends.
//!
//! `native_hooks` and `host` mark the threads that run code of an instance. A program installs the handlers with
//! [`report_crashes`]. Deliberately absent: threads of a plugin's own, and any attempt to continue.
//!
//! # Soundness
//!
//! The handler reads a thread-local value that has neither an initializer nor a destructor, and calls `write`,
//! `sigaction` and `raise`, which may be called there. A name that the value points to is borrowed for as long as it stands there.

use std::{cell::Cell, marker::PhantomData, ptr};

thread_local! {
    /// The name of the instance whose code runs on this thread.
    static RUNNING: Cell<(*const u8, usize)> = const { Cell::new((ptr::null(), 0)) };
}

/// Mark of a thread that runs code of an instance, until it is dropped.
pub(super) struct Running<'n> {
    before: (*const u8, usize),
    name: PhantomData<&'n str>,
}

impl<'n> Running<'n> {
    pub(super) fn mark(name: &'n str) -> Self {
        // A thread that ends has no value, and then no name.
        let before = RUNNING.try_with(|running| running.replace((name.as_ptr(), name.len())));
        Self { before: before.unwrap_or((ptr::null(), 0)), name: PhantomData }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = RUNNING.try_with(|running| running.set(self.before));
    }
}

/// Makes this process name the instance whose code a fatal signal interrupts. A handler that is there already, such as the
/// one of Rust for a stack overflow, is called afterwards.
pub fn report_crashes() {
    #[cfg(unix)]
    unix::install();
}

#[cfg(unix)]
mod unix {
    use std::{cell::Cell, mem, ptr, sync::OnceLock};

    use super::RUNNING;

    const SIGNALS: [(libc::c_int, &str); 5] = [
        (libc::SIGABRT, "SIGABRT"),
        (libc::SIGBUS, "SIGBUS"),
        (libc::SIGFPE, "SIGFPE"),
        (libc::SIGILL, "SIGILL"),
        (libc::SIGSEGV, "SIGSEGV"),
    ];

    /// The actions that were there before.
    static BEFORE: [OnceLock<libc::sigaction>; SIGNALS.len()] = [const { OnceLock::new() }; SIGNALS.len()];

    pub(super) fn install() {
        for ((signal, _), before) in SIGNALS.iter().zip(&BEFORE) {
            before.get_or_init(|| {
                // SAFETY: a zeroed `sigaction` is valid, and both pointers are to live values. The handler follows the
                // rules of the head.
                unsafe {
                    let mut action: libc::sigaction = mem::zeroed();
                    action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as usize;
                    // A stack overflow has no room on its own stack.
                    action.sa_flags = libc::SA_ONSTACK;
                    let mut old: libc::sigaction = mem::zeroed();
                    libc::sigaction(*signal, &raw const action, &raw mut old);
                    old
                }
            });
        }
    }

    extern "C" fn on_signal(signal: libc::c_int) {
        let Some(at) = SIGNALS.iter().position(|(known, _)| *known == signal) else { return };
        let before = BEFORE[at].get();
        // SAFETY: the pointer is to a static. Without the value, the default ends the process.
        unsafe {
            match before {
                Some(before) => libc::sigaction(signal, ptr::from_ref(before), ptr::null_mut()),
                None => libc::signal(signal, libc::SIG_DFL) as libc::c_int,
            };
        }
        if signal == libc::SIGABRT {
            // It may have come from outside, such as a supervisor's watchdog, and then nothing repeats it. It is delivered
            // when this function returns.
            // SAFETY: `raise` may be called in a handler.
            unsafe { libc::raise(signal) };
        }
        let (name, length) = RUNNING.try_with(Cell::get).unwrap_or((ptr::null(), 0));
        if name.is_null() {
            return;
        }
        // SAFETY: whoever marked this thread borrows the name until the mark is gone.
        let name = unsafe { std::slice::from_raw_parts(name, length) };
        let mut line = [0; 256];
        let mut end = 0;
        for part in [b"llmux: ", SIGNALS[at].1.as_bytes(), b" in the code of the instance `", name, b"`\n"] {
            let room = part.len().min(line.len() - end);
            line[end..end + room].copy_from_slice(&part[..room]);
            end += room;
        }
        // SAFETY: the bytes are initialized up to `end`. Returning repeats the instruction, or continues the abort.
        unsafe { libc::write(2, line.as_ptr().cast(), end) };
    }
}
