// Numbers the lines of streamed answers, in C++17.
//
// Each line of a chat stream begins with its number: `1: `, `2: `. A chunk with several lines is replaced by one chunk for each
// line. A chunk that adds nothing is dropped. An instance with `max_lines` ends a stream that has more lines: the manifest says
// `on_error: fail`. The counter `lines_numbered_total` counts the lines.
//
// config = { max_lines = 100 }

#include <llmux.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

LLMUX_MANIFEST("{" LLMUX_MANIFEST_MEMBERS(lines)
               "\"name\":\"cpp-lines\",\"version\":\"0.1.0\",\"description\":\"numbers the lines of streams\","
               "\"authors\":\"\",\"license\":\"MIT\",\"priority\":50,\"on_error\":\"fail\","
               "\"hooks\":[\"on_stream_chunk\",\"post_stream_hook\"],\"needs\":[\"metric\"]}");

namespace {

constexpr char SCHEMA[] =
    R"({"type":"object","additionalProperties":false,"properties":{"max_lines":{"type":"integer","minimum":1}}})";
constexpr char CONTENT[] = "/choices/0/delta/content";

// An instance. Hooks of several requests read it at once, so nothing changes it after `create`.
struct Plugin {
    LlmuxHost host;
    uint64_t metric;
    uint64_t max_lines;

    ~Plugin() { host.table->release(host.object); }
};

// The state of one stream.
struct Lines {
    uint64_t count = 0;
    bool is_inside = false; // Whether the last chunk ended inside of a line.
};

// ---- The border: no exception leaves a function that the host calls ----
//
// All these functions are `noexcept`. If one of them threw nevertheless, the process would end there, and the host would name
// the instance.

void failed(LlmuxAnswer answer, uint32_t kind, const char *reason) noexcept {
    answer.table->failed(answer.object, kind, llmux_str(reason));
}

// Runs a function, and returns its result. If the function throws, the hook has failed, and the result is `otherwise`.
template <typename Result, typename Function>
Result guarded(LlmuxAnswer answer, Result otherwise, Function function) noexcept {
    try {
        return function();
    } catch (const std::exception &error) {
        failed(answer, LLMUX_FAILURE_ERROR, error.what());
    } catch (...) {
        failed(answer, LLMUX_FAILURE_PANIC, "threw an object that is no std::exception");
    }
    return otherwise;
}

// Runs a hook that does not wait.
template <typename Function>
LlmuxHookPoll hook(LlmuxAnswer answer, Function function) noexcept {
    return llmux_ready(guarded<uint32_t>(answer, LLMUX_HOOK_FAILED, function));
}

// ---- Texts ----

LlmuxStr str(std::string_view text) {
    return llmux_str_n(text.data(), text.size());
}

std::string_view view(LlmuxStr text) {
    return {text.data, text.length};
}

// Returns a text as a string of JSON.
std::string quoted(std::string_view text) {
    constexpr char HEX[] = "0123456789abcdef";
    std::string json = "\"";
    for (char c : text) {
        auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20) {
            json += "\\u00";
            json += HEX[byte >> 4];
            json += HEX[byte & 15];
        } else {
            if (c == '"' || c == '\\') {
                json += '\\';
            }
            json += c;
        }
    }
    return json += '"';
}

// ---- The hooks ----

// Returns the state of this stream, which the first chunk makes.
Lines &lines_of(LlmuxContext context) {
    LlmuxStateObject **slot = context.table->state(context.object);
    if (*slot == nullptr) {
        *slot = reinterpret_cast<LlmuxStateObject *>(new Lines);
    }
    return *reinterpret_cast<Lines *>(*slot);
}

void set_content(LlmuxDocument chunk, std::string_view text) {
    if (chunk.table->set(chunk.object, llmux_str(CONTENT), str(quoted(text))) != LLMUX_DOCUMENT_OK) {
        throw std::runtime_error("the host refuses the text of a chunk");
    }
}

// Returns true if a chunk has a value other than null at this place.
bool has(LlmuxDocument chunk, const char *pointer) {
    LlmuxStrOption json = chunk.table->get(chunk.object, llmux_str(pointer));
    return !json.is_absent && view(json.value) != "null";
}

// Returns a part of a line, with the number in front if the line begins with it.
std::string numbered(const Plugin &plugin, Lines &lines, std::string_view part) {
    std::string text;
    if (!lines.is_inside) {
        if (lines.count == plugin.max_lines) {
            throw std::length_error("the answer has more than " + std::to_string(plugin.max_lines) + " lines");
        }
        text = std::to_string(++lines.count) + ": ";
    }
    lines.is_inside = part.back() != '\n';
    return text.append(part);
}

uint32_t number_lines(const Plugin &plugin, const LlmuxChunkCall &call) {
    LlmuxDocument chunk = call.chunk;
    LlmuxStrOption content = chunk.table->get_str(chunk.object, llmux_str(CONTENT));
    bool is_alone = !has(chunk, "/choices/0/delta/role") && !has(chunk, "/choices/0/finish_reason");
    if (content.is_absent) {
        return LLMUX_HOOK_CONTINUE;
    }
    if (content.value.length == 0) {
        return is_alone ? LLMUX_HOOK_DROP : LLMUX_HOOK_CONTINUE;
    }
    std::vector<std::string> parts;
    for (std::string_view text = view(content.value); !text.empty();) {
        size_t end = std::min(text.find('\n'), text.size() - 1) + 1;
        parts.push_back(numbered(plugin, lines_of(call.context), text.substr(0, end)));
        text.remove_prefix(end);
    }
    if (parts.size() == 1 || !is_alone) {
        set_content(chunk, std::accumulate(parts.begin(), parts.end(), std::string()));
        return LLMUX_HOOK_CONTINUE;
    }
    // Each part is written into the chunk, and the whole chunk is emitted as a new one.
    for (const std::string &part : parts) {
        set_content(chunk, part);
        LlmuxStrOption whole = chunk.table->get(chunk.object, llmux_str(""));
        call.answer.table->emit(call.answer.object, call.event, whole.value);
    }
    return LLMUX_HOOK_REPLACE;
}

const Plugin &plugin_of(const LlmuxInstanceObject *object) {
    return *reinterpret_cast<const Plugin *>(object);
}

LlmuxHookPoll on_stream_chunk(
    const LlmuxInstanceObject *object, const LlmuxChunkCall *call, LlmuxPollContext *) noexcept {
    return hook(call->answer, [&] { return number_lines(plugin_of(object), *call); });
}

LlmuxHookPoll post_stream_hook(
    const LlmuxInstanceObject *object, const LlmuxReportCall *call, LlmuxPollContext *) noexcept {
    return hook(call->answer, [&] {
        const Plugin &plugin = plugin_of(object);
        double count = static_cast<double>(lines_of(call->context).count);
        plugin.host.table->record(plugin.host.object, plugin.metric, llmux_strs(nullptr, 0), count);
        return LLMUX_HOOK_CONTINUE;
    });
}

void drop_state(LlmuxStateObject *state) noexcept {
    delete reinterpret_cast<Lines *>(state);
}

// ---- The life of an instance ----

void drop(LlmuxInstanceObject *object) noexcept {
    delete reinterpret_cast<Plugin *>(object);
}

// C++17 has no names of fields here: the order is that of `LlmuxPluginTable`.
const LlmuxPluginTable HOOKS = {
    LLMUX_TABLE(LLMUX_PLUGIN_TABLE_FIELDS),
    drop_state,
    drop,
    nullptr, // pre_hook
    nullptr, // post_hook
    nullptr, // pre_stream_hook
    on_stream_chunk,
    post_stream_hook,
    nullptr, // on_complete
    nullptr, // cleanup
};

// Returns the only member of the configuration, which the host has checked against the schema. A plugin with a larger
// configuration uses a JSON library.
uint64_t max_lines_of(std::string_view config) {
    size_t colon = config.find(':');
    return colon == std::string_view::npos ? UINT64_MAX : std::stoull(std::string(config.substr(colon + 1)));
}

LlmuxInstance make(const LlmuxCreateCall &call) {
    call.host.table->retain(call.host.object);
    std::unique_ptr<Plugin> plugin(new Plugin{call.host, 0, UINT64_MAX});
    plugin->max_lines = max_lines_of(view(call.config));
    LlmuxMetricCall metric = {
        LLMUX_TABLE(LLMUX_METRIC_CALL_FIELDS),
        LLMUX_METRIC_COUNTER,
        llmux_str("lines_numbered_total"),
        llmux_str("Lines that were numbered"),
        llmux_strs(nullptr, 0),
        llmux_doubles(nullptr, 0),
    };
    plugin->metric = call.host.table->metric(call.host.object, &metric);
    return {reinterpret_cast<LlmuxInstanceObject *>(plugin.release()), &HOOKS};
}

LlmuxInstanceOption create(const LlmuxCreateCall *call) noexcept {
    LlmuxInstanceOption refused = {1, {nullptr, nullptr}};
    return guarded(call->answer, refused, [&] { return LlmuxInstanceOption{0, make(*call)}; });
}

uint32_t config_schema(LlmuxAnswer answer) noexcept {
    answer.table->respond(answer.object, llmux_str(SCHEMA));
    return LLMUX_HOOK_CONTINUE;
}

// The last field, `attach`, is absent.
const LlmuxPluginModule MODULE = {
    LLMUX_TABLE(LLMUX_PLUGIN_MODULE_FIELDS - 1),
    create,
    config_schema,
    nullptr,
};

} // namespace

LLMUX_ENTRY(lines, MODULE);
