//! Values as users write them.

use super::{assert_shown, block};

#[test]
fn blocks_of_addresses() {
    assert_shown(&[(
        block(
            "  podSelector: {}\n  ingress:\n  - from:\n    - ipBlock: {cidr: 10.0.0.1}\n    - ipBlock: {cidr: 10.0.0}\n    - ipBlock: {cidr: 10.0.0.0/-1}\n    - ipBlock: {cidr: 10/8}\n    - ipBlock: {cidr: 10.0.0.0 / 8}\n    - ipBlock: {cidr: '10.0.0.0/8 '}\n    - ipBlock: {cidr: 10.0.0.0-10.0.0.9}\n    - ipBlock: {cidr: any}\n    - ipBlock: {cidr: all}\n    - ipBlock: {cidr: 0.0.0.0}\n    - ipBlock: {cidr: '::'}\n    - ipBlock: {cidr: localhost}\n    - ipBlock: {cidr: 10.0.0.0/8,11.0.0.0/8}\n    - ipBlock: {cidr: 256.1.1.1/8}\n    - ipBlock: {cidr: fe80::1%eth0/64}\n    - ipBlock: {cidr: '::ffff:1.2.3.4/128'}\n    - ipBlock: {cidr: 1e3}\n    - ipBlock: {cidr: 10}\n    - ipBlock: {cidr: true}\n    - ipBlock: {cidr: ~}\n    - ipBlock: {cidr: ''}\n    - ipBlock: {cidr: [10.0.0.0/8]}\n    - ipBlock: {cidr: {}}\n    - ipBlock: {cidr: 10.0.0.256/32}\n    - ipBlock: {cidr: 10.0.0.0\\8}\n    - ipBlock: {cidr: 10.0.0.0/24/3}\n    - ipBlock: {cidr: 010.0.0.0/8}\n    - ipBlock: {cidr: fd00::/200}\n    - ipBlock: {cidr: g::/8}\n    - ipBlock: {cidr: http://1.2.3.4}\n    - ipBlock: {cidr: 1.2.3.4:80}\n",
        ),
        &[
            "p:9:23: spec.ingress[0].from[0].ipBlock.cidr: \"10.0.0.1\" has no prefix length (write 10.0.0.1/32 for this address alone)",
            "p:10:23: spec.ingress[0].from[1].ipBlock.cidr: \"10.0.0\" is not a block of addresses (write it like 10.0.0.0/8 or fd00::/8; names are not looked up)",
            "p:11:23: spec.ingress[0].from[2].ipBlock.cidr: /-1 is not a prefix length (IPv4 takes /0 to /32)",
            "p:12:23: spec.ingress[0].from[3].ipBlock.cidr: \"10\" is not an address",
            "p:13:23: spec.ingress[0].from[4].ipBlock.cidr: \"10.0.0.0 / 8\" is not a block of addresses (it takes no spaces)",
            "p:14:23: spec.ingress[0].from[5].ipBlock.cidr: \"10.0.0.0/8 \" is not a block of addresses (it takes no spaces)",
            "p:15:23: spec.ingress[0].from[6].ipBlock.cidr: \"10.0.0.0-10.0.0.9\" is not a block of addresses (a range is written as blocks, like 10.0.0.0/30)",
            "p:16:23: spec.ingress[0].from[7].ipBlock.cidr: \"any\" is not a block of addresses (every address is 0.0.0.0/0 and ::/0)",
            "p:17:23: spec.ingress[0].from[8].ipBlock.cidr: \"all\" is not a block of addresses (every address is 0.0.0.0/0 and ::/0)",
            "p:18:23: spec.ingress[0].from[9].ipBlock.cidr: \"0.0.0.0\" has no prefix length (write 0.0.0.0/0 for every address)",
            "p:19:23: spec.ingress[0].from[10].ipBlock.cidr: \"::\" has no prefix length (write ::/0 for every address)",
            "p:20:23: spec.ingress[0].from[11].ipBlock.cidr: \"localhost\" is not a block of addresses (write it like 10.0.0.0/8 or fd00::/8; names are not looked up)",
            "p:21:34: spec.ingress[0].from[12].ipBlock[11.0.0.0/8]: unknown field (known here: cidr, except)",
            "p:22:23: spec.ingress[0].from[13].ipBlock.cidr: \"256.1.1.1\" is not an address",
            "p:23:23: spec.ingress[0].from[14].ipBlock.cidr: \"fe80::1%eth0\" is not an address",
            "p:24:23: spec.ingress[0].from[15].ipBlock.cidr: \"::ffff:1.2.3.4/128\" is an IPv4 address in IPv6 form (write 1.2.3.4/32)",
            "p:25:23: spec.ingress[0].from[16].ipBlock.cidr: \"1e3\" is not a block of addresses (write it like 10.0.0.0/8 or fd00::/8; names are not looked up)",
            "p:26:23: spec.ingress[0].from[17].ipBlock.cidr: \"10\" is not a block of addresses (write it like 10.0.0.0/8 or fd00::/8; names are not looked up)",
            "p:27:23: spec.ingress[0].from[18].ipBlock.cidr: true is a truth value, not a text (quote it: \"true\")",
            "p:28:16: spec.ingress[0].from[19].ipBlock: `cidr` is missing",
            "p:29:23: spec.ingress[0].from[20].ipBlock.cidr: \"\" is not a block of addresses (write it like 10.0.0.0/8 or fd00::/8; names are not looked up)",
            "p:30:23: spec.ingress[0].from[21].ipBlock.cidr: `cidr` is a text, not a list",
            "p:31:23: spec.ingress[0].from[22].ipBlock.cidr: `cidr` is a text, not a mapping",
            "p:32:23: spec.ingress[0].from[23].ipBlock.cidr: \"10.0.0.256\" is not an address",
            "p:33:23: spec.ingress[0].from[24].ipBlock.cidr: \"10.0.0.0\\\\8\" is not a block of addresses (write it like 10.0.0.0/8 or fd00::/8; names are not looked up)",
            "p:34:23: spec.ingress[0].from[25].ipBlock.cidr: /24/3 is not a prefix length (IPv4 takes /0 to /32)",
            "p:35:23: spec.ingress[0].from[26].ipBlock.cidr: \"010.0.0.0\" is not an address: leading zeros are octal to some and decimal to others (write 10.0.0.0)",
            "p:36:23: spec.ingress[0].from[27].ipBlock.cidr: /200 is not a prefix length (IPv6 takes /0 to /128)",
            "p:37:23: spec.ingress[0].from[28].ipBlock.cidr: \"g::\" is not an address",
            "p:38:23: spec.ingress[0].from[29].ipBlock.cidr: \"http://1.2.3.4\" is not a block of addresses (write it like 10.0.0.0/8 or fd00::/8; names are not looked up)",
            "p:39:23: spec.ingress[0].from[30].ipBlock.cidr: \"1.2.3.4:80\" is not a block of addresses (a block has no port)",
        ],
    )]);
}

#[test]
fn ports() {
    assert_shown(&[
        (
            block(
                "  podSelector: {}\n  ingress:\n  - ports:\n    - port: 0\n    - port: -1\n    - port: 70000\n    - port: 99999999999999999999999\n    - port: 8e1\n    - port: 0x50\n    - port: 80.0\n    - port: '80'\n    - port: 8000-9000\n    - port: 8000:9000\n    - port: '8000,9000'\n    - port: 80,443\n    - port: [80, 443]\n    - port: {}\n    - port: HTTP\n    - port: http_alt\n    - port: verylongportnamehere\n    - port: a--b\n    - port: -a\n    - port: any\n    - port: '*'\n    - port: true\n    - port: yes\n    - port: ''\n    - port: 80/tcp\n    - port: tcp/80\n    - port: http \n    - port: +80\n    - port: 1_000\n    - port: 0o17\n    - port: ~\n    - port: \"\\u00e4\"\n",
            ),
            &[
                "p:9:13: spec.ingress[0].ports[0].port: there is no port 0 (for every port, leave port out)",
                "p:10:13: spec.ingress[0].ports[1].port: port -1 is not between 1 and 65535",
                "p:11:13: spec.ingress[0].ports[2].port: port 70000 is not between 1 and 65535",
                "p:12:13: spec.ingress[0].ports[3].port: port \"99999999999999999999999\" is not between 1 and 65535",
                "p:13:13: spec.ingress[0].ports[4].port: \"8e1\" is not a whole number",
                "p:14:13: spec.ingress[0].ports[5].port: \"0x50\" is not a whole number",
                "p:15:13: spec.ingress[0].ports[6].port: \"80.0\" is not a whole number",
                "p:16:13: spec.ingress[0].ports[7].port: a quoted number is a port's name, and \"80\" has no letter (drop the quotes)",
                "p:17:13: spec.ingress[0].ports[8].port: \"8000-9000\" is not a port (write port: 8000 and endPort: 9000)",
                "p:18:13: spec.ingress[0].ports[9].port: \"8000:9000\" is not a port (write port: 8000 and endPort: 9000)",
                "p:19:13: spec.ingress[0].ports[10].port: \"8000,9000\" is not a port (write an entry of its own for each)",
                "p:20:13: spec.ingress[0].ports[11].port: \"80,443\" is not a port (write an entry of its own for each)",
                "p:21:13: spec.ingress[0].ports[12].port: `port` is a number, not a list (write an entry of its own for each)",
                "p:22:13: spec.ingress[0].ports[13].port: `port` is a number, not a mapping",
                "p:23:13: spec.ingress[0].ports[14].port: \"HTTP\" is not a port's name (write http)",
                "p:24:13: spec.ingress[0].ports[15].port: \"http_alt\" is not a port's name (use lower-case letters, digits and single '-' inside, with at least one letter)",
                "p:25:13: spec.ingress[0].ports[16].port: the port name \"verylongportnamehere\" is too long (it has at most 15 characters)",
                "p:26:13: spec.ingress[0].ports[17].port: \"a--b\" is not a port's name (use lower-case letters, digits and single '-' inside, with at least one letter)",
                "p:27:13: spec.ingress[0].ports[18].port: \"-a\" is not a port's name (use lower-case letters, digits and single '-' inside, with at least one letter)",
                "p:28:13: spec.ingress[0].ports[19].port: \"any\" is not a port (for every port, leave port out)",
                "p:29:13: spec.ingress[0].ports[20].port: \"*\" is not a port (for every port, leave port out)",
                "p:30:13: spec.ingress[0].ports[21].port: \"true\" is not a whole number",
                "p:32:13: spec.ingress[0].ports[23].port: \"\" is not a port (for every port, leave port out)",
                "p:33:13: spec.ingress[0].ports[24].port: \"80/tcp\" is not a port (write port: 80 and protocol: TCP)",
                "p:34:13: spec.ingress[0].ports[25].port: \"tcp/80\" is not a port (write port: 80 and protocol: TCP)",
                "p:36:13: spec.ingress[0].ports[27].port: \"+80\" is not a whole number",
                "p:37:13: spec.ingress[0].ports[28].port: \"1_000\" is not a whole number",
                "p:38:13: spec.ingress[0].ports[29].port: \"0o17\" is not a whole number",
                "p:40:13: spec.ingress[0].ports[31].port: \"ä\" is not a port's name (use lower-case letters, digits and single '-' inside, with at least one letter)",
            ],
        ),
        (
            block(
                "  podSelector: {}\n  ingress:\n  - ports:\n    - {port: 9000, endPort: 8000}\n    - {port: 80, endPort: 70000}\n    - {port: 80, endPort: 0}\n    - {port: 80, endPort: http}\n    - {port: 80, endPort: '90'}\n    - {port: http, endPort: 90}\n    - {port: '80', endPort: 90}\n    - {endPort: 90}\n    - {port: 0, endPort: 90}\n    - {port: 0, endPort: 65535}\n    - {port: 80, endPort: -1}\n",
            ),
            &[
                "p:9:29: spec.ingress[0].ports[0].endPort: endPort 8000 is below port 9000",
                "p:10:27: spec.ingress[0].ports[1].endPort: port 70000 is not between 1 and 65535",
                "p:11:27: spec.ingress[0].ports[2].endPort: there is no port 0 (leave endPort out, or write the last port of the range)",
                "p:12:27: spec.ingress[0].ports[3].endPort: \"http\" is not a whole number",
                "p:13:27: spec.ingress[0].ports[4].endPort: \"90\" is a text, not a number (drop the quotes)",
                "p:14:20: spec.ingress[0].ports[5].endPort: endPort with a port's name (ranges are of numbers)",
                "p:15:14: spec.ingress[0].ports[6].port: a quoted number is a port's name, and \"80\" has no letter (drop the quotes)",
                "p:16:8: spec.ingress[0].ports[7].endPort: endPort without port (add port: the first of the range)",
                "p:17:14: spec.ingress[0].ports[8].port: there is no port 0 (for every port, leave port out)",
                "p:18:14: spec.ingress[0].ports[9].port: there is no port 0 (for every port, leave port out)",
                "p:19:27: spec.ingress[0].ports[10].endPort: port -1 is not between 1 and 65535",
            ],
        ),
    ]);
}

#[test]
fn protocols() {
    assert_shown(&[(
        block(
            "  podSelector: {}\n  ingress:\n  - ports:\n    - {port: 80, protocol: tcp}\n    - {port: 80, protocol: Tcp}\n    - {port: 80, protocol: TPC}\n    - {port: 80, protocol: ICMP}\n    - {port: 80, protocol: icmpv6}\n    - {port: 80, protocol: ANY}\n    - {port: 80, protocol: all}\n    - {port: 80, protocol: '*'}\n    - {port: 80, protocol: 6}\n    - {port: 80, protocol: [TCP, UDP]}\n    - {port: 80, protocol: 'TCP,UDP'}\n    - {port: 80, protocol: TCP/UDP}\n    - {port: 80, protocol: HTTP}\n    - {port: 80, protocol: DCCP}\n    - {port: 80, protocol: ''}\n    - {port: 80, protocol: true}\n    - {port: 80, protocol: UDPLite}\n    - {port: 80, protocol: GRE}\n",
        ),
        &[
            "p:9:28: spec.ingress[0].ports[0].protocol: unknown protocol \"tcp\" (write TCP)",
            "p:10:28: spec.ingress[0].ports[1].protocol: unknown protocol \"Tcp\" (write TCP)",
            "p:11:28: spec.ingress[0].ports[2].protocol: unknown protocol \"TPC\" (did you mean TCP?)",
            "p:12:28: spec.ingress[0].ports[3].protocol: unknown protocol \"ICMP\" (rules cannot name it; a rule without ports lets echo requests pass, and errors always do)",
            "p:13:28: spec.ingress[0].ports[4].protocol: unknown protocol \"icmpv6\" (rules cannot name it; a rule without ports lets echo requests pass, and errors always do)",
            "p:14:28: spec.ingress[0].ports[5].protocol: unknown protocol \"ANY\" (for every port of every protocol, leave ports out of the rule)",
            "p:15:28: spec.ingress[0].ports[6].protocol: unknown protocol \"all\" (for every port of every protocol, leave ports out of the rule)",
            "p:16:28: spec.ingress[0].ports[7].protocol: unknown protocol \"*\" (for every port of every protocol, leave ports out of the rule)",
            "p:17:28: spec.ingress[0].ports[8].protocol: unknown protocol \"6\" (write TCP)",
            "p:18:28: spec.ingress[0].ports[9].protocol: `protocol` is a text, not a list (write an entry of its own for each)",
            "p:19:28: spec.ingress[0].ports[10].protocol: unknown protocol \"TCP,UDP\" (write an entry of its own for each)",
            "p:20:28: spec.ingress[0].ports[11].protocol: unknown protocol \"TCP/UDP\" (write an entry of its own for each)",
            "p:21:28: spec.ingress[0].ports[12].protocol: unknown protocol \"HTTP\" (use TCP, UDP or SCTP)",
            "p:22:28: spec.ingress[0].ports[13].protocol: unknown protocol \"DCCP\" (use TCP, UDP or SCTP)",
            "p:23:28: spec.ingress[0].ports[14].protocol: unknown protocol \"\" (use TCP, UDP or SCTP)",
            "p:24:28: spec.ingress[0].ports[15].protocol: true is a truth value, not a text (quote it: \"true\")",
            "p:25:28: spec.ingress[0].ports[16].protocol: unknown protocol \"UDPLite\" (use TCP, UDP or SCTP)",
            "p:26:28: spec.ingress[0].ports[17].protocol: unknown protocol \"GRE\" (use TCP, UDP or SCTP)",
        ],
    )]);
}

#[test]
fn policy_types() {
    assert_shown(&[
        (
            block("  podSelector: {}\n  policyTypes: [ingress, Egres, INGRESS, both]\n"),
            &[
                "p:7:16: spec.policyTypes: 4 entries, where two are all there can be",
                "p:7:17: spec.policyTypes[0]: unknown policy type \"ingress\" (write Ingress)",
                "p:7:26: spec.policyTypes[1]: unknown policy type \"Egres\" (write Egress)",
                "p:7:33: spec.policyTypes[2]: unknown policy type \"INGRESS\" (write Ingress)",
                "p:7:42: spec.policyTypes[3]: unknown policy type \"both\" (write [Ingress, Egress])",
            ],
        ),
        (
            block("  podSelector: {}\n  policyTypes: Both\n"),
            &["p:7:16: spec.policyTypes: `policyTypes` is a list (write [Ingress, Egress])"],
        ),
        (
            block("  podSelector: {}\n  policyTypes: [1, true, ~, [Ingress], {Ingress: true}]\n"),
            &[
                "p:7:16: spec.policyTypes: 5 entries, where two are all there can be",
                "p:7:17: spec.policyTypes[0]: 1 is a number, not a text (quote it: \"1\")",
                "p:7:20: spec.policyTypes[1]: true is a truth value, not a text (quote it: \"true\")",
                "p:7:26: spec.policyTypes[2]: an item of `policyTypes` needs a text",
                "p:7:29: spec.policyTypes[3]: an item of `policyTypes` is a text, not a list",
                "p:7:40: spec.policyTypes[4]: an item of `policyTypes` is a text, not a mapping (write [Ingress])",
            ],
        ),
        (
            block("  podSelector: {}\n  policyTypes: {Ingress: {}}\n"),
            &["p:7:16: spec.policyTypes: `policyTypes` is a list (write [Ingress])"],
        ),
        (
            block("  podSelector: {}\n  policyTypes: ['Ingress, Egress']\n"),
            &[
                "p:7:17: spec.policyTypes[0]: unknown policy type \"Ingress, Egress\" (write [Ingress, Egress])",
            ],
        ),
        (
            block("  podSelector: {}\n  policyTypes: [Ingress, Ingress]\n"),
            &["warning[repeated]: p:7:26: spec.policyTypes[1]: Ingress is named twice (drop one of them)"],
        ),
    ]);
}

#[test]
fn labels() {
    assert_shown(&[(
        block(
            "  podSelector:\n    matchLabels:\n      app: yes\n      b: 1.5\n      c: 0x10\n      d: null\n      e:\n      f: 'a/b'\n      g: -x\n      'h/': x\n      'A/b': x\n      i: 2024-01-01\n      j: 1e3\n      k: on\n      l: 007\n      m: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n",
        ),
        &[
            "p:9:10: spec.podSelector.matchLabels.b: 1.5 is a number, not a text (quote it: \"1.5\")",
            "p:10:10: spec.podSelector.matchLabels.c: 0x10 is a number, not a text (quote it: \"0x10\")",
            "p:13:10: spec.podSelector.matchLabels.f: \"a/b\" is not a label value (use letters, digits, '-', '_' and '.', starting and ending with a letter or digit)",
            "p:14:10: spec.podSelector.matchLabels.g: \"-x\" is not a label value (use letters, digits, '-', '_' and '.', starting and ending with a letter or digit)",
            "p:15:7: spec.podSelector.matchLabels: a label key may not be empty",
            "p:16:7: spec.podSelector.matchLabels: the label key \"A/b\" has no domain before its `/` (write it like example.com/key)",
            "p:18:10: spec.podSelector.matchLabels.j: 1e3 is a number, not a text (quote it: \"1e3\")",
            "p:20:10: spec.podSelector.matchLabels.l: 007 is a number, not a text (quote it: \"007\")",
            "p:21:10: spec.podSelector.matchLabels.m: a label value has at most 63 characters, this one has 70",
        ],
    )]);
}
