"""A minimal browser: it follows redirects, stores cookies and submits one form. It runs no scripts."""

import http.cookiejar
import urllib.error
import urllib.request
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit


class _Form(HTMLParser):
    """The first form of a page: its action URL and the values of its fields."""

    def __init__(self, page: str):
        super().__init__()
        self.action = None
        self.fields = {}
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "form" and self.action is None:
            self.action = attributes.get("action", "")
        if tag == "input" and attributes.get("name"):
            self.fields[attributes["name"]] = attributes.get("value", "")


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def follow(url: str, redirect_uri: str | None = None, form: dict[str, str] | None = None) -> dict[str, str]:
    """Opens an authorization URL as a browser does. Returns the query parameters of the redirect to the redirect URI.

    Follows redirects, with a cookie jar, until one leads to the redirect URI. It does not open that URI. The default of
    `redirect_uri` is the one in the URL. A page with a form is filled in with `form` and submitted, once.
    """
    redirect_uri = redirect_uri or dict(parse_qsl(urlsplit(url).query))["redirect_uri"]
    # Browsers accept `Secure` cookies from loopback addresses too.
    policy = http.cookiejar.DefaultCookiePolicy(secure_protocols=("https", "http"))
    cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar(policy))
    browser = urllib.request.build_opener(urllib.request.ProxyHandler({}), cookies, _Stay)
    data = None
    for _ in range(20):
        try:
            answer = browser.open(urllib.request.Request(url, data), timeout=10)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            page, status, location = answer.read().decode(errors="replace"), answer.status, answer.headers["location"]
        if 300 <= status < 400 and location:
            url, data = urljoin(url, location), None
            if url.split("?")[0] == redirect_uri.split("?")[0]:
                return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
        elif form and (found := _Form(page)).action is not None:
            url, data = urljoin(url, found.action), urlencode(found.fields | form).encode()
            form = None
        else:
            raise AssertionError(f"{url} answered {status} and not with a redirect:\n{page[:2000]}")
    raise AssertionError(f"no end of redirects at {url}")
