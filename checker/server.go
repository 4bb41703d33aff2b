package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// server is the real binary in a data folder, started again after each kill.
type server struct {
	bin, data string
	flags     []string
	log       *os.File
	cmd       *exec.Cmd
	url       string
}

const startWithin = 60 * time.Second

func (s *server) start() error {
	args := append([]string{"serve", "--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--web=127.0.0.1:0", "--data=" + s.data, "--log-level=warn"}, s.flags...)
	s.cmd = exec.Command(s.bin, args...)
	s.cmd.Stderr = s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	ready := make(chan error, 1)
	go func() { ready <- s.readReady(out) }()
	select {
	case err = <-ready:
	case <-time.After(startWithin):
		err = errors.New("it took too long")
	}
	if err != nil {
		s.kill()
		return fmt.Errorf("the server did not start: %w; see its log", err)
	}
	return nil
}

func (s *server) readReady(out io.Reader) error {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "sockets"); ok {
			s.url = strings.TrimSuffix(strings.TrimSpace(rest), "/ws/<user>")
		}
		if lines.Text() == "ready" {
			go io.Copy(io.Discard, out)
			return nil
		}
	}
	return errors.New("it ended")
}

// kill ends the server as a power button would end its process.
func (s *server) kill() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}
