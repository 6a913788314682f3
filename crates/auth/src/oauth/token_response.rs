//! Reads token responses (RFC 6749 §5.1), in all forms that authorization servers use.
//!
//! The body is JSON, or a form if its content type says so (GitHub). The user's token may be a member of `authed_user`
//! (Slack). An optional member that is `null`, empty or of the wrong type counts as absent. Stores nothing.

use egress::Shown;
use std::borrow::Cow;

use http::header::CONTENT_TYPE;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::{
    challenge::scopes, error::OAuthError, error_response::refusal, request_context::Endpoint,
    token_set::TokenSet, wire::Answer,
};

/// Time before its expiry from which a token is stale, in seconds, so that it does not expire during a request. A tenth
/// of the token's life if that is shorter.
const LEEWAY: SignedDuration = SignedDuration::from_secs(60);
/// Assumed life of a token without `expires_in`, in days: it is used until the MCP server refuses it.
const ASSUMED_LIFE: SignedDuration = SignedDuration::from_hours(24 * 400);
/// Longest life of a token, in seconds (about three years): a larger `expires_in` is cut.
const LONGEST_LIFE: f64 = 100_000_000.0;
/// The token types that need proof of possession of a key, or that are no access tokens: DPoP (RFC 9449), PoP (RFC 9200),
/// MAC (draft-ietf-oauth-v2-http-mac), N_A (RFC 8693). A token of any other type (`user`, `bot`, `JWT`, …) is sent as a
/// bearer token.
const NOT_BEARER: [&str; 4] = ["dpop", "pop", "mac", "n_a"];

/// The members of a token response that are read.
#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenResponseBody {
    #[serde(deserialize_with = "or_none")]
    access_token: Option<SecretString>,
    #[serde(deserialize_with = "or_none")]
    refresh_token: Option<SecretString>,
    #[serde(deserialize_with = "or_none")]
    token_type: Option<String>,
    #[serde(deserialize_with = "or_none")]
    error: Option<String>,
    expires_in: Value,
    scope: Value,
    /// Slack: the tokens of the user who signed in; the members beside it are the app's bot's.
    #[serde(deserialize_with = "or_none")]
    authed_user: Option<Box<TokenResponseBody>>,
}

/// Reads the tokens in an answer.
///
/// # Errors
/// [`OAuthError::Refused`] or [`OAuthError::Status`] for a refusal, also one with a 2xx status;
/// [`OAuthError::TokenType`]; [`OAuthError::Incomplete`].
pub(super) fn read(
    answer: &Answer,
    secrets: &[SecretString],
    now: Timestamp,
) -> Result<TokenSet, OAuthError> {
    let answer = as_json(answer);
    if !answer.status.is_success() {
        return Err(refusal(&answer, Endpoint::Token, secrets));
    }
    let given: TokenResponseBody = answer.json(Endpoint::Token)?;
    if given.error.as_ref().is_some_and(|error| !error.is_empty()) {
        // Some servers refuse with a 2xx status.
        return Err(refusal(&answer, Endpoint::Token, secrets));
    }
    given.users_own().tokens(now)
}

impl TokenResponseBody {
    /// Returns the user's part: `authed_user` if it has a token, else the response itself.
    fn users_own(self) -> Self {
        match self.authed_user {
            Some(user) if user.access_token.is_some() => *user,
            _ => self,
        }
    }

    fn tokens(self, now: Timestamp) -> Result<TokenSet, OAuthError> {
        let is_not_bearer =
            |kind: &String| NOT_BEARER.iter().any(|one| kind.trim().eq_ignore_ascii_case(one));
        if let Some(found) = self.token_type.filter(is_not_bearer) {
            return Err(OAuthError::TokenType { found: Shown::new(&found) });
        }
        let missing = OAuthError::Incomplete { endpoint: Endpoint::Token, field: "access_token" };
        let access = self.access_token.filter(is_sendable).ok_or(missing)?;
        let life = life(&self.expires_in);
        Ok(TokenSet {
            access,
            refresh: self.refresh_token.filter(|token| !token.expose_secret().is_empty()),
            stale_from: now + (life - LEEWAY.min(life / 10)),
            scopes: granted(&self.scope),
        })
    }
}

/// Returns the life of a token from `expires_in`, in seconds. Some servers write a text or a fraction.
fn life(expires_in: &Value) -> SignedDuration {
    let seconds = expires_in.as_f64().or_else(|| expires_in.as_str()?.trim().parse().ok());
    seconds
        .filter(|seconds: &f64| seconds.is_finite())
        .map_or(ASSUMED_LIFE, |seconds| SignedDuration::from_secs(seconds.clamp(0.0, LONGEST_LIFE) as i64))
}

/// Returns the granted scopes; `None` if they are not named. Some servers write commas between them, or a list.
fn granted(scope: &Value) -> Option<Vec<String>> {
    let text = match scope {
        Value::String(text) if text.contains(char::is_whitespace) => text.clone(),
        Value::String(text) => text.replace(',', " "),
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        _ => return None,
    };
    Some(scopes(&text)).filter(|scopes| !scopes.is_empty())
}

fn is_sendable(token: &SecretString) -> bool {
    let token = token.expose_secret();
    !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic())
}

/// Converts a form to JSON with the same members, if the content type says that it is one.
fn as_json(answer: &Answer) -> Cow<'_, Answer> {
    let kind = answer.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Cow::Borrowed(answer);
    }
    let pairs = form_urlencoded::parse(&answer.body);
    let members: Map<String, Value> =
        pairs.map(|(name, value)| (name.into_owned(), value.into_owned().into())).collect();
    Cow::Owned(Answer { body: Value::Object(members).to_string().into_bytes(), ..answer.clone() })
}

/// Reads a member of the wrong type as absent.
fn or_none<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Member<T> {
        Good(T),
        Other(IgnoredAny),
    }
    Ok(match Member::deserialize(from)? {
        Member::Good(good) => Some(good),
        Member::Other(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, StatusCode};

    use super::*;

    fn read_as(kind: &'static str, status: u16, body: &str) -> Result<TokenSet, OAuthError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        let status = StatusCode::from_u16(status).unwrap();
        read(&Answer { status, headers, body: body.into() }, &[], Timestamp::UNIX_EPOCH)
    }

    /// Expects: access token, refresh token, seconds until the access token is stale, scopes.
    fn check(body: &str, expected: (&str, Option<&str>, i64, Option<&[&str]>)) {
        let found = read_as("application/json", 200, body).expect(body);
        let refresh = found.refresh.as_ref().map(|token| token.expose_secret());
        let scopes =
            found.scopes.as_ref().map(|scopes| scopes.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(found.access.expose_secret(), expected.0, "{body}");
        assert_eq!(refresh, expected.1, "{body}");
        assert_eq!(found.stale_from.as_second(), expected.2, "{body}");
        assert_eq!(scopes.as_deref(), expected.3, "{body}");
    }

    const ASSUMED: i64 = 24 * 400 * 3600 - 60;

    #[test]
    fn token_responses_of_many_servers_are_read() {
        check(
            r#"{"access_token":"a","token_type":"Bearer","expires_in":3600,"refresh_token":"r","scope":"x y"}"#,
            ("a", Some("r"), 3540, Some(&["x", "y"])),
        );
        check(
            r#"{"access_token":"a","expires_in":"3600","scope":["x","y"]}"#,
            ("a", None, 3540, Some(&["x", "y"])),
        );
        check(
            r#"{"access_token":"a","expires_in":3600.5,"scope":"x,y"}"#,
            ("a", None, 3540, Some(&["x", "y"])),
        );
        let nulls = r#"{"access_token":"a","token_type":null,"expires_in":null,"refresh_token":null,"scope":null,
            "error":null,"authed_user":null}"#;
        check(nulls, ("a", None, ASSUMED, None));
        let empty = r#"{"access_token":"a","token_type":"","expires_in":"","refresh_token":"","scope":"","error":""}"#;
        check(empty, ("a", None, ASSUMED, None));
        let wrong_types = r#"{"access_token":"a","token_type":7,"expires_in":[],"refresh_token":{},"scope":7,"error":false,
            "authed_user":"U1"}"#;
        check(wrong_types, ("a", None, ASSUMED, None));
    }

    #[test]
    fn slacks_user_token_is_used_before_its_bot_token() {
        let user = r#""authed_user":{"id":"U1","scope":"search:read,users:read","access_token":"xoxp-1",
            "token_type":"user","refresh_token":"xoxe-1","expires_in":43200}"#;
        let expected = ("xoxp-1", Some("xoxe-1"), 43140, Some(["search:read", "users:read"].as_slice()));
        check(&format!(r#"{{"ok":true,{user}}}"#), expected);
        let bot = r#""access_token":"xoxb-1","token_type":"bot","refresh_token":"xoxe-bot""#;
        check(&format!(r#"{{"ok":true,{bot},{user}}}"#), expected);
        check(
            &format!(r#"{{"ok":true,{bot},"authed_user":{{"id":"U1"}}}}"#),
            ("xoxb-1", Some("xoxe-bot"), ASSUMED, None),
        );
        let refused = read_as("application/json", 200, r#"{"ok":false,"error":"invalid_code"}"#).unwrap_err();
        assert!(refused.to_string().contains("invalid_code"), "{refused}");
    }

    #[test]
    fn every_token_type_without_proof_of_possession_is_bearer() {
        for kind in ["bearer", "BEARER", "user", "bot", "JWT", "access_token", "Basic", " "] {
            check(&format!(r#"{{"access_token":"a","token_type":"{kind}"}}"#), ("a", None, ASSUMED, None));
        }
        for kind in ["DPoP", "dpop", "PoP", "mac", "MAC", "N_A"] {
            let body = format!(r#"{{"access_token":"a","token_type":"{kind}"}}"#);
            assert_eq!(read_as("application/json", 200, &body).unwrap_err().kind(), "token_type", "{kind}");
        }
    }

    #[test]
    fn a_form_is_recognized_by_its_content_type() {
        for kind in ["application/x-www-form-urlencoded; charset=utf-8", "Application/X-WWW-Form-Urlencoded"]
        {
            let tokens =
                read_as(kind, 200, "access_token=gho_1&scope=repo%2Cgist&token_type=bearer&expires_in=28800");
            let tokens = tokens.unwrap();
            assert_eq!(tokens.access.expose_secret(), "gho_1");
            assert_eq!(tokens.stale_from.as_second(), 28740);
            assert_eq!(tokens.scopes.unwrap(), ["repo", "gist"]);
            for status in [200, 400] {
                let body = "error=bad_verification_code&error_description=The+code+is+incorrect+or+expired.";
                let refused = read_as(kind, status, body).unwrap_err();
                assert_eq!(refused.kind(), "refused");
                assert!(
                    refused.to_string().contains("bad_verification_code: The code is incorrect"),
                    "{refused}"
                );
            }
        }
        assert!(read_as("text/html", 200, "access_token=a").is_err());
    }

    #[test]
    fn a_response_without_a_usable_token_is_an_error() {
        for body in [r#"{}"#, r#"{"access_token":""}"#, r#"{"access_token":7}"#, r#"{"access_token":"a b"}"#]
        {
            let error = read_as("application/json", 200, body).unwrap_err();
            assert!(error.to_string().contains("without a usable access_token"), "{error}");
        }
    }
}
