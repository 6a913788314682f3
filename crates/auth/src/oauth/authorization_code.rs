//! The authorization code grant: sending a user to sign in, and what comes back.
//!
//! What is sent with the user (state, the hash of a verifier) and what is kept here (the verifier, the
//! issuer that must answer) are made together, and looked at together when the redirect comes. Keeps
//! nothing itself.
//!
//! Source: RFC 6749 §4.1, RFC 7636, RFC 9207.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use egress::Shown;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use url::Url;

use super::{
    about::{About, Place},
    authorization_server::AuthorizationServer,
    config::OAuthConfig,
    error::{OAuthError, is_template},
    random_token,
};

/// A user on the way to an authorization server.
#[derive(Debug)]
pub(crate) struct Departure {
    /// Where the browser goes.
    pub(crate) url: Url,
    /// What comes back with it.
    pub(crate) state: SecretString,
    /// What only we know.
    pub(crate) verifier: SecretString,
}

/// What a redirect brought, as it stands in its query. All of it is whatever the browser was sent with.
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
    /// The redirect URI that it came to, where the client has several.
    pub came_to: Option<String>,
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

/// Makes out where to send a user.
///
/// # Errors
/// [`OAuthError::NotHttps`] if a browser may not be sent there; [`OAuthError::NotOffered`].
pub(crate) fn depart(
    config: &OAuthConfig,
    server: &AuthorizationServer,
    client_id: &str,
    redirect_uri: &str,
    scopes: &[String],
) -> Result<Departure, OAuthError> {
    let lacks = "has no page to sign in on";
    let no_page = OAuthError::NotOffered { issuer: Shown::new(&server.issuer), lacks };
    let mut url = server.authorization_endpoint.clone().ok_or(no_page)?;
    if !may_be_opened(&url) {
        return Err(OAuthError::NotHttps { place: Place::Authorization });
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
    // OpenID Connect gives a refresh token only where the user is asked anew.
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
    Ok(Departure { url, state, verifier })
}

/// Adds parameters, in the place of those that are in the URL already: people paste whole authorization URLs, and
/// no parameter may be there twice (RFC 6749 §3.1).
fn add_parameters(url: &mut Url, parameters: &[(&str, &str)]) {
    let is_ours = |name: &str| parameters.iter().any(|(ours, _)| *ours == name);
    if url.query_pairs().any(|(name, _)| is_ours(&name)) {
        let others: Vec<(String, String)> =
            url.query_pairs().into_owned().filter(|(name, _)| !is_ours(name)).collect();
        url.query_pairs_mut().clear().extend_pairs(others);
    }
    url.query_pairs_mut().extend_pairs(parameters);
}

/// Adds parameters that the URL lacks: what the entry's own `authorization_url` says in its query goes before.
fn add_where_absent(url: &mut Url, parameters: &[(&str, Option<&str>)]) {
    for (name, value) in parameters {
        let is_there = url.query_pairs().any(|(there, _)| there == *name);
        if let Some(value) = value.filter(|_| !is_there) {
            url.query_pairs_mut().append_pair(name, value);
        }
    }
}

/// Whether a browser may be sent there: over `https`, or to this very machine.
pub(super) fn may_be_opened(url: &Url) -> bool {
    match url.scheme() {
        "https" => url.host().is_some(),
        "http" => is_loopback(url),
        _ => false,
    }
}

/// Whether a URL leads to this very machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(v4)) => v4.is_loopback(),
        Some(url::Host::Ipv6(v6)) => v6.is_loopback(),
        None => false,
    }
}

/// Looks at a redirect whose state was recognized: whom it is from, then what it brings. An error counts
/// only from the right issuer.
///
/// # Errors
/// [`OAuthError::IssMissing`], [`OAuthError::IssMismatch`], [`OAuthError::Refused`],
/// [`OAuthError::NoCode`].
pub(crate) fn arrive(redirect: &Redirect, server: &AuthorizationServer) -> Result<SecretString, OAuthError> {
    let told = server.issuer_is_told.then_some(&server.issuer);
    let known: Vec<&String> = told.into_iter().chain(&server.other_iss).collect();
    let expected = || Shown::new(known.first().unwrap_or(&&server.issuer));
    // RFC 9207 §2.4: compared as it stands, and never let through where it differs.
    match &redirect.iss {
        // Where nobody has told the issuer, or only a template of it, there is nothing to compare.
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
            place: Place::Authorization,
            error: Shown::new(error),
            description: redirect.error_description.as_deref().map(Shown::new),
            about: About::default(),
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
    fn no_parameter_is_there_twice() {
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
    fn a_redirect_is_taken_from_its_issuer_alone() {
        let redirect = |iss: Option<&str>, error: Option<&str>| {
            let mut pairs = vec![("code", "c"), ("state", "s")];
            pairs.extend(iss.map(|iss| ("iss", iss)));
            pairs.extend(error.map(|error| ("error", error)));
            Redirect::from_pairs(pairs)
        };
        let check = |redirect: Redirect, announces_iss, expected: &str| {
            let server = AuthorizationServer { announces_iss, ..AuthorizationServer::example() };
            let outcome = arrive(&redirect, &server);
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
    fn an_issuer_that_differs_by_the_slash_alone_has_a_remedy_that_can_be_followed() {
        let iss = Some("https://a.example/".to_owned());
        let redirect = Redirect { iss, code: Some("c".into()), ..Redirect::default() };
        let mut server = AuthorizationServer { announces_iss: true, ..AuthorizationServer::example() };
        let error = arrive(&redirect, &server).unwrap_err();
        assert!(error.remedy().contains("exactly as https://a.example/,"), "{}", error.remedy());
        // As discovery does for an entry that follows it.
        server.other_iss = vec!["https://a.example/".into()];
        assert!(arrive(&redirect, &server).is_ok());
    }
}
