package bench

import (
	"testing"

	"github.com/google/pprof/profile"
)

func TestInKernel(t *testing.T) {
	sample := func(n int64, names ...string) *profile.Sample { // the leaf first
		s := &profile.Sample{Value: []int64{n, n * 10_000_000}}
		for _, name := range names {
			s.Location = append(s.Location, &profile.Location{Line: []profile.Line{{Function: &profile.Function{Name: name}}}})
		}
		return s
	}
	p := &profile.Profile{Sample: []*profile.Sample{
		sample(5, "golang.org/x/sys/unix.RawSyscall6", "engine.(*Conn).put"),
		sample(3, "internal/runtime/syscall.Syscall6", "runtime.netpoll"),
		sample(2, "runtime.futex", "runtime.notewakeup"),
		sample(7, "gateway.(*Gateway).take", "internal/runtime/syscall.Syscall6"),
		sample(1),
	}}
	if kernel, all := inKernel(p); kernel != 10 || all != 18 {
		t.Errorf("%d of %d samples are the kernel's, want 10 of 18", kernel, all)
	}
}
