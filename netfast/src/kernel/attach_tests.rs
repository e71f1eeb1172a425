use super::super::testing::{ip, loaded, loaded_with_tcx};
use super::*;

fn in_force(device: &str, direction: TcAttachType) -> Vec<u32> {
    SchedClassifier::query_tcx(device, direction).unwrap().1.iter().map(ProgramInfo::id).collect()
}

fn index(device: &str) -> u32 {
    if_nametoindex(device).unwrap()
}

#[test]
fn a_tcx_link_outlives_its_maker_and_is_made_once() {
    loaded_with_tcx(|bpffs, datapath| {
        ip("link add nf0 type veth peer name nf1");
        for _ in 0..2 {
            for hook in [Hook::EndpointIngress, Hook::EndpointEgress] {
                assert_eq!(datapath.attach(hook, "nf0", Mode::Auto).unwrap(), Kind::Tcx);
            }
        }
        drop(datapath);
        let datapath = Datapath::open(bpffs).unwrap().unwrap();
        let attached = datapath.attached().unwrap();
        assert_eq!(attached.len(), 2);
        for Attached { hook, ifindex, program_id, kind, alive } in attached {
            assert!(alive && kind == Kind::Tcx && ifindex == index("nf0"));
            assert_eq!(in_force("nf0", hook.direction()), [program_id]);
        }
        assert!(datapath.detach(Hook::EndpointIngress, index("nf0")).unwrap());
        assert!(!datapath.detach(Hook::EndpointIngress, index("nf0")).unwrap());
        assert!(in_force("nf0", TcAttachType::Ingress).is_empty());
        assert_eq!(datapath.attached().unwrap().len(), 1);
    });
}

#[test]
fn a_device_that_takes_the_index_of_a_dead_one_is_attached_anew() {
    loaded_with_tcx(|_, datapath| {
        ip("link add nf0 index 77 type bridge");
        datapath.attach(Hook::UplinkIngress, "nf0", Mode::Auto).unwrap();
        ip("link del nf0");
        assert!(!datapath.attached().unwrap()[0].alive);
        ip("link add nf2 index 77 type bridge");
        assert!(in_force("nf2", TcAttachType::Ingress).is_empty());
        datapath.attach(Hook::UplinkIngress, "nf2", Mode::Auto).unwrap();
        assert!(datapath.attached().unwrap()[0].alive);
        assert_eq!(in_force("nf2", TcAttachType::Ingress).len(), 1);
    });
}

#[test]
fn another_program_in_the_link_is_replaced() {
    loaded_with_tcx(|_, datapath| {
        ip("link add nf0 type bridge");
        datapath.attach(Hook::UplinkIngress, "nf0", Mode::Auto).unwrap();
        let before = datapath.attached().unwrap();
        // As an upgrade would: another program under the same name.
        let pins = &datapath.pins;
        std::fs::rename(pins.program("from_endpoint"), pins.program("from_uplink")).unwrap();
        datapath.attach(Hook::UplinkIngress, "nf0", Mode::Auto).unwrap();
        let after = datapath.attached().unwrap();
        assert_eq!(after.len(), 1);
        assert_ne!(before[0].program_id, after[0].program_id);
        assert_eq!(in_force("nf0", TcAttachType::Ingress), [after[0].program_id]);
    });
}

#[test]
fn a_filter_is_made_once_and_removed() {
    loaded(|bpffs, datapath| {
        ip("link add nf0 type veth peer name nf1");
        for _ in 0..2 {
            for hook in [Hook::EndpointIngress, Hook::EndpointEgress] {
                assert_eq!(datapath.attach(hook, "nf0", Mode::Clsact).unwrap(), Kind::Clsact);
            }
        }
        drop(datapath);
        let datapath = Datapath::open(bpffs).unwrap().unwrap();
        let attached = datapath.attached().unwrap();
        assert_eq!(attached.len(), 2);
        assert!(attached.iter().all(|a| a.alive && a.kind == Kind::Clsact));
        assert!(datapath.detach(Hook::EndpointIngress, index("nf0")).unwrap());
        assert_eq!(filter::program_id(index("nf0"), TcAttachType::Ingress).unwrap(), None);
        Datapath::remove(bpffs).unwrap();
        assert_eq!(filter::program_id(index("nf0"), TcAttachType::Egress).unwrap(), None);
    });
}

#[test]
fn going_over_from_one_kind_to_the_other_leaves_one() {
    loaded_with_tcx(|_, datapath| {
        ip("link add nf0 type bridge");
        for (mode, kind) in
            [(Mode::Clsact, Kind::Clsact), (Mode::Auto, Kind::Tcx), (Mode::Clsact, Kind::Clsact)]
        {
            datapath.attach(Hook::UplinkIngress, "nf0", mode).unwrap();
            let attached = datapath.attached().unwrap();
            assert_eq!(attached.len(), 1);
            assert_eq!((attached[0].kind, attached[0].alive), (kind, true));
            let filter = filter::program_id(index("nf0"), TcAttachType::Ingress).unwrap();
            assert_eq!(filter.is_some(), kind == Kind::Clsact);
        }
    });
}

#[test]
fn a_missing_device_is_named() {
    loaded(|_, datapath| {
        let error = datapath.attach(Hook::UplinkIngress, "nf9", Mode::Auto).unwrap_err();
        assert!(error.to_string().contains("nf9"), "{error}");
    });
}
