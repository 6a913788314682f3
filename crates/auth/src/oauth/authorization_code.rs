//! The authorization code grant: makes the authorization request, and validates the redirect.
//!
//! Stores nothing and sends nothing: [`super::consent_start`] stores state and verifier, and the user's browser sends
//! the request. Called by [`super::consent_start`] and [`super::consent`].
//!
//! Source: RFC 6749 §4.1, RFC 7636, RFC 9207.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use egress::Shown;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use url::Url;

use super::{
    authorization_server::AuthorizationServer,
    config::OAuthConfig,
    error::OAuthError,
    issuer::is_template,
    random_token,
    request_context::{Endpoint, RequestContext},
};

/// An authorization request (RFC 6749 §4.1.1), with the PKCE verifier that belongs to it.
#[derive(Debug)]
pub(crate) struct AuthorizationRequest {
    /// The authorization endpoint URL that the user's browser is sent to.
    pub(crate) url: Url,
    /// `state`, which the redirect must repeat.
    pub(crate) state: SecretString,
    /// The PKCE verifier; the request has its hash only.
    pub(crate) verifier: SecretString,
}

/// The query parameters of a redirect (RFC 6749 §4.1.2). None can be trusted: any page can send a browser here.
#[derive(Debug, Clone, Default)]
pub struct Redirect {
    /// `code`.
    pub code: Option<SecretString>,
    /// `state`.
    pub state: Option<String>,
    /// `iss`.
    pub iss: Option<String>,
    /// `error`.
    pub error: Option<String>,
    /// `error_description`.
    pub error_description: Option<String>,
    /// The redirect URI that received the redirect, if the client has several.
    pub redirect_uri: Option<String>,
}

impl Redirect {
    /// Reads the parameters of a redirect.
    pub fn from_pairs<K: AsRef<str>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let mut redirect = Self::default();
        for (name, value) in pairs {
            let value = value.into();
            match name.as_ref() {
                "code" => redirect.code = Some(value.into()),
                "state" => redirect.state = Some(value),
                "iss" => redirect.iss = Some(value),
                "error" => redirect.error = Some(value),
                "error_description" => redirect.error_description = Some(value),
                _ => {}
            }
        }
        redirect
    }
}

/// Makes the authorization request of a user's sign-in.
///
/// # Errors
/// [`OAuthError::NotOffered`] if there is no authorization endpoint; [`OAuthError::NotHttps`] if no browser may be sent
/// there.
pub(crate) fn authorization_request(
    config: &OAuthConfig,
    server: &AuthorizationServer,
    client_id: &str,
    redirect_uri: &str,
    scopes: &[String],
) -> Result<AuthorizationRequest, OAuthError> {
    let lacks = "has no page to sign in on";
    let no_page = OAuthError::NotOffered { issuer: Shown::new(&server.issuer), lacks };
    let mut url = server.authorization_endpoint.clone().ok_or(no_page)?;
    if !may_be_opened(&url) {
        return Err(OAuthError::NotHttps { endpoint: Endpoint::Authorization });
    }
    let (state, verifier) = (random_token()?, random_token()?);
    let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.expose_secret()));
    add_parameters(
        &mut url,
        &[
            ("response_type", "code"),
            ("client_id", client_id),
            ("redirect_uri", redirect_uri),
            ("state", state.expose_secret()),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ],
    );
    let scope = scopes.join(" ");
    // OpenID Connect Core §11: `offline_access` is granted only with the user's consent in this request.
    let prompt = scopes.iter().any(|scope| scope == "offline_access").then_some("consent");
    add_where_absent(
        &mut url,
        &[
            ("scope", Some(scope.as_str()).filter(|scope| !scope.is_empty())),
            ("resource", server.resource.as_deref()),
            ("audience", config.audience.as_deref()),
            ("prompt", prompt),
        ],
    );
    Ok(AuthorizationRequest { url, state, verifier })
}

/// Adds parameters, and removes those of the same name from the URL: people paste whole authorization URLs into
/// entries, and no parameter may appear twice (RFC 6749 §3.1).
fn add_parameters(url: &mut Url, parameters: &[(&str, &str)]) {
    let is_ours = |name: &str| parameters.iter().any(|(ours, _)| *ours == name);
    if url.query_pairs().any(|(name, _)| is_ours(&name)) {
        let others: Vec<(String, String)> =
            url.query_pairs().into_owned().filter(|(name, _)| !is_ours(name)).collect();
        url.query_pairs_mut().clear().extend_pairs(others);
    }
    url.query_pairs_mut().extend_pairs(parameters);
}

/// Adds the parameters that the URL lacks. Those in the query of the entry's `authorization_url` stay.
fn add_where_absent(url: &mut Url, parameters: &[(&str, Option<&str>)]) {
    for (name, value) in parameters {
        let is_there = url.query_pairs().any(|(there, _)| there == *name);
        if let Some(value) = value.filter(|_| !is_there) {
            url.query_pairs_mut().append_pair(name, value);
        }
    }
}

/// Returns true if a browser may be sent to a URL: `https`, or `http` to this machine.
pub(super) fn may_be_opened(url: &Url) -> bool {
    match url.scheme() {
        "https" => url.host().is_some(),
        "http" => is_loopback(url),
        _ => false,
    }
}

/// Returns true if a URL's host is this machine: `localhost` or a loopback address.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(v4)) => v4.is_loopback(),
        Some(url::Host::Ipv6(v6)) => v6.is_loopback(),
        None => false,
    }
}

/// Validates a redirect whose state is known: first its issuer, then `error`. Returns the authorization code.
///
/// `error` counts only if the issuer is right.
///
/// # Errors
/// [`OAuthError::IssMissing`], [`OAuthError::IssMismatch`], [`OAuthError::Refused`],
/// [`OAuthError::NoCode`].
pub(crate) fn validate_redirect(
    redirect: &Redirect,
    server: &AuthorizationServer,
) -> Result<SecretString, OAuthError> {
    let announced = server.issuer_is_told.then_some(&server.issuer);
    let known: Vec<&String> = announced.into_iter().chain(&server.other_iss).collect();
    let expected = || Shown::new(known.first().unwrap_or(&&server.issuer));
    // RFC 9207 §2.4: compared character by character; a different issuer is always refused.
    match &redirect.iss {
        // If the issuer is unknown, or known as a template only, there is nothing to compare.
        Some(iss)
            if !known.is_empty() && !known.contains(&iss) && !known.iter().any(|one| is_template(one)) =>
        {
            return Err(OAuthError::IssMismatch { expected: expected(), found: Shown::new(iss) });
        }
        None if server.announces_iss => return Err(OAuthError::IssMissing { expected: expected() }),
        _ => {}
    }
    if let Some(error) = &redirect.error {
        return Err(OAuthError::Refused {
            endpoint: Endpoint::Authorization,
            error: Shown::new(error),
            description: redirect.error_description.as_deref().map(Shown::new),
            context: RequestContext::default(),
        });
    }
    redirect.code.clone().filter(|code| !code.expose_secret().is_empty()).ok_or(OAuthError::NoCode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_sent_to_https_or_to_this_machine() {
        let check = |url: &str, may| assert_eq!(may_be_opened(&url.parse().unwrap()), may, "{url}");
        check("https://a.example/authorize", true);
        check("http://127.0.0.1:8080/authorize", true);
        check("http://[::1]/authorize", true);
        check("http://localhost/authorize", true);
        check("http://a.example/authorize", false);
        check("http://localhost.evil.example/", false);
        check("javascript:alert(1)", false);
        check("file:///etc/passwd", false);
        check("data:text/html,x", false);
    }

    #[test]
    fn no_parameter_appears_twice() {
        let mut url: Url =
            "https://a.example/authorize?prompt=login&state=old&access_type=offline".parse().unwrap();
        add_parameters(&mut url, &[("state", "new"), ("client_id", "c d")]);
        add_where_absent(
            &mut url,
            &[("prompt", Some("consent")), ("scope", Some("x y")), ("resource", None)],
        );
        assert_eq!(url.query(), Some("prompt=login&access_type=offline&state=new&client_id=c+d&scope=x+y"));
    }

    #[test]
    fn a_redirect_is_accepted_from_its_issuer_only() {
        let redirect = |iss: Option<&str>, error: Option<&str>| {
            let mut pairs = vec![("code", "c"), ("state", "s")];
            pairs.extend(iss.map(|iss| ("iss", iss)));
            pairs.extend(error.map(|error| ("error", error)));
            Redirect::from_pairs(pairs)
        };
        let check = |redirect: Redirect, announces_iss, expected: &str| {
            let server = AuthorizationServer { announces_iss, ..AuthorizationServer::example() };
            let outcome = validate_redirect(&redirect, &server);
            assert_eq!(outcome.err().map_or("ok", |error| error.kind()), expected);
        };
        check(redirect(Some("https://a.example"), None), true, "ok");
        check(redirect(None, None), false, "ok");
        check(redirect(None, None), true, "iss_missing");
        check(redirect(Some("https://a.example/"), None), true, "iss_mismatch");
        check(redirect(Some("https://b.example"), None), false, "iss_mismatch");
        check(redirect(None, Some("access_denied")), true, "iss_missing");
        check(redirect(None, Some("access_denied")), false, "refused");
    }

    #[test]
    fn an_issuer_that_differs_by_a_slash_has_a_remedy_that_works() {
        let iss = Some("https://a.example/".to_owned());
        let redirect = Redirect { iss, code: Some("c".into()), ..Redirect::default() };
        let mut server = AuthorizationServer { announces_iss: true, ..AuthorizationServer::example() };
        let error = validate_redirect(&redirect, &server).unwrap_err();
        assert!(error.remedy().contains("exactly as https://a.example/,"), "{}", error.remedy());
        // Discovery does this for an entry that follows the remedy.
        server.other_iss = vec!["https://a.example/".into()];
        assert!(validate_redirect(&redirect, &server).is_ok());
    }
}
