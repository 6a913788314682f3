//! The answer (JSON-RPC response) to one request, changed so that rmcp's types can hold it.
//!
//! rmcp's types are strict: one member of the wrong type makes rmcp drop the whole answer, and rmcp does not match an
//! error with another id to its request. So every message is adapted here first. The body that answers the POST of a
//! request is that request's answer, whatever its id. Members that rmcp does not read are left out, and `null` counts
//! as absent. Of `tools/call`, content that does not fit becomes text ([`super::call_tool_result`]); of `tools/list`, a
//! tool that does not fit is left out with a note ([`super::list_tools_result`]).
//!
//! Changes no member that fits, and uses nothing of HTTP except the status. Called by both transports.

use http::StatusCode;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use serde_json::{Map, Value, json};

use super::{
    call_tool_result,
    fault::{NoAnswer, Remark},
    list_tools_result,
};

/// JSON-RPC's code for an internal error. Used for an error without a code, and for errors that this client makes.
const INTERNAL_ERROR: i32 = -32603;
/// The error codes by which servers of the official SDKs say that they do not know the session.
const SESSION_CODES: [i64; 2] = [-32000, -32001];

/// A request that was sent and has no answer yet.
#[derive(Debug, Clone)]
pub(crate) struct SentRequest {
    id: Value,
    method: String,
}

impl SentRequest {
    /// Returns the id and method of `message`; `None` if `message` is not a request, so that no answer is due.
    pub(crate) fn of(message: &ClientJsonRpcMessage) -> Option<Self> {
        let ClientJsonRpcMessage::Request(_) = message else { return None };
        let message = serde_json::to_value(message).ok()?;
        let method = message["method"].as_str().unwrap_or_default().to_owned();
        Some(Self { id: message["id"].clone(), method })
    }

    /// Returns the request's id as JSON text.
    pub(crate) fn id(&self) -> String {
        self.id.to_string()
    }

    /// Returns true if a response, or one of a batch, has the request's id, as a number or as a string of its digits.
    pub(crate) fn is_named_by(&self, message: &Value) -> bool {
        let text = |id: &Value| id.as_str().map_or_else(|| id.to_string(), str::to_owned);
        match message {
            Value::Array(batch) => batch.iter().any(|message| self.is_named_by(message)),
            message => text(&message["id"]) == text(&self.id),
        }
    }

    /// Returns the answer in `message` in the form that rmcp can parse; `None` if `message` is no answer (but a
    /// notification, or a request of the server). Calls `note` for each tool that is left out of a list.
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
        let adapted = match self.method.as_str() {
            "tools/list" => list_tools_result::adapt(result, note),
            "tools/call" => Ok(call_tool_result::adapt(result)),
            "initialize" => initialize_result(result),
            _ => Ok(without_nulls(result)),
        };
        let adapted = match adapted {
            Ok(result) => result,
            Err(reason) => return Some(self.error_without_answer(NoAnswer::Unusable(reason.to_owned()))),
        };
        let whole = json!({"jsonrpc": "2.0", "id": self.id, "result": adapted});
        Some(serde_json::from_value(whole).unwrap_or_else(|_| {
            let reason = "its result does not have the form that MCP defines".to_owned();
            self.error_without_answer(NoAnswer::Unusable(reason))
        }))
    }

    /// Returns a JSON-RPC error that this client makes because the server's answer is missing or unusable.
    pub(crate) fn error_without_answer(&self, reason: NoAnswer) -> ServerJsonRpcMessage {
        let remark = Remark { status: None, instead: Some(reason) };
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

    /// Returns true if an answer says that the server does not know the session of the request, which means that the
    /// request was not carried out. Servers say so with 404 (as the MCP specification defines), with 400 (the examples
    /// of the official SDKs) or with an error that has another id than the request.
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

/// Returns the response in a message; of a batch (revision 2025-03-26) the first response.
fn response(message: Value) -> Option<Map<String, Value>> {
    match message {
        Value::Array(batch) => batch.into_iter().find_map(response),
        message if !is_response(&message) => None,
        Value::Object(message) => Some(message),
        _ => None,
    }
}

/// Returns true if `message` is a response, or a batch that contains one.
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

/// Returns code, message and data of the value of an `error` member, in whatever form the server has written it.
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

/// Adapts the result of `initialize`. Without that result there is no session, so only the protocol revision is
/// required, and every other member is kept if it fits.
fn initialize_result(result: Value) -> Result<Value, &'static str> {
    let result = without_nulls(result);
    let Some(version) = result["protocolVersion"].as_str() else {
        return Err("its result names no protocolVersion");
    };
    let text = |value: &Value, default: &str| value.as_str().unwrap_or(default).to_owned();
    let server = &result["serverInfo"];
    let mut adapted = json!({
        "protocolVersion": version,
        "capabilities": {"tools": {}},
        "serverInfo": {"name": text(&server["name"], "unnamed"), "version": text(&server["version"], "unknown")},
    });
    // Kept as a whole or not at all: this client uses no capability except tools.
    if serde_json::from_value::<rmcp::model::ServerCapabilities>(result["capabilities"].clone()).is_ok() {
        adapted["capabilities"] = result["capabilities"].clone();
    }
    if result["instructions"].is_string() {
        adapted["instructions"] = result["instructions"].clone();
    }
    Ok(adapted)
}

/// Removes `null` members from the value and from the two levels of objects below it, where optional members are.
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

    fn sent(method: &str) -> SentRequest {
        SentRequest { id: json!(7), method: method.to_owned() }
    }

    fn answered(method: &str, message: Value) -> Option<Value> {
        let answer = sent(method).answer(message, StatusCode::OK, |_| {});
        answer.map(|answer| serde_json::to_value(answer).unwrap())
    }

    fn check_error(error: Value, code: i32, message: &str) {
        for id in [json!(null), json!("server-error"), json!(7), json!(8)] {
            let answer = answered("ping", json!({"jsonrpc": "2.0", "id": id, "error": error})).unwrap();
            assert_eq!(answer["id"], json!(7), "{error}");
            assert_eq!(
                (&answer["error"]["code"], &answer["error"]["message"]),
                (&json!(code), &json!(message))
            );
        }
    }

    #[test]
    fn an_error_belongs_to_the_request_whatever_its_id_and_form() {
        check_error(json!({"code": -32000, "message": "m"}), -32000, "m");
        check_error(json!({"code": "-32001", "message": null}), -32001, "");
        check_error(json!({"code": 4.0, "message": {"detail": 1}}), 4, "{\"detail\":1}");
        check_error(json!("no such session"), INTERNAL_ERROR, "no such session");
        let without_id = answered("ping", json!({"error": {"code": 1, "message": "m"}, "result": null}));
        assert_eq!(without_id.unwrap()["id"], json!(7));
    }

    #[test]
    fn a_null_error_is_no_error_and_an_answer_is_found_in_a_batch() {
        let answer = answered("ping", json!({"id": 7, "error": null, "result": {}})).unwrap();
        assert!(answer.get("error").is_none(), "{answer}");
        let batch = json!([{"method": "notifications/x", "params": 5}, {"id": "7", "result": {}}]);
        assert_eq!(answered("ping", batch).unwrap()["id"], json!(7));
        assert_eq!(answered("ping", json!({"method": "ping", "id": 1, "result": null})), None);
        assert_eq!(answered("ping", json!({"hello": "world"})), None);
        assert_eq!(answered("ping", json!("x")), None);
    }

    #[test]
    fn members_of_an_initialize_result_are_kept_if_they_fit() {
        let adapted = |result| answered("initialize", json!({"id": 7, "result": result})).unwrap();
        let odd = adapted(
            json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": 7}, "instructions": null,
            "serverInfo": null, "extra": [1]}),
        );
        assert_eq!(odd["result"]["protocolVersion"], "2025-06-18");
        assert_eq!(odd["result"]["serverInfo"]["name"], "unnamed");
        let null =
            adapted(json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": null, "logging": {}},
            "serverInfo": {"name": "s", "version": null}}));
        assert_eq!(null["result"]["serverInfo"]["name"], "s");
        assert!(adapted(json!({"capabilities": {}})).get("error").is_some());
    }

    #[test]
    fn a_lost_session_is_distinguished_from_other_refusals() {
        let check = |status: u16, message: Option<Value>, lost: bool| {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(
                sent("tools/call").says_session_is_lost(status, message.as_ref()),
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
