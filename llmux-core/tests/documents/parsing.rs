//! Parsing agrees with `serde_json`: on a table of difficult texts here, on random ones in `properties`.

use llmux_core::document::Document;
use proptest::{prop_assert, prop_assert_eq, test_runner::TestCaseError};
use serde_json::Value;

use super::LONG;

/// Checks that a document and `serde_json::Value` agree on a text, and on the same text in a long body, which is opened
/// further.
pub(crate) fn agree(text: &[u8]) -> Result<(), TestCaseError> {
    agree_as_it_is(text)?;
    agree_as_it_is(&[LONG.as_bytes(), text].concat())
}

fn agree_as_it_is(text: &[u8]) -> Result<(), TestCaseError> {
    let ours = Document::parse(text.to_vec());
    let theirs = serde_json::from_slice::<Value>(text);
    let shown = String::from_utf8_lossy(text);
    match (ours, theirs) {
        (Ok(document), Ok(value)) => {
            let read = document.get("").expect("the whole is there");
            prop_assert_eq!(
                serde_json::from_str::<Value>(read).expect("read text is JSON"),
                value,
                "{}",
                shown
            );
        }
        (Err(_), Err(_)) => {}
        (ours, theirs) => prop_assert!(false, "{}: ours {:?}, theirs {:?}", shown, ours, theirs),
    }
    Ok(())
}

#[test]
fn parsing_agrees_with_serde_json_on_difficult_texts() {
    let nested = |open: &str, close: &str, depth| open.repeat(depth) + "1" + &close.repeat(depth);
    let mut texts: Vec<Vec<u8>> = [126, 127, 128, 129]
        .into_iter()
        .flat_map(|depth| {
            [
                nested("[", "]", depth),
                nested("{\"a\":", "}", depth),
                "[".repeat(depth),
                format!("{{\"a\":{}}}", nested("[", "]", depth - 1)),
            ]
        })
        .chain((250..330).flat_map(|digits| {
            let nines = "9".repeat(digits);
            [format!("[{nines}]"), format!("-{nines}.5"), format!("{nines}e10"), format!("0.{nines}e309")]
        }))
        .map(String::into_bytes)
        .collect();
    let texts_as_written: &[&[u8]] = &[
        b"",
        b" ",
        b"\xEF\xBB\xBF{}",
        b"1e999",
        b"-1e999",
        b"1e308",
        b"1.8e308",
        b"1e-999",
        b"0e999",
        b"0e99999999999999999999",
        b"1e99999999999999999999",
        b"1e-99999999999999999999",
        b"-",
        b"-0",
        b"-0.0",
        b"01",
        b"-01",
        b"1.",
        b".1",
        b"1.e1",
        b"1e",
        b"1e+",
        b"+1",
        b"0x1",
        b"1_0",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"1 ",
        b"1 1",
        b"[1,]",
        b"[,1]",
        b"[1 2]",
        b"[1",
        b"]",
        b"[}",
        b"{]",
        b"{\"a\":1,}",
        b"{,}",
        b"{\"a\"}",
        b"{\"a\":}",
        b"{\"a\" 1}",
        b"{a:1}",
        b"{1:1}",
        b"{null:1}",
        b"{\"a\":1 \"b\":2}",
        b"{\"a\":1",
        b"{\"a\":1}}",
        b"{\"\":{}}",
        b"{ }",
        b"[ ]",
        b"[\x0b]",
        b"[\x0c1]",
        b"\xC2\xA01",
        b"tru",
        b"true",
        b"truee",
        b"nullx",
        b"falsE",
        b"\"",
        b"\"\\",
        b"\"\\\"",
        b"\"a\nb\"",
        b"\"\x00\"",
        b"\"\x1f\"",
        b"\"\x7f\"",
        b"\"\\x\"",
        b"\"\\u12\"",
        b"\"\\u12g4\"",
        b"\"\\u+123\"",
        b"\"\\ud800\"",
        b"\"\\udc00\"",
        b"\"\\ud800\\ud800\"",
        b"\"\\ud800\\u0041\"",
        b"\"\\ud83d\\ude00\"",
        b"\"\\uD83D\\uDE00\"",
        b"\"\\ud800x\"",
        b"\"\\ud800\\n\"",
        b"\"\\ud800\\u\"",
        b"\"\\ud800\\udc0\"",
        b"\"\\u0000\"",
        b"\"\\uDBFF\\uDFFF\"",
        b"{\"\\ud800\":1}",
        b"\"\xff\"",
        b"\"\xc3\"",
        b"\"\xc0\xaf\"",
        b"\"\xed\xa0\x80\"",
        b"\"\xf4\x90\x80\x80\"",
        b"\"\xe2\x82\xac\"",
        b"[\xff]",
        b"\"a\xff",
        b"/**/1",
        b"1//",
        b"'a'",
        b"{\"$serde_json::private::Number\":\"1\"}",
        b"{\"$serde_json::private::RawValue\":\"1\"}",
        b"{\"a\":1,\"a\":2}",
        b"{\"a\":{\"b\":1,\"b\":2},\"a\":{\"b\":3,\"b\":4}}",
        b"\t\r\n [ 1 , 2 ] \t\r\n",
    ];
    texts.extend(texts_as_written.iter().map(|text| text.to_vec()));
    for text in texts {
        agree(&text).unwrap();
    }
}
