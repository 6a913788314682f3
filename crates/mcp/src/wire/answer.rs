//! The answer to one request, made to fit rmcp's types.
//!
//! rmcp's types are closed: one member that they do not know costs the whole answer, and an error whose id is
//! not the request's is not taken for its answer at all. So a message is looked at here first. What answers
//! the POST of one request belongs to that request, whatever its id. Members that rmcp does not read are left
//! out, `null` counts as not given, and what cannot be kept as it is becomes text ([`super::tool_result`]) or is noted
//! ([`super::tool_list`]). Changes no member that fits; knows nothing of HTTP beyond the status.

use http::StatusCode;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use serde_json::{Map, Value, json};

use super::{
    fault::{Instead, Remark},
    tool_list, tool_result,
};

/// JSON-RPC's code for a fault inside the server: stands where an error has none, or this client made it.
const INTERNAL_ERROR: i32 = -32603;
/// The codes that servers of the official SDKs give for a session that they do not know.
const SESSION_CODES: [i64; 2] = [-32000, -32001];

/// One request that was sent.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    id: Value,
    method: String,
}

impl Asked {
    /// The request that `message` is; `None` if it is none and wants no answer.
    pub(crate) fn of(message: &ClientJsonRpcMessage) -> Option<Self> {
        let ClientJsonRpcMessage::Request(_) = message else { return None };
        let message = serde_json::to_value(message).ok()?;
        let method = message["method"].as_str().unwrap_or_default().to_owned();
        Some(Self { id: message["id"].clone(), method })
    }

    /// The request's id, as text.
    pub(crate) fn id(&self) -> String {
        self.id.to_string()
    }

    /// Returns true if a response, or one in a batch, bears the request's id, as a number or as its digits.
    pub(crate) fn is_named_by(&self, message: &Value) -> bool {
        let text = |id: &Value| id.as_str().map_or_else(|| id.to_string(), str::to_owned);
        match message {
            Value::Array(batch) => batch.iter().any(|message| self.is_named_by(message)),
            message => text(&message["id"]) == text(&self.id),
        }
    }

    /// The answer in `message`, as rmcp takes it; `None` if `message` is another one (a notification, a
    /// request of the server). `note` is told what is left out of a list.
    pub(crate) fn answer(
        &self,
        message: Value,
        status: StatusCode,
        note: impl FnMut(String),
    ) -> Option<ServerJsonRpcMessage> {
        let mut answer = response(message)?;
        let remark = Remark { status: (!status.is_success()).then_some(status.as_u16()), instead: None };
        if let Some(error) = answer.remove("error").filter(|error| !error.is_null()) {
            return Some(self.error(error, &remark));
        }
        let result = answer.remove("result").unwrap_or_default();
        let mended = match self.method.as_str() {
            "tools/list" => tool_list::mend(result, note),
            "tools/call" => Ok(tool_result::mend(result)),
            "initialize" => initialize_result(result),
            _ => Ok(without_nulls(result)),
        };
        let mended = match mended {
            Ok(result) => result,
            Err(reason) => return Some(self.instead(Instead::Unusable(reason.to_owned()))),
        };
        let whole = json!({"jsonrpc": "2.0", "id": self.id, "result": mended});
        Some(serde_json::from_value(whole).unwrap_or_else(|_| {
            self.instead(Instead::Unusable("its result has not the form that MCP gives it".to_owned()))
        }))
    }

    /// An error in the place of an answer, made by this client.
    pub(crate) fn instead(&self, instead: Instead) -> ServerJsonRpcMessage {
        let remark = Remark { status: None, instead: Some(instead) };
        self.error(json!({"code": INTERNAL_ERROR, "message": "no usable answer"}), &remark)
    }

    fn error(&self, error: Value, remark: &Remark) -> ServerJsonRpcMessage {
        let (code, message, data) = error_parts(error);
        let data = remark.attach(data);
        let error = json!({"code": code, "message": message, "data": data});
        let id = serde_json::from_value(self.id.clone()).ok();
        let error = serde_json::from_value(error).unwrap_or_default();
        ServerJsonRpcMessage::error(error, id)
    }

    /// Returns true if an answer says that the server does not know the session that the request named, so
    /// that the request was not carried out. Servers say so with 404, which is the specification's, with 400
    /// (the official SDKs' examples) or with an error under another id than the request's.
    pub(crate) fn says_session_is_lost(&self, status: StatusCode, message: Option<&Value>) -> bool {
        let error = message.map(|message| &message["error"]);
        let code = error.and_then(|error| error["code"].as_i64());
        let names_session = error.is_some_and(|error| {
            error["message"].as_str().is_some_and(|text| text.to_ascii_lowercase().contains("session"))
        });
        let is_own = message.is_some_and(|message| self.is_named_by(message));
        match status {
            StatusCode::NOT_FOUND | StatusCode::GONE => true,
            StatusCode::BAD_REQUEST => {
                !is_own || names_session || code.is_some_and(|code| SESSION_CODES.contains(&code))
            }
            status => status.is_success() && !is_own && names_session,
        }
    }
}

/// The response in a message; of a batch (2025-03-26) the first.
fn response(message: Value) -> Option<Map<String, Value>> {
    match message {
        Value::Array(batch) => batch.into_iter().find_map(response),
        message if !is_response(&message) => None,
        Value::Object(message) => Some(message),
        _ => None,
    }
}

/// Returns true if `message` is a response, or a batch that holds one.
pub(crate) fn is_response(message: &Value) -> bool {
    if let Value::Array(batch) = message {
        return batch.iter().any(is_response);
    }
    let says = |member: &str| message.get(member).is_some_and(|value| !value.is_null());
    !says("method") && (says("error") || message.get("result").is_some())
}

/// Returns true if `message` is an error response.
pub(crate) fn is_error(message: &Value) -> bool {
    message.get("error").is_some_and(|error| !error.is_null()) && message.get("method").is_none()
}

/// Code, message and data of whatever stands where an error belongs.
pub(super) fn error_parts(error: Value) -> (i32, String, Option<Value>) {
    let Value::Object(mut fields) = error else {
        let message = error.as_str().map_or_else(|| error.to_string(), str::to_owned);
        return (INTERNAL_ERROR, message, None);
    };
    let code = fields.get("code").and_then(|code| {
        code.as_i64().or_else(|| Some(code.as_f64()? as i64)).or_else(|| code.as_str()?.parse().ok())
    });
    let code = code.and_then(|code| i32::try_from(code).ok()).unwrap_or(INTERNAL_ERROR);
    let message = match fields.remove("message") {
        Some(Value::String(message)) => message,
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    };
    (code, message, fields.remove("data").filter(|data| !data.is_null()))
}

/// What `initialize` gave: without it nothing goes, so every member that fits is kept, and only the revision
/// must be there.
fn initialize_result(result: Value) -> Result<Value, &'static str> {
    let result = without_nulls(result);
    let Some(version) = result["protocolVersion"].as_str() else {
        return Err("its result names no protocolVersion");
    };
    let text = |value: &Value, default: &str| value.as_str().unwrap_or(default).to_owned();
    let server = &result["serverInfo"];
    let mut mended = json!({
        "protocolVersion": version,
        "capabilities": {"tools": {}},
        "serverInfo": {"name": text(&server["name"], "unnamed"), "version": text(&server["version"], "unknown")},
    });
    // Taken as a whole or not at all: of the capabilities this client needs none but tools.
    if serde_json::from_value::<rmcp::model::ServerCapabilities>(result["capabilities"].clone()).is_ok() {
        mended["capabilities"] = result["capabilities"].clone();
    }
    if result["instructions"].is_string() {
        mended["instructions"] = result["instructions"].clone();
    }
    Ok(mended)
}

/// A value whose objects have no `null` members, the outermost two levels deep: optional members stand there.
pub(super) fn without_nulls(mut value: Value) -> Value {
    fn go(value: &mut Value, depth: usize) {
        if let Value::Object(fields) = value {
            fields.retain(|_, value| !value.is_null());
            if depth > 0 {
                fields.values_mut().for_each(|value| go(value, depth - 1));
            }
        }
    }
    go(&mut value, 2);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str) -> Asked {
        Asked { id: json!(7), method: method.to_owned() }
    }

    fn taken(method: &str, message: Value) -> Option<Value> {
        let answer = asked(method).answer(message, StatusCode::OK, |_| {});
        answer.map(|answer| serde_json::to_value(answer).unwrap())
    }

    fn check_error(error: Value, code: i32, message: &str) {
        for id in [json!(null), json!("server-error"), json!(7), json!(8)] {
            let answer = taken("ping", json!({"jsonrpc": "2.0", "id": id, "error": error})).unwrap();
            assert_eq!(answer["id"], json!(7), "{error}");
            assert_eq!(
                (&answer["error"]["code"], &answer["error"]["message"]),
                (&json!(code), &json!(message))
            );
        }
    }

    #[test]
    fn an_error_is_the_requests_whatever_its_id_and_form() {
        check_error(json!({"code": -32000, "message": "m"}), -32000, "m");
        check_error(json!({"code": "-32001", "message": null}), -32001, "");
        check_error(json!({"code": 4.0, "message": {"detail": 1}}), 4, "{\"detail\":1}");
        check_error(json!("no such session"), INTERNAL_ERROR, "no such session");
        let without_id = taken("ping", json!({"error": {"code": 1, "message": "m"}, "result": null}));
        assert_eq!(without_id.unwrap()["id"], json!(7));
    }

    #[test]
    fn a_null_error_is_none_and_a_batch_holds_the_answer() {
        let answer = taken("ping", json!({"id": 7, "error": null, "result": {}})).unwrap();
        assert!(answer.get("error").is_none(), "{answer}");
        let batch = json!([{"method": "notifications/x", "params": 5}, {"id": "7", "result": {}}]);
        assert_eq!(taken("ping", batch).unwrap()["id"], json!(7));
        assert_eq!(taken("ping", json!({"method": "ping", "id": 1, "result": null})), None);
        assert_eq!(taken("ping", json!({"hello": "world"})), None);
        assert_eq!(taken("ping", json!("x")), None);
    }

    #[test]
    fn what_initialize_gives_is_kept_as_far_as_it_fits() {
        let given = |result| taken("initialize", json!({"id": 7, "result": result})).unwrap();
        let odd = given(
            json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": 7}, "instructions": null,
            "serverInfo": null, "extra": [1]}),
        );
        assert_eq!(odd["result"]["protocolVersion"], "2025-06-18");
        assert_eq!(odd["result"]["serverInfo"]["name"], "unnamed");
        let null =
            given(json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": null, "logging": {}},
            "serverInfo": {"name": "s", "version": null}}));
        assert_eq!(null["result"]["serverInfo"]["name"], "s");
        assert!(given(json!({"capabilities": {}})).get("error").is_some());
    }

    #[test]
    fn a_lost_session_is_told_from_another_refusal() {
        let check = |status: u16, message: Option<Value>, lost: bool| {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(
                asked("tools/call").says_session_is_lost(status, message.as_ref()),
                lost,
                "{status} {message:?}"
            );
        };
        let error = |id: Value, code: i64, text: &str| {
            Some(json!({"id": id, "error": {"code": code, "message": text}}))
        };
        check(404, None, true);
        check(410, None, true);
        check(400, None, true);
        check(400, error(json!(null), -32000, "Bad Request: No valid session ID provided"), true);
        check(400, error(json!("server-error"), -32600, "Bad Request"), true);
        check(400, error(json!(7), -32600, "unknown session"), true);
        check(400, error(json!(7), -32602, "b must be above 0"), false);
        check(200, error(json!(null), -32001, "Session not found"), true);
        check(200, error(json!(7), -32001, "Session not found"), false);
        check(500, error(json!(null), -32001, "Session not found"), false);
    }
}
