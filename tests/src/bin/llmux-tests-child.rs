//! The child process of isolated plugins in tests, as an embedder would write it. With an argument, it makes an error: a thread
//! runs before the sandbox.

fn main() -> std::io::Result<()> {
    if std::env::args().len() > 1 {
        std::thread::spawn(std::thread::park);
    }
    llmux_core::isolation::run_child()
}
