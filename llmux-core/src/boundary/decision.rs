//! The codes with which a plugin answers, decoded for the pipeline.

use llmux_abi::raw::flow::{
    HOOK_CONTINUE, HOOK_DROP, HOOK_END, HOOK_FAILED, HOOK_REPLACE, HOOK_SHORT_CIRCUIT,
};

use crate::pipeline::hook::Decision;

/// The decision of a hook that failed where it cannot say more.
pub(super) const FAILED: Decision = Decision::Fail(HOOK_FAILED);

/// Decodes a code of the contract. A code that this host does not know is a failure.
pub(super) fn decode(code: u32) -> Decision {
    match code {
        HOOK_CONTINUE => Decision::Continue,
        HOOK_SHORT_CIRCUIT => Decision::ShortCircuit,
        HOOK_DROP => Decision::Drop,
        HOOK_REPLACE => Decision::Replace,
        HOOK_END => Decision::End,
        code => Decision::Fail(code),
    }
}
