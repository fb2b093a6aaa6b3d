//! Empty library. The tests of this package are in `tests/`, one file for each example in `llmux-abi/examples`.
