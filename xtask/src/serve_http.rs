//! A web server of one page, which says who it is and whom it sees.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The name to answer with
    #[arg(long)]
    name: String,
    /// The address to listen at
    #[arg(long, default_value = "[::]:80")]
    listen: String,
}

/// Serves until standard input is closed: that happens also when the demo is killed.
pub(crate) fn run(options: &Options) -> Result<()> {
    let Options { name, listen } = options;
    let listener = TcpListener::bind(listen).with_context(|| format!("listen at {listen}"))?;
    let name = name.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let name = name.clone();
            thread::spawn(move || drop(answer(&stream, &name)));
        }
    });
    io::stdin().read_to_end(&mut Vec::new()).context("wait on standard input")?;
    Ok(())
}

fn answer(mut stream: &TcpStream, name: &str) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let peer = stream.peer_addr()?.ip().to_canonical();
    for line in BufReader::new(stream).lines() {
        if line?.is_empty() {
            break;
        }
    }
    let body = format!("{name} sees {peer}\n");
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
