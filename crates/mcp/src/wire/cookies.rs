//! The cookies of one MCP client. Load balancers use cookies to send all requests of a session to the same server.
//!
//! A jar belongs to one client and is dropped with it, so no other user's requests carry its cookies. Only the
//! endpoint's own host can set cookies, and only requests to the endpoint carry them. Expiry dates are not evaluated,
//! because a client exists for a shorter time than a cookie is valid. The exception is a date in 1970, by which servers
//! delete a cookie. Called by [`super::Wire`].
//!
//! Source: RFC 6265 §5.

use std::sync::{Mutex, PoisonError};

use http::{HeaderMap, Uri, header::SET_COOKIE};

/// Maximum number of cookies in a jar: more than load balancers set.
const MAX_COOKIES: usize = 20;
/// Maximum length of a `Set-Cookie` line, in bytes.
const MAX_BYTES: usize = 4_096;

/// The cookies that a server has set for one client: names and values.
#[derive(Debug, Default)]
pub(crate) struct CookieJar(Mutex<Vec<(String, String)>>);

impl CookieJar {
    /// Stores the cookies that the response to a request to `uri` sets.
    pub(crate) fn store(&self, uri: &Uri, headers: &HeaderMap) {
        let mut jar = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for line in headers.get_all(SET_COOKIE).iter().filter_map(|line| line.to_str().ok()) {
            let Some(cookie) = Cookie::parse(line).filter(|cookie| cookie.is_for(uri)) else { continue };
            jar.retain(|(name, _)| name != cookie.name);
            if !cookie.is_deleted && jar.len() < MAX_COOKIES {
                jar.push((cookie.name.to_owned(), cookie.value.to_owned()));
            }
        }
    }

    /// Returns the value of the `Cookie` header: first `own`, the cookies that the entry sets, then the stored ones.
    /// `None` if there are no cookies.
    pub(crate) fn header(&self, own: Option<&str>) -> Option<String> {
        let jar = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let set = jar.iter().map(|(name, value)| format!("{name}={value}"));
        let all: Vec<String> = own.map(str::to_owned).into_iter().chain(set).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

/// A parsed `Set-Cookie` line.
struct Cookie<'a> {
    name: &'a str,
    value: &'a str,
    path: Option<&'a str>,
    domain: Option<&'a str>,
    is_secure: bool,
    is_deleted: bool,
}

impl<'a> Cookie<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut parts = line.split(';').map(str::trim);
        let (name, value) = parts.next()?.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        let fits = |b: u8| b.is_ascii_graphic() || b == b' ';
        if name.is_empty() || line.len() > MAX_BYTES || !line.bytes().all(fits) {
            return None;
        }
        let mut cookie = Self { name, value, path: None, domain: None, is_secure: false, is_deleted: false };
        for part in parts {
            let (attribute, value) = part.split_once('=').unwrap_or((part, ""));
            match attribute.trim().to_ascii_lowercase().as_str() {
                "path" => cookie.path = Some(value).filter(|path| path.starts_with('/')),
                "domain" => cookie.domain = Some(value.trim_start_matches('.')).filter(|d| !d.is_empty()),
                "secure" => cookie.is_secure = true,
                "max-age" => cookie.is_deleted |= value == "0" || value.starts_with('-'),
                "expires" => cookie.is_deleted |= value.contains("1970"),
                _ => {}
            }
        }
        Some(cookie)
    }

    /// Returns true if the host of `uri` may set the cookie, and requests to `uri` carry it.
    fn is_for(&self, uri: &Uri) -> bool {
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        let of_domain = self.domain.is_none_or(|domain| {
            let domain = domain.to_ascii_lowercase();
            host == domain || host.strip_suffix(&domain).is_some_and(|rest| rest.ends_with('.'))
        });
        let of_path = self.path.is_none_or(|path| {
            let rest = uri.path().strip_prefix(path);
            rest.is_some_and(|rest| rest.is_empty() || path.ends_with('/') || rest.starts_with('/'))
        });
        of_domain && of_path && (!self.is_secure || uri.scheme_str() == Some("https"))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn jar(uri: &str, lines: &[&str]) -> Option<String> {
        let jar = CookieJar::default();
        for line in lines {
            let mut headers = HeaderMap::new();
            headers.insert(SET_COOKIE, HeaderValue::from_str(line).unwrap());
            jar.store(&uri.parse().unwrap(), &headers);
        }
        jar.header(None)
    }

    #[test]
    fn the_cookie_of_a_load_balancer_is_sent_back() {
        let check = |lines: &[&str], sent: Option<&str>| {
            assert_eq!(jar("https://lb.a.example/mcp", lines).as_deref(), sent, "{lines:?}");
        };
        check(&["AWSALB=one; Expires=Wed, 02 Dec 2026 09:00:00 GMT; Path=/"], Some("AWSALB=one"));
        check(&["AWSALB=one; Path=/", "AWSALBCORS=two; Path=/; SameSite=None; Secure"], {
            Some("AWSALB=one; AWSALBCORS=two")
        });
        check(&["a=1", "a=2"], Some("a=2"));
        check(&["a=1", "a=; Max-Age=0"], None);
        check(&["a=1", "a=gone; expires=Thu, 01 Jan 1970 00:00:00 GMT"], None);
        check(&["a=1; Domain=a.example", "b=2; Domain=.lb.a.example"], Some("a=1; b=2"));
        check(&["a=1; Path=/mcp", "b=2; Path=/mcp/"], Some("a=1"));
    }

    #[test]
    fn a_cookie_for_another_host_or_path_is_not_stored() {
        for line in
            ["a=1; Domain=b.example", "a=1; Domain=xa.example", "a=1; Path=/other", "a=1; Path=/m", "=1", "a"]
        {
            assert_eq!(jar("https://a.example/mcp", &[line]), None, "{line}");
        }
        assert_eq!(jar("http://127.0.0.1/mcp", &["a=1; Secure"]), None);
        let many: Vec<String> = (0..50).map(|n| format!("c{n}=1")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(jar("https://a.example/mcp", &many).unwrap().split("; ").count(), MAX_COOKIES);
    }

    #[test]
    fn the_cookies_of_the_entry_stay() {
        let jar = CookieJar::default();
        assert_eq!(jar.header(Some("own=1")).as_deref(), Some("own=1"));
        let mut headers = HeaderMap::new();
        headers.insert(SET_COOKIE, HeaderValue::from_static("lb=2"));
        jar.store(&"https://a.example/mcp".parse().unwrap(), &headers);
        assert_eq!(jar.header(Some("own=1")).as_deref(), Some("own=1; lb=2"));
    }
}
