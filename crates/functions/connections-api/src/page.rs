//! The HTML pages for a browser that an authorization server has sent back.
//!
//! Every text that this crate did not write itself is escaped. A page loads nothing, sends no request and no referrer,
//! stores nothing in the browser, and removes the code from the address bar. Its one script posts the state on the
//! `BroadcastChannel` `mcp-agents.oauth`, which only pages of this origin receive. If the sign-in was started with the
//! origin of a waiting page, the script also posts the message to the page that opened this one, and the browser
//! delivers it only if that page has this origin. A page never completes a sign-in: the user who started it does.
//!
//! A page without such an origin is separated from the page that opened it (Cross-Origin-Opener-Policy).

use auth::Arrived;
use axum::{
    http::{StatusCode, header},
    response::{AppendHeaders, IntoResponse, Response},
};

/// The script of a page. It is a block, because browsers have a global variable `origin`.
const SCRIPT: &str = r#"
{
  history.replaceState(null, "", location.pathname);
  const {state, origin} = document.body.dataset;
  const message = {type: "mcp-agents.oauth", state};
  new BroadcastChannel("mcp-agents.oauth").postMessage(message);
  if (origin && window.opener) window.opener.postMessage(message, origin);
}
"#;

/// The hash of [`SCRIPT`], the only script that the Content-Security-Policy allows. A test compares the two.
const SCRIPT_HASH: &str = "sha256-e52VtHZcyV9ipEKhRdqIA3v7ZZfJF4JjhSlE6MqCGOY=";

/// Returns the page for a sign-in that the user who started it can complete now.
pub(crate) fn arrived(arrived: &Arrived, state: &str) -> Response {
    let text = format!(
        "<h1>Almost there</h1>\
         <p>The sign-in to the agent <b>{}</b>, started by <b>{}</b>, has come back.</p>\
         <p>Go back to where you started the sign-in: it is completed there.</p>\
         <p><b>If you are not {}</b>, another person has sent you here to use your account: revoke the access at the \
         server where you have just agreed, and tell your administrator.</p>",
        escaped(&arrived.agent_id),
        escaped(&arrived.starter),
        escaped(&arrived.starter),
    );
    page(StatusCode::OK, &text, Some(Message { state, origin: arrived.origin.as_deref() }))
}

/// Returns the page for a redirect that is not accepted.
pub(crate) fn refused(status: StatusCode, message: &str, remedy: &str) -> Response {
    let (message, remedy) = (escaped(message), escaped(remedy));
    let text = format!("<h1>This did not work</h1><p>{message}.</p><p>What to do: {remedy}.</p>");
    page(status, &text, None)
}

/// The message that the script posts.
struct Message<'a> {
    state: &'a str,
    /// The origin of the waiting page, which receives the message in addition to the pages of this origin.
    origin: Option<&'a str>,
}

fn page(status: StatusCode, text: &str, message: Option<Message<'_>>) -> Response {
    let attribute = |name: &str, value: &str| format!(" data-{name}=\"{}\"", escaped(value));
    let (data, script) = match &message {
        Some(Message { state, origin }) => (
            attribute("state", state)
                + &origin.map_or_else(String::new, |origin| attribute("origin", origin)),
            format!("<script>{SCRIPT}</script>"),
        ),
        None => Default::default(),
    };
    let body = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>mcp-agents</title></head>\
         <body{data}>{text}{script}</body></html>"
    );
    let policy = format!(
        "default-src 'none'; script-src '{SCRIPT_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, policy.as_str()),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    let opener_policy = [("cross-origin-opener-policy", "same-origin")];
    let is_separated = message.is_none_or(|message| message.origin.is_none());
    (status, headers, is_separated.then_some(AppendHeaders(opener_policy)), body).into_response()
}

/// Escapes a text for HTML, also inside attributes.
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
    fn the_policy_has_the_hash_of_the_script() {
        let hash = format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(SCRIPT)));
        assert_eq!(SCRIPT_HASH, hash);
    }

    const OPENER_POLICY: &str = "cross-origin-opener-policy";

    async fn body_of(page: Response) -> String {
        let body = axum::body::to_bytes(page.into_body(), usize::MAX).await.unwrap();
        String::from_utf8(body.into()).unwrap()
    }

    #[tokio::test]
    async fn texts_of_others_are_escaped() {
        let evil = "<script>alert('x')</script>\"&";
        let origin = Some(evil.to_owned());
        let page = arrived(&Arrived { agent_id: evil.into(), starter: evil.into(), origin }, evil);
        let body = body_of(page).await;
        assert!(!body.contains("alert('x')"), "{body}");
        assert_eq!(body.matches("<script>").count(), 1);
    }

    #[tokio::test]
    async fn only_a_page_for_a_named_origin_is_not_separated_from_its_opener() {
        for (origin, is_separated) in [(None, true), (Some("https://app.example.com"), false)] {
            let origin = origin.map(str::to_owned);
            let page =
                arrived(&Arrived { agent_id: "a".into(), starter: "b".into(), origin: origin.clone() }, "s");
            assert_eq!(page.headers().contains_key(OPENER_POLICY), is_separated);
            let data = origin.map(|origin| format!("data-origin=\"{origin}\""));
            let body = body_of(page).await;
            assert_eq!(body.matches("data-origin").count(), usize::from(data.is_some()));
            assert!(body.contains(&data.unwrap_or_default()));
        }
        assert!(refused(StatusCode::BAD_REQUEST, "m", "r").headers().contains_key(OPENER_POLICY));
    }

    #[test]
    fn the_script_stores_nothing_and_posts_to_named_origins_only() {
        for word in ["localStorage", "sessionStorage", "cookie", "fetch", "\"*\"", "'*'"] {
            assert!(!SCRIPT.contains(word), "{word}");
        }
    }
}
