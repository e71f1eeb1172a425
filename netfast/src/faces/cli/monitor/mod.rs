//! `netfast monitor`.

mod clock;
mod filter;
mod line;
mod pcap;
#[cfg(test)]
mod testing;
mod wake;

use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use netfast_common::event::{MAX_SNAP, WANT_AUDITS, WANT_DROPS, WANT_FLOWS, WANT_PACKETS, WANT_VERDICTS};
use serde::Serialize;

use self::filter::Filter;
use self::wake::{Wake, Waker};
use super::options::{Format, FormatArgs};
use super::{output, root};
use crate::kernel::Wishes;
use crate::reconcile::instance::{Instance, Options};
use crate::reconcile::monitor::{self, EventView, Item};

const EXAMPLES: &str = "\
Examples:
  netfast monitor                                   every packet that is dropped, or would be by a policy under audit
  netfast monitor --endpoint web --reason policy_ingress
  netfast monitor --flows --verdicts -o json        also new flows and what policies say, for programs
  netfast monitor --port 53 --count 10              the first ten that fit
  netfast monitor --pcap web.pcapng --endpoint web  what web sends and receives, for tcpdump and Wireshark
  netfast monitor --pcap - --for 5 | tcpdump -nr -  the packets of all endpoints, for five seconds

Up to four monitors can run at a time. Events that come faster than they are read are lost, and counted.";

/// How many events are read before signals are looked for again.
const BATCH: u32 = 1024;
/// How often it is looked whether the instance is still up.
const LOOK: Duration = Duration::from_millis(500);

/// Watch packets being dropped, flows being opened, and what endpoints send and receive.
///
/// It costs the packets nothing while no monitor runs. A monitor gives up all its capabilities before it reads.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Monitor {
    /// Show new flows too.
    #[arg(long)]
    flows: bool,
    /// Show what policies say, each time they are asked.
    #[arg(long)]
    verdicts: bool,
    #[command(flatten)]
    filter: Filter,
    /// End after this many events or packets.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this many seconds.
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u32>,
    /// Instead of events, write packets into this pcapng file; `-` is standard output. They are as the endpoint sees
    /// them: what it sends before it is translated, what it receives after.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["flows", "verdicts", "reasons", "format"])]
    pcap: Option<PathBuf>,
    /// Keep at most this many bytes of each packet.
    #[arg(long, value_name = "BYTES", default_value_t = 256, requires = "pcap",
          value_parser = clap::value_parser!(u32).range(64..=i64::from(MAX_SNAP)))]
    snaplen: u32,
    #[command(flatten)]
    format: FormatArgs,
}

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It was told to, or has done what it was asked for.
    Done,
    /// It has shown as many as were asked for.
    Full,
    /// Nobody reads what it prints.
    Unread,
    /// The instance is gone.
    Down,
}

impl Monitor {
    pub(super) fn run(&self, options: &Options) -> Result<ExitCode> {
        root::need()?;
        let mut named = self.clone();
        if let Some(endpoint) = &mut named.filter.endpoint {
            // As events name it.
            *endpoint = Instance::find(options, endpoint)?.to_string();
        }
        named.watch(options)
    }

    fn watch(&self, options: &Options) -> Result<ExitCode> {
        let mut sink = self.sink()?;
        let waker = Waker::new()?;
        let endpoint = self.filter.endpoint.as_deref().filter(|_| self.pcap.is_some());
        let mut monitor = monitor::Monitor::start(options, endpoint, self.wishes())?;
        output::complain(&format!("reading {}; Ctrl-C ends", self.subject()));
        let deadline = self.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
        let end = self.follow(&mut monitor, &waker, &mut sink, deadline)?;
        monitor.stop();
        if end == End::Done {
            monitor.read(|item| self.handle(item, &mut sink))?;
        }
        if end != End::Unread {
            sink.finish(monitor.lost())?;
        }
        output::complain(&format!("{} {}, {} lost", sink.shown, sink.noun(), monitor.lost()));
        ensure!(end != End::Down, "the instance was taken down");
        Ok(ExitCode::SUCCESS)
    }

    fn wishes(&self) -> Wishes {
        let optional = |is_wanted: bool, bit| if is_wanted { bit } else { 0 };
        let wants = if self.pcap.is_some() {
            WANT_PACKETS
        } else {
            WANT_DROPS
                | WANT_AUDITS
                | optional(self.flows, WANT_FLOWS)
                | optional(self.verdicts, WANT_VERDICTS)
        };
        let named = self.filter.reasons.iter().fold(0, |bits, reason| bits | 1 << *reason as u32);
        let reasons = if named == 0 { u32::MAX } else { named };
        Wishes { wants, reasons, ifindex: 0, snap: self.snaplen }
    }

    fn subject(&self) -> &'static str {
        match (&self.pcap, self.flows, self.verdicts) {
            (Some(_), ..) => "packets",
            (None, false, false) => "drops",
            (None, true, false) => "drops and new flows",
            (None, false, true) => "drops and verdicts",
            (None, true, true) => "drops, new flows and verdicts",
        }
    }

    /// Where what is read goes. A file is opened while there are all rights.
    fn sink(&self) -> Result<Sink> {
        let form = match &self.pcap {
            None if self.format.format == Format::Json => Form::Json(Vec::new()),
            None => Form::Lines(Vec::new()),
            Some(path) => {
                let file = if path == Path::new("-") {
                    if io::stdout().is_terminal() {
                        bail!(
                            "packets are no text for a terminal (name a file, or: --pcap - | tcpdump -nr -)"
                        );
                    }
                    None
                } else {
                    Some(File::create(path).with_context(|| format!("make {}", path.display()))?)
                };
                Form::Packets { writer: pcap::Writer::new(self.snaplen), file }
            }
        };
        Ok(Sink { form, shown: 0 })
    }

    /// Shows what comes until it is time to end.
    fn follow(
        &self,
        monitor: &mut monitor::Monitor,
        waker: &Waker,
        sink: &mut Sink,
        deadline: Option<Instant>,
    ) -> Result<End> {
        let mut lost = 0;
        let mut looked = Instant::now();
        loop {
            if !sink.flush()? {
                return Ok(End::Unread);
            }
            let left = deadline.map_or(LOOK, |deadline| deadline.saturating_duration_since(Instant::now()));
            match waker.wait(monitor, left.min(LOOK))? {
                Wake::Signal => return Ok(End::Done),
                Wake::Unread => return Ok(End::Unread),
                Wake::Time => {}
            }
            let mut batch = BATCH;
            monitor.read(|item| {
                batch -= 1;
                Ok(self.handle(item, sink)? && batch > 0)
            })?;
            if self.is_full(sink) {
                return Ok(End::Full);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(End::Done);
            }
            if looked.elapsed() < LOOK {
                continue;
            }
            looked = Instant::now();
            if monitor.lost() != lost {
                sink.lost(monitor.lost() - lost)?;
                lost = monitor.lost();
            }
            if !monitor.is_up() {
                return Ok(End::Down);
            }
        }
    }

    /// Shows an item that fits; says whether more are wanted.
    fn handle(&self, item: Item, sink: &mut Sink) -> Result<bool> {
        let view: &EventView = match &item {
            Item::Event(view) => view,
            Item::Packet(packet) => &packet.view,
        };
        if !self.is_full(sink) && self.filter.takes(view) {
            sink.take(item)?;
        }
        Ok(!self.is_full(sink))
    }

    fn is_full(&self, sink: &Sink) -> bool {
        self.count.is_some_and(|count| sink.shown >= count)
    }
}

/// Where what is read goes, and in which form.
#[derive(Debug)]
struct Sink {
    form: Form,
    /// How many events or packets went there.
    shown: u64,
}

#[derive(Debug)]
enum Form {
    Lines(Vec<u8>),
    Json(Vec<u8>),
    Packets { writer: pcap::Writer, file: Option<File> },
}

/// An event with its time in words.
#[derive(Serialize)]
struct Timed<'a> {
    time: String,
    #[serde(flatten)]
    event: &'a EventView,
}

/// What is said of events that are not shown.
#[derive(Serialize)]
struct Account {
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<u64>,
    lost: u64,
}

impl Sink {
    fn take(&mut self, item: Item) -> Result<()> {
        self.shown += 1;
        match (&mut self.form, item) {
            (Form::Lines(bytes), Item::Event(event)) => bytes.extend(line::line(&event).into_bytes()),
            (Form::Json(bytes), Item::Event(event)) => {
                json(bytes, &Timed { time: clock::rfc3339(event.time), event: &event })?;
            }
            (Form::Packets { writer, .. }, Item::Packet(packet)) => writer.packet(&packet),
            // Nobody asked for the other.
            _ => {}
        }
        Ok(())
    }

    /// Writes what there is; `false`: nobody reads it.
    fn flush(&mut self) -> Result<bool> {
        match &mut self.form {
            Form::Lines(bytes) | Form::Json(bytes) => output::stream(&std::mem::take(bytes)),
            Form::Packets { writer, file: None } => output::stream(&writer.take()),
            Form::Packets { writer, file: Some(file) } => {
                file.write_all(&writer.take()).context("write packets")?;
                Ok(true)
            }
        }
    }

    /// Says that events were lost since it was said last.
    fn lost(&mut self, lost: u64) -> Result<()> {
        if let Form::Json(bytes) = &mut self.form {
            return json(bytes, &Account { event: "lost", events: None, lost });
        }
        output::complain(&format!("{lost} {} lost: they came faster than they were read", self.noun()));
        Ok(())
    }

    /// Writes what there is, and what it came to.
    fn finish(&mut self, lost: u64) -> Result<()> {
        if let Form::Json(bytes) = &mut self.form {
            json(bytes, &Account { event: "end", events: Some(self.shown), lost })?;
        }
        self.flush().map(drop)
    }

    const fn noun(&self) -> &'static str {
        match self.form {
            Form::Packets { .. } => "packets",
            Form::Lines(_) | Form::Json(_) => "events",
        }
    }
}

fn json<T: Serialize>(bytes: &mut Vec<u8>, value: &T) -> Result<()> {
    serde_json::to_writer(&mut *bytes, value).context("write JSON")?;
    bytes.push(b'\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_a_line() {
        let mut sink = Sink { form: Form::Json(Vec::new()), shown: 0 };
        sink.take(Item::Event(Box::new(testing::drop_event()))).unwrap();
        sink.lost(3).unwrap();
        let Form::Json(bytes) = &sink.form else { unreachable!() };
        let text = String::from_utf8(bytes.clone()).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["time"], "2024-02-29T12:34:56.123456789Z");
        assert_eq!(lines[0]["policy"]["policies"][0], "default/web");
        assert_eq!(lines[0]["tcp_flags"][0], "SYN");
        assert_eq!(lines[0].get("icmp_type"), None);
        assert_eq!(lines[1], serde_json::json!({"event": "lost", "lost": 3}));
    }
}
