//! A session with a server that has faults: its tool lists, lost sessions, and the results of calls.

mod support;

use std::{collections::HashMap, time::Duration};

use mcp::{McpError, Session, ToolList};
use serde_json::{Value, json};
use support::{at, connector, entry, pages, server, session, tool};
use test_support::faulty::{Behaviour, Body};
use tokio::time::timeout;

fn names(list: &ToolList) -> Vec<&str> {
    list.tools.iter().map(|tool| tool.name.as_ref()).collect()
}

async fn list(behaviour: Behaviour) -> Result<ToolList, McpError> {
    let server = server(behaviour).await;
    let session = Session::connect(connector(), entry(&server), at(0)).await?;
    session.list_tools(at(0)).await
}

/// Calls `tool` on a server whose response is `answer`, and returns the content of the result.
async fn call(answer: Value) -> Result<Value, McpError> {
    let calls = HashMap::from([("tool".to_owned(), answer)]);
    let server = server(Behaviour { calls, ..Behaviour::default() }).await;
    let session = session(&server).await;
    let called = session.call_tool("tool", serde_json::Map::new(), at(0)).await;
    assert_eq!(server.count("tools/call"), 1, "a call is sent once, even if it fails");
    called.map(|result| serde_json::to_value(result.content).unwrap())
}

#[tokio::test]
async fn all_pages_of_a_list_are_read_from_json_and_from_event_streams() {
    for event_stream in [false, true] {
        let pages = pages(&[&["a", "b"], &["c"], &["d"]]);
        let list = list(Behaviour { pages, event_stream, ..Behaviour::default() }).await.unwrap();
        assert_eq!(names(&list), ["a", "b", "c", "d"]);
        assert_eq!(list.left_out, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_malformed_tool_is_left_out_and_the_others_stay() {
    let odd = [json!(null), json!("text"), json!({"description": "nameless"}), json!({"name": "no-schema"})];
    let page = odd.into_iter().chain([tool("good")]).collect();
    let list =
        list(Behaviour { pages: vec![page, vec![tool("next")]], ..Behaviour::default() }).await.unwrap();
    assert!(names(&list).contains(&"good") && names(&list).contains(&"next"), "{list:?}");
    assert!(list.left_out.len() >= 3, "the left-out tools are noted: {:?}", list.left_out);
}

#[tokio::test]
async fn a_repeated_cursor_ends_the_list_and_an_endless_list_is_refused() {
    let repeats = Behaviour { repeat_cursor: Some("0".to_owned()), ..Behaviour::default() };
    let list_of_repeats = list(repeats).await.unwrap();
    assert_eq!(names(&list_of_repeats), ["echo"]);
    assert!(list_of_repeats.left_out[0].contains("further pages"), "{:?}", list_of_repeats.left_out);

    // Every page has a new tool, so only the limit on pages ends the list.
    let many = (0..150).map(|n| vec![tool(&format!("tool-{n}"))]).collect();
    let error = list(Behaviour { pages: many, ..Behaviour::default() }).await.unwrap_err();
    assert!(matches!(error, McpError::TooMany { limit: 100, .. }), "{error:?}");
}

#[tokio::test]
async fn a_lost_session_is_replaced_and_the_request_is_answered() {
    for method in ["tools/list", "tools/call"] {
        let forgetful = Behaviour { sessions: true, ..Behaviour::default() };
        let server = server(Behaviour { forget_session_at: Some(method.to_owned()), ..forgetful }).await;
        let session = session(&server).await;
        let list = session.list_tools(at(0)).await.unwrap();
        assert_eq!(names(&list), ["echo"], "{method}");
        let arguments = json!({"text": "hello"}).as_object().cloned().unwrap();
        let called = session.call_tool("echo", arguments.clone(), at(0)).await.unwrap();
        assert!(serde_json::to_string(&called).unwrap().contains("hello"), "{called:?}");
        // A 404 says that the call was not carried out: it was received twice and answered once.
        assert_eq!(server.count("initialize"), 2, "{method}");
        assert_eq!(server.count("tools/call"), if method == "tools/call" { 2 } else { 1 });
        session.close().await;
        assert_eq!(server.count("DELETE"), 1, "the session is ended");
    }
}

#[tokio::test]
async fn a_malformed_result_of_a_call_is_returned() {
    let text = |text: &str| json!([{"type": "text", "text": text}]);
    let check = async |result: Value, expected: Value| {
        assert_eq!(call(json!({"result": result})).await.unwrap(), expected, "{result}");
    };
    check(json!({"content": [{"type": "text", "text": "fine"}]}), text("fine")).await;
    check(json!({"content": {"type": "text", "text": "no list"}}), text("no list")).await;
    check(json!({"answer": 42}), text(r#"{"answer":42}"#)).await;
    check(json!(null), json!([])).await;
    let unknown = json!({"type": "hologram", "data": "x"});
    check(json!({"content": [unknown.clone()]}), text(&unknown.to_string())).await;
}

#[tokio::test]
async fn a_result_with_is_error_is_a_result_and_a_json_rpc_error_is_an_error() {
    let failed = json!({"result": {"content": [{"type": "text", "text": "no such note"}], "isError": true}});
    assert!(call(failed).await.is_ok());
    let refused = call(json!({"error": {"code": -32602, "message": "n is missing"}})).await.unwrap_err();
    assert!(matches!(refused, McpError::Rejected { code: -32602, .. }), "{refused:?}");
}

#[tokio::test]
async fn a_call_without_an_answer_ends_at_the_callers_deadline_and_the_session_stays_usable() {
    const DEADLINE: Duration = Duration::from_millis(300);
    let server = server(Behaviour { hang_on: Some("tools/call".to_owned()), ..Behaviour::default() }).await;
    let session = session(&server).await;
    let hung = timeout(DEADLINE, session.call_tool("echo", serde_json::Map::new(), at(0))).await;
    assert!(hung.is_err(), "{hung:?}");
    assert_eq!(names(&session.list_tools(at(0)).await.unwrap()), ["echo"]);
    assert_eq!(server.count("tools/call"), 1);
}

#[tokio::test]
async fn an_answer_that_is_not_mcp_is_an_error_at_once() {
    for body in [Body::Html, Body::Garbled, Body::OtherJson, Body::Empty, Body::Huge] {
        let error = list(Behaviour { body: Some(body), ..Behaviour::default() }).await.unwrap_err();
        assert!(matches!(error.kind(), "not_mcp" | "unreachable" | "bad_answer"), "{body:?}: {error:?}");
    }
}
