//! A hundred flows over every path of a lab at once, each of which checks what it gets and notes its stalls.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::lab::{HOST_V4, HOST_V6, Lab, OUTSIDE_V4, OUTSIDE_V6};
use crate::ns::Ns;
use crate::tcp::TcpServer;
use crate::udp::{UdpServer, udp_ask_on};

/// How many flows there are.
const FLOWS: usize = 100;
/// How many there are besides, on a loopback device, of both protocols: what stops these is the machine's load.
const CONTROLS: usize = 20;
/// How long a flow waits between two exchanges.
const PAUSE: Duration = Duration::from_millis(30);
/// After which a datagram is given up as lost. That is more than any test allows: an answer that is late because the machine
/// is busy is told from one that never comes.
const DATAGRAM: Duration = Duration::from_secs(1);
/// After which a connection is given up.
const CONNECTION: Duration = Duration::from_secs(5);

/// What became of the flows.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What broke: reset connections, wrong bytes.
    pub broken: Vec<String>,
    /// The longest time a flow got nothing through, and which it was.
    pub worst: (Duration, String),
    /// As `worst`, of the flows on a loopback device, which show how busy the machine was.
    pub control: Duration,
    /// Exchanges that came to an end.
    pub exchanges: u64,
}

/// Flows that run until they are stopped.
#[derive(Debug)]
pub struct Traffic {
    stop: Arc<AtomicBool>,
    flows: Vec<JoinHandle<Outcome>>,
    controls: Vec<JoinHandle<Outcome>>,
    _servers: (Vec<TcpServer>, Vec<UdpServer>),
}

#[derive(Debug)]
struct Outcome {
    name: String,
    worst: Duration,
    exchanges: u64,
    result: io::Result<()>,
}

/// From where to where.
struct Way {
    from: Ns,
    to: SocketAddr,
    is_udp: bool,
}

impl Traffic {
    /// Starts the flows. The lab has an endpoint `web`, whose ports 80/tcp and 53/udp are published as 8080 and 5353, and
    /// an endpoint `client`, both with both families.
    pub fn start(lab: &Lab) -> Result<Self> {
        let (web, client) = (lab.endpoint_ns("web")?, lab.endpoint_ns("client")?);
        let at = |ip: &str, port| -> Result<SocketAddr> { Ok(SocketAddr::new(ip.parse()?, port)) };
        let tcp = vec![web.tcp_serve("[::]:80")?, lab.outside.tcp_serve("[::]:80")?];
        let mut udp = Vec::new();
        let mut ways = Vec::new();
        let places = [(HOST_V4, OUTSIDE_V4, "127.0.0.1"), (HOST_V6, OUTSIDE_V6, "::1")];
        for ((host, outside, loopback), web_ip) in places.into_iter().zip(lab.addresses("web")?) {
            udp.push(web.udp_serve(&SocketAddr::new(web_ip, 53).to_string())?);
            udp.push(lab.outside.udp_serve(&at(outside, 53)?.to_string())?);
            for is_udp in [false, true] {
                let (own, published) = if is_udp { (53, 5353) } else { (80, 8080) };
                let mut way = |from: &Ns, to| ways.push(Way { from: from.clone(), to, is_udp });
                way(&client, SocketAddr::new(web_ip, own));
                way(&client, at(outside, own)?);
                way(&lab.outside, at(host, published)?);
                way(&lab.host, at(loopback, published)?);
            }
        }
        let stop = Arc::new(AtomicBool::new(false));
        let start = |way: &Way| {
            let name =
                format!("{} {} to {}", if way.is_udp { "udp" } else { "tcp" }, way.from.name(), way.to);
            let (from, to, is_udp, stop) = (way.from.clone(), way.to.to_string(), way.is_udp, stop.clone());
            thread::spawn(move || {
                let mut outcome = Outcome { name, worst: Duration::ZERO, exchanges: 0, result: Ok(()) };
                outcome.result = flow(&from, &to, is_udp, &stop, &mut outcome.worst, &mut outcome.exchanges);
                outcome
            })
        };
        let flows = ways.iter().cycle().take(FLOWS).map(start).collect();
        udp.push(lab.outside.udp_serve("127.0.0.1:53")?);
        let control = |is_udp| -> Result<Way> {
            let to = at("127.0.0.1", if is_udp { 53 } else { 80 })?;
            Ok(Way { from: lab.outside.clone(), to, is_udp })
        };
        let controls = [control(false)?, control(true)?];
        let controls = controls.iter().cycle().take(CONTROLS).map(start).collect();
        Ok(Self { stop, flows, controls, _servers: (tcp, udp) })
    }

    /// Stops the flows and tells what became of them.
    pub fn stop(self) -> Result<Report> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = |flow: JoinHandle<Outcome>| flow.join().map_err(|_panic| anyhow!("a flow panicked"));
        let mut report = Report::default();
        for control in self.controls {
            report.control = report.control.max(ended(control)?.worst);
        }
        for flow in self.flows {
            let Outcome { name, worst, exchanges, result } = ended(flow)?;
            report.exchanges += exchanges;
            if let Err(e) = result {
                report.broken.push(format!("{name}: {e} after {exchanges} exchanges"));
            }
            if worst > report.worst.0 {
                report.worst = (worst, name);
            }
        }
        Ok(report)
    }
}

fn flow(
    from: &Ns,
    to: &str,
    is_udp: bool,
    stop: &AtomicBool,
    worst: &mut Duration,
    exchanges: &mut u64,
) -> io::Result<()> {
    if is_udp {
        let socket = from.udp_connect(None, to)?;
        let mut last = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            match udp_ask_on(&socket, 1000, DATAGRAM) {
                Ok(_) => *exchanges += 1,
                Err(e) if e.kind() == io::ErrorKind::TimedOut => continue,
                Err(e) => return Err(e),
            }
            // The pause is the flow's own.
            *worst = (*worst).max(last.elapsed().saturating_sub(PAUSE));
            last = Instant::now();
            thread::sleep(PAUSE);
        }
        *worst = (*worst).max(last.elapsed().saturating_sub(PAUSE));
        return Ok(());
    }
    let mut connection = from.tcp_connect(to, CONNECTION)?;
    while !stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        connection.swap(3000)?;
        *worst = (*worst).max(start.elapsed());
        *exchanges += 1;
        thread::sleep(PAUSE);
    }
    Ok(())
}
