// Owns frames as an attacker with CAP_NET_RAW sends them: forged by a Perl program, past the sandbox's own network stack.

/** Arguments: MAC of the bridge, source, destination, port. A UDP datagram. Or "ra": a router advertisement of 2001:db8:bad::/64. */
export const SEND_FRAME = `
  sub sum { my $d = shift; $d .= "\\0" if length($d) % 2; my $s = 0; $s += $_ for unpack("n*", $d); $s = ($s & 0xffff) + ($s >> 16) while $s >> 16; ~$s & 0xffff }
  my ($mac, $src, $dst, $port) = @ARGV;
  socket(S, 17, 3, 768) or die "packet socket: $!"; # AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)
  my ($to, $type, $packet) = ($mac, 0x0800);
  if ($mac eq "ra") {
    ($to, $type) = ("333300000001", 0x86dd);
    my $ends = pack("H32 H32", "fe80000000000000000000000000bad1", "ff020000000000000000000000000001");
    my $ra = pack("C C n C C n N N", 134, 0, 0, 64, 0, 1800, 0, 0) . pack("C C C C N N N", 3, 4, 64, 0xc0, 86400, 14400, 0)
      . pack("H32", "20010db80bad00000000000000000000") . pack("C C H12", 1, 1, "020000000bad");
    substr($ra, 2, 2) = pack("n", sum($ends . pack("N x3 C", length $ra, 58) . $ra));
    $packet = pack("N n C C", 0x60000000, length $ra, 58, 255) . $ends . $ra;
  } else {
    my $ends = join "", map { pack "C4", split /\\./ } $src, $dst;
    my $udp = pack("n n n n", 4444, $port, 13, 0) . "hello";
    substr($udp, 6, 2) = pack("n", sum($ends . pack("C C n", 0, 17, length $udp) . $udp));
    my $ip = pack("C C n n n C C n", 0x45, 0, 20 + length $udp, 1, 0, 64, 17, 0) . $ends;
    substr($ip, 10, 2) = pack("n", sum($ip));
    $packet = $ip . $udp;
  }
  my $frame = pack("H12 H12 n", $to, "020000000bad", $type) . $packet;
  defined send(S, $frame, 0, pack("S n i n C C a8", 17, $type, 2, 1, 0, 6, pack("H12", $to))) or die "send: $!";`;

/** Prints the source of every datagram that comes to the port of the argument on any address, until "end" comes. */
export const PRINT_SOURCES = `
  $| = 1; socket(S, 2, 2, 17); bind(S, pack("S n a4 x8", 2, $ARGV[0], "\\0" x 4)) or die "bind: $!"; print "listening\\n";
  $SIG{ALRM} = sub { exit 1 }; alarm 20;
  while (1) { my $from = recv(S, my $data, 99, 0); last if $data eq "end"; print join(".", unpack "C4", substr $from, 4, 4), "\\n" }`;
