//! Where figures are from: without that they mean nothing.

use std::fs;

use nix::sys::utsname::uname;
use serde::Serialize;

use super::cpu::Cpus;

/// The machine, and what it was busy with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// CPUs there are.
    pub cpus: usize,
    /// The CPU of both ends of a transaction.
    pub latency_cpu: usize,
    /// The CPUs of a stream's client and server.
    pub stream_cpus: [usize; 2],
    /// The kernel's release.
    pub kernel: String,
    /// The architecture.
    pub architecture: String,
    /// Whether it is a virtual machine, as far as the processor tells.
    pub is_virtual: bool,
    /// Processes that ran or waited to, on average over the minute before the start.
    pub load_before: String,
}

impl Machine {
    pub(super) fn look(cpus: Cpus) -> Self {
        let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let word = |of: fn(&nix::sys::utsname::UtsName) -> &std::ffi::OsStr| {
            uname().map(|name| of(&name).to_string_lossy().into_owned()).unwrap_or_default()
        };
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            processor: field(&text, "model name").unwrap_or("unknown").to_owned(),
            cpus: text.lines().filter(|line| line.starts_with("processor")).count(),
            latency_cpu: cpus.first(),
            stream_cpus: [cpus.first(), cpus.second()],
            kernel: word(|name| name.release()),
            architecture: word(|name| name.machine()),
            is_virtual: field(&text, "flags")
                .is_some_and(|flags| flags.split(' ').any(|f| f == "hypervisor")),
            load_before: load.split(' ').next().unwrap_or_default().to_owned(),
        }
    }

    /// Whether it had other things to do: figures are rough then.
    pub fn is_busy(&self) -> bool {
        /// Half a CPU, which others would take from a measurement now and then.
        const MUCH: f64 = 0.5;
        self.load_before.parse().is_ok_and(|load: f64| load > MUCH)
    }

    /// It in a line.
    pub fn line(&self) -> String {
        let Self { processor, cpus, kernel, architecture, load_before, .. } = self;
        let kind = if self.is_virtual { "virtual machine, " } else { "" };
        let plural = if *cpus == 1 { "" } else { "s" };
        format!(
            "{processor}, {kind}{cpus} CPU{plural}, Linux {kernel} {architecture}, load {load_before} before"
        )
    }
}

fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim_start().strip_prefix(':')?.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_processor_are_read() {
        let text = "processor\t: 0\nmodel name\t: Best CPU @ 2.50GHz\nflags\t\t: fpu hypervisor\n";
        assert_eq!(field(text, "model name"), Some("Best CPU @ 2.50GHz"));
        assert_eq!(field(text, "flags"), Some("fpu hypervisor"));
        assert_eq!(field(text, "cores"), None);
    }

    #[test]
    fn a_machine_with_other_things_to_do_is_busy() {
        let machine = Machine::look(Cpus::choose().unwrap());
        for (load, is_busy) in [("0.10", false), ("1.20", true), ("", false)] {
            assert_eq!(
                Machine { load_before: load.to_owned(), ..machine.clone() }.is_busy(),
                is_busy,
                "{load}"
            );
        }
    }

    #[test]
    fn this_machine_has_a_kernel() {
        let machine = Machine::look(Cpus::choose().unwrap());
        assert!(
            machine.cpus > 0 && machine.line().contains(&format!("Linux {}", machine.kernel)),
            "{machine:?}"
        );
    }
}
