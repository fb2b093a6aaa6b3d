// A guard in C11: asks an HTTP service about each request, and refuses the request if the service does.
//
// The service receives the whole body of the request. It answers 200 to accept and 403 to refuse. An accepted request gets
// `"store": false`, so that the provider does not keep it. The manifest says `on_error: fail`: if the service does not answer,
// or answers otherwise, the request fails.
//
// config = { url = "http://127.0.0.1:9000/check", timeout_ms = 2000 }

#include <llmux.h>
#include <stdio.h>
#include <stdlib.h>

LLMUX_MANIFEST("{" LLMUX_MANIFEST_MEMBERS(guard)
               "\"name\":\"c-guard\",\"version\":\"0.1.0\",\"description\":\"asks a service about each request\","
               "\"authors\":\"\",\"license\":\"MIT\",\"priority\":10,\"on_error\":\"fail\","
               "\"hooks\":[\"pre_hook\"],\"needs\":[\"http\"]}");

// The host checks each configuration against this schema before it calls `create`. No value that fits it has an escape.
static const char SCHEMA[] =
    "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"url\"],\"properties\":{"
    "\"url\":{\"type\":\"string\",\"pattern\":\"^https?://[A-Za-z0-9.:/_-]+$\"},"
    "\"timeout_ms\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":60000}}}";

static const char REFUSAL[] =
    "{\"status\":403,\"error\":{\"message\":\"the guard refuses the request\",\"type\":\"permission_error\"}}";

// An instance. Hooks of several requests read it at once, so nothing changes it after `create`.
typedef struct Guard {
    LlmuxHost host;
    uint64_t timeout_ms;
    char *config;
    char *url; // A part of `config`.
} Guard;

static uint32_t failed(LlmuxAnswer answer, const char *reason) {
    answer.table->failed(answer.object, LLMUX_FAILURE_ERROR, llmux_str(reason));
    return LLMUX_HOOK_FAILED;
}

static void log_refusal(const Guard *guard, LlmuxContext context) {
    LlmuxStrOption id = context.table->text(context.object, LLMUX_CONTEXT_REQUEST_ID);
    LlmuxField field = {llmux_str("request_id"), {LLMUX_VALUE_STRING, 0, id.is_absent ? llmux_str("") : id.value}};
    guard->host.table->log(guard->host.object, LLMUX_LEVEL_INFO, llmux_str("c_guard"), llmux_str("refused"),
                           llmux_fields(&field, 1));
}

// ---- One question to the service, for as long as the hook waits ----

typedef struct Question {
    const Guard *guard;
    LlmuxContext context;
    LlmuxDocument request;
    LlmuxAnswer answer;
    LlmuxHttpResponseFuture response; // Owned.
    bool is_allocated;
} Question;

// Returns the code of the hook.
static uint32_t decide(const Question *question, LlmuxHttpResponse response) {
    uint16_t status = response.table->status(response.object);
    if (status == 403) {
        log_refusal(question->guard, question->context);
        question->answer.table->reject(question->answer.object, llmux_str(REFUSAL), false);
        return LLMUX_HOOK_SHORT_CIRCUIT;
    }
    if (status != 200) {
        char reason[64];
        snprintf(reason, sizeof(reason), "the service answered with the status %u", status);
        return failed(question->answer, status == 0 ? "the service did not answer" : reason);
    }
    LlmuxDocument request = question->request;
    if (request.table->set(request.object, llmux_str("/store"), llmux_str("false")) != LLMUX_DOCUMENT_OK) {
        return failed(question->answer, "the request has no place for `store`");
    }
    return LLMUX_HOOK_CONTINUE;
}

// Polls the host's future with the waker of the hook. The host polls again when the response has come.
static LlmuxCodePoll question_poll(void *data, LlmuxPollContext *context) {
    Question *question = data;
    LlmuxHttpResponsePoll polled = question->response.poll(question->response.data, context);
    LlmuxCodePoll poll = {LLMUX_POLL_READY, LLMUX_HOOK_FAILED};
    switch (polled.state) {
    case LLMUX_POLL_PENDING:
        poll.state = LLMUX_POLL_PENDING;
        break;
    case LLMUX_POLL_READY:
        poll.value = decide(question, polled.value);
        polled.value.table->drop(polled.value.object);
        break;
    default:
        poll.value = failed(question->answer, "the host could not send the question");
    }
    return poll;
}

// Called once: when the question is answered, or when the host cancels the hook.
static void question_drop(void *data) {
    Question *question = data;
    question->response.drop(question->response.data);
    if (question->is_allocated) {
        free(question);
    }
}

// ---- The hook ----

static LlmuxHttpResponseFuture ask(const Guard *guard, LlmuxStr body) {
    LlmuxHeader header = {llmux_str("content-type"), llmux_str("application/json")};
    LlmuxHttpCall call = {
        .head = LLMUX_TABLE(LLMUX_HTTP_CALL_FIELDS),
        .method = llmux_str("POST"),
        .url = llmux_str(guard->url),
        .headers = llmux_headers(&header, 1),
        .body = llmux_bytes((const uint8_t *)body.data, body.length),
        .timeout = guard->timeout_ms,
        .max_body = 1024,
    };
    return guard->host.table->http(guard->host.object, &call);
}

// Also called for streams, because the table has no `pre_stream_hook`.
static LlmuxHookPoll pre_hook(const LlmuxInstanceObject *object, const LlmuxRequestCall *call, LlmuxPollContext *waker) {
    const Guard *guard = (const Guard *)object;
    // The empty pointer names the whole document, which is always there.
    LlmuxStrOption body = call->request.table->get(call->request.object, llmux_str(""));
    Question question = {guard, call->context, call->request, call->answer, ask(guard, body.value), false};

    LlmuxCodePoll first = question_poll(&question, waker);
    if (first.state == LLMUX_POLL_READY) {
        question_drop(&question);
        return llmux_ready(first.value);
    }
    // The hook waits: the question moves off the stack, into the memory that the host lends if there is enough of it.
    Question *place = (Question *)(void *)call->memory.start;
    if (call->memory.size < sizeof(Question)) {
        place = malloc(sizeof(Question));
        if (place == NULL) {
            question_drop(&question);
            return llmux_ready(failed(call->answer, "out of memory"));
        }
        question.is_allocated = true;
    }
    *place = question;
    LlmuxCodeFuture rest = {place, question_poll, question_drop};
    return llmux_pending(rest);
}

// ---- The life of an instance ----

// Returns the configuration's text after a key, such as `"url":`. Null if there is no such key. This is enough for this schema,
// which has no nested values and no escapes: a plugin with a larger configuration uses a JSON library.
static char *after(char *config, const char *key) {
    char *found = strstr(config, key);
    return found == NULL ? NULL : strchr(found + strlen(key), ':') + 1;
}

static void drop(LlmuxInstanceObject *object) {
    Guard *guard = (Guard *)object;
    guard->host.table->release(guard->host.object);
    free(guard->config);
    free(guard);
}

// The guard has no state for a request.
static void drop_state(LlmuxStateObject *state) {
    (void)state;
}

static const LlmuxPluginTable HOOKS = {
    .head = LLMUX_TABLE(LLMUX_PLUGIN_TABLE_FIELDS),
    .drop_state = drop_state,
    .drop = drop,
    .pre_hook = pre_hook,
};

static LlmuxInstanceOption create(const LlmuxCreateCall *call) {
    LlmuxInstanceOption instance = {.is_absent = 1};
    Guard *guard = calloc(1, sizeof(Guard));
    char *config = calloc(call->config.length + 1, 1);
    if (guard == NULL || config == NULL) {
        free(guard);
        free(config);
        failed(call->answer, "out of memory");
        return instance;
    }
    memcpy(config, call->config.data, call->config.length);
    const char *timeout = after(config, "\"timeout_ms\"");
    guard->config = config;
    guard->timeout_ms = timeout == NULL ? 2000 : strtoull(timeout, NULL, 10);
    // The schema requires the URL, which stands between two quotes.
    guard->url = strchr(after(config, "\"url\""), '"') + 1;
    *strchr(guard->url, '"') = '\0';
    guard->host = call->host;
    guard->host.table->retain(guard->host.object);
    instance.is_absent = 0;
    instance.value.object = (LlmuxInstanceObject *)guard;
    instance.value.table = &HOOKS;
    return instance;
}

static uint32_t config_schema(LlmuxAnswer answer) {
    answer.table->respond(answer.object, llmux_str(SCHEMA));
    return LLMUX_HOOK_CONTINUE;
}

// The last field, `attach`, is absent.
static const LlmuxPluginModule MODULE = {
    .head = LLMUX_TABLE(LLMUX_PLUGIN_MODULE_FIELDS - 1),
    .create = create,
    .config_schema = config_schema,
};

LLMUX_ENTRY(guard, MODULE);
