# Probes from within a guest, and what answers them there. perl-base is all that it needs, and every Debian has it.
# What is to be done follows after __END__, a line each, with addresses of either family:
#
#   ask NUMBER ping|tcp|udp SOURCE TARGET PORT SECONDS    all at once; each is waited for this long
#   serve NUMBER tcp|udp ADDRESS PORT                     until the process is ended
#
# It says of each NUMBER answered SECONDS, NUMBER silent WHY, NUMBER unable ERRNO, or NUMBER listening; and where it has
# something to serve `pid PID`, when it goes on in the background.
use strict;
use warnings;
use Config;
use Socket qw(:DEFAULT inet_pton pack_sockaddr_in6 AF_INET6 IPPROTO_ICMP IPPROTO_ICMPV6 IPPROTO_IPV6 IPV6_V6ONLY);

my $nonblock = 04000;
my ($getfl, $setfl) = (3, 4);
my ($eaddrinuse, $einprogress) = (98, 115);
my $longest = 3600;    # seconds that something is served if nobody ends it
my $magic = pack "a4NN", "sdn?", $$, int rand 2**32;

my $clock_gettime = $Config{archname} =~ /^x86_64/ ? 228 : 113;

sub now {
    my $time = "\0" x 16;
    syscall $clock_gettime, 1, $time;
    my ($seconds, $nanoseconds) = unpack "qq", $time;
    return $seconds + $nanoseconds / 1e9;
}

sub at {
    my ($address, $port) = @_;
    return pack_sockaddr_in6($port, inet_pton(AF_INET6, $address)) if $address =~ /:/;
    return pack_sockaddr_in($port, inet_aton($address));
}

sub opened {    # a socket bound to an address, or undef with $! set
    my ($address, $port, $kind, $protocol, $reuse) = @_;
    my $family = $address =~ /:/ ? AF_INET6 : AF_INET;
    socket my $socket, $family, $kind, $protocol or return;
    fcntl $socket, $setfl, fcntl($socket, $getfl, 0) | $nonblock;
    setsockopt $socket, SOL_SOCKET, SO_REUSEADDR, 1 if $reuse;
    bind $socket, at($address, $port) or return;
    return $socket;
}

sub say_of { print join(" ", @_), "\n" }

# ── asking ──

my (%waiting, %senders, %streams);

sub echo {    # RFC 792, RFC 4443; of ICMPv6 the kernel makes the checksum
    my ($six, $number, $token) = @_;
    return pack("CCnnn", 128, 0, 0, $$ & 0xffff, $number & 0xffff) . $token if $six;
    my $sum = 0;
    $sum += $_ for unpack "n*", pack("CCnnn", 8, 0, 0, $$ & 0xffff, $number & 0xffff) . $token;
    $sum = ($sum >> 16) + ($sum & 0xffff) for 1 .. 2;
    return pack("CCnnn", 8, 0, ~$sum & 0xffff, $$ & 0xffff, $number & 0xffff) . $token;
}

sub ask {
    my ($number, $kind, $source, $target, $port, $seconds) = @_;
    my $six = $target =~ /:/;
    my $token = $magic . pack("N", $number) . "\0" x 8;
    my $sent;
    if ($kind eq "tcp") {
        my $stream = opened($source, 0, SOCK_STREAM, 0) or return say_of($number, "unable", $! + 0);
        setsockopt $stream, SOL_SOCKET, SO_LINGER, pack "ii", 1, 0;    # no TIME_WAIT: reset at close
        $sent = now();
        connect $stream, at($target, $port) or $! == $einprogress or return say_of($number, "unable", $! + 0);
        $streams{ fileno $stream } = [ $stream, $number ];
    }
    else {
        my $protocol = $kind eq "udp" ? 0 : $six ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
        my $how = $kind eq "udp" ? SOCK_DGRAM : SOCK_RAW;
        my $sender = $senders{"$kind $source"} ||= opened($source, 0, $how, $protocol);
        return say_of($number, "unable", $! + 0) if !$sender;
        $sent = now();
        my $packet = $kind eq "udp" ? $token : echo($six, $number, $token);
        defined send $sender, $packet, 0, at($target, $kind eq "udp" ? $port : 0)
            or return say_of($number, "unable", $! + 0);
    }
    $waiting{$number} = [ $sent, $sent + $seconds ];
}

sub answered {
    my ($number) = @_;
    my $asked = delete $waiting{$number} or return;
    say_of($number, "answered", sprintf "%.6f", now() - $asked->[0]);
}

sub hear {    # one datagram: an echo request to ourselves has the token too, and is none
    my ($name, $packet) = @_;
    my $start = $name =~ /^udp/ ? 0 : $name =~ /:/ ? 8 : (ord($packet) & 15) * 4 + 8;
    return if length $packet < $start + 16;
    return if $name =~ /^ping/ && ord(substr $packet, $start - 8, 1) != ($name =~ /:/ ? 129 : 0);
    answered(unpack "N", substr $packet, $start + 12, 4) if substr($packet, $start, 12) eq $magic;
}

sub connected {
    my ($stream, $number) = @_;
    my $error = unpack "i", getsockopt $stream, SOL_SOCKET, SO_ERROR;
    delete $streams{ fileno $stream };
    return answered($number) if !$error;
    delete $waiting{$number};
    local $! = $error;
    say_of($number, "silent", lc "$!");
}

sub await_answers {
    while (%waiting) {
        my ($reading, $writing) = ("", "");
        vec($reading, fileno $_, 1) = 1 for grep { $_ } values %senders;
        vec($writing, $_, 1) = 1 for keys %streams;
        my ($first) = sort { $a <=> $b } map { $_->[1] } values %waiting;
        my $left = $first - now();
        select $reading, $writing, undef, $left > 0 ? $left : 0;
        for my $name (grep { $senders{$_} } keys %senders) {
            next if !vec $reading, fileno $senders{$name}, 1;
            while (defined recv $senders{$name}, my $packet, 256, 0) { hear($name, $packet) }
        }
        connected(@{ $streams{$_} }) for grep { vec $writing, $_, 1 } keys %streams;
        my $now = now();
        for my $number (grep { $waiting{$_}[1] <= $now } keys %waiting) {
            delete $waiting{$number};
            delete $streams{$_} for grep { $streams{$_}[1] == $number } keys %streams;
            say_of($number, "silent", "no answer");
        }
    }
}

# ── answering ──

my (@listeners, @responders);

sub serve {
    my ($number, $kind, $address, $port) = @_;
    my $socket = opened($address, $port, $kind eq "tcp" ? SOCK_STREAM : SOCK_DGRAM, 0, $kind eq "tcp");
    # Where something listens there already, that is what is asked for.
    return say_of($number, $! == $eaddrinuse ? "listening" : ("unable", $! + 0)) if !$socket;
    listen $socket, 1024 if $kind eq "tcp";
    push @{ $kind eq "tcp" ? \@listeners : \@responders }, $socket;
    say_of($number, "listening");
}

sub go_on {
    my $pid = fork;
    if ($pid) { say_of("pid", $pid); return }
    open $_, "+<", "/dev/null" for *STDIN, *STDOUT, *STDERR;
    alarm $longest;
    while (1) {
        my $reading = "";
        vec($reading, fileno $_, 1) = 1 for @listeners, @responders;
        select $reading, undef, undef, undef;
        for my $listener (@listeners) {
            while (accept my $stream, $listener) { close $stream }
        }
        for my $responder (@responders) {
            while (defined(my $from = recv $responder, my $packet, 256, 0)) { send $responder, $packet, 0, $from }
        }
    }
}

my @asked;
while (<DATA>) {
    my ($verb, @words) = split;
    next if !$verb;
    if ($verb eq "serve") { serve(@words) }
    else { push @asked, \@words }
}
$| = 1;
go_on() if @listeners || @responders;
ask(@$_) for @asked;
await_answers();
