//! Tool calls: each tool call of an answer passes the tool call hooks as a whole (rule T5).

mod subject;

pub(crate) use self::subject::ToolCall;
