//! Reads the members of a metadata document, one at a time and tolerantly.
//!
//! A member that is `null` or `""` counts as absent: many frameworks write unset members so. An optional member of the
//! wrong type counts as absent too, so that the rest of the document can be used. The error for a required member names
//! it. Which members are required is up to [`super::metadata`].

use serde_json::{Map, Value};
use url::Url;

use super::{error::OAuthError, request_context::Endpoint, wire::Answer};

/// The members of one document.
pub(super) struct Document {
    members: Map<String, Value>,
    endpoint: Endpoint,
}

impl Document {
    /// Reads the answer's body as a JSON object.
    ///
    /// # Errors
    /// [`OAuthError::NotJson`]; [`OAuthError::Incomplete`] if it is JSON but not an object.
    pub(super) fn read(answer: &Answer, endpoint: Endpoint) -> Result<Self, OAuthError> {
        Ok(Self { members: answer.json(endpoint)?, endpoint })
    }

    /// Returns true if the member has a value of any type.
    pub(super) fn is_given(&self, name: &str) -> bool {
        match self.members.get(name) {
            None | Some(Value::Null) => false,
            Some(Value::String(text)) => !text.trim().is_empty(),
            Some(_) => true,
        }
    }

    /// Returns the member as a text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.members.get(name)?.as_str().map(str::trim).filter(|text| !text.is_empty())
    }

    /// Returns the member as an absolute URL.
    pub(super) fn url(&self, name: &str) -> Option<Url> {
        Url::parse(self.text(name)?).ok()
    }

    /// Returns the member as a list of texts. Elements of another type are ignored. An empty list counts as absent: RFC
    /// 8414 §3.2 and RFC 9728 §3.2 ask for it to be omitted.
    pub(super) fn texts(&self, name: &str) -> Option<Vec<String>> {
        let texts = self.members.get(name)?.as_array()?.iter().filter_map(Value::as_str).map(str::trim);
        let texts: Vec<String> = texts.filter(|text| !text.is_empty()).map(str::to_owned).collect();
        Some(texts).filter(|texts| !texts.is_empty())
    }

    /// Returns true if the member is `true`.
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.members.get(name) == Some(&Value::Bool(true))
    }

    /// Returns the error for a required member that is missing or malformed.
    pub(super) fn lacks(&self, field: &'static str) -> OAuthError {
        OAuthError::Incomplete { endpoint: self.endpoint, field }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        let answer =
            Answer { status: http::StatusCode::OK, headers: http::HeaderMap::new(), body: text.into() };
        Document::read(&answer, Endpoint::AuthorizationServerMetadata).unwrap()
    }

    #[test]
    fn null_and_empty_members_are_absent() {
        let check = |value: &str, is_given: bool, text: Option<&str>, texts: Option<&[&str]>| {
            let document = document(&format!(r#"{{"member": {value}}}"#));
            assert_eq!(document.is_given("member"), is_given, "{value}");
            assert_eq!(document.text("member"), text, "{value}");
            let found = document.texts("member");
            assert_eq!(
                found.as_deref(),
                texts.map(|t| t.iter().map(|&t| t.to_owned()).collect::<Vec<_>>()).as_deref()
            );
        };
        check("null", false, None, None);
        check(r#""""#, false, None, None);
        check(r#"" ""#, false, None, None);
        check("7", true, None, None);
        check("[]", true, None, None);
        check(r#"["a", null, 7, ""]"#, true, None, Some(&["a"]));
        check(r#""a""#, true, Some("a"), None);
    }

    #[test]
    fn a_malformed_url_is_absent() {
        let check = |value: &str, usable| {
            assert_eq!(document(&format!(r#"{{"at": {value}}}"#)).url("at").is_some(), usable, "{value}");
        };
        check(r#""https://a.example/x""#, true);
        check(r#""/x""#, false);
        check(r#""http://[""#, false);
        check("{}", false);
        check(r#""""#, false);
    }

    #[test]
    fn a_byte_order_mark_is_ignored() {
        assert!(document("\u{feff}{\"a\": true}").is_true("a"));
    }
}
