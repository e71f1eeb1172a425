//! TCP between namespaces: a server that tells what it saw, and clients that check what they are told.
//!
//! One connection carries any number of requests, a line each: `who` is answered with `peer local name`;
//! `swap N` is followed by N bytes, answered with their hash, and followed by N bytes back.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use socket2::{Domain, SockRef, Type};

use crate::bind::bind_when_free;
use crate::ns::Ns;
use crate::patience::patient;
use crate::payload::{Hash, Payload};

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Name of the namespace that answered.
    pub by: String,
    /// The client's address as the server saw it.
    pub seen_source: SocketAddr,
    /// The server's own address as it saw it.
    pub seen_destination: SocketAddr,
    /// The client's own address as the client saw it.
    pub local: SocketAddr,
    /// The server's address as the client saw it.
    pub remote: SocketAddr,
}

impl Reply {
    /// Reads the server's `peer local name`.
    pub(crate) fn parse(line: &str, local: SocketAddr, remote: SocketAddr) -> io::Result<Self> {
        let mut words = line.split_whitespace();
        let mut next = || words.next().ok_or_else(|| invalid(format!("a strange answer: {line:?}")));
        let seen_source = next()?.parse().map_err(invalid)?;
        let seen_destination = next()?.parse().map_err(invalid)?;
        Ok(Self { by: next()?.to_owned(), seen_source, seen_destination, local, remote })
    }
}

/// An IPv4 address that a dual-stack socket reports in IPv6 form, as IPv4.
pub(crate) fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

pub(crate) fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// A read that took too long, under the name that a connect that took too long has.
pub(crate) fn late(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct TcpServer {
    listener: TcpListener,
    address: SocketAddr,
    open: Arc<Mutex<Vec<Weak<TcpStream>>>>,
}

impl TcpServer {
    /// The address it listens at; the port is the real one where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for TcpServer {
    fn drop(&mut self) {
        // Wakes the thread that waits in accept.
        drop(SockRef::from(&self.listener).shutdown(Shutdown::Both));
        for stream in
            self.open.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade)
        {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

/// A connection that stays open between questions.
#[derive(Debug)]
pub struct Conversation {
    stream: BufReader<TcpStream>,
}

impl Conversation {
    /// Asks the server what it sees. Also a proof that the connection still passes packets.
    pub fn ask(&mut self) -> io::Result<Reply> {
        self.stream.get_mut().write_all(b"who\n")?;
        let mut line = String::new();
        if self.stream.read_line(&mut line).map_err(late)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let stream = self.stream.get_ref();
        Reply::parse(&line, plain(stream.local_addr()?), plain(stream.peer_addr()?))
    }

    /// Sends `bytes` bytes and gets as many back; both directions are checked.
    pub fn swap(&mut self, bytes: u64) -> io::Result<()> {
        self.stream.get_mut().write_all(format!("swap {bytes}\n").as_bytes())?;
        let mut hash = Hash::new();
        send(self.stream.get_mut(), bytes, &mut hash)?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        if line.trim() != hash.value().to_string() {
            return Err(invalid("the server got other bytes than were sent"));
        }
        if receive(&mut self.stream, bytes)? != hash.value() {
            return Err(invalid("other bytes came back than the server sent"));
        }
        Ok(())
    }

    /// Ends the connection by a RST, so that the same ports may be used at once.
    pub fn abort(self) -> io::Result<()> {
        SockRef::from(self.stream.get_ref()).set_linger(Some(Duration::ZERO))
    }

    /// The client's own address.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.stream.get_ref().local_addr().map(plain)
    }
}

fn send(to: &mut impl Write, bytes: u64, hash: &mut Hash) -> io::Result<()> {
    let mut payload = Payload::new(bytes);
    let mut buffer = vec![0; 64 << 10];
    let mut left = bytes;
    while left > 0 {
        let part = &mut buffer[..usize::try_from(left).unwrap_or(usize::MAX).min(64 << 10)];
        payload.fill(part);
        hash.update(part);
        to.write_all(part)?;
        left -= part.len() as u64;
    }
    Ok(())
}

fn receive(from: &mut impl Read, bytes: u64) -> io::Result<u64> {
    let mut hash = Hash::new();
    let mut buffer = vec![0; 64 << 10];
    let mut left = bytes;
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(64 << 10);
        let got = from.read(&mut buffer[..most])?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        hash.update(&buffer[..got]);
        left -= got as u64;
    }
    Ok(hash.value())
}

impl Ns {
    /// Serves TCP at `address`. `[::]:80` serves IPv4 too.
    pub fn tcp_serve(&self, address: &str) -> Result<TcpServer> {
        let address: SocketAddr = address.parse()?;
        let socket = self.socket(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        bind_when_free(&socket, address)?;
        socket.listen(1024)?;
        let listener: TcpListener = socket.into();
        let address = listener.local_addr()?;
        let open = Arc::new(Mutex::new(Vec::<Weak<TcpStream>>::new()));
        let (accepting, opened) = (listener.try_clone()?, open.clone());
        let name = self.name().to_owned();
        thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                let stream = Arc::new(stream);
                let mut opened = opened.lock().unwrap_or_else(PoisonError::into_inner);
                // What has ended is no file any more: long tests open more connections than a process may have.
                opened.retain(|stream| stream.strong_count() > 0);
                opened.push(Arc::downgrade(&stream));
                let name = name.clone();
                thread::spawn(move || drop(converse(&stream, &name)));
            }
        });
        Ok(TcpServer { listener, address, open })
    }

    /// Connects to `address`; `timeout` is for this and for each question later.
    pub fn tcp_connect(&self, address: &str, timeout: Duration) -> io::Result<Conversation> {
        self.tcp_connect_from(None, address, timeout)
    }

    /// As [`Self::tcp_connect`], from a source address and port of one's own.
    pub fn tcp_connect_from(
        &self,
        from: Option<SocketAddr>,
        address: &str,
        timeout: Duration,
    ) -> io::Result<Conversation> {
        Ok(Conversation { stream: BufReader::new(self.tcp_open(from, address, timeout)?) })
    }

    /// Connects to `address` for a protocol of the caller's; `timeout` is for this and for each read and write.
    pub fn tcp_open(
        &self,
        from: Option<SocketAddr>,
        address: &str,
        timeout: Duration,
    ) -> io::Result<TcpStream> {
        let timeout = patient(timeout);
        let address: SocketAddr = address.parse().map_err(invalid)?;
        let socket = self.socket_for(address, Type::STREAM, from)?;
        socket.connect_timeout(&address.into(), timeout)?;
        let stream: TcpStream = socket.into();
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Connects, asks once, and hangs up.
    pub fn tcp_ask(&self, address: &str, timeout: Duration) -> io::Result<Reply> {
        self.tcp_connect(address, timeout)?.ask()
    }

    /// Sends `bytes` bytes there and gets as many back, all of them checked. Returns the time it took.
    pub fn tcp_stream(&self, address: &str, bytes: u64, timeout: Duration) -> io::Result<Duration> {
        let mut conversation = self.tcp_connect(address, timeout)?;
        let start = Instant::now();
        conversation.swap(bytes)?;
        Ok(start.elapsed())
    }
}

fn converse(stream: &TcpStream, name: &str) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (peer, local) = (plain(stream.peer_addr()?), plain(stream.local_addr()?));
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        match line.trim().split_once(' ') {
            Some(("swap", count)) => {
                let count = count.parse().map_err(invalid)?;
                let hash = receive(&mut stream, count)?;
                stream.get_mut().write_all(format!("{hash}\n").as_bytes())?;
                send(stream.get_mut(), count, &mut Hash::new())?;
            }
            _ => stream.get_mut().write_all(format!("{peer} {local} {name}\n").as_bytes())?,
        }
    }
}
