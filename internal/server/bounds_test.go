package server

import (
	"testing"

	"github.com/rookery-chat/rookery/engine"
	"github.com/rookery-chat/rookery/internal/config"
)

// What the configuration allows, the part that it is for takes.
func TestTheMostThatIsAllowedIsTaken(t *testing.T) {
	c, most := config.Default(), map[string]int{}
	for _, k := range config.Keys() {
		most[k.Name] = int(k.Max)
	}
	c.Engine.Loops, c.Session.Requests = most["engine.loops"], most["session.requests"]
	if err := (engine.Options{Listen: "127.0.0.1:0", Loops: c.Engine.Loops}).Validate(); err != nil {
		t.Error(err)
	}
	o := (&Server{cfg: c}).gatewayOptions()
	if err := o.Validate(); err != nil {
		t.Error(err)
	}
}
