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
pinned!(plugin_table, plugin::PluginTable, size 96, align 8, {
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
    beside 88
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
