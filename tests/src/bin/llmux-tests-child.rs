//! The child process of isolated plugins in tests, as an embedder would write it.

fn main() -> std::io::Result<()> {
    llmux_core::isolation::run_child()
}
