//! Requests that a web page in a browser has caused, and the answers that let a page of a named origin read.
//!
//! Every page that a browser shows can send requests to loopback and to the network of its user. A script sends its page's
//! address in `Origin`. For other requests of a page, such as those for images, a browser sends `Sec-Fetch-Site`. If a
//! stranger points a name at this machine (DNS rebinding), that name is in `Host`. `api` and `admin::router` refuse what is
//! found here. Deliberately absent: `Sec-Fetch-Mode`, which other clients than browsers send too.

use std::net::IpAddr;

use axum::{body::Body, extract::Request, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, uri::Authority};

use crate::config::names::{HostName, Origin};

/// Header by which a browser says that it acts for a web page (Fetch Metadata Request Headers, W3C).
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// The message for a request that [`names_foreign_host`].
pub(crate) const FOREIGN_HOST: &str =
    "the header `host` names neither an IP address, nor `localhost`, nor a name in `[server] hosts`";

/// Returns the header that shows that a web page caused the request; `None` if none does, or if the page's origin is one
/// of `origins`.
pub(crate) fn cause(headers: &HeaderMap, origins: &[Origin]) -> Option<HeaderName> {
    if headers.contains_key(header::ORIGIN) {
        return named_origin(headers, origins).is_none().then_some(header::ORIGIN);
    }
    // `none` means that a person typed the address.
    headers.get_all(FETCH_SITE).iter().any(|site| site != "none").then_some(FETCH_SITE)
}

/// Returns the request's origin if it is one of `origins`. Two such headers count as none.
pub(crate) fn named_origin<'h>(headers: &'h HeaderMap, origins: &[Origin]) -> Option<&'h HeaderValue> {
    let mut given = headers.get_all(header::ORIGIN).iter();
    let (Some(origin), None) = (given.next(), given.next()) else { return None };
    origins.iter().any(|it| origin == it.as_str()).then_some(origin)
}

/// Returns true if the request names a host that a stranger could have pointed at this machine: anything but an IP
/// address, `localhost`, and one of `hosts`. A request that names no host is none of a browser.
pub(crate) fn names_foreign_host<'n>(
    request: &Request,
    hosts: impl IntoIterator<Item = &'n HostName> + Clone,
) -> bool {
    let is_own = |host: &str| {
        let number = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = host.strip_suffix('.').unwrap_or(host);
        number.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || hosts.clone().into_iter().any(|it| it.is(host))
    };
    // Every place where a request names its host counts, because it is unknown which of several is meant.
    let mut named = request.headers().get_all(header::HOST).iter();
    let header_is_own = |it: &HeaderValue| {
        it.to_str().is_ok_and(|it| it.parse().is_ok_and(|it: Authority| is_own(it.host())))
    };
    !named.all(header_is_own) || request.uri().authority().is_some_and(|it| !is_own(it.host()))
}

/// Returns the answer to a page of a named origin that asks whether it may send a request; `None` for other requests. The
/// question never has a key.
pub(crate) fn preflight(request: &Request, origins: &[Origin]) -> Option<Response> {
    let headers = request.headers();
    if request.method() != Method::OPTIONS || !headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        return None;
    }
    named_origin(headers, origins)?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let permitted = response.headers_mut();
    permitted.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE"));
    // `*` would not include `authorization`.
    if let Some(asked) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        permitted.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    permitted.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    let asked = "access-control-request-method, access-control-request-headers";
    permitted.insert(header::VARY, HeaderValue::from_static(asked));
    Some(response)
}

/// Lets a page of the origin read the response. `origin` is absent if the request has none that is named.
pub(crate) fn permit(response: &mut HeaderMap, origin: Option<HeaderValue>) {
    response.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        response.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, host: &str) -> Request {
        Request::builder().uri(target).header(header::HOST, host).body(Body::empty()).expect("a request")
    }

    #[test]
    fn a_host_that_a_stranger_can_point_here_is_foreign() {
        let hosts: Vec<HostName> = vec![toml::Value::from("llmux.internal").try_into().expect("a name")];
        for (host, expected) in [
            ("127.0.0.1:8081", false),
            ("10.0.0.1", false),
            ("0.0.0.0", false),
            ("[::1]", false),
            ("[::1]:8081", false),
            ("[fe80::1]", false),
            ("localhost", false),
            ("LocalHost:1", false),
            ("localhost.", false),
            ("llmux.internal", false),
            ("LLMUX.internal.:8081", false),
            ("evil.example", true),
            ("evil.example:8081", true),
            ("llmux.internal.evil.example", true),
            ("127.0.0.1.evil.example", true),
            ("127.1", true),
            ("localhost.evil.example", true),
            ("localhost, evil.example", true),
            ("a b", true),
            ("", true),
        ] {
            assert_eq!(names_foreign_host(&request("/", host), &hosts), expected, "{host:?}");
        }
        for (target, host) in [("http://evil.example/", "127.0.0.1"), ("http://127.0.0.1/", "evil.example")] {
            assert!(names_foreign_host(&request(target, host), &hosts), "{target} with {host}");
        }
        let none = Request::new(Body::empty());
        assert!(!names_foreign_host(&none, &hosts), "no host");
    }
}
