//! The metrics by HTTP.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::text;
use crate::faces::cli::{error, output, privileges};
use crate::reconcile::instance::{Instance, Options};

/// How long a client may take to send its request.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves until a signal ends it.
pub(super) fn serve(options: &Options, address: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start")?;
    let listener =
        runtime.block_on(TcpListener::bind(address)).with_context(|| format!("listen on {address}"))?;
    // The port may have been one that needs rights.
    privileges::give_up()?;
    let address = listener.local_addr().context("read the address")?;
    output::complain(&format!("metrics are at http://{address}/metrics; Ctrl-C ends"));
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).context("listen for signals")?;
        let mut terminate = signal(SignalKind::terminate()).context("listen for signals")?;
        tokio::select! {
            () = accept(&listener, options) => {}
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok(())
    })
}

async fn accept(listener: &TcpListener, options: &Options) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // As when there are no file descriptors left, which passes.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let options = options.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, options.clone()));
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
            if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "a client went away");
            }
        });
    }
}

async fn answer(request: Request<Incoming>, options: Options) -> Result<Response<Full<Bytes>>, Infallible> {
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    Ok(match request.uri().path() {
        "/metrics" if is_read => metrics(options).await,
        "/metrics" => {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD".to_owned());
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            response
        }
        _ => plain(StatusCode::NOT_FOUND, "see /metrics".to_owned()),
    })
}

async fn metrics(options: Options) -> Response<Full<Bytes>> {
    let look = move || Instance::view(&options).and_then(|view| text::text(&view));
    // It reads files and the kernel, which blocks.
    match tokio::task::spawn_blocking(look).await.context("look at the instance").flatten() {
        Ok(text) => with_type(StatusCode::OK, text::CONTENT_TYPE, text),
        Err(failure) => plain(StatusCode::INTERNAL_SERVER_ERROR, error::render(&failure, false)),
    }
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    with_type(status, "text/plain; charset=utf-8", text + "\n")
}

fn with_type(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
