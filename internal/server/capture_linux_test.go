package server

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rookery-chat/rookery/frame"
)

// captureBytes is room for packets until they are read, which is at the end.
const captureBytes = 512 << 20

// capture keeps the packets of loopback from or to some TCP ports.
type capture struct {
	t  *testing.T
	fd int
}

// startCapture begins to capture, for which it takes root, or CAP_NET_RAW and, for
// the room that it asks for, CAP_NET_ADMIN.
func startCapture(t *testing.T, ports map[uint16]bool) *capture {
	t.Helper()
	allowed := func(err error) {
		t.Helper()
		if errors.Is(err, unix.EPERM) {
			t.Fatalf("no packets can be captured (%v): run as root, or with CAP_NET_RAW and CAP_NET_ADMIN", err)
		}
		must(t, err)
	}
	network := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_IP))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0) // nothing comes before it is bound
	allowed(err)
	t.Cleanup(func() { unix.Close(fd) })
	allowed(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureBytes))
	must(t, unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)) // each packet of loopback goes out and comes in
	filter := portFilter(ports)
	must(t, unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}))
	must(t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: network, Ifindex: 1})) // loopback is the first
	return &capture{t, fd}
}

// portFilter passes TCP from or to the ports.
func portFilter(ports map[uint16]bool) []unix.SockFilter {
	const load8, load16At, jump, give, header = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, unix.BPF_LD | unix.BPF_H | unix.BPF_IND,
		unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K, unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH
	f := []unix.SockFilter{{Code: load8, K: 9}, {Code: jump, K: unix.IPPROTO_TCP, Jt: 1}, {Code: give}, {Code: header}}
	for _, at := range []uint32{0, 2} { // of the source, of the destination
		f = append(f, unix.SockFilter{Code: load16At, K: at})
		for port := range ports {
			f = append(f, unix.SockFilter{Code: jump, K: uint32(port), Jf: 1}, unix.SockFilter{Code: give, K: 1 << 18})
		}
	}
	return append(f, unix.SockFilter{Code: give})
}

// flow is one direction of a connection.
type flow struct{ from, to uint16 }

// stream is what went through a flow, as far as it was captured in order.
type stream struct {
	next uint32 // sequence number
	data []byte
}

// end returns what went through each flow since the start.
func (c *capture) end() map[flow]*stream {
	c.t.Helper()
	flows, packet := map[flow]*stream{}, make([]byte, 1<<18)
	for {
		n, _, err := unix.Recvfrom(c.fd, packet, 0)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		must(c.t, err)
		take(flows, packet[:n])
	}
	stats, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	must(c.t, err)
	if stats.Drops > 0 || stats.Packets == 0 {
		c.t.Errorf("%d packets were captured, %d were lost", stats.Packets, stats.Drops)
	}
	return flows
}

// take adds a packet's payload to its flow; what came before is left out.
func take(flows map[flow]*stream, ip []byte) {
	tcp := ip[int(ip[0]&15)*4 : binary.BigEndian.Uint16(ip[2:])]
	f, seq := flow{binary.BigEndian.Uint16(tcp), binary.BigEndian.Uint16(tcp[2:])}, binary.BigEndian.Uint32(tcp[4:])
	payload := tcp[int(tcp[12]>>4)*4:]
	s := flows[f]
	if tcp[13]&2 != 0 { // it begins
		s, seq = nil, seq+1
	}
	if s == nil {
		s = &stream{next: seq}
		if old := flows[f]; old != nil { // a port that is used again
			s.data = old.data
		}
		flows[f] = s
	}
	if had := int32(s.next - seq); had > 0 {
		payload = payload[min(int(had), len(payload)):]
	}
	s.data = append(s.data, payload...)
	s.next += uint32(len(payload))
}

// unmasked is what a client said to a gateway, without the masks of its frames.
func (s *stream) unmasked(t *testing.T) (said []byte) {
	t.Helper()
	end := []byte("\r\n\r\n")
	at := bytes.Index(s.data, end)
	if at < 0 {
		return nil
	}
	rest, reader := bytes.Clone(s.data[at+len(end):]), frame.Reader{}
	for {
		n, ev, ok, err := reader.Next(rest, &frame.Limits{MessageBytes: 1 << 20})
		if err != nil {
			t.Errorf("the capture of a client's frames is broken: %v", err)
		}
		if rest = rest[n:]; err != nil || !ok {
			return said
		}
		said = append(said, ev.Payload...)
	}
}
