// The contract between LLMux and its plugins, for C11 and C++17. It is the same contract as `llmux_abi::raw` in Rust,
// and a test compares the two. The guide for authors is `docs/guide/c.md`, the policy of versions is `llmux-abi/ABI.md`.
//
// Ownership. An object (`...Object`) is opaque: only the side that implements the table beside it reads it. The receiver of
// a text or a slice copies what it keeps before the call returns. What a getter returns belongs to the host, and is valid
// until the same object is changed or the hook call ends. The side that allocated memory frees it. Every handle has an object
// that is not null, also that of an instance without data.
//
// A hook call. It begins when the host calls the hook. It ends when the hook is ready, or when the host drops the future
// that the hook returned. Handles on a context, a document, an outcome, a report and an answer are valid during this time.
//
// Threads. The host calls a plugin on any of its threads. A function whose object is `const` may be called on several
// threads at once. Other functions may be called on one thread at a time: the holder of the handle guarantees it.
//
// Exceptions. No function of the contract throws, and no `longjmp` leaves one. An exception that leaves a hook ends the
// process.
//
// Texts. A text is valid UTF-8, has no final zero, and its `data` is never null. The host does not check this. A plugin
// that gives another text causes undefined behavior. `llmux_str` and `llmux_str_n` make texts that are never null.

#ifndef LLMUX_H
#define LLMUX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

// ---- Version ----

#define LLMUX_ABI_VERSION "0.2.2" // The version of the contract.
#define LLMUX_ABI_FIRST "0.2.0"   // The first version that is compatible with it.

// The target of the host for which this file is compiled, as Rust names it. For another target, define it yourself.
#ifndef LLMUX_TARGET
#if defined(__x86_64__) || defined(_M_X64)
#define LLMUX_ARCHITECTURE "x86_64"
#elif defined(__aarch64__) || defined(_M_ARM64)
#define LLMUX_ARCHITECTURE "aarch64"
#endif
#if defined(LLMUX_ARCHITECTURE) && defined(__linux__) && defined(__GLIBC__)
#define LLMUX_TARGET LLMUX_ARCHITECTURE "-unknown-linux-gnu"
#elif defined(LLMUX_ARCHITECTURE) && defined(__APPLE__) // untested
#define LLMUX_TARGET LLMUX_ARCHITECTURE "-apple-darwin"
#elif defined(LLMUX_ARCHITECTURE) && defined(_MSC_VER) // untested
#define LLMUX_TARGET LLMUX_ARCHITECTURE "-pc-windows-msvc"
#elif defined(LLMUX_ARCHITECTURE) && defined(_WIN32) // untested
#define LLMUX_TARGET LLMUX_ARCHITECTURE "-pc-windows-gnu"
#else
#error "define LLMUX_TARGET as the host's target, for example -DLLMUX_TARGET='\"x86_64-unknown-linux-musl\"'"
#endif
#endif

// ---- Texts, slices, and values that may be absent ----

// A slice is lent for the length of one call, unless its function says otherwise. Its `data` is never null, also if it is
// empty: make it with the function beside it.
#define LLMUX_SLICE(Slice, Item, make)                                                                              \
    typedef struct Slice {                                                                                          \
        const Item *data;                                                                                           \
        size_t length;                                                                                              \
    } Slice;                                                                                                        \
    static inline Slice make(const Item *data, size_t length) {                                                     \
        Slice slice;                                                                                                \
        slice.data = length == 0 ? (const Item *)(uintptr_t)8 : data;                                               \
        slice.length = length;                                                                                      \
        return slice;                                                                                               \
    }

LLMUX_SLICE(LlmuxStr, char, llmux_str_n)
LLMUX_SLICE(LlmuxBytes, uint8_t, llmux_bytes)
LLMUX_SLICE(LlmuxDoubles, double, llmux_doubles)
LLMUX_SLICE(LlmuxStrs, LlmuxStr, llmux_strs)

// Returns the text of a C string, without its final zero. The text borrows the string.
static inline LlmuxStr llmux_str(const char *text) {
    return llmux_str_n(text, strlen(text));
}

// A value that may be absent. If `is_absent` is 1, `value` has no meaning.
#define LLMUX_OPTION(Option, Value)                                                                                 \
    typedef struct Option {                                                                                         \
        uint8_t is_absent;                                                                                          \
        Value value;                                                                                                \
    } Option;

LLMUX_OPTION(LlmuxStrOption, LlmuxStr)
LLMUX_OPTION(LlmuxI64Option, int64_t)
LLMUX_OPTION(LlmuxU64Option, uint64_t)

// ---- Tables ----

// Every table begins with these 16 bytes. Bit n of `present` says that field n is there, counted from 0 after the head. No
// reader follows `reserved`. A later version appends fields, and a reader treats a field that is not there as absent.
typedef struct LlmuxTableHead {
    uint64_t present;
    const void *reserved;
} LlmuxTableHead;

// The head of a table that a plugin makes, with this many fields from the first one: `LLMUX_PLUGIN_TABLE_FIELDS` for all of
// a `LlmuxPluginTable`, for example. A function that is there must not be null, except the hooks of a `LlmuxPluginTable`.
#define LLMUX_TABLE(fields) { UINT64_MAX >> (64 - (fields)), NULL }

// True if a table of functions that the host made has this field. The fields of `LlmuxHostTable` from `spawn` on may be
// absent; other fields of this version are always there.
#define LLMUX_HAS(table, field)                                                                                     \
    ((((table)->head.present >> (((const char *)&(table)->field - (const char *)(table)-16) / 8)) & 1) != 0)

#define LLMUX_PLUGIN_MODULE_FIELDS 3
#define LLMUX_PLUGIN_TABLE_FIELDS 12
#define LLMUX_STREAM_TABLE_FIELDS 2
#define LLMUX_WORK_TABLE_FIELDS 2
#define LLMUX_HTTP_CALL_FIELDS 7
#define LLMUX_METRIC_CALL_FIELDS 5

// ---- Waiting ----

// A waker tells the host to poll a future again. Every function may be called on any thread.
typedef struct LlmuxWaker LlmuxWaker;
typedef struct LlmuxWakerTable {
    // Returns a waker that the caller owns. It gives the waker back once, through `wake` or `drop`.
    const LlmuxWaker *(*clone)(const LlmuxWaker *waker);
    // Wakes, and frees the waker. Only for a waker that `clone` returned.
    void (*wake)(const LlmuxWaker *waker);
    // Wakes. The waker stays valid.
    void (*wake_by_ref)(const LlmuxWaker *waker);
    // Frees the waker. Only for a waker that `clone` returned.
    void (*drop)(const LlmuxWaker *waker);
} LlmuxWakerTable;
struct LlmuxWaker {
    const LlmuxWakerTable *table;
};

// The context of a poll. The waker is lent until the poll returns. A plugin that waits for a future of the host passes the
// context on. A plugin that waits for something else clones the waker and keeps the clone.
typedef struct LlmuxPollContext {
    const LlmuxWaker *waker;
} LlmuxPollContext;

#define LLMUX_POLL_READY 0    // The value is there. The future must not be polled again.
#define LLMUX_POLL_PENDING 1  // The future waits, and will wake the waker of its last poll.
#define LLMUX_POLL_PANICKED 2 // The future failed. The host treats this as `LLMUX_HOOK_FAILED`.

// A future. Its receiver owns it and may move it to another thread, but polls it on one thread at a time. `poll` returns at
// once and never blocks. `drop` is called once, at any time: before the first poll, while the future waits, or after it is
// ready. It frees `data` and cancels the wait. A plugin fills one of these to wait; a host fills one for its services.
#define LLMUX_FUTURE(Future, Poll, Value)                                                                           \
    typedef struct Poll {                                                                                           \
        uint8_t state;                                                                                              \
        Value value;                                                                                                \
    } Poll;                                                                                                         \
    typedef struct Future {                                                                                         \
        void *data;                                                                                                 \
        Poll (*poll)(void *data, LlmuxPollContext *context);                                                        \
        void (*drop)(void *data);                                                                                   \
    } Future;

LLMUX_FUTURE(LlmuxCodeFuture, LlmuxCodePoll, uint32_t)

// A future without a value.
typedef struct LlmuxPoll {
    uint8_t state;
} LlmuxPoll;
typedef struct LlmuxFuture {
    void *data;
    LlmuxPoll (*poll)(void *data, LlmuxPollContext *context);
    void (*drop)(void *data);
} LlmuxFuture;

// ---- Values ----

#define LLMUX_VALUE_STRING 0  // `text` is a string.
#define LLMUX_VALUE_INTEGER 1 // `bits` is an `int64_t` in two's complement.
#define LLMUX_VALUE_FLOAT 2   // `bits` is a `double` in IEEE 754 form.
#define LLMUX_VALUE_BOOLEAN 3 // `bits` is 0 or 1.
#define LLMUX_VALUE_JSON 4    // `text` is JSON.

// A value, lent for the length of one call. The reader treats a kind that it does not know as absent.
typedef struct LlmuxValue {
    uint32_t kind; // `LLMUX_VALUE_STRING` to `LLMUX_VALUE_JSON`; selects the field that holds the value.
    uint64_t bits; // The value of an integer, a float or a boolean; 0 for other kinds.
    LlmuxStr text; // The value of a string or of JSON; empty for other kinds.
} LlmuxValue;
LLMUX_OPTION(LlmuxValueOption, LlmuxValue)

// A name and a value, as one field of a log record.
typedef struct LlmuxField {
    LlmuxStr name;
    LlmuxValue value;
} LlmuxField;
LLMUX_SLICE(LlmuxFields, LlmuxField, llmux_fields)

// ---- Documents: JSON bodies that the host owns ----

#define LLMUX_DOCUMENT_OK 0            // The edit was made.
#define LLMUX_DOCUMENT_NO_SUCH_PLACE 1 // The pointer is invalid, or names no place that the edit applies to.
#define LLMUX_DOCUMENT_INVALID_JSON 2  // The given text is not one JSON value.
#define LLMUX_DOCUMENT_READ_ONLY 3     // The document is read-only.
#define LLMUX_DOCUMENT_TOO_LARGE 4     // The document would become larger than the host allows.

typedef struct LlmuxDocumentObject LlmuxDocumentObject;
typedef struct LlmuxDocumentTable LlmuxDocumentTable;

// A handle on a document: host memory, valid until the hook call ends.
typedef struct LlmuxDocument {
    LlmuxDocumentObject *object;
    const LlmuxDocumentTable *table;
} LlmuxDocument;
LLMUX_OPTION(LlmuxDocumentOption, LlmuxDocument)

// Functions of a document. `pointer` is a JSON Pointer (RFC 6901): the empty text is the whole document, and `-` as the last
// segment is the place after the last element of an array. Call getters on any thread, setters on one thread at a time.
struct LlmuxDocumentTable {
    LlmuxTableHead head;
    // Returns the JSON of a place. Host memory, valid until the document is changed. Absent: there is no such place.
    LlmuxStrOption (*get)(const LlmuxDocumentObject *object, LlmuxStr pointer);
    // Returns the content of a string, without escapes. Host memory, valid until the document is changed. Absent: there is no
    // such place, or its value is not a string.
    LlmuxStrOption (*get_str)(const LlmuxDocumentObject *object, LlmuxStr pointer);
    // Returns the number of members or elements. Absent: the place is not there, or is neither an object nor an array.
    LlmuxU64Option (*len)(const LlmuxDocumentObject *object, LlmuxStr pointer);
    // Adds or replaces a member or an element, whose parent must exist. The host copies the JSON. Returns
    // `LLMUX_DOCUMENT_OK` or the reason of a refusal, as do the next two.
    uint32_t (*set)(LlmuxDocumentObject *object, LlmuxStr pointer, LlmuxStr json);
    // Inserts an element before the one that the pointer names. The host copies the JSON.
    uint32_t (*insert)(LlmuxDocumentObject *object, LlmuxStr pointer, LlmuxStr json);
    // Removes a member or an element, which must exist.
    uint32_t (*remove)(LlmuxDocumentObject *object, LlmuxStr pointer);
};

// ---- The context: facts, values and headers that all hooks of one request share ----

// Texts of a context. Each may be absent.
#define LLMUX_CONTEXT_REQUEST_ID 0 // The request's id (a UUID, version 7).
#define LLMUX_CONTEXT_ENDPOINT 1   // The endpoint's path without its version, as `chat/completions`.
#define LLMUX_CONTEXT_MODEL 2      // The model that the request names at this moment.
#define LLMUX_CONTEXT_PROVIDER 3   // The provider that this attempt called last.
#define LLMUX_CONTEXT_DEPLOYMENT 4 // The deployment that this attempt called last.
#define LLMUX_CONTEXT_KEY_ID 5     // The id of the API key that authenticated the request, never the key.
#define LLMUX_CONTEXT_USER 6       // The user that the key belongs to.
#define LLMUX_CONTEXT_TEAM 7       // The team that the key belongs to.
#define LLMUX_CONTEXT_CLIENT 8     // The address of the client, without a port.
// Numbers of a context.
#define LLMUX_CONTEXT_ATTEMPT 0      // The attempt, counted from 1; each fallback is one more.
#define LLMUX_CONTEXT_IS_STREAMING 1 // 1 if the request streams, 0 otherwise.
#define LLMUX_CONTEXT_STARTED 2      // The time of the request's arrival, in microseconds since the Unix epoch.
#define LLMUX_CONTEXT_REMAINING 3    // Milliseconds until this hook call's timeout.
// Results of a change.
#define LLMUX_CONTEXT_OK 0        // The change was made.
#define LLMUX_CONTEXT_INVALID 1   // HTTP does not allow the name or value, or the host reserves the name.
#define LLMUX_CONTEXT_TOO_LARGE 2 // The host keeps no more entries, or none this large, for one request.
#define LLMUX_CONTEXT_READ_ONLY 3 // The context is read-only (in `on_complete`), or it is too late for this change.

typedef struct LlmuxContextObject LlmuxContextObject;
typedef struct LlmuxContextTable LlmuxContextTable;
// The state of one instance for one request: plugin memory.
typedef struct LlmuxStateObject LlmuxStateObject;

// A handle on a context: host memory, valid until the hook call ends.
typedef struct LlmuxContext {
    LlmuxContextObject *object;
    const LlmuxContextTable *table;
} LlmuxContext;

// Functions of a context. Call them during the hook call, on the thread that runs the hook. The host owns what they return;
// it is valid until the context is changed or the hook call ends. The host copies what they are given.
struct LlmuxContextTable {
    LlmuxTableHead head;
    // Returns a text, `LLMUX_CONTEXT_REQUEST_ID` to `LLMUX_CONTEXT_CLIENT`. Absent: it has no value, or is not known.
    LlmuxStrOption (*text)(const LlmuxContextObject *object, uint32_t which);
    // Returns a number, `LLMUX_CONTEXT_ATTEMPT` to `LLMUX_CONTEXT_REMAINING`. Absent: the number is not known.
    LlmuxI64Option (*number)(const LlmuxContextObject *object, uint32_t which);
    // Returns a header of the request, by its name in any case. Credentials read `[redacted]`. Absent: the request has no such
    // header, or its value is not text.
    LlmuxStrOption (*header)(const LlmuxContextObject *object, LlmuxStr name);
    // Returns the value that a plugin has set under this key. Absent: no plugin has set it.
    LlmuxValueOption (*value)(const LlmuxContextObject *object, LlmuxStr key);
    // Sets a value for every later hook of this attempt. Returns `LLMUX_CONTEXT_OK` or the reason of a refusal, as do the
    // other setters.
    uint32_t (*set_value)(LlmuxContextObject *object, LlmuxStr key, LlmuxValue value);
    // Sets a header of the response to the client.
    uint32_t (*set_response_header)(LlmuxContextObject *object, LlmuxStr name, LlmuxStr value);
    // Returns the slot for the state of this instance for this request. The slot is host memory and null at first; the pointer
    // in it is plugin memory. The host passes a pointer that is not null to `drop_state` once, after `on_complete`.
    LlmuxStateObject **(*state)(LlmuxContextObject *object);
    // Sets a header of the request to the provider. Refused after the pre hooks of an attempt.
    uint32_t (*set_provider_header)(LlmuxContextObject *object, LlmuxStr name, LlmuxStr value);
    // Returns a header of the provider's answer. Absent: no provider has answered, it has no such header, or it is not text.
    LlmuxStrOption (*provider_header)(const LlmuxContextObject *object, LlmuxStr name);
};

// ---- Codes of hooks, and the answer for everything beyond a code ----

#define LLMUX_HOOK_CONTINUE 0      // Continue. For a chunk: forward it. For a producer: there are no more chunks.
#define LLMUX_HOOK_SHORT_CIRCUIT 1 // The answer holds a response, a stream or an error.
#define LLMUX_HOOK_DROP 2          // Drop this chunk, or remove this tool call.
#define LLMUX_HOOK_REPLACE 3       // Replace this chunk by those in the answer. For a producer: these are the next chunks.
#define LLMUX_HOOK_END 4           // End the stream, or the request of a text or a tool call, with the error in the answer.
#define LLMUX_HOOK_FAILED 5        // The hook failed; the answer holds the reason. Unknown codes mean the same.

#define LLMUX_FAILURE_ERROR 0   // The hook returned an error.
#define LLMUX_FAILURE_PANIC 1   // The hook panicked, or threw an exception that its author did not expect.
#define LLMUX_FAILURE_CRASHED 2 // The process that ran the hook has ended. Plugins do not use it.

// The result of a hook's first poll. `llmux_ready` and `llmux_pending` make it.
typedef struct LlmuxHookPoll {
    uint8_t state; // `LLMUX_POLL_READY` or `LLMUX_POLL_PENDING`.
    union {
        uint32_t code;          // If ready: a code of a hook.
        LlmuxCodeFuture future; // If pending: the rest of the hook, which the host owns. It resolves to a code.
    } value;
} LlmuxHookPoll;

// Returns the result of a hook that is done.
static inline LlmuxHookPoll llmux_ready(uint32_t code) {
    LlmuxHookPoll poll;
    poll.state = LLMUX_POLL_READY;
    poll.value.code = code;
    return poll;
}

// Returns the result of a hook that waits. The hook must have polled once what it waits for, with the waker that the host
// passed to it: otherwise nothing wakes the hook.
static inline LlmuxHookPoll llmux_pending(LlmuxCodeFuture future) {
    LlmuxHookPoll poll;
    poll.state = LLMUX_POLL_PENDING;
    poll.value.future = future;
    return poll;
}

// Memory that the host lends for the future of one hook call. A plugin may put anything there, or nothing. It leaves nothing
// there when the hook is ready, or after the `drop` of the future that the hook returned.
typedef struct LlmuxMemory {
    uint8_t *start; // The first byte, aligned to 16 bytes. Null if `size` is 0.
    size_t size;
} LlmuxMemory;

typedef struct LlmuxAnswerObject LlmuxAnswerObject;
typedef struct LlmuxAnswerTable LlmuxAnswerTable;

// A handle on the answer of one hook call: host memory, valid until the hook call ends.
typedef struct LlmuxAnswer {
    LlmuxAnswerObject *object;
    const LlmuxAnswerTable *table;
} LlmuxAnswer;

typedef struct LlmuxStreamObject LlmuxStreamObject;
typedef struct LlmuxStreamTable LlmuxStreamTable;

// A stream of chunks that a plugin produces: plugin memory. The host owns the handle and returns it once, through `drop`.
typedef struct LlmuxStream {
    LlmuxStreamObject *object;
    const LlmuxStreamTable *table;
} LlmuxStream;

// Functions of an answer. Call them during the hook call, on one thread at a time. The host copies all texts. If a text is
// not the JSON that the function expects, the hook counts as failed. An error document is
// `{"status": 429, "error": {"message": "...", "type": "...", "param": null, "code": null}}`, with `"retry_after"` in seconds
// beside them where known. The client receives the content of `error`.
struct LlmuxAnswerTable {
    LlmuxTableHead head;
    // Answers with a response, a JSON object. `config_schema` hands out the schema with it.
    void (*respond)(LlmuxAnswerObject *object, LlmuxStr response);
    // Answers with a stream. From this call on the host owns the stream, also if the answer is not used.
    void (*respond_stream)(LlmuxAnswerObject *object, LlmuxStream stream);
    // Answers with an error document. `allow_fallback` states whether another model may be tried.
    void (*reject)(LlmuxAnswerObject *object, LlmuxStr error, bool allow_fallback);
    // Adds metadata to a short circuit; the host merges it into the context's values.
    void (*metadata)(LlmuxAnswerObject *object, LlmuxStr key, LlmuxValue value);
    // Emits a chunk: the name of its event (empty for none) and its data, as JSON.
    void (*emit)(LlmuxAnswerObject *object, LlmuxStr event, LlmuxStr data);
    // Ends the stream with an error document.
    void (*end_stream)(LlmuxAnswerObject *object, LlmuxStr error);
    // States the reason of a failure: `LLMUX_FAILURE_ERROR` or `LLMUX_FAILURE_PANIC`, and a message for the host's log.
    void (*failed)(LlmuxAnswerObject *object, uint32_t kind, LlmuxStr message);
    // States that the response or the stream of a short circuit is a copy of an earlier answer.
    void (*cached)(LlmuxAnswerObject *object);
    // Puts another text in the place of the one that `on_text` received, without the end that it holds. Since 0.2.2.
    void (*edit_text)(LlmuxAnswerObject *object, LlmuxStr text);
    // Holds the end of the text that `on_text` received, from this byte on. The host presents it again, together with the text
    // that follows. The byte starts a character, or is the length of the text. Without effect if the text ends here. Since 0.2.2.
    void (*hold_text)(LlmuxAnswerObject *object, size_t from);
    // Holds the whole text until it ends: `on_text` is called again only then. Without effect if the text ends here. Since 0.2.2.
    void (*hold_whole_text)(LlmuxAnswerObject *object);
    // Puts this name and these arguments in the place of those of the call that `on_tool_call` received. The name is not empty.
    // The arguments are JSON if those of the call are. Since 0.2.2.
    void (*edit_tool_call)(LlmuxAnswerObject *object, LlmuxStr name, LlmuxStr arguments);
};

// Parameters of `next`. The table is lent until `next` returns, its fields until `next` is ready or its future is dropped.
typedef struct LlmuxNextCall {
    LlmuxTableHead head;
    LlmuxAnswer answer;
    LlmuxMemory memory;
} LlmuxNextCall;

// Functions of a producer, which a plugin implements.
struct LlmuxStreamTable {
    LlmuxTableHead head;
    // Produces the next chunks. Called on any thread, one call at a time. Returns `LLMUX_HOOK_REPLACE` with chunks in the
    // answer, `LLMUX_HOOK_CONTINUE` at the end, `LLMUX_HOOK_END` with an error in the answer, or `LLMUX_HOOK_FAILED`.
    LlmuxHookPoll (*next)(LlmuxStreamObject *object, const LlmuxNextCall *call, LlmuxPollContext *waker);
    // Frees the producer. Called once, on any thread, while no `next` runs.
    void (*drop)(LlmuxStreamObject *object);
};

// ---- The outcome that a post hook edits, and the report of an end ----

#define LLMUX_OUTCOME_COMPLETED 0 // The outcome is a response, or the request or stream completed.
#define LLMUX_OUTCOME_FAILED 1    // The outcome is an error, or the request or stream failed.
#define LLMUX_OUTCOME_CANCELLED 2 // The client left before the end. Only in a report.

// Documents of a report.
#define LLMUX_REPORT_REQUEST 0  // The request as it was sent to the provider.
#define LLMUX_REPORT_RESPONSE 1 // The response; absent for streams and errors.
#define LLMUX_REPORT_ERROR 2    // The error; absent where there is none.
// Numbers of a report.
#define LLMUX_REPORT_LATENCY 0           // Microseconds from the request's arrival to its end.
#define LLMUX_REPORT_FIRST_CHUNK 1       // Microseconds from the arrival to the first chunk for the client; streams only.
#define LLMUX_REPORT_PROMPT_TOKENS 2     // Tokens of the prompts. Absent, as the next two: no answer has arrived.
#define LLMUX_REPORT_COMPLETION_TOKENS 3 // Tokens of the answers.
#define LLMUX_REPORT_TOTAL_TOKENS 4      // All tokens.
#define LLMUX_REPORT_STATUS 5            // The HTTP status of the outcome.
#define LLMUX_REPORT_CHUNKS 6            // The count of chunks that were sent to the client; streams only.
#define LLMUX_REPORT_IS_ESTIMATED 7      // 1 if some numbers of tokens are an estimate of the host, 0 otherwise.
#define LLMUX_REPORT_ANSWERED_BY 8       // `LLMUX_ANSWERED_BY_HOST` to `_CACHE`; in `on_complete` only.
#define LLMUX_REPORT_ATTEMPTS 9          // The count of attempts that called a provider; in `on_complete` only.
#define LLMUX_REPORT_IS_UNFINISHED 10    // 1 if the provider's stream ended early, 0 otherwise; streams only; 0.2.1.
// Texts of a report.
#define LLMUX_REPORT_ANSWERER 0 // The provider or the instance that gave the outcome; absent for the host.
// The party that gave the outcome.
#define LLMUX_ANSWERED_BY_HOST 0     // The host, with an error of its own.
#define LLMUX_ANSWERED_BY_PROVIDER 1 // A provider.
#define LLMUX_ANSWERED_BY_PLUGIN 2   // An instance.
#define LLMUX_ANSWERED_BY_CACHE 3    // An instance, with a copy of an earlier answer.
// Texts of an attempt.
#define LLMUX_ATTEMPT_PROVIDER 0   // The provider's name.
#define LLMUX_ATTEMPT_DEPLOYMENT 1 // The deployment that was called last.
// The instance whose hook `beside` cancelled the provider's call. Absent: no instance did. Since 0.2.2.
#define LLMUX_ATTEMPT_CANCELLED_BY 2
// Numbers of an attempt.
#define LLMUX_ATTEMPT_STATUS 0            // The status of the provider's answer, or of the error in its place.
#define LLMUX_ATTEMPT_PROMPT_TOKENS 1     // Tokens of the prompt. Absent, as the next two: no answer has arrived.
#define LLMUX_ATTEMPT_COMPLETION_TOKENS 2 // Tokens of the answer.
#define LLMUX_ATTEMPT_TOTAL_TOKENS 3      // All tokens.
#define LLMUX_ATTEMPT_IS_ESTIMATED 4      // 1 if the numbers of tokens are an estimate of the host, 0 otherwise.

typedef struct LlmuxOutcomeObject LlmuxOutcomeObject;
typedef struct LlmuxOutcomeTable LlmuxOutcomeTable;
typedef struct LlmuxReportObject LlmuxReportObject;
typedef struct LlmuxReportTable LlmuxReportTable;

// A handle on an outcome: host memory, valid until the hook call ends.
typedef struct LlmuxOutcome {
    LlmuxOutcomeObject *object;
    const LlmuxOutcomeTable *table;
} LlmuxOutcome;

// Functions of an outcome. Call them during the hook call, those with an object that is not `const` on one thread at a time.
struct LlmuxOutcomeTable {
    LlmuxTableHead head;
    // Returns `LLMUX_OUTCOME_COMPLETED` or `LLMUX_OUTCOME_FAILED`.
    uint32_t (*kind)(const LlmuxOutcomeObject *object);
    // Returns the response or the error document, to read and to edit. Host memory, valid until `recover` or `fail` replaces it
    // or the hook call ends. Absent: the body of the response is not JSON.
    LlmuxDocumentOption (*body)(LlmuxOutcomeObject *object);
    // Returns the request as it was sent, read-only. Host memory, valid until the hook call ends.
    LlmuxDocument (*request)(const LlmuxOutcomeObject *object);
    // Makes this response the outcome. The host copies the JSON. Returns a code `LLMUX_DOCUMENT_...`.
    uint32_t (*recover)(LlmuxOutcomeObject *object, LlmuxStr response);
    // Makes this error document the outcome. The host copies the JSON. Returns a code `LLMUX_DOCUMENT_...`.
    uint32_t (*fail)(LlmuxOutcomeObject *object, LlmuxStr error);
};

// A handle on the report of a request or a stream: host memory, valid until the hook call ends.
typedef struct LlmuxReport {
    const LlmuxReportObject *object;
    const LlmuxReportTable *table;
} LlmuxReport;

// Functions of a report. Call them during the hook call, on any thread. Texts and documents are host memory and valid until
// the hook call ends. Absent: there is no such value, or the host does not know the number.
struct LlmuxReportTable {
    LlmuxTableHead head;
    // Returns `LLMUX_OUTCOME_COMPLETED`, `LLMUX_OUTCOME_FAILED` or `LLMUX_OUTCOME_CANCELLED`.
    uint32_t (*kind)(const LlmuxReportObject *object);
    // Returns a number, `LLMUX_REPORT_LATENCY` to `LLMUX_REPORT_IS_UNFINISHED`.
    LlmuxI64Option (*number)(const LlmuxReportObject *object, uint32_t which);
    // Returns a document, `LLMUX_REPORT_REQUEST` to `LLMUX_REPORT_ERROR`, read-only.
    LlmuxDocumentOption (*document)(const LlmuxReportObject *object, uint32_t which);
    // Returns a text, `LLMUX_REPORT_ANSWERER`.
    LlmuxStrOption (*text)(const LlmuxReportObject *object, uint32_t which);
    // Returns a text of an attempt that called a provider, counted from 0: `LLMUX_ATTEMPT_PROVIDER` to `_CANCELLED_BY`.
    LlmuxStrOption (*attempt_text)(const LlmuxReportObject *object, uint32_t attempt, uint32_t which);
    // Returns a number of an attempt, counted from 0: `LLMUX_ATTEMPT_STATUS` to `LLMUX_ATTEMPT_IS_ESTIMATED`.
    LlmuxI64Option (*attempt_number)(const LlmuxReportObject *object, uint32_t attempt, uint32_t which);
};

// ---- HTTP requests through the host ----

#define LLMUX_HTTP_FAILURE_NONE 0      // A response came.
#define LLMUX_HTTP_FAILURE_INVALID 1   // The request is not valid: its method, its URL, or one of its headers.
#define LLMUX_HTTP_FAILURE_CONNECT 2   // No connection was made: the name, the address, or the certificate.
#define LLMUX_HTTP_FAILURE_TIMEOUT 3   // The time limit of the request has passed.
#define LLMUX_HTTP_FAILURE_TOO_LARGE 4 // The body is larger than the request allows.
#define LLMUX_HTTP_FAILURE_BROKEN 5    // The connection ended before the response did. Unknown codes mean the same.

#define LLMUX_HTTP_END 0    // `next`: there are no more bytes.
#define LLMUX_HTTP_MORE 1   // `next`: `body` returns the next bytes.
#define LLMUX_HTTP_FAILED 2 // `next`: the response failed; `failure` returns the kind, and `body` the reason.

// A header.
typedef struct LlmuxHeader {
    LlmuxStr name;
    LlmuxStr value;
} LlmuxHeader;
LLMUX_SLICE(LlmuxHeaders, LlmuxHeader, llmux_headers)

// Parameters of `http`: plugin memory. The host copies them before `http` returns.
typedef struct LlmuxHttpCall {
    LlmuxTableHead head;  // `LLMUX_TABLE(LLMUX_HTTP_CALL_FIELDS)`.
    LlmuxStr method;      // As `POST`.
    LlmuxStr url;         // The whole URL, `http` or `https`.
    LlmuxHeaders headers;
    LlmuxBytes body;
    uint64_t timeout;     // The time limit for the whole exchange, in milliseconds.
    uint64_t max_body;    // The largest body of the response, in bytes. The host has a limit of its own, too.
    uint32_t streams;     // 0: ready when the whole body has come. 1: ready at the head; `next` returns pieces of the body.
} LlmuxHttpCall;

typedef struct LlmuxHttpResponseObject LlmuxHttpResponseObject;
typedef struct LlmuxHttpResponseTable LlmuxHttpResponseTable;

// A handle on a response: host memory. The plugin owns the handle and returns it once, through `drop`.
typedef struct LlmuxHttpResponse {
    LlmuxHttpResponseObject *object;
    const LlmuxHttpResponseTable *table;
} LlmuxHttpResponse;
LLMUX_FUTURE(LlmuxHttpResponseFuture, LlmuxHttpResponsePoll, LlmuxHttpResponse)

// Functions of a response. Call getters on any thread, `next` on one thread at a time and not beside a getter.
struct LlmuxHttpResponseTable {
    LlmuxTableHead head;
    // Returns the HTTP status, or 0 if no response came.
    uint16_t (*status)(const LlmuxHttpResponseObject *object);
    // Returns a header, by its name in any case. Host memory, valid until `drop`. Absent: there is no such header.
    LlmuxStrOption (*header)(const LlmuxHttpResponseObject *object, LlmuxStr name);
    // Returns the body, or the piece that `next` has found, or the reason of a failure as text. Valid until `next` or `drop`.
    LlmuxBytes (*body)(const LlmuxHttpResponseObject *object);
    // Returns the kind of failure, `LLMUX_HTTP_FAILURE_NONE` to `LLMUX_HTTP_FAILURE_BROKEN`.
    uint32_t (*failure)(const LlmuxHttpResponseObject *object);
    // Waits for the next bytes of a response that streams, and resolves to `LLMUX_HTTP_END`, `_MORE` or `_FAILED`. The plugin
    // owns the future, and drops it before the response. Dropping it loses no bytes.
    LlmuxCodeFuture (*next)(LlmuxHttpResponseObject *object);
    // Frees the response. Call it once, on any thread.
    void (*drop)(LlmuxHttpResponseObject *object);
};

// ---- The host ----

#define LLMUX_LEVEL_ERROR 1
#define LLMUX_LEVEL_WARN 2
#define LLMUX_LEVEL_INFO 3
#define LLMUX_LEVEL_DEBUG 4
#define LLMUX_LEVEL_TRACE 5 // The host treats every higher number as this one.

#define LLMUX_METRIC_COUNTER 0   // A counter, which only grows.
#define LLMUX_METRIC_GAUGE 1     // A gauge, which `record` sets.
#define LLMUX_METRIC_HISTOGRAM 2 // A histogram, which counts observations into buckets.

// Parameters of `metric`: plugin memory. The host copies them before `metric` returns.
typedef struct LlmuxMetricCall {
    LlmuxTableHead head;  // `LLMUX_TABLE(LLMUX_METRIC_CALL_FIELDS)`.
    uint32_t kind;        // `LLMUX_METRIC_COUNTER`, `LLMUX_METRIC_GAUGE` or `LLMUX_METRIC_HISTOGRAM`.
    LlmuxStr name;        // In the characters that Prometheus allows.
    LlmuxStr help;        // One line.
    LlmuxStrs labels;     // The names of the labels.
    LlmuxDoubles buckets; // The upper bounds of a histogram's buckets; empty selects the host's default.
} LlmuxMetricCall;

typedef struct LlmuxWorkObject LlmuxWorkObject;

// Functions of work, which a plugin implements. The host calls one of the two, once.
typedef struct LlmuxWorkTable {
    LlmuxTableHead head;
    // Does the work and frees it, on a thread that may block.
    void (*run)(LlmuxWorkObject *object);
    // Frees the work without doing it, on any thread.
    void (*drop)(LlmuxWorkObject *object);
} LlmuxWorkTable;

// Work that a plugin gives to the host: plugin memory. The host owns the handle.
typedef struct LlmuxWork {
    LlmuxWorkObject *object;
    const LlmuxWorkTable *table;
} LlmuxWork;

typedef struct LlmuxHostObject LlmuxHostObject;
typedef struct LlmuxHostTable LlmuxHostTable;

// A counted handle on the host, as one instance sees it. A plugin that keeps a copy calls `retain` for it, and `release` once.
typedef struct LlmuxHost {
    const LlmuxHostObject *object;
    const LlmuxHostTable *table;
} LlmuxHost;

// Functions of the host. Call them on any thread, at any time while the handle is retained. Functions from `spawn` on may be
// absent: ask with `LLMUX_HAS`, or name the service in the manifest's `needs`. The host copies the texts it is given.
struct LlmuxHostTable {
    LlmuxTableHead head;
    // Adds one to the count of holders.
    void (*retain)(const LlmuxHostObject *object);
    // Takes one from the count of holders. The handle must not be used afterwards.
    void (*release)(const LlmuxHostObject *object);
    // Returns true if the host would write a record of this level and target.
    bool (*log_enabled)(const LlmuxHostObject *object, uint32_t level, LlmuxStr target);
    // Writes a log record.
    void (*log)(const LlmuxHostObject *object, uint32_t level, LlmuxStr target, LlmuxStr message, LlmuxFields fields);
    // Returns the host's monotonic time, in nanoseconds. Tests can hold this clock.
    uint64_t (*now)(const LlmuxHostObject *object);
    // Runs a future as a task of the instance. The host owns the future, polls it on any of its threads, and drops it when the
    // instance is unloaded. Returns false, and drops the future, if the instance is being unloaded.
    bool (*spawn)(const LlmuxHostObject *object, LlmuxFuture future);
    // Returns a future that is ready after this many milliseconds. The plugin owns the future.
    LlmuxFuture (*sleep)(const LlmuxHostObject *object, uint64_t millis);
    // Sends an HTTP request. The plugin owns the future and the response. Dropping the future aborts the request.
    LlmuxHttpResponseFuture (*http)(const LlmuxHostObject *object, const LlmuxHttpCall *call);
    // Registers a metric and returns its id. Returns 0 if the host refuses the metric; its log states the reason.
    uint64_t (*metric)(const LlmuxHostObject *object, const LlmuxMetricCall *call);
    // Records a value: adds to a counter, sets a gauge, or observes in a histogram. `labels` holds the values of the labels in
    // the order of their names.
    void (*record)(const LlmuxHostObject *object, uint64_t metric, LlmuxStrs labels, double value);
    // Runs work of the instance on a thread that may block. The host owns the work. The unload of the instance waits for work
    // that has begun. Returns false, and drops the work, if the instance is being unloaded.
    bool (*spawn_blocking)(const LlmuxHostObject *object, LlmuxWork work);
    // Returns the version of the contract that the host speaks. The text is valid while the handle is retained.
    LlmuxStr (*abi_version)(const LlmuxHostObject *object);
    // Returns the folder of the file that the plugin's library was loaded from, as the system writes paths. Empty if the
    // plugin is compiled in. The bytes are valid while the handle is retained.
    LlmuxBytes (*library_dir)(const LlmuxHostObject *object);
};

// ---- Parameters of the functions that a plugin implements ----
//
// A table of parameters is host memory, lent until the function returns. The handles and texts in it are lent until the hook
// call ends: a hook that waits copies those that it needs.

typedef struct LlmuxInstanceObject LlmuxInstanceObject;
LLMUX_OPTION(LlmuxInstanceObjectOption, const LlmuxInstanceObject *)

// Parameters of `create`. All of them are lent until `create` returns.
typedef struct LlmuxCreateCall {
    LlmuxTableHead head;
    LlmuxStr name;   // The name of the instance.
    LlmuxStr config; // The configuration: JSON that fits the schema.
    LlmuxHost host;  // A plugin that keeps it calls `retain`.
    // The instance that the new one replaces. It comes from the same image, and goes on to serve requests meanwhile. Absent:
    // the new instance replaces none, or one of another image.
    LlmuxInstanceObjectOption old;
    LlmuxAnswer answer; // For the reason of a refusal.
} LlmuxCreateCall;

// Parameters of a hook before the provider.
typedef struct LlmuxRequestCall {
    LlmuxTableHead head;
    LlmuxContext context;
    LlmuxDocument request; // The request's body, to read and to edit.
    LlmuxAnswer answer;
    LlmuxMemory memory;
} LlmuxRequestCall;

// Parameters of a hook after the provider.
typedef struct LlmuxOutcomeCall {
    LlmuxTableHead head;
    LlmuxContext context;
    LlmuxOutcome outcome;
    LlmuxAnswer answer;
    LlmuxMemory memory;
} LlmuxOutcomeCall;

// Parameters of a hook for one chunk of a stream.
typedef struct LlmuxChunkCall {
    LlmuxTableHead head;
    LlmuxContext context;
    LlmuxStr event;      // The name of the event; empty for none.
    LlmuxDocument chunk; // The data of the event, to read and to edit.
    LlmuxAnswer answer;
    LlmuxMemory memory;
} LlmuxChunkCall;

#define LLMUX_TEXT_REQUEST 0 // A text of the request.
#define LLMUX_TEXT_ANSWER 1  // A text of the answer.

#define LLMUX_TEXT_CONTENT 0    // The words of a message or of an input.
#define LLMUX_TEXT_REASONING 1  // The reasoning of a model, or its summary.
#define LLMUX_TEXT_REFUSAL 2    // The words with which a model refuses.
#define LLMUX_TEXT_ARGUMENTS 3  // The arguments of a tool call, which are JSON as a rule.
#define LLMUX_TEXT_TRANSCRIPT 4 // The words of spoken audio.

// Parameters of a hook for one text of a request or an answer. Since 0.2.2.
typedef struct LlmuxTextCall {
    LlmuxTableHead head;
    LlmuxContext context;
    LlmuxStr text;    // The part that the plugin held of the text, and the text that follows.
    LlmuxStr role;    // The role of the message; `assistant` for an answer; empty for a text without a role.
    LlmuxStr tool;    // The name of the tool that arguments are for; empty otherwise, and if it is unknown.
    uint32_t side;    // `LLMUX_TEXT_REQUEST` or `LLMUX_TEXT_ANSWER`.
    uint32_t channel; // `LLMUX_TEXT_CONTENT` to `LLMUX_TEXT_TRANSCRIPT`. A later version may add channels.
    uint32_t choice;  // The index of the choice or of the output item; 0 for a text of the request.
    uint32_t number;  // Distinguishes the texts of an answer: the pieces of one text have the same number.
    bool is_end;      // True if the text ends here.
    LlmuxAnswer answer;
    LlmuxMemory memory;
} LlmuxTextCall;

// Parameters of a hook for one tool call of an answer. Since 0.2.2.
typedef struct LlmuxToolCall {
    LlmuxTableHead head;
    LlmuxContext context;
    LlmuxStr id;        // The identifier that the result of the call will name; empty for none.
    LlmuxStr name;      // The name of the tool; empty if the answer has none.
    LlmuxStr arguments; // The arguments of the call, whole.
    uint32_t choice;    // The index of the choice or of the output item.
    bool is_json;       // True if the arguments are JSON.
    LlmuxAnswer answer;
    LlmuxMemory memory;
} LlmuxToolCall;

// Parameters of a hook at the end of a stream or of a request.
typedef struct LlmuxReportCall {
    LlmuxTableHead head;
    LlmuxContext context;
    LlmuxReport report;
    LlmuxAnswer answer;
    LlmuxMemory memory;
} LlmuxReportCall;

// Parameters of `cleanup`.
typedef struct LlmuxCleanupCall {
    LlmuxTableHead head;
    LlmuxAnswer answer;
    LlmuxMemory memory;
} LlmuxCleanupCall;

// ---- The plugin ----

// The functions of an instance, which a plugin implements. The host calls hooks on any of its threads, several at once for
// different requests. A hook that is null does nothing and is not called; instead of a null `pre_stream_hook` the host calls
// `pre_hook`. The call itself is the first poll of the hook, with the host's waker. It must not block.
typedef struct LlmuxPluginTable {
    LlmuxTableHead head;
    // Frees the state of one request. Called once for each state, after `on_complete`.
    void (*drop_state)(LlmuxStateObject *state);
    // Frees the instance. Called once, after `cleanup`, on a thread that may block.
    void (*drop)(LlmuxInstanceObject *object);
    // Called before the provider, for each attempt that does not stream. Returns `LLMUX_HOOK_CONTINUE`,
    // `LLMUX_HOOK_SHORT_CIRCUIT` or `LLMUX_HOOK_FAILED`.
    LlmuxHookPoll (*pre_hook)(const LlmuxInstanceObject *object, const LlmuxRequestCall *call, LlmuxPollContext *waker);
    // Called after the provider, for each attempt that does not stream. Returns `LLMUX_HOOK_CONTINUE` or `LLMUX_HOOK_FAILED`.
    LlmuxHookPoll (*post_hook)(const LlmuxInstanceObject *object, const LlmuxOutcomeCall *call, LlmuxPollContext *waker);
    // Called instead of `pre_hook` when the request streams. Returns the same codes.
    LlmuxHookPoll (*pre_stream_hook)(
        const LlmuxInstanceObject *object, const LlmuxRequestCall *call, LlmuxPollContext *waker);
    // Called for every chunk, in order. Returns `LLMUX_HOOK_CONTINUE`, `LLMUX_HOOK_DROP`, `LLMUX_HOOK_REPLACE`,
    // `LLMUX_HOOK_END` or `LLMUX_HOOK_FAILED`.
    LlmuxHookPoll (*on_stream_chunk)(
        const LlmuxInstanceObject *object, const LlmuxChunkCall *call, LlmuxPollContext *waker);
    // Called once for every stream, at its end; may `emit` last chunks. Returns `LLMUX_HOOK_CONTINUE` or `LLMUX_HOOK_FAILED`.
    LlmuxHookPoll (*post_stream_hook)(
        const LlmuxInstanceObject *object, const LlmuxReportCall *call, LlmuxPollContext *waker);
    // Called once for every request of a client, after the client has the response. Returns `LLMUX_HOOK_CONTINUE` or
    // `LLMUX_HOOK_FAILED`.
    LlmuxHookPoll (*on_complete)(const LlmuxInstanceObject *object, const LlmuxReportCall *call, LlmuxPollContext *waker);
    // Called once for every instance, after its last hook. Returns `LLMUX_HOOK_CONTINUE` or `LLMUX_HOOK_FAILED`.
    LlmuxHookPoll (*cleanup)(const LlmuxInstanceObject *object, const LlmuxCleanupCall *call, LlmuxPollContext *waker);
    // Called for each text of a request, after the pre hooks of this instance, and for each text of an answer, before its hooks
    // for a chunk or an outcome. In a stream, it is called for each piece of a text. May call `edit_text` and `hold_text`. Returns
    // `LLMUX_HOOK_CONTINUE`, `LLMUX_HOOK_END` or `LLMUX_HOOK_FAILED`. Since 0.2.2.
    LlmuxHookPoll (*on_text)(const LlmuxInstanceObject *object, const LlmuxTextCall *call, LlmuxPollContext *waker);
    // Called for each tool call of an answer, whole, before any part of it is sent, and before the hooks of this instance for a
    // chunk or an outcome. May call `edit_tool_call`. Returns `LLMUX_HOOK_CONTINUE`, `LLMUX_HOOK_DROP` to remove the call,
    // `LLMUX_HOOK_END` or `LLMUX_HOOK_FAILED`. Since 0.2.2.
    LlmuxHookPoll (*on_tool_call)(const LlmuxInstanceObject *object, const LlmuxToolCall *call, LlmuxPollContext *waker);
    // Called after the pre hooks of all instances, while the provider is called, for each attempt that calls one. The hooks of
    // several instances run at the same time. The request is read-only. The context belongs to this call: headers of the response
    // and values that the hook sets reach the request when the hook has ended. Nothing of the provider's answer is sent before the
    // hook has ended. Returns `LLMUX_HOOK_CONTINUE`, `LLMUX_HOOK_SHORT_CIRCUIT` with an error (`reject`), which cancels the
    // provider's call, or `LLMUX_HOOK_FAILED`. Since 0.2.2.
    LlmuxHookPoll (*beside)(const LlmuxInstanceObject *object, const LlmuxRequestCall *call, LlmuxPollContext *waker);
} LlmuxPluginTable;

// An instance: plugin memory. The host owns the handle and returns it once, through `drop`.
typedef struct LlmuxInstance {
    LlmuxInstanceObject *object;
    const LlmuxPluginTable *table;
} LlmuxInstance;
LLMUX_OPTION(LlmuxInstanceOption, LlmuxInstance)

// The functions of the plugin itself. Only the last one may be absent: make the table with one field less.
typedef struct LlmuxPluginModule {
    LlmuxTableHead head;
    // Makes an instance. Called once for each instance, on a thread that may block. The host owns the instance. Absent: the
    // plugin refuses, with the reason in the answer's `failed`; an old instance then stays.
    LlmuxInstanceOption (*create)(const LlmuxCreateCall *call);
    // Hands out the JSON Schema of the configuration through the answer's `respond`. Called before `create`, on a thread that
    // may block. The answer is lent until the function returns. Returns `LLMUX_HOOK_CONTINUE` or `LLMUX_HOOK_FAILED`.
    uint32_t (*config_schema)(LlmuxAnswer answer);
    // Called once for each loaded image, before any other function. The host is lent until the function returns: a plugin that
    // keeps it calls `retain`.
    void (*attach)(LlmuxHost host);
} LlmuxPluginModule;

// ---- The entry: one exported variable, and one section of the file, which the host reads without running anything ----

#define LLMUX_SECTION ".llmux"             // The section's name in ELF and PE files.
#define LLMUX_MACHO_SECTION "__DATA,__llmux" // The section's segment and name in Mach-O files.
#define LLMUX_MAGIC "LLMUXPLG"             // The first bytes of the section.
#define LLMUX_MAX_MANIFEST 65536           // The length of the longest manifest that a host reads, in bytes.
#define LLMUX_ENTRY_PREFIX "llmux_plugin_" // The prefix of the exported variable's name.
#define LLMUX_ENTRY_FORMAT 1               // The number of the format that `LlmuxEntry` has.

// A description of the layout, which libraries written in Rust have.
typedef struct LlmuxEntryLayout LlmuxEntryLayout;

// The exported variable. The host reads the fields in their order.
typedef struct LlmuxEntry {
    uint32_t format;                 // `LLMUX_ENTRY_FORMAT`.
    uint32_t size;                   // The size of this variable, in bytes. Fields beyond it are absent.
    LlmuxStr abi;                    // The version of the contract, as in the manifest.
    const LlmuxPluginModule *module; // The plugin. Valid until the process ends.
    const LlmuxEntryLayout *layout;  // Null in C and C++: the host trusts the version.
} LlmuxEntry;

#ifdef _WIN32 // untested
#define LLMUX_EXPORT __declspec(dllexport)
#else
#define LLMUX_EXPORT __attribute__((visibility("default")))
#endif

#if defined(_MSC_VER) // untested
#define LLMUX_IN_SECTION __pragma(section(".llmux", read)) __declspec(allocate(".llmux"))
#elif defined(__APPLE__) // untested
#define LLMUX_IN_SECTION __attribute__((section(LLMUX_MACHO_SECTION), used))
#else
#define LLMUX_IN_SECTION __attribute__((section(LLMUX_SECTION), used LLMUX_RETAIN))
#endif

// Keeps the section when the linker removes unused ones (`--gc-sections`).
#define LLMUX_RETAIN
#ifdef __has_attribute
#if __has_attribute(retain)
#undef LLMUX_RETAIN
#define LLMUX_RETAIN , retain
#endif
#endif

// Writes the manifest into the section of the library. `json` is a string literal with one JSON object: the members of
// `LLMUX_MANIFEST_MEMBERS`, then `name`, `version`, `description`, `authors`, `license` and `priority`. These may be absent:
//
// `hooks`     the names of the hooks that are written, as in `LlmuxPluginTable`
// `needs`     the services without which the plugin does not work: `spawn`, `sleep`, `http`, `metric`, `spawn_blocking`
// `on_error`  `continue` or `fail`: whether a failed hook fails the request
// `reload`    `exclusive` if two instances of one name cannot live at once
// `streams`   `whole` or `unseen`: the relation of the plugin to streamed answers
// `abi_min`   the least version of the contract that the plugin needs; otherwise that of `abi`
//
// Use it once in a library, at file scope.
#define LLMUX_MANIFEST(json)                                                                                        \
    LLMUX_IN_SECTION static const struct {                                                                          \
        char magic[8];                                                                                              \
        uint8_t length[4];                                                                                          \
        char json_text[sizeof(json)];                                                                               \
    } llmux_manifest = {                                                                                            \
        {'L', 'L', 'M', 'U', 'X', 'P', 'L', 'G'},                                                                   \
        {(uint8_t)(sizeof(json) - 1), (uint8_t)((sizeof(json) - 1) >> 8), (uint8_t)((sizeof(json) - 1) >> 16), 0},  \
        json}

// The members of the manifest that this header knows. `plugin` is an identifier, the same as in `LLMUX_ENTRY`.
#define LLMUX_MANIFEST_MEMBERS(plugin)                                                                              \
    "\"abi\":\"" LLMUX_ABI_VERSION "\",\"target\":\"" LLMUX_TARGET "\",\"entry\":\"" LLMUX_ENTRY_PREFIX #plugin     \
    "\",\"sdk\":\"\",\"rustc\":\"\",\"panic\":\"unwind\","

#ifdef __cplusplus
#define LLMUX_EXTERN extern "C"
#else
#define LLMUX_EXTERN extern
#endif

// Defines the exported variable. `plugin` is an identifier, and `module` a `LlmuxPluginModule` with static storage. Use it
// once in a library, at file scope.
#define LLMUX_ENTRY(plugin, module)                                                                                 \
    LLMUX_EXTERN LLMUX_EXPORT const LlmuxEntry llmux_plugin_##plugin;                                               \
    const LlmuxEntry llmux_plugin_##plugin = {                                                                      \
        LLMUX_ENTRY_FORMAT, sizeof(LlmuxEntry), {LLMUX_ABI_VERSION, sizeof(LLMUX_ABI_VERSION) - 1}, &(module), NULL}

#ifdef __cplusplus
}
#endif

#endif
