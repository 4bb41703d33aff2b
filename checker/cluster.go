package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// cluster is everything that the mission's system is made of, as processes of
// this machine: what scripts/services.sh starts, and gateways and processors.
type cluster struct {
	root, dir, bin string
	env            []string // of gateways and processors, beside this process's own
	partitions     int
	large          bool // servers as those that are measured are, which are not to be killed
	procs          map[string]*proc
	names          []string // in the order in which they start
	brokers        []string
	url            string
	kafka          *kadm.Client
}

// proc is one of its processes.
type proc struct {
	name    string
	service bool // of scripts/services.sh
	args    []string
	ports   []int // that it listens on
	admin   string
	gid     uint32 // of a gateway or processor: by it the packets it sends are known
	cmd     *exec.Cmd
	ended   chan struct{}
}

// newCluster has one broker, which holds the only replica, or three.
func newCluster(root, dir, bin string, brokers, partitions, gateways, processors int) *cluster {
	cl := &cluster{root: root, dir: dir, bin: bin, partitions: partitions, procs: map[string]*proc{}}
	names := []string{"kafka"}
	if brokers == 3 {
		names = []string{"kafka-1", "kafka-2", "kafka-3"}
	}
	for _, name := range append(names, "cassandra", "redis", "haproxy") {
		cl.add(&proc{name: name, service: true})
	}
	for i := range processors {
		cl.add(&proc{name: fmt.Sprintf("processor-%d", i+1)})
	}
	for i := range gateways {
		cl.add(&proc{name: fmt.Sprintf("gateway-%d", i+1)})
	}
	return cl
}

func (cl *cluster) add(p *proc) {
	cl.procs[p.name] = p
	cl.names = append(cl.names, p.name)
}

// of returns the processes of a kind: broker, cassandra, redis, gateway, processor, haproxy.
func (cl *cluster) of(kind string) (all []*proc) {
	if kind == "broker" {
		kind = "kafka"
	}
	for _, name := range cl.names {
		if name == kind || strings.HasPrefix(name, kind+"-") {
			all = append(all, cl.procs[name])
		}
	}
	return all
}

// up starts everything; a cluster that came up partly is down's to stop.
func (cl *cluster) up(ctx context.Context) error {
	var services []string
	for _, name := range cl.names {
		if cl.procs[name].service && name != "haproxy" {
			services = append(services, name)
		}
	}
	if err := cl.services(ctx, append([]string{"start"}, services...)...); err != nil {
		return err
	}
	if err := cl.readPorts(services...); err != nil {
		return err
	}
	if err := cl.files(); err != nil {
		return err
	}
	if err := cl.assign(); err != nil {
		return err
	}
	for _, args := range [][]string{
		append([]string{"admin", "topics", "--create", fmt.Sprintf("--partitions=%d", cl.partitions), fmt.Sprintf("--replicas=%d", len(cl.brokers))}, cl.backends()...),
		append([]string{"admin", "schema", "--replication=1"}, cl.backends()...),
	} {
		if out, err := exec.CommandContext(ctx, cl.bin, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("rookery %s: %w\n%s", strings.Join(args[:2], " "), err, out)
		}
	}
	for _, kind := range []string{"processor", "gateway"} {
		for _, p := range cl.of(kind) {
			if err := cl.spawn(p); err != nil {
				return err
			}
		}
	}
	for _, kind := range []string{"processor", "gateway"} {
		for _, p := range cl.of(kind) {
			if err := cl.ready(ctx, p, 2*time.Minute); err != nil {
				return err
			}
		}
	}
	if err := cl.services(ctx, "start", "haproxy"); err != nil {
		return err
	}
	if err := cl.readPorts("haproxy"); err != nil {
		return err
	}
	cl.url = fmt.Sprintf("wss://127.0.0.1:%d", cl.procs["haproxy"].ports[0])
	client, err := kgo.NewClient(kgo.SeedBrokers(cl.brokers...))
	if err != nil {
		return err
	}
	cl.kafka = kadm.NewClient(client)
	return nil
}

// down ends everything, and only that.
func (cl *cluster) down() {
	if cl.kafka != nil {
		cl.kafka.Close()
	}
	for _, name := range cl.names {
		if p := cl.procs[name]; !p.service && p.cmd != nil {
			p.signal(cl, syscall.SIGKILL)
			<-p.ended
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := cl.services(ctx, "clean"); err != nil {
		fmt.Fprintln(os.Stderr, "checker:", err)
	}
}

func (cl *cluster) run() string { return filepath.Join(cl.dir, "services") }

func (cl *cluster) services(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(cl.root, "scripts/services.sh"), args...)
	large := ""
	if cl.large {
		large = "yes"
	}
	cmd.Env = append(os.Environ(), "SERVICES_LARGE="+large, "SERVICES_RUN="+cl.run(),
		fmt.Sprintf("SERVICES_OWNER=%d", os.Getpid()),
		"ADDRESS=127.0.0.1", "MAXCONN=9000", "CONNRATE=1000000", "STATS="+filepath.Join(cl.dir, "haproxy.sock"),
		"CERT="+filepath.Join(cl.root, ".cache/services/tls/server.pem"))
	for i, p := range cl.of("gateway") {
		if len(p.ports) > 0 {
			cmd.Env = append(cmd.Env, fmt.Sprintf("GATEWAY_%d=127.0.0.1:%d", i+1, p.ports[0]), fmt.Sprintf("GATEWAY_%d_ADMIN=%d", i+1, p.ports[1]))
		}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("services.sh %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (cl *cluster) readPorts(names ...string) error {
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(cl.run(), name, "ports"))
		if err != nil {
			return err
		}
		p := cl.procs[name]
		p.ports = nil
		for f := range strings.FieldsSeq(string(b)) {
			n, err := strconv.Atoi(f)
			if err != nil {
				return err
			}
			p.ports = append(p.ports, n)
		}
		if strings.HasPrefix(name, "kafka") {
			cl.brokers = append(cl.brokers, fmt.Sprintf("127.0.0.1:%d", p.ports[0]))
		}
	}
	return nil
}

// files writes what the processes read: the key that signs tokens, the store's
// password, the balancer's configuration.
func (cl *cluster) files() error {
	seed := make([]byte, 32)
	rand.Read(seed)
	key := fmt.Sprintf(`{"kid":"dev","alg":"EdDSA","private":%q}`, base64.RawURLEncoding.EncodeToString(seed))
	for _, name := range append([]string{""}, cl.names...) {
		if name != "" && cl.procs[name].service {
			continue
		}
		if err := os.MkdirAll(filepath.Join(cl.dir, name), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(cl.dir, name, "dev-key.json"), []byte(key), 0o600); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(cl.dir, "cassandra-password"), []byte("cassandra"), 0o600); err != nil {
		return err
	}
	conf, err := os.ReadFile(filepath.Join(cl.root, "deploy/haproxy.cfg"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(cl.run(), "haproxy"), 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(cl.run(), "haproxy/haproxy.cfg"), conf, 0o644)
}

// assign gives gateways and processors their ports and arguments.
func (cl *cluster) assign() error {
	for i, name := range cl.names {
		p := cl.procs[name]
		if p.service {
			continue
		}
		for range 3 {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			defer l.Close() // held until all have theirs
			p.ports = append(p.ports, l.Addr().(*net.TCPAddr).Port)
		}
		p.gid, p.admin = uint32(5000+i), fmt.Sprintf("http://127.0.0.1:%d", p.ports[1])
		role, _, _ := strings.Cut(name, "-")
		p.args = append([]string{
			"serve", "--role=" + role, "--id=" + name, "--data=" + filepath.Join(cl.dir, name), "--log-level=info",
			fmt.Sprintf("--listen=127.0.0.1:%d", p.ports[0]), fmt.Sprintf("--admin=127.0.0.1:%d", p.ports[1]), "--web=127.0.0.1:0",
			fmt.Sprintf("--rpc-listen=127.0.0.1:%d", p.ports[2]), "--rpc-plaintext", "--auth-dev-key=true",
			"--listen-proxy=proxy", "--listen-trusted=127.0.0.1", "--presence=redis://" + cl.at("redis"),
		}, cl.backends()...)
	}
	return nil
}

// backends are the flags that say where the log and the store are.
func (cl *cluster) backends() []string {
	return []string{
		"--log=kafka://" + strings.Join(cl.brokers, ",") + "/chaos", "--store=cql://" + cl.at("cassandra") + "/chaos",
		"--cql-user=cassandra", "--cql-password-file=" + filepath.Join(cl.dir, "cassandra-password"),
	}
}

func (cl *cluster) at(name string) string {
	return fmt.Sprintf("127.0.0.1:%d", cl.procs[name].ports[0])
}

// spawn starts a gateway or processor.
func (cl *cluster) spawn(p *proc) error {
	log, err := os.OpenFile(filepath.Join(cl.dir, p.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd = exec.Command(cl.bin, p.args...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Env = append(os.Environ(), cl.env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: &syscall.Credential{Uid: uint32(os.Getuid()), Gid: p.gid}}
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	p.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		cmd.Wait()
		close(ended)
	}(p.cmd, p.ended)
	return nil
}

// start brings a process that was killed back, and waits until it answers.
func (cl *cluster) start(ctx context.Context, p *proc) error {
	if p.service {
		return cl.services(ctx, "start", p.name)
	}
	if err := cl.spawn(p); err != nil {
		return err
	}
	return cl.ready(ctx, p, 2*time.Minute)
}

// ready waits until a gateway or processor says that it is.
func (cl *cluster) ready(ctx context.Context, p *proc, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	said := "nothing"
	for {
		if status, body, err := get(ctx, p.admin+"/readyz"); err == nil {
			if status == http.StatusOK {
				return nil
			}
			said = body
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready after %v, it says: %s", p.name, patience, said)
		case <-p.ended:
			return fmt.Errorf("%s ended by itself: see %s.log", p.name, p.name)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func get(ctx context.Context, url string) (status int, body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	return resp.StatusCode, string(b), err
}

// inSync waits until every partition of every topic has all its replicas.
func (cl *cluster) inSync(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	behind := "unknown"
	for {
		topics, err := cl.kafka.ListTopicsWithInternal(ctx)
		if err == nil {
			behind = ""
			topics.EachPartition(func(d kadm.PartitionDetail) {
				if len(d.ISR) < len(d.Replicas) || d.Err != nil {
					behind = fmt.Sprintf("%s/%d has %v of %v", d.Topic, d.Partition, d.ISR, d.Replicas)
				}
			})
			if behind == "" && len(topics) > 0 {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("replicas are not in sync after %v: %s", patience, behind)
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// pid is the process's number, 0 when it is not known to run.
func (p *proc) pid(cl *cluster) int {
	if !p.service {
		if p.cmd == nil || p.cmd.Process == nil {
			return 0
		}
		select {
		case <-p.ended:
			return 0
		default:
			return p.cmd.Process.Pid
		}
	}
	b, err := os.ReadFile(filepath.Join(cl.run(), p.name, "pid"))
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(b), " ")
	pid, _ := strconv.Atoi(first)
	return pid
}

func (p *proc) signal(cl *cluster, sig syscall.Signal) error {
	pid := p.pid(cl)
	if pid <= 1 {
		return fmt.Errorf("%s does not run", p.name)
	}
	if err := syscall.Kill(pid, sig); err != nil {
		return fmt.Errorf("%s, pid %d: %w", p.name, pid, err)
	}
	return nil
}
