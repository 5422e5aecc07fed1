//! A probe by HTTP/1.1, as kubelet makes it: redirects within the same host are followed, certificates
//! are not looked at, and any answer is one.

#[cfg(test)]
mod tests;

use ::http::header::{ACCEPT, CONNECTION, HOST, HeaderValue, LOCATION, USER_AGENT};
use ::http::uri::{PathAndQuery, Uri};
use ::http::{Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::application::Application;
use super::declared::HttpGet;
use super::{Asker, Failure};
use crate::io::Io;
use crate::tls::client::{Speech, TlsClient};
use crate::upstream::health::driven;

/// Redirects that are followed.
const REDIRECTS_MAX: usize = 10;
/// Largest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How much of an answer is taken, in bytes, so that an application that writes a page does not find
/// its connection closed.
const BODY_BYTES_MAX: usize = 10 * 1024;

/// What is asked for next.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    https: bool,
    port: u16,
    path: PathAndQuery,
    /// Whether the host that was declared is still the one that is asked for.
    as_declared: bool,
}

/// Asks the application, and says with which status it answers in the end.
pub(super) async fn get(
    declared: &HttpGet,
    application: Application,
    asker: Asker<'_>,
    tls: Option<&TlsClient>,
) -> Result<StatusCode, Failure> {
    let mut target = Target {
        https: declared.https,
        port: declared.port,
        path: declared.path.clone(),
        as_declared: true,
    };
    for _ in 0..=REDIRECTS_MAX {
        let request = request(declared, &target, application, asker)?;
        let io = application.connect(target.port).await?;
        let io = match (target.https, tls) {
            (false, _) => io,
            (true, Some(tls)) => secure(io, tls).await?,
            (true, None) => return Err(Failure::Tls("it cannot be set up".into())),
        };
        let (status, location) = exchange(io, request).await?;
        let location = location.as_ref().and_then(|it| it.to_str().ok());
        let next = location.filter(|_| is_redirect(status));
        let next = next.and_then(|location| target.redirected(location, &application.host()));
        match next {
            Some(next) => target = next,
            None => return Ok(status),
        }
    }
    Err(Failure::Redirects)
}

fn request(
    declared: &HttpGet,
    target: &Target,
    application: Application,
    asker: Asker<'_>,
) -> Result<Request<Empty<Bytes>>, Failure> {
    let host = declared.host.clone().filter(|_| target.as_declared);
    let host = match host {
        Some(host) => host,
        None => HeaderValue::try_from(application.authority(target.port))
            .map_err(::http::Error::from)?,
    };
    let mut request = Request::get(target.path.as_str())
        .header(HOST, host)
        .header(CONNECTION, HeaderValue::from_static("close"))
        .body(Empty::new())?;
    let headers = request.headers_mut();
    for (name, value) in &declared.headers {
        // How the message is framed, and how long the connection lives, is ours to say.
        if *name != CONNECTION && !is_framing(name) {
            headers.append(name, value.clone());
        }
    }
    let agent = || match asker.agent {
        Some(agent) => agent.clone(),
        None => HeaderValue::from_static(super::USER_AGENT),
    };
    headers.entry(USER_AGENT).or_insert_with(agent);
    headers
        .entry(ACCEPT)
        .or_insert(HeaderValue::from_static("*/*"));
    Ok(request)
}

fn is_framing(name: &::http::HeaderName) -> bool {
    matches!(
        *name,
        ::http::header::CONTENT_LENGTH
            | ::http::header::TRANSFER_ENCODING
            | ::http::header::UPGRADE
            | ::http::header::TE
            | ::http::header::EXPECT
    )
}

async fn secure(io: Io, tls: &TlsClient) -> Result<Io, Failure> {
    let secured = tls.secure(io, Speech::Http1).await;
    let secured = secured.map_err(|error| Failure::Tls(Box::new(error)))?;
    Ok(secured.io)
}

/// The status of an answer, and where it leads.
async fn exchange(
    io: Io,
    request: Request<Empty<Bytes>>,
) -> Result<(StatusCode, Option<HeaderValue>), Failure> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX);
    let (mut send, conn) = builder.handshake(TokioIo::new(io)).await?;
    driven(conn, async {
        let response = send.send_request(request).await?;
        let found = (response.status(), response.headers().get(LOCATION).cloned());
        take_some(response).await;
        Ok(found)
    })
    .await
}

/// Takes the body, as far as it is not too long. How it ends does not matter.
async fn take_some(response: Response<Incoming>) {
    let mut body = response.into_body();
    let mut taken = 0;
    while taken < BODY_BYTES_MAX
        && let Some(Ok(frame)) = body.frame().await
    {
        taken += frame.data_ref().map_or(0, Bytes::len);
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

// === impl Target ===

impl Target {
    /// Where a `Location` leads, if that is to the same host; any port of it will do.
    fn redirected(&self, location: &str, host: &str) -> Option<Self> {
        let location = location.split('#').next().unwrap_or_default();
        if location.starts_with("//") {
            let scheme = if self.https { "https:" } else { "http:" };
            return self.redirected(&format!("{scheme}{location}"), host);
        }
        let is_absolute = location
            .split_once(':')
            .is_some_and(|(scheme, _)| !scheme.contains(['/', '?']));
        if !is_absolute {
            let path = self.resolve(location).parse().ok()?;
            return Some(Self {
                path,
                ..self.clone()
            });
        }
        let uri: Uri = location.parse().ok()?;
        let https = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        if !uri.host()?.eq_ignore_ascii_case(host) {
            return None;
        }
        Some(Self {
            https,
            port: uri.port_u16().unwrap_or(if https { 443 } else { 80 }),
            path: uri.path_and_query()?.clone(),
            as_declared: false,
        })
    }

    /// A reference without scheme and host, from where we are (RFC 3986 §5.2.2).
    fn resolve(&self, reference: &str) -> String {
        let path = self.path.path();
        match reference.chars().next() {
            None => self.path.to_string(),
            Some('/') => reference.to_owned(),
            Some('?') => format!("{path}{reference}"),
            Some(_) => {
                let folder = path.rfind('/').map_or("/", |at| &path[..=at]);
                format!("{folder}{reference}")
            }
        }
    }
}
