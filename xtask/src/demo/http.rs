//! The demo's web client.

use std::io::{self, Read as _, Write as _};
use std::time::Duration;

use netfast_tests::Ns;

/// What a server of the demo's answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) by: String,
    pub(crate) sees: String,
}

/// Fetches the page at `address` from within `from`.
pub(crate) fn get(from: &Ns, address: &str, timeout: Duration) -> io::Result<Answer> {
    let mut stream = from.tcp_open(None, address, timeout)?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    match body.trim().split_once(" sees ") {
        Some((by, sees)) => Ok(Answer { by: by.to_owned(), sees: sees.to_owned() }),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, format!("a strange page: {text:?}"))),
    }
}
