//! The contract's layout: size, alignment and field offsets of every type that host and plugin pass to each other.
//!
//! Existing plugins were built with these numbers. A table may grow at its end; any other change needs a new ABI
//! version. The host checks the parameters and results of functions when it loads a library.

#![cfg(target_pointer_width = "64")]

use std::mem::{align_of, offset_of, size_of};

use llmux_abi::raw::{
    call, context, document, entry, flow, host, http, outcome, plugin, stream, value, version,
};

const ADVICE: &str = "the contract has changed: if a field was appended to a table, add it here and raise the minor \
    of ABI_VERSION (the patch, in 0.x); any other change breaks every existing plugin. See ABI.md";

/// Checks one type. Does not compile if a field is missing here.
macro_rules! pinned {
    ($name:ident, $module:ident::$type:ident, size $size:literal, align $align:literal, { $($field:ident $offset:literal)* }) => {
        #[test]
        fn $name() {
            use $module::$type as Type;
            #[allow(dead_code, reason = "it only has to compile")]
            fn no_field_is_missing(it: &Type) {
                let Type { $($field: _),* } = it;
            }
            let places = [$((stringify!($field), offset_of!(Type, $field), $offset)),*];
            for (field, found, expected) in places {
                assert_eq!(found, expected, "the place of `{}.{field}`: {ADVICE}", stringify!($type));
            }
            assert_eq!(size_of::<Type>(), $size, "the size of `{}`: {ADVICE}", stringify!($type));
            assert_eq!(align_of::<Type>(), $align, "the alignment of `{}`: {ADVICE}", stringify!($type));
        }
    };
}

pinned!(entry, entry::Entry, size 40, align 8, {
    format 0
    size 4
    abi 8
    module 24
    layout 32
});
pinned!(entry_layout, entry::EntryLayout, size 48, align 8, {
    header 0
    module 40
});
pinned!(raw_instance, plugin::RawInstance, size 16, align 8, {
    object 0
    table 8
});
pinned!(plugin_module, plugin::PluginModule, size 24, align 8, {
    create 0
    config_schema 8
    attach 16
});
pinned!(plugin_table, plugin::PluginTable, size 88, align 8, {
    drop_state 0
    drop 8
    pre_hook 16
    post_hook 24
    pre_stream_hook 32
    on_stream_chunk 40
    post_stream_hook 48
    on_complete 56
    cleanup 64
    on_text 72
    on_tool_call 80
});
pinned!(create_call, call::CreateCall, size 80, align 8, {
    name 0
    config 16
    host 32
    old 48
    answer 64
});
pinned!(request_call, call::RequestCall, size 64, align 8, {
    context 0
    request 16
    answer 32
    memory 48
});
pinned!(outcome_call, call::OutcomeCall, size 64, align 8, {
    context 0
    outcome 16
    answer 32
    memory 48
});
pinned!(chunk_call, call::ChunkCall, size 80, align 8, {
    context 0
    event 16
    chunk 32
    answer 48
    memory 64
});
pinned!(text_call, call::TextCall, size 120, align 8, {
    context 0
    text 16
    role 32
    tool 48
    side 64
    channel 68
    choice 72
    number 76
    is_end 80
    answer 88
    memory 104
});
pinned!(tool_call, call::ToolCall, size 104, align 8, {
    context 0
    id 16
    name 32
    arguments 48
    choice 64
    is_json 68
    answer 72
    memory 88
});
pinned!(report_call, call::ReportCall, size 64, align 8, {
    context 0
    report 16
    answer 32
    memory 48
});
pinned!(cleanup_call, call::CleanupCall, size 32, align 8, {
    answer 0
    memory 16
});
pinned!(next_call, stream::NextCall, size 32, align 8, {
    answer 0
    memory 16
});
pinned!(raw_memory, flow::RawMemory, size 16, align 8, {
    start 0
    size 8
    lent 16
});
pinned!(raw_document, document::RawDocument, size 16, align 8, {
    object 0
    table 8
    lent 16
});
pinned!(document_table, document::DocumentTable, size 48, align 8, {
    get 0
    get_str 8
    len 16
    set 24
    insert 32
    remove 40
});
pinned!(raw_context, context::RawContext, size 16, align 8, {
    object 0
    table 8
    lent 16
});
pinned!(context_table, context::ContextTable, size 72, align 8, {
    text 0
    number 8
    header 16
    value 24
    set_value 32
    set_response_header 40
    state 48
    set_provider_header 56
    provider_header 64
});
pinned!(raw_host, host::RawHost, size 16, align 8, {
    object 0
    table 8
});
pinned!(host_table, host::HostTable, size 104, align 8, {
    retain 0
    release 8
    log_enabled 16
    log 24
    now 32
    spawn 40
    sleep 48
    http 56
    metric 64
    record 72
    spawn_blocking 80
    abi_version 88
    library_dir 96
});
pinned!(metric_call, host::MetricCall, size 72, align 8, {
    kind 0
    name 8
    help 24
    labels 40
    buckets 56
});
pinned!(raw_work, host::RawWork, size 16, align 8, {
    object 0
    table 8
});
pinned!(work_table, host::WorkTable, size 16, align 8, {
    run 0
    drop 8
});
pinned!(raw_header, http::RawHeader, size 32, align 8, {
    name 0
    value 16
});
pinned!(http_call, http::HttpCall, size 88, align 8, {
    method 0
    url 16
    headers 32
    body 48
    timeout 64
    max_body 72
    streams 80
});
pinned!(raw_http_response, http::RawHttpResponse, size 16, align 8, {
    object 0
    table 8
});
pinned!(http_response_table, http::HttpResponseTable, size 48, align 8, {
    status 0
    header 8
    body 16
    failure 24
    next 32
    drop 40
});
pinned!(raw_outcome, outcome::RawOutcome, size 16, align 8, {
    object 0
    table 8
    lent 16
});
pinned!(outcome_table, outcome::OutcomeTable, size 40, align 8, {
    kind 0
    body 8
    request 16
    recover 24
    fail 32
});
pinned!(raw_report, outcome::RawReport, size 16, align 8, {
    object 0
    table 8
});
pinned!(report_table, outcome::ReportTable, size 48, align 8, {
    kind 0
    number 8
    document 16
    text 24
    attempt_text 32
    attempt_number 40
});
pinned!(raw_stream, stream::RawStream, size 16, align 8, {
    object 0
    table 8
});
pinned!(stream_table, stream::StreamTable, size 16, align 8, {
    next 0
    drop 8
});
pinned!(raw_answer, flow::RawAnswer, size 16, align 8, {
    object 0
    table 8
    lent 16
});
pinned!(answer_table, flow::AnswerTable, size 96, align 8, {
    respond 0
    respond_stream 8
    reject 16
    metadata 24
    emit 32
    end_stream 40
    failed 48
    cached 56
    edit_text 64
    hold_text 72
    hold_whole_text 80
    edit_tool_call 88
});
pinned!(raw_value, value::RawValue, size 32, align 8, {
    kind 0
    bits 8
    text 16
});
pinned!(raw_field, value::RawField, size 48, align 8, {
    name 0
    value 16
});

#[test]
fn hook_poll() {
    type Type = flow::HookPoll<'static>;
    assert_eq!((size_of::<Type>(), align_of::<Type>()), (32, 8), "`HookPoll`: {ADVICE}");
}

/// The codes of the contract. New codes may be added; existing ones never change.
#[test]
fn codes_keep_their_numbers() {
    let codes = [
        ("context::CONTEXT_REQUEST_ID", context::CONTEXT_REQUEST_ID, 0),
        ("context::CONTEXT_ENDPOINT", context::CONTEXT_ENDPOINT, 1),
        ("context::CONTEXT_MODEL", context::CONTEXT_MODEL, 2),
        ("context::CONTEXT_PROVIDER", context::CONTEXT_PROVIDER, 3),
        ("context::CONTEXT_DEPLOYMENT", context::CONTEXT_DEPLOYMENT, 4),
        ("context::CONTEXT_KEY_ID", context::CONTEXT_KEY_ID, 5),
        ("context::CONTEXT_USER", context::CONTEXT_USER, 6),
        ("context::CONTEXT_TEAM", context::CONTEXT_TEAM, 7),
        ("context::CONTEXT_CLIENT", context::CONTEXT_CLIENT, 8),
        ("context::CONTEXT_ATTEMPT", context::CONTEXT_ATTEMPT, 0),
        ("context::CONTEXT_IS_STREAMING", context::CONTEXT_IS_STREAMING, 1),
        ("context::CONTEXT_STARTED", context::CONTEXT_STARTED, 2),
        ("context::CONTEXT_REMAINING", context::CONTEXT_REMAINING, 3),
        ("context::CONTEXT_OK", context::CONTEXT_OK, 0),
        ("context::CONTEXT_INVALID", context::CONTEXT_INVALID, 1),
        ("context::CONTEXT_TOO_LARGE", context::CONTEXT_TOO_LARGE, 2),
        ("context::CONTEXT_READ_ONLY", context::CONTEXT_READ_ONLY, 3),
        ("document::DOCUMENT_OK", document::DOCUMENT_OK, 0),
        ("document::DOCUMENT_NO_SUCH_PLACE", document::DOCUMENT_NO_SUCH_PLACE, 1),
        ("document::DOCUMENT_INVALID_JSON", document::DOCUMENT_INVALID_JSON, 2),
        ("document::DOCUMENT_READ_ONLY", document::DOCUMENT_READ_ONLY, 3),
        ("document::DOCUMENT_TOO_LARGE", document::DOCUMENT_TOO_LARGE, 4),
        ("flow::HOOK_CONTINUE", flow::HOOK_CONTINUE, 0),
        ("flow::HOOK_SHORT_CIRCUIT", flow::HOOK_SHORT_CIRCUIT, 1),
        ("flow::HOOK_DROP", flow::HOOK_DROP, 2),
        ("flow::HOOK_REPLACE", flow::HOOK_REPLACE, 3),
        ("flow::HOOK_END", flow::HOOK_END, 4),
        ("flow::HOOK_FAILED", flow::HOOK_FAILED, 5),
        ("flow::FAILURE_ERROR", flow::FAILURE_ERROR, 0),
        ("flow::FAILURE_PANIC", flow::FAILURE_PANIC, 1),
        ("flow::FAILURE_CRASHED", flow::FAILURE_CRASHED, 2),
        ("call::TEXT_REQUEST", call::TEXT_REQUEST, 0),
        ("call::TEXT_ANSWER", call::TEXT_ANSWER, 1),
        ("call::TEXT_CONTENT", call::TEXT_CONTENT, 0),
        ("call::TEXT_REASONING", call::TEXT_REASONING, 1),
        ("call::TEXT_REFUSAL", call::TEXT_REFUSAL, 2),
        ("call::TEXT_ARGUMENTS", call::TEXT_ARGUMENTS, 3),
        ("call::TEXT_TRANSCRIPT", call::TEXT_TRANSCRIPT, 4),
        ("http::HTTP_FAILURE_NONE", http::HTTP_FAILURE_NONE, 0),
        ("http::HTTP_FAILURE_INVALID", http::HTTP_FAILURE_INVALID, 1),
        ("http::HTTP_FAILURE_CONNECT", http::HTTP_FAILURE_CONNECT, 2),
        ("http::HTTP_FAILURE_TIMEOUT", http::HTTP_FAILURE_TIMEOUT, 3),
        ("http::HTTP_FAILURE_TOO_LARGE", http::HTTP_FAILURE_TOO_LARGE, 4),
        ("http::HTTP_FAILURE_BROKEN", http::HTTP_FAILURE_BROKEN, 5),
        ("http::HTTP_END", http::HTTP_END, 0),
        ("http::HTTP_MORE", http::HTTP_MORE, 1),
        ("http::HTTP_FAILED", http::HTTP_FAILED, 2),
        ("host::LEVEL_ERROR", host::LEVEL_ERROR, 1),
        ("host::LEVEL_WARN", host::LEVEL_WARN, 2),
        ("host::LEVEL_INFO", host::LEVEL_INFO, 3),
        ("host::LEVEL_DEBUG", host::LEVEL_DEBUG, 4),
        ("host::LEVEL_TRACE", host::LEVEL_TRACE, 5),
        ("host::METRIC_COUNTER", host::METRIC_COUNTER, 0),
        ("host::METRIC_GAUGE", host::METRIC_GAUGE, 1),
        ("host::METRIC_HISTOGRAM", host::METRIC_HISTOGRAM, 2),
        ("outcome::OUTCOME_COMPLETED", outcome::OUTCOME_COMPLETED, 0),
        ("outcome::OUTCOME_FAILED", outcome::OUTCOME_FAILED, 1),
        ("outcome::OUTCOME_CANCELLED", outcome::OUTCOME_CANCELLED, 2),
        ("outcome::REPORT_REQUEST", outcome::REPORT_REQUEST, 0),
        ("outcome::REPORT_RESPONSE", outcome::REPORT_RESPONSE, 1),
        ("outcome::REPORT_ERROR", outcome::REPORT_ERROR, 2),
        ("outcome::REPORT_LATENCY", outcome::REPORT_LATENCY, 0),
        ("outcome::REPORT_FIRST_CHUNK", outcome::REPORT_FIRST_CHUNK, 1),
        ("outcome::REPORT_PROMPT_TOKENS", outcome::REPORT_PROMPT_TOKENS, 2),
        ("outcome::REPORT_COMPLETION_TOKENS", outcome::REPORT_COMPLETION_TOKENS, 3),
        ("outcome::REPORT_TOTAL_TOKENS", outcome::REPORT_TOTAL_TOKENS, 4),
        ("outcome::REPORT_STATUS", outcome::REPORT_STATUS, 5),
        ("outcome::REPORT_CHUNKS", outcome::REPORT_CHUNKS, 6),
        ("outcome::REPORT_IS_ESTIMATED", outcome::REPORT_IS_ESTIMATED, 7),
        ("outcome::REPORT_ANSWERED_BY", outcome::REPORT_ANSWERED_BY, 8),
        ("outcome::REPORT_ATTEMPTS", outcome::REPORT_ATTEMPTS, 9),
        ("outcome::REPORT_IS_UNFINISHED", outcome::REPORT_IS_UNFINISHED, 10),
        ("outcome::REPORT_ANSWERER", outcome::REPORT_ANSWERER, 0),
        ("outcome::ANSWERED_BY_HOST", outcome::ANSWERED_BY_HOST, 0),
        ("outcome::ANSWERED_BY_PROVIDER", outcome::ANSWERED_BY_PROVIDER, 1),
        ("outcome::ANSWERED_BY_PLUGIN", outcome::ANSWERED_BY_PLUGIN, 2),
        ("outcome::ANSWERED_BY_CACHE", outcome::ANSWERED_BY_CACHE, 3),
        ("outcome::ATTEMPT_PROVIDER", outcome::ATTEMPT_PROVIDER, 0),
        ("outcome::ATTEMPT_DEPLOYMENT", outcome::ATTEMPT_DEPLOYMENT, 1),
        ("outcome::ATTEMPT_STATUS", outcome::ATTEMPT_STATUS, 0),
        ("outcome::ATTEMPT_PROMPT_TOKENS", outcome::ATTEMPT_PROMPT_TOKENS, 1),
        ("outcome::ATTEMPT_COMPLETION_TOKENS", outcome::ATTEMPT_COMPLETION_TOKENS, 2),
        ("outcome::ATTEMPT_TOTAL_TOKENS", outcome::ATTEMPT_TOTAL_TOKENS, 3),
        ("outcome::ATTEMPT_IS_ESTIMATED", outcome::ATTEMPT_IS_ESTIMATED, 4),
        ("value::VALUE_STRING", value::VALUE_STRING, 0),
        ("value::VALUE_INTEGER", value::VALUE_INTEGER, 1),
        ("value::VALUE_FLOAT", value::VALUE_FLOAT, 2),
        ("value::VALUE_BOOLEAN", value::VALUE_BOOLEAN, 3),
        ("value::VALUE_JSON", value::VALUE_JSON, 4),
    ];
    for (name, found, expected) in codes {
        assert_eq!(
            found, expected,
            "`{name}` is a number that plugins were built with: add another. See ABI.md"
        );
    }
}

#[test]
fn what_a_host_looks_for_in_a_file_stays() {
    assert_eq!(entry::ENTRY_FORMAT, 1, "an entry of this format begins with these fields");
    assert_eq!((entry::SECTION, entry::MACHO_SECTION), (".llmux", ("__DATA", "__llmux")));
    assert_eq!(
        (&entry::MAGIC, entry::MAX_MANIFEST, entry::ENTRY_PREFIX),
        (b"LLMUXPLG", 65_536, "llmux_plugin_")
    );
}

#[test]
fn the_version_table_names_this_version() {
    let table = include_str!("../ABI.md");
    let row = format!("| {} |", version::ABI_VERSION);
    assert!(table.contains(&row), "ABI.md has no row for ABI {}", version::ABI_VERSION);
}
