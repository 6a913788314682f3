//! The plain pages that a browser is shown when it comes back.
//!
//! Everything in them that somebody else chose is escaped. A page loads nothing, sends no referrer, and
//! takes the code out of the address bar. The one script hands the state to the pages of this origin alone, over the
//! channel `mcp-agents.oauth`, and completes the sign-in itself where this origin keeps the user's token
//! (`mcp-agents.token` in local storage): whoever completes must be who started. No page that opened this one, or that
//! this one was opened from, has a hold on it (Cross-Origin-Opener-Policy).

use auth::Arrived;
use serde_json::{Value, json};

const SCRIPT: &str = r#"
history.replaceState(null, "", location.pathname);
const {state, complete} = document.body.dataset;
new BroadcastChannel("mcp-agents.oauth").postMessage({type: "mcp-agents.oauth", state});
const token = localStorage.getItem("mcp-agents.token");
const said = document.getElementById("next");
if (token && complete) fetch(complete, {
  method: "POST",
  headers: {authorization: "Bearer " + token, "content-type": "application/json"},
  body: JSON.stringify({state}),
}).then(answer => answer.json().then(body => {
  said.textContent = answer.ok ? "You are signed in. You may close this window." : body.message;
})).catch(() => {});
"#;

/// The one script that the policy lets run; a test holds it to [`SCRIPT`].
const SCRIPT_HASH: &str = "sha256-yvsGLZqTJGbII7+mFGTsKLhUMR5XhjZcEKU6M+TDrIk=";

/// A sign-in came back and waits for the user who started it.
pub(crate) fn arrived(arrived: &Arrived, state: &str, complete: Option<&str>) -> Value {
    let text = format!(
        "<h1>Almost there</h1>\
         <p>The sign-in to the agent <b>{}</b>, started by <b>{}</b>, has come back.</p>\
         <p id=\"next\">Go back to where you started it: it is completed there.</p>\
         <p><b>If you are not {}</b>, somebody has sent you here to use your account: take the access back at the \
         server that you have just agreed at, and tell your administrator.</p>",
        escaped(&arrived.agent_id),
        escaped(&arrived.starter),
        escaped(&arrived.starter),
    );
    page(200, &text, Some((state, complete.unwrap_or_default())))
}

/// A sign-in is refused.
pub(crate) fn refused(status: u16, message: &str, remedy: &str) -> Value {
    let (message, remedy) = (escaped(message), escaped(remedy));
    let text = format!("<h1>This did not work</h1><p>{message}.</p><p>What to do: {remedy}.</p>");
    page(status, &text, None)
}

fn page(status: u16, text: &str, script_with: Option<(&str, &str)>) -> Value {
    let (data, script) = match script_with {
        Some((state, complete)) => (
            format!(" data-state=\"{}\" data-complete=\"{}\"", escaped(state), escaped(complete)),
            format!("<script>{SCRIPT}</script>"),
        ),
        None => Default::default(),
    };
    let body = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>mcp-agents</title></head>\
         <body{data}>{text}{script}</body></html>"
    );
    let policy = format!(
        "default-src 'none'; script-src '{SCRIPT_HASH}'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    json!({
        "statusCode": status,
        "headers": {
            "content-type": "text/html; charset=utf-8",
            "cache-control": "no-store",
            "content-security-policy": policy,
            "cross-origin-opener-policy": "same-origin",
            "referrer-policy": "no-referrer",
            "x-content-type-options": "nosniff",
        },
        "body": body,
    })
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_STANDARD};
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_policy_names_the_script_that_is_there() {
        let hash = format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(SCRIPT)));
        assert_eq!(SCRIPT_HASH, hash);
    }

    #[test]
    fn nothing_that_others_chose_is_markup() {
        let evil = "<script>alert('x')</script>\"&";
        let page = arrived(&Arrived { agent_id: evil.into(), starter: evil.into() }, evil, Some(evil));
        let body = page["body"].as_str().unwrap();
        assert!(!body.contains("alert('x')"), "{body}");
        assert_eq!(body.matches("<script>").count(), 1);
    }
}
