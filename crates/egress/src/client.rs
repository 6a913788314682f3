//! The HTTP client: checks the URL, resolves the host name itself, and connects only to addresses that the policy permits.
//!
//! An address is checked where it is used. For a host name that is the resolver, whose result is the address that is
//! connected to. For an address in the URL that is before the request. No redirect is followed and no proxy is used, so
//! that nothing else chooses an address. Nothing is retried. The client asks for no content coding; a body that is encoded
//! all the same is decoded, and the limit of [`Body`] counts the decoded bytes.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http::{
    HeaderValue,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING},
};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::OnceCell;
use url::{Host, Url};

use crate::{
    body::Body,
    error::{EgressError, Refused, Unresolved},
    policy::{EgressPolicy, Refusal},
};

/// The `User-Agent` header. AWS WAF's core rule set refuses requests without one.
const USER_AGENT: &str = concat!("mcp-agents/", env!("CARGO_PKG_VERSION"));
/// Maximum length of a content coding's name in an error message, in characters.
const MAX_CODING: usize = 40;

/// The time limits of a request. The caller's own deadline applies as well.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// From the start of the request until TCP and TLS are established.
    pub connect: Duration,
    /// Between two reads of the response.
    pub read: Duration,
}

/// The client for untrusted addresses. Cheap to clone; clones share their HTTP connections.
#[derive(Debug, Clone)]
pub struct HttpClient {
    policy: Arc<EgressPolicy>,
    deadlines: Deadlines,
    keeps_connections: bool,
    /// Created at the first use: reading the root certificates takes half of a cold start.
    https: Arc<OnceCell<reqwest::Client>>,
    /// A client of its own, because its resolver may return only addresses that the policy opens.
    http: Arc<OnceCell<reqwest::Client>>,
}

impl HttpClient {
    /// Creates a client with this policy.
    pub fn new(policy: EgressPolicy, deadlines: Deadlines) -> Self {
        Self {
            policy: Arc::new(policy),
            deadlines,
            keeps_connections: true,
            https: Arc::default(),
            http: Arc::default(),
        }
    }

    /// Returns a client that opens a new HTTP connection for every request. A connection that is reused after a freeze of
    /// the process may be dead, which shows only after a request was sent on it.
    pub fn unpooled(&self) -> Self {
        Self { keeps_connections: false, https: Arc::default(), http: Arc::default(), ..self.clone() }
    }

    /// Sends a request and returns the response, whatever its status. The body is not read yet, and is limited.
    ///
    /// # Errors
    /// [`EgressError`].
    pub async fn send(&self, request: http::Request<Vec<u8>>) -> Result<http::Response<Body>, EgressError> {
        let url = Url::parse(&request.uri().to_string()).map_err(|_| EgressError::Url)?;
        let host = self.check(&url)?;
        let client = self.client(&url).await?;
        let failed = |error| EgressError::from_reqwest(&host, error);
        let mut request = reqwest::Request::try_from(request).map_err(failed)?;
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let response = client.execute(request).await.map_err(failed)?;
        if let Some(coding) = unknown_coding(&response) {
            return Err(EgressError::Coding { host, coding });
        }
        let mut answer = http::Response::new(());
        *answer.status_mut() = response.status();
        *answer.headers_mut() = response.headers().clone();
        Ok(answer.map(|()| Body::new(host, response)))
    }

    /// Returns the addresses that [`Self::send`] would connect to for `url`. `mcp-agents doctor` calls this to explain a
    /// failure.
    ///
    /// # Errors
    /// [`EgressError::Url`], [`EgressError::Dns`], [`EgressError::Refused`].
    pub async fn resolve(&self, url: &Url) -> Result<Vec<IpAddr>, EgressError> {
        let host = self.check(url)?;
        let permits = self.rule(url);
        let found = match url.host() {
            Some(Host::Ipv4(v4)) => vec![IpAddr::V4(v4)],
            Some(Host::Ipv6(v6)) => vec![IpAddr::V6(v6)],
            _ => lookup(&host).await.map_err(|source| EgressError::Dns { host: host.clone(), source })?,
        };
        permitted(found, |address| permits(&self.policy, address))
            .map_err(|refusal| EgressError::Refused { host, refusal })
    }

    /// Checks the scheme, and the address if the URL contains one. Returns the host.
    fn check(&self, url: &Url) -> Result<String, EgressError> {
        if !matches!(url.scheme(), "https" | "http") {
            return Err(EgressError::Url);
        }
        let host = url.host().ok_or(EgressError::Url)?;
        let address = match host {
            Host::Domain(_) => None,
            Host::Ipv4(v4) => Some(IpAddr::V4(v4)),
            Host::Ipv6(v6) => Some(IpAddr::V6(v6)),
        };
        let host = host.to_string();
        match address.map(|address| self.rule(url)(&self.policy, address)) {
            Some(Err(refusal)) => Err(EgressError::Refused { host, refusal }),
            _ => Ok(host),
        }
    }

    async fn client(&self, url: &Url) -> Result<&reqwest::Client, EgressError> {
        let resolver = Resolver { policy: self.policy.clone(), permits: self.rule(url) };
        let (made, roots) = match url.scheme() {
            "http" => (&self.http, Roots::None),
            _ => (&self.https, Roots::System),
        };
        made.get_or_try_init(|| async { build(resolver, self.deadlines, roots, self.idle()) }).await
    }

    /// Returns the maximum number of idle HTTP connections to one host.
    fn idle(&self) -> usize {
        if self.keeps_connections { usize::MAX } else { 0 }
    }

    fn rule(&self, url: &Url) -> Rule {
        if url.scheme() == "http" { EgressPolicy::permits_http } else { EgressPolicy::permits_https }
    }
}

type Rule = fn(&EgressPolicy, IpAddr) -> Result<(), Refusal>;

/// The root certificates that a client trusts.
enum Roots {
    System,
    None,
}

#[expect(clippy::disallowed_methods, reason = "this is the one place where HTTP clients are made")]
fn build(
    resolver: Resolver,
    deadlines: Deadlines,
    roots: Roots,
    idle: usize,
) -> Result<reqwest::Client, EgressError> {
    let builder = match roots {
        Roots::System => reqwest::Client::builder(),
        Roots::None => reqwest::Client::builder().tls_certs_only([]),
    };
    builder
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .user_agent(USER_AGENT)
        .retry(reqwest::retry::never())
        .connect_timeout(deadlines.connect)
        .read_timeout(deadlines.read)
        .pool_max_idle_per_host(idle)
        .dns_resolver(resolver)
        .build()
        .map_err(EgressError::Setup)
}

/// Returns the content coding of a response that was not decoded; `None` if it has none, or no body.
fn unknown_coding(response: &reqwest::Response) -> Option<String> {
    let coding = response.headers().get(CONTENT_ENCODING)?;
    let coding: String = String::from_utf8_lossy(coding.as_bytes()).chars().take(MAX_CODING).collect();
    let has_body =
        !matches!(response.status().as_u16(), 202 | 204 | 304) && response.content_length() != Some(0);
    let is_plain = coding.trim().is_empty() || coding.trim().eq_ignore_ascii_case("identity");
    (has_body && !is_plain).then(|| coding.chars().filter(char::is_ascii_graphic).collect())
}

/// The resolver: returns those addresses of a name that the policy permits. The client connects to an address of this result
/// and to no other, so that a name that resolves differently a moment later changes nothing.
struct Resolver {
    policy: Arc<EgressPolicy>,
    permits: Rule,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (policy, permits) = (self.policy.clone(), self.permits);
        Box::pin(async move {
            let found = lookup(name.as_str()).await.map_err(Unresolved)?;
            let kept = permitted(found, |address| permits(&policy, address)).map_err(Refused)?;
            Ok(Box::new(kept.into_iter().map(|ip| SocketAddr::new(ip, 0))) as Addrs)
        })
    }
}

async fn lookup(name: &str) -> std::io::Result<Vec<IpAddr>> {
    let found: Vec<IpAddr> = tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect();
    if found.is_empty() {
        return Err(std::io::ErrorKind::NotFound.into());
    }
    Ok(found)
}

/// Returns the permitted ones of `addresses`; if there are none, the reason why the first was refused.
fn permitted(
    addresses: Vec<IpAddr>,
    permits: impl Fn(IpAddr) -> Result<(), Refusal>,
) -> Result<Vec<IpAddr>, Refusal> {
    let mut refused = None;
    let mut kept = Vec::with_capacity(addresses.len());
    for address in addresses {
        match permits(address) {
            Ok(()) => kept.push(address),
            Err(refusal) => {
                refused.get_or_insert(refusal);
            }
        }
    }
    match refused {
        Some(refusal) if kept.is_empty() => Err(refusal),
        _ => Ok(kept),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::body::MAX_BODY_BYTES;

    const DEADLINES: Deadlines = Deadlines { connect: Duration::from_secs(5), read: Duration::from_secs(5) };

    fn client(policy: &str) -> HttpClient {
        HttpClient::new(policy.parse().unwrap(), DEADLINES)
    }

    fn get(url: &str) -> http::Request<Vec<u8>> {
        http::Request::get(url).body(Vec::new()).unwrap()
    }

    /// Starts a server that answers every connection with `answer` and closes it. Returns its port.
    async fn serve(answer: Vec<u8>) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let answer = answer.clone();
                tokio::spawn(async move {
                    let mut seen = [0; 4096];
                    let _ = socket.read(&mut seen).await;
                    let _ = socket.write_all(&answer).await;
                });
            }
        });
        port
    }

    #[tokio::test]
    async fn a_refused_address_is_refused_by_literal_and_by_name() {
        let port = serve(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()).await;
        for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"] {
            for scheme in ["http", "https"] {
                let url = format!("{scheme}://{host}:{port}/");
                let error = client("").send(get(&url)).await.err().expect(&url);
                assert!(matches!(error, EgressError::Refused { .. }), "{url}: {error:?}");
            }
        }
        let answer = client("true").send(get(&format!("http://localhost:{port}/"))).await.unwrap();
        assert_eq!(answer.status(), 204);
    }

    #[tokio::test]
    async fn metadata_is_refused_even_in_development() {
        for url in ["http://169.254.169.254/", "https://[fd00:ec2::254]/", "http://[::ffff:a9fe:a9fe]/"] {
            let error = client("true").send(get(url)).await.err().unwrap();
            assert!(matches!(error, EgressError::Refused { .. }), "{url}: {error:?}");
        }
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_not_followed() {
        let target = serve(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()).await;
        let redirect =
            format!("HTTP/1.1 307 T\r\nlocation: http://127.0.0.1:{target}/\r\ncontent-length: 0\r\n\r\n");
        let port = serve(redirect.into_bytes()).await;
        let answer = client("true").send(get(&format!("http://127.0.0.1:{port}/"))).await.unwrap();
        assert_eq!(answer.status(), 307);
    }

    #[tokio::test]
    async fn a_body_past_the_limit_is_an_error() {
        let mut answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
        answer.resize(answer.len() + MAX_BODY_BYTES + 1, b'x');
        let port = serve(answer).await;
        let answer = client("true").send(get(&format!("http://127.0.0.1:{port}/"))).await.unwrap();
        let error = answer.into_body().collect().await.unwrap_err();
        assert!(matches!(error, EgressError::TooLarge { .. }), "{error:?}");
    }

    fn encoded(coding: &str, body: &[u8]) -> Vec<u8> {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\nconnection: close\r\n\r\n");
        [head.as_bytes(), body].concat()
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<char> = hex.chars().collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap())
            .collect()
    }

    async fn body_of(answer: Vec<u8>) -> Result<Vec<u8>, EgressError> {
        let port = serve(answer).await;
        client("true").send(get(&format!("http://127.0.0.1:{port}/"))).await?.into_body().collect().await
    }

    #[tokio::test]
    async fn a_body_is_decoded_from_whatever_known_coding_it_comes_in() {
        let plain = format!(r#"{{"hello":"{}"}}"#, "world".repeat(8));
        for (coding, body) in [
            ("br", "1b3300f82d92c7d5af084a6a32bc166193db5b6877a5d357656f2d42c6f6a624692a0a588f1a2f11"),
            ("zstd", "28b52ffd2034bd0000887b2268656c6c6f223a22776f726c64227d010040963a"),
            ("gzip", "1f8b0800000000000003ab56ca48cdc9c957b2522acf2fca49218250aa0500155335bd34000000"),
            ("deflate", "789cab56ca48cdc9c957b2522acf2fca49218250aa05001f90150f"),
        ] {
            let body = body_of(encoded(coding, &bytes(body))).await.expect(coding);
            assert_eq!(String::from_utf8(body).unwrap(), plain, "{coding}");
        }
    }

    #[tokio::test]
    async fn the_limit_counts_what_comes_out_and_an_unknown_coding_is_named() {
        // Nine megabytes of one letter.
        let bomb = bytes("cbffff3ff825f0e2b14020f7feaffeff1fbf04401c1601e8de3f00");
        let error = body_of(encoded("br", &bomb)).await.unwrap_err();
        assert!(matches!(error, EgressError::TooLarge { .. }), "{error:?}");
        let error = body_of(encoded("compress", b"x")).await.unwrap_err();
        assert!(error.to_string().contains("in the content coding compress"), "{error}");
        assert_eq!(body_of(encoded("identity", b"x")).await.unwrap(), b"x");
    }

    #[tokio::test]
    async fn requests_name_this_client_and_ask_for_no_coding() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut seen = [0; 4096];
            let length = socket.read(&mut seen).await.unwrap();
            socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            String::from_utf8_lossy(&seen[..length]).to_lowercase()
        });
        client("true").send(get(&format!("http://127.0.0.1:{port}/"))).await.unwrap();
        let seen = seen.await.unwrap();
        assert!(seen.contains(&format!("user-agent: {USER_AGENT}\r\n").to_lowercase()), "{seen}");
        assert!(seen.contains("accept-encoding: identity\r\n"), "{seen}");
    }

    #[tokio::test]
    async fn failures_are_told_apart_without_the_path() {
        let error = client("true").send(get("http://127.0.0.1:1/s3cret?k=s3cret")).await.err().unwrap();
        assert!(matches!(error, EgressError::Connect { .. }), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
        let error = client("").send(get("https://no-such-name.invalid/")).await.err().unwrap();
        assert!(matches!(error, EgressError::Dns { .. }), "{error:?}");
        let error = client("true").send(get("ftp://127.0.0.1/")).await.err().unwrap();
        assert!(matches!(error, EgressError::Url), "{error:?}");
    }
}
