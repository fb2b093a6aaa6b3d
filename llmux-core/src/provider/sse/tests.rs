//! The decoder on hostile and broken streams, with bytes in memory and a paused clock.

use futures_util::stream;

use super::*;
use crate::{Endpoint, provider::secret::Secrets};

const IDLE: Duration = Duration::from_secs(300);

fn decode(endpoint: Endpoint, input: impl Stream<Item = Result<Bytes, Error>> + Send + 'static) -> Events {
    events(Box::pin(input), IDLE, EndOfStream::new(endpoint, Arc::new(Secrets::default())))
}

fn bytes(parts: Vec<Vec<u8>>) -> impl Stream<Item = Result<Bytes, Error>> + Send {
    stream::iter(parts.into_iter().map(|part| Ok(part.into())))
}

/// Collects the events as `name|data`, and the error at the end as `!kind: message`.
async fn collect(mut events: Events) -> Vec<String> {
    let mut collected = Vec::new();
    while let Some(item) = events.next().await {
        collected.push(match item {
            Ok(Event { name, data }) => {
                format!("{}|{}", name.as_deref().unwrap_or_default(), std::str::from_utf8(&data).unwrap())
            }
            Err(error) => format!("!{}: {}", error.kind().as_str(), error.message()),
        });
    }
    assert!(events.next().await.is_none(), "a stream that has ended goes on");
    collected
}

async fn check(endpoint: Endpoint, input: &str, expected: &[&str]) {
    let events = decode(endpoint, bytes(vec![input.as_bytes().to_vec()]));
    assert_eq!(collect(events).await, expected, "{input:?}");
}

const BROKE_OFF: &str = "!bad_gateway: the provider's stream broke off";

/// A byte order mark, every line ending, comments, several lines of data, fields of no use, and characters of
/// two to four bytes.
const NASTY: &str = "\u{feff}: hello\n\nevent: é\ndata: {\"a\":\"žluťoučký 🐎\"}\n\n\
    :\r\n\r\nid: 7\r\nretry: 10\r\ndata:{\"b\":\r\ndata:  \"漢字\"}\r\n\r\n\
    : keep\rdata: c\r\rretry: 5\n\ndata\n\nunknown: x\nevent:\ndata: d\r\n\r\
    data:: e\n\n\r\n: bye\ndata: [DONE]\n\nafter the end";

fn nasty() -> Vec<u8> {
    // The byte that is not UTF-8 comes after the end and is ignored.
    let mut nasty = NASTY.as_bytes().to_vec();
    nasty.push(0xff);
    nasty
}

const NASTY_EVENTS: [&str; 5] = ["é|{\"a\":\"žluťoučký 🐎\"}", "|{\"b\":\n \"漢字\"}", "|c", "|d", "|: e"];

#[tokio::test(start_paused = true)]
async fn an_event_split_at_any_byte_is_the_same_event() {
    let nasty = nasty();
    for at in 0..=nasty.len() {
        let (head, tail) = nasty.split_at(at);
        let events = decode(Endpoint::ChatCompletions, bytes(vec![head.to_vec(), tail.to_vec()]));
        assert_eq!(collect(events).await, NASTY_EVENTS, "split at {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn events_in_pieces_of_any_size_are_the_same_events() {
    for size in 1..=nasty().len() {
        let parts = nasty().chunks(size).map(<[u8]>::to_vec).collect();
        assert_eq!(
            collect(decode(Endpoint::ChatCompletions, bytes(parts))).await,
            NASTY_EVENTS,
            "pieces of {size}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_off_anywhere_is_an_error_after_its_whole_events() {
    let whole = "data: {\"a\":1}\n\ndata: {\"b\":2}\r\n\r\n";
    for at in 0..=whole.len() {
        let items =
            collect(decode(Endpoint::ChatCompletions, bytes(vec![whole.as_bytes()[..at].to_vec()]))).await;
        let (last, events) = items.split_last().unwrap();
        assert_eq!(last, BROKE_OFF, "cut at {at}");
        // An event is whole at the blank line's first byte that ends a line.
        let count = usize::from(at >= 15) + usize::from(at >= whole.len() - 1);
        assert_eq!(events, &["|{\"a\":1}", "|{\"b\":2}"][..count], "cut at {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_endpoint_ends_in_its_own_way() {
    use Endpoint::{ChatCompletions, Completions, Responses};
    let stop = "{\"choices\":[{\"finish_reason\":\"stop\"}]}";
    let stop_event = &*format!("|{stop}");
    check(ChatCompletions, "data: [DONE]\n\n", &[]).await;
    check(Completions, "data: x\n\ndata: [DONE]\n\ndata: y\n\n", &["|x"]).await;
    check(ChatCompletions, "data: x\n\ndata: [DONE]\n", &["|x"]).await;
    check(ChatCompletions, "data: x\n\ndata: [DONE]\r", &["|x"]).await;
    check(ChatCompletions, "data: x\n\ndata: [DONE]", &["|x"]).await;
    check(ChatCompletions, "data: x\n\ndata: [DON", &["|x", BROKE_OFF]).await;
    check(ChatCompletions, &format!("data: {stop}\n\n"), &[stop_event]).await;
    check(ChatCompletions, &format!("data: {stop}\n\ndata: usage\n\n"), &[stop_event, "|usage"]).await;
    check(ChatCompletions, &format!("data: {stop}"), &[BROKE_OFF]).await;
    check(ChatCompletions, "", &[BROKE_OFF]).await;
    check(ChatCompletions, "data: {\"finish_reason\":null}\n\n", &["|{\"finish_reason\":null}", BROKE_OFF])
        .await;
    for last in ["response.completed", "response.failed", "response.incomplete", "error"] {
        let input = format!("event: response.created\ndata: {{}}\n\nevent: {last}\ndata: {{}}\n\n");
        let expected = ["response.created|{}", &format!("{last}|{{}}")];
        check(Responses, &input, &expected).await;
        check(Responses, &format!("{input}data: [DONE]\n\ndata: more\n\n"), &expected).await;
    }
    check(Responses, "event: response.created\ndata: {}\n\n", &["response.created|{}", BROKE_OFF]).await;
}

#[tokio::test(start_paused = true)]
async fn an_error_in_the_stream_is_its_last_item() {
    check(
        Endpoint::ChatCompletions,
        "data: x\n\ndata: {\"error\":{\"message\":\"overloaded\",\"code\":503}}\n\ndata: y\n\ndata: [DONE]\n\n",
        &["|x", "!provider_error: overloaded"],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_never_ends_an_event_is_cut_off() {
    let megabyte = Bytes::from(vec![b'x'; 1 << 20]);
    for (what, begin, part) in [
        ("a line", "data: ", megabyte.clone()),
        ("a line of no field", "", megabyte.clone()),
        ("a comment", ":", megabyte.clone()),
        ("an event", "", Bytes::from("data: x\n".repeat(1 << 17))),
        ("comments", "", Bytes::from(": x\n\n".repeat(1 << 18))),
    ] {
        let begin = Bytes::from(begin);
        let input = stream::iter([begin]).chain(stream::repeat(part)).map(Ok);
        assert_eq!(
            collect(decode(Endpoint::ChatCompletions, input)).await,
            ["!bad_gateway: the provider sent more than 16777216 bytes without the end of an event"],
            "{what}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_stream_of_small_events_is_not_cut_off() {
    let part = Bytes::from(format!("data: {}\n\n", "x".repeat(1 << 20)));
    let input = stream::repeat(part).take(40).chain(stream::iter([Bytes::from("data: [DONE]\n\n")])).map(Ok);
    assert_eq!(collect(decode(Endpoint::ChatCompletions, input)).await.len(), 40);
}

#[tokio::test(start_paused = true)]
async fn invalid_utf8_is_an_error() {
    let events = decode(Endpoint::ChatCompletions, bytes(vec![b"data: \xff\n\n".to_vec()]));
    assert_eq!(collect(events).await, ["!bad_gateway: the provider's stream is not valid UTF-8"]);
}

#[tokio::test(start_paused = true)]
async fn silence_is_a_timeout_and_a_comment_breaks_it() {
    let parts = ["data: x\n\n", ": alive\n\n"].map(Bytes::from);
    let slow = stream::iter(parts).then(|part| async {
        tokio::time::sleep(IDLE - Duration::from_secs(1)).await;
        Ok(part)
    });
    let start = Instant::now();
    let items = collect(decode(Endpoint::ChatCompletions, slow.chain(stream::pending()))).await;
    assert_eq!(items, ["|x", "!timeout: the provider sent nothing for 300s"]);
    assert_eq!(start.elapsed(), 3 * IDLE - Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_is_not_held_against_the_provider() {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let input =
        stream::unfold(receiver, |mut receiver| async { Some((Ok(receiver.recv().await?), receiver)) });
    let mut events = decode(Endpoint::ChatCompletions, input);
    sender.send("data: x\n\n".into()).await.unwrap();
    assert!(events.next().await.unwrap().is_ok());
    tokio::time::sleep(2 * IDLE).await;
    // The client asks again, and the provider answers a second later.
    let (next, ()) = tokio::join!(events.next(), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        sender.send("data: y\n\n".into()).await.unwrap();
    });
    assert_eq!(next.unwrap().unwrap().data, "y");
}
