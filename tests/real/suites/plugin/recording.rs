//! The recording in the README: `create` up to its end, in a real terminal of 112 by 34, on a real API server and a real broker.
//! `make recording` keeps it; otherwise this is a test of the terminal like others.

use std::time::Duration;

use real_tests::{brokers, consumers::Kind, plugin::Plugin, shop::in_a_shop};
use serde_json::{Value, json};

/// The terminal.
const SIZE: (u16, u16) = (112, 34);

/// How fast the command is typed.
const KEY: Duration = Duration::from_millis(25);

/// How long the plan stands before it is answered, and each state of the live screen, at least.
const READ: Duration = Duration::from_secs(4);
const FRAME: Duration = Duration::from_millis(900);

/// What asks for the answer.
const QUESTION: &str = "Group: ";

/// Takes the alternate screen, and leaves it.
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_is_recorded_up_to_its_end() {
    in_a_shop(Kind::default(), async |shop| {
        let brokers = brokers();
        let words = [
            "create",
            "--group",
            &shop.group,
            "--topic",
            &shop.topic,
            "--to-datetime",
            "2019-10-23T06:29:29Z",
            "--target",
            "consumer",
            "--bootstrap-server",
            &brokers,
            "--name",
            "replay",
        ];
        let plugin = Plugin::new(&shop.namespace);
        let (code, shown) = plugin.recorded(SIZE, &words, QUESTION, &shop.group).await;
        let text: String = shown.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(code, Some(0), "{text}");
        for words in ["WOULD STOP", "Deployment/consumer", "Type the name of the group", "✔ Succeeded", "undo replay"] {
            assert!(text.contains(words), "{words}: {text}");
        }
        if let Ok(path) = std::env::var("RECORDING") {
            std::fs::write(path, cast(&words, &shown)).unwrap();
        }
    })
    .await;
}

/// As asciinema has it, version 2: the command as it is typed, and what the terminal showed, each with its time. Where that was too fast
/// to be read, it is slowed down. What makes a picture of it knows no alternate screen: when the live screen is left, what stood there
/// before is shown again, as a terminal does itself.
fn cast(words: &[&str], shown: &[(Duration, String)]) -> String {
    let mut lines = vec![json!({"version": 2, "width": SIZE.0, "height": SIZE.1}).to_string()];
    let mut event = |at: Duration, text: &str| lines.push(json!([at.as_secs_f64(), "o", text]).to_string());
    let typed = format!("kubectl offset-reset {}", words.join(" ").replace(" --", " \\\r\n    --"));
    let mut at = Duration::from_millis(500);
    event(at, "$ ");
    for letter in typed.chars() {
        at += KEY;
        event(at, &letter.to_string());
    }
    at += Duration::from_millis(500);
    event(at, "\r\n");
    let (mut before, mut is_live, mut last) = (format!("$ {typed}\r\n"), false, Duration::ZERO);
    for (after, text) in shown {
        let is_asked = before.ends_with(QUESTION);
        let at_least = if is_asked {
            READ
        } else if is_live {
            FRAME
        } else {
            Duration::ZERO
        };
        at += after.saturating_sub(last).max(at_least);
        last = *after;
        let (mut rest, mut frame) = (text.as_str(), String::new());
        while let Some((mark, begin)) =
            [ENTER, LEAVE].iter().filter_map(|mark| Some((*mark, rest.find(mark)?))).min_by_key(|found| found.1)
        {
            if !is_live {
                before += &rest[..begin];
            }
            frame += &rest[..begin];
            is_live = mark == ENTER;
            if !is_live {
                frame += "\x1b[2J\x1b[H";
                frame += &before;
            }
            rest = &rest[begin + mark.len()..];
        }
        if !is_live {
            before += rest;
        }
        event(at, &(frame + rest));
    }
    event(at + Duration::from_millis(300), "$ ");
    lines.join("\n") + "\n"
}

#[test]
fn a_recording_has_a_header_and_events_in_order() {
    let text = cast(&["list"], &[(Duration::from_secs(1), "one\r\n".into()), (Duration::from_secs(2), "two".into())]);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["version"], &lines[0]["width"]), (&json!(2), &json!(SIZE.0)));
    let times: Vec<f64> = lines[1..].iter().map(|event| event[0].as_f64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let shown: String = lines[1..].iter().map(|event| event[2].as_str().unwrap()).collect();
    assert_eq!(shown, "$ kubectl offset-reset list\r\none\r\ntwo$ ");
}

#[test]
fn what_stood_before_the_live_screen_is_there_again_after_it() {
    let second = Duration::from_secs;
    let shown = [
        (second(1), "plan\r\nGroup: "),
        (second(1), "g\r\n\x1b[?1049hlive"),
        (second(1), "more"),
        (second(1), "\x1b[?1049ldone"),
    ];
    let text = cast(&["run"], &shown.map(|(at, text)| (at, text.to_owned())));
    let events: Vec<Value> = text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
    let last: Vec<&Value> = events.iter().rev().take(5).collect();
    assert_eq!(last[1][2], "\u{1b}[2J\u{1b}[H$ kubectl offset-reset run\r\nplan\r\nGroup: g\r\ndone");
    let gap = |later: &Value, earlier: &Value| later[0].as_f64().unwrap() - earlier[0].as_f64().unwrap();
    assert!((gap(last[3], last[4]) - 4.0).abs() < 0.01 && (gap(last[2], last[3]) - 0.9).abs() < 0.01, "{last:?}");
}
