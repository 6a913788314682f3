//! The HTTP client of the AWS SDKs: reqwest, which the rest of this workspace uses too.
//!
//! The SDKs' default client would add a second connection pool, HTTP/2 and a second load of the root certificates to
//! every function. Requests and responses are small here, so bodies are sent and read as a whole. Sets no time-out
//! except for connecting: the SDKs set theirs around it. Used by [`crate::aws_config`].

use std::{sync::Arc, time::Duration};

use aws_smithy_runtime_api::client::{
    http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::body::SdkBody;
use tokio::sync::OnceCell;

/// Time limit for opening an HTTP connection (TCP and TLS) to an AWS endpoint.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The HTTP client. Clones share their HTTP connections.
#[derive(Debug, Clone, Default)]
pub(crate) struct AwsHttp {
    /// For `https` URLs. Created at the first use, because loading the root certificates is half of a cold start.
    https: Arc<OnceCell<reqwest::Client>>,
    /// For `http` URLs of a local AWS. Loads no root certificates.
    http: Arc<OnceCell<reqwest::Client>>,
}

impl HttpClient for AwsHttp {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for AwsHttp {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.clone();
        HttpConnectorFuture::new(async move { client.send(request).await })
    }
}

impl AwsHttp {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
        let is_https = request.uri().scheme_str() != Some("http");
        let (parts, body) = request.into_parts();
        let body = body.bytes().map(<[u8]>::to_vec);
        let body =
            body.ok_or_else(|| ConnectorError::user("a body that is a stream cannot be sent".into()))?;
        let request = reqwest::Request::try_from(http::Request::from_parts(parts, body)).map_err(explain)?;
        let made = if is_https { &self.https } else { &self.http };
        let client = made.get_or_try_init(|| async { build(is_https) }).await.map_err(explain)?;
        let answer = client.execute(request).await.map_err(explain)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.bytes().await.map_err(explain)?;
        let mut response = http::Response::new(SdkBody::from(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
    }
}

#[expect(clippy::disallowed_methods, reason = "AWS's own addresses, which the SDKs choose")]
fn build(is_https: bool) -> reqwest::Result<reqwest::Client> {
    let builder = match is_https {
        true => reqwest::Client::builder(),
        false => reqwest::Client::builder().tls_certs_only([]),
    };
    builder
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        // Requests are sent as the SDKs have signed them, and responses are returned unchanged.
        .http1_only()
        .no_gzip()
        .no_deflate()
        .no_brotli()
        .no_zstd()
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_TIMEOUT)
        .build()
}

/// Returns the error in the SDKs' type. The SDKs decide by its kind whether to retry.
fn explain(error: reqwest::Error) -> ConnectorError {
    if error.is_timeout() {
        ConnectorError::timeout(error.into())
    } else if error.is_builder() {
        ConnectorError::user(error.into())
    } else {
        ConnectorError::io(error.into())
    }
}
