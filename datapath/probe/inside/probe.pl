# Probes from within a guest, and what answers them there. It needs perl without any module.
# What is to be done follows after __END__, a line each; addresses are 8 or 32 hexadecimal digits:
#
#   ask NUMBER ping|tcp|udp SOURCE TARGET PORT SECONDS    all at once; each is waited for this long
#   serve NUMBER tcp|udp ADDRESS PORT                     until the process is ended
#
# It says of each NUMBER answered SECONDS, NUMBER silent WHY, NUMBER unable ERRNO, or NUMBER listening; and where it has
# something to serve `pid PID`, when it goes on in the background.
use strict;

# Numbers of Linux, so that no module is loaded: under emulation each of them takes longer than a whole round.
my ($inet, $inet6, $stream_kind, $datagram, $raw, $icmp, $icmpv6) = (2, 10, 1, 2, 3, 1, 58);
my ($sol_socket, $so_reuseaddr, $so_error, $so_linger) = (1, 2, 4, 13);
my ($getfl, $setfl, $nonblock) = (3, 4, 04000);
my ($eaddrinuse, $einprogress) = (98, 115);
my ($clock_gettime, $monotonic) = (228, 1);    # of x86_64
my $longest = 3600;                            # seconds that something is served if nobody ends it
my $magic = pack "a4NN", "sdn?", $$, int rand 2**32;

sub now {
    my $time = "\0" x 16;
    syscall $clock_gettime, $monotonic, $time;
    my ($seconds, $nanoseconds) = unpack "qq", $time;
    return $seconds + $nanoseconds / 1e9;
}

sub is_six { return length $_[0] == 32 }

sub at {    # struct sockaddr_in6, struct sockaddr_in
    my ($address, $port) = @_;
    return pack "SnNH32L", $inet6, $port, 0, $address, 0 if is_six($address);
    return pack "SnH8x8", $inet, $port, $address;
}

sub opened {    # a socket bound to an address, or undef with $! set
    my ($address, $port, $kind, $protocol, $reuse) = @_;
    socket my $socket, is_six($address) ? $inet6 : $inet, $kind, $protocol or return;
    fcntl $socket, $setfl, fcntl($socket, $getfl, 0) | $nonblock;
    setsockopt $socket, $sol_socket, $so_reuseaddr, pack "i", 1 if $reuse;
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
    my $six = is_six($target);
    my $token = $magic . pack("N", $number) . "\0" x 8;
    my $sent;
    if ($kind eq "tcp") {
        my $stream = opened($source, 0, $stream_kind, 0) or return say_of($number, "unable", $! + 0);
        setsockopt $stream, $sol_socket, $so_linger, pack "ii", 1, 0;    # no TIME_WAIT: reset at close
        $sent = now();
        connect $stream, at($target, $port) or $! == $einprogress or return say_of($number, "unable", $! + 0);
        $streams{ fileno $stream } = [ $stream, $number ];
    }
    else {
        my $protocol = $kind eq "udp" ? 0 : $six ? $icmpv6 : $icmp;
        my $how = $kind eq "udp" ? $datagram : $raw;
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
    my ($kind, $source) = split / /, $name;
    my $six = is_six($source);
    my $start = $kind eq "udp" ? 0 : $six ? 8 : (ord($packet) & 15) * 4 + 8;
    return if length $packet < $start + 16;
    return if $kind eq "ping" && ord(substr $packet, $start - 8, 1) != ($six ? 129 : 0);
    answered(unpack "N", substr $packet, $start + 12, 4) if substr($packet, $start, 12) eq $magic;
}

sub connected {
    my ($stream, $number) = @_;
    my $error = unpack "i", getsockopt $stream, $sol_socket, $so_error;
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
    my $socket = opened($address, $port, $kind eq "tcp" ? $stream_kind : $datagram, 0, $kind eq "tcp");
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
