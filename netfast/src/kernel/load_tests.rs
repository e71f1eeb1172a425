use aya::maps::MapInfo;
use netfast_common::rows::Config;

use super::super::testing::{ip, loaded};
use super::super::{Hook, Kind, Mode, default_cgroup};
use super::*;

/// Makes the pinned programs another object's.
fn age(datapath: &Datapath) {
    fs::rename(datapath.pins.programs(), datapath.pins.programs_of("0")).unwrap();
}

fn again(bpffs: &Bpffs) -> Datapath {
    Datapath::open_or_load(bpffs, &Limits::default()).unwrap()
}

fn id(datapath: &Datapath, program: &str) -> u32 {
    datapath.programs().unwrap().iter().find(|p| p.name == program).unwrap().id
}

fn map_id(datapath: &Datapath, name: &str) -> u32 {
    MapInfo::from_pin(datapath.pins.maps().join(name)).unwrap().id()
}

#[test]
fn a_second_opening_finds_the_first_ones_maps() {
    loaded(|bpffs, mut datapath| {
        assert!(datapath.is_new());
        let config = Config { generation: 3, ..Default::default() };
        datapath.maps.config.set(0, config).unwrap();
        let programs = datapath.programs().unwrap();
        let again = again(bpffs);
        assert!(!again.is_new());
        assert_eq!(again.maps.config.get(0).unwrap(), config);
        assert_eq!(again.programs().unwrap(), programs);
        assert!(Datapath::open(bpffs).unwrap().is_some());
    });
}

/// It would stand where code is slow, before all others.
#[test]
fn what_most_packets_run_is_loaded_last() {
    loaded(|_, datapath| {
        let last = datapath.programs().unwrap().into_iter().max_by_key(|program| program.id).unwrap();
        assert_eq!(last.name, Hook::EndpointIngress.program());
    });
}

#[test]
fn what_is_not_whole_is_nobodys_own() {
    loaded(|bpffs, _| {
        let own = Datapath::open_own(bpffs).unwrap().unwrap();
        // A map is opened when it is first used, so one that is missing has to be missed before.
        fs::remove_file(own.pins.maps().join(maps::DENY)).unwrap();
        assert!(Datapath::open_own(bpffs).unwrap().is_none());
        own.maps.denied.to_map().unwrap_err();
        assert!(own.maps.uplinks.rows().unwrap().is_empty());
        again(bpffs);
        assert!(Datapath::open_own(bpffs).unwrap().is_some());
        age(&own);
        assert!(Datapath::open_own(bpffs).unwrap().is_none());
    });
}

#[test]
fn other_limits_are_refused_and_opening_takes_any() {
    loaded(|bpffs, _| {
        let limits = Limits { flows: 1024, ..Limits::default() };
        let error = Datapath::open_or_load(bpffs, &limits).unwrap_err();
        assert!(matches!(error, KernelError::LimitChanged { limit: "flows", wanted: 1024, .. }), "{error}");
        Datapath::open(bpffs).unwrap().unwrap();
    });
}

#[test]
fn another_version_or_shape_is_refused_and_removed() {
    loaded(|bpffs, datapath| {
        let other = bpffs.directory().join("v999");
        fs::rename(&datapath.pins.0, &other).unwrap();
        for error in [
            Datapath::open(bpffs).unwrap_err(),
            Datapath::open_or_load(bpffs, &Limits::default()).unwrap_err(),
        ] {
            assert!(matches!(&error, KernelError::OtherVersion { found, .. } if found == "999"), "{error}");
            assert!(error.to_string().contains("layout version 999, this one has version 1 "), "{error}");
        }
        assert!(other.join("maps/NF_FLOW").exists());
        Datapath::remove(bpffs).unwrap();
        assert!(!other.exists());

        let datapath = again(bpffs);
        let maps = datapath.pins.maps();
        fs::rename(maps.join("NF_SOCKET"), maps.join("NF_FLOW")).unwrap();
        let before = map_id(&datapath, "NF_FLOW");
        let error = Datapath::open_or_load(bpffs, &Limits::default()).unwrap_err();
        assert!(matches!(error, KernelError::MapMismatch { map: "NF_FLOW", .. }), "{error}");
        assert_eq!(map_id(&datapath, "NF_FLOW"), before);
    });
}

#[test]
fn missing_programs_are_loaded_anew() {
    loaded(|bpffs, datapath| {
        let pin = datapath.pins.program("connect4");
        let map = map_id(&datapath, "NF_FLOW");
        fs::remove_file(&pin).unwrap();
        Datapath::open(bpffs).unwrap().unwrap();
        let datapath = again(bpffs);
        assert!(pin.exists() && !datapath.is_new());
        assert_eq!(map_id(&datapath, "NF_FLOW"), map);
    });
}

#[test]
fn what_a_crash_left_half_loaded_is_in_nobodys_way() {
    loaded(|bpffs, datapath| {
        age(&datapath);
        fs::create_dir(datapath.pins.loading()).unwrap();
        let old = datapath.pins.programs_of("0");
        fs::rename(old.join("connect4"), datapath.pins.loading().join("connect4")).unwrap();
        again(bpffs);
        assert!(!datapath.pins.loading().exists());
        Datapath::remove(bpffs).unwrap();
        bpffs.loading().create().unwrap();
        again(bpffs);
        assert!(!bpffs.loading().0.exists());
    });
}

#[test]
fn whatever_is_attached_gets_the_new_program_in_place() {
    loaded(|bpffs, datapath| {
        ip("link add nf0 type veth peer name nf1");
        ip("link add nf2 type bridge");
        let attach = |datapath: &Datapath| {
            datapath.attach(Hook::EndpointIngress, "nf0", Mode::Auto).unwrap();
            datapath.attach(Hook::UplinkIngress, "nf2", Mode::Clsact).unwrap();
            datapath.attach_deny("nf1").unwrap();
            datapath.attach_deny("nf2").unwrap();
            if let Ok(cgroup) = default_cgroup() {
                datapath.attach_sockets(&cgroup).unwrap();
            }
        };
        attach(&datapath);
        let links = list(&datapath.pins.links()).unwrap();
        let flows = map_id(&datapath, "NF_FLOW");
        for _ in 0..2 {
            let old = datapath.attached().unwrap();
            age(&datapath);
            // Somebody who looks sees the old ones.
            let seen = Datapath::open(bpffs).unwrap().unwrap();
            assert_eq!(seen.object().unwrap().pinned, ["0"]);
            assert_eq!(seen.programs().unwrap().len(), object::programs().count());

            let datapath = again(bpffs);
            assert_eq!(datapath.object().unwrap().pinned.len(), 2);
            assert_eq!(datapath.attached().unwrap(), old);
            attach(&datapath);
            datapath.retire().unwrap();
            assert_eq!(datapath.object().unwrap().pinned, [object::digest()]);
            assert_eq!(list(&datapath.pins.links()).unwrap(), links);
            assert_eq!(map_id(&datapath, "NF_FLOW"), flows);
            for (attached, old) in datapath.attached().unwrap().into_iter().zip(old) {
                assert!(attached.alive && attached.kind == old.kind && attached.program_id != old.program_id);
                assert_eq!(attached.program_id, id(&datapath, attached.hook.program()));
            }
            let kinds: Vec<_> = datapath.attached().unwrap().iter().map(|a| a.kind).collect();
            assert!(kinds.contains(&Kind::Clsact));
            assert_eq!(kinds.contains(&Kind::Tcx), has_tcx());
            let deny = datapath.deny_attached().unwrap();
            assert_eq!(deny.len(), 2);
            assert!(deny.iter().all(|a| a.alive && a.program_id == id(&datapath, "deny_xdp")));
            for name in list(&datapath.pins.links()).unwrap().iter().filter_map(|n| n.strip_prefix("cgroup-"))
            {
                let state = super::super::link::pinned(&datapath.pins.links().join(format!("cgroup-{name}")));
                assert_eq!(state.unwrap().unwrap().program_id, id(&datapath, name));
            }
        }
        datapath.detach_sockets().unwrap();
    });
}

#[test]
fn maps_are_found_through_programs_and_links() {
    loaded(|bpffs, mut datapath| {
        let config = Config { generation: 3, ..Default::default() };
        datapath.maps.config.set(0, config).unwrap();
        let flows = map_id(&datapath, "NF_FLOW");
        ip("link add nf0 type veth peer name nf1");
        let (maps, programs) = (datapath.pins.maps(), datapath.pins.programs());
        drop(datapath);
        for (mode, is_linked) in [(Mode::Auto, false), (Mode::Auto, true), (Mode::Clsact, true)] {
            if is_linked {
                again(bpffs).attach(Hook::EndpointIngress, "nf0", mode).unwrap();
                fs::rename(&programs, bpffs.directory().join("elsewhere")).unwrap();
                remove_pins_in(&bpffs.directory().join("elsewhere")).unwrap();
            }
            remove_pins_in(&maps).unwrap();
            let error = Datapath::open(bpffs).unwrap_err();
            assert!(matches!(error, KernelError::Incomplete { .. }), "{error}");
            let datapath = again(bpffs);
            assert!(!datapath.is_new());
            assert_eq!(map_id(&datapath, "NF_FLOW"), flows, "{mode:?} {is_linked}");
            assert_eq!(datapath.maps.config.get(0).unwrap(), config);
        }
        // Nothing tells of them any more.
        again(bpffs).detach(Hook::EndpointIngress, nix::net::if_::if_nametoindex("nf0").unwrap()).unwrap();
        remove_pins_in(&maps).unwrap();
        remove_pins_in(&programs).unwrap();
        let datapath = again(bpffs);
        assert!(datapath.is_new());
        assert_eq!(datapath.maps.config.get(0).unwrap(), Config::default());
    });
}

#[test]
fn only_the_end_of_a_log_is_shown() {
    assert_eq!(last_lines("1\n2\n3\n\n4\n5\n"), "2; 3; 4; 5");
    assert_eq!(last_lines("\n"), "the verifier said nothing");
}
