//! Connections that become something else: WebSocket and its like after a 101, tunnels after CONNECT.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::Response;
use http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::time::timeout;

use super::Destination;
use super::body::ResponseBody;
use super::forward::Forward;
use super::pool::Link;
use super::trouble::Trouble;
use crate::BoxFuture;

/// What a connection is driven with once it speaks HTTP no more.
#[derive(Clone, Default)]
pub(super) struct Afterwards(Arc<Mutex<Option<BoxFuture<'static, ()>>>>);

impl Afterwards {
    pub(super) fn set(&self, future: impl Future<Output = ()> + Send + 'static) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::pin(future));
    }

    pub(super) fn take(&self) -> Option<BoxFuture<'static, ()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Copies both ways, once both ends have changed their protocol.
pub(super) async fn join(program: OnUpgrade, upstream: OnUpgrade) {
    let (program, upstream) = match tokio::try_join!(program, upstream) {
        Ok(both) => both,
        Err(error) => return tracing::debug!(%error, "the protocol was not changed"),
    };
    let (mut program, mut upstream) = (TokioIo::new(program), TokioIo::new(upstream));
    // Either end may go without a word.
    let _ = copy_bidirectional(&mut program, &mut upstream).await;
}

/// Answers CONNECT (RFC 9110 §9.3.6). What goes through a tunnel has no token of ours.
pub(super) async fn connect(
    forward: &Forward,
    link: &Link,
    parts: &mut Parts,
    afterwards: &Afterwards,
) -> Result<Response<ResponseBody>, Trouble> {
    let program = parts.extensions.remove::<OnUpgrade>();
    let (Some(program), true, http::Version::HTTP_11) = (program, forward.tunnels, parts.version)
    else {
        return Err(Trouble::NoTunnel);
    };
    const TARGET: Trouble = Trouble::BadRequest("the target of CONNECT is host:port");
    let authority = parts.uri.authority().filter(|authority| authority.port().is_some());
    let url = format!("http://{}/", authority.ok_or(TARGET)?);
    let to = url.parse().ok().and_then(|url| Destination::of(&url)).ok_or(TARGET)?;
    let limit = link.limits.connect_timeout;
    let dialled = timeout(limit, link.dial.dial(&to, false)).await;
    let dialled = dialled.map_err(|_| Trouble::ConnectTimeout(limit))?;
    let mut upstream = dialled.map_err(Trouble::Unreachable)?.stream;
    link.counters.tunnels.add();
    afterwards.set(async move {
        if let Ok(program) = program.await {
            let _ = copy_bidirectional(&mut TokioIo::new(program), &mut upstream).await;
        }
    });
    Ok(Response::new(ResponseBody::Own(Bytes::new())))
}
