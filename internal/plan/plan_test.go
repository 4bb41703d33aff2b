package plan

import (
	"math"
	"strings"
	"testing"
)

func planet() Load {
	return Load{Users: 500e6, Online: 0.2, MessagesPerDay: 100e9, RetentionDays: 5 * 365, SizeBytes: 100, Replication: 3, Peak: 1}
}

func newPlan(t *testing.T, l Load, set ...string) *Plan {
	t.Helper()
	m, err := NewMeasured(nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(l, m, set)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// near fails unless a figure is what a calculator says, to a ten-thousandth.
func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 1e-4*math.Abs(want) {
		t.Errorf("%s is %v, not %v", what, got, want)
	}
}

// TestThePlanet holds the plan against a calculator, with figures set that do
// not move when better ones are measured.
func TestThePlanet(t *testing.T) {
	p := newPlan(t, planet(), "gateway_us=150", "owner_us=200", "broker_us=100", "store_us=400", "balancer_us=100", "bytes_per_connection=3353")
	for name, want := range map[string]float64{
		"online":                100e6,
		"messages_ps":           1_157_407.4,
		"session_bytes":         8453,
		"sessions_by_memory":    2_845_308,
		"gateways_for_sessions": 100,
		"gateway_cpu":           173.611 + 25,
		"gateways_for_cpu":      50,
		"gateways_needed":       100,
		"gateways":              153, // 3 × ceil(101 / 2)
		"processors_needed":     29,
		"processors":            45,
		"partitions_needed":     463,
		"partitions":            495,
		"log_message_bytes":     250,
		"log_in":                289_351_852,
		"broker_cpu":            231.481,
		"brokers":               45,
		"store_raw":             18.25e15,
		"store_replicated":      54.75e15,
		"store_rows":            107.94e15, // 3 × (182.5T × 196 + 3T × 70)
		"store_compressed":      81.345e15, // 3 × (182.5T × 148 + 3T × 35)
		"store_for_disk":        1937,
		"store_nodes":           1938,
		"redis_hosts":           39,
		"balancers":             105,
	} {
		near(t, name, p.Get(name), want)
	}
	if p.Costs[0].What != "disk" {
		t.Errorf("what costs most is %s", p.Costs[0].What)
	}
	sum := 0.0
	for _, c := range p.Costs {
		sum += c.Share
	}
	near(t, "the sum of the shares", sum, 1)
}

func TestTextbook(t *testing.T) {
	p := newPlan(t, planet())
	p.CompareTextbook()
	near(t, "the textbook's servers", p.Textbook.Servers, 1539) // 1,540, as textbooks round it
	near(t, "ours", p.Textbook.OurServers, 100)
	near(t, "the textbook's memory", p.Textbook.Memory, 100e6*(18_000+5100))
}

// TestNumbersAreThoseComputed holds that a line's numbers are its formula's.
func TestNumbersAreThoseComputed(t *testing.T) {
	p := newPlan(t, planet())
	for _, r := range p.Rows {
		v, err := evaluate(r.Formula, p.all.lookUp)
		if err != nil || v != r.Value {
			t.Errorf("%s: %v, %v, not %v", r.Name, v, err, r.Value)
		}
		for _, n := range names(r.Formula) {
			if strings.Contains(r.Numbers, n) {
				t.Errorf("%s: the name %s is among its numbers: %s", r.Name, n, r.Numbers)
			}
			if !strings.Contains(r.Numbers, p.all[n].Show()) {
				t.Errorf("%s: %s = %s is not among its numbers: %s", r.Name, n, p.all[n].Show(), r.Numbers)
			}
		}
	}
	for _, v := range p.Inputs {
		if v.Source == "" || v.Kind == "" || v.What == "" {
			t.Errorf("%s has no source: %+v", v.Name, v)
		}
	}
}

// TestMoreNeedsNoFewer holds that more of anything never needs fewer hosts.
func TestMoreNeedsNoFewer(t *testing.T) {
	hosts := []string{"gateways", "processors", "partitions_needed", "brokers", "store_nodes", "redis_hosts", "balancers", "hosts"}
	for what, more := range map[string]func(*Load, float64){
		"users":       func(l *Load, f float64) { l.Users *= f },
		"online":      func(l *Load, f float64) { l.Online = min(1, l.Online*f) },
		"messages":    func(l *Load, f float64) { l.MessagesPerDay *= f },
		"retention":   func(l *Load, f float64) { l.RetentionDays *= f },
		"size":        func(l *Load, f float64) { l.SizeBytes *= f },
		"replication": func(l *Load, f float64) { l.Replication = min(9, l.Replication*f) },
		"peak":        func(l *Load, f float64) { l.Peak *= f },
	} {
		l := Load{Users: 500e6, Online: 0.01, MessagesPerDay: 1e8, RetentionDays: 1, SizeBytes: 10, Replication: 1, Peak: 1}
		before := newPlan(t, l)
		for range 25 {
			more(&l, 1.3)
			if l.Peak > 1000 || l.RetentionDays > 36500 || l.SizeBytes > 8<<20 {
				break
			}
			now := newPlan(t, l)
			for _, h := range hosts {
				if now.Get(h) < before.Get(h) {
					t.Errorf("more %s: %s falls from %v to %v", what, h, before.Get(h), now.Get(h))
				}
			}
			before = now
		}
	}
}

func TestHeadroom(t *testing.T) {
	near(t, "gateways with no zone to lose", newPlan(t, planet(), "zones_lost=0", "spare_hosts=0").Get("gateways"), 102) // 3 × ceil(100 / 3)
	p := newPlan(t, planet())
	left := p.Get("gateways") * (p.Get("zones") - p.Get("zones_lost")) / p.Get("zones")
	if left-p.Get("spare_hosts") < p.Get("gateways_needed") {
		t.Errorf("a zone and a host less are %v gateways, %v are needed", left-1, p.Get("gateways_needed"))
	}
}

func TestSet(t *testing.T) {
	p := newPlan(t, planet(), "gateway_cores=16", "cpu_use=60%", "gateway_memory=8GiB", "bytes_per_connection=3353")
	near(t, "cpu_use", p.Get("cpu_use"), 0.6)
	near(t, "sessions by memory", p.Get("sessions_by_memory"), 711_327)
	if v := p.all["cpu_use"]; v.Kind != FromSet || !strings.Contains(v.Source, "over 50%") {
		t.Errorf("its source is %s: %s", v.Kind, v.Source)
	}
	m, err := NewMeasured(nil)
	if err != nil {
		t.Fatal(err)
	}
	for set, want := range map[string]string{
		"cpu_use":         "write name=value",
		"gatway_cores=4":  `did you mean "gateway_cores"?`,
		"users=4":         "no figure is called",
		"gateways=4":      "no figure is called",
		"cpu_use=0.6":     "60%",
		"cpu_use=0%":      "is not from 1% to 100%",
		"zones=0":         "is not from 1 to 100",
		"gateway_us=fast": "no number",
		"gateway_us=-1":   "no number",
	} {
		if _, err := New(planet(), m, []string{set}); err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), "20%", "60%"), want) {
			t.Errorf("--set %s: %v, no word of %q", set, err, want)
		}
	}
}

func TestLoadHasBounds(t *testing.T) {
	m, err := NewMeasured(nil)
	if err != nil {
		t.Fatal(err)
	}
	l := planet()
	l.Users, l.Peak, l.Replication, l.Online = 0, 0.5, 10, math.NaN()
	_, err = New(l, m, nil)
	for _, want := range []string{"users", "peak", "replication", "online"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no word of %s: %v", want, err)
		}
	}
}

func TestWarnings(t *testing.T) {
	l := planet()
	l.Peak = 5
	for set, want := range map[string]string{
		"owner_us=200":       "more than pipeline.partitions takes",
		"zones_lost=3":       "headroom is that of a single zone",
		"gateway_memory=1GB": "is not from",
		"zones=2":            "more copies than zones",
	} {
		m, _ := NewMeasured(nil)
		p, err := New(l, m, []string{set})
		text := ""
		if err != nil {
			text = err.Error()
		} else {
			text = strings.Join(p.Warnings, "\n")
		}
		if !strings.Contains(text, want) {
			t.Errorf("%s: no word of %q: %s", set, want, text)
		}
	}
}
