//! The layers around a function's routes: deadline and cut-off, the access log line, errors for requests without a
//! route. Knows no route itself.

use std::{pin::Pin, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{FromRequestParts, MatchedPath, Request, State},
    http::{Method, Uri, request::Parts, uri::PathAndQuery},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use tokio::time::{Instant, timeout_at};
use tower::util::MapRequest;

use crate::{Authentication, ErrorKind, HttpError, authentication::CallerSlot};

/// The time for a request without [`InvocationEnd`], as in a test: the maximum integration time-out of an HTTP API.
const TIME_WITHOUT_INVOCATION: Duration = Duration::from_secs(30);

/// The end of the invocation that a request belongs to. [`crate::lambda::answer`] adds this to the request.
#[derive(Debug, Clone, Copy)]
pub struct InvocationEnd(pub Instant);

/// The time until which a handler has to respond. Handlers get this as an extractor.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(pub Instant);

/// Points in time of a request, each counted back from the end of the invocation.
#[derive(Debug, Clone, Copy)]
pub struct Margins {
    /// The [`Deadline`]: from then on, handlers respond with the results that they have.
    pub deadline: Duration,
    /// From then on, a handler that has not responded is dropped, and the response is 504.
    pub cut_off: Duration,
    /// From then on, token refreshes are not waited for any more.
    pub settled: Duration,
}

type SettledFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The settings of [`around`].
struct Edge {
    margins: Margins,
    authentication: Authentication,
    settled: Box<dyn Fn(Instant) -> SettledFuture + Send + Sync>,
}

impl Margins {
    /// Returns margins with this deadline. The cut-off is 1 s before the end of the invocation. Token refreshes may then
    /// take until 0.5 s before it; the rest is for the log line and the response.
    pub const fn with_deadline(deadline: Duration) -> Self {
        Self { deadline, cut_off: Duration::from_secs(1), settled: Duration::from_millis(500) }
    }
}

/// Returns the router that a function serves: `routes` with `state` and the layers of this module.
///
/// A path means the same with and without a slash at its end. A request that matches no path is refused with 404, a
/// request that matches a path with another method with 405 and `Allow`. After each response, the router waits for
/// `settled`, which finishes the work that must be done before the process may be frozen. `settled` gets the state and
/// the [`Instant`] at which it must return.
pub fn serve<S, F>(
    routes: Router<S>,
    state: S,
    margins: Margins,
    authentication: Authentication,
    settled: impl Fn(S, Instant) -> F + Send + Sync + 'static,
) -> Router
where
    S: Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let settled_state = state.clone();
    let settled = move |until| -> SettledFuture { Box::pin(settled(settled_state.clone(), until)) };
    let edge = Edge { margins, authentication, settled: Box::new(settled) };
    let routes = routes
        .with_state(state)
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(from_fn_with_state(Arc::new(edge), around));
    // The layers of a router run after routing, when it is too late to change the path.
    Router::new().fallback_service(MapRequest::new(routes, without_slash_at_end))
}

/// Runs a handler within its time, waits for `settled`, and logs the request.
async fn around(State(edge): State<Arc<Edge>>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let end = request.extensions().get::<InvocationEnd>().map(|end| end.0);
    let end = end.unwrap_or(began + TIME_WITHOUT_INVOCATION);
    let before_end = |margin| end.checked_sub(margin).unwrap_or(began);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let caller = CallerSlot::default();
    request.extensions_mut().insert(caller.clone());
    request.extensions_mut().insert(edge.authentication.clone());
    request.extensions_mut().insert(Deadline(before_end(edge.margins.deadline)));

    let answered = timeout_at(before_end(edge.margins.cut_off), next.run(request)).await;
    let response = answered.unwrap_or_else(|_| timed_out().into_response());
    (edge.settled)(before_end(edge.margins.settled)).await;

    // Path, query and body are not logged, because they contain the OAuth `state` and `code` of sign-ins.
    tracing::info!(
        http.method = %method,
        http.route = route.as_ref().map_or("none", MatchedPath::as_str),
        http.status = response.status().as_u16(),
        duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        user.sub = caller.sub(),
        "External MCP: request answered"
    );
    response
}

async fn no_route() -> HttpError {
    HttpError::new(ErrorKind::NotFound, "there is no such route")
        .with_remedy("GET /openapi.json lists the routes")
}

async fn no_method(method: Method) -> HttpError {
    HttpError::new(ErrorKind::MethodNotAllowed, format!("this route does not take {method}"))
        .with_remedy("use one of the methods in the header Allow")
}

fn timed_out() -> HttpError {
    let message = "the answer was not ready in time: a server or a service that it depends on did not answer";
    HttpError::new(ErrorKind::Timeout, message)
        .with_remedy("try again; if that fails too, an administrator finds the reason in the function's log")
}

/// Removes the slashes at the end of a request's path.
fn without_slash_at_end(mut request: Request) -> Request {
    let path = request.uri().path();
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() || trimmed.len() == path.len() {
        return request;
    }
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = request.uri().clone().into_parts();
    // The trimmed path and query are valid, because the whole ones were.
    parts.path_and_query = PathAndQuery::try_from(format!("{trimmed}{query}")).ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request
}

impl<S: Send + Sync> FromRequestParts<S> for Deadline {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, HttpError> {
        let deadline = parts.extensions.get::<Self>().copied();
        Ok(deadline.unwrap_or_else(|| Self(Instant::now() + TIME_WITHOUT_INVOCATION)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::{body::Body, body::to_bytes, http::HeaderMap, routing::get};
    use identity::Authenticator;
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;
    use crate::Path;

    const MARGINS: Margins = Margins::with_deadline(Duration::from_secs(2));

    fn no_authentication() -> Authentication {
        Authentication::new(Authenticator::default(), || jiff::Timestamp::UNIX_EPOCH)
    }

    async fn send(
        router: &Router,
        method: &str,
        path: &str,
        end: Option<Instant>,
    ) -> (u16, Value, HeaderMap) {
        let mut request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        if let Some(end) = end {
            request.extensions_mut().insert(InvocationEnd(end));
        }
        let response = router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        (parts.status.as_u16(), serde_json::from_slice(&body).unwrap_or_default(), parts.headers)
    }

    #[tokio::test]
    async fn requests_without_a_route_get_the_error_body() {
        let routes = Router::new().route("/jobs/{id}", get(|Path(id): Path<String>| async move { id }));
        let router = serve(routes, (), MARGINS, no_authentication(), |(), _| std::future::ready(()));
        for path in ["/jobs/a", "/jobs/a/", "/jobs/a//", "/jobs/a/?x=1"] {
            assert_eq!(send(&router, "GET", path, None).await.0, 200, "{path}");
        }
        for path in ["/", "/jobs", "/jobs/a/b", "/nothing"] {
            let (status, body, _) = send(&router, "GET", path, None).await;
            assert_eq!((status, &body["error"]), (404, &"not_found".into()), "{path}");
            assert!(body["remedy"].is_string());
        }
        let (status, body, headers) = send(&router, "PUT", "/jobs/a/", None).await;
        assert_eq!((status, &body["error"]), (405, &"method_not_allowed".into()));
        assert_eq!(headers["allow"], "GET,HEAD");
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_gets_its_deadline_and_is_dropped_at_the_cut_off() {
        let end = Instant::now() + Duration::from_secs(10);
        let checks_deadline = move |Deadline(deadline): Deadline| async move {
            assert_eq!(end - deadline, MARGINS.deadline);
        };
        let hangs = || async { std::future::pending::<()>().await };
        let settled = Arc::new(AtomicUsize::new(0));
        let counted = settled.clone();
        let router = serve(
            Router::new().route("/deadline", get(checks_deadline)).route("/hangs", get(hangs)),
            (),
            MARGINS,
            no_authentication(),
            move |(), until| {
                assert_eq!(end - until, MARGINS.settled);
                counted.fetch_add(1, Ordering::Relaxed);
                std::future::ready(())
            },
        );
        assert_eq!(send(&router, "GET", "/deadline", Some(end)).await.0, 200);
        let (status, body, _) = send(&router, "GET", "/hangs", Some(end)).await;
        assert_eq!((status, &body["error"]), (504, &"timeout".into()));
        assert_eq!(end - Instant::now(), MARGINS.cut_off);
        assert_eq!(settled.load(Ordering::Relaxed), 2);
    }
}
