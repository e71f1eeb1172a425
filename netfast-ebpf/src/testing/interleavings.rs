//! Policies that change between the packets of many flows, against a model that knows nothing of state: a packet passes
//! if the policies in force let its flow begin.

use netfast_common::policy::ANY_IDENTITY;
use netfast_common::protocol::{TCP, UDP};
use proptest::prelude::*;

use super::cast::{CLIENT, Family, HOST, Member, OUTSIDE, STRANGER, WEB};
use super::lab::{Allow, Fate, Lab, Way, anyone};
use super::message::{ACK, Message, SYN, tcp, udp};

/// What one direction of an endpoint lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lets {
    Everything,
    Nothing,
    Web,
}

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    Policy(usize, Way, Lets),
    Ask(usize, bool),
    Answer(usize),
}

/// Those whose policies change.
const POLICED: [Member; 3] = [CLIENT, WEB, STRANGER];
/// Who begins, with whom, and with which of its ports; who answers, and at which port.
const FLOWS: [(Member, Member, u16, Member, u16); 7] = [
    (CLIENT, WEB, 80, WEB, 80),
    (CLIENT, WEB, 81, WEB, 81),
    (WEB, CLIENT, 80, CLIENT, 80),
    (CLIENT, OUTSIDE, 80, OUTSIDE, 80),
    (OUTSIDE, HOST, 8080, WEB, 80),
    (OUTSIDE, HOST, 8081, WEB, 81),
    (STRANGER, HOST, 8080, WEB, 80),
];

fn step() -> impl Strategy<Value = Step> {
    let way = prop_oneof![Just(Way::In), Just(Way::Out)];
    let lets = prop_oneof![Just(Lets::Everything), Just(Lets::Nothing), Just(Lets::Web)];
    prop_oneof![
        2 => (0..POLICED.len(), way, lets).prop_map(|(member, way, lets)| Step::Policy(member, way, lets)),
        3 => (0..FLOWS.len(), any::<bool>()).prop_map(|(flow, again)| Step::Ask(flow, again)),
        3 => (0..FLOWS.len()).prop_map(Step::Answer),
    ]
}

/// The policies in force: what each member lets in and out.
struct Model([[Lets; 2]; POLICED.len()]);

impl Model {
    fn lets(&self, member: &Member, way: Way, port: u16) -> bool {
        let Some(index) = POLICED.iter().position(|policed| policed.ifindex == member.ifindex) else {
            return true;
        };
        match self.0[index][way as usize] {
            Lets::Everything => true,
            Lets::Nothing => false,
            Lets::Web => port == 80,
        }
    }

    /// Whether a flow may begin, and so go on.
    fn allows(&self, (from, _, _, server, port): (Member, Member, u16, Member, u16)) -> bool {
        self.lets(&from, Way::Out, port) && self.lets(&server, Way::In, port)
    }
}

/// Brings a policy into force.
fn change(lab: &mut Lab, member: &Member, way: Way, lets: Lets, protocol: u8) {
    match lets {
        Lets::Everything => {
            lab.isolate(member, way, &[Allow { identity: ANY_IDENTITY, protocol: 0, port: None }]);
        }
        Lets::Nothing => lab.isolate(member, way, &[]),
        Lets::Web => lab.isolate(member, way, &[anyone(protocol, 80)]),
    }
    lab.flip();
}

/// A message on its way; what its receiver gets.
fn sent(lab: &mut Lab, from: &Member, message: &Message) -> Option<Message> {
    let fate = if from.network == 0 { lab.comes_in(message) } else { lab.sends(from, message) };
    match fate {
        Fate::At(_, got) | Fate::Out(got) => Some(got),
        Fate::Past(..) | Fate::Dropped(_) => None,
        Fate::On(message) => panic!("went to the host: {message:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_state_lets_a_forbidden_packet_through(
        family in proptest::sample::select(&Family::BOTH[..]),
        is_tcp in any::<bool>(),
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let protocol = if is_tcp { TCP } else { UDP };
        let mut lab = Lab::new();
        lab.publish(protocol, 8080, &WEB, 80);
        lab.publish(protocol, 8081, &WEB, 81);
        let mut model = Model([[Lets::Everything; 2]; POLICED.len()]);
        // The last question of each flow that arrived.
        let mut delivered: [Option<Message>; FLOWS.len()] = Default::default();
        for step in steps {
            match step {
                Step::Policy(index, way, lets) => {
                    model.0[index][way as usize] = lets;
                    change(&mut lab, &POLICED[index], way, lets, protocol);
                }
                Step::Ask(index, again) => {
                    let (from, to, dport, ..) = FLOWS[index];
                    let sport = 11000 + index as u16;
                    let what = if is_tcp { tcp(sport, dport) } else { udp(sport, dport) };
                    let ask = Message::new(&from, &to, family, what);
                    let is_later = is_tcp && again && delivered[index].is_some();
                    let ask = if is_later { ask.flags(ACK) } else { ask };
                    let got = sent(&mut lab, &from, &ask);
                    prop_assert_eq!(got.is_some(), model.allows(FLOWS[index]), "question of flow {}", index);
                    delivered[index] = got.or(delivered[index].take());
                }
                Step::Answer(index) => {
                    let Some(question) = &delivered[index] else { continue };
                    let (.., server, _) = FLOWS[index];
                    let answer = question.reply();
                    let answer = if is_tcp { answer.flags(SYN | ACK) } else { answer };
                    let got = sent(&mut lab, &server, &answer);
                    prop_assert_eq!(got.is_some(), model.allows(FLOWS[index]), "answer of flow {}", index);
                }
            }
        }
    }
}
