//! Changes in quick succession, in real maps: each writes the version that the one before has left.

use std::time::{Duration, Instant};

use netfast_common::rows::Subject;

use super::*;
use crate::kernel::testing::loaded;
use crate::kernel::{Bpffs, Datapath};

const SECOND: Duration = Duration::from_secs(1);

fn subject(ingress: u32) -> Subject {
    Subject { ingress, ..Subject::default() }
}

/// Has policy see the endpoint in slot 0 by rule set `set`, as a change of everything does.
fn commit_set(maps: &mut Maps, set: u32) -> Committed {
    commit_rows(maps, &Rows { subjects: [(0, subject(set))].into(), ..Rows::default() })
}

fn commit_rows(maps: &mut Maps, rows: &Rows) -> Committed {
    let settings =
        Settings { netns_cookie: 1, defrag: 0, masquerade: MASQUERADE, established: Established::Recheck };
    commit(maps, rows, &settings).unwrap()
}

/// The same, as a change of this endpoint alone does.
fn replace_set(maps: &mut Maps, set: u32) -> Committed {
    replace_subject(maps, 0, subject(set), &BTreeMap::new()).unwrap()
}

/// The maps as another process finds them.
fn anew(bpffs: &Bpffs) -> Maps {
    Datapath::open(bpffs).unwrap().unwrap().maps
}

/// What the second of two changes did that came within a second. On a busy machine that takes some tries.
fn second_of_two(bpffs: &Bpffs, changes: [fn(&mut Maps, u32) -> Committed; 2]) -> Committed {
    let quick = |attempt: u32| {
        let start = Instant::now();
        let [first, second] =
            [0, 1].map(|n: u32| changes[n as usize](&mut anew(bpffs), 1000 + 2 * attempt + n));
        assert_eq!(second.generation, first.generation + 1);
        (start.elapsed() < SECOND).then_some(second)
    };
    (0..100).find_map(quick).unwrap()
}

#[test]
fn the_first_generation_waits_for_nobody() {
    loaded(|_, mut datapath| {
        assert!(!commit_set(&mut datapath.maps, 1).has_waited);
    });
}

#[test]
fn a_second_change_within_a_second_waits_until_nobody_reads_what_it_writes() {
    loaded(|bpffs, _| {
        for changes in [
            [replace_set as fn(&mut Maps, u32) -> Committed, replace_set],
            [replace_set, commit_set],
            [commit_set, replace_set],
            [commit_set, commit_set],
        ] {
            assert!(second_of_two(bpffs, changes).has_waited);
        }
    });
}

#[test]
fn a_change_after_a_second_does_not_wait() {
    loaded(|bpffs, mut datapath| {
        let maps = &mut datapath.maps;
        for change in [replace_set, commit_set] {
            commit_set(maps, 1);
            std::thread::sleep(SECOND + SECOND / 10);
            // The flows are judged again, by the same version of the rows.
            withdraw(maps, &Rows::default()).unwrap();
            assert!(!change(&mut anew(bpffs), 2).has_waited);
        }
    });
}

#[test]
fn what_was_swept_need_not_be_waited_for_again() {
    loaded(|_, mut datapath| {
        let maps = &mut datapath.maps;
        let block = Block { addr: Addr::from_v4([192, 0, 2, 0]), len: 120 };
        commit_rows(maps, &Rows { cidrs: [(block, 7)].into(), ..Rows::default() });
        commit_rows(maps, &Rows::default());
        assert!(!replace_set(maps, 2).has_waited);
    });
}

#[test]
fn where_nobody_noted_when_the_generation_was_raised_it_waits() {
    loaded(|_, mut datapath| {
        let maps = &mut datapath.maps;
        commit_set(maps, 1);
        std::thread::sleep(SECOND + SECOND / 10);
        let config = maps.config.get(0).unwrap();
        maps.config.set(0, Config { switched: 0, ..config }).unwrap();
        assert!(replace_set(maps, 2).has_waited);
    });
}
