//! The program that hosts the child processes of instances. An embedder names it; this crate knows none.

use std::{ffi::OsString, path::PathBuf};

/// Program that runs as the child process of an isolated instance.
///
/// The host starts it with these arguments and with a socket as its standard input. The program calls
/// [`run_child`](super::run_child) first, before it starts a thread, and then ends.
#[derive(Clone, Debug)]
pub struct ChildProgram {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) variables: Vec<(OsString, OsString)>,
    /// True if the time of a child is that of the host's runtime, which is paused.
    pub(super) is_paused: bool,
}

impl ChildProgram {
    /// Names a program, and its arguments.
    pub fn new(
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self { program: program.into(), arguments, variables: Vec::new(), is_paused: false }
    }

    /// Adds an environment variable of the program, such as a setting of its allocator. An allocator must not start a thread
    /// by itself, because the sandbox does not restrict threads that run before it. Default: none.
    pub fn with_variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Gives the children the time of the host's runtime, for tests that pause it (`tokio::time::pause`). The clock then stands
    /// while a child works, and advances when all children wait. The runtime needs a single thread. Default: each child has
    /// its own time.
    #[doc(hidden)]
    pub fn with_paused_time(self) -> Self {
        Self { is_paused: true, ..self }
    }

    /// Displays the program, for errors.
    pub(super) fn display(&self) -> impl std::fmt::Display {
        self.program.display()
    }
}
