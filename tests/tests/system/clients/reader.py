"""Reads masked answers and tool calls with the official client for Python, and prints what it has read as JSON."""

import json
import sys

from openai import APIError, OpenAI

client = OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0)
said = sys.argv[2]


def chat(model):
    calls, text, reason = {}, "", None
    stream = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": said}], stream=True
    )
    try:
        for chunk in stream:
            for choice in chunk.choices:
                text += choice.delta.content or ""
                reason = choice.finish_reason or reason
                for call in choice.delta.tool_calls or []:
                    name, arguments = calls.get(call.index, ("", ""))
                    calls[call.index] = (
                        name + (call.function.name or ""),
                        arguments + (call.function.arguments or ""),
                    )
    except APIError as error:
        return {"text": text, "error": error.message}
    return {"text": text, "calls": [list(call) for call in calls.values()], "reason": reason}


def response():
    deltas, done, completed = "", None, None
    for event in client.responses.create(model="echo", input=said, stream=True):
        if event.type == "response.output_text.delta":
            deltas += event.delta
        elif event.type == "response.output_text.done":
            done = event.text
        elif event.type == "response.completed":
            completed = event.response.output_text
    return [deltas, done, completed]


print(json.dumps({"masked": [chat("echo")["text"], *response()], "calls": [chat("api") for _ in range(3)]}))
