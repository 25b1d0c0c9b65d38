// nft(8) as the oracle: it must read the table as it was meant.
import assert from 'node:assert/strict';
import { parseCidr } from './ip.ts';
import { planRules } from './nft-table.ts';
import { hostTest, openNamespace, run, setBridgeFilter } from './testing/host.ts';
import { attach, open } from './testing/network.ts';

const golden = `table inet tskubelet {
	set hairpin4 {
		type ipv4_addr . ipv4_addr
		elements = { 10.244.0.2 . 10.244.0.2 }
	}

	map hostport4 {
		type inet_proto . inet_service : ipv4_addr . inet_service
		counter
		elements = { udp . 53 counter packets 0 bytes 0 : 10.244.0.2 . 5353 }
	}

	map hostip4 {
		type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
		counter
		elements = { 127.0.0.1 . tcp . 8080 counter packets 0 bytes 0 : 10.244.0.2 . 80 }
	}

	set hairpin6 {
		type ipv6_addr . ipv6_addr
		elements = { fd00:244::2 . fd00:244::2 }
	}

	map hostport6 {
		type inet_proto . inet_service : ipv6_addr . inet_service
		counter
		elements = { udp . 53 counter packets 0 bytes 0 : fd00:244::2 . 5353 }
	}

	map hostip6 {
		type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service
		counter
		elements = { 2001:db8::1 . sctp . 99 counter packets 0 bytes 0 : fd00:244::2 . 9 }
	}

	chain hostports {
		dnat ip to ip daddr . meta l4proto . th dport map @hostip4 comment "hostPort of one IPv4 address"
		meta nfproto ipv4 dnat ip to meta l4proto . th dport map @hostport4 comment "hostPort of every IPv4 address"
		dnat ip6 to ip6 daddr . meta l4proto . th dport map @hostip6 comment "hostPort of one IPv6 address"
		meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @hostport6 comment "hostPort of every IPv6 address"
	}

	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local jump hostports comment "to an address of this host"
	}

	chain output {
		type nat hook output priority dstnat; policy accept;
		fib daddr type local jump hostports comment "to an address of this host"
	}

	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr 127.0.0.0/8 oifname "tsk0" counter packets 0 bytes 0 masquerade comment "localhost to a hostPort"
		ip saddr . ip daddr @hairpin4 counter packets 0 bytes 0 masquerade comment "a pod to its own hostPort, IPv4"
		ip6 saddr . ip6 daddr @hairpin6 counter packets 0 bytes 0 masquerade comment "a pod to its own hostPort, IPv6"
		ip saddr 10.244.0.0/24 oifname "tsk0" ct status dnat counter packets 0 bytes 0 masquerade comment "pods to each other's hostPorts, IPv4"
		ip6 saddr fd00:244::/64 oifname "tsk0" ct status dnat counter packets 0 bytes 0 masquerade comment "pods to each other's hostPorts, IPv6"
		ip saddr 10.244.0.0/24 ip daddr 10.240.0.0/12 counter packets 0 bytes 0 return comment "pods to 10.240.0.0/12, which knows them"
		ip6 saddr fd00:244::/64 ip6 daddr fd00::/8 counter packets 0 bytes 0 return comment "pods to fd00::/8, which knows them"
		ip saddr 10.244.0.0/24 oifname != "tsk0" counter packets 0 bytes 0 masquerade comment "pods to other networks, IPv4"
		ip6 saddr fd00:244::/64 oifname != "tsk0" counter packets 0 bytes 0 masquerade comment "pods to other networks, IPv6"
	}

	chain input {
		type filter hook input priority filter; policy accept;
		iifname "tsk0" ip daddr 127.0.0.0/8 ct state ! established,related counter packets 0 bytes 0 drop comment "pods stay out of localhost"
		iifname "tsk0" ip saddr 127.0.0.0/8 ct state ! established,related counter packets 0 bytes 0 drop comment "pods do not pass for localhost"
	}
}
`;

hostTest('nft lists the table as it was meant', import.meta.url, async () => {
  const direct = ['10.240.0.0/12', 'fd00::/8'];
  const podCidrs = ['10.244.0.0/24', 'fd00:244::/64'];
  setBridgeFilter(0);
  const { network } = await open({ podCidrs, nonMasqueradeCidrs: direct });
  await attach(network, openNamespace('web'), [
    { protocol: 'udp', hostPort: 53, containerPort: 5353 },
    { protocol: 'tcp', hostPort: 8080, containerPort: 80, hostIp: '127.0.0.1' },
    { protocol: 'sctp', hostPort: 99, containerPort: 9, hostIp: '2001:db8::1' },
  ]);
  // nft's versions differ in whether they name a priority of the output hook and a guarded family.
  const listed = run('nft list table inet tskubelet');
  const plain = (text: string) =>
    text.replace(/priority (-100|dstnat)/g, 'priority dstnat').replaceAll(/meta nfproto ipv[46] (?=dnat)/g, '');
  assert.equal(plain(listed), plain(golden));
  // What explain shows is what nft shows.
  const config = { table: 'tskubelet', bridge: 'tsk0', cidrs: podCidrs.map(parseCidr), direct: direct.map(parseCidr), bridgeFilter: [] };
  const rules = planRules(config).map(({ text, comment }) => plain(`\t\t${text} comment "${comment}"`));
  const listedRules = plain(listed)
    .replaceAll('counter packets 0 bytes 0', 'counter')
    .split('\n')
    .filter((line) => line.includes(' comment '));
  assert.deepEqual(rules.toSorted(), listedRules.toSorted());
});
